//! `ledgerline run --shadow`: a new version, or a new configuration, beside the live one: the same line in a consumer group of its
//! own, where each transaction is taken back. It says what would have happened, and changes nothing.
//!
//! What must stay true: nothing runs here that writes: no sweep, no workflow, no count of scrapers, no control call; the live group
//! is never joined, and Kafka is told no offset.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Ending;
use super::process::{Process, wait_for_schema};
use crate::config::{Config, KafkaConfig, Topic};
use crate::http;
use crate::metrics::Mode;
use crate::progress::Progress;
use crate::shadow::SUFFIX;
use crate::workers::Workers;

/// Runs until it is told to stop.
///
/// # Errors
/// As `run`.
pub(super) async fn shadow(live: &Config, topics: &[Topic]) -> anyhow::Result<Ending> {
    let group = format!("{}{SUFFIX}", live.kafka.group);
    let config = &Config { kafka: KafkaConfig { group, ..live.kafka.clone() }, ..live.clone() };
    let mut process = Process::start(config, topics, Mode::Shadow).await?;
    let http::Shared { health, pipelines, store, .. } = process.shared.clone();

    tokio::select! {
        ready = wait_for_schema(&store) => ready?,
        () = process.stop.received() => return Ok(Ending::Done),
    }
    health.database.store(true, Relaxed);
    let mut workers = Workers::start_shadows(config, topics, &store, Arc::clone(&pipelines), &live.kafka)?;
    tracing::info!(
        address = %process.address,
        group = config.kafka.group,
        beside = live.kafka.group,
        store = store.name(),
        "running as a shadow: each transaction is taken back"
    );
    process.observe(config, &workers);

    let ending = process.over(&mut workers).await?;
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
