//! The contracts as a scraper's author meets them: every sample decodes in both modes, every bad event of the fixtures is refused
//! for its reason, the JSON Schemas are what the fixtures say, and no bytes whatever make a decoder panic.
//!
//! A bad event is one line of `fixtures/contracts/<kind>.jsonl`: `name`, `reason`, the start of `detail`, and either `raw` or what
//! to `set` (JSON pointer: value), to make `long` (JSON pointer: bytes) and to `remove` (JSON pointers) in the kind's first sample.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ledgerline_schema::events::envelope::RECORD_BYTES;
use ledgerline_schema::events::rejection::DETAIL_BYTES;
use ledgerline_schema::events::{EventKind, Flags, RawHeader, RawRecord, Reason, Rejection, Rows};
use ledgerline_schema::time::UtcMicros;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Kafka's timestamp of every record here: a little after the samples.
fn record_time() -> UtcMicros {
    UtcMicros::parse("2025-11-09T18:21:30Z").expect("a time")
}

fn decode_into(rows: &mut Rows, value: &[u8], headers: &[RawHeader<'_>]) -> Result<Flags, Rejection> {
    rows.decode(0, &RawRecord { value, headers, timestamp: None })
}

fn decode(kind: EventKind, value: &[u8]) -> Result<Flags, Rejection> {
    kind.rows().decode(0, &RawRecord { value, headers: &[], timestamp: Some(record_time()) })
}

fn sample(kind: EventKind) -> Value {
    kind.samples().swap_remove(0)
}

/// The event in binary mode: attributes as headers, `data` as the value.
fn binary(event: &Value) -> (Vec<(String, String)>, Vec<u8>) {
    let attributes = event.as_object().expect("an object").iter().filter(|(name, _)| *name != "data");
    let headers = attributes.map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (format!("ce_{name}"), value)
    });
    (headers.collect(), event["data"].to_string().into_bytes())
}

fn decode_binary(rows: &mut Rows, event: &Value, timestamp: Option<UtcMicros>) -> Result<Flags, Rejection> {
    let (headers, value) = binary(event);
    let header =
        |(name, value): &'_ (String, String)| (name.clone().into_bytes(), value.clone().into_bytes());
    let bytes: Vec<_> = headers.iter().map(header).collect();
    let headers: Vec<RawHeader<'_>> =
        bytes.iter().map(|(name, value)| RawHeader { name, value: Some(value) }).collect();
    rows.decode(0, &RawRecord { value: &value, headers: &headers, timestamp })
}

#[test]
fn every_sample_decodes_to_the_same_rows_in_both_modes() {
    for kind in EventKind::ALL.iter().copied() {
        let (mut structured, mut by_headers) = (kind.rows(), kind.rows());
        for event in kind.samples() {
            let before = structured.len();
            decode_into(&mut structured, event.to_string().as_bytes(), &[])
                .unwrap_or_else(|e| panic!("{e}: {event}"));
            decode_binary(&mut by_headers, &event, None).unwrap_or_else(|e| panic!("{e}: {event}"));
            assert!(structured.len() > before, "{event}");
        }
        assert_eq!(format!("{structured:?}"), format!("{by_headers:?}"));
    }
}

#[test]
fn unknown_fields_and_extensions_are_ignored() {
    for kind in EventKind::ALL.iter().copied() {
        let (mut event, mut plain, mut extended) = (sample(kind), kind.rows(), kind.rows());
        decode_into(&mut plain, event.to_string().as_bytes(), &[]).expect("a sample");
        event["traceparent"] = json!("00-a-b-01");
        event["someextension"] = json!([1, {"deep": null}]);
        event["data"]["invented"] = json!({"later": true});
        decode_into(&mut extended, event.to_string().as_bytes(), &[]).expect("still good");
        assert_eq!(format!("{plain:?}"), format!("{extended:?}"));
    }
}

/// One line of a fixture file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    name: String,
    #[serde(default)]
    raw: Option<String>,
    #[serde(default)]
    set: Map<String, Value>,
    #[serde(default)]
    long: BTreeMap<String, usize>,
    #[serde(default)]
    remove: Vec<String>,
    reason: String,
    detail: String,
}

