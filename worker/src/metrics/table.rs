//! The table of all metrics: name, labels, meaning, buckets. `metrics` installs it and names each of them once more, where it
//! happens; `docs/METRICS.md`, the alerts and the dashboards are compared with it.
//!
//! What must stay true: a metric that is not in the table is not exported, and its labels are those that the table names.

pub(super) const CONSUMED: &str = "ledgerline_records_consumed_total";
pub(super) const SETTLED: &str = "ledgerline_records_settled_total";
pub(super) const ROWS: &str = "ledgerline_rows_written_total";
pub(super) const DEAD: &str = "ledgerline_dead_letters_total";
pub(super) const FLAGS: &str = "ledgerline_record_flags_total";
pub(super) const BATCHES: &str = "ledgerline_batches_total";
pub(super) const FLUSHES: &str = "ledgerline_batch_flushes_total";
pub(super) const BATCH_RECORDS: &str = "ledgerline_batch_records";
pub(super) const BATCH_BYTES: &str = "ledgerline_batch_bytes";
pub(super) const WRITE_SECONDS: &str = "ledgerline_batch_write_seconds";
pub(super) const LATENCY: &str = "ledgerline_event_commit_latency_seconds";
pub(super) const LAG: &str = "ledgerline_consumer_lag_records";
pub(super) const LAG_SECONDS: &str = "ledgerline_consumer_lag_seconds";
pub(super) const LAG_KNOWN: &str = "ledgerline_consumer_lag_known";
pub(super) const POSITION: &str = "ledgerline_partition_position";
pub(super) const HALTED: &str = "ledgerline_partition_halted";
pub(super) const PAUSED: &str = "ledgerline_partition_paused";
pub(super) const ASSIGNED: &str = "ledgerline_assigned_partitions";
pub(super) const TOPIC_PARTITIONS: &str = "ledgerline_topic_partitions";
pub(super) const LAST_RECORD: &str = "ledgerline_last_record_timestamp_seconds";
pub(super) const LAST_COMMIT: &str = "ledgerline_last_commit_timestamp_seconds";
pub(super) const REBALANCES: &str = "ledgerline_rebalances_total";
pub(super) const COMMITS: &str = "ledgerline_offset_commits_total";
pub(super) const FENCED: &str = "ledgerline_fenced_total";
pub(super) const CLIENT_ERRORS: &str = "ledgerline_kafka_client_errors_total";
pub(super) const CIRCUIT: &str = "ledgerline_db_circuit_state";
pub(super) const ATTEMPTS: &str = "ledgerline_batch_write_attempts_total";
pub(super) const LOOKUPS: &str = "ledgerline_selection_lookups_total";
pub(super) const POOL: &str = "ledgerline_db_pool_connections";
pub(super) const POOL_MAX: &str = "ledgerline_db_pool_connections_max";
pub(super) const POOL_MIN: &str = "ledgerline_db_pool_connections_min";
pub(super) const POOL_WAITING: &str = "ledgerline_db_pool_waiting";
pub(super) const POOL_WAITS: &str = "ledgerline_db_pool_waits_total";
pub(super) const POOL_WAIT_SECONDS: &str = "ledgerline_db_pool_wait_seconds";
pub(super) const POOL_TIMEOUTS: &str = "ledgerline_db_pool_timeouts_total";
pub(super) const POOL_OPENED: &str = "ledgerline_db_pool_opened_total";
pub(super) const POOL_CLOSED: &str = "ledgerline_db_pool_closed_total";
pub(super) const POOL_SET_UP_FAILURES: &str = "ledgerline_db_pool_set_up_failures_total";
pub(super) const SWEPT: &str = "ledgerline_quotes_swept_total";
pub(super) const REMOVED: &str = "ledgerline_quotes_removed_total";
pub(super) const SWEEPS: &str = "ledgerline_sweeps_total";
pub(super) const SWEEP_SECONDS: &str = "ledgerline_sweep_seconds";
pub(super) const LAST_SWEEP: &str = "ledgerline_last_sweep_timestamp_seconds";
pub(super) const WORKFLOWS: &str = "ledgerline_workflow_state_changes_total";
pub(super) const WORKFLOWS_RUNNING: &str = "ledgerline_workflows_running";
pub(super) const REPLAYED: &str = "ledgerline_replay_progress_ratio";
pub(super) const YIELDING: &str = "ledgerline_replay_yielding";
pub(super) const SPOOLING: &str = "ledgerline_spooling";
pub(super) const SPOOL_BATCHES: &str = "ledgerline_spool_batches_total";
pub(super) const SPOOLED: &str = "ledgerline_spooled_records_total";
pub(super) const SPOOL_SEGMENTS: &str = "ledgerline_spool_segments";
pub(super) const SPOOL_RECORDS: &str = "ledgerline_spool_records";
pub(super) const SPOOL_BYTES: &str = "ledgerline_spool_bytes";
pub(super) const SPOOL_BYTES_MAX: &str = "ledgerline_spool_bytes_max";
pub(super) const TICK: &str = "ledgerline_poll_loop_last_tick_timestamp_seconds";
pub(super) const BUILD: &str = "ledgerline_build_info";

