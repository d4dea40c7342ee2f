//! `betting_analysis.v1`: what a model makes of a bet at one time: the fair probability, the edge over an offered price, what to do.
//! Append-only: the natural key is the model, the bet with its line, and `as_of`; a later `as_of` is a new version.
//!
//! What must stay true: the same analysis sent again is a duplicate, whatever its id; another content under the same key is a
//! conflict for an operator.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::bet::{american_if_given, check_side, full_game, line, within};
use super::envelope::parse_time;
use super::game_key::{GameKey, check_slug};
use super::made_by::{MadeBy, check_ids, check_uuid};
use super::markets::{Market, Period, Side};
use super::odds::decimal_from_american;
use super::rejection::{Rejection, ensure};
use super::slugs::slug_enum;
use super::text::Text;
use super::{Attributes, Contract, Flag, Flags};
use crate::sql_types::Json;
use crate::time::UtcMicros;

slug_enum! {
    /// How the book's margin was taken out of its prices.
    VigMethod {
        None = "none",
        Multiplicative = "multiplicative",
        Additive = "additive",
        Power = "power",
        Shin = "shin",
    }
}

slug_enum! {
    /// What the model would do.
    Recommendation {
        Bet = "bet",
        Lean = "lean",
        Pass = "pass",
        Fade = "fade",
    }
}

slug_enum! {
    /// What became of the bet.
    BetResult {
        Pending = "pending",
        Won = "won",
        Lost = "lost",
        Push = "push",
        Void = "void",
    }
}

/// How far `as_of` may lie after `time`.
const AHEAD: i64 = 300 * UtcMicros::SECOND;
/// Bound on the rationale, in characters.
const RATIONALE_CHARS: usize = 20_000;
/// How far an edge may be from its formula before it is flagged.
const EDGE_TOLERANCE: f64 = 0.005;

/// `data` of `betting_analysis.v1`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct AnalysisData<'a> {
    /// The model's own id, a UUID; decides nothing.
    #[serde(borrow, default)]
    pub analysis_id: Option<Text<'a>>,
    /// The game, as the source names it.
    #[serde(borrow)]
    pub game: GameKey<'a>,
    /// What is bet on.
    pub market: Market,
    /// The part of the game that counts.
    #[serde(default = "full_game")]
    pub period: Period,
    /// The side of the bet.
    pub side: Side,
    /// Who, for `participant` and props; at most 200 bytes.
    #[serde(borrow, default)]
    pub participant: Option<Text<'a>>,
    /// Points; a multiple of 0.25. Required for spread and total, absent for moneyline; part of the key.
    #[serde(default)]
    pub line: Option<f64>,
    /// What was known: the model saw nothing later. At most 5 minutes after `time`; part of the key.
    #[serde(borrow)]
    pub as_of: Text<'a>,
    /// Who made it.
    #[serde(borrow)]
    pub model: MadeBy<'a>,
    /// Above 0 and below 1.
    pub fair_probability: f64,
    /// The fair probability as an American price.
    #[serde(default)]
    pub fair_price_american: Option<i64>,
    /// The book whose price is judged, a slug.
    #[serde(borrow, default)]
    pub sportsbook: Option<Text<'a>>,
    /// Its price.
    #[serde(default)]
    pub offered_price_american: Option<i64>,
    /// How the margin was taken out.
    #[serde(default = "no_vig")]
    pub vig_method: VigMethod,
    /// Fair probability times the decimal price, less 1; -1 to 10.
    #[serde(default)]
    pub edge: Option<f64>,
    /// Part of the bankroll, 0 to 1.
    #[serde(default)]
    pub kelly_fraction: Option<f64>,
    /// Units to stake, 0 to 100.
    #[serde(default)]
    pub stake_units: Option<f64>,
    /// What to do.
    pub recommendation: Recommendation,
    /// How sure the model is, 0 to 1.
    pub confidence: f64,
    /// Why, for people; at most 20,000 characters.
    #[serde(borrow, default)]
    pub rationale: Option<Text<'a>>,
    /// What it was made from.
    #[serde(borrow, default)]
    pub inputs: Inputs<'a>,
    /// What became of the bet.
    #[serde(default = "pending")]
    pub result: BetResult,
    /// When that was settled; required once it is, absent before.
    #[serde(borrow, default)]
    pub settled_at: Option<Text<'a>>,
}

fn no_vig() -> VigMethod {
    VigMethod::None
}

fn pending() -> BetResult {
    BetResult::Pending
}

/// What an analysis was made from; at most 100 of each.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct Inputs<'a> {
    /// Ids of odds events.
    #[serde(borrow, default)]
    pub odds_event_ids: Vec<Text<'a>>,
    /// Keys of articles.
    #[serde(borrow, default)]
    pub article_keys: Vec<Text<'a>>,
    /// Ids of signals.
    #[serde(borrow, default)]
    pub signal_ids: Vec<Text<'a>>,
}

/// What an analysis says: all that has to be equal where its key is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// Name of the model.
    pub model: String,
    /// Its version.
    pub model_version: String,
    /// What is bet on.
    pub market: &'static str,
    /// The part of the game.
    pub period: &'static str,
    /// Who; empty where the side says it all.
    pub participant: String,
    /// The side.
    pub side: &'static str,
    /// Points.
    pub line: Option<f32>,
    /// What was known.
    pub as_of: UtcMicros,
    /// Between 0 and 1.
    pub fair_probability: f64,
    /// The same as an American price.
    pub fair_price_american: Option<i32>,
    /// The book.
    pub sportsbook: Option<String>,
    /// Its price.
    pub offered_price_american: Option<i32>,
    /// How the margin was taken out.
    pub vig_method: &'static str,
    /// The edge, as the model tells it.
    pub edge: Option<f64>,
    /// Part of the bankroll.
    pub kelly_fraction: Option<f64>,
    /// Units to stake.
    pub stake_units: Option<f64>,
    /// What to do.
    pub recommendation: &'static str,
    /// How sure the model is.
    pub confidence: f64,
    /// Why.
    pub rationale: String,
    /// What it was made from: a JSON object.
    pub inputs: serde_json::Value,
    /// What became of the bet.
    pub result: &'static str,
    /// When.
    pub settled_at: Option<UtcMicros>,
}

