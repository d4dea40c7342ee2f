//! Every metric has its name here and nowhere else: one table for descriptions and buckets, one function per thing that
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

mod mode;

pub use mode::Mode;
pub(crate) use mode::Rebalance;

use crate::breaker::Circuit;
use crate::buffer::Trigger;
use crate::protocol::Partition;

const CONSUMED: &str = "ledgerline_records_consumed_total";
const SETTLED: &str = "ledgerline_records_settled_total";
const ROWS: &str = "ledgerline_rows_written_total";
const DEAD: &str = "ledgerline_dead_letters_total";
const FLAGS: &str = "ledgerline_record_flags_total";
const BATCHES: &str = "ledgerline_batches_total";
const FLUSHES: &str = "ledgerline_batch_flushes_total";
const BATCH_RECORDS: &str = "ledgerline_batch_records";
const BATCH_BYTES: &str = "ledgerline_batch_bytes";
const WRITE_SECONDS: &str = "ledgerline_batch_write_seconds";
const LATENCY: &str = "ledgerline_event_commit_latency_seconds";
const LAG: &str = "ledgerline_consumer_lag_records";
const LAG_KNOWN: &str = "ledgerline_consumer_lag_known";
const POSITION: &str = "ledgerline_partition_position";
const HALTED: &str = "ledgerline_partition_halted";
const ASSIGNED: &str = "ledgerline_assigned_partitions";
const LAST_RECORD: &str = "ledgerline_last_record_timestamp_seconds";
const LAST_COMMIT: &str = "ledgerline_last_commit_timestamp_seconds";
const REBALANCES: &str = "ledgerline_rebalances_total";
const COMMITS: &str = "ledgerline_offset_commits_total";
const FENCED: &str = "ledgerline_fenced_total";
const CLIENT_ERRORS: &str = "ledgerline_kafka_client_errors_total";
const CIRCUIT: &str = "ledgerline_db_circuit_state";
const ATTEMPTS: &str = "ledgerline_batch_write_attempts_total";
const LOOKUPS: &str = "ledgerline_selection_lookups_total";
const POOL: &str = "ledgerline_db_pool_connections";
const POOL_MAX: &str = "ledgerline_db_pool_connections_max";
const POOL_TIMEOUTS: &str = "ledgerline_db_pool_timeouts_total";
const SWEPT: &str = "ledgerline_quotes_swept_total";
const REMOVED: &str = "ledgerline_quotes_removed_total";
const SWEEPS: &str = "ledgerline_sweeps_total";
const SWEEP_SECONDS: &str = "ledgerline_sweep_seconds";
const LAST_SWEEP: &str = "ledgerline_last_sweep_timestamp_seconds";
const WORKFLOWS: &str = "ledgerline_workflow_state_changes_total";
const REPLAYED: &str = "ledgerline_replay_progress_ratio";
const YIELDING: &str = "ledgerline_replay_yielding";
const TICK: &str = "ledgerline_poll_loop_last_tick_timestamp_seconds";
const BUILD: &str = "ledgerline_build_info";

/// What each metric means, for `# HELP`.
const DESCRIPTIONS: &[(&str, &str)] = &[
    (CONSUMED, "Records taken from the topic into a batch."),
    (
        SETTLED,
        "Offsets settled in a committed transaction, by outcome: applied, dead, tombstone, skipped, hole.",
    ),
    (
        ROWS,
        "Rows of applied records in committed transactions, by outcome: inserted, updated, duplicate, stale.",
    ),
    (DEAD, "Dead letters stored, by reason."),
    (FLAGS, "Accepted records that are worth a look, by flag."),
    (
        BATCHES,
        "Transactions, by outcome: committed, failed (rolled back or unknown), refused (by the database), halted, fenced.",
    ),
    (FLUSHES, "Batches handed to a writer, by what made them due: rows, bytes, age, memory."),
    (BATCH_RECORDS, "Records of a committed batch."),
    (BATCH_BYTES, "Bytes of the records of a committed batch."),
    (WRITE_SECONDS, "Time of one committed transaction, from taking a connection to the answer of COMMIT."),
    (LATENCY, "Kafka timestamp of a batch's oldest record to its commit in the database."),
    (
        LAG,
        "Records between the database's position and the end of the log. Only meaningful where ledgerline_consumer_lag_known is 1.",
    ),
    (LAG_KNOWN, "1 while the partition is assigned to this process and its lag was measured."),
    (POSITION, "Next offset to store, from the database."),
    (HALTED, "1 while the partition is halted for that reason; an operator has to decide."),
    (ASSIGNED, "Partitions assigned to this process."),
    (LAST_RECORD, "Kafka timestamp of the newest record stored."),
    (LAST_COMMIT, "When the last transaction was committed."),
    (REBALANCES, "Changes of the assignment, by kind."),
    (COMMITS, "Offset commits, by target and outcome. The database decides; Kafka's are advisory."),
    (FENCED, "Transactions refused because another worker claimed the partition."),
    (CLIENT_ERRORS, "Errors that the Kafka client reported; most heal by themselves."),
    (
        CIRCUIT,
        "Whether the database is tried: 0 closed (by everybody), 1 half open (by one), 2 open (by nobody).",
    ),
    (
        ATTEMPTS,
        "Times that rows were written for batches that were committed; more than one each where refused records were looked for.",
    ),
    (LOOKUPS, "Selections of committed batches, by whether the connection knew their ids: hit, miss."),
    (POOL, "Database connections, by state: idle, in_use."),
    (POOL_MAX, "Most database connections that may be open."),
    (POOL_TIMEOUTS, "Callers that gave up waiting for a database connection."),
    (SWEPT, "Stored quotes that compaction and retention looked at, by reason: compacted, expired."),
    (REMOVED, "Stored quotes that they removed, by reason."),
    (
        SWEEPS,
        "Sweeps over the stored quotes, by reason and outcome: completed, skipped (another worker's), failed.",
    ),
    (SWEEP_SECONDS, "Time of one sweep, by reason."),
    (LAST_SWEEP, "When a sweep of this process was last completed, by reason."),
    (WORKFLOWS, "Changes of workflows' states by this process, by kind and the state that they came to."),
    (REPLAYED, "How much of the workflow that this process runs is done, 0 to 1."),
    (YIELDING, "1 while a replay of this process gives way to live consumption."),
    (TICK, "When the poll loop last came round."),
    (BUILD, "1; the version is a label."),
];

