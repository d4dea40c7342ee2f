//! What operators do, on real Kafka and real PostgreSQL: a partition halts by name, a command moves it on, nothing is unaccounted
//! for; and dead letters come back into the line.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::kafka::{self, Record};
use crate::support::postgres::Database;
use crate::support::scenes::{clean, get, odds, records, stored};
use crate::support::worker::{Setup, Worker, command};

/// A database, a topic of one partition, and the product configured for them.
async fn line() -> (Database, String, Setup) {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 1).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]);
    setup.must(&["migrate", "up"]);
    (database, topic, setup)
}

/// The one partition, as `offsets ls --json` shows it.
fn partition(setup: &Setup) -> Value {
    let rows: Value = serde_json::from_str(&setup.must(&["offsets", "ls", "--json"])).expect("JSON");
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    rows[0].clone()
}

/// Waits until the worker's metrics and `offsets ls` name the halt.
async fn halted(setup: &Setup, worker: &Worker, name: &str) {
    let address = worker.address().await;
    let metric = format!("reason=\"{name}\"}} 1");
    eventually(name, async || {
        let metrics = get(&address, "/metrics").await;
        let lines = metrics.lines().filter(|line| line.starts_with("ledgerline_partition_halted{"));
        lines.into_iter().any(|line| line.ends_with(&metric)).then_some(())
    })
    .await;
    let row = partition(setup);
    assert_eq!(row["halted"], name, "{row}");
    assert!(row["halted_since"].is_string() && row["halted_detail"].is_string(), "{row}");
    let text = setup.must(&["offsets", "ls"]);
    assert!(text.contains(&format!("{name} since ")), "{text}");
}

/// Waits until a gauge of the one partition is good.
async fn shows(worker: &Worker, topic: &str, gauge: &str, good: impl Fn(f64) -> bool) {
    let address = worker.address().await;
    let series = format!("{gauge}{{topic=\"{topic}\",partition=\"0\"}} ");
    eventually(gauge, async || {
        let metrics = get(&address, "/metrics").await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(&series))?.parse();
        value.is_ok_and(&good).then_some(())
    })
    .await;
}

