//! One claim, from the first question to Kafka to the answer of the database or, while that is away, of the spool. Called by the
//! pipeline in a task of its own.
//!
//! What must stay true: what the spool holds of a partition is claimed in the log that it was read from, whatever Kafka says of that
//! log now; the next claim asks Kafka again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ledgerline_schema::batch::Batch;
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{
    Claim, ClaimAnswer, ClaimRequest, Halt, Lineage, LogRange, PartitionState, Position, Store, StoreError,
    Trouble,
};
use tokio::time::timeout;

use crate::blocking::blocking;
use crate::breaker::Breaker;
use crate::clock;
use crate::config::Start;
use crate::dry_run::DryRun;
use crate::protocol::{ClaimOutcome, Partition};
use crate::shadow;
use crate::source::Log;
use crate::spool::TopicSpool;
use crate::switches::Switches;

/// Who claims, and where a group starts that has no position yet.
#[derive(Clone)]
pub struct Claimant {
    /// The consumer group.
    pub group: Arc<str>,
    /// Who we are, for people.
    pub owner: String,
    /// The first start's policy.
    pub start: Start,
    /// The database.
    pub store: Store,
    /// The log.
    pub log: Arc<dyn Log>,
    /// When a question to the database counts as lost; above all of the server's timeouts.
    pub deadline: Duration,
    /// Whether the database is to be tried at all.
    pub breaker: Arc<Breaker>,
    /// Where the positions are of a line that changes nothing.
    pub dry_run: Option<Arc<DryRun>>,
    /// Where batches wait while the database is away.
    pub spool: Option<Arc<TopicSpool>>,
    /// What operators have paused.
    pub switches: Arc<Switches>,
}

impl Claimant {
    /// Claims one partition. A group that meets the topic for the first time gets positions for all its partitions; a partition
    /// that appears later starts at its beginning, whatever the policy, or its first records would be lost.
    ///
    /// # Errors
    /// Kafka or the database did not answer: nothing is known, try again.
    pub async fn claim(&self, partition: Partition) -> anyhow::Result<ClaimOutcome> {
        if let Some(dry_run) = &self.dry_run {
            shadow::find_place(self, dry_run, partition).await?;
            let claim = dry_run.claim(&self.group, partition);
            return claim.map(ClaimOutcome::Claimed).context("the partition is no part of the dry run");
        }
        if let Some(outcome) = self.claim_held(partition).await? {
            return Ok(outcome);
        }
        let nothing_goes_on = "what waits does not go on where the database stands";
        if self.spool.as_ref().is_some_and(|spool| spool.ends(nothing_goes_on)) {
            return Ok(ClaimOutcome::Unknown);
        }
        let outcome = self.claim_once(partition, false).await?;
        match outcome {
            // The end of the log was read before the position; an earlier owner may have written in between.
            ClaimOutcome::Halted(Halt::AheadOfLog { .. } | Halt::LogTruncated { .. }) => {
                self.claim_once(partition, true).await
            }
            ClaimOutcome::Claimed(_)
            | ClaimOutcome::Drains(_)
            | ClaimOutcome::Halted(_)
            | ClaimOutcome::Unknown => Ok(outcome),
        }
    }

    /// Claims one partition in the spool.
    ///
    /// # Errors
    /// Kafka or the spool did not answer, or nobody knows where the partition stands.
    pub async fn claim_spool(
        &self,
        partition: Partition,
        known: Option<i64>,
    ) -> anyhow::Result<ClaimOutcome> {
        let spool = self.spool.as_ref().context("there is no spool")?;
        let request = self.request(partition, false).await?;
        spool.claim(&request, known).await
    }

    /// Whether an operator has paused the partition. A line that only empties the spool ends then.
    pub(crate) fn is_paused(&self, partition: Partition) -> bool {
        let paused = self.switches.pausing(partition).is_some();
        if paused && let Some(spool) = &self.spool {
            spool.ends("an operator has paused it");
        }
        paused
    }

    /// The batch of the spool that goes on at the claim's position. From time to time, and at the end, what the database has is dropped.
    ///
    /// # Errors
    /// The spool does not answer.
    pub async fn fetch(&self, claim: &Claim, kind: EventKind) -> anyhow::Result<Option<Batch>> {
        let spool = self.spool.as_ref().context("there is no spool")?;
        let Some(lineage) = spool.log_of(claim.partition) else { return Ok(None) };
        let batch = spool.fetch(claim, &lineage, kind).await?;
        if (batch.is_none() || spool.is_time_to_drop(claim.partition))
            && let Err(error) = self.drop_stored(spool, &lineage, claim.next_offset).await
        {
            let (topic, error) = (&*claim.topic, format!("{error:#}"));
            tracing::warn!(kafka.topic = topic, error, "what is stored is dropped from the spool later");
        }
        Ok(batch)
    }

