//! Every metric has its name here and nowhere else: one table (`table`) with what each means, one function per thing that
//! happens. Served by `http`.
//!
//! What must stay true: labels are closed enums, topics and partitions, never keys or error texts; counters exist at 0 before
//! the first event; gauges of revoked partitions are set to what they are: nothing.

use std::time::Duration;

use ledgerline_schema::batch::{Batch, DeadRecord, Dispositions};
use ledgerline_schema::events::{Flag, Flags, Reason};
use ledgerline_schema::store::{Halt, PoolState, Removal, SweptChunk, WriteReport};
use ledgerline_schema::time::UtcMicros;
use ledgerline_schema::workflow::{State, WorkflowKind};
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

mod labels;
mod spool;
mod table;
#[cfg(test)]
mod tests;

pub use labels::Mode;
pub(crate) use labels::{BatchOutcome, Rebalance, SweepOutcome};
pub(crate) use spool::{outage, spool_failed, spool_holds, spool_size, spooled};
use table::*;
pub use table::{Kind, METRICS, Metric};

use crate::breaker::Circuit;
use crate::buffer::Trigger;
use crate::protocol::Partition;

/// Makes this process's metrics available. Once per process.
///
/// # Errors
/// They already are.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe();
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS.iter().filter(|metric| metric.kind() == Kind::Histogram) {
        builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)?;
    }
    Ok(builder)
}

fn describe() {
    for metric in METRICS {
        match metric.kind() {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.text),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.text),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.text),
        }
    }
    outage(false);
    spool_size(0, 0);
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Makes every counter of a topic exist at 0: `increase()` misses the first event otherwise.
pub(crate) fn touch(topic: &str, mode: Mode) {
    let topic = || topic.to_owned();
    let mode = mode.name();
    counter!(CONSUMED, "topic" => topic(), "mode" => mode).increment(0);
    for outcome in ["applied", "dead", "tombstone", "skipped", "hole"] {
        counter!(SETTLED, "topic" => topic(), "mode" => mode, "outcome" => outcome).increment(0);
    }
    for outcome in ["inserted", "updated", "duplicate", "stale"] {
        counter!(ROWS, "topic" => topic(), "mode" => mode, "outcome" => outcome).increment(0);
    }
    for reason in Reason::ALL {
        counter!(DEAD, "topic" => topic(), "mode" => mode, "reason" => reason.name()).increment(0);
    }
    for flag in Flag::ALL {
        counter!(FLAGS, "topic" => topic(), "flag" => flag.name()).increment(0);
    }
    for outcome in BatchOutcome::ALL {
        counter!(BATCHES, "topic" => topic(), "outcome" => outcome.name()).increment(0);
    }
    for trigger in [Trigger::Rows, Trigger::Bytes, Trigger::Age, Trigger::Memory] {
        counter!(FLUSHES, "topic" => topic(), "trigger" => trigger.name()).increment(0);
    }
    for kind in [Rebalance::Assigned, Rebalance::Revoked] {
        counter!(REBALANCES, "topic" => topic(), "kind" => kind.name()).increment(0);
    }
    for outcome in ["ok", "failed"] {
        counter!(COMMITS, "topic" => topic(), "target" => "kafka", "outcome" => outcome).increment(0);
    }
    for result in ["hit", "miss"] {
        counter!(LOOKUPS, "topic" => topic(), "result" => result).increment(0);
    }
    spool::touch(&topic());
    counter!(FENCED, "topic" => topic()).increment(0);
    counter!(ATTEMPTS, "topic" => topic()).increment(0);
    counter!(CLIENT_ERRORS, "topic" => topic()).increment(0);
}

pub(crate) fn dispatched(topic: &str, mode: Mode, batch: &Batch, trigger: Trigger) {
    let records = batch.records.len() as u64 + batch.tombstones.len() as u64 + count(batch.skipped);
    counter!(CONSUMED, "topic" => topic.to_owned(), "mode" => mode.name()).increment(records);
    counter!(FLUSHES, "topic" => topic.to_owned(), "trigger" => trigger.name()).increment(1);
}

pub(crate) fn flags(topic: &str, flags: Flags) {
    for (flag, raised) in flags.counts().filter(|(_, raised)| *raised > 0) {
        counter!(FLAGS, "topic" => topic.to_owned(), "flag" => flag.name()).increment(raised.into());
    }
}

