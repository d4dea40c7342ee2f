//! The odds of a game: the latest of each selection, and what the lines did.

use axum::Json;
use axum::extract::State;
use ledgerline_schema::repositories::{self, SelectionFilter, Span};
use ledgerline_schema::store::GameName;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page::{Page, time};
use crate::http::Shared;
use crate::http::input::{Limit, Named, Params, Time, key};
use crate::http::problem::{OfOne, Problem};

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(latest)).routes(routes!(movement))
}

/// Something that can be bet on at one book.
#[derive(Debug, Serialize, ToSchema)]
struct Selection {
    /// The number in this database.
    id: i64,
    /// The book.
    sportsbook: String,
    /// What is bet on: `moneyline`, `spread`, `total` and so on.
    market: String,
    /// The part of the game.
    period: String,
    /// Who, where the side does not say it all; else empty.
    participant: String,
    /// The outcome.
    side: String,
    /// One of several lines of the market that are offered at once.
    alternate: bool,
}

/// The newest quote of a selection.
#[derive(Debug, Serialize, ToSchema)]
struct Latest {
    /// What can be bet on.
    selection: Selection,
    /// When it was seen.
    #[schema(format = DateTime)]
    observed_at: String,
    /// Decimal price; null = not offered.
    price: Option<f64>,
    /// Points.
    line: Option<f32>,
}

/// A run of equal quotes of one selection.
#[derive(Debug, Serialize, ToSchema)]
struct Block {
    /// What can be bet on.
    selection: Selection,
    /// First observation of the run.
    #[schema(format = DateTime)]
    from: String,
    /// Last observation of the run.
    #[schema(format = DateTime)]
    to: String,
    /// Decimal price; null = not offered.
    price: Option<f64>,
    /// Points.
    line: Option<f32>,
}

/// Which selections.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LatestParams {
    /// A book, such as `draftkings`.
    book: Option<String>,
    /// A market, such as `spread`.
    market: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Which selections, and when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct MovementParams {
    /// A book, such as `draftkings`.
    book: Option<String>,
    /// A market, such as `spread`.
    market: Option<String>,
    /// A part of the game, such as `full_game`.
    period: Option<String>,
    /// An outcome, such as `home`.
    side: Option<String>,
    /// Observed at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    /// Observed before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Time>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// The newest quote of each selection of a game, by book, market, period, participant and side.
#[utoipa::path(get, path = "/api/v1/games/{system}/{id}/odds/latest", operation_id = "latestOdds", tag = "games",
    params(("system" = String, Path, description = "The system", example = "theoddsapi"),
           ("id" = String, Path, description = "Its id of the game", example = "e912304de2b2ce35b473ce2ecd3d1502"),
           LatestParams),
    responses((status = 200, description = "A page of quotes", body = Page<Latest>), OfOne))]
async fn latest(
    State(shared): State<Shared>,
    Named(game): Named,
    Params(params): Params<LatestParams>,
) -> Result<Json<Page<Latest>>, Problem> {
    let filter =
        SelectionFilter { sportsbook: params.book, market: params.market, ..SelectionFilter::default() };
    let after = key(params.after.as_ref())?;
    let page = shared.reads.latest(&game, &filter, after.as_ref(), params.limit.0).await?;
    let view = |row: repositories::Latest| Latest {
        selection: selection(row.selection),
        observed_at: time(row.observed_at),
        price: row.price,
        line: row.line,
    };
    page.map(|page| Json(Page::of(page, view))).ok_or_else(|| unnamed(&game))
}

/// What the lines of a game did: runs of equal quotes. A very long run may be told in several pieces that follow each other.
#[utoipa::path(get, path = "/api/v1/games/{system}/{id}/odds/movement", operation_id = "lineMovement", tag = "games",
    params(("system" = String, Path, description = "The system", example = "theoddsapi"),
           ("id" = String, Path, description = "Its id of the game", example = "e912304de2b2ce35b473ce2ecd3d1502"),
           MovementParams),
    responses((status = 200, description = "A page of blocks", body = Page<Block>), OfOne))]
async fn movement(
    State(shared): State<Shared>,
    Named(game): Named,
    Params(params): Params<MovementParams>,
) -> Result<Json<Page<Block>>, Problem> {
    let filter = SelectionFilter {
        sportsbook: params.book,
        market: params.market,
        period: params.period,
        side: params.side,
    };
    let span = Span { from: params.from.map(|time| time.0), until: params.until.map(|time| time.0) };
    let after = key(params.after.as_ref())?;
    let page = shared.reads.movement(&game, &filter, span, after.as_ref(), params.limit.0).await?;
    let view = |block: repositories::Block| Block {
        selection: selection(block.selection),
        from: time(block.run.from),
        to: time(block.run.to),
        price: block.run.price,
        line: block.run.line,
    };
    page.map(|page| Json(Page::of(page, view))).ok_or_else(|| unnamed(&game))
}

fn unnamed(game: &GameName) -> Problem {
    Problem::not_found(format!("nobody has named a game {game}"))
}

fn selection(selection: repositories::Selection) -> Selection {
    Selection {
        id: selection.selection_id,
        sportsbook: selection.sportsbook,
        market: selection.market,
        period: selection.period,
        participant: selection.participant,
        side: selection.side,
        alternate: selection.alternate,
    }
}