    async fn drop_stored(&self, spool: &TopicSpool, lineage: &Lineage, position: i64) -> anyhow::Result<()> {
        let spool = &spool.spool;
        let first = spool.first(&self.group, lineage).await?.filter(|first| *first < position);
        let Some(first) = first else { return Ok(()) };
        let stored = self.in_time(self.store.stored_ranges(&self.group, lineage, first)).await?;
        while spool.drop_stored(&self.group, lineage, position, &stored).await? > 0 {}
        Ok(())
    }

    /// Claims a partition of which the spool holds what comes next, in the log that it was read from. Null where the spool holds
    /// nothing that goes on at the database's position, or cannot be read: then the log is asked.
    async fn claim_held(&self, partition: Partition) -> anyhow::Result<Option<ClaimOutcome>> {
        let Some(spool) = &self.spool else { return Ok(None) };
        let logs = spool.logs(partition).await.unwrap_or_else(|error| {
            tracing::warn!(kafka.partition = partition, error = format!("{error:#}"), "asking the log alone");
            spool.ends("the spool does not answer");
            Vec::new()
        });
        for lineage in logs {
            if !self.goes_on(spool, &lineage).await? {
                continue;
            }
            self.read_switches(&lineage.topic).await?; // as below
            let request = ClaimRequest {
                group: Arc::clone(&self.group),
                lineage: lineage.clone(),
                log: LogRange { low: 0, high: i64::MAX },
                owner: self.owner.clone(),
                second_look: false,
                spooled: Vec::new(),
            };
            match self.in_time(self.store.claim(&request, clock::now())).await? {
                ClaimAnswer::Claimed(claim) => {
                    self.tell_spool(spool, &lineage, &claim).await;
                    return Ok(Some(ClaimOutcome::Drains(claim)));
                }
                ClaimAnswer::Halted(halt) => return Ok(Some(ClaimOutcome::Halted(halt))),
                ClaimAnswer::NoPosition { .. } => {}
            }
        }
        Ok(None)
    }

    /// What the spool holds of a log.
    async fn spooled(&self, spool: &TopicSpool, log: &Lineage) -> anyhow::Result<Vec<(i64, i64)>> {
        let mut ranges = Vec::new();
        for held in spool.logs(log.partition).await?.iter().filter(|held| held.is_same_log(log)) {
            ranges.extend(spool.spool.ranges(&self.group, held).await?);
        }
        Ok(ranges)
    }

    /// What the spool holds of the log that is claimed. What Kafka has deleted may wait there: a claim would call it lost, so none is
    /// made before the spool has answered, or while it holds what it cannot show.
    async fn with_spooled(&self, request: ClaimRequest) -> anyhow::Result<ClaimRequest> {
        let Some(spool) = &self.spool else { return Ok(request) };
        let lineage = &request.lineage;
        let spooled = self.spooled(spool, lineage).await;
        let row = self.store.partition(&self.group, &lineage.topic, lineage.partition);
        let row = self.in_time(row).await?.filter(|row| row.lineage().is_same_log(lineage));
        let deleted = row.map(|row| row.next_offset).filter(|next| *next < request.log.low);
        match (spooled, deleted) {
            (Ok(spooled), Some(next)) if spooled.iter().any(|(from, to)| (*from..*to).contains(&next)) => {
                bail!("the spool holds offset {next}, which Kafka has no more, and does not show it")
            }
            (Ok(spooled), _) => Ok(ClaimRequest { spooled, ..request }),
            (Err(error), Some(next)) => {
                Err(error.context(format!("Kafka has offset {next} no more, and the spool does not answer")))
            }
            (Err(_), None) => Ok(request),
        }
    }

    /// Whether a segment of the spool goes on where the database stands in this log.
    async fn goes_on(&self, spool: &TopicSpool, lineage: &Lineage) -> anyhow::Result<bool> {
        let row = self.store.partition(&self.group, &lineage.topic, lineage.partition);
        let Some(row) = self.in_time(row).await? else { return Ok(false) };
        ensure!(spool.may_claim(row.partition, row.epoch), "another worker has claimed the partition since");
        if !row.lineage().is_same_log(lineage) {
            return Ok(false);
        }
        let found = spool.at(lineage, row.next_offset).await.inspect_err(|_| {
            spool.ends("the spool does not answer"); // any other line asks its log
        });
        Ok(found.is_ok_and(|segment| segment.is_some()))
    }

