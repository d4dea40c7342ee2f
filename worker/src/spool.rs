//! `TopicSpool`: one topic's part of the process's spool, as its line uses it: where batches wait while the database is away, and what
//! comes of them. Called by `claim.rs`, `writer.rs` and the pipeline, in tasks.
//!
//! What must stay true: what goes into the spool starts at a position that the database is known to have had, in the log in which it
//! was claimed; what comes out is written under a claim of the database, like any batch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use anyhow::{Context, bail};
use ledgerline_schema::batch::Batch;
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{
    Claim, ClaimAnswer, ClaimRequest, Lineage, PartitionState, Segment, Spool, WriteError, WriteJob,
};

use crate::blocking::blocking;
use crate::clock;
use crate::outage::Outage;
use crate::protocol::{ClaimOutcome, Partition, PositionOutcome, WriteOutcome};
use crate::sync::lock;
use crate::writer::Job;

/// Segments of a partition that come out before those that are stored are dropped: each drop asks the database's ledger.
const OUT_BEFORE_DROP: u32 = 64;

/// One topic's part of the spool.
#[derive(Debug)]
pub struct TopicSpool {
    /// The file.
    pub spool: Spool,
    /// Whether it is used now.
    pub outage: Arc<Outage>,
    group: Arc<str>,
    topic: String,
    seen: Mutex<Seen>,
    /// Where the line does nothing else than to empty the spool: how it ends.
    emptying: Option<Arc<Emptying>>,
}

/// What is known of the topic's partitions.
#[derive(Debug, Default)]
struct Seen {
    /// What the database's last claim of each partition by this line said.
    claimed: BTreeMap<Partition, Claimed>,
    /// Where the database was known to stand with each partition that this line has never claimed.
    others: BTreeMap<Partition, (Lineage, i64)>,
}

/// What the database's last claim of a partition said.
#[derive(Debug, Clone)]
struct Claimed {
    /// The log that it counts in.
    lineage: Lineage,
    /// Where the database was known to stand when the spool was told.
    noted: i64,
    /// The claim's number.
    epoch: i64,
    /// Segments that came out since stored ones were dropped.
    out: u32,
}

/// How a line ends that only empties the spool, before its partition's end. It has no log that it could go on with.
#[derive(Debug, Default)]
pub struct Emptying {
    /// Set where it ends.
    pub over: Arc<AtomicBool>,
    why: OnceLock<&'static str>,
}

impl Emptying {
    /// Why it ended early, where it did.
    #[must_use]
    pub fn why(&self) -> Option<&'static str> {
        self.why.get().copied()
    }

    fn end(&self, why: &'static str) {
        let _ = self.why.set(why); // the first reason counts
        self.over.store(true, Relaxed);
    }
}

impl TopicSpool {
    /// Of one topic, for one group.
    #[must_use]
    pub fn new(spool: Spool, outage: Arc<Outage>, group: Arc<str>, topic: &str) -> Self {
        let topic = topic.to_owned();
        Self { spool, outage, group, topic, seen: Mutex::default(), emptying: None }
    }

    /// For a line that only empties the spool. It claims each of its partitions once, and never again when somebody else has claimed
    /// it since: two that take turns would come to nothing.
    #[must_use]
    pub fn emptied_by(self, emptying: &Arc<Emptying>) -> Self {
        Self { emptying: Some(Arc::clone(emptying)), ..self }
    }

    /// Ends a line that only empties the spool; any other goes on with its log. Answers whether it is one.
    pub(crate) fn ends(&self, why: &'static str) -> bool {
        self.emptying.as_ref().inspect(|emptying| emptying.end(why)).is_some()
    }

    /// Whether the partition may be claimed, whose row has this epoch now.
    pub(crate) fn may_claim(&self, partition: Partition, epoch: i64) -> bool {
        let ours = self.seen().claimed.get(&partition).map(|claimed| claimed.epoch);
        ours.is_none_or(|ours| ours == epoch) || !self.ends("another worker has claimed it")
    }

