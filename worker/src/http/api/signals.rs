//! Sharp signals, the newest first: of a game, of a market, the strong ones.

use axum::Json;
use axum::extract::State;
use ledgerline_schema::events::markets::Market;
use ledgerline_schema::events::sharp_signal::Severity;
use ledgerline_schema::repositories::{FoundSignal, SignalFilter};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::games::{Name, name_of};
use super::page::{Page, json, time};
use crate::http::Shared;
use crate::http::input::{Limit, Params, Time, key};
use crate::http::problem::{OfList, Problem};

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A movement that money of people who know is said to be behind.
#[derive(Debug, Serialize, ToSchema)]
struct Signal {
    /// The number in this database.
    id: i64,
    /// The game.
    game: Name,
    /// Who saw it.
    detector: String,
    /// Its version.
    detector_version: String,
    /// What was seen: `steam_move`, `reverse_line_movement` and so on.
    signal_type: String,
    /// What is bet on.
    market: String,
    /// The part of the game.
    period: String,
    /// Who, where the side does not say it all; else empty.
    participant: String,
    /// The side that it points to.
    side: String,
    /// Points.
    line: Option<f32>,
    /// When it was seen.
    #[schema(format = DateTime)]
    detected_at: String,
    /// Begin of the movement.
    #[schema(format = DateTime)]
    window_start: String,
    /// Its end.
    #[schema(format = DateTime)]
    window_end: String,
    /// Line before.
    line_from: Option<f32>,
    /// Line after.
    line_to: Option<f32>,
    /// American price before.
    price_from: Option<i32>,
    /// American price after.
    price_to: Option<i32>,
    /// Part of the tickets, in percent.
    tickets_pct: Option<f64>,
    /// Part of the money, in percent.
    money_pct: Option<f64>,
    /// How far it moved.
    magnitude: Option<f64>,
    /// In what.
    magnitude_unit: Option<String>,
    /// How sure the detector is, 0 to 1.
    confidence: Option<f64>,
    /// `low`, `medium` or `high`.
    severity: String,
    /// When it stops to matter.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Books and events.
    #[schema(value_type = Object)]
    evidence: Box<RawValue>,
    /// The detector's own id.
    signal_id: Option<String>,
    /// The scraper.
    source: String,
}

/// Which signals.
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
    /// Detected at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Time>,
    /// As strong as this or stronger: `low`, `medium`, `high`.
    #[param(value_type = Option<String>)]
    min_severity: Option<Severity>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Sharp signals, the newest first.
#[utoipa::path(get, path = "/api/v1/sharp-signals", operation_id = "listSharpSignals", tag = "signals", params(ListParams),
    responses((status = 200, description = "A page of signals", body = Page<Signal>), OfList))]
async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Signal>>, Problem> {
    let after = key(params.after.as_ref())?;
    let filter = SignalFilter {
        game: name_of(params.system, params.id)?,
        market: params.market,
        since: params.since.map(|time| time.0),
        min_severity: params.min_severity,
    };
    Ok(Json(Page::of(shared.reads.signals(&filter, after, params.limit.0).await?, view)))
}

fn view(signal: FoundSignal) -> Signal {
    Signal {
        id: signal.id,
        game: Name { system: signal.system, id: signal.external_id },
        detector: signal.detector.0,
        detector_version: signal.detector.1,
        signal_type: signal.signal_type,
        market: signal.market,
        period: signal.period,
        participant: signal.participant,
        side: signal.side,
        line: signal.line,
        detected_at: time(signal.detected_at),
        window_start: time(signal.window.0),
        window_end: time(signal.window.1),
        line_from: signal.lines.0,
        line_to: signal.lines.1,
        price_from: signal.prices.0,
        price_to: signal.prices.1,
        tickets_pct: signal.tickets_pct,
        money_pct: signal.money_pct,
        magnitude: signal.magnitude.0,
        magnitude_unit: signal.magnitude.1,
        confidence: signal.confidence,
        severity: signal.severity,
        expires_at: signal.expires_at.map(time),
        evidence: json(&signal.evidence.0),
        signal_id: signal.signal_id,
        source: signal.source,
    }
}
