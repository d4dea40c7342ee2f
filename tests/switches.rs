//! `pause` and `resume` on real Kafka and real PostgreSQL, under load: what is paused stands still, all else flows, nothing is lost; and a
//! switch that cannot be read changes nothing.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::kafka::{self, Load, Record};
use crate::support::postgres::{Database, connect};
use crate::support::scenes::{clean, get, logged, odds, records, stored};
use crate::support::worker::{Setup, Worker};

/// A database, a topic of three partitions, and the product configured for them.
struct Line {
    database: Database,
    topic: String,
    setup: Setup,
}

impl Line {
    async fn new() -> Self {
        let database = Database::postgres().await;
        let topic = kafka::topic("odds", 3).await;
        let small = "[topics.odds.batch]\nrows = 200\nage_ms = 20";
        let setup = Setup::new(&database.url, &[("odds", &topic)]).with(small);
        setup.must(&["migrate", "up"]);
        Self { database, topic, setup }
    }

    fn switch(&self, verb: &str, more: &[&str]) -> Value {
        let mut args = vec![verb, &self.topic, "--reason", "a test", "--actor", "an operator", "--json"];
        args.extend(more);
        serde_json::from_str(&self.setup.must(&args)).expect("JSON")
    }

    async fn position(&self, partition: i32) -> i64 {
        let of = format!("topic = '{}' and partition = {partition}", self.topic);
        self.database
            .number(&format!("select coalesce(max(next_offset), -1) from partition_offsets where {of}"))
            .await
    }

    /// Of all partitions.
    async fn total(&self) -> i64 {
        self.position(0).await + self.position(1).await + self.position(2).await
    }

    /// Waits until the partition has moved by so many records from here.
    async fn flows(&self, partition: i32, by: i64) {
        let from = self.position(partition).await;
        eventually("a partition to flow", async || {
            (self.position(partition).await >= from + by).then_some(())
        })
        .await;
    }

    /// Waits until the worker says how many of its partitions are paused.
    async fn shows_paused(&self, worker: &Worker, partitions: &[i32]) {
        let address = worker.address().await;
        eventually("the pause in the metrics", async || {
            let metrics = get(&address, "/metrics").await;
            let series = metrics.lines().filter(|line| line.starts_with("ledgerline_partition_paused{"));
            let paused = series.filter(|line| line.ends_with(" 1")).collect::<Vec<_>>();
            let named = |partition: &i32| {
                paused.iter().any(|line| line.contains(&format!("partition=\"{partition}\"")))
            };
            (paused.len() == partitions.len() && partitions.iter().all(named)).then_some(())
        })
        .await;
    }

    fn load(&self) -> Load {
        Load::start(&kafka::brokers(), &self.topic, 600, |number| {
            let event = odds(number % 30, number / 30);
            let partition = i32::try_from(number % 3).expect("small");
            Record { partition: Some(partition), ..Record::of("key", event.to_string()) }
        })
    }

