//! The straight line on real Kafka and real PostgreSQL: records in, rows and dead letters out, every offset accounted for.

use crate::support::eventually;
use crate::support::kafka::{self, Record};
use crate::support::postgres::{Database, connect};
use crate::support::scenes::{clean, get, logged, records, some_progress, stored};
use crate::support::worker::Setup;

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
    kafka::produced(&topic, records).await;

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
    kafka::produced(&topic, records(40, 300)).await;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_moves_while_it_is_held_back_flows_again() {
    let topic = kafka::topic("odds", 4).await;
    kafka::produced(&topic, records(40, 200)).await;
    let database = Database::postgres().await;
    let setup =
        Setup::new(&database.url, &[("odds", &topic)]).with("[topics.odds.batch]\nrows = 50\nage_ms = 20");
    setup.must(&["migrate", "up"]);
    let mut first = setup.start();
    some_progress(&database, 500).await;
    logged(&first, "partition claimed", 4).await; // a claim would wait for the lock, and hold nothing back

    let lock = connect(&database.url).await;
    lock.batch_execute("begin; select 1 from partition_offsets for update").await.expect("the lock");
    logged(&first, "held back", 4).await;
    let group = format!("{}.{topic}", setup.group);
    for partition in 0..4 {
        let sql = format!("select next_offset from partition_offsets where partition = {partition}");
        let told = kafka::committed(&group, &topic, partition).unwrap_or(0);
        assert!(told <= database.number(&sql).await, "Kafka was told {told} before it was stored");
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn terminated_sessions_lose_and_double_nothing() {
    let topic = kafka::topic("odds", 2).await;
    kafka::produced(&topic, records(20, 200)).await;
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
    kafka::produced(&topic, records(5, 10)).await;
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
    let partitions = format!("ledgerline_topic_partitions{{topic=\"{topic}\"}} 1\n");
    let level = format!("ledgerline_consumer_lag_seconds{{topic=\"{topic}\",partition=\"0\"}} 0\n");
    let metrics = eventually("what is measured every few seconds", || async {
        let metrics = get(&address, "/metrics").await;
        (metrics.contains(&partitions) && metrics.contains(&level)).then_some(metrics)
    })
    .await;
    assert!(metrics.contains("ledgerline_batch_write_seconds_bucket"), "{metrics}");
    assert!(worker.stop().await.success());
    assert!(worker.log().contains("\"in_time\":true"));
    let group = format!("{}.{topic}", setup.group);
    assert_eq!(kafka::committed(&group, &topic, 0), Some(50), "the advisory commit, for lag tools");
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_appears_later_is_read_from_its_beginning() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 1).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)])
        .with_kafka("start = \"latest\"\ntopic_refresh_ms = 1000");
    setup.must(&["migrate", "up"]);
    let mut worker = setup.start();
    logged(&worker, "partition claimed", 1).await;
    kafka::grow(&topic, 2).await;
    let mut early = records(1, 30);
    early.iter_mut().for_each(|record| record.partition = Some(1));
    kafka::produced(&topic, early).await;
    stored(&database, &topic, 2).await;
    assert!(worker.stop().await.success());
    assert_eq!(database.number("select count(*) from odds").await, 60);
    clean(&setup);
    database.drop_now().await;
}