pub(crate) fn written(
    topic: &str,
    mode: Mode,
    batch: &Batch,
    report: &WriteReport,
    took: Duration,
    now: UtcMicros,
) {
    settled(topic, mode, &report.dispositions, &report.dead);
    let topic = || topic.to_owned();
    let rows = report.rows;
    for (outcome, n) in [
        ("inserted", rows.inserted),
        ("updated", rows.updated),
        ("duplicate", rows.duplicate),
        ("stale", rows.stale),
    ] {
        counter!(ROWS, "topic" => topic(), "mode" => mode.name(), "outcome" => outcome).increment(count(n));
    }
    counter!(BATCHES, "topic" => topic(), "outcome" => BatchOutcome::Committed.name()).increment(1);
    counter!(ATTEMPTS, "topic" => topic()).increment(report.attempts.into());
    for (result, n) in [("hit", report.lookups.hits), ("miss", report.lookups.misses)] {
        counter!(LOOKUPS, "topic" => topic(), "result" => result).increment(n);
    }
    histogram!(BATCH_RECORDS, "topic" => topic()).record(batch.records.len() as f64);
    histogram!(BATCH_BYTES, "topic" => topic()).record(batch.records.byte_len() as f64);
    histogram!(WRITE_SECONDS, "topic" => topic()).record(took.as_secs_f64());
    if mode.is_live() {
        freshness(topic(), batch, now);
    }
}

/// How far behind the events live consumption is.
fn freshness(name: String, batch: &Batch, now: UtcMicros) {
    let topic = || name.clone();
    gauge!(LAST_COMMIT, "topic" => topic()).set(seconds(now));
    if let Some(oldest) = batch.records.oldest_timestamp() {
        histogram!(LATENCY, "topic" => topic()).record((seconds(now) - seconds(oldest)).max(0.0));
    }
    if let Some(newest) = batch.records.newest_timestamp() {
        gauge!(LAST_RECORD, "topic" => topic()).set(seconds(newest));
    }
}

/// What became of the offsets of one committed batch.
pub(crate) fn settled(topic: &str, mode: Mode, offsets: &Dispositions, dead: &[DeadRecord]) {
    let topic = || topic.to_owned();
    let mode = mode.name();
    for (outcome, n) in [
        ("applied", offsets.applied),
        ("dead", offsets.dead),
        ("tombstone", offsets.tombstone),
        ("skipped", offsets.skipped),
        ("hole", offsets.hole),
    ] {
        counter!(SETTLED, "topic" => topic(), "mode" => mode, "outcome" => outcome).increment(count(n));
    }
    for dead in dead {
        counter!(DEAD, "topic" => topic(), "mode" => mode, "reason" => dead.rejection.reason.name())
            .increment(1);
    }
}

/// A transaction that is not known to be committed.
pub(crate) fn write_failed(topic: &str, outcome: BatchOutcome) {
    counter!(BATCHES, "topic" => topic.to_owned(), "outcome" => outcome.name()).increment(1);
}

pub(crate) fn circuit(circuit: Circuit) {
    gauge!(CIRCUIT).set(f64::from(circuit.number()));
}

pub(crate) fn fenced(topic: &str) {
    counter!(FENCED, "topic" => topic.to_owned()).increment(1);
    counter!(BATCHES, "topic" => topic.to_owned(), "outcome" => BatchOutcome::Fenced.name()).increment(1);
}

pub(crate) fn rebalance(topic: &str, kind: Rebalance) {
    counter!(REBALANCES, "topic" => topic.to_owned(), "kind" => kind.name()).increment(1);
}

pub(crate) fn assigned(topic: &str, partitions: usize) {
    gauge!(ASSIGNED, "topic" => topic.to_owned()).set(partitions as f64);
}

pub(crate) fn kafka_client_error(topic: &str) {
    counter!(CLIENT_ERRORS, "topic" => topic.to_owned()).increment(1);
}

pub(crate) fn kafka_commit(topic: &str, ok: bool) {
    let outcome = if ok { "ok" } else { "failed" };
    counter!(COMMITS, "topic" => topic.to_owned(), "target" => "kafka", "outcome" => outcome).increment(1);
}

pub(crate) fn halted(topic: &str, partition: Partition, reason: Option<&'static str>) {
    for name in Halt::NAMES {
        let value = f64::from(u8::from(reason == Some(name)));
        gauge!(HALTED, "topic" => topic.to_owned(), "partition" => partition.to_string(), "reason" => name)
            .set(value);
    }
}

pub(crate) fn paused(topic: &str, partition: Partition, paused: bool) {
    let labels = [("topic", topic.to_owned()), ("partition", partition.to_string())];
    gauge!(PAUSED, &labels).set(f64::from(u8::from(paused)));
}

/// Lag measured against the database's position.
pub(crate) fn lag(topic: &str, partition: Partition, next_offset: i64, high: i64) {
    let labels = [("topic", topic.to_owned()), ("partition", partition.to_string())];
    gauge!(LAG, &labels).set((high - next_offset).max(0) as f64);
    gauge!(LAG_KNOWN, &labels).set(1.0);
    gauge!(POSITION, &labels).set(next_offset as f64);
}

/// How long the oldest record that is not stored has waited.
pub(crate) fn lag_seconds(topic: &str, partition: Partition, seconds: f64) {
    gauge!(LAG_SECONDS, "topic" => topic.to_owned(), "partition" => partition.to_string())
        .set(seconds.max(0.0));
}

