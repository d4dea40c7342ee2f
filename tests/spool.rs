//! An outage of the database that a spool bridges, on real servers: ingest goes on, nothing is lost or doubled, whoever dies in
//! between. Many faults at once are the business of `tests/chaos`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use ledgerline_worker::config::Config;
use serde_json::{Value, json};

use crate::support::kafka::{self, Load, Record};
use crate::support::postgres::Database;
use crate::support::scenes::{clean, get, load, logged, outage, records, some_progress, stored};
use crate::support::servers::Postgres;
use crate::support::worker::{Setup, Worker};
use crate::support::{eventually, unique};

/// A worker with a spool, its database on a server of the test's own.
struct Scene {
    postgres: Postgres,
    database: Database,
    topic: String,
    partitions: i32,
    setup: Setup,
}

impl Scene {
    async fn new(partitions: i32, spool_mib: u64) -> Self {
        let postgres = Postgres::start().await;
        let database = Database::on(&postgres.url("postgres")).await;
        let topic = kafka::topic("odds", partitions).await;
        let setup = Setup::new(&database.url, &[("odds", &topic)]);
        let file = setup.folder.path().join("spool.db");
        let setup = setup.with_database("idle_in_transaction_timeout_ms = 2000\nlock_timeout_ms = 1000").with(
            &format!(
                "[store]\non_outage = \"spool\"\nspool_file = {file:?}\nspool_after_ms = 1000\nspool_mib = {spool_mib}\n"
            ),
        );
        setup.must(&["migrate", "up"]);
        Self { postgres, database, topic, partitions, setup }
    }

    fn ends(&self) -> i64 {
        (0..self.partitions).map(|partition| kafka::end(&self.topic, partition)).sum()
    }

    async fn stored(&self) {
        stored(&self.database, &self.topic, self.partitions).await;
    }

    /// Stops the load: all of it is stored, out of the spool too. Answers how many records it was.
    async fn all_is_stored(&self, mut worker: Worker, load: Load) -> usize {
        let sent = load.stop();
        self.stored().await;
        until_metric(&worker, "ledgerline_spool_segments", |segments| segments == 0.0).await;
        assert!(worker.stop().await.success());
        assert_eq!(self.database.number("select sum(applied) from offset_ledger").await, sent as i64);
        self.must_equal_an_undisturbed_run().await;
        sent
    }

    /// Every record is stored once, and a second group that nothing ever disturbed reads the same.
    async fn must_equal_an_undisturbed_run(&self) {
        clean(&self.setup);
        let sums = "select sum(duplicate) + sum(dead) from offset_ledger";
        assert_eq!(self.database.number(sums).await, 0, "nothing came twice, nothing is dead");
        let calm = Database::on(&self.postgres.url("postgres")).await;
        let setup = Setup::new(&calm.url, &[("odds", &self.topic)]);
        setup.must(&["migrate", "up"]);
        let mut worker = setup.start();
        stored(&calm, &self.topic, self.partitions).await;
        assert!(worker.stop().await.success());
        assert_eq!(self.database.digest("readable_odds").await, calm.digest("readable_odds").await);
    }
}

