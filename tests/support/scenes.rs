//! What the tests of the whole line have in common: valid events, waiting for the line, and the proof at the end.

use std::time::Duration;

use serde_json::{Value, json};

use super::kafka::{self, Record};
use super::postgres::Database;
use super::worker::{Setup, Worker};
use super::{PATIENCE, eventually, optional};

/// A valid odds event with two quotes.
pub fn odds(game: usize, second: usize) -> Value {
    json!({
        "specversion": "1.0", "type": "odds.v1", "id": format!("{game}-{second}"), "source": "test-scraper",
        "time": format!("2025-11-09T{:02}:{:02}:{:02}Z", second / 3600 % 24, second / 60 % 60, second % 60),
        "correlationid": format!("poll-{second}"),
        "data": {
            "game": {"system": "test", "id": format!("game-{game}")},
            "sportsbook": "draftkings", "market": "spread",
            "outcomes": [
                {"side": "home", "line": -1.5, "price_american": -110 - (second % 7) as i64},
                {"side": "away", "line": 1.5, "price_american": -105},
            ],
        },
    })
}

pub fn records(games: usize, seconds: usize) -> Vec<Record> {
    let pairs = (0..seconds).flat_map(|second| (0..games).map(move |game| (game, second)));
    pairs
        .map(|(game, second)| Record::of(&format!("test:game-{game}"), odds(game, second).to_string()))
        .collect()
}

/// Waits until the group's positions reach the ends of the topic.
pub async fn stored(database: &Database, topic: &str, partitions: i32) {
    let ends: i64 = (0..partitions).map(|partition| kafka::end(topic, partition)).sum();
    let sql = format!("select coalesce(sum(next_offset), 0) from partition_offsets where topic = '{topic}'");
    eventually("every record to be stored", || async { (database.number(&sql).await >= ends).then_some(()) })
        .await;
}

pub async fn some_progress(database: &Database, quotes: i64) {
    eventually("some progress", || async {
        (database.number("select count(*) from odds").await >= quotes).then_some(())
    })
    .await;
}

/// Waits until the worker has logged `text` that many times.
pub async fn logged(worker: &Worker, text: &str, times: usize) {
    eventually(text, || std::future::ready((worker.log().matches(text).count() >= times).then_some(())))
        .await;
}

pub fn clean(setup: &Setup) {
    let verified: Value =
        serde_json::from_str(&setup.must(&["verify", "--kafka", "--strict", "--json"])).expect("JSON");
    assert_eq!(verified["ok"], json!(true), "{verified}");
}

/// One HTTP request, without a client of its own.
pub async fn get(address: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let request = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let text = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    tokio::time::timeout(PATIENCE, request).await.expect("an answer in time").expect("an answer")
}

/// How long PostgreSQL is away; `make faults` takes a minute.
pub fn outage() -> Duration {
    let seconds = optional("LEDGERLINE_TEST_OUTAGE_SECONDS").and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(8))
}

/// Odds by number, for a load: of 500 games, in order of time.
pub fn load(number: usize) -> Record {
    let (game, second) = (number % 500, number / 500);
    Record::of(&format!("test:game-{game}"), odds(game, second).to_string())
}
