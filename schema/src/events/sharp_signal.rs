//! `sharp_signal.v1`: what a detector saw in the movement of a market: steam, money against tickets, a reversed line. Append-only:
//! the natural key is the detector, what it saw, the bet, and the minute in which the window ends.
//!
//! What must stay true: the same signal sent again is a duplicate, whatever its id; another content under the same key is a
//! conflict for an operator.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::bet::{american_if_given, check_side, full_game, line_if_given, within};
use super::envelope::parse_time;
use super::game_key::{GameKey, check_slug};
use super::made_by::{MadeBy, check_books, check_ids, check_uuid};
use super::markets::{Market, Period, Side};
use super::rejection::{Rejection, ensure};
use super::slugs::slug_enum;
use super::text::Text;
use super::{Attributes, Contract, Flags};
use crate::sql_types::Json;
use crate::time::UtcMicros;

slug_enum! {
    /// What was seen.
    SignalType {
        SteamMove = "steam_move",
        ReverseLineMovement = "reverse_line_movement",
        LineFreeze = "line_freeze",
        MoneyTicketSplit = "money_ticket_split",
        BookDivergence = "book_divergence",
        KeyNumberCross = "key_number_cross",
        Arbitrage = "arbitrage",
        ClosingLineValue = "closing_line_value",
        Other = "other",
    }
}

slug_enum! {
    /// How strong it is, weakest first.
    Severity {
        Low = "low",
        Medium = "medium",
        High = "high",
    }
}

slug_enum! {
    /// What `magnitude` counts.
    MagnitudeUnit {
        Points = "points",
        Cents = "cents",
        Probability = "probability",
    }
}

/// How far a window may end after its detection, and a detection after `time`.
const WINDOW_AHEAD: i64 = 60 * UtcMicros::SECOND;
const DETECTED_AHEAD: i64 = 300 * UtcMicros::SECOND;

/// `data` of `sharp_signal.v1`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct SignalData<'a> {
    /// The detector's own id, a UUID; decides nothing.
    #[serde(borrow, default)]
    pub signal_id: Option<Text<'a>>,
    /// The game, as the source names it.
    #[serde(borrow)]
    pub game: GameKey<'a>,
    /// What is bet on.
    pub market: Market,
    /// The part of the game that counts.
    #[serde(default = "full_game")]
    pub period: Period,
    /// The side that the signal points to.
    pub side: Side,
    /// Who, for `participant` and props; at most 200 bytes.
    #[serde(borrow, default)]
    pub participant: Option<Text<'a>>,
    /// Points, if the signal is about one line; a multiple of 0.25.
    #[serde(default)]
    pub line: Option<f64>,
    /// What was seen.
    pub signal_type: SignalType,
    /// When; at most 5 minutes after `time`.
    #[serde(borrow)]
    pub detected_at: Text<'a>,
    /// Begin of the movement.
    #[serde(borrow)]
    pub window_start: Text<'a>,
    /// End of the movement, at most a minute after the detection; its minute is part of the key.
    #[serde(borrow)]
    pub window_end: Text<'a>,
    /// The book that moved first, a slug.
    #[serde(borrow, default)]
    pub trigger_book: Option<Text<'a>>,
    /// The books that took part, slugs; at most 100.
    #[serde(borrow, default)]
    pub books: Vec<Text<'a>>,
    /// Line before the movement.
    #[serde(default)]
    pub line_from: Option<f64>,
    /// Line after it.
    #[serde(default)]
    pub line_to: Option<f64>,
    /// American price before the movement.
    #[serde(default)]
    pub price_from: Option<i64>,
    /// American price after it.
    #[serde(default)]
    pub price_to: Option<i64>,
    /// Part of the tickets on this side, 0 to 100.
    #[serde(default)]
    pub tickets_pct: Option<f64>,
    /// Part of the money on this side, 0 to 100.
    #[serde(default)]
    pub money_pct: Option<f64>,
    /// How far it moved; 0 to 1,000,000, with its unit.
    #[serde(default)]
    pub magnitude: Option<f64>,
    /// What `magnitude` counts.
    #[serde(default)]
    pub magnitude_unit: Option<MagnitudeUnit>,
    /// How sure the detector is, 0 to 1.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// How strong it is.
    pub severity: Severity,
    /// Who saw it.
    #[serde(borrow)]
    pub detector: MadeBy<'a>,
    /// Ids of the events that show it; at most 100.
    #[serde(borrow, default)]
    pub evidence_event_ids: Vec<Text<'a>>,
    /// When it stops to matter; not before the detection.
    #[serde(borrow, default)]
    pub expires_at: Option<Text<'a>>,
}

/// What a signal says: all that has to be equal where its key is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Signal {
    /// Name of the detector.
    pub detector: String,
    /// Its version.
    pub detector_version: String,
    /// What was seen.
    pub signal_type: &'static str,
    /// What is bet on.
    pub market: &'static str,
    /// The part of the game.
    pub period: &'static str,
    /// Who; empty where the side says it all.
    pub participant: String,
    /// The side that it points to.
    pub side: &'static str,
    /// Points.
    pub line: Option<f32>,
    /// When it was seen.
    pub detected_at: UtcMicros,
    /// Begin of the movement.
    pub window_start: UtcMicros,
    /// End of the movement.
    pub window_end: UtcMicros,
    /// Line before.
    pub line_from: Option<f32>,
    /// Line after.
    pub line_to: Option<f32>,
    /// American price before.
    pub price_from: Option<i32>,
    /// American price after.
    pub price_to: Option<i32>,
    /// Part of the tickets, in percent.
    pub tickets_pct: Option<f64>,
    /// Part of the money, in percent.
    pub money_pct: Option<f64>,
    /// How far it moved.
    pub magnitude: Option<f64>,
    /// In what.
    pub magnitude_unit: Option<&'static str>,
    /// How sure the detector is.
    pub confidence: Option<f64>,
    /// How strong it is.
    pub severity: &'static str,
    /// When it stops to matter.
    pub expires_at: Option<UtcMicros>,
    /// The books and the evidence: a JSON object.
    pub evidence: serde_json::Value,
}

