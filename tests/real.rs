//! Real odds through real Kafka into real PostgreSQL: a week of the NFL (369,180 quotes in 291 snapshots), and a day of baseball with
//! two doubleheaders (115,228 quotes in 120), of which an hour is lost and replayed. Run by `make test-real`
//! where `LEDGERLINE_TEST_DATA` names the folder of real data. What the database must hold in the end is computed here from the
//! file, by code that shares nothing with the product.

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use rand::Rng;
use serde_json::{Value, json};
use support::kafka;
use support::postgres::Database;
use support::worker::Setup;
use support::{eventually, service};

/// Quotes in the file.
const QUOTES: i64 = 369_180;
/// Partitions of the odds topic.
const PARTITIONS: i32 = 4;

fn nfl_week() -> PathBuf {
    data("odds/theoddsapi/nfl_week10_2025-11-06_to_11-11.jsonl.gz")
}

fn data(file: &str) -> PathBuf {
    let folder = PathBuf::from(service("LEDGERLINE_TEST_DATA"));
    let found = [folder.join(file), folder.join("raw").join(file)].into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("LEDGERLINE_TEST_DATA: {file} is not in {}", folder.display()))
}

/// Topics without retention that hold the week once.
struct Week {
    odds: String,
    games: String,
}

impl Week {
    async fn publish() -> Self {
        let week =
            Self { odds: kafka::topic("odds", PARTITIONS).await, games: kafka::topic("games", 1).await };
        let nowhere = Setup::new("sqlite:unused.db", &week.topics());
        week.publish_again(&nowhere);
        week
    }

    fn publish_again(&self, setup: &Setup) {
        let file = nfl_week().display().to_string();
        let summary = setup.must(&["publish", "--format", "the-odds-api", "--json", &file]);
        let summary: Value = serde_json::from_str(&summary).expect("JSON");
        assert_eq!(summary["quotes"], json!(QUOTES));
        println!("published: {summary}");
    }

