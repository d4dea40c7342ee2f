//! `lag`, `freshness` and `doctor`: what they say of a real worker, of one that is behind, and of things that are wrong.

use serde_json::{Value, json};

use crate::support::kafka;
use crate::support::matchday::{games, poll};
use crate::support::postgres::Database;
use crate::support::scenes::stored;
use crate::support::worker::Setup;

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The probes of `doctor` by name, and its exit code.
fn doctor(setup: &Setup) -> (Value, Option<i32>) {
    let output = setup.run(&["doctor", "--json"]);
    let report = read(&String::from_utf8_lossy(&output.stdout));
    let mut probes = json!({});
    for probe in report["probes"].as_array().expect("a list") {
        probes[probe["name"].as_str().expect("a name")] = probe.clone();
    }
    assert_eq!(report["ok"], json!(output.status.code() == Some(0)), "{report}");
    (probes, output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_the_position_of_the_database_against_the_end_of_the_log() {
    let database = Database::postgres().await;
    let odds = kafka::topic("odds", 2).await;
    let setup = Setup::new(&database.url, &[("odds", &odds)]);
    setup.must(&["migrate", "up"]);
    kafka::produced(&odds, (0..10).flat_map(poll).collect()).await;
    let before = read(&setup.must(&["lag", "--json"]));
    assert_eq!(before.as_array().map(Vec::len), Some(2), "nobody has claimed them, and they are listed");
    assert!(before[0]["position"].is_null() && before[0]["lag"].is_null(), "{before}");

    let mut worker = setup.start();
    stored(&database, &odds, 2).await;
    assert!(worker.stop().await.success());
    let level = read(&setup.must(&["lag", "--json"]));
    for partition in level.as_array().expect("a list") {
        assert_eq!((&partition["lag"], &partition["lag_seconds"]), (&json!(0), &json!(0)), "{level}");
        assert_eq!(
            (&partition["committed"], &partition["position"]),
            (&partition["end"], &partition["end"]),
            "{level}"
        );
    }

    kafka::produced(&odds, (10..20).flat_map(poll).collect()).await;
    let behind = read(&setup.must(&["lag", "--json", "--topic", &odds]));
    let lag: i64 = behind.as_array().expect("a list").iter().filter_map(|row| row["lag"].as_i64()).sum();
    assert_eq!(lag, 10 * 30, "{behind}");
    let waiting = behind
        .as_array()
        .expect("a list")
        .iter()
        .all(|row| row["lag"] == json!(0) || row["lag_seconds"].is_i64());
    assert!(waiting, "each waits since its first record: {behind}");
    let table = setup.must(&["lag"]);
    assert!(table.contains("300 records behind on 2 partitions, 0 paused, 0 halted, 0 not known"), "{table}");
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_without_kafka_shows_the_positions_and_fails() {
    let database = Database::postgres().await;
    let odds = kafka::topic("odds", 1).await;
    let setup = Setup::new(&database.url, &[("odds", &odds)]);
    setup.must(&["migrate", "up"]);
    kafka::produced(&odds, poll(0)).await;
    let mut worker = setup.start();
    stored(&database, &odds, 1).await;
    assert!(worker.stop().await.success());
    let mut away = Setup::new(&database.url, &[("odds", &odds)]).at("127.0.0.1:1");
    away.group.clone_from(&setup.group);
    let output = away.run(&["lag", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let rows = read(&String::from_utf8_lossy(&output.stdout));
    assert_eq!((&rows[0]["position"], &rows[0]["lag"]), (&json!(30), &Value::Null), "{rows}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(&odds));
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn freshness_is_by_league_and_book() {
    let database = Database::postgres().await;
    let (odds, of_games) = (kafka::topic("odds", 1).await, kafka::topic("games", 1).await);
    let setup = Setup::new(&database.url, &[("odds", &odds), ("games", &of_games)]);
    setup.must(&["migrate", "up"]);
    kafka::produced(&of_games, games()).await;
    kafka::produced(&odds, (0..3).flat_map(poll).collect()).await;
    let mut worker = setup.start();
    stored(&database, &odds, 1).await;
    stored(&database, &of_games, 1).await;
    assert!(worker.stop().await.success());
    let books = read(&setup.must(&["freshness", "--json"]));
    assert_eq!(books.as_array().map(Vec::len), Some(5), "{books}");
    let first = &books[0];
    assert_eq!(
        (&first["league"], &first["sportsbook"], &first["games"]),
        (&json!("mlb"), &json!("betmgm"), &json!(6))
    );
    assert_eq!(first["newest"], json!("2025-11-09T09:04:00.000000Z"), "{books}");
    let one = read(&setup.must(&["freshness", "--json", "--book", "fanduel"]));
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    assert!(
        setup.must(&["freshness"]).contains("baseball  mlb     fanduel"),
        "{}",
        setup.must(&["freshness"])
    );
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_a_healthy_worker_healthy() {
    let database = Database::postgres().await;
    let odds = kafka::topic("odds", 1).await;
    let setup = Setup::new(&database.url, &[("odds", &odds)]);
    setup.must(&["migrate", "up"]);
    kafka::produced(&odds, poll(0)).await;
    let mut worker = setup.start();
    stored(&database, &odds, 1).await;
    let (probes, code) = doctor(&setup);
    assert_eq!(code, Some(0), "{probes}");
    for name in [
        "configuration",
        "brokers",
        "groups",
        "database",
        "schema",
        "time-outs",
        "connections",
        "database clock",
        "positions",
    ] {
        assert_eq!(probes[name]["status"], json!("ok"), "{name}: {probes}");
    }
    let pool = probes["pool"]["found"].as_str().unwrap_or_default();
    assert!(pool.contains("8 of 8 connections at once"), "{probes}");
    assert_eq!(probes["topics"]["status"], json!("warn"), "one copy alone: {probes}");
    assert_eq!(probes["privileges"]["status"], json!("warn"), "a superuser: {probes}");
    assert!(setup.must(&["doctor"]).contains("0 failed"), "{}", setup.must(&["doctor"]));
    assert!(worker.stop().await.success());
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_what_to_do_about_what_is_wrong() {
    let database = Database::postgres().await;
    let setup = Setup::new(&database.url, &[("odds", "a-topic-that-nobody-made")]);
    let (probes, code) = doctor(&setup);
    assert_eq!(code, Some(1));
    assert_eq!(probes["topics"]["status"], json!("fail"), "{probes}");
    assert_eq!(probes["schema"]["status"], json!("fail"), "{probes}");
    assert!(
        probes["schema"]["advice"].as_str().is_some_and(|advice| advice.contains("ledgerline migrate up"))
    );
    assert_eq!(probes["positions"]["status"], json!("skipped"));

    let nobody =
        Setup::new("postgres://nobody:secret-word@127.0.0.1:1/x?sslmode=disable", &[("odds", "odds")])
            .at("127.0.0.1:1");
    let (probes, code) = doctor(&nobody);
    assert_eq!(code, Some(1));
    for name in ["brokers", "database"] {
        assert_eq!(probes[name]["status"], json!("fail"), "{probes}");
        assert!(probes[name]["advice"].is_string());
    }
    assert!(!probes.to_string().contains("secret-word"), "{probes}");
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_doctor_says_what_does_not_apply() {
    let database = Database::sqlite();
    let odds = kafka::topic("odds", 1).await;
    let setup = Setup::new(&database.url, &[("odds", &odds)]);
    setup.must(&["migrate", "up"]);
    let (probes, code) = doctor(&setup);
    assert_eq!(code, Some(0), "{probes}");
    for name in ["privileges", "time-outs", "connections", "pool", "database clock", "durability"] {
        assert_eq!(probes[name]["status"], json!("skipped"), "{name}: {probes}");
        assert!(probes[name]["found"].as_str().is_some_and(|found| found.contains("SQLite")), "{probes}");
    }
    assert_eq!(probes["schema"]["status"], json!("ok"));
    assert_eq!(read(&setup.must(&["lag", "--json"]))[0]["position"], Value::Null);
    assert_eq!(read(&setup.must(&["freshness", "--json"])), json!([]));
}
