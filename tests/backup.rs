//! `ledgerline db backup` and `restore` as an operator runs them: under load on real Kafka, into a new database, and on from there;
//! and every kind of backup that is none.

use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::kafka::{self, Load, Record};
use crate::support::postgres::{Database, connect, execute};
use crate::support::scenes::{clean, get, odds, records, stored};
use crate::support::worker::{Setup, command};
use crate::support::{eventually, unique};

/// An event that no other number makes; each seventeenth breaks its contract.
fn numbered(number: usize) -> Record {
    let event =
        if number.is_multiple_of(17) { "{".to_owned() } else { odds(number % 40, number).to_string() };
    Record::of(&format!("test:game-{}", number % 40), event)
}

/// A place for backups, and one of them.
fn place() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let backup = folder.path().join("backup").display().to_string();
    (folder, backup)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The same product on another database.
fn on(setup: &Setup, database: &Database) -> Setup {
    let topics: Vec<(&'static str, &str)> =
        setup.topics.iter().map(|(kind, name)| (*kind, &**name)).collect();
    Setup { group: setup.group.clone(), ..Setup::new(&database.url, &topics) }
}

/// The sum of the positions of a backup.
fn position(backup: &Value) -> i64 {
    let positions = backup["positions"].as_array().expect("positions");
    positions.iter().map(|at| at["next_offset"].as_i64().expect("an offset")).sum()
}

async fn number(database: &Database, expression: &str) -> i64 {
    let sql = format!("select cast({expression} as text) as line");
    database.line(&sql).await.parse().expect("a number")
}

/// Waits until that many offsets are stored.
async fn moved_to(database: &Database, offset: i64) {
    let sum = "(select coalesce(sum(next_offset), 0) from partition_offsets)";
    eventually("progress", async || (number(database, sum).await >= offset).then_some(())).await;
}

/// Every row of quotes and dead letters, as text.
async fn rows(database: &Database) -> [Vec<String>; 2] {
    let letters =
        "select topic || ' ' || partition || ' ' || record_offset || ' ' || reason as line from dead_letters";
    [database.view("readable_odds").await, database.lines(letters).await]
}

/// The ways in which this server can be backed up here: an installed `pg_dump` that is older than the server refuses it.
async fn methods(setup: &Setup, database: &Database) -> &'static [&'static str] {
    if database.is_sqlite() {
        return &[];
    }
    let Some((installed, server)) = database.newer_than_pg_dump().await else { return &["pg_dump", "copy"] };
    let (_folder, backup) = place();
    let because = format!("pg_dump is of version {installed}, and the server of {server}");
    refused(&setup.run(&["db", "backup", &backup, "--method", "pg_dump"]), 1, &because);
    &["copy"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_postgres_under_load_is_restored_and_ingest_goes_on() {
    under_load(Database::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_sqlite_under_load_is_restored_and_ingest_goes_on() {
    under_load(Database::sqlite()).await;
}

async fn under_load(database: Database) {
    let topic = kafka::topic("odds", 3).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]).with("[topics.odds.batch]\nage_ms = 50");
    setup.must(&["migrate", "up"]);
    let load = Load::start(&kafka::brokers(), &topic, 400, numbered);
    let mut worker = setup.start();
    let (folder, _) = place();
    let methods: Vec<Vec<&str>> = match methods(&setup, &database).await {
        [] => vec![vec![]],
        methods => methods.iter().map(|method| vec!["--method", *method]).collect(),
    };
    let mut backups = Vec::new();
    for (number, method) in methods.iter().enumerate() {
        moved_to(&database, 1_000 * (number as i64 + 1)).await;
        let path = folder.path().join(number.to_string()).display().to_string();
        let said = setup.must(&[&["db", "backup", &path, "--json"], &method[..]].concat());
        backups.push((path, json_of(&said)));
    }
    let last = position(&backups.last().expect("a backup").1);
    moved_to(&database, last + 1_000).await; // nobody was disturbed
    let sent = load.stop();
    moved_to(&database, i64::try_from(sent).expect("a number")).await;
    assert!(
        worker.stop().await.success() && worker.log().matches("\"ERROR\"").count() == 0,
        "{}",
        worker.log()
    );
    clean(&setup);
    let expected = rows(&database).await;
    for (path, backup) in &backups {
        let restored = if database.is_sqlite() { Database::sqlite() } else { Database::postgres().await };
        goes_on(&on(&setup, &restored), &restored, path, backup, sent).await;
        assert!(rows(&restored).await == expected, "the same rows as where nothing was restored");
        restored.drop_now().await;
    }
    database.drop_now().await;
}

/// A new database, a worker that knows nothing: the rest comes from Kafka, and nothing is doubled.
async fn goes_on(setup: &Setup, restored: &Database, path: &str, backup: &Value, sent: usize) {
    let told = json_of(&setup.must(&["db", "restore", path, "--json"]));
    assert_eq!(
        (&told["positions"], &told["rows"], &told["migrate"]),
        (&backup["positions"], &backup["rows"], &json!(false))
    );
    let at = position(backup);
    let sent = i64::try_from(sent).expect("a number");
    assert!((1..sent).contains(&at), "a backup under load: {at} of {sent}");
    assert_eq!(number(restored, "(select sum(next_offset) from partition_offsets)").await, at);
    clean(setup);
    let mut worker = setup.start();
    moved_to(restored, sent).await;
    assert!(worker.stop().await.success());
    clean(setup);
    assert_eq!(number(restored, "(select sum(duplicate) from offset_ledger)").await, 0);
    assert_eq!(number(restored, "(select sum(applied + dead) from offset_ledger)").await, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_kafka_no_longer_holds_what_comes_next_the_partition_halts() {
    let (database, topic) = (Database::postgres().await, kafka::topic("odds", 1).await);
    let setup = Setup::new(&database.url, &[("odds", &topic)]);
    setup.must(&["migrate", "up"]);
    let produce = async |from: usize, to: usize| {
        let (brokers, topic, records) = (kafka::brokers(), topic.clone(), records(1, to).split_off(from));
        tokio::task::spawn_blocking(move || kafka::produce(&brokers, &topic, &records))
            .await
            .expect("produced");
    };
    produce(0, 30).await;
    let mut worker = setup.start();
    stored(&database, &topic, 1).await;
    let (_folder, backup) = place();
    setup.must(&["db", "backup", &backup]);
    produce(30, 60).await;
    stored(&database, &topic, 1).await;
    assert!(worker.stop().await.success());
    kafka::delete_before(&topic, 0, 50).await;

    let restored = Database::postgres().await;
    let again = on(&setup, &restored);
    let told = again.must(&["db", "restore", &backup]);
    assert!(told.contains("ledgerline verify") && told.contains("docs/roles.sql"), "{told}");
    let mut worker = again.start();
    let address = worker.address().await;
    eventually("the halt", async || {
        let metrics = get(&address, "/metrics").await;
        let halted = |line: &str| {
            line.starts_with("ledgerline_partition_halted{")
                && line.ends_with("reason=\"retention_passed\"} 1")
        };
        metrics.lines().any(halted).then_some(())
    })
    .await;
    let partitions = json_of(&again.must(&["offsets", "ls", "--json"]));
    assert_eq!((&partitions[0]["next"], &partitions[0]["halted"]), (&json!(30), &json!("retention_passed")));
    assert!(worker.stop().await.success());
    assert_eq!(restored.number("select count(*) from odds").await, 60, "nothing is skipped");
    restored.drop_now().await;
    database.drop_now().await;
}

/// A migrated database of either kind with something in every kind of column.
async fn filled(database: &Database) -> Setup {
    let setup = Setup::new(&database.url, &[]);
    setup.must(&["migrate", "up"]);
    let bytes = if database.is_sqlite() { "x'00ff0a095c'" } else { "'\\x00ff0a095c'" };
    let at = "'2025-11-09T18:20:41.000001Z'";
    database
        .change(&format!(
            "insert into lineages (cluster_id, topic_id, topic, partition) values ('c', '', 'odds', 0); \
             insert into odds values (1, {at}, 1, 1.9090909090909092, 1, null), (2, {at}, 1, null, 1, -1.5); \
             insert into dead_letters (lineage_id, record_offset, topic, partition, key, payload, headers, reason, detail) \
             values (1, 1, 'odds', 0, null, {bytes}, '{{}}', 'r', 'a tab\t, a line\n, a \\ and \\N, a quote '' and ä');"
        ))
        .await;
    let rule = |name: &str| {
        format!(
            "insert into alert_rules (name, keywords, field, enabled, created_at, updated_at) \
             values ('{name}', '[]', 'any', true, {at}, {at});"
        )
    };
    database.change(&(rule("stays") + &rule("goes") + "delete from alert_rules where name = 'goes'")).await;
    setup
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_and_every_number_comes_back() {
    for sqlite in [false, true] {
        let new = async || if sqlite { Database::sqlite() } else { Database::postgres().await };
        let database = new().await;
        let setup = filled(&database).await;
        let rows: Vec<Vec<&str>> = match methods(&setup, &database).await {
            [] => vec![vec![]],
            methods => methods.iter().map(|method| vec!["--method", *method]).collect(),
        };
        for method in rows {
            let (_folder, backup) = place();
            setup.must(&[&["db", "backup", &backup], &method[..]].concat());
            let restored = new().await;
            on(&setup, &restored).must(&["db", "restore", &backup]);
            let contents = async |database: &Database| {
                let mut contents = database.contents().await;
                contents.retain(|line| !line.starts_with("__diesel")); // when each migration ran
                contents
            };
            assert_eq!(contents(&restored).await, contents(&database).await, "{method:?}");
            assert_eq!(restored.catalog_text().await, database.catalog_text().await, "{method:?}");
            // A number that was given out once, for a rule that is gone, is not given to another one.
            let next = "insert into alert_rules (name, keywords, field, enabled, created_at, updated_at) \
                        select 'new', keywords, field, enabled, created_at, updated_at from alert_rules";
            restored.change(next).await;
            let expected = if database.is_sqlite() { 2 } else { 3 };
            assert_eq!(number(&restored, "(select max(id) from alert_rules)").await, expected, "{method:?}");
            restored.drop_now().await;
        }
        database.drop_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_schema_comes_back_as_it_was_and_is_migrated_then() {
    let any = Database::postgres().await;
    let setup = Setup::new(&any.url, &[]);
    setup.must(&["migrate", "up"]);
    for methods in [methods(&setup, &any).await, &["sqlite"]] {
        for method in methods {
            let sqlite = *method == "sqlite";
            let new = async || if sqlite { Database::sqlite() } else { Database::postgres().await };
            let (database, restored, (_folder, backup)) = (new().await, new().await, place());
            let setup = Setup::new(&database.url, &[]);
            setup.must(&["migrate", "up"]);
            let newest = database.catalog_text().await;
            setup.must(&["migrate", "down"]);
            let how = if sqlite { vec![] } else { vec!["--method", *method] };
            setup.must(&[&["db", "backup", &backup], &how[..]].concat());
            let again = on(&setup, &restored);
            assert!(again.must(&["db", "restore", &backup]).contains("migrate up"), "{method}");
            assert_eq!(restored.catalog_text().await, database.catalog_text().await, "{method}");
            again.must(&["migrate", "up"]);
            assert_eq!(restored.catalog_text().await, newest, "{method}");
            restored.drop_now().await;
            database.drop_now().await;
        }
    }
    any.drop_now().await;
}

#[track_caller]
fn refused(output: &Output, code: i32, because: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(code) && said.contains(because),
        "{because}: {}: {said}",
        output.status
    );
}

/// A backup of a SQLite database, and one that is made anew for each thing that is done to it.
struct Spoiled {
    setup: Setup,
    folder: tempfile::TempDir,
    good: PathBuf,
}

impl Spoiled {
    async fn new() -> (Database, Self) {
        let database = Database::sqlite();
        let setup = filled(&database).await;
        let folder = tempfile::tempdir().expect("a folder");
        let good = folder.path().join("good");
        setup.must(&["db", "backup", &good.display().to_string()]);
        (database, Self { setup, folder, good })
    }

    /// Restores a copy that somebody has been at. Nothing may come of it.
    fn with(&self, because: &str, spoil: impl FnOnce(&Path)) {
        let copy = self.folder.path().join(unique("copy"));
        std::fs::create_dir(&copy).expect("a folder");
        for entry in self.good.read_dir().expect("files") {
            let entry = entry.expect("a file");
            std::fs::copy(entry.path(), copy.join(entry.file_name())).expect("copied");
        }
        spoil(&copy);
        let nowhere = Database::sqlite();
        let output = on(&self.setup, &nowhere).run(&["db", "restore", &copy.display().to_string()]);
        refused(&output, 1, because);
        let file = PathBuf::from(nowhere.url.strip_prefix("sqlite:").expect("a file"));
        assert!(!file.exists(), "{because}: a database was made");
        assert_eq!(
            file.parent().expect("a folder").read_dir().expect("files").count(),
            0,
            "{because}: something is left"
        );
    }

    /// A manifest that says something else, with a checksum that holds.
    fn saying(&self, because: &str, change: impl FnOnce(&mut Value)) {
        self.with(because, |copy| {
            let path = copy.join("manifest.json");
            let mut manifest = json_of(&std::fs::read_to_string(&path).expect("read"));
            change(&mut manifest);
            std::fs::write(&path, manifest.to_string()).expect("written");
            let sum: String =
                Sha256::digest(manifest.to_string()).iter().map(|byte| format!("{byte:02x}")).collect();
            std::fs::write(copy.join("manifest.json.sha256"), format!("{sum}  manifest.json\n"))
                .expect("written");
        });
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_backup_is_refused_with_its_reason() {
    let (_database, spoiled) = Spoiled::new().await;
    let remove =
        |name: &'static str| move |copy: &Path| std::fs::remove_file(copy.join(name)).expect("removed");
    spoiled.with("no manifest.json: it is no backup, or one that was cut off", remove("manifest.json"));
    spoiled.with("cannot read", remove("manifest.json.sha256"));
    spoiled.with("manifest.json is not as it was written", |copy| flip(&copy.join("manifest.json"), 20));
    spoiled.with("database.sqlite is missing", remove("database.sqlite"));
    spoiled
        .with("database.sqlite is not as it was written", |copy| flip(&copy.join("database.sqlite"), 9_000));
    spoiled.with("bytes, and", |copy| {
        let file =
            std::fs::OpenOptions::new().write(true).open(copy.join("database.sqlite")).expect("a file");
        file.set_len(4_096).expect("cut off");
    });
    spoiled.saying("is of form 2, this program reads 1", |manifest| manifest["format"] = json!(2));
    spoiled.saying("schema is of version 999", |manifest| manifest["holds"]["schema"] = json!(999));
    spoiled.saying("this is a backup of postgres", |manifest| manifest["store"] = json!("postgres"));
    spoiled.saying("is no file's name", |manifest| {
        manifest["files"][0]["name"] = json!("../good/database.sqlite")
    });
    spoiled.saying("does not list database.sqlite", |manifest| manifest["files"] = json!([]));
    spoiled.saying("is no manifest", |manifest| manifest["holds"] = json!(null));
    spoiled.saying("odds: 7 rows, and 2 rows are there", |manifest| {
        let tables = manifest["holds"]["tables"].as_array_mut().expect("tables");
        tables.iter_mut().find(|table| table["name"] == "odds").expect("odds")["rows"] = json!(7);
    });
    let elsewhere = spoiled.setup.run(&["db", "restore", "/nowhere/backup"]);
    refused(&elsewhere, 1, "is not a folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_never_written_over() {
    let (database, spoiled) = Spoiled::new().await;
    let before = database.contents().await;
    let good = spoiled.good.display().to_string();
    refused(&spoiled.setup.run(&["db", "restore", &good]), 1, "and this one has schema_version, lineages");
    assert_eq!(database.contents().await, before);
    refused(&spoiled.setup.run(&["db", "backup", &good]), 2, "a backup is a new folder");
    let file = spoiled.folder.path().join("file");
    std::fs::write(&file, "mine").expect("written");
    refused(
        &spoiled.setup.run(&["db", "backup", &file.display().to_string()]),
        2,
        "a backup is a new folder",
    );
    let deep = spoiled.folder.path().join("not/there").display().to_string();
    refused(&spoiled.setup.run(&["db", "backup", &deep]), 1, "cannot make a folder beside");
    let other = spoiled.folder.path().join("other").display().to_string();
    refused(
        &spoiled.setup.run(&["db", "backup", &other, "--method", "copy"]),
        2,
        "--method is for PostgreSQL",
    );
    let empty = Setup::new("sqlite:/nowhere/at/all.db", &[]);
    refused(&empty.run(&["db", "backup", &other]), 1, "sqlite:/nowhere/at/all.db does not exist");
    let names =
        || spoiled.folder.path().read_dir().expect("files").map(|entry| entry.expect("a file").file_name());
    let mut left: Vec<_> = names().map(|name| name.into_string().expect("UTF-8")).collect();
    left.sort();
    assert_eq!(left, ["file", "good"], "nothing is left of a backup that failed");

    // A folder that is empty, and a database file that holds nothing of ours, are as good as none.
    std::fs::create_dir(&other).expect("a folder");
    spoiled.setup.must(&["db", "backup", &other]);
    let new = Database::sqlite();
    new.change("create table somebody_elses (id int); drop table somebody_elses").await;
    on(&spoiled.setup, &new).must(&["db", "restore", &other]);
    assert_eq!(new.contents().await, before);

    // A file is replaced as a whole, with whatever somebody else keeps in it.
    let shared = Database::sqlite();
    shared.change("create table somebody_elses (id int); insert into somebody_elses values (7)").await;
    refused(
        &on(&spoiled.setup, &shared).run(&["db", "restore", &other]),
        1,
        "and this one has somebody_elses; nothing was changed",
    );
    assert_eq!(shared.number_of("somebody_elses").await, 1);
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_empty_or_that_somebody_writes_into_is_refused() {
    let database = Database::postgres().await;
    let setup = filled(&database).await;
    let (_folder, backup) = place();
    setup.must(&["db", "backup", &backup, "--method", "copy"]);
    let before = database.contents().await;
    refused(&setup.run(&["db", "restore", &backup]), 1, "and this one has schema_version");
    assert_eq!(database.contents().await, before);
    let file = Database::sqlite();
    refused(&on(&setup, &file).run(&["db", "restore", &backup]), 1, "database.url names sqlite");

    // As a worker would that has been waiting for the schema: at once when the last migration is there.
    let occupied = Database::postgres().await;
    occupied
        .change(
            "create function now_there() returns event_trigger language plpgsql as $$ begin \
                if to_regclass('articles_seen') is not null and not exists (select from lineages) then \
                    insert into lineages (cluster_id, topic_id, topic, partition) values ('c', '', 'odds', 0); \
                end if; end $$; \
             create event trigger now_there on ddl_command_end when tag in ('CREATE INDEX') execute function now_there()",
        )
        .await;
    let output = on(&setup, &occupied).run(&["db", "restore", &backup]);
    refused(&output, 1, "somebody else writes into this database");
    assert_eq!(
        occupied.tables().await,
        Vec::<String>::new(),
        "no empty tables that a worker would start from"
    );
    occupied.change("drop event trigger now_there").await;
    on(&setup, &occupied).must(&["db", "restore", &backup]);
    for used in [occupied, database] {
        used.drop_now().await;
    }
}

/// A folder for PATH with one program in it.
fn path_with(name: &str, script: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("may be run");
    folder
}

fn run_with(setup: &Setup, path: &Path, args: &[&str]) -> Output {
    let mut command = command(&setup.file());
    command.args(args).env("PATH", path).env("PGSERVICE", "elsewhere").env("PGHOST", "nowhere.invalid");
    command.output().expect("it runs")
}

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
    let failing = path_with(
        "pg_dump",
        "if [ \"$1\" = --version ]; then echo 'pg_dump (PostgreSQL) 99.1'; exit; fi\n\
         echo 'pg_dump: error: the disk is full' >&2; echo 'DETAIL:  canary-record' >&2; exit 1",
    );
    let output = run_with(&setup, failing.path(), &["db", "backup", &backup]);
    refused(&output, 1, "pg_dump: error: the disk is full");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("canary-record"), "{output:?}");
    assert_eq!(folder.path().read_dir().expect("files").count(), 0, "nothing is left");
    database.drop_now().await;
}

/// A folder for PATH with a program that writes its number down and never ends.
fn endless(name: &str, started: &Path) -> tempfile::TempDir {
    let script = format!(
        "PATH=/usr/bin:/bin\nif [ \"$1\" = --version ]; then echo '{name} (PostgreSQL) 99.1'; exit; fi\n\
         echo $$ > {0}.half && mv {0}.half {0}\nexec tail -f /dev/null",
        started.display()
    );
    path_with(name, &script)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_told_to_end_ends_pg_restore_too() {
    let (database, target) = (Database::postgres().await, Database::postgres().await);
    let setup = filled(&database).await;
    let (folder, backup) = place();
    let dumping = path_with(
        "pg_dump",
        "if [ \"$1\" = --version ]; then echo 'pg_dump (PostgreSQL) 99.1'; exit; fi\n\
         for arg; do case $arg in --file=*) echo dump > \"${arg#--file=}\";; esac; done",
    );
    refused(&run_with(&setup, dumping.path(), &["db", "backup", &backup]), 0, "");
    let started = folder.path().join("started");
    let endless = endless("pg_restore", &started);
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
    let endless = endless("pg_dump", &started);
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

/// Waits until a process has ended.
async fn gone(pid: &str) -> bool {
    let status = format!("/proc/{pid}");
    eventually("pg_dump to end", async || (!Path::new(&status).exists()).then_some(())).await;
    true
}

/// Paths of all fields, each once.
fn fields(value: &Value, path: &str, found: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            fields(value, &format!("{path}{dot}{key}"), found);
        }),
        Value::Array(values) => values.iter().for_each(|value| fields(value, &format!("{path}[]"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            found.insert(path.to_owned());
        }
    }
}

fn listed(value: &Value) -> String {
    let mut found = std::collections::BTreeSet::new();
    fields(value, "", &mut found);
    found.into_iter().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_machines_read_stays_as_it_is() {
    let database = Database::postgres().await;
    let setup = filled(&database).await;
    let position = "insert into partition_offsets (consumer_group, topic, partition, lineage_id, start_offset, next_offset) \
                    values ('g', 'odds', 0, 1, 0, 2)";
    connect(&database.url).await.batch_execute(position).await.expect("a position");
    let (_folder, backup) = place();
    let told = json_of(&setup.must(&["db", "backup", &backup, "--json", "--method", "copy"]));
    let at = "positions[].cluster_id positions[].epoch positions[].group positions[].lineage_id positions[].next_offset \
              positions[].partition positions[].topic positions[].topic_id";
    assert_eq!(
        listed(&told),
        format!("bytes files folder method {at} rows schema seconds server store tables taken_at")
    );
    assert_eq!((&told["rows"], &told["tables"], &told["files"]), (&json!(8), &json!(22), &json!(22)));
    let manifest = json_of(&std::fs::read_to_string(Path::new(&backup).join("manifest.json")).expect("read"));
    let held = at.replace("positions", "holds.positions");
    assert_eq!(
        listed(&manifest),
        format!(
            "copied[].columns[] copied[].name copied[].numbered[] files[].bytes files[].name files[].sha256 format {held} \
             holds.schema holds.tables[].name holds.tables[].rows method product server store taken_at"
        )
    );
    let restored = Database::postgres().await;
    let told = json_of(&on(&setup, &restored).must(&["db", "restore", &backup, "--json"]));
    assert_eq!(listed(&told), format!("folder method migrate {at} rows schema seconds tables taken_at"));
    restored.drop_now().await;
    database.drop_now().await;
}