/// One metric as it is exported.
#[derive(Debug)]
pub struct Metric {
    /// Its name. A histogram is exported as `<name>_bucket`, `<name>_sum` and `<name>_count`.
    pub name: &'static str,
    /// Its labels, without those that whoever scrapes it adds.
    pub labels: &'static [&'static str],
    /// What it means, for `# HELP`.
    pub text: &'static str,
    /// Of a histogram. Without buckets it would be rendered as a summary, which cannot be added up over pods.
    pub buckets: &'static [f64],
}

/// What a metric does with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, but for a restart.
    Counter,
    /// It is what is now.
    Gauge,
    /// It counts by size.
    Histogram,
}

impl Kind {
    /// The word of `# TYPE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Metric {
    /// Counters end in `_total`, histograms have buckets, all others are gauges.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.name.ends_with("_total") {
            Kind::Counter
        } else if self.buckets.is_empty() {
            Kind::Gauge
        } else {
            Kind::Histogram
        }
    }
}

const fn plain(name: &'static str, labels: &'static [&'static str], text: &'static str) -> Metric {
    Metric { name, labels, text, buckets: &[] }
}

const fn sizes(
    name: &'static str,
    labels: &'static [&'static str],
    buckets: &'static [f64],
    text: &'static str,
) -> Metric {
    Metric { name, labels, text, buckets }
}