pub(crate) fn topic_partitions(topic: &str, partitions: usize) {
    gauge!(TOPIC_PARTITIONS, "topic" => topic.to_owned()).set(partitions as f64);
}

/// A gauge keeps its last value for ever: a revoked partition must not show ghost lag.
pub(crate) fn forget_partition(topic: &str, partition: Partition) {
    let labels = [("topic", topic.to_owned()), ("partition", partition.to_string())];
    gauge!(LAG, &labels).set(0.0);
    gauge!(LAG_SECONDS, &labels).set(0.0);
    gauge!(POSITION, &labels).set(0.0);
    gauge!(LAG_KNOWN, &labels).set(0.0);
    halted(topic, partition, None);
    paused(topic, partition, false);
}

pub(crate) fn pool(state: PoolState) {
    gauge!(POOL, "state" => "idle").set(f64::from(state.idle));
    gauge!(POOL, "state" => "in_use").set(f64::from(state.in_use));
    gauge!(POOL_MIN).set(f64::from(state.min));
    gauge!(POOL_MAX).set(f64::from(state.max));
    gauge!(POOL_WAITING).set(state.waiting as f64);
    gauge!(POOL_WAIT_SECONDS).set(state.wait_time.as_secs_f64());
    counter!(POOL_WAITS).absolute(state.waits);
    counter!(POOL_TIMEOUTS).absolute(state.timeouts);
    counter!(POOL_OPENED).absolute(state.opened);
    for (reason, closed) in state.closed.by_reason() {
        counter!(POOL_CLOSED, "reason" => reason).absolute(closed);
    }
    for (why, failures) in state.failures() {
        counter!(POOL_SET_UP_FAILURES, "reason" => why.name()).absolute(failures);
    }
}

/// Makes the metrics of a sweep exist at 0.
pub(crate) fn touch_sweep(removal: Removal) {
    counter!(SWEPT, "reason" => removal.name()).increment(0);
    counter!(REMOVED, "reason" => removal.name()).increment(0);
    for outcome in SweepOutcome::ALL {
        counter!(SWEEPS, "reason" => removal.name(), "outcome" => outcome.name()).increment(0);
    }
    gauge!(LAST_SWEEP, "reason" => removal.name()).set(0.0);
}

pub(crate) fn swept(removal: Removal, chunk: &SweptChunk) {
    counter!(SWEPT, "reason" => removal.name()).increment(count(chunk.scanned));
    counter!(REMOVED, "reason" => removal.name()).increment(count(chunk.removed));
}

pub(crate) fn sweep_ended(removal: Removal, outcome: SweepOutcome, took: Duration, now: UtcMicros) {
    counter!(SWEEPS, "reason" => removal.name(), "outcome" => outcome.name()).increment(1);
    if outcome == SweepOutcome::Completed {
        histogram!(SWEEP_SECONDS, "reason" => removal.name()).record(took.as_secs_f64());
        gauge!(LAST_SWEEP, "reason" => removal.name()).set(seconds(now));
    }
}

/// Makes the metrics of workflows exist at 0.
pub(crate) fn touch_workflows() {
    for kind in WorkflowKind::ALL {
        for state in [State::Running, State::Succeeded, State::Failed, State::Cancelled] {
            counter!(WORKFLOWS, "kind" => kind.name(), "state" => state.name()).increment(0);
        }
        gauge!(WORKFLOWS_RUNNING, "kind" => kind.name()).set(0.0);
    }
    gauge!(REPLAYED).set(0.0);
    yielding(false);
}

pub(crate) fn workflow_became(kind: WorkflowKind, state: State) {
    counter!(WORKFLOWS, "kind" => kind.name(), "state" => state.name()).increment(1);
}

/// Counted while the guard lives, however the work ends.
#[must_use]
pub(crate) fn workflow_runs(kind: WorkflowKind) -> RunningWorkflow {
    gauge!(WORKFLOWS_RUNNING, "kind" => kind.name()).increment(1.0);
    RunningWorkflow(kind)
}

/// A workflow that this process runs.
pub(crate) struct RunningWorkflow(WorkflowKind);

impl Drop for RunningWorkflow {
    fn drop(&mut self) {
        gauge!(WORKFLOWS_RUNNING, "kind" => self.0.name()).decrement(1.0);
    }
}

pub(crate) fn workflow_done(ratio: f64) {
    gauge!(REPLAYED).set(ratio);
}

pub(crate) fn yielding(yields: bool) {
    gauge!(YIELDING).set(f64::from(u8::from(yields)));
}

pub(crate) fn tick(at: UtcMicros) {
    gauge!(TICK).set(seconds(at));
}

fn seconds(at: UtcMicros) -> f64 {
    at.0 as f64 / 1e6
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