impl Bad {
    /// The event as the line describes it; nothing where it is no event at all.
    fn event(&self, kind: EventKind) -> Option<Value> {
        if self.raw.is_some() {
            return None;
        }
        let mut event = sample(kind);
        let long = self.long.iter().map(|(pointer, bytes)| (pointer, json!("x".repeat(*bytes))));
        for (pointer, value) in self.set.iter().map(|(pointer, value)| (pointer, value.clone())).chain(long) {
            let (parent, field) = pointer.rsplit_once('/').expect("a JSON pointer");
            match event.pointer_mut(parent).unwrap_or_else(|| panic!("{}: {pointer}", self.name)) {
                Value::Array(items) => items[field.parse::<usize>().expect("an index")] = value,
                parent => parent[field] = value,
            }
        }
        for pointer in &self.remove {
            let (parent, field) = pointer.rsplit_once('/').expect("a JSON pointer");
            let parent = event.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
            assert!(parent.remove(field).is_some(), "{}: {pointer} is not in the sample", self.name);
        }
        Some(event)
    }
}

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(folder)
}

fn bad_events(kind: EventKind) -> Vec<Bad> {
    let path = fixtures("contracts").join(format!("{}.jsonl", kind.name()));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn every_bad_event_is_refused_for_its_reason() {
    let mut wrong = Vec::new();
    for kind in EventKind::ALL.iter().copied() {
        for bad in bad_events(kind) {
            let value =
                bad.event(kind).map_or_else(|| bad.raw.clone().expect("raw"), |event| event.to_string());
            match decode(kind, value.as_bytes()) {
                Ok(_) => wrong.push(format!("{kind:?}, {}: accepted", bad.name)),
                Err(found) if found.reason.name() == bad.reason && found.detail.starts_with(&bad.detail) => {}
                Err(found) => wrong.push(format!("{kind:?}, {}: {found}", bad.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn data_that_is_refused_in_structured_mode_is_refused_in_binary_mode_for_the_same_reason() {
    for kind in EventKind::ALL.iter().copied() {
        for bad in bad_events(kind) {
            let of_data = bad
                .set
                .keys()
                .chain(bad.long.keys())
                .chain(&bad.remove)
                .all(|pointer| pointer.starts_with("/data/"));
            let Some(event) = bad.event(kind).filter(|_| of_data) else { continue };
            let refused = decode_binary(&mut kind.rows(), &event, Some(record_time())).expect_err(&bad.name);
            assert_eq!(refused.reason.name(), bad.reason, "{}", bad.name);
        }
    }
}

#[test]
fn every_reason_of_decoding_has_a_bad_event() {
    let mut seen: Vec<String> =
        EventKind::ALL.iter().copied().flat_map(bad_events).map(|bad| bad.reason).collect();
    seen.push(Reason::TooLarge.name().into()); // below: a megabyte is no line of a fixture
    let of_database = |reason: &Reason| matches!(reason, Reason::Conflict | Reason::Refused);
    for reason in Reason::ALL.into_iter().filter(|reason| !of_database(reason)) {
        assert!(seen.iter().any(|name| name == reason.name()), "no fixture is refused as {}", reason.name());
    }
}

#[test]
fn a_detail_stays_one_bounded_line_whatever_the_record_holds() {
    let hostile = "\u{1b}[31m\nfake log line\r\n\u{2028}\u{85}".repeat(60);
    for kind in EventKind::ALL.iter().copied() {
        for pointer in ["/specversion", "/type", "/time", "/data"] {
            let mut event = sample(kind);
            *event.pointer_mut(pointer).expect("a field") = json!(hostile);
            let refused = decode(kind, event.to_string().as_bytes()).expect_err("a hostile record");
            assert!(refused.detail.len() <= DETAIL_BYTES, "{refused}");
            assert!(!refused.detail.contains(char::is_control), "{refused}");
        }
    }
}

#[test]
fn a_value_of_the_wrong_json_type_is_refused_with_the_name_of_its_field() {
    for (kind, pointer, field) in [
        (EventKind::Odds, "/data/sportsbook", "sportsbook"),
        (EventKind::Odds, "/data/outcomes/1/price_american", "price_american"),
        (EventKind::Odds, "/data/market", "market"),
        (EventKind::Game, "/data/home_team", "home_team"),
        (EventKind::Article, "/data/tags", "tags"),
        (EventKind::Signal, "/data/detector/name", "name"),
        (EventKind::Signal, "/data/books/0", "books"),
        (EventKind::Analysis, "/data/fair_probability", "fair_probability"),
        (EventKind::Analysis, "/data/inputs/signal_ids", "signal_ids"),
    ] {
        let mut event = sample(kind);
        *event.pointer_mut(pointer).expect("a field") = json!({"not": "this"});
        let refused = decode(kind, event.to_string().as_bytes()).expect_err("a wrong type");
        assert_eq!(refused.reason, Reason::InvalidField, "{refused}");
        assert!(refused.detail.contains(field), "the detail does not name {field}: {refused}");
    }
}

#[test]
fn a_record_over_one_mebibyte_is_too_large_and_one_of_that_size_is_not() {
    for kind in EventKind::ALL.iter().copied() {
        let mut value = sample(kind).to_string().into_bytes();
        value.resize(RECORD_BYTES, b' ');
        decode(kind, &value).expect("the largest record");
        value.push(b' ');
        assert_eq!(decode(kind, &value).expect_err("one more").reason, Reason::TooLarge);
    }
}

#[test]
fn five_hundred_alternate_lines_are_an_event_and_one_more_is_not() {
    for (lines, good) in [(500, true), (501, false)] {
        let mut event = sample(EventKind::Odds);
        let outcome = |line: i32| json!({"side": "home", "alternate": true, "line": f64::from(line) / 8.0 * 2.0 - 60.0});
        event["data"]["outcomes"] = (0..lines).map(outcome).collect();
        let decoded = decode(EventKind::Odds, event.to_string().as_bytes());
        assert_eq!(decoded.is_ok(), good, "{lines}: {decoded:?}");
    }
}

#[test]
fn nesting_of_any_depth_is_refused_without_harm() {
    for kind in EventKind::ALL.iter().copied() {
        for depth in [200, 1_000, RECORD_BYTES] {
            for value in ["[".repeat(depth), "{\"a\":".repeat(depth / 5)] {
                assert!(decode(kind, value.as_bytes()).is_err(), "{kind:?}: {depth} brackets");
            }
        }
    }
    // What is ignored may be as deep as it likes; what is kept may not.
    let mut event = sample(EventKind::Game).to_string();
    let deep = format!("\"data\":{{\"later\":{0}1{1},", "[".repeat(1_000), "]".repeat(1_000));
    decode(EventKind::Game, event.replacen("\"data\":{", &deep, 1).as_bytes()).expect("ignored");
    event = event.replacen(
        "\"details\":{",
        &format!("\"details\":{{\"a\":{0}1{1}", "[".repeat(1_000), "]".repeat(1_000)),
        1,
    );
    decode(EventKind::Game, event.as_bytes()).expect_err("too deep");
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    for kind in EventKind::ALL.iter().copied() {
        let good = sample(kind).to_string();
        for bytes in [&b"\xff\xfe"[..], b"\x93", b"\xed\xa0\x80", b"\xc0\x80"] {
            // Within the scraper's name, which every kind keeps.
            let at = good.find("oddsapi-scraper-1").expect("the source");
            let value = [&good.as_bytes()[..at], bytes, &good.as_bytes()[at..]].concat();
            assert_eq!(decode(kind, &value).expect_err("not UTF-8").reason, Reason::MalformedJson);
        }
    }
}

#[test]
fn a_record_cut_short_anywhere_is_malformed() {
    for kind in EventKind::ALL.iter().copied() {
        let value = sample(kind).to_string().into_bytes();
        for end in 0..value.len() {
            let refused = decode(kind, &value[..end]).expect_err("cut short");
            assert_eq!(refused.reason, Reason::MalformedJson, "{end}: {refused}");
        }
    }
}

#[test]
fn headers_that_are_not_text_are_refused_in_binary_mode() {
    let value = sample(EventKind::Odds)["data"].to_string().into_bytes();
    let good: [(&[u8], &[u8]); 5] = [
        (b"ce_specversion", b"1.0"),
        (b"ce_type", b"odds.v1"),
        (b"ce_id", b"1"),
        (b"ce_source", b"scraper"),
        (b"ce_time", b"2025-11-09T18:20:41Z"),
    ];
    for spoiled in 0..good.len() {
        for bytes in [Some(&b"\xff"[..]), Some(b"a\0b"), Some(b""), None] {
            let mut headers = good.map(|(name, value)| RawHeader { name, value: Some(value) });
            headers[spoiled].value = bytes;
            let mut rows = EventKind::Odds.rows();
            let refused = decode_into(&mut rows, &value, &headers).expect_err("a spoiled header");
            let known = [Reason::NotCloudEvent, Reason::UnsupportedType, Reason::InvalidField];
            assert!(known.contains(&refused.reason) && rows.is_empty(), "{refused}");
        }
    }
}

#[test]
fn a_refused_event_leaves_nothing_behind_that_would_be_stored() {
    for kind in EventKind::ALL.iter().copied() {
        for bad in bad_events(kind) {
            let Some(event) = bad.event(kind) else { continue };
            let mut rows = kind.rows();
            rows.decode(
                0,
                &RawRecord {
                    value: event.to_string().as_bytes(),
                    headers: &[],
                    timestamp: Some(record_time()),
                },
            )
            .expect_err(&bad.name);
            assert_eq!(format!("{rows:?}"), format!("{:?}", kind.rows()), "{}", bad.name);
        }
    }
}

#[test]
fn the_json_schema_of_each_kind_is_the_one_on_file() {
    for kind in EventKind::ALL {
        let path = fixtures("schema").join(format!("{}.json", kind.name()));
        let refresh = format!("ledgerline schema json {0} > tests/fixtures/schema/{0}.json", kind.name());
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}: {refresh}", path.display()));
        let on_file: Value = serde_json::from_str(&text).expect("JSON");
        assert!(
            kind.json_schema() == on_file,
            "the JSON Schema of {} has changed. If it should: {refresh}",
            kind.name()
        );
    }
}

#[test]
fn the_asyncapi_document_is_the_one_on_file_and_describes_every_sample() {
    let document = ledgerline_schema::events::asyncapi::document(|kind| kind.default_topic().to_owned());
    let path = fixtures("asyncapi.json");
    let refresh = "ledgerline schema asyncapi > tests/fixtures/asyncapi.json";
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}: {refresh}"));
    let on_file: Value = serde_json::from_str(&text).expect("JSON");
    assert!(document == on_file, "the AsyncAPI document has changed. If it should: {refresh}");
    for kind in EventKind::ALL {
        let mut of_kind = document.clone();
        of_kind["$ref"] = json!(format!("#/components/messages/{}/payload", kind.event_type()));
        let schema = jsonschema::validator_for(&of_kind).expect("a JSON Schema");
        for sample in EventKind::ALL.iter().flat_map(|other| other.samples()) {
            let ours = sample["type"] == kind.event_type();
            assert_eq!(schema.is_valid(&sample), ours, "{}: {sample}", kind.name());
        }
    }
}

#[test]
fn every_sample_is_valid_by_the_schema_of_its_kind_and_by_no_other() {
    for kind in EventKind::ALL {
        let schema = jsonschema::validator_for(&kind.json_schema()).expect("a JSON Schema");
        for sample in EventKind::ALL.iter().flat_map(|other| other.samples()) {
            let ours = sample["type"] == kind.event_type();
            assert_eq!(schema.is_valid(&sample), ours, "{}: {sample}", kind.name());
        }
    }
}

/// What a hostile or broken producer does to a good record.
fn spoil(value: &mut Vec<u8>, edits: &[(usize, u8, u8)]) {
    for (at, byte, how) in edits.iter().copied() {
        let at = at % (value.len() + 1);
        match how % 4 {
            0 => value.insert(at, byte),
            1 => value.truncate(at),
            2 if at < value.len() => drop(value.remove(at)),
            _ if at < value.len() => value[at] = byte,
            _ => value.push(byte),
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic_and_a_refusal_leaves_no_row(
        edits in proptest::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 0..6),
        by_headers in any::<bool>(),
    ) {
        for kind in EventKind::ALL.iter().copied() {
            let mut rows = kind.rows();
            for event in kind.samples() {
                let (headers, mut value) = if by_headers { binary(&event) } else { (Vec::new(), event.to_string().into_bytes()) };
                spoil(&mut value, &edits);
                let headers: Vec<RawHeader<'_>> = headers.iter()
                    .map(|(name, value)| RawHeader { name: name.as_bytes(), value: Some(value.as_bytes()) })
                    .collect();
                let before = rows.len();
                match decode_into(&mut rows, &value, &headers) {
                    Ok(_) => prop_assert!(rows.len() > before),
                    Err(_) => prop_assert_eq!(rows.len(), before),
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in EventKind::ALL.iter().copied() {
            prop_assert!(decode(kind, &value).is_err());
        }
    }
}
