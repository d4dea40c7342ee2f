//! The simulated events as JSON: CloudEvents in structured mode, in the shape of the contracts. Pure; used by `simulate`.

use ledgerline_schema::events::game::GameStatus;
use ledgerline_schema::events::odds::{Market, MarketStatus};
use serde::Serialize;

use super::prices::Outcome;

/// The system that gives the simulated games their ids.
pub const SYSTEM: &str = "simfeed";

/// One event, ready to be written.
#[derive(Debug, Serialize)]
pub struct Event<'a, D> {
    specversion: &'static str,
    #[serde(rename = "type")]
    event_type: &'static str,
    id: &'a str,
    source: &'a str,
    time: &'a str,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    correlationid: &'a str,
    data: D,
}

/// What an event says about itself.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Unique per publication.
    pub id: &'a str,
    /// The scraper.
    pub source: &'a str,
    /// When it saw it.
    pub time: &'a str,
    /// The poll it belongs to; may be empty.
    pub poll: &'a str,
}

impl Envelope<'_> {
    /// The event as JSON.
    pub fn write(self, event_type: &'static str, data: impl Serialize) -> Vec<u8> {
        let event = Event {
            specversion: "1.0",
            event_type,
            id: self.id,
            source: self.source,
            time: self.time,
            datacontenttype: "application/json",
            correlationid: self.poll,
            data,
        };
        serde_json::to_vec(&event).expect("structs of strings and finite numbers can be written")
    }
}

/// The game that an event is about.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GameRef<'a> {
    /// Always [`SYSTEM`].
    pub system: &'static str,
    /// Its id there.
    pub id: &'a str,
}

/// `data` of `odds.v1`.
#[derive(Debug, Serialize)]
pub struct OddsData<'a> {
    pub game: GameRef<'a>,
    pub sportsbook: &'a str,
    pub market: Market,
    pub market_status: MarketStatus,
    pub outcomes: &'a [Outcome],
}

/// `data` of `game.v1`.
#[derive(Debug, Serialize)]
pub struct GameData<'a> {
    pub game: GameRef<'a>,
    pub sport: &'a str,
    pub league: &'a str,
    pub home_team: &'a str,
    pub away_team: &'a str,
    pub commence_time: &'a str,
    pub status: GameStatus,
    pub home_score: Option<u32>,
    pub away_score: Option<u32>,
}

/// `data` of `article.v1`.
#[derive(Debug, Serialize)]
pub struct ArticleData<'a> {
    pub url: &'a str,
    pub title: &'a str,
    pub summary: &'a str,
    pub published_at: &'a str,
    pub source_name: &'a str,
    pub language: &'a str,
    pub tags: &'a [&'a str],
}
