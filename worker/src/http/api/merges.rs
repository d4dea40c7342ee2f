//! Two games that are one: an operator's decision.

use axum::Json;
use axum::extract::State;
use ledgerline_schema::store::{GameName, Merge};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::games::Name;
use crate::clock;
use crate::http::Shared;
use crate::http::input::{Body, said};
use crate::http::problem::{OfChange, Problem};

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(merge))
}

/// The order to make one game of two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MergeOrder {
    /// A name of the game that stays.
    keep: Name,
    /// A name of the game whose names it takes over.
    merge: Name,
    /// Why, for the trail of the operators.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// Who, for the trail.
    #[schema(min_length = 1, max_length = 1000)]
    actor: String,
    /// Do everything, take it back, and say what would have happened.
    #[serde(default)]
    dry_run: bool,
}

/// What a merge changed.
#[derive(Debug, Serialize, ToSchema)]
struct MergeDone {
    /// The number of the game that stays.
    kept: i64,
    /// The number of the game that is no more.
    merged: i64,
    /// Names that lead to the other game now.
    names: usize,
    /// Conflicts between the two that are settled by it.
    conflicts: usize,
    /// Whether the state of the merged game was the newer one, and stands now.
    state_taken: bool,
    /// Whether all of it was taken back.
    dry_run: bool,
}

/// Makes one game of two: all names lead to the one that stays, and the newest state stands. Nothing is deleted.
#[utoipa::path(post, path = "/api/v1/games/merge", operation_id = "mergeGames", tag = "control", security(("token" = [])),
    request_body = MergeOrder,
    responses((status = 200, description = "What changed", body = MergeDone), OfChange))]
async fn merge(
    State(shared): State<Shared>,
    Body(order): Body<MergeOrder>,
) -> Result<Json<MergeDone>, Problem> {
    for (field, value) in [
        ("keep.system", &order.keep.system),
        ("keep.id", &order.keep.id),
        ("merge.system", &order.merge.system),
        ("merge.id", &order.merge.id),
        ("reason", &order.reason),
        ("actor", &order.actor),
    ] {
        said(field, value)?;
    }
    let name = |Name { system, id }| GameName { system, id };
    let dry_run = order.dry_run;
    let order = Merge {
        keep: name(order.keep),
        merge: name(order.merge),
        actor: order.actor,
        reason: order.reason,
        now: clock::now(),
        dry_run,
    };
    let done = shared.store.merge_games(&order).await?;
    tracing::info!(keep = %order.keep, merge = %order.merge, actor = order.actor, dry_run, "games merged");
    Ok(Json(MergeDone {
        kept: done.kept,
        merged: done.merged,
        names: done.names,
        conflicts: done.conflicts,
        state_taken: done.state_taken,
        dry_run,
    }))
}
