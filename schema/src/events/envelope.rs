//! CloudEvents 1.0 as Kafka carries it: structured mode (the value is the whole event as JSON) and binary mode (the
//! attributes are `ce_*` headers, the value is `data`). Called by `EventKind::decode`; does no I/O and reads no clock.
//!
//! What must stay true: the type of `data` is known before parsing (one topic, one kind), so a good record is parsed
//! once. Only a bad one is parsed again, to say what is wrong with it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::rejection::{Reason, Rejection, ensure, is_plain};
use super::text::Text;
use crate::time::UtcMicros;

/// Largest value of a record that a contract accepts, in bytes: 1 MiB, Kafka's own default bound.
pub const RECORD_BYTES: usize = 1 << 20;
/// How far a scraper's clock may run ahead of the Kafka record's timestamp: five minutes.
const AHEAD_MICROS: i64 = 300 * UtcMicros::SECOND;
/// Longest path of a field in a rejection, in characters.
const PATH_CHARS: usize = 60;
/// 2000-01-01T00:00:00Z: no scraper saw anything before it.
const OLDEST: UtcMicros = UtcMicros(946_684_800_000_000);

/// A Kafka record as the contracts see it: borrowed bytes and the record's own timestamp.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// The record's value; null is a tombstone and is never decoded.
    pub value: &'a [u8],
    /// The record's headers in order; a value may be null.
    pub headers: &'a [RawHeader<'a>],
    /// The broker's or producer's timestamp; what "in the future" is judged against. Null where Kafka has none.
    pub timestamp: Option<UtcMicros>,
}

/// One Kafka header: any bytes, in name and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawHeader<'a> {
    /// Its name; need not be UTF-8.
    pub name: &'a [u8],
    /// Its value; may be null.
    pub value: Option<&'a [u8]>,
}

/// An event in structured mode. Every attribute is optional here, so that the answer to a missing one names it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(bound(deserialize = "D: Deserialize<'de>"))]
pub struct Envelope<'a, D> {
    /// Always `1.0`.
    #[serde(borrow)]
    pub specversion: Option<Text<'a>>,
    /// The kind and its version, `odds.v1`.
    #[serde(borrow, rename = "type")]
    pub event_type: Option<Text<'a>>,
    /// Unique per publication; decides nothing.
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    /// The scraper.
    #[serde(borrow)]
    pub source: Option<Text<'a>>,
    /// When the scraper saw it.
    #[serde(borrow)]
    pub time: Option<Text<'a>>,
    /// Extension: ties the records of one poll together; carried into logs and dead letters.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub correlationid: Option<Text<'a>>,
    /// Extension: the version of the scraper.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub scraperversion: Option<Text<'a>>,
    /// The payload.
    pub data: Option<D>,
}

/// The checked attributes of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// The scraper.
    pub source: Text<'a>,
    /// When the scraper saw it, cut to microseconds.
    pub observed_at: UtcMicros,
    /// The version of the scraper, as it says.
    pub scraper_version: Option<Text<'a>>,
}

impl<'a, D> Envelope<'a, D> {
    /// Checks the attributes that every kind shares, and takes the event apart.
    ///
    /// # Errors
    /// `NotCloudEvent`, `WrongType`, `UnsupportedType` or `InvalidField`, naming the attribute.
    pub fn open(
        self,
        expected_type: &str,
        record_time: Option<UtcMicros>,
    ) -> Result<(Attributes<'a>, D), Rejection> {
        check_version(self.specversion.as_deref())?;
        check_type(self.event_type.as_deref(), expected_type)?;
        let id = self.id.ok_or_else(|| missing("id"))?;
        ensure(!id.is_empty() && id.len() <= 256, "id", "must have 1 to 256 bytes")?;
        let source = self.source.ok_or_else(|| missing("source"))?;
        ensure(!source.is_empty() && source.len() <= 256, "source", "must have 1 to 256 bytes")?;
        let time = self.time.ok_or_else(|| missing("time"))?;
        let observed_at = observed_at(&time, record_time)?;
        let data = self.data.ok_or_else(|| missing("data"))?;
        Ok((Attributes { source, observed_at, scraper_version: self.scraperversion }, data))
    }
}

fn missing(attribute: &str) -> Rejection {
    Rejection::new(Reason::NotCloudEvent, format_args!("{attribute}: missing"))
}

fn check_version(specversion: Option<&str>) -> Result<(), Rejection> {
    match specversion {
        Some("1.0") => Ok(()),
        Some(other) => {
            Err(Rejection::new(Reason::NotCloudEvent, format_args!("specversion: {other:?} is not \"1.0\"")))
        }
        None => Err(missing("specversion")),
    }
}

