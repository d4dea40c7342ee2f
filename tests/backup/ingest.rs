//! A backup under load on real Kafka, into a new database, and ingest goes on from there: replaying what Kafka still holds, or halting.

use serde_json::{Value, json};

use super::{json_of, methods, number, on, place, position, rows};
use crate::support::eventually;
use crate::support::kafka::{self, Load, Record};
use crate::support::postgres::Database;
use crate::support::scenes::{clean, get, odds, records, stored};
use crate::support::worker::Setup;

/// An event that no other number makes; each seventeenth breaks its contract.
fn numbered(number: usize) -> Record {
    let event =
        if number.is_multiple_of(17) { "{".to_owned() } else { odds(number % 40, number).to_string() };
    Record::of(&format!("test:game-{}", number % 40), event)
}

/// Waits until that many offsets are stored.
async fn moved_to(database: &Database, offset: i64) {
    let sum = "(select coalesce(sum(next_offset), 0) from partition_offsets)";
    eventually("progress", async || (number(database, sum).await >= offset).then_some(())).await;
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
    let produce =
        async |from: usize, to: usize| kafka::produced(&topic, records(1, to).split_off(from)).await;
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
