//! A process that consumes, around its lines: logs, metrics and signals, the store, the listener, who looks on, and what ends it. What is
//! the same of `run` and `run --shadow`, which call it.
//!
//! What must stay true: nothing here writes: it serves a shadow, too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail};
use ledgerline_schema::store::{SCHEMA_VERSION, SchemaState, Store};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

use super::Ending;
use super::signals::StopSignals;
use crate::config::{Config, Topic};
use crate::http::{self, KnownTopic};
use crate::metrics::{self, Mode};
use crate::page::{Page, one_connection};
use crate::progress::Progress;
use crate::source::SourceError;
use crate::workers::Workers;
use crate::{backoff, observe, telemetry};

/// What is there before the first line starts.
pub(super) struct Process {
    /// What the handlers of HTTP see, with the store and the lines' progress.
    pub(super) shared: http::Shared,
    /// Where they are reached.
    pub(super) address: SocketAddr,
    /// What asks it to end.
    pub(super) stop: StopSignals,
    server: http::Server,
}

impl Process {
    pub(super) async fn start(config: &Config, topics: &[Topic], mode: Mode) -> anyhow::Result<Self> {
        telemetry::install(&config.log)?;
        let recorder = metrics::install().context("cannot start metrics")?;
        let stop = StopSignals::new()?;
        let pipelines = topics.iter().map(|topic| Arc::new(Progress::new(&topic.name, mode))).collect();
        let store = Store::connect_to_stay(&config.database).await?;
        let shared = share(config, pipelines, store, recorder).await?;
        let (address, server) = http::serve(&config.http, shared.clone()).await?;
        Ok(Self { shared, address, stop, server })
    }

    /// Starts everything that only looks.
    pub(super) fn observe(&self, config: &Config, workers: &Workers) {
        let http::Shared { health, pipelines, store, metrics, .. } = &self.shared;
        let every = Duration::from_millis(config.log.throughput_every_ms);
        tokio::spawn(observe::log_throughput(Arc::clone(pipelines), every));
        tokio::spawn(observe::upkeep(store.clone(), metrics.clone()));
        for log in &workers.logs {
            tokio::spawn(observe::await_kafka(Arc::clone(log), Arc::clone(health)));
        }
    }

    /// Waits until it is told to end, or a line ends by itself. From then on it is not ready any more.
    pub(super) async fn over(&mut self, workers: &mut Workers) -> anyhow::Result<Ending> {
        let ending = tokio::select! {
            () = self.stop.received() => Ending::Done,
            error = workers.ended() => fatal(&error),
            _ = &mut self.server => bail!("the HTTP server ended"),
        };
        self.shared.health.draining.store(true, Relaxed);
        Ok(ending)
    }
}

/// What the handlers of HTTP see.
async fn share(
    config: &Config,
    pipelines: Arc<[Arc<Progress>]>,
    store: Store,
    metrics: PrometheusHandle,
) -> anyhow::Result<http::Shared> {
    Ok(http::Shared {
        health: Arc::default(),
        page: Page::new(config, Arc::clone(&pipelines)).await?,
        pipelines,
        metrics,
        store,
        reads: Store::connect_for_reads(&config.database).await?,
        wanted_connections: config.wanted_connections(),
        topics: KnownTopic::all(config),
        probe: Store::connect(&one_connection(&config.database)).await?,
        turns: Arc::new(Semaphore::new(http::api::TURNS)),
        control_turns: Arc::new(Semaphore::new(http::api::TURNS)),
    })
}

/// Waits until the database answers with a schema that fits. `run` never changes it: `migrate` does.
pub(super) async fn wait_for_schema(store: &Store) -> anyhow::Result<()> {
    for attempt in 0.. {
        match store.schema_state().await {
            Ok(SchemaState::Ready) => return Ok(()),
            Ok(SchemaState::Newer { found }) => {
                bail!(
                    "the schema is of version {found} and no longer fits this program; a newer one is needed"
                )
            }
            Ok(SchemaState::Older { found }) => {
                tracing::warn!(
                    found,
                    needed = SCHEMA_VERSION,
                    "waiting for the schema: run `ledgerline migrate up`"
                );
            }
            Err(error) => tracing::warn!(%error, "waiting for the database"),
        }
        tokio::time::sleep(backoff::pause(attempt)).await;
    }
    Ok(())
}

fn fatal(error: &SourceError) -> Ending {
    tracing::error!(%error, "a pipeline ended");
    match error {
        SourceError::Fatal(_) => Ending::FatalClient,
        SourceError::Ended(_) | SourceError::Unreadable(_) | SourceError::Transient(_) => Ending::Failed,
    }
}
