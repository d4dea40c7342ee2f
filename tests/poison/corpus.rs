//! The poison corpus: `fixtures/poison/corpus.jsonl`, one class of bad, odd or hostile record per line, with the end that each
//! has to come to.
//!
//! | field | |
//! |---|---|
//! | `class`, `topic`, `end` | its name; the kind of its topic; `applied`, `tombstone` or `dead <reason>` |
//! | `detail`, `detail_has` | how the dead letter's detail begins; what else it holds |
//! | `set` | JSON pointer into the kind's good event: raw text instead of the value |
//! | `value`, `key` | the whole value or key instead; `null` is none |
//! | `headers` | name, value or `null`, and how often |
//! | `kept` | the headers that the dead letter has, where those are not the ones that were sent |
//! | `binary`, `pad_to`, `partition`, `timestamp` | binary mode; blanks up to a size; 0 if not given; a moment after the event if not given |
//! | `stores` | of an applied record: an expression on its row, and its text. `"rows": 0`: no row carries its offset |
//! | `origin` | `null`: the dead letter carries neither correlation id nor trace |
//!
//! In `set`, `value`, `key` and `headers`, `{n}` is the class's number, `<<hex:ff00>>` are bytes, `<<text*3>>` is text repeated,
//! `<<event>>` is the kind's good event and `<<event-1>>` is that without its last byte.

use ledgerline_schema::events::{EventKind, Reason};
use ledgerline_schema::time::UtcMicros;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::support::wire::{WireHeader, WireRecord};

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Applied,
    Tombstone,
    Dead(Reason),
}

/// One record and what has to become of it.
#[derive(Debug, Clone)]
pub struct Case {
    pub class: String,
    pub kind: EventKind,
    pub partition: i32,
    pub record: WireRecord,
    pub end: End,
    pub detail: String,
    pub detail_has: String,
    pub stores: Option<(String, String)>,
    pub rows: usize,
    pub kept_headers: Vec<WireHeader>,
    pub has_origin: bool,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    class: String,
    topic: String,
    end: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    detail_has: String,
    #[serde(default)]
    set: Map<String, Value>,
    #[serde(default, deserialize_with = "given")]
    value: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    key: Option<Value>,
    #[serde(default)]
    headers: Vec<Vec<Value>>,
    kept: Option<Vec<Vec<Value>>>,
    #[serde(default)]
    binary: bool,
    #[serde(default)]
    pad_to: usize,
    #[serde(default)]
    partition: i32,
    timestamp: Option<i64>,
    stores: Option<(String, String)>,
    #[serde(default = "one")]
    rows: usize,
    #[serde(default, deserialize_with = "given")]
    origin: Option<Value>,
}

fn one() -> usize {
    1
}

/// Tells `null` from nothing.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// The classes of the file, in its order.
pub fn classes() -> Vec<Case> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/poison/corpus.jsonl");
    let text = std::fs::read_to_string(path).expect("the corpus");
    let case = |(number, line): (usize, &str)| {
        let line: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        line.case(number)
    };
    text.lines().enumerate().map(case).collect()
}

/// A moment after every event here.
pub fn record_millis() -> i64 {
    UtcMicros::parse("2025-11-09T18:21:30Z").expect("a time").0 / 1_000
}

/// A good event of the kind whose game or URL nobody else has.
pub fn good(kind: EventKind, name: &str) -> Value {
    let game = json!({"system": "test", "id": name});
    let data = match kind {
        EventKind::Odds => json!({"game": game, "sportsbook": "book", "market": "moneyline",
            "outcomes": [{"side": "home", "price_american": -110}]}),
        EventKind::Game => {
            json!({"game": game, "home_team": "Home", "away_team": "Away", "status": "scheduled"})
        }
        EventKind::Article => {
            json!({"url": format!("https://example.com/{name}"), "title": "Title", "summary": "Summary"})
        }
        EventKind::Signal => {
            json!({"game": game, "market": "moneyline", "side": "home", "signal_type": "steam_move",
            "detected_at": "2025-11-09T18:20:30Z", "window_start": "2025-11-09T18:18:00Z",
            "window_end": "2025-11-09T18:20:30Z", "severity": "low", "detector": {"name": "detector", "version": "1"}})
        }
        EventKind::Analysis => {
            json!({"game": game, "market": "moneyline", "side": "home", "as_of": "2025-11-09T18:20:30Z",
            "model": {"name": "model", "version": "1"}, "fair_probability": 0.5, "recommendation": "pass",
            "confidence": 0.5})
        }
    };
    json!({"specversion": "1.0", "type": kind.event_type(), "id": name, "source": "test-scraper",
        "time": "2025-11-09T18:20:41Z", "correlationid": name, "data": data})
}

