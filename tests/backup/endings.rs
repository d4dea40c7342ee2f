//! Two at a time, a signal, a kill: data comes whole or not at all, and no half of a backup is taken for one.

use std::path::Path;
use std::process::{Child, Output, Stdio};

use super::{filled, fitting, on, place, refused, run_with};
use crate::support::eventually;
use crate::support::postgres::{Database, connect};
use crate::support::worker::{Setup, command};

/// Starts a restore; what it says is kept for its end.
fn restoring(setup: &Setup, backup: &str) -> Child {
    let mut command = command(&setup.file());
    command.args(["db", "restore", backup]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it runs")
}

async fn ended(mut child: Child) -> Output {
    eventually("the restore to end", || std::future::ready(child.try_wait().expect("its status"))).await;
    child.wait_with_output().expect("what it said")
}

/// Waits until somebody in this database waits for a lock of that kind.
async fn somebody_waits(database: &Database, kind: &str) {
    let waiting = format!(
        "select count(*) from pg_locks where not granted and locktype = '{kind}' \
           and database = (select oid from pg_database where datname = current_database())"
    );
    let waits = async || (database.number(&waiting).await > 0).then_some(());
    eventually(&format!("somebody to wait for a lock of kind {kind}"), waits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_restores_at_a_time_the_second_is_refused_and_the_first_keeps_its_data() {
    let (database, target) = (Database::postgres().await, Database::postgres().await);
    let setup = filled(&database).await;
    let (_folder, backup) = place();
    setup.must(&["db", "backup", &backup, "--method", "copy"]);
    let again = on(&setup, &target);
    let migrator = connect(&target.url).await;
    let lock = |how: &str| format!("select pg_advisory_{how}(hashtext('ledgerline migrate'))");
    migrator.batch_execute(&lock("lock")).await.expect("the lock");
    let first = restoring(&again, &backup);
    somebody_waits(&target, "advisory").await; // it has found the database empty
    let second = ended(restoring(&again, &backup)).await;
    refused(&second, 1, "another restore into this database is under way; nothing was changed");
    migrator.batch_execute(&lock("unlock")).await.expect("unlocked");
    refused(&ended(first).await, 0, "");
    assert_eq!(target.number_of("odds").await, 2, "what the first one has filled is there");
    refused(&again.run(&["db", "restore", &backup]), 1, "and this one has schema_version");
    for used in [target, database] {
        used.drop_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_waits_for_the_server_to_notice_that_the_one_before_was_killed() {
    let (database, target) = (Database::postgres().await, Database::postgres().await);
    let setup = filled(&database).await;
    let (_folder, backup) = place();
    setup.must(&["db", "backup", &backup, "--method", "copy"]);
    let killed = connect(&target.url).await;
    let lock = |how: &str| format!("select pg_advisory_{how}(hashtext('ledgerline restore'))");
    killed.batch_execute(&lock("lock")).await.expect("the lock");
    let again = on(&setup, &target);
    let next = restoring(&again, &backup);
    let asked = "select count(*) from pg_stat_activity where state = 'idle' and query like 'select pg_try_%ledgerline restore%' \
                     and datname = current_database()";
    eventually("it to ask", async || (target.number(asked).await == 1).then_some(())).await;
    killed.batch_execute(&lock("unlock")).await.expect("the server has noticed");
    refused(&ended(next).await, 0, "");
    assert_eq!(target.number_of("odds").await, 2);
    for used in [target, database] {
        used.drop_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_told_to_end_leaves_no_tables_that_a_worker_would_start_from() {
    let (database, target) = (Database::postgres().await, Database::postgres().await);
    let setup = filled(&database).await;
    let (_folder, backup) = place();
    setup.must(&["db", "backup", &backup, "--method", "copy"]);
    let again = on(&setup, &target);
    // Whoever fills the quotes waits for a lock of ours.
    target
        .change(
            "create function held() returns trigger language plpgsql as $$ begin \
                perform pg_advisory_xact_lock(43); return new; end $$; \
             create function hold() returns event_trigger language plpgsql as $$ begin \
                if to_regclass('odds') is not null and not exists (select from pg_trigger where tgname = 'held') then \
                    create trigger held before insert on odds for each row execute function held(); \
                end if; end $$; \
             create event trigger hold on ddl_command_end when tag in ('CREATE INDEX') execute function hold()",
        )
        .await;
    let holder = connect(&target.url).await;
    for signal in ["-INT", "-TERM"] {
        holder.batch_execute("select pg_advisory_lock(43)").await.expect("the lock");
        let restore = restoring(&again, &backup);
        somebody_waits(&target, "advisory").await;
        let pid = restore.id().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().expect("kill").success());
        somebody_waits(&target, "relation").await; // it takes the tables back, and is in its own way
        holder.batch_execute("select pg_advisory_unlock(43)").await.expect("unlocked");
        refused(&ended(restore).await, 1, "interrupted before everything was restored");
        assert_eq!(target.tables().await, Vec::<String>::new(), "{signal}");
    }
    target.change("drop event trigger hold").await;
    again.must(&["db", "restore", &backup]);
    for used in [target, database] {
        used.drop_now().await;
    }
}

/// A folder for PATH with a program that writes its number down and never ends.
async fn endless(name: &str, database: &Database, started: &Path) -> tempfile::TempDir {
    let script = format!("echo $$ > {0}.half && mv {0}.half {0}\nexec tail -f /dev/null", started.display());
    fitting(name, database, &script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_told_to_end_ends_pg_restore_too() {
    let (database, target) = (Database::postgres().await, Database::postgres().await);
    let setup = filled(&database).await;
    let (folder, backup) = place();
    let script = "for arg; do case $arg in --file=*) echo dump > \"${arg#--file=}\";; esac; done";
    let dumping = fitting("pg_dump", &database, script).await;
    refused(&run_with(&setup, dumping.path(), &["db", "backup", &backup]), 0, "");
    let started = folder.path().join("started");
    let endless = endless("pg_restore", &database, &started).await;
    let again = on(&setup, &target);
    let mut command = command(&again.file());
    command.args(["db", "restore", &backup]).env("PATH", endless.path());
    let restore = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let pid = eventually("pg_restore to begin", async || std::fs::read_to_string(&started).ok()).await;
    let kill = ["-TERM", &restore.id().to_string()];
    assert!(std::process::Command::new("kill").args(kill).status().expect("kill runs").success());
    refused(&ended(restore).await, 1, "interrupted; what pg_restore had not committed is rolled back");
    assert!(gone(pid.trim()).await);
    for used in [target, database] {
        used.drop_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_is_never_taken_for_one() {
    let database = Database::postgres().await;
    let setup = filled(&database).await;
    let (folder, backup) = place();
    let started = folder.path().join("started");
    let endless = endless("pg_dump", &database, &started).await;
    for signal in ["KILL", "INT", "TERM"] {
        let mut command = command(&setup.file());
        let mut child =
            command.args(["db", "backup", &backup]).env("PATH", endless.path()).spawn().expect("it runs");
        let pid = eventually("pg_dump to begin", async || std::fs::read_to_string(&started).ok()).await;
        let kill = |signal: &str, pid: &str| {
            std::process::Command::new("kill").args([signal, pid]).status().expect("kill runs")
        };
        kill(&format!("-{signal}"), &child.id().to_string());
        assert!(!child.wait().expect("it ends").success());
        std::fs::remove_file(&started).expect("removed");
        let names =
            || folder.path().read_dir().expect("files").map(|entry| entry.expect("a file").file_name());
        let left: Vec<String> = names().map(|name| name.into_string().expect("UTF-8")).collect();
        assert!(left.len() == 1 && left[0].starts_with("backup.partial-"), "{signal}: {left:?}");
        let partial = folder.path().join(&left[0]).display().to_string();
        refused(&setup.run(&["db", "restore", &partial]), 1, "it is no backup, or one that was cut off");
        if signal == "KILL" {
            kill("-TERM", pid.trim()); // nobody else ends it
        } else {
            // Interrupted, it has taken away what it had; what is left is the other one's.
            assert!(!kill("-0", pid.trim()).success() || gone(pid.trim()).await, "pg_dump was left behind");
        }
    }
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_computes_a_checksum_is_told_to_end_and_leaves_nothing() {
    let database = Database::postgres().await;
    let setup = filled(&database).await;
    let (folder, backup) = place();
    // Takes no space, and longer to read than anybody waits.
    let script = "for arg; do case $arg in --file=*) truncate -s 1T \"${arg#--file=}\";; esac; done";
    let dumping = fitting("pg_dump", &database, script).await;
    for signal in ["-INT", "-TERM"] {
        let mut command = command(&setup.file());
        command.args(["db", "backup", &backup]).env("PATH", dumping.path());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let open = format!("/proc/{}/fd", child.id());
        eventually("it to read the dump", async || {
            let links = std::fs::read_dir(&open).ok()?.flatten();
            let mut files = links.filter_map(|link| std::fs::read_link(link.path()).ok());
            files.any(|file| file.ends_with("database.dump")).then_some(())
        })
        .await;
        let kill = [signal, &child.id().to_string()];
        assert!(std::process::Command::new("kill").args(kill).status().expect("kill runs").success());
        refused(&ended(child).await, 1, "interrupted; nothing is left of the backup");
        assert_eq!(folder.path().read_dir().expect("files").count(), 0, "{signal}: something is left");
    }
    database.drop_now().await;
}

/// Waits until a process has ended.
async fn gone(pid: &str) -> bool {
    let status = format!("/proc/{pid}");
    eventually("pg_dump to end", async || (!Path::new(&status).exists()).then_some(())).await;
    true
}