/// Every metric.
pub const METRICS: &[Metric] = &[
    plain(
        CONSUMED,
        &["topic", "mode"],
        "Records taken from the topic into a batch, by mode of the line: live, replay, backfill, drain, shadow.",
    ),
    plain(
        SETTLED,
        &["topic", "mode", "outcome"],
        "Offsets settled in a committed transaction, by outcome: applied, dead, tombstone, skipped, hole.",
    ),
    plain(
        ROWS,
        &["topic", "mode", "outcome"],
        "Rows of applied records in committed transactions, by outcome: inserted, updated, duplicate, stale.",
    ),
    plain(DEAD, &["topic", "mode", "reason"], "Dead letters stored, by reason."),
    plain(FLAGS, &["topic", "flag"], "Accepted records that are worth a look, by flag."),
    plain(
        BATCHES,
        &["topic", "outcome"],
        "Transactions, by outcome: committed, failed (rolled back or unknown), refused (by the database), halted, fenced.",
    ),
    plain(
        FLUSHES,
        &["topic", "trigger"],
        "Batches handed to a writer, by what made them due: rows, bytes, age, memory.",
    ),
    sizes(
        BATCH_RECORDS,
        &["topic"],
        &[1.0, 10.0, 100.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5],
        "Records of a committed batch.",
    ),
    sizes(
        BATCH_BYTES,
        &["topic"],
        &[1e3, 1e4, 1e5, 5e5, 1e6, 2e6, 5e6, 1e7, 5e7, 1e8, 3e8],
        "Bytes of the records of a committed batch.",
    ),
    sizes(
        WRITE_SECONDS,
        &["topic"],
        &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0],
        "Time of one committed transaction, from taking a connection to the answer of COMMIT.",
    ),
    sizes(
        LATENCY,
        &["topic"],
        &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0],
        "Kafka timestamp of a batch's oldest record to its commit in the database.",
    ),
    plain(
        LAG,
        &["topic", "partition"],
        "Records between the database's position and the end of the log. Only meaningful where ledgerline_consumer_lag_known is 1.",
    ),
    plain(
        LAG_SECONDS,
        &["topic", "partition"],
        "How long the oldest record that is not stored has waited since Kafka's timestamp; 0 where all are that were in the log 5 s ago.",
    ),
    plain(
        LAG_KNOWN,
        &["topic", "partition"],
        "1 while the partition is assigned to this process and its lag was measured.",
    ),
    plain(POSITION, &["topic", "partition"], "Next offset to store, from the database."),
    plain(
        HALTED,
        &["topic", "partition", "reason"],
        "1 while the partition is halted for that reason; an operator has to decide.",
    ),
    plain(
        PAUSED,
        &["topic", "partition"],
        "1 while an operator has paused the partition: it is held, and nothing of it is written.",
    ),
    plain(ASSIGNED, &["topic"], "Partitions assigned to this process."),
    plain(TOPIC_PARTITIONS, &["topic"], "Partitions that the topic has; every worker of it says the same."),
    plain(LAST_RECORD, &["topic"], "Kafka timestamp of the newest record stored."),
    plain(LAST_COMMIT, &["topic"], "When the last transaction was committed."),
    plain(REBALANCES, &["topic", "kind"], "Changes of the assignment, by kind."),
    plain(
        COMMITS,
        &["topic", "target", "outcome"],
        "Offset commits, by target and outcome. The database decides; Kafka's are advisory.",
    ),
    plain(FENCED, &["topic"], "Transactions refused because another worker claimed the partition."),
    plain(CLIENT_ERRORS, &["topic"], "Errors that the Kafka client reported; most heal by themselves."),
    plain(
        CIRCUIT,
        &[],
        "Whether the database is tried: 0 closed (by everybody), 1 half open (by one), 2 open (by nobody).",
    ),
    plain(
        ATTEMPTS,
        &["topic"],
        "Times that rows were written for batches that were committed; more than one each where refused records were looked for.",
    ),
    plain(
        LOOKUPS,
        &["topic", "result"],
        "Selections of committed batches, by whether the connection knew their ids: hit, miss.",
    ),
    plain(POOL, &["state"], "Database connections, by state: idle, in_use."),
    plain(POOL_MAX, &[], "Most database connections that may be open."),
    plain(POOL_MIN, &[], "Unused database connections that are kept open."),
    plain(POOL_WAITING, &[], "Callers that wait for a database connection now."),
    plain(
        POOL_WAITS,
        &[],
        "Callers that had to wait for a database connection, until one was opened or given back.",
    ),
    plain(
        POOL_WAIT_SECONDS,
        &[],
        "How long all callers have waited for a database connection, together, since the start of the process.",
    ),
    plain(POOL_TIMEOUTS, &[], "Callers that gave up waiting for a database connection."),
    plain(POOL_OPENED, &[], "Database connections opened."),
    plain(
        POOL_CLOSED,
        &["reason"],
        "Database connections closed, by reason: broken (while used), failed_check (found dead or read-only before it was lent), lifetime, idle.",
    ),
    plain(
        POOL_SET_UP_FAILURES,
        &["reason"],
        "Database connections that could not be set up, by reason: timed_out, unreachable, tls, login, full, not_ready, settings, other.",
    ),
    plain(
        SWEPT,
        &["reason"],
        "Stored quotes that compaction and retention looked at, by reason: compacted, expired.",
    ),
    plain(REMOVED, &["reason"], "Stored quotes that they removed, by reason."),
    plain(
        SWEEPS,
        &["reason", "outcome"],
        "Sweeps over the stored quotes, by reason and outcome: completed, skipped (another worker's), interrupted (another worker began), failed.",
    ),
    sizes(
        SWEEP_SECONDS,
        &["reason"],
        &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0, 14_400.0],
        "Time of one sweep, by reason.",
    ),
    plain(LAST_SWEEP, &["reason"], "When a sweep of this process was last completed, by reason."),
    plain(
        WORKFLOWS,
        &["kind", "state"],
        "Changes of workflows' states by this process, by kind and the state that they came to.",
    ),
    plain(WORKFLOWS_RUNNING, &["kind"], "Workflows that this process runs now, by kind."),
    plain(REPLAYED, &[], "How much of the workflow that this process runs is done, 0 to 1."),
    plain(YIELDING, &[], "1 while a replay of this process gives way to live consumption."),
    plain(SPOOLING, &[], "1 while the database is away and batches go to this process's spool."),
    plain(SPOOL_BATCHES, &["topic", "outcome"], "Batches written to the spool, by outcome: kept, failed."),
    plain(SPOOLED, &["topic"], "Records written to the spool."),
    plain(SPOOL_SEGMENTS, &["topic"], "Batches in the spool that are not known to be in the database."),
    plain(SPOOL_RECORDS, &["topic"], "Records in them."),
    plain(SPOOL_BYTES, &[], "Size of the spool's file."),
    plain(SPOOL_BYTES_MAX, &[], "Size over which it does not grow; 0 where there is no spool."),
    plain(TICK, &[], "When the poll loop last came round."),
    plain(BUILD, &["version"], "1; the version is a label."),
];
