//! `run --shadow` on real Kafka and either store: the same line beside the live one, which says what would happen and changes nothing.

use crate::support::eventually;
use crate::support::kafka::{self, Load, Record};
use crate::support::postgres::Database;
use crate::support::scenes::{clean, get, odds, records};
use crate::support::worker::{Setup, Worker, command, spawn};

fn start_shadow(setup: &Setup) -> Worker {
    let mut shadow = command(&setup.file());
    shadow.args(["run", "--shadow"]);
    spawn(shadow, &setup.file())
}

/// What the worker has settled so far, by outcome and in that mode; not to be read before it has settled anything.
async fn settled(address: &str, mode: &str, outcome: &str) -> i64 {
    let metrics = get(address, "/metrics").await;
    let series = metrics.lines().filter(|line| {
        line.starts_with("ledgerline_records_settled_total{")
            && line.contains(&format!("mode=\"{mode}\""))
            && line.contains(&format!("outcome=\"{outcome}\""))
    });
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).sum()
}

async fn until_settled(worker: &Worker, mode: &str, outcome: &str, records: i64) {
    let address = worker.address().await;
    eventually("records to be settled", async || {
        (settled(&address, mode, outcome).await >= records).then_some(())
    })
    .await;
}

/// Everything that is stored, names included.
async fn everything(database: &Database) -> (Vec<String>, i64, i64) {
    (database.contents().await, database.number_of("selections").await, database.number_of("game_refs").await)
}

async fn it_tells_and_changes_nothing(database: Database) {
    let topic = kafka::topic("odds", 2).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]);
    setup.must(&["migrate", "up"]);
    let spread = |(number, record): (usize, Record)| Record {
        partition: Some(i32::try_from(number % 2).expect("small")),
        ..record
    };
    kafka::produced(&topic, records(10, 20).into_iter().enumerate().map(spread).collect()).await;
    let mut live = setup.start();
    until_settled(&live, "live", "applied", 200).await;
    assert!(live.stop().await.success());

    // What the live group has not stored yet: new quotes, some that are stored already, and records that nobody can use.
    let later = records(10, 40).split_off(190);
    let bad = (0..3).map(|number| Record::of(&format!("bad-{number}"), "{"));
    kafka::produced(&topic, later.into_iter().chain(bad).enumerate().map(spread).collect()).await;
    let before = everything(&database).await;
    let mut shadow = start_shadow(&setup);
    until_settled(&shadow, "shadow", "applied", 210).await;
    until_settled(&shadow, "shadow", "dead", 3).await;
    let address = shadow.address().await;
    assert_eq!(settled(&address, "shadow", "applied").await, 210, "it began where the live group stands");
    assert_eq!(settled(&address, "live", "applied").await, 0);
    let metrics = get(&address, "/metrics").await;
    for live_only in [
        "ledgerline_consumer_lag_records{",
        "ledgerline_partition_position{",
        "ledgerline_assigned_partitions{",
    ] {
        assert!(!metrics.contains(live_only), "{live_only} is said of live consumption");
    }
    assert!(shadow.stop().await.success());
    let log = shadow.log();
    assert_eq!(log.matches("\"mode\":\"shadow\"").count(), 3, "each refused record, with its reason: {log}");
    let told = log.lines().find(|line| line.contains("what would have happened")).expect("a summary");
    for count in ["\"applied\":210", "\"dead\":3", "\"inserted\":400", "\"duplicate\":20"] {
        assert!(told.contains(count), "{count}: {told}");
    }
    assert_eq!(everything(&database).await, before, "nothing is changed");
    for partition in 0..2 {
        let group = format!("{}-shadow.{topic}", setup.group);
        assert!(
            kafka::committed(&group, &topic, partition).is_none_or(|offset| offset < 0),
            "Kafka is told nothing"
        );
    }

    let mut live = setup.start();
    until_settled(&live, "live", "applied", 210).await;
    until_settled(&live, "live", "dead", 3).await;
    assert!(live.stop().await.success());
    clean(&setup);
    assert_eq!(database.number_of("odds").await, 800, "the shadow had told it");
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_it_tells_what_would_happen_and_changes_nothing() {
    it_tells_and_changes_nothing(Database::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_it_tells_what_would_happen_and_changes_nothing() {
    it_tells_and_changes_nothing(Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_live_worker_under_load_it_costs_the_line_no_record() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 2).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]);
    setup.must(&["migrate", "up"]);
    let load = Load::start(&kafka::brokers(), &topic, 400, |number| {
        Record::of("key", odds(number % 30, number / 30).to_string())
    });
    let mut shadow = start_shadow(&setup); // before anybody: it starts by the policy
    let mut live = setup.start();
    until_settled(&live, "live", "applied", 2_000).await;
    until_settled(&shadow, "shadow", "applied", 2_000).await;
    let sent = i64::try_from(load.stop()).expect("a number");
    until_settled(&live, "live", "applied", sent).await;
    until_settled(&shadow, "shadow", "applied", sent).await;
    let (one, two) = (shadow.stop().await, live.stop().await);
    assert!(one.success() && two.success());
    let sums = database
        .rows("select sum(applied), sum(dead), count(distinct consumer_group) from offset_ledger")
        .await;
    let sums: Vec<&str> = sums[0].iter().map(|sum| sum.as_deref().unwrap_or("")).collect();
    assert_eq!(sums, [sent.to_string().as_str(), "0", "1"], "the live group's alone");
    let groups = database.rows("select distinct consumer_group from partition_offsets").await;
    assert_eq!(groups, [[Some(format!("{}.{topic}", setup.group))]]);
    clean(&setup);
    database.drop_now().await;
}
