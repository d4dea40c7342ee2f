//! `Status`: how far a workflow has come, for its row, for the command's display, and the order to stop. Written by whoever runs it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use ledgerline_schema::batch::{Dispositions, RowCounts};
use ledgerline_schema::workflow::{Part, Plan, State};
use serde::Serialize;

use crate::pace::{Decisions, Yielding};
use crate::progress::Progress;
use crate::protocol::Partition;
use crate::sync::lock;

/// How far a workflow has come.
#[derive(Debug, Default)]
pub struct Status {
    /// Whether the process is told to end, or this work is.
    told: Arc<AtomicBool>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Offsets of the whole plan.
    total: i64,
    groups: Vec<String>,
    /// Offsets that were done before the line that runs now.
    settled: i64,
    /// What the lines of this process have done that are over.
    over: Counts,
    line: Option<Line>,
    /// What the last line that is over decided.
    pace: Option<Decisions>,
    resumed_from: Option<BTreeMap<String, i64>>,
    lost: Option<State>,
}

#[derive(Debug)]
struct Line {
    progress: Arc<Progress>,
    /// Where each partition began.
    starts: BTreeMap<Partition, i64>,
    yielding: Option<Arc<Yielding>>,
}

/// What became of offsets and rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Records whose rows are stored.
    pub applied: i64,
    /// Records that became dead letters.
    pub dead: i64,
    /// Records without a value.
    pub tombstone: i64,
    /// Records that were not asked for.
    pub skipped: i64,
    /// Offsets without a record.
    pub hole: i64,
    /// New rows.
    pub inserted: i64,
    /// Rows that a newer version replaced.
    pub updated: i64,
    /// Rows that are stored equally or in a newer version.
    pub unchanged: i64,
}

impl Counts {
    /// Of the ledger, or of a line.
    #[must_use]
    pub fn of(offsets: Dispositions, rows: RowCounts) -> Self {
        let Dispositions { applied, dead, tombstone, skipped, hole } = offsets;
        let RowCounts { inserted, updated, duplicate, stale } = rows;
        Self { applied, dead, tombstone, skipped, hole, inserted, updated, unchanged: duplicate + stale }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            applied: self.applied + other.applied,
            dead: self.dead + other.dead,
            tombstone: self.tombstone + other.tombstone,
            skipped: self.skipped + other.skipped,
            hole: self.hole + other.hole,
            inserted: self.inserted + other.inserted,
            updated: self.updated + other.updated,
            unchanged: self.unchanged + other.unchanged,
        }
    }
}

/// How far a workflow has come, as it is shown and kept in its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Offsets of the whole.
    pub offsets: i64,
    /// Those of them that are done, by whomever.
    pub done: i64,
    /// What was done: by this process while it works, by all that worked on it in the end.
    #[serde(flatten)]
    pub counts: Counts,
    /// What was decided about giving way, by this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<Decisions>,
    /// Where it went on, by partition or file; only where it had been begun before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<BTreeMap<String, i64>>,
}

impl Report {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("numbers and texts are JSON")
    }

    /// How much is done, 0 to 1.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        if self.offsets == 0 { 1.0 } else { self.done as f64 / self.offsets as f64 }
    }
}

impl Status {
    /// Of work that ends when its process is told to.
    #[must_use]
    pub fn under(told: Arc<AtomicBool>) -> Self {
        Self { told, known: Mutex::default() }
    }

    /// Asks whoever runs it to finish what is under way and end.
    pub fn stop(&self) {
        self.told.store(true, Relaxed);
    }

    /// Whether it is to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.told.load(Relaxed) || self.lost().is_some()
    }

    /// Somebody else has it now, or it was called off.
    pub(super) fn lose(&self, to: State) {
        self.known().lost = Some(to);
    }

    /// Whether it is ours no more, and what it is.
    pub(super) fn lost(&self) -> Option<State> {
        self.known().lost
    }

    pub(super) fn planned(&self, plan: &Plan) {
        let mut known = self.known();
        known.total = plan.offsets();
        known.groups = plan.parts.iter().map(|part| part.group.clone()).collect();
        known.groups.dedup();
    }

    /// The groups that its accounts are kept under.
    pub(super) fn groups(&self) -> Vec<String> {
        self.known().groups.clone()
    }

    /// Offsets that an earlier run did, and where this one goes on.
    pub(super) fn resumed(&self, key: String, next: i64, done: i64) {
        let mut known = self.known();
        known.settled += done;
        known.resumed_from.get_or_insert_default().insert(key, next);
    }

    pub(super) fn started(&self, progress: &Arc<Progress>, parts: &[Part], yielding: Option<Arc<Yielding>>) {
        let starts = parts.iter().map(|part| (part.partition, part.from)).collect();
        self.known().line = Some(Line { progress: Arc::clone(progress), starts, yielding });
    }

    pub(super) fn ended(&self) {
        let mut known = self.known();
        let Some(line) = known.line.take() else { return };
        known.settled += line.done();
        known.over = known.over.plus(line.counts());
        known.pace = line.pace();
    }

    /// How far it has come.
    #[must_use]
    pub fn report(&self) -> Report {
        let known = self.known();
        let line = known.line.as_ref();
        Report {
            offsets: known.total,
            done: known.settled + line.map_or(0, Line::done),
            counts: line.map_or(known.over, |line| known.over.plus(line.counts())),
            pace: line.and_then(Line::pace).or(known.pace),
            resumed_from: known.resumed_from.clone(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

impl Line {
    fn done(&self) -> i64 {
        let partitions = self.progress.partitions();
        let next = |partition: &Partition| partitions.get(partition).and_then(|found| found.next_offset);
        self.starts.iter().filter_map(|(partition, start)| Some((next(partition)? - start).max(0))).sum()
    }

    fn pace(&self) -> Option<Decisions> {
        Some(self.yielding.as_ref()?.decisions())
    }

    fn counts(&self) -> Counts {
        let totals = self.progress.totals();
        Counts::of(totals.dispositions, totals.rows)
    }
}
