//! Poison: every class of bad, odd or hostile record that anybody may put on a topic, sent to real Kafka between good records, comes
//! to the end that the corpus names for it, at its own offset, byte for byte; nothing stalls and nothing shows in the log.
//!
//! Classes are in `fixtures/poison/corpus.jsonl` (`corpus.rs` reads it) and in `hostile.rs`.

mod corpus;
mod hostile;

use std::collections::{BTreeMap, HashMap};

use ledgerline_schema::dead_letter::headers_from_json;
use ledgerline_schema::events::rejection::DETAIL_BYTES;
use ledgerline_schema::events::{EventKind, RawHeader, RawRecord};
use ledgerline_schema::sql_types::Json;
use ledgerline_schema::time::UtcMicros;
use serde_json::{Value, json};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::kafka;
use crate::support::postgres::{Database, connect};
use crate::support::scenes::stored;
use crate::support::wire::{self, WireHeader, WireRecord};
use crate::support::worker::{Setup, Worker};
use corpus::{Case, End, classes, good, record_millis};

/// Good records after each dead one: the budget of dead letters is not what is tested here.
const GOOD_PER_DEAD: usize = 24;

/// Every class: one record each.
fn cases() -> Vec<Case> {
    classes().into_iter().chain(hostile::cases()).collect()
}