    fn topics(&self) -> [(&'static str, &str); 2] {
        [("odds", &self.odds), ("games", &self.games)]
    }

    /// Waits until both topics are stored to their ends.
    async fn stored(&self, database: &Database) {
        let odds: i64 = (0..PARTITIONS).map(|partition| kafka::end(&self.odds, partition)).sum();
        let ends = odds + kafka::end(&self.games, 0);
        eventually("the week to be stored", || async { (position(database).await >= ends).then_some(()) })
            .await;
    }
}

async fn position(database: &Database) -> i64 {
    database.number("select coalesce(sum(next_offset), 0)::int8 from partition_offsets").await
}

/// Natural keys and values only: no wall clock, no sequence.
async fn views(database: &Database) -> [String; 2] {
    [database.digest("readable_odds").await, database.digest("readable_games").await]
}

fn verify(setup: &Setup) {
    let verified: Value =
        serde_json::from_str(&setup.must(&["verify", "--kafka", "--strict", "--json"])).expect("JSON");
    assert_eq!(verified["ok"], json!(true), "{verified}");
    println!("verified: {verified}");
}

async fn migrated(week: &Week, extra: &str) -> (Database, Setup) {
    let database = Database::postgres().await;
    let setup = Setup::new(&database.url, &week.topics()).with(extra);
    setup.must(&["migrate", "up"]);
    (database, setup)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nfl_week_is_stored_exactly_once_whatever_dies() {
    let week = Week::publish().await;

    let (calm, calm_setup) = migrated(&week, "").await;
    let start = std::time::Instant::now();
    let mut worker = calm_setup.start();
    week.stored(&calm).await;
    println!("undisturbed: {QUOTES} quotes in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(calm.number("select count(*) from odds").await, QUOTES);
    final_prices_agree(&calm).await;
    let expected = views(&calm).await;
    verify(&calm_setup);

    killed_ten_times(&week, &expected).await;
    late_and_killed(&week, &expected).await;

    let odds = calm.digest("odds").await;
    week.publish_again(&calm_setup);
    week.stored(&calm).await;
    assert!(worker.stop().await.success());
    assert_eq!(calm.digest("odds").await, odds, "a second publish changes no row of odds");
    let sums = calm
        .rows(
            "select sum(l.inserted), sum(l.duplicate), sum(l.dead) from offset_ledger l \
                          join lineages i on i.id = l.lineage_id where i.topic like 'odds-%'",
        )
        .await;
    let sums: Vec<&str> = sums[0].iter().map(|sum| sum.as_deref().unwrap_or("")).collect();
    assert_eq!(sums, [QUOTES.to_string(), QUOTES.to_string(), "0".to_owned()]);
    println!("second publish: inserted, duplicate, dead = {sums:?}");
    verify(&calm_setup);
    compacted(&week, &calm, &calm_setup).await;
    calm.drop_now().await;
}

/// The movement of every line as blocks, computed by SQL of the test's own.
const BLOCKS: &str = "create view blocks as \
    select selection_id, min(observed_at) as first, max(observed_at) as last, price, line from \
    (select *, count(*) filter (where changed) over (partition by selection_id order by observed_at) as block from \
     (select *, (lag(observed_at) over run is null or price is distinct from lag(price) over run \
                 or line is distinct from lag(line) over run) as changed \
      from odds window run as (partition by selection_id order by observed_at)) quotes) numbered \
    group by selection_id, block, price, line";

/// Few rows are left, no change is lost, everything is still proved; and a replay leads to the same rows.
async fn compacted(week: &Week, database: &Database, setup: &Setup) {
    database.change(BLOCKS).await;
    let blocks = database.digest("blocks").await;
    let summary: Value = serde_json::from_str(&setup.must(&["compact", "--json"])).expect("JSON");
    let kept = database.number("select count(*) from odds").await;
    assert_eq!((&summary["scanned"], &summary["kept"]), (&json!(QUOTES), &json!(kept)), "{summary}");
    let ratio = kept as f64 / QUOTES as f64;
    println!("compacted: {kept} of {QUOTES} quotes kept, {ratio:.4}: {summary}");
    assert!(ratio <= 0.10, "{ratio}");
    assert_eq!(database.digest("blocks").await, blocks, "every block, with its first and last time");
    let changes = database.number("select count(*) from blocks").await;
    assert_eq!(changes, blocks_of_the_file(), "as many as the file has");
    println!("{changes} blocks, the same before and after");
    final_prices_agree(database).await;
    verify(setup);

    let rows = database.digest("odds").await;
    let again: Value = serde_json::from_str(&setup.must(&["compact", "--json"])).expect("JSON");
    assert_eq!((&again["scanned"], &again["removed"]), (&json!(kept), &json!(0)), "twice changes nothing");
    for partition in 0..PARTITIONS {
        let partition = partition.to_string();
        let which =
            ["--topic", &week.odds, "--partition", &partition, "--to", "earliest", "--reason", "a test"];
        setup.must(&[&["offsets", "reset"], &which[..]].concat());
    }
    let mut worker = setup.start();
    week.stored(database).await;
    assert!(worker.stop().await.success());
    assert_eq!(database.number("select count(*) from odds").await, QUOTES, "the replay brings all back");
    setup.must(&["compact"]);
    assert_eq!(database.digest("blocks").await, blocks);
    assert_eq!(database.digest("odds").await, rows, "the same rows after a replay");
    verify(setup);
}

/// Blocks of equal consecutive quotes, from the file alone.
fn blocks_of_the_file() -> i64 {
    let (mut last, mut blocks) = (HashMap::new(), 0);
    each_snapshot(|selection, value| {
        if last.insert(selection, value) != Some(value) {
            blocks += 1;
        }
    });
    blocks
}

/// kill -9 at ten random moments of the run; each time another worker goes on.
async fn killed_ten_times(week: &Week, expected: &[String; 2]) {
    let (database, setup) = migrated(week, "[topics.odds.batch]\nrows = 500\nage_ms = 50").await;
    let mut kills = Vec::new();
    let mut worker = setup.start();
    for _ in 0..10 {
        let at = position(&database).await + rand::rng().random_range(1..15_000);
        eventually("progress", || async { (position(&database).await >= at).then_some(()) }).await;
        worker.kill();
        kills.push(position(&database).await);
        worker = setup.start();
    }
    week.stored(&database).await;
    assert!(worker.stop().await.success());
    println!("killed at positions {kills:?}");
    same_as_undisturbed(&database, &setup, expected).await;
}

/// Two workers in one group: one joins late, the first is killed.
async fn late_and_killed(week: &Week, expected: &[String; 2]) {
    let (database, setup) = migrated(week, "[topics.odds.batch]\nrows = 500\nage_ms = 50").await;
    let mut first = setup.start();
    eventually("progress", || async { (position(&database).await >= 20_000).then_some(()) }).await;
    let mut late = setup.start();
    let at = position(&database).await + 30_000;
    eventually("progress", || async { (position(&database).await >= at).then_some(()) }).await;
    first.kill();
    println!("first worker killed at position {}", position(&database).await);
    week.stored(&database).await;
    assert!(late.stop().await.success());
    same_as_undisturbed(&database, &setup, expected).await;
}

async fn same_as_undisturbed(database: &Database, setup: &Setup, expected: &[String; 2]) {
    assert_eq!(&views(database).await, expected);
    let duplicates = "select coalesce(sum(l.duplicate), 0) from offset_ledger l \
                      join lineages i on i.id = l.lineage_id where i.topic like 'odds-%'";
    assert_eq!(database.number(duplicates).await, 0, "no odds counted as duplicates");
    verify(setup);
    database.drop_now().await;
}

/// (game, book, market, side): what a bet is on, as the database names it.
type Selection = (String, String, String, String);

/// The last price and line of every selection, from the file alone.
fn final_prices() -> HashMap<Selection, (f64, Option<f64>)> {
    let mut last = HashMap::new();
    each_snapshot(|selection, value| {
        last.insert(selection, value);
    });
    last
}

/// Every quote of the file in the order of time.
fn each_snapshot(mut tell: impl FnMut(Selection, (f64, Option<f64>))) {
    let file = std::fs::File::open(nfl_week()).expect("the file");
    for line in BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines() {
        let snapshot: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        for game in snapshot["events"].as_array().expect("events") {
            each_quote(game, &mut tell);
        }
    }
}

fn each_quote(game: &Value, mut tell: impl FnMut(Selection, (f64, Option<f64>))) {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    for book in game["bookmakers"].as_array().expect("bookmakers") {
        for market in book["markets"].as_array().expect("markets") {
            let (name, sides) = match market["key"].as_str() {
                Some("h2h") => ("moneyline", ["home", "away"]),
                Some("spreads") => ("spread", ["home", "away"]),
                Some("totals") => ("total", ["over", "under"]),
                other => panic!("market {other:?}"),
            };
            for outcome in market["outcomes"].as_array().expect("outcomes") {
                let first = outcome["name"] == game["home_team"] || outcome["name"] == "Over";
                let side = sides[usize::from(!first)].to_owned();
                let selection = (text(&game["id"]), text(&book["key"]), name.to_owned(), side);
                let american = outcome["price"].as_f64().expect("a price");
                let decimal = if american > 0.0 { 1.0 + american / 100.0 } else { 1.0 + 100.0 / -american };
                tell(selection, (decimal, outcome["point"].as_f64()));
            }
        }
    }
}

async fn final_prices_agree(database: &Database) {
    let expected = final_prices();
    let rows = database
        .rows(
            "select distinct on (external_id, sportsbook, market, side) external_id, sportsbook, market, side, price, line \
             from readable_odds order by external_id, sportsbook, market, side, observed_at desc",
        )
        .await;
    assert_eq!(rows.len(), expected.len(), "selections");
    for row in &rows {
        let text = |column: usize| row[column].clone().expect("not null");
        let price: f64 = text(4).parse().expect("a price");
        let line = row[5].as_deref().map(|line| line.parse::<f64>().expect("a line"));
        let selection = (text(0), text(1), text(2), text(3));
        assert_eq!(expected.get(&selection), Some(&(price, line)), "{selection:?}");
    }
    println!("final prices of {} selections agree with the file", rows.len());
}

/// The day of baseball, and how many quotes it has.
const DOUBLEHEADERS: (&str, i64) = ("odds/theoddsapi/mlb_2026-07-22_doubleheaders.jsonl.gz", 115_228);
/// The hour that is lost, of four snapshots; both as scrapers and as Kafka date them.
const HOUR: (&str, &str) = ("2026-07-22T22:00:00Z", "2026-07-22T23:00:00Z");

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_hour_of_the_doubleheader_day_comes_back_beside_live_consumption() {
    let week = Week { odds: kafka::topic("odds", PARTITIONS).await, games: kafka::topic("games", 1).await };
    let (database, setup) = migrated(&week, "").await;
    let (file, quotes) = DOUBLEHEADERS;
    let file = data(file).display().to_string();
    let args = ["publish", "--format", "the-odds-api", "--event-time", "--json", &file];
    let published: Value = serde_json::from_str(&setup.must(&args)).expect("JSON");
    assert_eq!(published["quotes"], json!(quotes));
    let mut worker = setup.start();
    week.stored(&database).await;
    assert_eq!(database.number("select count(*) from odds").await, quotes);
    let (odds, games) = (database.digest("odds").await, database.digest("readable_games").await);

    let (from, to) = HOUR;
    let hour = format!("observed_at >= '{from}' and observed_at < '{to}'");
    let lost = database.number(&format!("select count(*) from odds where {hour}")).await;
    database.change(&format!("delete from odds where {hour}")).await;
    assert!(lost > 2_000, "{lost} quotes in the hour");
    // Live consumption has something to do meanwhile.
    let again: Value =
        serde_json::from_str(&setup.must(&["publish", &live_again(&setup), "--json"])).expect("JSON");
    let args = ["replay", "--topic", &week.odds, "--from", from, "--to", to, "--max-lag", "20000", "--json"];
    let summary: Value = serde_json::from_str(&setup.must(&args)).expect("JSON");
    println!("replayed: {summary}");
    assert_eq!(summary["inserted"], json!(lost), "{summary}");
    assert!(summary["pace"]["highest_lag"].as_i64() <= Some(20_000), "{summary}");
    assert!(summary["pace"]["oldest_sample_ms"].as_i64() <= Some(1_000), "{summary}");
    let live = "select coalesce(sum(next_offset), 0)::int8 from partition_offsets where consumer_group not like 'replay:%'";
    let ends: i64 = (0..PARTITIONS).map(|partition| kafka::end(&week.odds, partition)).sum();
    let ends = ends + kafka::end(&week.games, 0);
    eventually("live consumption to come to its end", async || {
        (database.number(live).await >= ends).then_some(())
    })
    .await;
    assert!(worker.stop().await.success());
    database
        .change(
            "delete from odds o using selections s, game_refs r where s.id = o.selection_id \
                     and r.id = s.game_ref_id and r.system = 'live'",
        )
        .await;
    assert_eq!(database.digest("odds").await, odds, "every quote with its origin");
    assert_eq!(database.digest("readable_games").await, games);
    let verified: Value = serde_json::from_str(&setup.must(&["verify", "--json"])).expect("JSON");
    assert_eq!(verified["ok"], json!(true), "{verified}");
    println!("{lost} lost quotes came back beside {} live records", again["records"]);
    database.drop_now().await;
}

/// Events of games that the day does not have.
fn live_again(setup: &Setup) -> String {
    let events: Vec<String> = (0..30_000)
        .map(|number| {
            json!({
                "specversion": "1.0", "type": "odds.v1", "id": number.to_string(), "source": "live",
                "time": format!("2026-07-22T22:{:02}:{:02}.{:03}Z", number / 60 % 60, number % 60, number / 3_600),
                "data": {
                    "game": {"system": "live", "id": (number % 50).to_string()}, "sportsbook": "book",
                    "market": "moneyline",
                    "outcomes": [{"side": "home", "price_american": -110}, {"side": "away", "price_american": -105}],
                },
            })
            .to_string()
        })
        .collect();
    let file = setup.folder.path().join("live.jsonl");
    std::fs::write(&file, events.join("\n")).expect("written");
    file.display().to_string()
}
