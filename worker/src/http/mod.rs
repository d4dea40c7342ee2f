//! What the worker serves over HTTP. Called by `run`: a listener first, so that the probes are answered while everything else
//! still starts. Two of them: one for what is only read, one for calls that change something, which exists only where a token
//! is set.
//!
//! What must stay true: each resource is a file with a `router()`, and one line in `router` here or in `api/mod.rs`; every error
//! is a `Problem`.

pub mod api;
pub mod health;
mod input;
pub mod openapi;
pub mod problem;
pub mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::Store;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub use health::Health;

use crate::config::{Config, HttpConfig};
use crate::page::{self, Page};
use crate::pool_lately;
use crate::progress::Progress;
use crate::source::kafka::group_of;
use token::Token;

/// Bytes of a request's body.
const BODY_BYTES: usize = 64 << 10;

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
    /// The line's own store: for what an operator changes.
    pub store: Store,
    /// A pool of its own for what is read.
    pub reads: Store,
    /// Connections that the line's pool should have, as the configuration says.
    pub wanted_connections: u32,
    /// The topics that the configuration knows.
    pub topics: Arc<[KnownTopic]>,
    /// One connection for who asks how the database is: looking takes none from the line.
    pub probe: Store,
    /// How many calls of the API that only read may be under way.
    pub turns: Arc<Semaphore>,
    /// How many calls that change something may: who reads never locks an operator out.
    pub control_turns: Arc<Semaphore>,
}

/// A topic of the configuration, and the group that follows it.
#[derive(Debug, Clone)]
pub struct KnownTopic {
    /// Its name.
    pub name: String,
    /// The consumer group.
    pub group: String,
}

impl KnownTopic {
    /// All that the configuration knows, consumed or not.
    #[must_use]
    pub fn all(config: &Config) -> Arc<[Self]> {
        let known = EventKind::ALL.iter().map(|kind| {
            let name = config.topic(*kind).name;
            Self { group: group_of(&config.kafka, &name), name }
        });
        known.collect()
    }
}

/// A listener that serves until the process ends.
pub type Server = JoinHandle<std::io::Result<()>>;

/// Listens and serves what is only read, and notes what the pools count, for who asks how the database is. Answers the address, which
/// matters where the port was 0.
///
/// # Errors
/// The address cannot be had.
pub async fn serve(config: &HttpConfig, shared: Shared) -> anyhow::Result<(SocketAddr, Server)> {
    let noted = pool_lately::keep(shared.store.clone(), shared.reads.clone(), Arc::clone(&shared.health));
    let listening = listen_with("http.listen", config.listen, router(shared, config.api)).await?;
    tokio::spawn(noted);
    Ok(listening)
}

/// Listens and serves what changes something, and what is read by the same caller.
///
/// # Errors
/// The address cannot be had.
pub async fn serve_control(
    listen: SocketAddr,
    shared: Shared,
    token: Token,
) -> anyhow::Result<(SocketAddr, Server)> {
    listen_with("http.control_listen", listen, control_router(shared, token)).await
}

async fn listen_with(key: &str, listen: SocketAddr, router: Router) -> anyhow::Result<(SocketAddr, Server)> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("{key}: cannot listen on {listen}"))?;
    let address = listener.local_addr().with_context(|| format!("{key}: no local address"))?;
    Ok((address, tokio::spawn(async move { axum::serve(listener, router).await })))
}

fn router(shared: Shared, with_api: bool) -> Router {
    let looks = Router::new().merge(health::router()).merge(page::router(shared.page.clone()));
    let reads = if with_api { api::read(&shared) } else { Router::new() };
    finished(looks.merge(reads), shared)
}

fn control_router(shared: Shared, token: Token) -> Router {
    finished(api::read(&shared).merge(api::control(&shared, token)), shared)
}

fn finished(router: Router<Shared>, shared: Shared) -> Router {
    router
        .fallback(problem::no_such_page)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(shared)
}
