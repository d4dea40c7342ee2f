//! Health and metrics. Liveness: the poll loops come round. Readiness: configuration, schema, Kafka and database were
//! good once, or a spool stands in for the database, and we are not on the way out; never assignment, lag or the database's present state.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use ledgerline_schema::time::UtcMicros;
use serde_json::{Value, json};

use super::Shared;
use crate::clock;
use crate::metrics;
use crate::outage::Outage;
use crate::pool_lately::Lately;

/// A poll loop that did not come round for this long is wedged.
const WEDGED: Duration = Duration::from_secs(60);

/// What the probes look at.
#[derive(Debug, Default)]
pub struct Health {
    /// The database answered once with a schema that fits.
    pub database: AtomicBool,
    /// Kafka answered once.
    pub kafka: AtomicBool,
    /// We are on the way out.
    pub draining: AtomicBool,
    /// Whether a spool stands in for the database; not set where there is none.
    pub outage: OnceLock<Arc<Outage>>,
    /// What the line's pool of connections has counted lately.
    pub(crate) line_pool: Lately,
    /// And that for reads.
    pub(crate) read_pool: Lately,
}

/// The probes and the metrics.
pub fn router() -> Router<Shared> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(render))
}

async fn livez(State(shared): State<Shared>) -> impl IntoResponse {
    let now = clock::now();
    let wedged: Vec<&str> = shared
        .pipelines
        .iter()
        .filter(|pipeline| is_wedged(pipeline.last_tick(), now))
        .map(|pipeline| pipeline.topic())
        .collect();
    answer(wedged.is_empty(), json!({"wedged": wedged}))
}

fn is_wedged(last_tick: Option<UtcMicros>, now: UtcMicros) -> bool {
    last_tick.is_some_and(|tick| u128::try_from(now.0 - tick.0).is_ok_and(|age| age > WEDGED.as_micros()))
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    let Health { database, kafka, draining, outage, .. } = &*shared.health;
    let (database, kafka, draining) = (database.load(Relaxed), kafka.load(Relaxed), draining.load(Relaxed));
    let spooling = outage.get().is_some_and(|outage| outage.is_on());
    let ready = (database || spooling) && kafka && !draining;
    answer(ready, json!({"database": database, "kafka": kafka, "draining": draining, "spooling": spooling}))
}

fn answer(good: bool, mut body: Value) -> (StatusCode, Json<Value>) {
    body["ok"] = json!(good);
    (if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

async fn render(State(shared): State<Shared>) -> impl IntoResponse {
    if let Some(oldest) = shared.pipelines.iter().filter_map(|pipeline| pipeline.last_tick()).min() {
        metrics::tick(oldest);
    }
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render())
}
