//! `Progress`: what one pipeline has done so far, for everybody who looks from outside: metrics, log lines, health, the demo's
//! display. Written by the pipeline's thread and its tasks. The one thing that the line reads here is the order to stop. Gauges of
//! partitions are those of live consumption.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use ledgerline_schema::batch::{Batch, Dispositions, RowCounts};
use ledgerline_schema::events::Flags;
use ledgerline_schema::scrapers::ScraperTally;
use ledgerline_schema::store::{Claim, Halt, StoreError, Switch, Trouble, WriteReport};
use ledgerline_schema::time::UtcMicros;

use crate::buffer::Trigger;
use crate::clock;
use crate::metrics::{self, BatchOutcome, Mode, Rebalance};
use crate::protocol::Partition;
use crate::recent::{Recent, RecentBatch};
use crate::sync::lock;

mod spool;

/// Most dead letters of one batch that get a log line each; the rest is one line with their number.
const LOGGED_DEAD_LETTERS: usize = 10;

/// What one pipeline has done so far.
#[derive(Debug)]
pub struct Progress {
    topic: String,
    mode: Mode,
    stopping: AtomicBool,
    out_of_time: AtomicBool,
    last_tick: AtomicI64,
    totals: Mutex<Totals>,
    /// Which scrapers the stored records are of, since somebody took them.
    scrapers: Mutex<ScraperTally>,
    partitions: Mutex<BTreeMap<Partition, PartitionProgress>>,
    recent: Mutex<Recent>,
}

/// Sums over all committed batches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Batches.
    pub batches: u64,
    /// Offsets by disposition.
    pub dispositions: Dispositions,
    /// Rows by outcome.
    pub rows: RowCounts,
    /// Bytes of the records.
    pub bytes: u64,
}

/// Where one assigned partition stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionProgress {
    /// The next offset to store; none before the claim is answered.
    pub next_offset: Option<i64>,
    /// Why it is halted.
    pub halted: Option<&'static str>,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// The end of the log when it was last looked at.
    pub log_end: Option<i64>,
}

impl PartitionProgress {
    /// Records between the position and the end of the log, as far as both are known.
    #[must_use]
    pub fn lag(&self) -> Option<i64> {
        Some((self.log_end? - self.next_offset?).max(0))
    }

    /// The position, where something is not stored that was in the log when it was last looked at.
    #[must_use]
    pub fn late_at(&self) -> Option<i64> {
        self.next_offset.filter(|next| self.log_end.is_some_and(|end| *next < end))
    }
}

