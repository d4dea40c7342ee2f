//! `game.v1`: the state of one game, whole, as one system sees it. The newest event of a game (by source time, sequence,
//! content) describes it entirely, so the order of arrival never decides what is stored.

use std::borrow::Cow;
use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::envelope::parse_time;
use super::game_key::{GameKey, check_slug};
use super::rejection::{Rejection, ensure};
use super::slugs::slug_enum;
use super::text::Text;
use super::{Attributes, Contract, Flags};
use crate::sql_types::Json;
use crate::time::UtcMicros;

slug_enum! {
    /// Where a game stands.
    GameStatus {
        Scheduled = "scheduled",
        PreGame = "pre_game",
        InProgress = "in_progress",
        Delayed = "delayed",
        Suspended = "suspended",
        Postponed = "postponed",
        Cancelled = "cancelled",
        Abandoned = "abandoned",
        Awarded = "awarded",
        Final = "final",
        Unknown = "unknown",
    }
}

/// `data` of `game.v1`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct GameData<'a> {
    /// The game, and what other systems call it.
    #[serde(borrow)]
    pub game: GameKey<'a>,
    /// A slug: `baseball`, `american_football`.
    #[serde(borrow, default)]
    pub sport: Option<Text<'a>>,
    /// A slug: `mlb`, `nfl`.
    #[serde(borrow, default)]
    pub league: Option<Text<'a>>,
    /// The team's name; must differ from the other one.
    #[serde(borrow, default)]
    pub home_team: Option<Text<'a>>,
    /// The team's name.
    #[serde(borrow, default)]
    pub away_team: Option<Text<'a>>,
    /// Scheduled start.
    #[serde(borrow, default)]
    pub commence_time: Option<Text<'a>>,
    /// Where the game stands.
    #[serde(default = "unknown")]
    pub status: GameStatus,
    /// 0 to 500; required for `final`.
    #[serde(default)]
    pub home_score: Option<i32>,
    /// 0 to 500; required for `final`.
    #[serde(default)]
    pub away_score: Option<i32>,
    /// When the source changed it, at most 5 minutes after `time`; the version of the event, before `time`.
    #[serde(borrow, default)]
    pub source_updated_at: Option<Text<'a>>,
    /// Source order among events of one time.
    #[serde(default)]
    pub sequence: Option<i64>,
    /// Anything else about the game: a JSON object, at most 64 KiB and 64 levels.
    #[serde(default)]
    pub details: Option<serde_json::Map<String, serde_json::Value>>,
}

fn unknown() -> GameStatus {
    GameStatus::Unknown
}

/// One accepted game event.
#[derive(Debug, Clone, PartialEq)]
pub struct GameRow {
    /// Number of the record within the batch.
    pub record: u32,
    /// The ref that the event is about: system, id.
    pub key: (String, String),
    /// Further refs of the same game, sorted.
    pub linked: Vec<(String, String)>,
    /// Its state.
    pub state: GameState,
}

/// The state of a game as one event tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct GameState {
    /// Slug of the sport.
    pub sport: Option<String>,
    /// Slug of the league.
    pub league: Option<String>,
    /// Home team's name.
    pub home_team: Option<String>,
    /// Away team's name.
    pub away_team: Option<String>,
    /// Scheduled start.
    pub commence_time: Option<UtcMicros>,
    /// Where the game stands.
    pub status: &'static str,
    /// Home score.
    pub home_score: Option<i32>,
    /// Away score.
    pub away_score: Option<i32>,
    /// Whatever else the source told.
    pub details: Json,
    /// The scraper.
    pub source: String,
    /// Version: newest wins; a total order.
    pub version: Version,
}

/// The total order of a row's versions: source time, then sequence, then content. Equal = the same state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The source's own time of change, else the observation.
    pub time: UtcMicros,
    /// Source order among events of one time; 0 where there is none.
    pub sequence: i64,
    /// SHA-256 of the state.
    pub content_hash: Vec<u8>,
}

/// The game events of one batch, in the order of their records.
#[derive(Debug, Clone, Default)]
pub struct GameRows(pub Vec<GameRow>);

/// Bound on `details`, in bytes of JSON.
const DETAILS_BYTES: usize = 64 << 10;
/// Bound on the levels of `details`: what the parser bears depends on the mode of the event, and readers bear less.
const DETAILS_DEPTH: usize = 64;

impl Contract for GameRows {
    const TYPE: &'static str = "game.v1";
    const TOPIC: &'static str = "games";
    type Data<'a> = GameData<'a>;

