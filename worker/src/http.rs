//! Health and metrics over HTTP. Liveness: the poll loops come round. Readiness: configuration, schema, Kafka and database were
//! good once, and we are not on the way out; never assignment, lag or the database's present state.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use ledgerline_schema::time::UtcMicros;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock;
use crate::metrics;
use crate::progress::Progress;

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
}

#[derive(Clone)]
struct Shared {
    health: Arc<Health>,
    pipelines: Arc<[Arc<Progress>]>,
    metrics: PrometheusHandle,
}

/// Listens and serves until the process ends. Answers the address, which matters where the port was 0.
///
/// # Errors
/// The address cannot be had.
pub async fn serve(
    listen: SocketAddr,
    health: Arc<Health>,
    pipelines: Arc<[Arc<Progress>]>,
    metrics: PrometheusHandle,
) -> anyhow::Result<(SocketAddr, JoinHandle<std::io::Result<()>>)> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("http.listen: cannot listen on {listen}"))?;
    let address = listener.local_addr().context("http.listen: no local address")?;
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Shared { health, pipelines, metrics });
    Ok((address, tokio::spawn(async move { axum::serve(listener, router).await })))
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
    let Health { database, kafka, draining } = &*shared.health;
    let (database, kafka, draining) = (database.load(Relaxed), kafka.load(Relaxed), draining.load(Relaxed));
    let ready = database && kafka && !draining;
    answer(ready, json!({"database": database, "kafka": kafka, "draining": draining}))
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