    fn rows(&self, command: &[&str]) -> Vec<Value> {
        let rows: Value = serde_json::from_str(&self.setup.must(command)).expect("JSON");
        rows.as_array().expect("a list").clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_partition_stands_still_over_a_restart_and_all_others_flow() {
    let line = Line::new().await;
    let load = line.load();
    let mut worker = line.setup.start();
    for partition in 0..3 {
        line.flows(partition, 200).await;
    }

    let done = line.switch("pause", &["--partition", "1"]);
    assert_eq!((&done["partition"], &done["still_paused"]), (&json!(1), &json!([1])), "{done}");
    line.shows_paused(&worker, &[1]).await;
    let at = eventually("the transaction under way to end", async || {
        let before = line.position(1).await;
        line.flows(0, 400).await;
        (line.position(1).await == before).then_some(before)
    })
    .await;
    line.flows(2, 400).await;
    assert_eq!(line.position(1).await, at);
    for rows in [line.rows(&["offsets", "ls", "--json"]), line.rows(&["lag", "--json"])] {
        let paused: Vec<&Value> = rows.iter().filter(|row| row["paused"].is_object()).collect();
        assert_eq!((paused.len(), &paused[0]["partition"]), (1, &json!(1)), "{rows:?}");
        assert_eq!(paused[0]["paused"]["actor"], json!("an operator"));
    }
    assert!(line.setup.must(&["offsets", "ls"]).contains("[1] paused since "));
    let page: Value = {
        let answer = get(&worker.address().await, "/api/v1/partitions").await;
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON")
    };
    assert_eq!(page["items"][1]["paused"]["reason"], json!("a test"), "{page}");
    assert_eq!(page["items"][0]["paused"], Value::Null, "{page}");

    // It ends in time, and the next one never begins with it.
    assert!(worker.stop().await.success());
    let mut worker = line.setup.start();
    line.shows_paused(&worker, &[1]).await;
    line.flows(0, 400).await;
    assert_eq!(line.position(1).await, at, "a claim heeds the switch before anything is written");

    line.switch("resume", &["--partition", "1"]);
    line.flows(1, 400).await;
    line.shows_paused(&worker, &[]).await;
    let sent = load.stop();
    stored(&line.database, &line.topic, 3).await;
    assert!(worker.stop().await.success());
    let applied = line.database.number("select sum(applied) from offset_ledger").await;
    assert_eq!(applied, i64::try_from(sent).expect("a number"), "each once, whatever was paused");
    clean(&line.setup);
    line.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_topic_holds_no_replay_back_and_what_cannot_be_read_changes_nothing() {
    let line = Line::new().await;
    let before: Vec<Record> = records(30, 20)
        .into_iter()
        .enumerate()
        .map(|(number, record)| Record {
            partition: Some(i32::try_from(number % 3).expect("small")),
            ..record
        })
        .collect();
    kafka::produced(&line.topic, before).await;
    let mut worker = line.setup.start();
    stored(&line.database, &line.topic, 3).await;
    line.switch("pause", &[]);
    line.shows_paused(&worker, &[0, 1, 2]).await;
    let load = line.load();
    eventually("a backlog", async || {
        let ends: i64 = (0..3).map(|partition| kafka::end(&line.topic, partition)).sum();
        (ends > 600 + 1_200).then_some(())
    })
    .await;

    // The backlog of a pause is nothing to give way to.
    let replayed = ["replay", "--topic", &line.topic, "--offsets", "0:0-50", "--max-lag", "100", "--json"];
    let replayed: Value = serde_json::from_str(&line.setup.must(&replayed)).expect("JSON");
    assert_eq!((&replayed["applied"], &replayed["state"]), (&json!(50), &json!("succeeded")), "{replayed}");

    // Nobody can read the switches: what is paused stays paused, for the next claim too.
    line.database.change("alter table switches rename to gone").await;
    logged(&worker, "cannot read the switches", 1).await;
    line.database.change("alter table gone rename to switches").await;
    logged(&worker, "the switches can be read again", 1).await;
    assert_eq!(line.total().await, 600, "nothing was written all that time");
    line.database.change("update switches set state = 'slowed'").await;
    logged(&worker, "a switch says what this program does not know", 1).await;
    line.shows_paused(&worker, &[0, 1, 2]).await;
    line.database.change("update switches set state = 'paused'").await;
    logged(&worker, "the switches can be read again", 2).await;
    assert_eq!(line.total().await, 600, "nor then");

    line.switch("resume", &[]);
    for partition in 0..3 {
        line.flows(partition, 200).await;
    }
    // And what flows goes on flowing.
    line.database.change("alter table switches rename to gone").await;
    line.flows(0, 2_000).await;
    line.database.change("alter table gone rename to switches").await;
    load.stop();
    eventually("the line to be at the end", async || {
        let ends: i64 = (0..3).map(|partition| kafka::end(&line.topic, partition)).sum();
        let group = format!("{}.{}", line.setup.group, line.topic);
        let sum = format!("select sum(next_offset) from partition_offsets where consumer_group = '{group}'");
        (line.database.number(&sum).await == ends).then_some(())
    })
    .await;
    assert!(worker.stop().await.success());
    clean(&line.setup);
    line.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_fails_again_and_again_is_not_tried_any_more_while_it_is_paused() {
    let line = Line::new().await;
    let load = line.load();
    let mut worker = line.setup.start();
    for partition in 0..3 {
        line.flows(partition, 100).await;
    }
    let lock = connect(&line.database.url).await;
    lock.batch_execute("begin; select 1 from partition_offsets where partition = 1 for update")
        .await
        .expect("the lock");
    let at = line.position(1).await;
    logged(&worker, "asking the database and trying again", 1).await;
    line.switch("pause", &["--partition", "1"]);
    line.shows_paused(&worker, &[1]).await;
    // What had begun before it was paused waits for the lock, gives up, and is not begun again.
    let waiting = "select count(*) from pg_stat_activity \
                   where datname = current_database() and wait_event_type = 'Lock'";
    for _ in 0..2 {
        line.flows(0, 200).await;
        eventually("nobody to wait for the lock", async || {
            (line.database.number(waiting).await == 0).then_some(())
        })
        .await;
    }
    lock.batch_execute("rollback").await.expect("the lock is gone");
    line.flows(2, 400).await;
    assert_eq!(line.position(1).await, at, "nobody wrote although he could");

    line.switch("resume", &["--partition", "1"]);
    line.flows(1, 200).await;
    load.stop();
    stored(&line.database, &line.topic, 3).await;
    assert!(worker.stop().await.success());
    clean(&line.setup);
    line.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_switched_is_said_with_its_code() {
    let database = Database::sqlite();
    let setup = Setup::new(&database.url, &[("odds", "odds-of-a-test")]);
    setup.must(&["migrate", "up"]);
    let refused = |args: &[&str], code: i32, says: &str| {
        let output = setup.run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    };
    let why = ["--reason", "a test"];
    let with = |args: &[&'static str]| [args, &why[..]].concat();
    refused(
        &with(&["pause", "oods"]),
        2,
        "no topic oods in the configuration, which has games, odds-of-a-test, articles",
    );
    refused(&["pause", "odds-of-a-test"], 2, "--reason");
    refused(&["pause", "odds-of-a-test", "--reason", " "], 2, "must say why");
    refused(&with(&["pause", "odds-of-a-test", "--partition=-1"]), 2, "--partition");
    refused(&with(&["resume", "odds-of-a-test"]), 1, "odds-of-a-test is not paused");
    let told = setup.must(&with(&["pause", "odds-of-a-test"]));
    assert!(told.contains("odds-of-a-test: paused; workers notice within seconds"), "{told}");
    refused(&with(&["pause", "odds-of-a-test"]), 1, "is paused already, since ");
    let told = setup.must(&with(&["pause", "odds-of-a-test", "--partition", "3"]));
    assert!(told.contains("odds-of-a-test[3]: paused"), "{told}");
    let told = setup.must(&with(&["resume", "odds-of-a-test"]));
    assert!(told.contains("resumed") && told.contains("odds-of-a-test[3] paused since "), "{told}");
}
