//! One fault at a time, on real servers: what an operator is promised about it, as a test. Many faults at once are the business
//! of `tests/chaos`.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::eventually;
use crate::support::kafka::{self, Load, Record};
use crate::support::postgres::{Database, connect};
use crate::support::scenes::{clean, get, load, logged, odds, outage, records, some_progress, stored};
use crate::support::servers::{Kafka, Postgres};
use crate::support::worker::{Setup, Worker};

/// Short server timeouts, so that a test is not spent on waiting for them.
const SHORT: &str = "idle_in_transaction_timeout_ms = 2000\nlock_timeout_ms = 1000";

/// A database on a server of the test's own.
async fn own_database(postgres: &Postgres) -> Database {
    Database::on(&postgres.url("postgres")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_only_the_database_refuses_is_one_dead_letter_in_one_transaction() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 1).await;
    let one_batch = "[topics.odds.batch]\nrows = 10000\nage_ms = 60000";
    let setup = Setup::new(&database.url, &[("odds", &topic)]).with(one_batch);
    setup.must(&["migrate", "up"]);
    database
        .change(
            "alter table odds add check (price <> 3.0); create sequence attempts; \
             create function count_attempt() returns trigger language plpgsql as \
             $$ begin perform nextval('attempts'); return null; end $$; \
             create trigger attempt before insert on odds for each statement execute function count_attempt()",
        )
        .await;
    let mut all = records(50, 100);
    let mut refused = odds(7, 90_000);
    refused["data"]["outcomes"][0]["price_american"] = json!(200);
    all[3_333] = Record::of("k", refused.to_string());
    kafka::produced(&topic, all).await;

    let mut worker = setup.start();
    stored(&database, &topic, 1).await;
    let metrics = get(&worker.address().await, "/metrics").await;
    assert!(worker.stop().await.success());
    let committed = format!("ledgerline_batches_total{{topic=\"{topic}\",outcome=\"committed\"}} 1\n");
    assert!(metrics.contains(&committed), "one committed transaction");
    let named = format!("ledgerline_batch_write_attempts_total{{topic=\"{topic}\"}} ");
    let attempts = metrics.lines().find_map(|line| line.strip_prefix(&named)).expect("counted");
    let attempts: u32 = attempts.parse().expect("a number");
    assert!(attempts <= 28, "{attempts} write attempts in the transaction");
    // The database counts statements. Before the search the batch was refused twice, in up to 8 statements each.
    let statements = database.number("select last_value from attempts").await;
    assert!(statements <= 28 + 2 * 8, "{statements} inserts");
    println!("{attempts} write attempts in the transaction, {statements} inserts in all");
    let sums = database.rows("select sum(applied), sum(dead), sum(inserted) from offset_ledger").await;
    let sums: Vec<&str> = sums[0].iter().map(|sum| sum.as_deref().unwrap_or("")).collect();
    assert_eq!(sums, ["4999", "1", "9998"]);
    let letter =
        database.rows("select record_offset, reason, convert_from(payload, 'UTF8') from dead_letters").await;
    let letter: Vec<&str> = letter[0].iter().map(|column| column.as_deref().unwrap_or("")).collect();
    assert_eq!(letter, ["3333", "refused", &refused.to_string()]);
    clean(&setup);
    database.drop_now().await;
}

/// What an outage must leave behind: everything stored, nothing dead, no rebalance, little memory.
async fn outlives_an_outage(mut away: impl AsyncFnMut(&mut Postgres, bool)) {
    let mut postgres = Postgres::start().await;
    let database = own_database(&postgres).await;
    let topic = kafka::topic("odds", 4).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]).with_database(SHORT);
    setup.must(&["migrate", "up"]);
    let mut worker = setup.start();
    let load = Load::start(&kafka::brokers(), &topic, 2_000, load);
    some_progress(&database, 20_000).await;

    let before = worker.memory_kib();
    away(&mut postgres, true).await;
    let (start, mut most) = (Instant::now(), before);
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    while start.elapsed() < outage() {
        ticks.tick().await;
        most = most.max(worker.memory_kib());
    }
    away(&mut postgres, false).await;
    let healed = Instant::now();
    let sent = load.stop();
    stored(&database, &topic, 4).await;
    println!(
        "away {:?}: {sent} records, memory {before} -> {most} KiB, caught up {:.1} s after it was back",
        outage(),
        healed.elapsed().as_secs_f64()
    );
    assert!(most - before < 32 << 10, "memory grew from {before} to {most} KiB");
    assert_eq!(worker.log().matches("partitions assigned").count(), 1, "no rebalance");
    assert_eq!(worker.log().matches("partitions revoked").count(), 0, "no rebalance");
    assert!(worker.stop().await.success());
    assert_eq!(database.number("select count(*) from dead_letters").await, 0);
    assert_eq!(database.number("select sum(applied) from offset_ledger").await, sent as i64);
    assert_eq!(database.number("select sum(duplicate) from offset_ledger").await, 0);
    clean(&setup);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_postgres_under_load_costs_nothing_but_time() {
    outlives_an_outage(async |postgres, away| match away {
        true => postgres.stop_immediate().await,
        false => postgres.start_again().await,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_accepts_and_stalls_costs_nothing_but_time() {
    outlives_an_outage(async |postgres, away| postgres.freeze(away)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stopped_inside_its_transaction_is_succeeded_and_writes_nothing_more() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 1).await;
    kafka::produced(&topic, records(20, 400)).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)])
        .with_database(SHORT)
        .with("[topics.odds.batch]\nrows = 100\nage_ms = 20");
    setup.must(&["migrate", "up"]);
    let mut first = setup.start();
    some_progress(&database, 1_000).await;

    // The transaction has locked its position and waits for the table: it is stopped there, in the middle.
    let blocker = connect(&database.url).await;
    blocker.batch_execute("begin; lock table odds in exclusive mode").await.expect("the lock");
    session(&database, "wait_event_type = 'Lock' and query like 'insert into odds%'").await;
    first.signal("STOP");
    let position = database.number("select next_offset from partition_offsets").await;
    blocker.batch_execute("rollback").await.expect("the lock is gone");
    session(&database, "state = 'idle in transaction'").await;

    let mut second = setup.start();
    some_progress(&database, 2 * position + 1_000).await;
    let written = database.number("select max(epoch) from offset_ledger").await;
    first.signal("CONT");
    logged(&first, "partitions revoked", 1).await;
    stored(&database, &topic, 1).await;
    assert_eq!(database.number("select max(epoch) from partition_offsets").await, written, "no other claim");
    assert!(first.is_running());
    assert!(second.stop().await.success());
    assert!(first.stop().await.success());
    assert_eq!(database.number("select count(*) from odds").await, 16_000);
    assert_eq!(database.number("select sum(duplicate) + sum(dead) from offset_ledger").await, 0);
    clean(&setup);
    database.drop_now().await;
}

