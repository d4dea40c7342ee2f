//! The events that a snapshot becomes, in the order in which their fields are written: the same snapshot
//! gives the same bytes each time.

use ledgerline_schema::events::envelope::Envelope;
use ledgerline_schema::events::game::GameStatus;
use ledgerline_schema::events::odds::{Market, Period, Side};
use ledgerline_schema::events::text::Text;
use ledgerline_schema::events::{EventKind, Rejection};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::formats::{Outgoing, accepted};

/// What calls the games by the ids of the feed, and the `source` of every event made here.
const SYSTEM: &str = "theoddsapi";

/// A game's name: system and id.
#[derive(Serialize)]
pub struct Game<'a> {
    system: &'a str,
    id: &'a str,
}

impl<'a> Game<'a> {
    /// The game that the feed calls `id`.
    pub fn of(id: &'a str) -> Self {
        Self { system: SYSTEM, id }
    }
}

/// `data` of `game.v1`.
#[derive(Serialize)]
pub struct GameData<'a> {
    pub game: Game<'a>,
    pub sport: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub league: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_team: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away_team: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commence_time: Option<&'a str>,
    pub status: GameStatus,
}

/// `data` of `odds.v1`.
#[derive(Serialize)]
pub struct OddsData<'a> {
    pub game: Game<'a>,
    pub sportsbook: &'a str,
    pub market: Market,
    pub period: Period,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub book_updated_at: Option<&'a str>,
    pub outcomes: &'a [Outcome],
}

/// One outcome of it.
#[derive(Serialize)]
pub struct Outcome {
    pub side: Side,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub alternate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_american: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_decimal: Option<f64>,
}

/// Writes one event of the capture and has its contract check it. `identity` tells the events of one capture
/// apart.
pub fn record<D: Serialize>(
    kind: EventKind,
    captured_at: &str,
    identity: &[&str],
    data: D,
) -> Result<Outgoing, Rejection> {
    let text = |text: String| Some(Text(text.into()));
    let envelope = Envelope {
        specversion: text("1.0".to_owned()),
        event_type: text(kind.event_type().to_owned()),
        id: text(event_id(kind, captured_at, identity)),
        source: text(SYSTEM.to_owned()),
        time: text(captured_at.to_owned()),
        correlationid: text(format!("capture-{captured_at}")),
        scraperversion: None,
        data: Some(data),
    };
    let value = serde_json::to_vec(&envelope).map_err(|error| Rejection::field("data", error))?;
    accepted(kind, captured_at, value)
}

/// A UUID (version 8) made from what the event is about. Parts are length-prefixed, so that no two lists
/// share a form.
fn event_id(kind: EventKind, captured_at: &str, identity: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in [kind.event_type(), captured_at].iter().chain(identity) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}
