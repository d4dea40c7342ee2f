//! The straight line on real Kafka and real PostgreSQL: records in, rows and dead letters out, every offset accounted for.

use serde_json::{Value, json};

use crate::support::kafka::{self, Record};
use crate::support::postgres::{Database, connect};
use crate::support::worker::{Setup, Worker};
use crate::support::{PATIENCE, eventually};

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

pub fn clean(setup: &Setup) {
    let verified: Value =
        serde_json::from_str(&setup.must(&["verify", "--kafka", "--strict", "--json"])).expect("JSON");
    assert_eq!(verified["ok"], json!(true), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_invalid_record_in_ten_thousand_is_one_dead_letter() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 3).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]);
    setup.must(&["migrate", "up"]);
    let mut records = records(100, 100);
    let bad = br#"{"specversion":"1.0","type":"odds.v1","id":"x","source":"s","time":"2025-11-09T00:00:00Z","correlationid":"c-1","data":{"game":{"system":"test","id":"g"},"sportsbook":"b1","market":"moneyline","outcomes":[{"side":"home","price_american":50}]}}"#;
    records[5_000] = Record {
        headers: vec![("note".into(), Some(vec![0xff, 0x00])), ("none".into(), None)],
        ..Record::of("bad key", bad.to_vec())
    };
    let (brokers, to) = (kafka::brokers(), topic.clone());
    tokio::task::spawn_blocking(move || kafka::produce(&brokers, &to, &records)).await.expect("produced");

    let mut worker = setup.start();
    stored(&database, &topic, 3).await;
    assert!(worker.stop().await.success());

    let sums =
        database.rows("select sum(applied), sum(dead), sum(hole), sum(inserted) from offset_ledger").await;
    let sums: Vec<&str> = sums[0].iter().map(|sum| sum.as_deref().unwrap_or("")).collect();
    assert_eq!(sums, ["9999", "1", "0", "19998"]);
    let letters = database
        .rows("select convert_from(payload, 'UTF8'), convert_from(key, 'UTF8'), reason, detail, correlation_id, headers::text from dead_letters")
        .await;
    let letter: Vec<&str> = letters[0].iter().map(|column| column.as_deref().unwrap_or("")).collect();
    assert_eq!(letters.len(), 1);
    assert_eq!(letter[0].as_bytes(), bad);
    assert_eq!(letter[1..3], ["bad key", "invalid_field"]);
    assert!(letter[3].starts_with("outcomes[0].price_american: "), "{}", letter[3]);
    assert_eq!(letter[4], "c-1");
    assert_eq!(letter[5], r#"[{"name": "note", "value_base64": "/wA="}, {"name": "none", "value": null}]"#);
    clean(&setup);
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_one_late_one_killed_leave_the_views_of_an_undisturbed_run() {
    let topic = kafka::topic("odds", 4).await;
    let (brokers, to, all) = (kafka::brokers(), topic.clone(), records(40, 300));
    tokio::task::spawn_blocking(move || kafka::produce(&brokers, &to, &all)).await.expect("produced");

    let undisturbed = Database::postgres().await;
    let setup = Setup::new(&undisturbed.url, &[("odds", &topic)]);
    setup.must(&["migrate", "up"]);
    let mut worker = setup.start();
    stored(&undisturbed, &topic, 4).await;
    assert!(worker.stop().await.success());

    let disturbed = Database::postgres().await;
    let small = "[topics.odds.batch]\nrows = 50\nage_ms = 20";
    let setup = Setup::new(&disturbed.url, &[("odds", &topic)]).with(small);
    setup.must(&["migrate", "up"]);
    let mut first = setup.start();
    some_progress(&disturbed, 1_000).await;
    let mut late = setup.start();
    some_progress(&disturbed, 3_000).await;
    first.kill();
    stored(&disturbed, &topic, 4).await;
    assert!(late.stop().await.success());

    assert_eq!(disturbed.digest("readable_odds").await, undisturbed.digest("readable_odds").await);
    assert_eq!(disturbed.number("select sum(duplicate) from offset_ledger").await, 0);
    clean(&setup);
    disturbed.drop_now().await;
    undisturbed.drop_now().await;
}

async fn some_progress(database: &Database, quotes: i64) {
    eventually("some progress", || async {
        (database.number("select count(*) from odds").await >= quotes).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_moves_while_it_is_held_back_flows_again() {
    let topic = kafka::topic("odds", 4).await;
    let (brokers, to, all) = (kafka::brokers(), topic.clone(), records(40, 200));
    tokio::task::spawn_blocking(move || kafka::produce(&brokers, &to, &all)).await.expect("produced");
    let database = Database::postgres().await;
    let setup =
        Setup::new(&database.url, &[("odds", &topic)]).with("[topics.odds.batch]\nrows = 50\nage_ms = 20");
    setup.must(&["migrate", "up"]);
    let mut first = setup.start();
    some_progress(&database, 500).await;

    let lock = connect(&database.url).await;
    lock.batch_execute("begin; select 1 from partition_offsets for update").await.expect("the lock");
    logged(&first, "held back", 4).await;
    let mut second = setup.start();
    logged(&first, "partitions revoked", 1).await;
    second.kill();
    logged(&first, "partitions assigned", 2).await;
    lock.batch_execute("rollback").await.expect("the lock is gone");

    stored(&database, &topic, 4).await;
    assert!(first.stop().await.success());
    assert_eq!(database.number("select count(*) from odds").await, 16_000);
    clean(&setup);
    database.drop_now().await;
}

/// Waits until the worker has logged `text` that many times.
async fn logged(worker: &Worker, text: &str, times: usize) {
    eventually(text, || std::future::ready((worker.log().matches(text).count() >= times).then_some(())))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_sessions_lose_and_double_nothing() {
    let topic = kafka::topic("odds", 2).await;
    let (brokers, to, all) = (kafka::brokers(), topic.clone(), records(20, 200));
    tokio::task::spawn_blocking(move || kafka::produce(&brokers, &to, &all)).await.expect("produced");
    let database = Database::postgres().await;
    let small = "[topics.odds.batch]\nrows = 20\nage_ms = 20";
    let setup = Setup::new(&database.url, &[("odds", &topic)]).with(small);
    setup.must(&["migrate", "up"]);
    let mut worker = setup.start();
    let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                     where application_name = 'ledgerline' and datname = current_database()";
    for quotes in [500, 1_500, 2_500, 4_000, 6_000] {
        some_progress(&database, quotes).await;
        database.number(terminate).await;
    }
    stored(&database, &topic, 2).await;
    assert!(worker.stop().await.success());
    assert_eq!(database.number("select count(*) from odds").await, 8_000);
    assert_eq!(database.number("select sum(duplicate) + sum(dead) from offset_ledger").await, 0);
    clean(&setup);
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_and_aborted_transactions_are_accounted_for() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 1).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]);
    setup.must(&["migrate", "up"]);
    let to = topic.clone();
    tokio::task::spawn_blocking(move || {
        let all = records(1, 30);
        kafka::produce_in_transaction(&to, &all[..10], true);
        kafka::produce_in_transaction(&to, &all[10..20], false);
        kafka::produce(&kafka::brokers(), &to, &[Record { key: Some(b"k".to_vec()), ..Record::default() }]);
        kafka::produce_in_transaction(&to, &all[20..], false);
    })
    .await
    .expect("produced");

    let mut worker = setup.start();
    stored(&database, &topic, 1).await; // over the trailing aborted records and their marker too
    assert!(worker.stop().await.success());
    let sums =
        database.rows("select sum(applied), sum(dead), sum(tombstone), sum(hole) from offset_ledger").await;
    let sums: Vec<&str> = sums[0].iter().map(|sum| sum.as_deref().unwrap_or("")).collect();
    assert_eq!(sums, ["10", "0", "1", "23"]);
    clean(&setup);
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_again_changes_no_row() {
    let database = Database::postgres().await;
    let (odds, games, articles) =
        (kafka::topic("odds", 2).await, kafka::topic("games", 1).await, kafka::topic("articles", 1).await);
    let setup = Setup::new(&database.url, &[("odds", &odds), ("games", &games), ("articles", &articles)]);
    setup.must(&["migrate", "up"]);
    let file = setup.folder.path().join("samples.ndjson");
    let samples = ["odds", "games", "articles"].map(|kind| setup.must(&["schema", "samples", kind]));
    std::fs::write(&file, samples.concat()).expect("written");
    let file = file.display().to_string();

    let mut worker = setup.start();
    setup.must(&["publish", &file]);
    for (topic, partitions) in [(&odds, 2), (&games, 1), (&articles, 1)] {
        stored(&database, topic, partitions).await;
    }
    let views = ["readable_odds", "readable_games", "readable_articles", "odds"];
    let mut before = Vec::new();
    for view in views {
        before.push(database.digest(view).await);
    }
    setup.must(&["publish", &file]);
    for (topic, partitions) in [(&odds, 2), (&games, 1), (&articles, 1)] {
        stored(&database, topic, partitions).await;
    }
    for (view, before) in views.into_iter().zip(before) {
        assert_eq!(database.digest(view).await, before, "{view}");
    }
    let counts = database
        .rows("select sum(inserted), sum(duplicate), sum(dead), sum(updated + stale) from offset_ledger")
        .await;
    let counts: Vec<&str> = counts[0].iter().map(|sum| sum.as_deref().unwrap_or("")).collect();
    let quotes = database.number("select count(*) from odds").await;
    assert_eq!(quotes, 9);
    // One game: its final state updates the scheduled one, which is stale when it comes again.
    assert_eq!(counts, ["11", "11", "0", "2"]);
    assert!(worker.stop().await.success());
    clean(&setup);
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_metrics_and_a_graceful_stop() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 1).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]);
    let mut worker = setup.start();
    eventually("a log line about the schema", || async {
        worker.log().contains("ledgerline migrate up").then_some(())
    })
    .await;
    setup.must(&["migrate", "up"]);
    let address = worker.address().await;
    let to = topic.clone();
    tokio::task::spawn_blocking(move || kafka::produce(&kafka::brokers(), &to, &records(5, 10)))
        .await
        .expect("produced");
    stored(&database, &topic, 1).await;
    eventually("readiness", || async {
        get(&address, "/readyz").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    assert!(get(&address, "/livez").await.starts_with("HTTP/1.1 200"));
    let settled =
        format!("ledgerline_records_settled_total{{topic=\"{topic}\",mode=\"live\",outcome=\"applied\"}} 50");
    eventually("the metrics", || async { get(&address, "/metrics").await.contains(&settled).then_some(()) })
        .await;
    let metrics = get(&address, "/metrics").await;
    assert!(metrics.contains("ledgerline_batch_write_seconds_bucket"), "{metrics}");
    assert!(worker.stop().await.success());
    assert!(worker.log().contains("\"in_time\":true"));
    let group = format!("{}.{topic}", setup.group);
    assert_eq!(kafka::committed(&group, &topic, 0), Some(50), "the advisory commit, for lag tools");
    database.drop_now().await;
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
