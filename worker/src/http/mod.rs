//! What the worker serves over HTTP. Called by `run`: a listener first, so that the probes are answered while everything else
//! still starts.
//!
//! What must stay true: each resource is a file with a `router()`, and one line in `router` below.

pub mod health;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use health::Health;

use crate::page::{self, Page};
use crate::progress::Progress;

/// What the handlers see. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What the probes look at.
    pub health: Arc<Health>,
    /// The live pipelines.
    pub pipelines: Arc<[Arc<Progress>]>,
    /// The recorder of the metrics.
    pub metrics: PrometheusHandle,
    /// The status page, unless it is switched off.
    pub page: Option<Arc<Page>>,
}

/// Listens and serves until the process ends. Answers the address, which matters where the port was 0.
///
/// # Errors
/// The address cannot be had.
pub async fn serve(
    listen: SocketAddr,
    shared: Shared,
) -> anyhow::Result<(SocketAddr, JoinHandle<std::io::Result<()>>)> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("http.listen: cannot listen on {listen}"))?;
    let address = listener.local_addr().context("http.listen: no local address")?;
    let router = router(shared);
    Ok((address, tokio::spawn(async move { axum::serve(listener, router).await })))
}

fn router(shared: Shared) -> Router {
    Router::new().merge(health::router()).merge(page::router(shared.page.clone())).with_state(shared)
}