    /// A spool that cannot be written is no reason not to go on.
    async fn tell_spool(&self, spool: &TopicSpool, lineage: &Lineage, claim: &Claim) {
        if let Err(error) = spool.claimed(lineage, claim).await {
            tracing::warn!(
                kafka.partition = lineage.partition,
                error = format!("{error:#}"),
                "going on without the spool"
            );
        }
    }

    async fn request(&self, partition: Partition, second_look: bool) -> anyhow::Result<ClaimRequest> {
        let log = Arc::clone(&self.log);
        let (lineage, range) = blocking(move || log.describe(partition)).await?;
        let (group, owner) = (Arc::clone(&self.group), self.owner.clone());
        Ok(ClaimRequest { group, lineage, log: range, owner, second_look, spooled: Vec::new() })
    }

    async fn claim_once(&self, partition: Partition, second_look: bool) -> anyhow::Result<ClaimOutcome> {
        let request = self.request(partition, second_look).await?;
        // Before it is ours: a paused partition is not written at all.
        self.read_switches(&request.lineage.topic).await?;
        let request = self.with_spooled(request).await?;
        // The second round finds the position that the first one made.
        for _ in 0..2 {
            match self.in_time(self.store.claim(&request, clock::now())).await? {
                ClaimAnswer::Claimed(claim) => {
                    if let Some(spool) = &self.spool {
                        self.tell_spool(spool, &request.lineage, &claim).await;
                    }
                    return Ok(ClaimOutcome::Claimed(claim));
                }
                ClaimAnswer::Halted(halt) => return Ok(ClaimOutcome::Halted(halt)),
                ClaimAnswer::NoPosition { known_topic: true } => {
                    let starts = [(request.lineage.clone(), request.log.low)];
                    self.in_time(self.store.start(&self.group, &starts, clock::now())).await?;
                }
                ClaimAnswer::NoPosition { known_topic: false } => {
                    let (log, start) = (Arc::clone(&self.log), self.start);
                    let starts = blocking(move || log.starts(start)).await?;
                    self.in_time(self.store.start(&self.group, &starts, clock::now())).await?;
                }
            }
        }
        bail!("partition {partition} of topic {} is not in the topic's metadata yet", request.lineage.topic)
    }
}

impl Claimant {
    /// Asks the database, where the breaker lets somebody ask.
    pub(crate) async fn in_time<T>(
        &self,
        question: impl Future<Output = Result<T, StoreError>>,
    ) -> anyhow::Result<T> {
        ensure!(self.breaker.admit().await, "the database does not answer");
        self.admitted(question).await
    }

    /// Asks for as long as a question may take, once the breaker has let us in; it is told what came of it.
    pub(crate) async fn admitted<T>(
        &self,
        question: impl Future<Output = Result<T, StoreError>>,
    ) -> anyhow::Result<T> {
        let asked = Instant::now();
        match timeout(self.deadline, question).await {
            Ok(Ok(answer)) => {
                self.breaker.answered();
                Ok(answer)
            }
            Ok(Err(error)) => {
                self.breaker.failed(&error);
                Err(error.into())
            }
            Err(_) => {
                self.breaker.unreachable_since(asked);
                bail!("no answer from the database within {} s", self.deadline.as_secs())
            }
        }
    }

    /// Looks at the switches. That the database is there and does not tell keeps nobody from anything.
    async fn read_switches(&self, topic: &str) -> anyhow::Result<()> {
        let question = self.switches.ask();
        let answer = self.in_time(self.store.switches(Some(&self.group), Some(topic))).await;
        match answer.map_err(anyhow::Error::downcast::<StoreError>) {
            Ok(set) => self.switches.read(question, topic, set),
            Err(Ok(error)) if error.trouble() == Trouble::Refusal => self.switches.refused(topic, &error),
            Err(Ok(error)) => return Err(error.into()),
            Err(Err(error)) => return Err(error),
        }
        Ok(())
    }

    /// The positions of the topic's partitions; null where the database is away.
    pub async fn positions(&self, topic: &str) -> Option<BTreeMap<Partition, Position>> {
        if self.dry_run.is_some() || self.breaker.open_for().is_some() {
            return None;
        }
        let _ = self.read_switches(topic).await; // no answer leaves things as they are
        let Some(spool) = &self.spool else {
            let positions = self.in_time(self.store.positions(&self.group, topic)).await.ok()?;
            return Some(positions.into_iter().collect());
        };
        let rows = self.in_time(self.store.partitions_of(&self.group, topic)).await.ok()?;
        if let Err(error) = spool.noted(&rows).await {
            tracing::warn!(kafka.topic = topic, error = format!("{error:#}"), "going on without the spool");
        }
        let position = |row: &PartitionState| Position { next_offset: row.next_offset, epoch: row.epoch };
        Some(rows.iter().map(|row| (row.partition, position(row))).collect())
    }
}