fn check_type(found: Option<&str>, expected: &str) -> Result<(), Rejection> {
    let found = found.ok_or_else(|| missing("type"))?;
    if found == expected {
        return Ok(());
    }
    let reason = match super::EventKind::of_type(found) {
        Some(_) => Reason::WrongType,
        None => Reason::UnsupportedType,
    };
    Err(Rejection::new(reason, format_args!("type: {found:?} where this topic takes {expected:?}")))
}

fn observed_at(time: &str, record_time: Option<UtcMicros>) -> Result<UtcMicros, Rejection> {
    let observed_at = parse_time("time", time)?;
    ensure(observed_at >= OLDEST, "time", "before 2000-01-01")?;
    if let Some(record_time) = record_time {
        ensure(
            observed_at <= record_time.plus(AHEAD_MICROS),
            "time",
            "more than 5 minutes ahead of the record's timestamp",
        )?;
    }
    Ok(observed_at)
}

/// Parses a time field.
///
/// # Errors
/// `InvalidField` that names `field`.
pub fn parse_time(field: &str, text: &str) -> Result<UtcMicros, Rejection> {
    UtcMicros::parse(text).map_err(|problem| Rejection::field(field, problem))
}

/// Parses one record into its attributes and its `data`, in whichever mode it came.
///
/// # Errors
/// The rejection that becomes the dead letter.
pub fn parse<'a, D>(record: &RawRecord<'a>, expected_type: &str) -> Result<(Attributes<'a>, D), Rejection>
where
    D: Deserialize<'a>,
{
    if record.value.len() > RECORD_BYTES {
        let detail = format_args!("{} bytes, at most {RECORD_BYTES}", record.value.len());
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    // A derived type would take an array of its fields in order, too; the contract says object.
    let binary = record.headers.iter().any(|header| header.name == b"ce_specversion");
    let envelope = if binary {
        from_headers(record, expected_type)?
    } else {
        let json = text(record.value)?;
        if is_array(json) {
            return Err(Rejection::new(Reason::NotCloudEvent, "a JSON array where an object belongs"));
        }
        serde_json::from_str::<Envelope<'a, D>>(json)
            .map_err(|error| explain::<D>(json, &error, expected_type))?
    };
    envelope.open(expected_type, record.timestamp)
}

/// When the scraper saw what a record says, in whichever mode it came; null where that cannot be read. Looks at nothing else: the
/// record may be good or bad.
#[must_use]
pub fn time_of(record: &RawRecord<'_>) -> Option<UtcMicros> {
    if record.headers.iter().any(|header| header.name == b"ce_specversion") {
        return UtcMicros::parse(&attribute(record.headers, "time").ok()??).ok();
    }
    let envelope: Envelope<'_, IgnoredAny> = serde_json::from_slice(record.value).ok()?;
    UtcMicros::parse(&envelope.time?).ok()
}

/// The whole value as text. The parser by itself does not look into strings of fields that are ignored.
fn text(value: &[u8]) -> Result<&str, Rejection> {
    std::str::from_utf8(value).map_err(|error| Rejection::new(Reason::MalformedJson, error))
}

fn is_array(json: &str) -> bool {
    let bracket = json.trim_ascii_start().starts_with('[');
    bracket && serde_json::from_str::<IgnoredAny>(json).is_ok()
}

/// Binary mode: attributes from the headers, `data` from the value, if it is of our type at all.
fn from_headers<'a, D: Deserialize<'a>>(
    record: &RawRecord<'a>,
    expected_type: &str,
) -> Result<Envelope<'a, D>, Rejection> {
    let attribute = |name: &str| attribute(record.headers, name);
    check_version(attribute("specversion")?.as_deref())?;
    check_type(attribute("type")?.as_deref(), expected_type)?;
    let json = text(record.value)?;
    if is_array(json) {
        return Err(Rejection::new(Reason::InvalidField, "a JSON array where an object belongs"));
    }
    let data = serde_json::from_str::<D>(json).map_err(|error| classify::<D>(json, &error))?;
    Ok(Envelope {
        specversion: attribute("specversion")?,
        event_type: attribute("type")?,
        id: attribute("id")?,
        source: attribute("source")?,
        time: attribute("time")?,
        correlationid: attribute("correlationid")?,
        scraperversion: attribute("scraperversion")?,
        data: Some(data),
    })
}

fn attribute<'a>(headers: &[RawHeader<'a>], name: &str) -> Result<Option<Text<'a>>, Rejection> {
    let header = headers.iter().find(|header| header.name.strip_prefix(b"ce_") == Some(name.as_bytes()));
    let Some(value) = header.and_then(|header| header.value) else { return Ok(None) };
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains('\0') => Ok(Some(Text(text.into()))),
        Ok(_) | Err(_) => Err(Rejection::new(
            Reason::NotCloudEvent,
            format_args!("header ce_{name}: not UTF-8 without U+0000"),
        )),
    }
}