impl Line {
    fn case(self, number: usize) -> Case {
        let kind = EventKind::of_name(&self.topic).unwrap_or_else(|| panic!("{}", self.class));
        let name = format!("poison-{number}");
        let event = good(kind, &name);
        let fill = Fill { number, event: event.to_string().into_bytes() };
        let (mut headers, value) = self.built(event, &fill);
        headers.extend(self.headers.iter().flat_map(|header| fill.header(header)));
        let kept =
            self.kept.as_ref().map(|kept| kept.iter().flat_map(|header| fill.header(header)).collect());
        let value = match &self.value {
            None => Some(value),
            Some(value) => value.as_str().map(|text| fill.bytes(text)),
        };
        let key = match &self.key {
            None => Some(name.into_bytes()),
            Some(key) => key.as_str().map(|text| fill.bytes(text)),
        };
        Case {
            kind,
            partition: self.partition,
            kept_headers: kept.unwrap_or_else(|| headers.clone()),
            record: WireRecord {
                key,
                value: value.map(|value| padded(value, self.pad_to)),
                headers,
                timestamp: self.timestamp.unwrap_or_else(record_millis),
            },
            end: end(&self.end),
            detail: self.detail,
            detail_has: self.detail_has,
            stores: self
                .stores
                .map(|(expression, text)| (expression, text.replace("{n}", &number.to_string()))),
            rows: self.rows,
            has_origin: self.origin.is_none(),
            class: self.class,
        }
    }

    /// The good event with what is set in it: its headers in binary mode, and its value.
    fn built(&self, mut event: Value, fill: &Fill) -> (Vec<WireHeader>, Vec<u8>) {
        for (number, pointer) in self.set.keys().enumerate() {
            let (parent, field) = pointer.rsplit_once('/').expect("a JSON pointer");
            let parent = event.pointer_mut(parent).unwrap_or_else(|| panic!("{}: {pointer}", self.class));
            parent[field] = json!(format!("@{number}@"));
        }
        let with_raw = |text: String| {
            let raw = self.set.values().enumerate();
            let text = raw.fold(text, |text, (number, raw)| {
                text.replace(&format!("\"@{number}@\""), raw.as_str().expect("raw text"))
            });
            fill.bytes(&text)
        };
        if !self.binary {
            return (Vec::new(), with_raw(event.to_string()));
        }
        let data = event["data"].take();
        let attributes = event.as_object().expect("an object").iter().filter(|(name, _)| *name != "data");
        let headers = attributes.map(|(name, value)| {
            let text = String::from_utf8(with_raw(value.to_string())).expect("UTF-8");
            (format!("ce_{name}").into_bytes(), Some(text.trim_matches('"').as_bytes().to_vec()))
        });
        // What the class says about a header comes instead of the event's own.
        let named: Vec<&str> = self.headers.iter().filter_map(|header| header[0].as_str()).collect();
        let headers = headers.filter(|(name, _)| !named.iter().any(|named| named.as_bytes() == name));
        (headers.collect(), with_raw(data.to_string()))
    }
}

fn padded(mut value: Vec<u8>, size: usize) -> Vec<u8> {
    value.resize(value.len().max(size), b' ');
    value
}

fn end(text: &str) -> End {
    match text.strip_prefix("dead ") {
        Some(reason) => {
            let reason = Reason::ALL.into_iter().find(|known| known.name() == reason);
            End::Dead(reason.unwrap_or_else(|| panic!("{text}")))
        }
        None if text == "tombstone" => End::Tombstone,
        None => {
            assert_eq!(text, "applied");
            End::Applied
        }
    }
}

/// Expands the file's `<<…>>` and `{n}`.
struct Fill {
    number: usize,
    event: Vec<u8>,
}

impl Fill {
    fn bytes(&self, text: &str) -> Vec<u8> {
        let text = text.replace("{n}", &self.number.to_string());
        let mut bytes = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, token)) = rest.split_once("<<") {
            // The last `>>` of the token, since `>>` never stands in a repeated text.
            let (token, after) = token.split_once(">>").unwrap_or_else(|| panic!("{text}"));
            bytes.extend(before.as_bytes());
            bytes.extend(self.token(token));
            rest = after;
        }
        bytes.extend(rest.as_bytes());
        bytes
    }

    fn token(&self, token: &str) -> Vec<u8> {
        match (token, token.strip_prefix("hex:"), token.rsplit_once('*')) {
            ("event", ..) => self.event.clone(),
            ("event-1", ..) => self.event[..self.event.len() - 1].to_vec(),
            (_, Some(hex), _) => (0..hex.len() / 2)
                .map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).expect("hex"))
                .collect(),
            (_, _, Some((text, times))) => text.repeat(times.parse().expect("a count")).into_bytes(),
            _ => panic!("<<{token}>>"),
        }
    }

    fn header(&self, header: &[Value]) -> Vec<WireHeader> {
        let name = self.bytes(header[0].as_str().expect("a name"));
        let value = header[1].as_str().map(|text| self.bytes(text));
        let times = header.get(2).map_or(1, |times| times.as_u64().expect("a count"));
        (0..times).map(|_| (name.clone(), value.clone())).collect()
    }
}
