//! Input formats: one line of a file becomes the Kafka records it stands for. Called by `publish`, and by `events` for a file that is
//! a source of its own.
//!
//! What must stay true: pure but for `files` and `events` (no Kafka, no clock), and nothing comes out that the contract of
//! its kind refuses.

mod cloudevents;
pub mod events;
pub mod files;
mod the_odds_api;

use ledgerline_schema::events::{EventKind, RawRecord, Reason, Rejection};
use ledgerline_schema::events::{Rows, envelope::parse_time};
use ledgerline_schema::time::UtcMicros;

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One CloudEvent per line; its `type` says the kind.
    Cloudevents,
    /// One odds response of The Odds API v4 per line, with its capture time.
    TheOddsApi,
}

/// One record on its way to Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What it carries; decides the topic.
    pub kind: EventKind,
    /// The Kafka key: `<system>:<id>` of the game, or the hash of the article's URL.
    pub key: String,
    /// A CloudEvent in structured mode.
    pub value: Vec<u8>,
    /// The event's `time`.
    pub observed_at: UtcMicros,
    /// How many quotes it holds; 0 for anything but odds.
    pub quotes: usize,
}

/// What one line became.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converted {
    /// The records, in the order in which they are to be sent.
    pub records: Vec<Outgoing>,
    /// Keys of markets that no rule knows, once for each market met: their quotes are there, as market
    /// `other`.
    pub unknown_markets: Vec<String>,
}

impl Format {
    /// Converts one line whole: either all of its records are good, or there are none.
    ///
    /// # Errors
    /// The first thing that the format or the contract refuses; it names the field, and in a snapshot the
    /// event, book and market.
    pub fn convert(self, line: &[u8]) -> Result<Converted, Rejection> {
        match self {
            Self::Cloudevents => cloudevents::convert(line),
            Self::TheOddsApi => the_odds_api::convert(line),
        }
    }
}

/// The Kafka key of the first row: `<system>:<id>` of its game, the hex hash of the canonical URL for an
/// article. Null where there is no row.
#[must_use]
pub fn kafka_key(rows: &Rows) -> Option<String> {
    match rows {
        Rows::Game(rows) => rows.0.first().map(|row| format!("{}:{}", row.key.0, row.key.1)),
        Rows::Odds(rows) => {
            rows.selections.first().map(|first| format!("{}:{}", first.key().system, first.key().game))
        }
        Rows::Article(rows) => rows.0.first().map(|row| hex(&row.url_hash)),
        Rows::Signal(rows) => rows.0.first().map(|row| format!("{}:{}", row.game.0, row.game.1)),
        Rows::Analysis(rows) => rows.0.first().map(|row| format!("{}:{}", row.game.0, row.game.1)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The event in `value` as a record, once its contract has accepted it. The clock rule is left to whoever
/// knows the record's timestamp.
fn accepted(kind: EventKind, time: &str, value: Vec<u8>) -> Result<Outgoing, Rejection> {
    let mut rows = kind.rows();
    rows.decode(0, &RawRecord { value: &value, headers: &[], timestamp: None })?;
    let key = kafka_key(&rows).ok_or_else(|| Rejection::field("data", "no rows"))?;
    let quotes = if kind == EventKind::Odds { rows.len() } else { 0 };
    Ok(Outgoing { kind, key, observed_at: parse_time("time", time)?, value, quotes })
}

/// JSON that did not parse: broken, or of another shape.
fn not_parsed(error: &serde_json::Error) -> Rejection {
    let reason = if error.is_data() { Reason::InvalidField } else { Reason::MalformedJson };
    Rejection::new(reason, error)
}
