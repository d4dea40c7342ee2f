//! Betting analyses, the newest first: of a game, of a market, those that a model is sure of.

use axum::Json;
use axum::extract::State;
use ledgerline_schema::events::betting_analysis::Recommendation;
use ledgerline_schema::events::markets::Market;
use ledgerline_schema::repositories::{AnalysisFilter, FoundAnalysis};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::games::{Name, name_of};
use super::page::{Page, json, time};
use crate::http::Shared;
use crate::http::input::{Limit, Params, Part, Time, key};
use crate::http::problem::{OfList, Problem};

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What a model says about one bet.
#[derive(Debug, Serialize, ToSchema)]
struct Analysis {
    /// The number in this database.
    id: i64,
    /// The game.
    game: Name,
    /// Who made it.
    model: String,
    /// Its version.
    model_version: String,
    /// What is bet on.
    market: String,
    /// The part of the game.
    period: String,
    /// Who, where the side does not say it all; else empty.
    participant: String,
    /// The side.
    side: String,
    /// Points.
    line: Option<f32>,
    /// When what it is made from was known.
    #[schema(format = DateTime)]
    as_of: String,
    /// Between 0 and 1.
    fair_probability: f64,
    /// The same as an American price.
    fair_price_american: Option<i32>,
    /// The book.
    sportsbook: Option<String>,
    /// Its American price.
    offered_price_american: Option<i32>,
    /// How the margin was taken out.
    vig_method: String,
    /// The edge, as the model tells it.
    edge: Option<f64>,
    /// Part of the bankroll.
    kelly_fraction: Option<f64>,
    /// Units to stake.
    stake_units: Option<f64>,
    /// What to do.
    recommendation: String,
    /// How sure the model is, 0 to 1.
    confidence: f64,
    /// Why.
    rationale: String,
    /// What it was made from.
    #[schema(value_type = Object)]
    inputs: Box<RawValue>,
    /// What became of the bet.
    result: String,
    /// When.
    #[schema(format = DateTime)]
    settled_at: Option<String>,
    /// The model's own id.
    analysis_id: Option<String>,
    /// The scraper.
    source: String,
}

/// Which analyses.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Goes with `id`: a system's name for the game.
    system: Option<String>,
    /// Goes with `system`.
    id: Option<String>,
    /// A market, such as `spread`.
    #[param(value_type = Option<String>)]
    market: Option<Market>,
    /// As of this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Time>,
    /// As sure as this or surer, 0 to 1.
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1)]
    min_confidence: Option<Part>,
    /// That say this, such as `bet`.
    #[param(value_type = Option<String>)]
    recommendation: Option<Recommendation>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Betting analyses, the newest first.
#[utoipa::path(get, path = "/api/v1/betting-analyses", operation_id = "listBettingAnalyses", tag = "signals", params(ListParams),
    responses((status = 200, description = "A page of analyses", body = Page<Analysis>), OfList))]
async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Analysis>>, Problem> {
    let after = key(params.after.as_ref())?;
    let filter = AnalysisFilter {
        game: name_of(params.system, params.id)?,
        market: params.market,
        since: params.since.map(|time| time.0),
        min_confidence: params.min_confidence.map(|part| part.0),
        recommendation: params.recommendation,
    };
    Ok(Json(Page::of(shared.reads.analyses(&filter, after, params.limit.0).await?, view)))
}

fn view(analysis: FoundAnalysis) -> Analysis {
    Analysis {
        id: analysis.id,
        game: Name { system: analysis.system, id: analysis.external_id },
        model: analysis.model.0,
        model_version: analysis.model.1,
        market: analysis.market,
        period: analysis.period,
        participant: analysis.participant,
        side: analysis.side,
        line: analysis.line,
        as_of: time(analysis.as_of),
        fair_probability: analysis.fair_probability,
        fair_price_american: analysis.fair_price_american,
        sportsbook: analysis.sportsbook,
        offered_price_american: analysis.offered_price_american,
        vig_method: analysis.vig_method,
        edge: analysis.edge,
        kelly_fraction: analysis.kelly_fraction,
        stake_units: analysis.stake_units,
        recommendation: analysis.recommendation,
        confidence: analysis.confidence,
        rationale: analysis.rationale,
        inputs: json(&analysis.inputs.0),
        result: analysis.result,
        settled_at: analysis.settled_at.map(time),
        analysis_id: analysis.analysis_id,
        source: analysis.source,
    }
}
