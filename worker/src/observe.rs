//! What runs beside the line and only looks: the throughput line in the log, lag against the end of the log, pool gauges, the
//! upkeep of histograms. Nothing here decides anything.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ledgerline_schema::store::Store;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::backoff;
use crate::blocking::blocking;
use crate::clock;
use crate::http::Health;
use crate::metrics;
use crate::progress::{PartitionProgress, Progress, Totals};
use crate::protocol::Partition;
use crate::source::kafka::KafkaLog;
use crate::waiting::Waiting;

/// How often lag is measured.
const LAG_EVERY: Duration = Duration::from_secs(5);
/// How often histograms are tidied up and the pool is looked at.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Writes what each topic did since the last line; nothing for a topic that did nothing.
pub async fn log_throughput(pipelines: Arc<[Arc<Progress>]>, every: Duration) {
    let mut before: Vec<Totals> = pipelines.iter().map(|pipeline| pipeline.totals()).collect();
    let mut ticks = ticks(every).await;
    loop {
        ticks.tick().await;
        for (pipeline, before) in pipelines.iter().zip(&mut before) {
            let now = pipeline.totals();
            log_one(pipeline.topic(), before, &now, every.as_secs_f64());
            *before = now;
        }
    }
}

fn log_one(topic: &str, before: &Totals, now: &Totals, seconds: f64) {
    let records = now.dispositions.sum() - before.dispositions.sum();
    if records == 0 {
        return;
    }
    let rate = |n: i64| (n as f64 / seconds).round();
    tracing::info!(
        kafka.topic = topic,
        records_per_second = rate(records),
        rows_per_second = rate(now.rows.inserted - before.rows.inserted),
        megabytes_per_second = (now.bytes - before.bytes) as f64 / seconds / 1e6,
        batches = now.batches - before.batches,
        duplicate = now.rows.duplicate - before.rows.duplicate,
        dead = now.dispositions.dead - before.dispositions.dead,
        total_records = now.dispositions.sum(),
        "throughput"
    );
}

/// A rate for people, rounded down.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate to look at"
)]
#[must_use]
pub fn per_second(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (count as f64 / seconds) as u64 } else { 0 }
}

/// Measures how far each assigned partition is behind the end of the log, in records and in time, and how many there are to be
/// assigned.
pub async fn measure_lag(pipeline: Arc<Progress>, log: Arc<KafkaLog>, mut waiting: Waiting) {
    let mut ticks = ticks(LAG_EVERY).await;
    loop {
        ticks.tick().await;
        let question = Arc::clone(&log);
        if let Ok(partitions) = blocking(move || question.partitions()).await {
            metrics::topic_partitions(pipeline.topic(), partitions.len());
        }
        let partitions = pipeline.partitions();
        for (partition, progress) in &partitions {
            measure(&pipeline, &log, *partition, progress).await;
        }
        let late =
            partitions.iter().filter_map(|(partition, progress)| Some((*partition, progress.late_at()?)));
        let seconds = waiting.look(&late.collect(), clock::now()).await;
        let still_ours = pipeline.partitions();
        for (partition, progress) in
            partitions.iter().filter(|(partition, _)| still_ours.contains_key(partition))
        {
            match (progress.late_at(), seconds.get(partition)) {
                (None, _) => metrics::lag_seconds(pipeline.topic(), *partition, 0.0),
                (Some(_), Some(seconds)) => metrics::lag_seconds(pipeline.topic(), *partition, *seconds),
                (Some(_), None) => {} // nobody knows: what was known last stays
            }
        }
    }
}

async fn measure(
    pipeline: &Progress,
    log: &Arc<KafkaLog>,
    partition: Partition,
    progress: &PartitionProgress,
) {
    let Some(next_offset) = progress.next_offset else { return };
    let question = Arc::clone(log);
    let range = blocking(move || question.range(partition)).await;
    let still_ours = pipeline.partitions().contains_key(&partition);
    if let (Ok(range), true) = (range, still_ours) {
        pipeline.measured(partition, range.high);
        metrics::lag(pipeline.topic(), partition, next_offset, range.high);
    }
}

/// Latches readiness once the brokers have answered; says so where the topic is missing.
pub async fn await_kafka(log: Arc<KafkaLog>, health: Arc<Health>) {
    for attempt in 0.. {
        let question = Arc::clone(&log);
        match blocking(move || question.exists()).await {
            Ok(true) => return health.kafka.store(true, Relaxed),
            Ok(false) => {
                health.kafka.store(true, Relaxed);
                tracing::warn!(kafka.topic = log.topic(), "the topic does not exist yet");
            }
            Err(error) => tracing::warn!(kafka.topic = log.topic(), %error, "waiting for Kafka"),
        }
        tokio::time::sleep(backoff::pause(attempt)).await;
    }
}

/// Histograms grow until somebody tidies up.
pub async fn upkeep(store: Store, handle: PrometheusHandle) {
    let mut ticks = ticks(UPKEEP_EVERY).await;
    loop {
        ticks.tick().await;
        handle.run_upkeep();
        metrics::pool(store.pool_state());
    }
}

async fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = clock::ticks(every);
    ticks.tick().await; // the first one comes at once
    ticks
}
