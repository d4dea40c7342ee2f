//! `TopicSpool`: one topic's part of the process's spool, as its line uses it: where batches wait while the database is away, and what
//! comes of them. Called by `claim.rs`, `writer.rs` and the pipeline, in tasks.
//!
//! What must stay true: what goes into the spool starts at a position that the database is known to have had, in the log in which it
//! was claimed; what comes out is written under a claim of the database, like any batch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail};
use ledgerline_schema::batch::Batch;
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{
    Claim, ClaimAnswer, ClaimRequest, Held, Lineage, Position, Spool, WriteError, WriteJob,
};

use crate::clock;
use crate::outage::Outage;
use crate::protocol::{ClaimOutcome, Partition, PositionOutcome, WriteOutcome};
use crate::writer::{Job, lock};

/// One topic's part of the spool.
#[derive(Debug)]
pub struct TopicSpool {
    /// The file.
    pub spool: Spool,
    /// Whether it is used now.
    pub outage: Arc<Outage>,
    group: Arc<str>,
    topic: String,
    /// What the database's last claim of each partition said.
    claimed: Mutex<BTreeMap<Partition, Claimed>>,
    /// Set where this line gives way to whoever claims one of its partitions, when somebody has.
    gives_way: Option<Arc<AtomicBool>>,
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
}

impl TopicSpool {
    /// Of one topic, for one group.
    #[must_use]
    pub fn new(spool: Spool, outage: Arc<Outage>, group: Arc<str>, topic: &str) -> Self {
        let topic = topic.to_owned();
        Self { spool, outage, group, topic, claimed: Mutex::default(), gives_way: None }
    }

    /// For a line that claims each of its partitions once, and never again when somebody else has claimed it since: two that take
    /// turns would come to nothing. `overruled` is set then.
    #[must_use]
    pub fn giving_way(self, overruled: &Arc<AtomicBool>) -> Self {
        Self { gives_way: Some(Arc::clone(overruled)), ..self }
    }

    /// Whether the partition may be claimed, whose row has this epoch now.
    pub(crate) fn may_claim(&self, partition: Partition, epoch: i64) -> bool {
        let Some(overruled) = &self.gives_way else { return true };
        let ours = self.claims().get(&partition).map(|claimed| claimed.epoch);
        let may = ours.is_none_or(|ours| ours == epoch);
        overruled.fetch_or(!may, Relaxed);
        may
    }

    /// Whether batches go to the spool.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.outage.is_on()
    }

    /// The database has claimed a partition in this log: the spool would go on there.
    pub(crate) async fn claimed(&self, lineage: &Lineage, claim: &Claim) -> anyhow::Result<()> {
        let (noted, epoch) = (claim.next_offset, claim.epoch);
        self.claims().insert(claim.partition, Claimed { lineage: lineage.clone(), noted, epoch });
        self.begin(&[(lineage.clone(), noted)]).await
    }

    /// The positions that the database has: the spool would go on there. Only what has moved is written.
    pub(crate) async fn noted(&self, positions: &BTreeMap<Partition, Position>) -> anyhow::Result<()> {
        let moved: Vec<(Lineage, i64)> = {
            let mut claims = self.claims();
            let ours = claims.iter_mut().filter_map(|(partition, claimed)| {
                let next = positions.get(partition)?.next_offset;
                let moved = next > claimed.noted;
                claimed.noted = next;
                moved.then(|| (claimed.lineage.clone(), next))
            });
            ours.collect()
        };
        if moved.is_empty() { Ok(()) } else { self.begin(&moved).await }
    }

    async fn begin(&self, starts: &[(Lineage, i64)]) -> anyhow::Result<()> {
        self.spool
            .begin(&self.group, starts, clock::now())
            .await
            .context("cannot note positions in the spool")
    }

    /// What waits of one partition, by log.
    ///
    /// # Errors
    /// The spool cannot be read.
    pub(crate) async fn held(&self, partition: Partition) -> anyhow::Result<Vec<Held>> {
        let mut held = self.spool.held().await.context("cannot read the spool")?;
        held.retain(|held| {
            held.group == *self.group
                && held.lineage.topic == self.topic
                && held.lineage.partition == partition
        });
        Ok(held)
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
        self.claims().get(&partition).map(|claimed| claimed.lineage.clone())
    }

    /// The batch that goes on at the claim's position. What the database accounts for is dropped before; a segment that cannot be
    /// read is kept and looked past: Kafka may have its records.
    ///
    /// # Errors
    /// The file does not answer.
    pub(crate) async fn fetch(
        &self,
        claim: &Claim,
        lineage: &Lineage,
        stored: &[(i64, i64)],
        kind: EventKind,
    ) -> anyhow::Result<Option<Batch>> {
        let (spool, from) = (&self.spool, claim.next_offset);
        let dropped = spool.drop_stored(&self.group, lineage, from, stored).await;
        dropped.context("cannot drop what is stored from the spool")?;
        let segment = spool.at(&self.group, lineage, from).await.context("cannot read the spool")?;
        let Some(segment) = segment else { return Ok(None) };
        let segment = Arc::new(segment);
        let (to, bytes) = (segment.to, Arc::clone(&segment));
        let read = move || Batch::from_segment(kind, bytes.format, &bytes.body, from, to);
        match tokio::task::spawn_blocking(read).await.context("reading a segment panicked")? {
            Ok(batch) => Ok(Some(batch)),
            Err(error) => {
                tracing::error!(
                    kafka.topic = self.topic,
                    kafka.partition = claim.partition,
                    from = segment.from,
                    to,
                    file = %spool.path().display(),
                    %error,
                    "a segment of the spool cannot be read: it is kept, and the log is asked for its records"
                );
                spool
                    .set_aside(&self.group, lineage, &segment)
                    .await
                    .context("cannot set a segment aside")?;
                Ok(None)
            }
        }
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

    fn claims(&self) -> MutexGuard<'_, BTreeMap<Partition, Claimed>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
