//! PostgreSQL's own programs: used where they fit, done without where they do not, and told no secret.

use std::path::Path;

use super::{
    filled, fitting, json_of, methods, of_version, on, path_with, place, refused, run_with, server_major,
};
use crate::support::postgres::{Database, execute};
use crate::support::worker::{Setup, command};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fitting_pg_dump_ledgerline_copies_itself() {
    let database = Database::postgres().await;
    let setup = filled(&database).await;
    let (folder, backup) = place();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let none = tempfile::tempdir().expect("a folder");
    let said = run_with(&setup, none.path(), &["db", "backup", &backup, "--json"]);
    refused(&said, 0, "pg_dump is not installed: the tables are copied by ledgerline itself");
    assert_eq!(json_of(&String::from_utf8_lossy(&said.stdout))["method"], "copy");
    let wanted = ["db", "backup", &at("wanted"), "--method", "pg_dump"];
    refused(&run_with(&setup, none.path(), &wanted), 1, "pg_dump is not installed");
    let older = path_with("pg_dump", "echo 'pg_dump (PostgreSQL) 14.9'");
    refused(
        &run_with(&setup, older.path(), &["db", "backup", &at("older")]),
        0,
        "pg_dump is of version 14, and the server of",
    );
    refused(&run_with(&setup, older.path(), &wanted), 1, "pg_dump is of version 14");

    if !methods(&setup, &database).await.contains(&"pg_dump") {
        return database.drop_now().await; // none here that fits
    }
    // The variables of whoever starts it lead nowhere else; and a dump needs its reader.
    setup.must(&["db", "backup", &at("dumped"), "--method", "pg_dump"]);
    let restored = Database::postgres().await;
    let again = on(&setup, &restored);
    refused(
        &run_with(&again, none.path(), &["db", "restore", &at("dumped")]),
        1,
        "pg_restore, which reads it, is not installed",
    );
    let mut everywhere = command(&again.file());
    everywhere
        .args(["db", "restore", &at("dumped")])
        .env("PGSERVICE", "elsewhere")
        .env("PGDATABASE", "nowhere");
    refused(&everywhere.output().expect("it runs"), 0, "");
    assert_eq!(restored.number_of("odds").await, 2);
    restored.drop_now().await;
    database.drop_now().await;
}

/// From 17 on `pg_restore` sets what no server before 17 knows, and an older one does not read what a `pg_dump` of 17 writes.
#[tokio::test(flavor = "multi_thread")]
async fn programs_that_are_too_new_for_an_older_server_are_not_used() {
    let (database, target) = (Database::postgres().await, Database::postgres().await);
    if server_major(&database).await >= 17 {
        return; // every version that is new enough fits
    }
    let setup = filled(&database).await;
    let (folder, backup) = place();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let newer = path_with("pg_dump", &of_version("pg_dump", 17, "exit 9"));
    let wanted = run_with(&setup, newer.path(), &["db", "backup", &backup, "--method", "pg_dump"]);
    refused(&wanted, 1, "pg_dump is of version 17, and the server of");
    refused(&wanted, 1, "or --method copy");
    let copied = run_with(&setup, newer.path(), &["db", "backup", &at("copied"), "--json"]);
    refused(&copied, 0, "from 17 on: the tables are copied by ledgerline itself");
    assert_eq!(json_of(&String::from_utf8_lossy(&copied.stdout))["method"], "copy");

    // A dump that fits, and a pg_restore that does not.
    let script = "for arg; do case $arg in --file=*) echo dump > \"${arg#--file=}\";; esac; done";
    let dumping = fitting("pg_dump", &database, script).await;
    refused(&run_with(&setup, dumping.path(), &["db", "backup", &backup]), 0, "");
    target.change("create table __diesel_schema_migrations (version text)").await; // as a reverted schema leaves it
    let newer = path_with("pg_restore", &of_version("pg_restore", 18, "exit 9"));
    let said = run_with(&on(&setup, &target), newer.path(), &["db", "restore", &backup]);
    refused(&said, 1, "pg_restore is of version 18, and the server of");
    refused(&said, 1, "nothing was changed");
    assert_eq!(target.tables().await, ["__diesel_schema_migrations"]);
    for used in [target, database] {
        used.drop_now().await;
    }
}

/// What our connection is told to wait for at most, whoever set it, is not for backups: `pg_dump` begins when all of that has passed.
#[tokio::test(flavor = "multi_thread")]
async fn no_time_out_ends_a_long_backup_and_the_password_is_no_argument() {
    let database = Database::postgres().await;
    let timeouts = "statement_timeout_ms = 1000\nidle_in_transaction_timeout_ms = 1000";
    let setup = filled(&database).await;
    let name = url::Url::parse(&database.url).expect("a URL").path().trim_start_matches('/').to_owned();
    for setting in ["statement_timeout", "idle_in_transaction_session_timeout"] {
        execute(&database.url, &format!("alter database {name} set {setting} = '1s'")).await;
    }
    let (folder, backup) = place();
    let (arguments, environment) = (folder.path().join("arguments"), folder.path().join("environment"));
    let script = format!(
        "if [ \"$1\" = --version ]; then exec /usr/bin/env -i PATH=/usr/bin:/bin pg_dump --version; fi\n\
         PATH=/usr/bin:/bin; export PATH\necho \"$@\" > {}\nenv > {}\nsleep 2\nexec pg_dump \"$@\"",
        arguments.display(),
        environment.display(),
    );
    let slow = path_with("pg_dump", &script);
    let mut with_password = url::Url::parse(&database.url).expect("a URL");
    with_password.set_password(Some("canary-db")).expect("a password");
    let patient = Setup::new(with_password.as_str(), &[]).with_database(timeouts);
    if !methods(&patient, &database).await.contains(&"pg_dump") {
        patient.must(&["db", "backup", &backup, "--method", "copy"]);
        return database.drop_now().await;
    }
    refused(&run_with(&patient, slow.path(), &["db", "backup", &backup, "--method", "pg_dump"]), 0, "");
    let read = |path: &Path| std::fs::read_to_string(path).expect("read");
    assert!(!read(&arguments).contains("canary-db"), "{}", read(&arguments));
    assert!(read(&environment).contains("PGPASSWORD=canary-db"));
    assert!(!read(&environment).contains("PGSERVICE"));
    for entry in Path::new(&backup).read_dir().expect("files") {
        let entry = entry.expect("a file").path();
        assert!(
            !String::from_utf8_lossy(&std::fs::read(&entry).expect("read")).contains("canary-db"),
            "{entry:?}"
        );
    }
    let restored = Database::postgres().await;
    on(&setup, &restored).must(&["db", "restore", &backup]);
    restored.drop_now().await;
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pg_dump_that_fails_leaves_nothing_and_tells_no_row() {
    let database = Database::postgres().await;
    let setup = filled(&database).await;
    let (folder, backup) = place();
    let script = "echo 'pg_dump: error: the disk is full' >&2; echo 'DETAIL:  canary-record' >&2; exit 1";
    let failing = fitting("pg_dump", &database, script).await;
    let output = run_with(&setup, failing.path(), &["db", "backup", &backup]);
    refused(&output, 1, "pg_dump: error: the disk is full");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("canary-record"), "{output:?}");
    assert_eq!(folder.path().read_dir().expect("files").count(), 0, "nothing is left");
    database.drop_now().await;
}