/// An `offsets` command for the one partition, which has to succeed.
fn order(setup: &Setup, topic: &str, command: &str, more: &[&str]) -> Value {
    let mut args = vec!["offsets", command, "--topic", topic, "--partition", "0"];
    args.extend(["--reason", "a test", "--actor", "an operator", "--json"]);
    args.extend(more);
    serde_json::from_str(&setup.must(&args)).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_took_is_given_up_and_the_partition_flows_on() {
    let (database, topic, setup) = line().await;
    kafka::produced(&topic, records(1, 30)).await;
    let mut worker = setup.start();
    stored(&database, &topic, 1).await;
    assert!(worker.stop().await.success());
    let row = partition(&setup);
    assert_eq!((&row["next"], &row["lag"], &row["halted"]), (&json!(30), &json!(0), &Value::Null));

    kafka::produced(&topic, records(1, 60).split_off(30)).await;
    kafka::delete_before(&topic, 0, 50).await;
    let mut worker = setup.start();
    halted(&setup, &worker, "retention_passed").await;
    let refused = setup.run(&[
        "offsets",
        "reset",
        "--topic",
        &topic,
        "--partition",
        "0",
        "--to",
        "earliest",
        "--reason",
        "a test",
    ]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("accept-loss --to 50"), "{refused:?}");

    let moved = order(&setup, &topic, "accept-loss", &[]);
    assert_eq!((&moved["from"], &moved["to"], &moved["lost"]), (&json!(30), &json!(50), &json!(20)));
    stored(&database, &topic, 1).await;
    assert_eq!(partition(&setup)["halted"], Value::Null);
    assert!(worker.stop().await.success());
    assert_eq!(database.number("select count(*) from odds").await, 80);
    clean(&setup);
    let verified: Value = serde_json::from_str(&setup.must(&["verify", "--json"])).expect("JSON");
    assert_eq!(verified["lost"], 20, "{verified}");
    assert!(setup.must(&["verify"]).contains("20 offsets were given up"));
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_halts_until_it_is_reset() {
    let (database, topic, setup) = line().await;
    kafka::produced(&topic, records(1, 20)).await;
    let mut worker = setup.start();
    stored(&database, &topic, 1).await;
    assert!(worker.stop().await.success());

    kafka::make_again(&topic, 1).await;
    kafka::produced(&topic, records(1, 45).split_off(15)).await; // 30 records: position 20 would be plausible
    let mut worker = setup.start();
    halted(&setup, &worker, "topic_recreated").await;
    let moved = order(&setup, &topic, "reset", &["--to", "earliest"]);
    assert_eq!((&moved["from"], &moved["to"]), (&json!(20), &json!(0)));
    assert_ne!(moved["lineage_before"], moved["lineage_after"], "{moved}");
    stored(&database, &topic, 1).await;
    assert!(worker.stop().await.success());
    assert_eq!(database.number("select count(*) from odds").await, 90, "5 records came twice");
    assert_eq!(database.number("select sum(duplicate) from offset_ledger").await, 10);
    clean(&setup);
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_an_idle_topic_is_noticed_and_read_again() {
    let (database, topic, setup) = line().await;
    kafka::produced(&topic, records(1, 40)).await;
    let mut worker = setup.start();
    stored(&database, &topic, 1).await;
    let before = database.digest("readable_odds").await;

    let outside = setup.run(&[
        "offsets",
        "reset",
        "--topic",
        &topic,
        "--partition",
        "0",
        "--to",
        "41",
        "--reason",
        "a test",
    ]);
    assert_eq!(outside.status.code(), Some(1), "{outside:?}");
    order(&setup, &topic, "reset", &["--to", "10"]);
    let again = "select coalesce(sum(duplicate), 0) from offset_ledger";
    eventually("the records to be read again", async || (database.number(again).await == 60).then_some(()))
        .await;
    stored(&database, &topic, 1).await;
    order(&setup, &topic, "reset", &["--to", "2025-11-09T00:00:00Z"]); // before every record
    eventually("all of them", async || (database.number(again).await == 140).then_some(())).await;
    stored(&database, &topic, 1).await;
    assert!(worker.stop().await.success());

    // Nobody runs: what lies ahead of a position that was moved back is not demanded, nor what was given up.
    order(&setup, &topic, "reset", &["--to", "5"]);
    clean(&setup);
    let given_up = order(&setup, &topic, "accept-loss", &["--to", "20"]);
    assert_eq!(given_up["lost"], 15, "{given_up}");
    clean(&setup);
    assert_eq!(partition(&setup)["lag"], 20);
    let mut worker = setup.start();
    stored(&database, &topic, 1).await;
    assert!(worker.stop().await.success());

    assert_eq!(database.digest("readable_odds").await, before);
    let trail = "select count(*) from operator_actions where action = 'reset' and actor = 'an operator'";
    assert_eq!(database.number(trail).await, 3);
    clean(&setup);
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_dead_letters_halt_until_resumed() {
    let (database, topic, setup) = line().await;
    let bad = (0..300).map(|number| Record::of(&format!("bad-{number}"), "{"));
    kafka::produced(&topic, bad.chain(records(1, 5)).collect()).await;
    let mut worker = setup.start();
    halted(&setup, &worker, "dead_letter_budget").await;
    assert_eq!(database.number("select count(*) from dead_letters").await, 0, "nothing is flushed");
    let lag = "ledgerline_consumer_lag_seconds";
    shows(&worker, &topic, lag, |seconds| seconds > 0.0 && seconds < 600.0).await;

    let vain =
        ["offsets", "resume", "--topic", &topic, "--partition", "0", "--reason", "a test", "--until", "0"];
    assert_eq!(setup.run(&vain).status.code(), Some(1));
    let resumed = order(&setup, &topic, "resume", &[]);
    assert_eq!((&resumed["from"], &resumed["to"]), (&json!(0), &json!(305)));
    stored(&database, &topic, 1).await;
    assert_eq!(partition(&setup)["halted"], Value::Null);
    shows(&worker, &topic, lag, |seconds| seconds == 0.0).await;
    assert!(worker.stop().await.success());
    assert_eq!(database.number("select count(*) from odds").await, 10);
    let stats: Value = serde_json::from_str(&setup.must(&["dlq", "stats", "--json"])).expect("JSON");
    assert_eq!((&stats["letters"], &stats["reason"]), (&json!(300), &json!("malformed_json")), "{stats}");
    clean(&setup);
    database.drop_now().await;
}

/// The dead letters of a status, as `dlq ls --json` shows them.
fn letters(setup: &Setup, status: &str) -> Vec<Value> {
    let text = setup.must(&["dlq", "ls", "--json", "--status", status]);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_shown_redriven_discarded_and_pruned() {
    let (database, topic, setup) = line().await;
    let mut events = records(1, 10);
    let bytes = b"\x00\xff\x1b[31m not JSON\n".to_vec();
    events[3] = Record {
        headers: vec![("note".into(), Some(vec![0xff, 0x00])), ("none".into(), None)],
        ..Record::of("bad\x00key", bytes.clone())
    };
    for second in [5, 7] {
        let mut bad = odds(0, second);
        bad["data"]["outcomes"][0]["price_american"] = json!(50);
        events[second] = Record::of("test:game-0", bad.to_string());
    }
    kafka::produced(&topic, events).await;
    let mut worker = setup.start();
    stored(&database, &topic, 1).await;
    assert!(worker.stop().await.success());
    clean(&setup);

    let noise = shown_byte_for_byte(&setup, &database, &bytes).await;
    redriven_with_a_patch(&setup, &database).await;
    one_that_cannot_be_tried(&setup, &database, &topic).await;
    assert_eq!(setup.run(&["dlq", "discard", "--reason-text", "noise"]).status.code(), Some(2), "of which?");
    let no_patch = setup.run(&["dlq", "redrive", "--patch", "/nowhere/patch.json"]);
    assert_eq!(no_patch.status.code(), Some(2), "{no_patch:?}");
    assert!(setup.must(&["dlq", "discard", &noise, "--reason-text", "noise"]).contains("1 dead letters"));
    assert!(setup.must(&["dlq", "prune", "--older-than", "30d"]).starts_with("0 "));
    assert!(setup.must(&["dlq", "prune", "--older-than", "0s", "--dry-run"]).starts_with("3 "));
    assert!(setup.must(&["dlq", "prune", "--older-than", "0s"]).starts_with("3 "));
    assert_eq!(database.number("select sum(length(payload)) from dead_letters").await, 0);
    clean(&setup);
    database.drop_now().await;
}

/// Answers the id of the letter that is no JSON.
async fn shown_byte_for_byte(setup: &Setup, database: &Database, bytes: &[u8]) -> String {
    let dead = letters(setup, "dead");
    let found: Vec<&str> = dead.iter().filter_map(|letter| letter["reason"].as_str()).collect();
    assert_eq!(found, ["malformed_json", "invalid_field", "invalid_field"]);
    let noise = dead[0]["id"].as_str().expect("an id").to_owned();
    let raw = setup.run(&["dlq", "show", &noise, "--raw", "payload"]);
    assert_eq!(raw.stdout, bytes);
    assert_eq!(setup.run(&["dlq", "show", &noise, "--raw", "key"]).stdout, b"bad\x00key");
    let shown = setup.must(&["dlq", "show", &noise]);
    let table = setup.must(&["dlq", "ls"]);
    assert!(!format!("{shown}{table}").contains('\x1b'), "no byte of a record reaches the terminal as it is");
    assert!(shown.contains("note: \\xff") && table.contains("\\u{1b}[31m"), "{shown}\n{table}");
    assert_eq!(setup.run(&["dlq", "ls", "--reason", "no_such"]).status.code(), Some(2));

    let large = "update dead_letters set payload = convert_to(repeat('x', 1048576), 'UTF8') where reason = 'malformed_json'";
    database.change(large).await;
    assert!(setup.must(&["dlq", "show", &noise]).len() > 1 << 20);
    noise
}

async fn redriven_with_a_patch(setup: &Setup, database: &Database) {
    let patch = setup.folder.path().join("patch.json");
    let mend = json!([{"op": "replace", "path": "/data/outcomes/0/price_american", "value": -120}]);
    std::fs::write(&patch, mend.to_string()).expect("written");
    let patch = patch.display().to_string();
    let redrive = |more: &[&str]| -> Value {
        let args = [&["dlq", "redrive", "--json", "--reason", "invalid_field"], more].concat();
        serde_json::from_str(&setup.must(&args)).expect("JSON")
    };
    let still = redrive(&[]);
    assert_eq!(
        (&still["redriven"], &still["still_dead"]["invalid_field"]),
        (&json!(0), &json!(2)),
        "{still}"
    );
    let planned = redrive(&["--patch", &patch, "--dry-run"]);
    assert_eq!((&planned["redriven"], &planned["inserted"]), (&json!(2), &json!(4)), "{planned}");
    assert_eq!(letters(setup, "redriven").len(), 0);
    let done = redrive(&["--patch", &patch]);
    assert_eq!((&done["redriven"], &done["inserted"]), (&json!(2), &json!(4)), "{done}");
    assert_eq!(letters(setup, "redriven").len(), 2);
    assert_eq!(redrive(&["--patch", &patch])["redriven"], 0);
    assert_eq!(database.number("select count(*) from odds").await, 18);
    let named =
        "select count(*) from operator_actions where action = 'redrive' and reason ~ 'SHA-256 [0-9a-f]{64}$'";
    assert_eq!(database.number(named).await, 2);
    clean(setup);
}

/// A topic that the configuration does not know.
async fn one_that_cannot_be_tried(setup: &Setup, database: &Database, topic: &str) {
    database.change("update dead_letters set topic = 'elsewhere' where reason = 'malformed_json'").await;
    let untried = setup.run(&["dlq", "redrive", "--json"]);
    assert_eq!(untried.status.code(), Some(1), "{untried:?}");
    let summary: Value = serde_json::from_slice(&untried.stdout).expect("JSON");
    assert_eq!((&summary["not_tried"], &summary["redriven"]), (&json!(1), &json!(0)), "{summary}");
    let moved_back = format!("update dead_letters set topic = '{topic}' where topic = 'elsewhere'");
    database.change(&moved_back).await;
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("a.db").display());
    let setup = Setup::new(&url, &[]);
    setup.must(&["migrate", "up"]);
    let commands: [&[&str]; 4] = [
        &["dlq", "ls"],
        &["dlq", "stats"],
        &["dlq", "prune", "--older-than", "30000000d"],
        &["offsets", "ls", "--no-kafka"],
    ];
    for args in commands {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = command(&setup.file()).args(args).stdout(writer).output().expect("the command runs");
        assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0), "{args:?}: {ended:?}");
    }
}