    /// Whether batches go to the spool.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.outage.is_on()
    }

    /// The database has claimed a partition in this log: the spool would go on there.
    pub(crate) async fn claimed(&self, lineage: &Lineage, claim: &Claim) -> anyhow::Result<()> {
        let (noted, epoch) = (claim.next_offset, claim.epoch);
        let claimed = Claimed { lineage: lineage.clone(), noted, epoch, out: 0 };
        self.seen().claimed.insert(claim.partition, claimed);
        self.begin(&[(lineage.clone(), noted)]).await
    }

    /// The group's positions, as the database has them: the spool would go on there, whoever has the partition now. Only what has
    /// moved is written.
    pub(crate) async fn noted(&self, rows: &[PartitionState]) -> anyhow::Result<()> {
        let (moved, starts): (Vec<&PartitionState>, Vec<(Lineage, i64)>) = {
            let seen = self.seen();
            let moved = rows.iter().filter(|row| seen.has_moved(row));
            moved.map(|row| (row, (seen.log_of(row), row.next_offset))).unzip()
        };
        if moved.is_empty() {
            return Ok(());
        }
        self.begin(&starts).await?;
        let mut seen = self.seen();
        moved.into_iter().for_each(|row| seen.told(row));
        Ok(())
    }

    async fn begin(&self, starts: &[(Lineage, i64)]) -> anyhow::Result<()> {
        self.spool
            .begin(&self.group, starts, clock::now())
            .await
            .context("cannot note positions in the spool")
    }

    /// The logs of a partition of which anything waits.
    ///
    /// # Errors
    /// The spool cannot be read.
    pub(crate) async fn logs(&self, partition: Partition) -> anyhow::Result<Vec<Lineage>> {
        self.spool.logs(&self.group, &self.topic, partition).await.context("cannot read the spool")
    }

    /// The segment that goes on at a position, where it can be read.
    ///
    /// # Errors
    /// The spool cannot be read.
    pub(crate) async fn at(&self, lineage: &Lineage, position: i64) -> anyhow::Result<Option<Segment>> {
        self.spool.at(&self.group, lineage, position).await.context("cannot read the spool")
    }

    /// Claims a partition in the spool, from the position that the database is known to have had last.
    ///
    /// # Errors
    /// The spool cannot be written, or nobody knows where the partition stands.
    pub(crate) async fn claim(
        &self,
        request: &ClaimRequest,
        known: Option<i64>,
    ) -> anyhow::Result<ClaimOutcome> {
        let partition = request.lineage.partition;
        if let (Some(from), Some(lineage)) = (known, self.log_of(partition)) {
            self.begin(&[(lineage, from)]).await?;
        }
        match self.spool.store().claim(request, clock::now()).await.context("cannot claim in the spool")? {
            ClaimAnswer::Claimed(claim) => Ok(ClaimOutcome::Claimed(claim)),
            ClaimAnswer::Halted(halt) => Ok(ClaimOutcome::Halted(halt)),
            ClaimAnswer::NoPosition { .. } => {
                bail!("partition {partition} waits for the database: nobody knows where it stands")
            }
        }
    }

    /// The log in which the partition was claimed last.
    pub(crate) fn log_of(&self, partition: Partition) -> Option<Lineage> {
        self.seen().claimed.get(&partition).map(|claimed| claimed.lineage.clone())
    }

    /// The batch that goes on at the claim's position. One that cannot be read is kept and looked past: Kafka may have its records.
    ///
    /// # Errors
    /// The file does not answer.
    pub(crate) async fn fetch(
        &self,
        claim: &Claim,
        lineage: &Lineage,
        kind: EventKind,
    ) -> anyhow::Result<Option<Batch>> {
        let from = claim.next_offset;
        let Some(segment) = self.at(lineage, from).await? else { return Ok(None) };
        let segment = Arc::new(segment);
        let (to, bytes) = (segment.to, Arc::clone(&segment));
        let read = move || Batch::from_segment(kind, bytes.format, &bytes.body, from, to);
        let problem = match blocking(read).await {
            Ok(batch) => return Ok(Some(batch)),
            Err(error) => error.to_string(),
        };
        self.set_aside(claim.partition, lineage, &segment, &problem).await;
        Ok(None)
    }

    async fn set_aside(&self, partition: Partition, lineage: &Lineage, segment: &Segment, problem: &str) {
        tracing::error!(
            kafka.topic = self.topic,
            kafka.partition = partition,
            from = segment.from,
            to = segment.to,
            file = %self.spool.path().display(),
            error = problem,
            "a segment of the spool cannot be read: it is kept, and the log is asked for its records"
        );
        if let Err(error) = self.spool.set_aside(&self.group, lineage, segment).await {
            let topic = &self.topic;
            tracing::warn!(kafka.topic = topic, kafka.partition = partition, %error, "set aside until the process ends");
        }
    }

    /// Counts a segment that comes out; answers whether those that are stored are to be dropped now.
    pub(crate) fn is_time_to_drop(&self, partition: Partition) -> bool {
        let mut seen = self.seen();
        let Some(claimed) = seen.claimed.get_mut(&partition) else { return false };
        claimed.out += 1;
        claimed.out.is_multiple_of(OUT_BEFORE_DROP)
    }

    /// Keeps one batch. No budget is used up: what its records are worth is decided in the database.
    pub(crate) async fn keep(&self, job: &Job) -> WriteOutcome {
        let started = Instant::now();
        let packing = Arc::clone(&job.batch);
        // Where it cannot be done beforehand it is done in the transaction.
        let _ = tokio::task::spawn_blocking(move || packing.segment().len()).await;
        let (claim, batch, budget) = (&job.claim, &*job.batch, *lock(&job.budget));
        let write = WriteJob { claim, batch, now: clock::now(), hour: job.hour, effort: job.effort, budget };
        match self.spool.store().write(&write).await {
            Ok(_) => {
                job.progress.spooled(claim, batch, started.elapsed());
                WriteOutcome::Committed
            }
            Err(WriteError::Fenced) => WriteOutcome::Fenced,
            Err(error @ (WriteError::Halted(_) | WriteError::Store(_))) => {
                job.progress.spool_failed(claim, batch, &error);
                WriteOutcome::Unknown
            }
        }
    }

    /// Asks what became of a batch whose end is not known.
    pub(crate) async fn position(&self, claim: &Claim) -> PositionOutcome {
        match self.spool.store().position(claim).await {
            Ok(position) => PositionOutcome::Known(position),
            Err(error) => {
                tracing::warn!(%error, "cannot ask the spool for the position, trying again");
                PositionOutcome::Unknown
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

impl Seen {
    /// Whether the database stands elsewhere than the spool was told. An answer may be older than our last claim: where nobody has
    /// claimed the partition since, only what is further counts.
    fn has_moved(&self, row: &PartitionState) -> bool {
        match self.claimed.get(&row.partition) {
            Some(claimed) if claimed.lineage.is_same_log(&row.lineage()) => {
                let further = row.next_offset > claimed.noted;
                further || (row.epoch > claimed.epoch && row.next_offset != claimed.noted)
            }
            Some(_) | None => self.others.get(&row.partition) != Some(&(row.lineage(), row.next_offset)),
        }
    }

    /// The log of a row, as our claim has it: the row may be from before the brokers told ids, and what waits is held under the claim's.
    fn log_of(&self, row: &PartitionState) -> Lineage {
        let lineage = row.lineage();
        let claimed = self.claimed.get(&row.partition).map(|claimed| &claimed.lineage);
        claimed.filter(|claimed| claimed.is_same_log(&lineage)).cloned().unwrap_or(lineage)
    }

    /// The spool has been told.
    fn told(&mut self, row: &PartitionState) {
        match self.claimed.get_mut(&row.partition) {
            Some(claimed) if claimed.lineage.is_same_log(&row.lineage()) => {
                if row.epoch >= claimed.epoch {
                    claimed.noted = row.next_offset;
                }
            }
            Some(_) | None => {
                self.others.insert(row.partition, (row.lineage(), row.next_offset));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ledgerline_schema::time::UtcMicros;

    use super::*;

    fn row(topic_id: &str, partition: i32, next_offset: i64, epoch: i64) -> PartitionState {
        PartitionState {
            group: "g".into(),
            topic: "odds".into(),
            partition,
            lineage_id: 1,
            cluster_id: "c".into(),
            topic_id: topic_id.into(),
            start_offset: 0,
            next_offset,
            epoch,
            owner: String::new(),
            updated_at: UtcMicros(0),
            halted: None,
            halted_detail: None,
            halted_at: None,
            budget_exempt_to: 0,
        }
    }

    #[test]
    fn the_spool_is_told_of_every_partition_that_moves() {
        let mut seen = Seen::default();
        let claimed = Claimed { lineage: row("one", 0, 0, 1).lineage(), noted: 10, epoch: 1, out: 0 };
        seen.claimed.insert(0, claimed);
        for (told, log) in [("one", "one"), ("", "one"), ("two", "two")] {
            assert_eq!(seen.log_of(&row(told, 0, 20, 1)).topic_id, log, "the row has the id {told:?}");
        }
        for (what, row, moved) in [
            ("it moves", row("one", 0, 20, 1), true),
            ("it has not moved", row("one", 0, 20, 1), false),
            ("an answer from before our last claim", row("one", 0, 15, 0), false),
            ("it moves on", row("one", 0, 21, 1), true),
            ("an operator set it back, and another worker goes on there", row("one", 0, 3, 3), true),
            ("in a log that was made again", row("two", 0, 3, 4), true),
            ("a partition of another worker", row("one", 1, 7, 1), true),
            ("which stands still", row("one", 1, 7, 1), false),
            ("and goes back", row("one", 1, 5, 1), true),
        ] {
            assert_eq!(seen.has_moved(&row), moved, "{what}");
            if moved {
                seen.told(&row);
            }
        }
    }
}