/// One accepted signal.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalRow {
    /// Number of the record within the batch.
    pub record: u32,
    /// The ref of its game: system, id.
    pub game: (String, String),
    /// The detector's own id.
    pub signal_id: Option<String>,
    /// The scraper.
    pub source: String,
    /// When it was published.
    pub observed_at: UtcMicros,
    /// SHA-256 of what it says.
    pub content_hash: Vec<u8>,
    /// What it says.
    pub signal: Signal,
}

impl SignalRow {
    /// The evidence as it is stored.
    #[must_use]
    pub fn evidence(&self) -> Json {
        Json(self.signal.evidence.to_string())
    }
}

/// The signals of one batch, in the order of their records.
#[derive(Debug, Clone, Default)]
pub struct SignalRows(pub Vec<SignalRow>);

impl Contract for SignalRows {
    const TYPE: &'static str = "sharp_signal.v1";
    const TOPIC: &'static str = "sharp-signals";
    type Data<'a> = SignalData<'a>;

    fn push(
        &mut self,
        record: u32,
        attributes: Attributes<'_>,
        data: SignalData<'_>,
    ) -> Result<Flags, Rejection> {
        check(&data)?;
        let signal = signal(&data, attributes.observed_at)?;
        let json = serde_json::to_vec(&signal).map_err(|error| Rejection::field("data", error))?;
        self.0.push(SignalRow {
            record,
            game: (data.game.system.into_string(), data.game.id.into_string()),
            signal_id: data.signal_id.map(Text::into_string),
            source: attributes.source.into_string(),
            observed_at: attributes.observed_at,
            content_hash: Sha256::digest(json).to_vec(),
            signal,
        });
        Ok(Flags::default())
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn count(&self) -> usize {
        self.0.len()
    }

    fn of_records(&self, records: Range<u32>) -> Self {
        Self(self.0.iter().filter(|row| records.contains(&row.record)).cloned().collect())
    }

    fn samples() -> Vec<serde_json::Value> {
        super::samples::signals()
    }
}

fn check(data: &SignalData<'_>) -> Result<(), Rejection> {
    data.game.check()?;
    check_uuid("signal_id", data.signal_id.as_deref())?;
    data.detector.check("detector")?;
    check_side(data.market, data.side, data.participant.as_deref())?;
    if let Some(book) = &data.trigger_book {
        check_slug("trigger_book", book)?;
    }
    check_books("books", &data.books)?;
    check_ids("evidence_event_ids", &data.evidence_event_ids)?;
    within("tickets_pct", data.tickets_pct, (0.0, 100.0))?;
    within("money_pct", data.money_pct, (0.0, 100.0))?;
    within("magnitude", data.magnitude, (0.0, 1e6))?;
    let both = data.magnitude.is_some() == data.magnitude_unit.is_some();
    ensure(both, "magnitude_unit", "required with magnitude, and only there")?;
    within("confidence", data.confidence, (0.0, 1.0))
}

/// The times of the window, in their order.
fn window(
    data: &SignalData<'_>,
    observed_at: UtcMicros,
) -> Result<(UtcMicros, UtcMicros, UtcMicros), Rejection> {
    let detected_at = parse_time("detected_at", &data.detected_at)?;
    let start = parse_time("window_start", &data.window_start)?;
    let end = parse_time("window_end", &data.window_end)?;
    ensure(detected_at <= observed_at.plus(DETECTED_AHEAD), "detected_at", "more than 5 minutes after time")?;
    ensure(start <= end, "window_start", "after window_end")?;
    ensure(end <= detected_at.plus(WINDOW_AHEAD), "window_end", "more than a minute after detected_at")?;
    Ok((detected_at, start, end))
}

fn signal(data: &SignalData<'_>, observed_at: UtcMicros) -> Result<Signal, Rejection> {
    let (detected_at, window_start, window_end) = window(data, observed_at)?;
    let expires_at = data.expires_at.as_deref().map(|text| parse_time("expires_at", text)).transpose()?;
    let in_order = expires_at.is_none_or(|expires_at| expires_at >= detected_at);
    ensure(in_order, "expires_at", "before detected_at")?;
    let line = |field, line| line_if_given(field, data.market, line);
    Ok(Signal {
        detector: data.detector.name.to_string(),
        detector_version: data.detector.version.to_string(),
        signal_type: data.signal_type.name(),
        market: data.market.name(),
        period: data.period.name(),
        participant: data.participant.as_deref().unwrap_or("").to_owned(),
        side: data.side.name(),
        line: line("line", data.line)?,
        detected_at,
        window_start,
        window_end,
        line_from: line("line_from", data.line_from)?,
        line_to: line("line_to", data.line_to)?,
        price_from: american_if_given("price_from", data.price_from)?,
        price_to: american_if_given("price_to", data.price_to)?,
        tickets_pct: data.tickets_pct,
        money_pct: data.money_pct,
        magnitude: data.magnitude,
        magnitude_unit: data.magnitude_unit.map(MagnitudeUnit::name),
        confidence: data.confidence,
        severity: data.severity.name(),
        expires_at,
        evidence: serde_json::json!({
            "trigger_book": data.trigger_book,
            "books": data.books,
            "event_ids": data.evidence_event_ids,
        }),
    })
}