/// Says what is wrong with a structured event that did not parse: first whether it is of another type at all.
fn explain<'a, D: Deserialize<'a>>(
    json: &'a str,
    error: &serde_json::Error,
    expected_type: &str,
) -> Rejection {
    if let Ok(envelope) = serde_json::from_str::<Envelope<'_, IgnoredAny>>(json) {
        let version = check_version(envelope.specversion.as_deref());
        let checked = version.and_then(|()| check_type(envelope.event_type.as_deref(), expected_type));
        if let Err(rejection) = checked {
            return rejection;
        }
    }
    classify::<Envelope<'a, D>>(json, error)
}

/// Not JSON, or JSON that is not what the contract says: then parsed once more, to name the field.
fn classify<'a, T: Deserialize<'a>>(json: &'a str, error: &serde_json::Error) -> Rejection {
    if serde_json::from_str::<IgnoredAny>(json).is_err() {
        return Rejection::new(Reason::MalformedJson, error);
    }
    let mut json = serde_json::Deserializer::from_str(json);
    match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Ok(_) => Rejection::new(Reason::InvalidField, error),
        Err(error) => {
            let path = error.path().to_string();
            match path.strip_prefix("data.").unwrap_or(&path) {
                "data" | "." => Rejection::new(Reason::InvalidField, error.inner()),
                field => Rejection::field(&shortened(field), error.inner()),
            }
        }
    }
}

/// A path names keys of the record, as long and as many as it likes; the problem after it must still be told.
fn shortened(path: &str) -> Cow<'_, str> {
    match path.char_indices().nth(PATH_CHARS) {
        Some((end, _)) => format!("{}…", &path[..end]).into(),
        None => path.into(),
    }
}

/// What ties a record to the poll and the trace that published it, for its dead letter and its log line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Origin {
    /// CloudEvents extension `correlationid`.
    #[serde(rename = "correlationid")]
    pub correlation_id: Option<String>,
    /// W3C trace context.
    #[serde(rename = "traceparent")]
    pub trace_parent: Option<String>,
}

impl Origin {
    /// From the record's headers, else from whatever JSON there is. What is not printable or too long is left out.
    #[must_use]
    pub fn of(record: &RawRecord<'_>) -> Self {
        let json: Self = serde_json::from_slice(record.value).unwrap_or_default();
        let header = |names: [&str; 2]| {
            let is_named = |header: &&RawHeader<'_>| names.iter().any(|name| name.as_bytes() == header.name);
            let value = record.headers.iter().find(is_named)?.value?;
            String::from_utf8(value.to_vec()).ok()
        };
        let correlation_id = header(["ce_correlationid", "correlation_id"]).or(json.correlation_id);
        let trace_parent = header(["traceparent", "ce_traceparent"]).or(json.trace_parent);
        Self {
            correlation_id: correlation_id.filter(|id| is_printable(id)),
            trace_parent: trace_parent.filter(|id| is_printable(id)),
        }
    }
}

fn is_printable(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.chars().all(is_plain)
}

/// The envelope's JSON Schema around the schema of `data`.
pub(super) fn json_schema<D: JsonSchema>(event_type: &str) -> serde_json::Value {
    let mut schema = schemars::schema_for!(D).to_value();
    let defs = schema.as_object_mut().and_then(|object| object.remove("$defs"));
    let mut whole = serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": event_type,
        "description": "A CloudEvents 1.0 event; Kafka carries it structured, or binary with ce_ headers.",
        "type": "object",
        "required": ["specversion", "type", "id", "source", "time", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "type": {"const": event_type},
            "id": {"type": "string", "minLength": 1, "maxLength": 256},
            "source": {"type": "string", "minLength": 1, "maxLength": 256,
                       "description": "The scraper."},
            "time": {"type": "string", "format": "date-time",
                     "description": "When the scraper saw it: observed_at. RFC 3339 with a zone."},
            "datacontenttype": {"type": "string"},
            "correlationid": {"type": "string", "maxLength": 128},
            "scraperversion": {"type": "string"},
            "traceparent": {"type": "string"},
            "data": schema,
        },
    });
    if let (Some(defs), Some(object)) = (defs, whole.as_object_mut()) {
        object.insert("$defs".into(), defs);
    }
    whole
}