#[test]
fn every_class_is_decoded_to_its_end() {
    let mut wrong = Vec::new();
    for case in cases() {
        let Some(value) = &case.record.value else { continue };
        let headers: Vec<RawHeader<'_>> = case.record.headers.iter().map(raw).collect();
        let timestamp = UtcMicros::from_millis(case.record.timestamp);
        let found = case.kind.rows().decode(0, &RawRecord { value, headers: &headers, timestamp });
        let good = match (&found, case.end) {
            // Only the database knows what is stored already.
            (Ok(_), End::Applied) => true,
            (Ok(_), End::Dead(reason)) => reason.name() == "conflict",
            (Err(rejection), End::Dead(reason)) => {
                let detail = &rejection.detail;
                let safe = detail.len() <= DETAIL_BYTES && !detail.chars().any(unsafe_in_a_log);
                rejection.reason == reason && case.tells(detail) && safe
            }
            (Ok(_) | Err(_), _) => false,
        };
        if !good {
            wrong.push(format!("{}: {found:?} instead of {:?} {}", case.class, case.end, case.detail));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Case {
    fn tells(&self, detail: &str) -> bool {
        detail.starts_with(&self.detail) && detail.contains(&self.detail_has)
    }
}

/// What a terminal or a reader may take for something else.
fn unsafe_in_a_log(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn raw((name, value): &WireHeader) -> RawHeader<'_> {
    RawHeader { name, value: value.as_deref() }
}

/// Where a case went; good records between them have none.
type Log = BTreeMap<(EventKind, i32), Vec<(WireRecord, Option<Case>)>>;

/// All cases in their order, each partition with its good records in between.
fn log() -> Log {
    let mut log = Log::new();
    for case in cases() {
        let (kind, partition) = (case.kind, case.partition);
        let lane = log.entry((kind, partition)).or_default();
        let good_ones = if matches!(case.end, End::Dead(_)) { GOOD_PER_DEAD } else { 1 };
        lane.push((case.record.clone(), Some(case)));
        for _ in 0..good_ones {
            let name = format!("good-{partition}-{}", lane.len());
            let record = WireRecord {
                key: Some(name.clone().into_bytes()),
                value: Some(good(kind, &name).to_string().into_bytes()),
                headers: Vec::new(),
                timestamp: record_millis(),
            };
            lane.push((record, None));
        }
    }
    log
}

/// A case at its coordinates.
struct Sent {
    case: Case,
    topic: String,
    offset: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_class_comes_to_its_end_at_its_offset() {
    let database = Database::postgres().await;
    let mut topics = HashMap::new();
    for kind in EventKind::ALL {
        let large = [("max.message.bytes", "8388608")];
        topics.insert(*kind, kafka::topic_with(&kafka::brokers(), kind.name(), 2, &large).await);
    }
    let named: Vec<(&str, &str)> = topics.iter().map(|(kind, topic)| (kind.name(), topic.as_str())).collect();
    let setup = Setup::new(&database.url, &named);
    setup.must(&["migrate", "up"]);
    let (to, log) = (topics.clone(), log());
    let records: usize = log.values().map(Vec::len).sum();
    let sent = tokio::task::spawn_blocking(move || send(&to, log)).await.expect("sent");

    let mut worker = setup.start();
    for topic in topics.values() {
        stored(&database, topic, 2).await;
    }
    assert!(worker.stop().await.success());

    let client = connect(&database.url).await;
    let mut wrong = Vec::new();
    for sent in &sent {
        if let Err(problem) = check(&client, sent).await {
            wrong.push(format!("{} at {} {}: {problem}", sent.case.class, sent.topic, sent.offset));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    check_sums(&database, records, &sent).await;
    check_good_rows(&database, records - sent.len()).await;
    check_log(&worker);
    let verified: Value =
        serde_json::from_str(&setup.must(&["verify", "--kafka", "--strict", "--json"])).expect("JSON");
    assert_eq!((&verified["ok"], &verified["records"]), (&json!(true), &json!(records)), "{verified}");
    database.drop_now().await;
}

fn send(topics: &HashMap<EventKind, String>, log: Log) -> Vec<Sent> {
    let mut sent = Vec::new();
    for ((kind, partition), lane) in log {
        let topic = &topics[&kind];
        let (records, cases): (Vec<_>, Vec<_>) = lane.into_iter().unzip();
        let offsets = wire::produce(&kafka::brokers(), topic, partition, &records);
        let cases = cases.into_iter().zip(offsets).filter_map(|(case, offset)| Some((case?, offset)));
        sent.extend(cases.map(|(case, offset)| Sent { case, topic: topic.clone(), offset }));
    }
    sent
}

/// What the database has at the coordinates of one case.
async fn check(client: &Client, sent: &Sent) -> Result<(), String> {
    let letter = letter(client, sent).await;
    match (sent.case.end, letter) {
        (End::Dead(reason), Some(letter)) => letter.check(&sent.case, reason.name()),
        (End::Dead(_), None) => Err("no dead letter".into()),
        (End::Applied | End::Tombstone, Some(letter)) => Err(format!("{}: {}", letter.reason, letter.detail)),
        (End::Tombstone, None) => Ok(()),
        (End::Applied, None) => check_row(client, sent).await,
    }
}

/// The row that carries the record's coordinates, and what it stores.
async fn check_row(client: &Client, sent: &Sent) -> Result<(), String> {
    let from = match sent.case.kind {
        EventKind::Odds => {
            "odds t join selections s on s.id = t.selection_id join game_refs r on r.id = s.game_ref_id"
        }
        EventKind::Game => "games t",
        EventKind::Article => "articles t",
        EventKind::Signal => "sharp_signals t join game_refs r on r.id = t.game_ref_id",
        EventKind::Analysis => "betting_analyses t join game_refs r on r.id = t.game_ref_id",
    };
    let (expression, text) = match &sent.case.stores {
        Some((expression, text)) => (expression.as_str(), Some(text.as_str())),
        None => ("1", None),
    };
    let expression = if sent.case.kind == EventKind::Odds {
        expression.replace("line", "t.line")
    } else {
        expression.into()
    };
    let sql = format!("select ({expression})::text from {from} where {}", at("t", sent));
    let rows = rows(client, &sql).await;
    if rows.len() != sent.case.rows {
        return Err(format!("{} rows", rows.len()));
    }
    let found = rows.first().and_then(|row| row[0].as_deref());
    if text.is_some() && found != text {
        Err(format!("stored {found:?} instead of {text:?}"))
    } else {
        Ok(())
    }
}

fn at(table: &str, Sent { case, topic, offset }: &Sent) -> String {
    let partition = case.partition;
    format!(
        "{table}.record_offset = {offset} and {table}.lineage_id = \
         (select id from lineages l where l.topic = '{topic}' and l.partition = {partition})"
    )
}

async fn rows(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
        }
        _ => None,
    });
    rows.collect()
}

/// A dead letter as it is stored.
struct Letter {
    reason: String,
    detail: String,
    payload: Vec<u8>,
    key: Option<Vec<u8>>,
    headers: Json,
    has_origin: bool,
}

async fn letter(client: &Client, sent: &Sent) -> Option<Letter> {
    let sql = format!(
        "select reason, detail, encode(payload, 'hex'), encode(key, 'hex'), headers::text, \
         coalesce(correlation_id, trace_parent) from dead_letters d \
         where {} and d.topic = '{}' and d.partition = {}",
        at("d", sent),
        sent.topic,
        sent.case.partition,
    );
    let mut row = rows(client, &sql).await.pop()?;
    let mut text = |column: usize| row[column].take();
    Some(Letter {
        reason: text(0)?,
        detail: text(1)?,
        payload: unhex(&text(2)?),
        key: text(3).map(|hex| unhex(&hex)),
        headers: Json(text(4)?),
        has_origin: text(5).is_some(),
    })
}

fn unhex(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("hex") as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

impl Letter {
    fn check(&self, case: &Case, reason: &str) -> Result<(), String> {
        let record = &case.record;
        let facts = [
            (self.reason == reason, "the reason"),
            (case.tells(&self.detail), "the detail"),
            (self.detail.len() <= DETAIL_BYTES && !self.detail.chars().any(unsafe_in_a_log), "a safe detail"),
            (Some(&self.payload) == record.value.as_ref(), "the payload"),
            (self.key == record.key, "the key"),
            (headers_from_json(&self.headers).as_ref() == Some(&case.kept_headers), "the headers"),
            (case.has_origin || !self.has_origin, "no origin"),
        ];
        match facts.iter().find(|(holds, _)| !holds) {
            Some((_, fact)) => Err(format!("not {fact}: {} {}", self.reason, self.detail)),
            None => Ok(()),
        }
    }
}

/// The ledger counts what the corpus says, and nothing else.
async fn check_sums(database: &Database, records: usize, sent: &[Sent]) {
    let of = |wanted: fn(&End) -> bool| sent.iter().filter(|sent| wanted(&sent.case.end)).count();
    let dead = of(|end| matches!(end, End::Dead(_)));
    let tombstones = of(|end| *end == End::Tombstone);
    let wanted = [records - dead - tombstones, dead, tombstones, 0].map(|sum| sum.to_string());
    let sql = "select sum(applied), sum(dead), sum(tombstone), sum(hole) + sum(lost) from offset_ledger";
    let sums: Vec<String> = database.rows(sql).await[0].iter().flatten().cloned().collect();
    assert_eq!(sums, wanted);
    let letters = database.number("select count(*) from dead_letters").await;
    assert_eq!(usize::try_from(letters), Ok(dead));
}

async fn check_good_rows(database: &Database, good: usize) {
    let stored = database
        .number(
            "select (select count(*) from readable_odds where external_id like 'good-%') \
             + (select count(*) from readable_games where external_id like 'good-%') \
             + (select count(*) from readable_articles where canonical_url like '%/good-%') \
             + (select count(*) from readable_signals where external_id like 'good-%') \
             + (select count(*) from readable_analyses where external_id like 'good-%')",
        )
        .await;
    assert_eq!(usize::try_from(stored), Ok(good));
}

/// Every line of the log is one JSON object without a character that a terminal would obey, and bounded.
fn check_log(worker: &Worker) {
    let log = worker.log();
    assert!(log.lines().count() > 10, "{log}");
    for line in log.split_terminator('\n') {
        let parsed: Result<serde_json::Map<String, Value>, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "not one JSON object: {line:?}");
        assert!(!line.chars().any(unsafe_in_a_log), "an unsafe character: {line:?}");
        assert!(line.len() < 1_000, "a long line: {line}");
    }
}