    fn push(
        &mut self,
        record: u32,
        attributes: Attributes<'_>,
        data: GameData<'_>,
    ) -> Result<Flags, Rejection> {
        data.game.check()?;
        check_state(&data)?;
        let details = details(data.details.as_ref())?;
        let commence_time = optional_time("commence_time", data.commence_time.as_deref())?;
        let changed_at = changed_at(&data, attributes.observed_at)?;
        let key = (data.game.system.into_string(), data.game.id.into_string());
        let linked = data.game.external_ids.into_iter();
        let linked = linked.map(|(system, id)| (system.into_string(), id.into_string()));
        let linked = linked.filter(|linked| *linked != key).collect();
        let mut state = GameState {
            sport: data.sport.map(Text::into_string),
            league: data.league.map(Text::into_string),
            home_team: data.home_team.map(Text::into_string),
            away_team: data.away_team.map(Text::into_string),
            commence_time,
            status: data.status.name(),
            home_score: data.home_score,
            away_score: data.away_score,
            details,
            source: attributes.source.into_string(),
            version: Version {
                time: changed_at.unwrap_or(attributes.observed_at),
                sequence: data.sequence.unwrap_or(0),
                content_hash: Vec::new(),
            },
        };
        state.version.content_hash = content_hash(&state);
        self.0.push(GameRow { record, key, linked, state });
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
        super::samples::games()
    }
}

fn check_state(data: &GameData<'_>) -> Result<(), Rejection> {
    for (field, slug) in [("sport", &data.sport), ("league", &data.league)] {
        if let Some(slug) = slug {
            check_slug(field, slug)?;
        }
    }
    for (field, team) in [("home_team", &data.home_team), ("away_team", &data.away_team)] {
        if let Some(team) = team {
            ensure(!team.trim().is_empty() && team.len() <= 200, field, "must have 1 to 200 bytes")?;
        }
    }
    let same_team = data.home_team.is_some() && data.home_team == data.away_team;
    ensure(!same_team, "away_team", "equal to home_team")?;
    for (field, score) in [("home_score", data.home_score), ("away_score", data.away_score)] {
        ensure(score.is_none_or(|score| (0..=500).contains(&score)), field, "must be 0 to 500")?;
        let missing = data.status == GameStatus::Final && score.is_none();
        ensure(!missing, field, "required for a final game")?;
    }
    Ok(())
}

fn optional_time(field: &str, text: Option<&str>) -> Result<Option<UtcMicros>, Rejection> {
    text.map(|text| parse_time(field, text)).transpose()
}

/// A change from the future would make every later event of the game stale.
fn changed_at(data: &GameData<'_>, observed_at: UtcMicros) -> Result<Option<UtcMicros>, Rejection> {
    let changed_at = optional_time("source_updated_at", data.source_updated_at.as_deref())?;
    let latest = observed_at.plus(300 * UtcMicros::SECOND);
    let past = changed_at.is_none_or(|changed_at| changed_at <= latest);
    ensure(past, "source_updated_at", "more than 5 minutes after time")?;
    Ok(changed_at)
}

fn details(details: Option<&serde_json::Map<String, serde_json::Value>>) -> Result<Json, Rejection> {
    let depth = details.map_or(0, |map| 1 + map.values().map(levels).max().unwrap_or(0));
    ensure(depth <= DETAILS_DEPTH, "details", "nested deeper than 64")?;
    let text: Cow<'_, str> = match details {
        Some(map) => serde_json::to_string(map).map_err(|error| Rejection::field("details", error))?.into(),
        None => "{}".into(),
    };
    ensure(text.len() <= DETAILS_BYTES, "details", "more than 64 KiB")?;
    // serde_json writes U+0000 as \u0000 and escapes every backslash, so this finds no false one but \\u0000.
    ensure(!text.replace("\\\\", "").contains("\\u0000"), "details", "holds U+0000")?;
    Ok(Json(text.into_owned()))
}

/// Levels of arrays and objects; the parser bounds them, so the stack does too.
fn levels(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(levels).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// SHA-256 over the state without its version. Parts are length-prefixed, so that no two states share a form.
fn content_hash(state: &GameState) -> Vec<u8> {
    let mut hash = Sha256::new();
    let mut part = |text: Option<&str>| {
        let bytes = text.unwrap_or("").as_bytes();
        hash.update([u8::from(text.is_some())]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(state.sport.as_deref());
    part(state.league.as_deref());
    part(state.home_team.as_deref());
    part(state.away_team.as_deref());
    part(state.commence_time.map(|time| time.to_string()).as_deref());
    part(Some(state.status));
    part(state.home_score.map(|score| score.to_string()).as_deref());
    part(state.away_score.map(|score| score.to_string()).as_deref());
    part(Some(&state.details.0));
    part(Some(&state.source));
    hash.finalize().to_vec()
}
