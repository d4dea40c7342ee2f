//! The bound on memory, on real Kafka and real PostgreSQL: a backlog that is larger than it flows all the same, and a partition
//! that is stuck leaves room for the others.

use crate::support::eventually;
use crate::support::kafka;
use crate::support::postgres::{Database, connect};
use crate::support::scenes::{clean, get, logged, records, stored};
use crate::support::worker::Setup;

/// The smallest budget; batches that only want of memory ends before a while.
const TIGHT: &str = "[memory]\nbudget_mib = 8\n[topics.odds.batch]\nrows = 100000\nage_ms = 5000";

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_larger_than_the_budget_flows_in_early_batches() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 6).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]).with(TIGHT);
    setup.must(&["migrate", "up"]);
    kafka::produced(&topic, records(60, 400)).await;

    let mut worker = setup.start();
    stored(&database, &topic, 6).await;
    let metrics = get(&worker.address().await, "/metrics").await;
    assert!(worker.stop().await.success());
    let early = format!("ledgerline_batch_flushes_total{{topic=\"{topic}\",trigger=\"memory\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&early)).expect("the counter");
    assert!(line.parse::<u64>().expect("a number") > 0, "{line} early batches");
    clean(&setup);
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_partition_leaves_room_for_the_others() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 4).await;
    let setup =
        Setup::new(&database.url, &[("odds", &topic)]).with(TIGHT).with_database("lock_timeout_ms = 1000");
    setup.must(&["migrate", "up"]);
    let mut worker = setup.start();
    logged(&worker, "partition claimed", 4).await;

    let mut client = connect(&database.url).await;
    let lock = client.transaction().await.expect("a transaction");
    let row = "select 1 from partition_offsets where partition = 0 for update";
    lock.execute(row, &[]).await.expect("the row of partition 0");
    kafka::produced(&topic, records(60, 400)).await;
    let ends: i64 = (1..4).map(|partition| kafka::end(&topic, partition)).sum();
    let others = "select coalesce(sum(next_offset), 0) from partition_offsets where partition > 0";
    eventually("the other partitions", || async { (database.number(others).await >= ends).then_some(()) })
        .await;
    let stuck = database.number("select next_offset from partition_offsets where partition = 0").await;
    assert!(stuck < kafka::end(&topic, 0), "partition 0 was to be stuck");

    lock.rollback().await.expect("the row is free");
    stored(&database, &topic, 4).await;
    assert!(worker.stop().await.success());
    clean(&setup);
    database.drop_now().await;
}