/// Waits until one of the worker's sessions is in that state.
async fn session(database: &Database, state: &str) {
    let sql = format!(
        "select count(*) from pg_stat_activity \
         where application_name = 'ledgerline' and datname = current_database() and {state}"
    );
    eventually(state, || async { (database.number(&sql).await > 0).then_some(()) }).await;
}

/// The worker's deadline is 20 s, and leaving the group may take 3 s more.
async fn ends_in_time(worker: &mut Worker) {
    let start = Instant::now();
    let status = worker.stop().await;
    let took = start.elapsed();
    println!("ended after {:.1} s: {status}", took.as_secs_f64());
    assert!(took < Duration::from_secs(20), "it took {took:?}");
    assert!(status.success(), "{status}\n{}", worker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_told_to_end_does_so_under_load_and_without_its_servers() {
    let (mut broker, mut postgres) = (Kafka::start().await, Postgres::start().await);
    let database = own_database(&postgres).await;
    let topic = kafka::topic_at(&broker.brokers(), "odds", 4).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]).at(&broker.brokers()).with_database(SHORT);
    setup.must(&["migrate", "up"]);
    let load = Load::start(&broker.brokers(), &topic, 2_000, load);

    println!("under load");
    let mut worker = setup.start();
    some_progress(&database, 5_000).await;
    ends_in_time(&mut worker).await;

    println!("without the database");
    let mut worker = setup.start();
    some_progress(&database, database.number("select count(*) + 5000 from odds").await).await;
    postgres.stop_immediate().await;
    logged(&worker, "trying again", 1).await;
    ends_in_time(&mut worker).await;
    postgres.start_again().await;

    println!("without the broker");
    let mut worker = setup.start();
    some_progress(&database, database.number("select count(*) + 5000 from odds").await).await;
    load.stop();
    broker.kill().await;
    ends_in_time(&mut worker).await;
    let (gaps, duplicates) = (setup.must(&["verify", "--json"]), "select sum(duplicate) from offset_ledger");
    assert!(gaps.contains("\"ok\":true"), "{gaps}");
    assert_eq!(database.number(duplicates).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_that_passes_a_running_worker_halts_it_and_skips_nothing() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 1).await;
    kafka::produced(&topic, records(100, 400)).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)])
        .with_kafka("fetch_queue_kib = 64") // what lies in the client's queue cannot be deleted any more
        .with("[topics.odds.batch]\nrows = 100\nage_ms = 20");
    setup.must(&["migrate", "up"]);
    let mut worker = setup.start();
    some_progress(&database, 1_000).await;
    let lock = connect(&database.url).await;
    lock.batch_execute("begin; select 1 from partition_offsets for update").await.expect("the lock");
    logged(&worker, "held back", 1).await;
    kafka::delete_before(&topic, 0, 39_000).await;
    lock.batch_execute("rollback").await.expect("the lock is gone");

    logged(&worker, "retention_passed", 1).await;
    let halted = "ledgerline_partition_halted{";
    let address = worker.address().await;
    eventually("the metric", || async {
        let metrics = get(&address, "/metrics").await;
        let mut lines = metrics.lines().filter(|line| line.starts_with(halted));
        lines.any(|line| line.contains("retention_passed") && line.ends_with(" 1")).then_some(())
    })
    .await;
    assert!(worker.stop().await.success());
    let next = database.number("select next_offset from partition_offsets").await;
    assert!(next < 39_000, "{next}");
    assert_eq!(database.number("select count(*) from odds").await, 2 * next);
    assert_eq!(database.number("select sum(hole) from offset_ledger").await, 0);
    database.drop_now().await;
}

/// One who does not leave holds up everybody else until his session is over; here that would be longer than any test waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_leaves_its_group_whether_it_has_partitions_or_not() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 1).await;
    let mut setup = Setup::new(&database.url, &[("odds", &topic)]);
    setup.session_timeout_ms = 200_000;
    setup.must(&["migrate", "up"]);
    let group = format!("{}.{topic}", setup.group);
    let become_of = async |count: usize| {
        eventually(&format!("{count} members"), async || {
            let group = group.clone();
            let members = tokio::task::spawn_blocking(move || kafka::members(&group)).await.expect("asked");
            (members == Some(count)).then_some(())
        })
        .await;
    };
    let mut owner = setup.start();
    logged(&owner, "partition claimed", 1).await;
    let mut idle = setup.start();
    become_of(2).await;
    assert!(idle.stop().await.success());
    become_of(1).await;
    assert!(owner.stop().await.success());
    become_of(0).await;
    database.drop_now().await;
}
