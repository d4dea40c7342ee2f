//! The API under `/api/v1`: one file per resource, one line per resource below.
//!
//! What must stay true: what is read goes through the pool for reads, a bounded number of calls at a time, so that whatever is
//! asked here the line keeps its connections; what changes something demands the token.

mod alerts;
mod analyses;
mod articles;
mod database;
mod games;
mod letters;
mod merges;
mod odds;
mod page;
mod parameters;
mod partitions;
mod rules;
mod scrapers;
mod signals;
mod workflows;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;

use super::problem::Problem;
use super::token::{self, Token};
use super::{Health, Shared, openapi};

/// Calls under way at a time: more than connections, because a call waits for one in line; few enough that their pages, 32 MiB at most
/// each, fit in memory.
pub const TURNS: usize = 16;

/// What is read: a new resource is a line here.
pub(super) fn read_resources() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(games::router())
        .merge(odds::router())
        .merge(signals::router())
        .merge(analyses::router())
        .merge(articles::router())
        .merge(alerts::router())
        .merge(rules::router())
        .merge(workflows::router())
        .merge(scrapers::router())
        .merge(letters::router())
        .merge(partitions::router())
        .merge(database::router())
}

/// What changes something: a new resource is a line here.
pub(super) fn control_resources() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().merge(merges::router()).merge(rules::control()).merge(workflows::control())
}

pub(super) fn read(shared: &Shared) -> Router<Shared> {
    Router::from(read_resources())
        .route_layer(from_fn_with_state(Arc::clone(&shared.turns), take_turns))
        .route_layer(from_fn_with_state(Arc::clone(&shared.health), await_schema))
        .route("/api/v1/openapi.json", get(document))
}

pub(super) fn control(shared: &Shared, token: Token) -> Router<Shared> {
    Router::from(control_resources())
        .route_layer(from_fn_with_state(Arc::clone(&shared.control_turns), take_turns))
        .route_layer(from_fn_with_state(Arc::clone(&shared.health), await_schema))
        .route_layer(from_fn_with_state(token, token::demand))
}

/// Nothing is asked of a database before its schema is known to fit.
async fn await_schema(State(health): State<Arc<Health>>, request: Request, next: Next) -> Response {
    if health.database.load(Relaxed) {
        return next.run(request).await;
    }
    let detail = "the database has not answered yet, or its schema is still to be migrated";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
}

/// Refuses at once where too many are in line already: a queue without a bound would only hide it.
async fn take_turns(State(turns): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    match turns.try_acquire() {
        Ok(_turn) => next.run(request).await,
        Err(_) => {
            let detail = format!("{TURNS} calls are under way: try again");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    }
}

async fn document() -> Response {
    static DOCUMENT: LazyLock<Option<String>> = LazyLock::new(|| openapi::document().ok());
    match DOCUMENT.as_deref() {
        Some(document) => ([(header::CONTENT_TYPE, "application/json")], document).into_response(),
        None => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the document cannot be written").into_response()
        }
    }
}