/// Without buckets a histogram would be rendered as a summary, which cannot be added up over pods.
const BUCKETS: &[(&str, &[f64])] = &[
    (BATCH_RECORDS, &[1.0, 10.0, 100.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5]),
    (BATCH_BYTES, &[1e3, 1e4, 1e5, 5e5, 1e6, 2e6, 5e6, 1e7, 5e7, 1e8, 3e8]),
    (WRITE_SECONDS, &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0]),
    (SWEEP_SECONDS, &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0, 14_400.0]),
    (LATENCY, &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0]),
];

/// Makes this process's metrics available. Once per process.
///
/// # Errors
/// They already are.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for (name, buckets) in BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)?;
    }
    let handle = builder.install_recorder()?;
    for (name, text) in DESCRIPTIONS {
        if name.ends_with("_total") {
            metrics::describe_counter!(*name, *text);
        } else if BUCKETS.iter().any(|(histogram, _)| histogram == name) {
            metrics::describe_histogram!(*name, *text);
        } else {
            metrics::describe_gauge!(*name, *text);
        }
    }
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
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
    for outcome in ["committed", "failed", "refused", "halted", "fenced"] {
        counter!(BATCHES, "topic" => topic(), "outcome" => outcome).increment(0);
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
    counter!(FENCED, "topic" => topic()).increment(0);
    counter!(ATTEMPTS, "topic" => topic()).increment(0);
    counter!(CLIENT_ERRORS, "topic" => topic()).increment(0);
}

pub(crate) fn dispatched(topic: &str, mode: Mode, batch: &Batch, trigger: Trigger) {
    let records = batch.records.len() as u64 + count(batch.tombstones) + count(batch.skipped);
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
    counter!(BATCHES, "topic" => topic(), "outcome" => "committed").increment(1);
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
pub(crate) fn write_failed(topic: &str, outcome: &'static str) {
    counter!(BATCHES, "topic" => topic.to_owned(), "outcome" => outcome).increment(1);
}

pub(crate) fn circuit(circuit: Circuit) {
    gauge!(CIRCUIT).set(f64::from(circuit.number()));
}

pub(crate) fn fenced(topic: &str) {
    counter!(FENCED, "topic" => topic.to_owned()).increment(1);
    counter!(BATCHES, "topic" => topic.to_owned(), "outcome" => "fenced").increment(1);
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

/// Lag measured against the database's position.
pub(crate) fn lag(topic: &str, partition: Partition, next_offset: i64, high: i64) {
    let labels = [("topic", topic.to_owned()), ("partition", partition.to_string())];
    gauge!(LAG, &labels).set((high - next_offset).max(0) as f64);
    gauge!(LAG_KNOWN, &labels).set(1.0);
    gauge!(POSITION, &labels).set(next_offset as f64);
}

/// A gauge keeps its last value for ever: a revoked partition must not show ghost lag.
pub(crate) fn forget_partition(topic: &str, partition: Partition) {
    let labels = [("topic", topic.to_owned()), ("partition", partition.to_string())];
    gauge!(LAG, &labels).set(0.0);
    gauge!(POSITION, &labels).set(0.0);
    gauge!(LAG_KNOWN, &labels).set(0.0);
    halted(topic, partition, None);
}

pub(crate) fn pool(state: PoolState) {
    gauge!(POOL, "state" => "idle").set(f64::from(state.idle));
    gauge!(POOL, "state" => "in_use").set(f64::from(state.in_use));
    gauge!(POOL_MAX).set(f64::from(state.max));
    counter!(POOL_TIMEOUTS).absolute(state.timeouts);
}

/// Makes the metrics of a sweep exist at 0.
pub(crate) fn touch_sweep(removal: Removal) {
    counter!(SWEPT, "reason" => removal.name()).increment(0);
    counter!(REMOVED, "reason" => removal.name()).increment(0);
    for outcome in ["completed", "skipped", "interrupted", "failed"] {
        counter!(SWEEPS, "reason" => removal.name(), "outcome" => outcome).increment(0);
    }
    gauge!(LAST_SWEEP, "reason" => removal.name()).set(0.0);
}

pub(crate) fn swept(removal: Removal, chunk: &SweptChunk) {
    counter!(SWEPT, "reason" => removal.name()).increment(count(chunk.scanned));
    counter!(REMOVED, "reason" => removal.name()).increment(count(chunk.removed));
}

pub(crate) fn sweep_ended(removal: Removal, outcome: &'static str, took: Duration, now: UtcMicros) {
    counter!(SWEEPS, "reason" => removal.name(), "outcome" => outcome).increment(1);
    if outcome == "completed" {
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
    }
    gauge!(REPLAYED).set(0.0);
    yielding(false);
}

pub(crate) fn workflow_became(kind: WorkflowKind, state: State) {
    counter!(WORKFLOWS, "kind" => kind.name(), "state" => state.name()).increment(1);
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