/// The sum of a metric's series.
async fn metric(worker: &Worker, name: &str) -> f64 {
    let text = get(&worker.address().await, "/metrics").await;
    let values =
        text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

async fn until_metric(worker: &Worker, name: &str, holds: impl Fn(f64) -> bool) {
    eventually(name, || async { holds(metric(worker, name).await).then_some(()) }).await;
}

/// Records that have reached the worker's spool or its database, by its own count.
async fn ingested(worker: &Worker) -> f64 {
    metric(worker, "ledgerline_spooled_records_total").await
}

/// `away`: takes the database away, and brings it back.
async fn ingest_goes_on(mut away: impl AsyncFnMut(&mut Postgres, bool)) {
    let mut scene = Scene::new(4, 64).await;
    let worker = scene.setup.start();
    let load = Load::start(&scene.setup.brokers, &scene.topic, 2_000, load);
    some_progress(&scene.database, 20_000).await;

    away(&mut scene.postgres, true).await;
    let start = Instant::now();
    until_metric(&worker, "ledgerline_spooling", |on| on == 1.0).await;
    until_metric(&worker, "ledgerline_spooled_records_total", |records| records > 0.0).await;
    let first = start.elapsed();
    let before = metric(&worker, "ledgerline_records_settled_total").await;
    let ready = get(&worker.address().await, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("\"spooling\":true"), "{ready}");
    let (mut longest, mut seen, mut since) = (Duration::ZERO, ingested(&worker).await, Instant::now());
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while start.elapsed() < outage() {
        ticks.tick().await;
        let now = ingested(&worker).await;
        if now > seen {
            longest = longest.max(since.elapsed());
            (seen, since) = (now, Instant::now());
        }
    }
    // PostgreSQL is still away: what was produced until now has come in, too.
    let produced = scene.ends() as f64;
    until_metric(&worker, "ledgerline_spooled_records_total", |spooled| before + spooled >= produced).await;
    away(&mut scene.postgres, false).await;
    let back = Instant::now();
    until_metric(&worker, "ledgerline_spool_segments", |segments| segments == 0.0).await;
    let drained = back.elapsed();
    assert_eq!(worker.log().matches("partitions revoked").count(), 0, "no rebalance");
    let sent = scene.all_is_stored(worker, load).await;
    println!(
        "away {:?}: {sent} records, {seen} of them spooled; the first after {:.1} s, then never more than {:.1} s without; \
         drained {:.1} s after it was back",
        outage(),
        first.as_secs_f64(),
        longest.as_secs_f64(),
        drained.as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_spool_ingest_goes_on_while_the_database_is_away() {
    ingest_goes_on(async |postgres, away| match away {
        true => postgres.stop_immediate().await,
        false => postgres.start_again().await,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_spool_ingest_goes_on_while_the_database_accepts_and_stalls() {
    ingest_goes_on(async |postgres, away| postgres.freeze(away)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_ten_times_in_an_outage_and_after_it_loses_nothing() {
    let mut scene = Scene::new(4, 64).await;
    let mut worker = scene.setup.start();
    let load = Load::start(&scene.setup.brokers, &scene.topic, 2_000, load);
    some_progress(&scene.database, 10_000).await;
    scene.postgres.stop_immediate().await;
    // A process that starts without the database spools on: its spool knows where the partitions stand.
    for kill in 0..10 {
        if kill == 5 {
            scene.postgres.start_again().await;
        }
        let enough = f64::from(rand::random_range(1..4_000));
        let counts =
            if kill < 5 { "ledgerline_spooled_records_total" } else { "ledgerline_records_settled_total" };
        until_metric(&worker, counts, |records| records >= enough).await;
        worker.kill();
        worker = scene.setup.start();
    }
    let sent = scene.all_is_stored(worker, load).await;
    println!("{sent} records, the worker killed ten times");
}

/// Spools all that is in the topic, with PostgreSQL away, and ends.
async fn spool_and_end(scene: &mut Scene, more: Vec<Record>) {
    let mut worker = scene.setup.start();
    scene.stored().await;
    logged(&worker, "partition claimed", usize::try_from(scene.partitions).expect("a number")).await;
    scene.postgres.stop_immediate().await;
    let expected = more.len() as f64;
    kafka::produced(&scene.topic, more).await;
    until_metric(&worker, "ledgerline_spooled_records_total", |records| records >= expected).await;
    assert!(worker.stop().await.success());
}

fn waiting(scene: &Scene, args: &[&str]) -> (Option<i32>, Vec<Value>) {
    let mut all = vec!["drain", "--json"];
    all.extend(args);
    let output = scene.setup.run(&all);
    let rows: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), rows.as_array().expect("a list").clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_moves_what_a_dead_worker_left_and_a_second_one_changes_nothing() {
    let mut scene = Scene::new(2, 16).await;
    kafka::produced(&scene.topic, records(20, 20)).await;
    spool_and_end(&mut scene, records(20, 60).split_off(400)).await;
    scene.postgres.start_again().await;

    let (code, rows) = waiting(&scene, &["--dry-run"]);
    assert_eq!((code, rows.len()), (Some(0), 2), "{rows:?}");
    assert!(rows.iter().all(|row| row["standing"] == "goes_on"), "{rows:?}");
    assert_eq!(rows.iter().filter_map(|row| row["records"].as_i64()).sum::<i64>(), 800);
    let before = scene.database.number("select sum(next_offset) from partition_offsets").await;
    assert_eq!(before, 400, "it only looked");

    let (code, rows) = waiting(&scene, &[]);
    assert_eq!((code, rows), (Some(0), Vec::new()));
    assert_eq!(scene.database.number("select sum(next_offset) from partition_offsets").await, scene.ends());
    let rows_now = scene.database.digest("readable_odds").await;
    let account = scene.database.digest("offset_ledger").await;
    let (code, rows) = waiting(&scene, &[]);
    assert_eq!((code, rows), (Some(0), Vec::new()));
    assert_eq!(scene.database.digest("readable_odds").await, rows_now);
    assert_eq!(scene.database.digest("offset_ledger").await, account);
    scene.must_equal_an_undisturbed_run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_spool_has_is_stored_although_kafka_has_deleted_it() {
    let mut scene = Scene::new(1, 16).await;
    kafka::produced(&scene.topic, records(10, 10)).await;
    spool_and_end(&mut scene, records(10, 30).split_off(100)).await;
    kafka::delete_before(&scene.topic, 0, 250).await;
    scene.postgres.start_again().await;
    let mut worker = scene.setup.start();
    kafka::produced(&scene.topic, records(10, 32).split_off(300)).await;
    scene.stored().await;
    assert!(worker.stop().await.success());
    assert_eq!(scene.database.number("select count(*) from odds").await, 640);
    assert_eq!(scene.database.number("select sum(lost) from offset_ledger").await, 0);
    let verified: Value = serde_json::from_str(&scene.setup.must(&["verify", "--json"])).expect("JSON");
    assert_eq!((&verified["ok"], &verified["records"]), (&json!(true), &json!(320)), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_worker_has_stored_meanwhile_is_dropped_and_only_the_rest_is_written() {
    let mut scene = Scene::new(1, 16).await;
    kafka::produced(&scene.topic, records(10, 10)).await;
    spool_and_end(&mut scene, records(10, 40).split_off(100)).await;
    scene.postgres.start_again().await;
    // It has no spool: it reads the same records from Kafka, and is killed in the middle of what the spool holds.
    let mut worker = without_spool(&scene, "[topics.odds.batch]\nrows = 30\nage_ms = 20\n");
    some_progress(&scene.database, 260).await;
    worker.kill();
    let looked = waiting(&scene, &["--dry-run"]);
    assert_eq!((looked.0, looked.1.len()), (Some(0), 1));
    assert_eq!(waiting(&scene, &["--dry-run"]), looked, "who only looks drops nothing");
    let (code, rows) = waiting(&scene, &[]);
    assert_eq!((code, rows), (Some(0), Vec::new()));
    scene.must_equal_an_undisturbed_run().await;
}

/// Kafka has deleted what the first worker spooled. Another one, without a spool, halts on it, until the first is back: the group gives
/// that one some of the partitions, and of the others it writes what only it has.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_has_spooled_and_lost_to_another_one_is_stored_all_the_same() {
    let mut scene = Scene::new(2, 16).await;
    kafka::produced(&scene.topic, records(20, 10)).await;
    spool_and_end(&mut scene, records(20, 40).split_off(200)).await;
    for partition in 0..2 {
        kafka::delete_before(&scene.topic, partition, kafka::end(&scene.topic, partition) - 1).await;
    }
    scene.postgres.start_again().await;
    let mut other = without_spool(&scene, "");
    logged(&other, "partition halted", 2).await;
    let mut worker = scene.setup.start();
    scene.stored().await;
    assert_eq!(scene.database.number("select count(*) from odds").await, 1_600);
    assert_eq!(scene.database.number("select sum(lost) + sum(duplicate) from offset_ledger").await, 0);
    assert!(other.stop().await.success());
    assert!(worker.stop().await.success());
    let verified: Value = serde_json::from_str(&scene.setup.must(&["verify", "--json"])).expect("JSON");
    assert_eq!((&verified["ok"], &verified["records"]), (&json!(true), &json!(800)), "{verified}");
}

/// A worker of the same group that leaves everything in Kafka.
fn without_spool(scene: &Scene, more: &str) -> Worker {
    crate::support::worker::start(&altered(scene, "on_outage = \"spool\"", "on_outage = \"wait\"", more))
}

/// Another configuration file: this text instead of that one, and some more.
fn altered(scene: &Scene, that: &str, this: &str, more: &str) -> PathBuf {
    let file = scene.setup.folder.path().join(format!("{}.toml", unique("altered")));
    let text = std::fs::read_to_string(scene.setup.file()).expect("the configuration");
    assert!(text.contains(that), "{text}");
    std::fs::write(&file, text.replace(that, this) + more).expect("written");
    file
}

/// The group gives the partitions of one that leaves to the other, which goes on into its own spool, and back again.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_come_and_go_in_an_outage_lose_and_double_nothing() {
    let mut scene = Scene::new(4, 64).await;
    let first = scene.setup.start();
    let other = altered(&scene, "spool.db", "other-spool.db", "");
    let mut second = crate::support::worker::start(&other);
    logged(&second, "partition claimed", 2).await;
    let load = Load::start(&scene.setup.brokers, &scene.topic, 2_000, load);
    some_progress(&scene.database, 10_000).await;
    scene.postgres.stop_immediate().await;
    until_metric(&second, "ledgerline_spooled_records_total", |records| records > 500.0).await;
    let assigned = first.log().matches("partitions assigned").count();
    assert!(second.stop().await.success());
    logged(&first, "partitions assigned", assigned + 1).await;
    let before = ingested(&first).await;
    until_metric(&first, "ledgerline_spooled_records_total", |records| records > before + 2_000.0).await;
    let mut second = crate::support::worker::start(&other);
    until_metric(&second, "ledgerline_spooled_records_total", |records| records > 500.0).await;
    scene.postgres.start_again().await;
    until_metric(&second, "ledgerline_spool_segments", |segments| segments == 0.0).await;
    scene.all_is_stored(first, load).await;
    assert!(second.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spooled_for_a_group_that_has_another_name_by_now_is_stored_for_it() {
    let mut scene = Scene::new(1, 16).await;
    kafka::produced(&scene.topic, records(10, 10)).await;
    spool_and_end(&mut scene, records(10, 30).split_off(100)).await;
    scene.postgres.start_again().await;
    let group = format!("\"{}\"", scene.setup.group);
    let renamed = altered(&scene, &group, &format!("\"{}\"", unique("group")), "");
    let mut worker = crate::support::worker::start(&renamed);
    let both = "select count(*) from partition_offsets where next_offset = 300";
    eventually("both groups", async || (scene.database.number(both).await == 2).then_some(())).await;
    until_metric(&worker, "ledgerline_spool_segments", |segments| segments == 0.0).await;
    assert!(worker.stop().await.success());
    assert_eq!(scene.database.number("select count(*) from odds").await, 600);
}

/// Spoils every segment of a spool that nobody has open.
#[expect(clippy::disallowed_methods, reason = "tests look at the file from outside")]
fn damage(file: &Path) {
    let mut spool = SqliteConnection::establish(&file.to_string_lossy()).expect("the spool");
    spool.batch_execute("update segments set body = x'1f8b08'").expect("damaged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_is_read_from_kafka_and_an_operators_pause_is_heeded() {
    let mut scene = Scene::new(1, 16).await;
    kafka::produced(&scene.topic, records(10, 10)).await;
    spool_and_end(&mut scene, records(10, 60).split_off(100)).await;
    let file = scene.setup.folder.path().join("spool.db");
    damage(&file);
    scene.postgres.start_again().await;

    scene.setup.must(&["pause", &scene.topic, "--reason", "a test"]);
    let (code, rows) = waiting(&scene, &[]);
    assert_eq!((code, &rows[0]["standing"]), (Some(1), &json!("paused")), "{rows:?}");
    scene.setup.must(&["resume", &scene.topic, "--reason", "a test"]);
    let (code, rows) = waiting(&scene, &[]);
    assert_eq!((code, &rows[0]["standing"]), (Some(1), &json!("unreadable")), "it ends: {rows:?}");

    let mut worker = scene.setup.start();
    scene.stored().await;
    logged(&worker, "cannot be read", 1).await;
    assert!(worker.stop().await.success());
    let (code, rows) = waiting(&scene, &[]);
    assert_eq!((code, rows), (Some(0), Vec::new()), "the database has it by now");
    scene.must_equal_an_undisturbed_run().await;
}

/// The positions of these partitions together.
async fn position(scene: &Scene, partitions: &str) -> i64 {
    let sql =
        format!("select sum(next_offset)::bigint from partition_offsets where partition in ({partitions})");
    scene.database.number(&sql).await
}

/// A topic has one writer here: two batches are out of the spool at a time.
#[tokio::test(flavor = "multi_thread")]
async fn paused_partitions_wait_in_the_spool_and_all_others_come_out_of_it() {
    let mut scene = Scene::new(5, 16).await;
    kafka::produced(&scene.topic, records(20, 10)).await;
    spool_and_end(&mut scene, records(20, 40).split_off(200)).await;
    scene.postgres.start_again().await;
    for partition in ["0", "1", "2"] {
        scene.setup.must(&["pause", &scene.topic, "--partition", partition, "--reason", "a test"]);
    }
    let paused = position(&scene, "0, 1, 2").await;
    let mut worker = scene.setup.start();
    let ends: i64 = (3..5).map(|partition| kafka::end(&scene.topic, partition)).sum();
    eventually("all others", || async { (position(&scene, "3, 4").await == ends).then_some(()) }).await;
    assert_eq!(position(&scene, "0, 1, 2").await, paused);
    for partition in ["0", "1", "2"] {
        scene.setup.must(&["resume", &scene.topic, "--partition", partition, "--reason", "a test"]);
    }
    scene.stored().await;
    until_metric(&worker, "ledgerline_spool_segments", |segments| segments == 0.0).await;
    assert!(worker.stop().await.success());
    scene.must_equal_an_undisturbed_run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_gave_up_stays_in_the_spool_and_is_told() {
    let mut scene = Scene::new(1, 16).await;
    kafka::produced(&scene.topic, records(10, 10)).await;
    spool_and_end(&mut scene, records(10, 30).split_off(100)).await;
    scene.postgres.start_again().await;
    let to = ["--partition", "0", "--to", "300", "--reason", "a test"];
    scene.setup.must(&[&["offsets", "accept-loss", "--topic", &scene.topic][..], &to[..]].concat());
    let mut worker = scene.setup.start();
    logged(&worker, "kept in the spool: an operator moved the database to 300", 1).await;
    assert!(worker.stop().await.success());
    let (code, rows) = waiting(&scene, &[]);
    assert_eq!(
        (code, &rows[0]["standing"], &rows[0]["records"]),
        (Some(1), &json!("passed_over"), &json!(200))
    );
    // To have it after all.
    let back = ["--partition", "0", "--to", "100", "--reason", "a test"];
    scene.setup.must(&[&["offsets", "reset", "--topic", &scene.topic][..], &back[..]].concat());
    let (code, rows) = waiting(&scene, &[]);
    assert_eq!((code, rows), (Some(0), Vec::new()));
    assert_eq!(scene.database.number("select count(*) from odds").await, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_waits_and_loses_nothing() {
    let mut scene = Scene::new(2, 1).await;
    let worker = scene.setup.start();
    let load = Load::start(&scene.setup.brokers, &scene.topic, 4_000, load);
    some_progress(&scene.database, 5_000).await;
    scene.postgres.stop_immediate().await;
    logged(&worker, "the spool is full", 2).await;
    until_metric(&worker, "ledgerline_spooled_records_total", |records| records > 0.0).await;
    scene.postgres.start_again().await;
    scene.all_is_stored(worker, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_again_in_the_middle_of_draining_loses_nothing() {
    let mut scene = Scene::new(2, 64).await;
    let worker = scene.setup.start();
    let load = Load::start(&scene.setup.brokers, &scene.topic, 4_000, load);
    some_progress(&scene.database, 5_000).await;
    for round in 0..3 {
        let before = metric(&worker, "ledgerline_spooled_records_total").await;
        scene.postgres.stop_immediate().await;
        until_metric(&worker, "ledgerline_spooled_records_total", |records| records >= before + 8_000.0)
            .await;
        scene.postgres.start_again().await;
        logged(&worker, "the database is back", round + 1).await;
        until_metric(&worker, "ledgerline_spool_segments", |segments| segments > 0.0).await;
    }
    scene.all_is_stored(worker, load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_has_the_spool() {
    let scene = Scene::new(1, 16).await;
    let mut worker = scene.setup.start();
    logged(&worker, "partition claimed", 1).await;
    let refused = scene.setup.run(&["drain"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot open the spool") && said.contains("spool.db"), "{said}");
    assert!(worker.stop().await.success());
    // One that is not there is not an empty one: somebody looks in the wrong place.
    std::fs::remove_file(scene.setup.folder.path().join("spool.db")).expect("removed");
    let refused = scene.setup.run(&["drain"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("there is no spool /") && said.contains("store.spool_file"), "{said}");
}

#[test]
fn what_a_spool_cannot_do_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |text: &str| {
        let file = folder.path().join("ledgerline.toml");
        std::fs::write(&file, text).expect("written");
        format!("{:#}", Config::load(Some(&file)).expect_err("refused"))
    };
    for (text, named) in [
        ("[store]\non_outage = \"spool\"", "store.on_outage"),
        ("[store]\non_outage = \"forget\"", "on_outage"),
        ("[store]\nspool_mib = 0", "store.spool_mib"),
        ("[store]\nspool_after_ms = 9999999", "store.spool_after_ms"),
        ("[store]\nspool_file = \"\"", "store.spool_file"),
    ] {
        let said = refused(text);
        assert!(said.contains(named), "{text}: {said}");
    }
}