impl Progress {
    /// A pipeline that has done nothing yet. Its counters exist from now on, at 0.
    #[must_use]
    pub fn new(topic: &str, mode: Mode) -> Self {
        metrics::touch(topic, mode);
        Self {
            topic: topic.to_owned(),
            mode,
            stopping: AtomicBool::new(false),
            out_of_time: AtomicBool::new(false),
            last_tick: AtomicI64::new(0),
            totals: Mutex::default(),
            scrapers: Mutex::default(),
            partitions: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Sums over all committed batches.
    #[must_use]
    pub fn totals(&self) -> Totals {
        *lock(&self.totals)
    }

    /// The scrapers that were counted since the last time; from now on they are the caller's to store.
    #[must_use]
    pub fn take_scrapers(&self) -> ScraperTally {
        std::mem::take(&mut *lock(&self.scrapers))
    }

    /// Adds what was counted, or could not be stored.
    pub fn count_scrapers(&self, tally: &ScraperTally) {
        lock(&self.scrapers).merge(tally);
    }

    /// Every assigned partition.
    #[must_use]
    pub fn partitions(&self) -> BTreeMap<Partition, PartitionProgress> {
        lock(&self.partitions).clone()
    }

    /// What it did in the last minutes.
    #[must_use]
    pub fn recent(&self) -> Recent {
        lock(&self.recent).clone()
    }

    /// When the thread last came round; none before it has started.
    #[must_use]
    pub fn last_tick(&self) -> Option<UtcMicros> {
        let tick = self.last_tick.load(Relaxed);
        (tick != 0).then_some(UtcMicros(tick))
    }

    /// Asks the pipeline to finish what is under way and end.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Tells a pipeline that still waits for a transaction to end without its answer.
    pub fn give_up(&self) {
        self.out_of_time.store(true, Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    pub(crate) fn is_out_of_time(&self) -> bool {
        self.out_of_time.load(Relaxed)
    }

    pub(crate) fn tick(&self, now: UtcMicros) {
        self.last_tick.store(now.0, Relaxed);
    }

    pub(crate) fn assigned(&self, partitions: &[Partition]) {
        if partitions.is_empty() {
            return; // the group only said that nothing changed
        }
        if self.mode.is_live() {
            metrics::rebalance(&self.topic, Rebalance::Assigned);
        }
        tracing::info!(kafka.topic = self.topic, ?partitions, "partitions assigned");
        let mut progress = lock(&self.partitions);
        progress.extend(partitions.iter().map(|partition| (*partition, PartitionProgress::default())));
        if self.mode.is_live() {
            metrics::assigned(&self.topic, progress.len());
        }
    }

    pub(crate) fn revoked(&self, partitions: &[Partition]) {
        tracing::info!(kafka.topic = self.topic, ?partitions, "partitions revoked");
        let mut progress = lock(&self.partitions);
        progress.retain(|partition, _| !partitions.contains(partition));
        if self.mode.is_live() {
            metrics::rebalance(&self.topic, Rebalance::Revoked);
            partitions.iter().for_each(|partition| metrics::forget_partition(&self.topic, *partition));
            metrics::assigned(&self.topic, progress.len());
        }
    }

    pub(crate) fn consuming(&self, partition: Partition, next_offset: i64) {
        tracing::info!(
            kafka.topic = self.topic,
            kafka.partition = partition,
            next_offset,
            "partition claimed"
        );
        if self.mode.is_live() {
            metrics::halted(&self.topic, partition, None);
            metrics::paused(&self.topic, partition, false);
        }
        self.update(partition, |progress| {
            (progress.next_offset, progress.halted) = (Some(next_offset), None);
        });
    }

    /// An operator's switch pauses the partition, or none does any more.
    pub(crate) fn paused(&self, partition: Partition, switch: Option<&Switch>) {
        if self.mode.is_live() {
            metrics::paused(&self.topic, partition, switch.is_some());
        }
        self.update(partition, |progress| progress.paused = switch.is_some());
        let topic = &self.topic;
        match switch {
            Some(Switch { reason, actor, at, .. }) => tracing::warn!(
                kafka.topic = topic,
                kafka.partition = partition,
                reason,
                actor,
                since = %at,
                "partition paused by an operator"
            ),
            None => tracing::info!(kafka.topic = topic, kafka.partition = partition, "partition resumed"),
        }
    }

    pub(crate) fn halted(&self, partition: Partition, halt: &Halt) {
        if self.mode.is_live() {
            metrics::halted(&self.topic, partition, Some(halt.name()));
        }
        self.update(partition, |progress| progress.halted = Some(halt.name()));
    }

    pub(crate) fn committed(&self, partition: Partition, next_offset: i64) {
        self.update(partition, |progress| progress.next_offset = Some(next_offset));
    }

    /// The end of the log was looked at.
    pub(crate) fn measured(&self, partition: Partition, log_end: i64) {
        self.update(partition, |progress| progress.log_end = Some(log_end));
    }

    /// A batch leaves the buffer.
    pub(crate) fn dispatched(&self, batch: &Batch, flags: Flags, trigger: Trigger) {
        metrics::dispatched(&self.topic, self.mode, batch, trigger);
        metrics::flags(&self.topic, flags);
    }

    /// A batch is in the database.
    pub(crate) fn written(&self, claim: &Claim, batch: &Batch, report: &WriteReport, took: Duration) {
        let bytes = batch.records.byte_len() as u64;
        {
            let mut totals = lock(&self.totals);
            totals.batches += 1;
            totals.bytes += bytes;
            totals.dispositions.add(&report.dispositions);
            totals.rows.add(&report.rows);
        }
        self.count_scrapers(&batch.scrapers);
        let now = clock::now();
        let done = RecentBatch {
            at: now,
            partition: claim.partition,
            from: batch.from,
            to: batch.to,
            offsets: report.dispositions,
            rows: report.rows,
            took,
        };
        lock(&self.recent).batch(done, batch.records.newest_timestamp());
        metrics::written(&self.topic, self.mode, batch, report, took, now);
        for dead in report.dead.iter().take(LOGGED_DEAD_LETTERS) {
            let letter = batch.dead_letter(dead);
            tracing::warn!(
                kafka.topic = self.topic,
                kafka.partition = claim.partition,
                kafka.offset = letter.offset,
                correlation_id = letter.origin.correlation_id,
                traceparent = letter.origin.trace_parent,
                reason = letter.reason.name(),
                detail = letter.detail,
                mode = self.mode.name(),
                "dead letter"
            );
        }
        if report.dead.len() > LOGGED_DEAD_LETTERS {
            let more = report.dead.len() - LOGGED_DEAD_LETTERS;
            tracing::warn!(
                kafka.topic = self.topic,
                kafka.partition = claim.partition,
                more,
                "more dead letters"
            );
        }
        tracing::debug!(
            kafka.topic = self.topic,
            kafka.partition = claim.partition,
            from = batch.from,
            to = batch.to,
            inserted = report.rows.inserted,
            duplicate = report.rows.duplicate,
            dead = report.dead.len(),
            ms = took.as_millis(),
            "batch committed"
        );
    }

    /// A batch is in the database although the answer said nothing. What became of its rows is in the ledger only.
    pub(crate) fn found_committed(&self, partition: Partition, batch: &Batch) {
        let dispositions = batch.dispositions(batch.dead.len());
        {
            let mut totals = lock(&self.totals);
            totals.batches += 1;
            totals.bytes += batch.records.byte_len() as u64;
            totals.dispositions.add(&dispositions);
        }
        self.count_scrapers(&batch.scrapers);
        lock(&self.recent).count(clock::now(), &dispositions, &RowCounts::default());
        metrics::settled(&self.topic, self.mode, &dispositions, &batch.dead);
        tracing::info!(
            kafka.topic = self.topic,
            kafka.partition = partition,
            from = batch.from,
            to = batch.to,
            "the batch was committed after all"
        );
    }

    pub(crate) fn fenced(&self, claim: &Claim) {
        metrics::fenced(&self.topic);
        tracing::warn!(
            kafka.topic = self.topic,
            kafka.partition = claim.partition,
            epoch = claim.epoch,
            "fenced: another worker claimed the partition; nothing was written"
        );
    }

    /// A transaction ended without COMMIT, or without its answer.
    pub(crate) fn write_failed(&self, claim: &Claim, batch: &Batch, error: &StoreError) {
        let (outcome, what) = match error.trouble() {
            Trouble::Environment => {
                (BatchOutcome::Failed, "batch rolled back or unknown; asking the database and trying again")
            }
            Trouble::Refusal => {
                (BatchOutcome::Refused, "batch refused; asking the database and trying again")
            }
            Trouble::Contention => (BatchOutcome::Failed, "batch not written yet; trying again"),
        };
        metrics::write_failed(&self.topic, outcome);
        tracing::warn!(
            kafka.topic = self.topic,
            kafka.partition = claim.partition,
            from = batch.from,
            to = batch.to,
            %error,
            "{what}"
        );
    }

    /// A transaction was given up because it would have gone over the dead-letter budget.
    pub(crate) fn over_budget(&self) {
        metrics::write_failed(&self.topic, BatchOutcome::Halted);
    }

    fn update(&self, partition: Partition, change: impl FnOnce(&mut PartitionProgress)) {
        if let Some(progress) = lock(&self.partitions).get_mut(&partition) {
            change(progress);
        }
    }
}
