//! `ledgerline run --shadow`: a new version, or a new configuration, beside the live one: the same line in a consumer group of its
//! own, where each transaction is taken back. It says what would have happened, and changes nothing.
//!
//! What must stay true: nothing runs here that writes: no sweep, no workflow, no count of scrapers, no control call; the live group
//! is never joined, and Kafka is told no offset.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail};
use ledgerline_schema::store::Store;

use super::Ending;
use super::run::{fatal, share, wait_for_schema};
use super::signals::StopSignals;
use crate::config::{Config, KafkaConfig, Topic};
use crate::http::{self, Health};
use crate::metrics::{self, Mode};
use crate::progress::Progress;
use crate::shadow::SUFFIX;
use crate::workers::Workers;
use crate::{observe, telemetry};

/// Runs until it is told to stop.
///
/// # Errors
/// As `run`.
pub(super) async fn shadow(live: &Config, topics: &[Topic]) -> anyhow::Result<Ending> {
    telemetry::install(&live.log)?;
    let recorder = metrics::install().context("cannot start metrics")?;
    let mut stop = StopSignals::new()?;
    let group = format!("{}{SUFFIX}", live.kafka.group);
    let config = &Config { kafka: KafkaConfig { group, ..live.kafka.clone() }, ..live.clone() };
    let health = Arc::new(Health::default());
    let pipelines: Arc<[Arc<Progress>]> =
        topics.iter().map(|topic| Arc::new(Progress::new(&topic.name, Mode::Shadow))).collect();
    let store = Store::connect_to_stay(&config.database).await?;
    let shared = share(config, &health, &pipelines, &store, &recorder).await?;
    let (address, server) = http::serve(&config.http, shared).await?;

    tokio::select! {
        ready = wait_for_schema(&store) => ready?,
        () = stop.received() => return Ok(Ending::Done),
    }
    health.database.store(true, Relaxed);
    let mut workers = Workers::start_shadows(config, topics, &store, Arc::clone(&pipelines), &live.kafka)?;
    tracing::info!(
        %address,
        group = config.kafka.group,
        beside = live.kafka.group,
        store = store.name(),
        "running as a shadow: each transaction is taken back"
    );
    let every = Duration::from_millis(config.log.throughput_every_ms);
    tokio::spawn(observe::log_throughput(Arc::clone(&pipelines), every));
    tokio::spawn(observe::upkeep(store.clone(), recorder));
    for log in &workers.logs {
        tokio::spawn(observe::await_kafka(Arc::clone(log), Arc::clone(&health)));
    }

    let ending = tokio::select! {
        () = stop.received() => Ending::Done,
        error = workers.ended() => fatal(&error),
        _ = server => bail!("the HTTP server ended"),
    };
    health.draining.store(true, Relaxed);
    let in_time = workers.stop(Duration::from_millis(config.shutdown.drain_ms)).await;
    pipelines.iter().for_each(|pipeline| conclude(pipeline));
    tracing::info!(in_time, "stopped");
    Ok(if in_time { ending } else { Ending::Failed })
}

/// What would have happened to one topic.
fn conclude(pipeline: &Progress) {
    let totals = pipeline.totals();
    tracing::info!(
        kafka.topic = pipeline.topic(),
        batches = totals.batches,
        applied = totals.dispositions.applied,
        dead = totals.dispositions.dead,
        tombstone = totals.dispositions.tombstone,
        skipped = totals.dispositions.skipped,
        hole = totals.dispositions.hole,
        inserted = totals.rows.inserted,
        updated = totals.rows.updated,
        duplicate = totals.rows.duplicate,
        stale = totals.rows.stale,
        "shadow: what would have happened"
    );
}