/// One accepted analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisRow {
    /// Number of the record within the batch.
    pub record: u32,
    /// The ref of its game: system, id.
    pub game: (String, String),
    /// The model's own id.
    pub analysis_id: Option<String>,
    /// The scraper.
    pub source: String,
    /// When it was published.
    pub observed_at: UtcMicros,
    /// SHA-256 of what it says.
    pub content_hash: Vec<u8>,
    /// What it says.
    pub analysis: Analysis,
}

impl AnalysisRow {
    /// The inputs as they are stored.
    #[must_use]
    pub fn inputs(&self) -> Json {
        Json(self.analysis.inputs.to_string())
    }
}

/// The analyses of one batch, in the order of their records.
#[derive(Debug, Clone, Default)]
pub struct AnalysisRows(pub Vec<AnalysisRow>);

impl Contract for AnalysisRows {
    const TYPE: &'static str = "betting_analysis.v1";
    const TOPIC: &'static str = "betting-analyses";
    type Data<'a> = AnalysisData<'a>;

    fn push(
        &mut self,
        record: u32,
        attributes: Attributes<'_>,
        data: AnalysisData<'_>,
    ) -> Result<Flags, Rejection> {
        check(&data)?;
        let analysis = analysis(&data, attributes.observed_at)?;
        let json = serde_json::to_vec(&analysis).map_err(|error| Rejection::field("data", error))?;
        let mut flags = Flags::default();
        flags.raise_if(edge_differs(&analysis), Flag::EdgeDiffers);
        self.0.push(AnalysisRow {
            record,
            game: (data.game.system.into_string(), data.game.id.into_string()),
            analysis_id: data.analysis_id.map(Text::into_string),
            source: attributes.source.into_string(),
            observed_at: attributes.observed_at,
            content_hash: Sha256::digest(json).to_vec(),
            analysis,
        });
        Ok(flags)
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
        super::samples::analyses()
    }
}

fn check(data: &AnalysisData<'_>) -> Result<(), Rejection> {
    data.game.check()?;
    check_uuid("analysis_id", data.analysis_id.as_deref())?;
    data.model.check("model")?;
    check_side(data.market, data.side, data.participant.as_deref())?;
    let fair = data.fair_probability;
    ensure(fair > 0.0 && fair < 1.0, "fair_probability", "must be above 0 and below 1")?;
    if let Some(book) = &data.sportsbook {
        check_slug("sportsbook", book)?;
    }
    within("edge", data.edge, (-1.0, 10.0))?;
    within("kelly_fraction", data.kelly_fraction, (0.0, 1.0))?;
    within("stake_units", data.stake_units, (0.0, 100.0))?;
    within("confidence", Some(data.confidence), (0.0, 1.0))?;
    let rationale = data.rationale.as_deref().unwrap_or("");
    ensure(rationale.chars().count() <= RATIONALE_CHARS, "rationale", "more than 20,000 characters")?;
    check_ids("inputs.odds_event_ids", &data.inputs.odds_event_ids)?;
    check_ids("inputs.article_keys", &data.inputs.article_keys)?;
    check_ids("inputs.signal_ids", &data.inputs.signal_ids)?;
    let settled = data.result != BetResult::Pending;
    ensure(settled == data.settled_at.is_some(), "settled_at", "required with a result, and only there")
}

fn analysis(data: &AnalysisData<'_>, observed_at: UtcMicros) -> Result<Analysis, Rejection> {
    let as_of = parse_time("as_of", &data.as_of)?;
    ensure(as_of <= observed_at.plus(AHEAD), "as_of", "more than 5 minutes after time")?;
    let settled_at = data.settled_at.as_deref().map(|text| parse_time("settled_at", text)).transpose()?;
    let inputs = serde_json::to_value(&data.inputs).map_err(|error| Rejection::field("inputs", error))?;
    Ok(Analysis {
        model: data.model.name.to_string(),
        model_version: data.model.version.to_string(),
        market: data.market.name(),
        period: data.period.name(),
        participant: data.participant.as_deref().unwrap_or("").to_owned(),
        side: data.side.name(),
        line: line(data.market, data.line)?,
        as_of,
        fair_probability: data.fair_probability,
        fair_price_american: american_if_given("fair_price_american", data.fair_price_american)?,
        sportsbook: data.sportsbook.as_deref().map(str::to_owned),
        offered_price_american: american_if_given("offered_price_american", data.offered_price_american)?,
        vig_method: data.vig_method.name(),
        edge: data.edge,
        kelly_fraction: data.kelly_fraction,
        stake_units: data.stake_units,
        recommendation: data.recommendation.name(),
        confidence: data.confidence,
        rationale: data.rationale.as_deref().unwrap_or("").to_owned(),
        inputs,
        result: data.result.name(),
        settled_at,
    })
}

/// Whether the edge is another one than fair probability times decimal price less 1.
fn edge_differs(analysis: &Analysis) -> bool {
    let (Some(edge), Some(price)) = (analysis.edge, analysis.offered_price_american) else { return false };
    let formula = analysis.fair_probability * decimal_from_american(price.into()) - 1.0;
    (edge - formula).abs() > EDGE_TOLERANCE
}
