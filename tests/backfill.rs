//! The events of files are stored as if they had come through Kafka: each once however often the file is read, a bad line as one
//! dead letter. No broker is reachable here.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::kafka;
use crate::support::postgres::Database;
use crate::support::scenes::odds;
use crate::support::worker::Setup;

/// A database with the schema, and the product without a broker.
async fn line(database: &Database) -> Setup {
    let topics = [("odds", "odds"), ("games", "games"), ("articles", "articles")];
    let setup = Setup::new(&database.url, &topics).at("127.0.0.1:1");
    setup.must(&["migrate", "up"]);
    setup
}

fn written(setup: &Setup, name: &str, lines: &[String]) -> String {
    let file = setup.folder.path().join(name);
    std::fs::write(&file, lines.join("\n")).expect("written");
    file.display().to_string()
}

fn backfill(setup: &Setup, file: &str, more: &[&str]) -> Value {
    let args = [&["backfill", file, "--json"], more].concat();
    serde_json::from_str(&setup.must(&args)).expect("JSON")
}

/// Samples of three kinds, and a line that is broken in the middle.
fn samples(setup: &Setup) -> Vec<String> {
    let mut lines: Vec<String> = ["odds", "games", "articles"]
        .iter()
        .flat_map(|kind| {
            setup.must(&["schema", "samples", kind]).lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    lines.insert(3, "{\"specversion\": \"1.0\", broken".into());
    lines
}

fn verified(setup: &Setup) {
    let verified: Value = serde_json::from_str(&setup.must(&["verify", "--strict", "--json"])).expect("JSON");
    assert_eq!(verified["ok"], json!(true), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_is_once_and_a_bad_line_is_one_dead_letter() {
    for database in [Database::postgres().await, Database::sqlite()] {
        let setup = line(&database).await;
        let lines = samples(&setup);
        let file = written(&setup, "samples.jsonl", &lines);
        let first = backfill(&setup, &file, &[]);
        assert_eq!((&first["state"], &first["dead"]), (&json!("succeeded"), &json!(1)), "{first}");
        assert_eq!(first["applied"], json!(lines.len() - 1), "{first}");
        assert!(first["inserted"].as_i64() > Some(5), "{first}");
        let views = ["readable_odds", "readable_games", "readable_articles"];
        let stored = async || {
            let mut rows = Vec::new();
            for view in views {
                rows.push(database.view(view).await);
            }
            rows
        };
        let before = stored().await;
        assert!(before.iter().all(|rows| !rows.is_empty()), "{before:?}");
        let second = backfill(&setup, &file, &[]);
        assert_eq!(
            (&second["inserted"], &second["updated"], &second["dead"]),
            (&json!(0), &json!(0), &json!(1))
        );
        assert_eq!(stored().await, before);
        assert_eq!(database.number_of("dead_letters").await, 1, "the same line of the same file");
        let letters: Value = serde_json::from_str(&setup.must(&["dlq", "ls", "--json"])).expect("JSON");
        assert_eq!(
            (&letters["reason"], &letters["offset"]),
            (&json!("malformed_json"), &json!(4)),
            "{letters}"
        );
        verified(&setup);
        database.drop_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_would_change_and_changes_nothing() {
    for database in [Database::postgres().await, Database::sqlite()] {
        let setup = line(&database).await;
        let file = written(&setup, "samples.jsonl", &samples(&setup));
        let everything = async || {
            let names = (database.number_of("selections").await, database.number_of("game_refs").await);
            (database.contents().await, names)
        };
        let before = everything().await;
        let told = backfill(&setup, &file, &["--dry-run"]);
        assert_eq!(everything().await, before);
        let done = backfill(&setup, &file, &[]);
        for count in ["offsets", "done", "applied", "dead", "inserted", "updated", "unchanged", "hole"] {
            assert_eq!(told[count], done[count], "{count}: {told} {done}");
        }
        let before = everything().await;
        assert_eq!(backfill(&setup, &file, &["--dry-run"])["inserted"], json!(0));
        assert_eq!(everything().await, before);
        database.drop_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_files_one_of_them_packed_and_the_same_events_once() {
    let database = Database::postgres().await;
    let setup = line(&database).await;
    let events: Vec<String> = (0..200).map(|n| odds(n % 5, n).to_string()).collect();
    let plain = written(&setup, "plain.jsonl", &events);
    let packed = setup.folder.path().join("packed.jsonl.gz");
    pack(&packed, &events);
    let other = written(&setup, "other.jsonl", &[odds(9, 1).to_string()]);
    let args = ["backfill", &plain, &packed.display().to_string(), &other, "--json"];
    let summary: Value = serde_json::from_str(&setup.must(&args)).expect("JSON");
    assert_eq!((&summary["inserted"], &summary["unchanged"]), (&json!(402), &json!(400)), "{summary}");
    assert_eq!(database.number("select count(*) from partition_offsets").await, 3);
    verified(&setup);

    std::fs::write(setup.folder.path().join("plain.jsonl"), odds(9, 2).to_string()).expect("changed");
    let summary: Value = serde_json::from_str(&setup.must(&args)).expect("JSON");
    assert_eq!(summary["inserted"], json!(2), "another content is other work: {summary}");
    assert_eq!(database.number("select count(*) from workflows").await, 2);
    let missing = setup.run(&["backfill", "/nothing/here.jsonl"]);
    let stderr = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && stderr.contains("cannot open /nothing/here.jsonl"), "{stderr}");
    database.drop_now().await;
}

fn pack(path: &Path, lines: &[String]) {
    use std::io::Write;
    let file = std::fs::File::create(path).expect("a file");
    let mut packer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    packer.write_all(lines.join("\n").as_bytes()).expect("packed");
    packer.finish().expect("packed");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_become_games_and_odds_and_a_bad_one_a_dead_letter() {
    let database = Database::postgres().await;
    let setup = line(&database).await;
    let snapshot = |second: u32, price: i64| {
        json!({
            "captured_at": format!("2025-11-09T18:20:{second:02}Z"),
            "events": [{
                "id": "e912304de2b2ce35b473ce2ecd3d1502", "sport_key": "americanfootball_nfl", "sport_title": "NFL",
                "commence_time": "2025-11-11T01:15:00Z", "home_team": "Green Bay Packers",
                "away_team": "Philadelphia Eagles",
                "bookmakers": [{"key": "draftkings", "title": "DraftKings", "last_update": "2025-11-09T18:20:00Z",
                    "markets": [{"key": "h2h", "last_update": "2025-11-09T18:20:00Z", "outcomes": [
                        {"name": "Green Bay Packers", "price": price}, {"name": "Philadelphia Eagles", "price": 120}]}]}],
            }],
        })
        .to_string()
    };
    let lines = [snapshot(1, -140), "{\"captured_at\": 5}".into(), snapshot(2, -145)];
    let file = written(&setup, "snapshots.jsonl", &lines);
    let summary = backfill(&setup, &file, &["--format", "the-odds-api"]);
    assert_eq!((&summary["dead"], &summary["applied"]), (&json!(1), &json!(4)), "{summary}");
    assert_eq!(database.number("select count(*) from odds").await, 4);
    assert_eq!(database.number("select count(*) from games").await, 1);
    let again = backfill(&setup, &file, &["--format", "the-odds-api"]);
    assert_eq!((&again["inserted"], &again["updated"]), (&json!(0), &json!(0)), "{again}");
    let payload = database.rows("select convert_from(payload, 'UTF8') from dead_letters").await;
    assert_eq!(payload, [[Some("{\"captured_at\": 5}".to_owned())]]);
    verified(&setup);
    database.drop_now().await;
}

/// What came through Kafka and what lies in a file are the same events: the second changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_brought_is_unchanged_by_the_file() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 1).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]);
    setup.must(&["migrate", "up"]);
    let events: Vec<String> = (0..100).map(|n| odds(n % 5, n).to_string()).collect();
    let file = written(&setup, "events.jsonl", &events);
    setup.must(&["publish", &file]);
    let mut worker = setup.start();
    crate::support::scenes::stored(&database, &topic, 1).await;
    assert!(worker.stop().await.success());
    let before = database.digest("odds").await;
    let summary = backfill(&setup, &file, &[]);
    assert_eq!((&summary["inserted"], &summary["unchanged"]), (&json!(0), &json!(200)), "{summary}");
    assert_eq!(database.digest("odds").await, before, "not even their origin");
    let verified: Value = serde_json::from_str(&setup.must(&["verify", "--kafka", "--json"])).expect("JSON");
    assert_eq!(verified["ok"], json!(true), "{verified}");
    database.drop_now().await;
}
