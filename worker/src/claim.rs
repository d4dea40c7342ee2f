//! One claim, from the first question to Kafka to the database's answer. Called by the pipeline in a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ledgerline_schema::store::{ClaimAnswer, ClaimRequest, Halt, Position, Store, StoreError};
use tokio::time::timeout;

use crate::breaker::Breaker;
use crate::clock;
use crate::config::Start;
use crate::dry_run::DryRun;
use crate::protocol::{ClaimOutcome, Partition};
use crate::source::Log;

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
}

impl Claimant {
    /// Claims one partition. A group that meets the topic for the first time gets positions for all its partitions; a partition
    /// that appears later starts at its beginning, whatever the policy, or its first records would be lost.
    ///
    /// # Errors
    /// Kafka or the database did not answer: nothing is known, try again.
    pub async fn claim(&self, partition: Partition) -> anyhow::Result<ClaimOutcome> {
        if let Some(dry_run) = &self.dry_run {
            let claim = dry_run.claim(&self.group, partition);
            return claim.map(ClaimOutcome::Claimed).context("the partition is no part of the dry run");
        }
        let outcome = self.claim_once(partition, false).await?;
        match outcome {
            // The end of the log was read before the position; an earlier owner may have written in between.
            ClaimOutcome::Halted(Halt::AheadOfLog { .. } | Halt::LogTruncated { .. }) => {
                self.claim_once(partition, true).await
            }
            ClaimOutcome::Claimed(_) | ClaimOutcome::Halted(_) | ClaimOutcome::Unknown => Ok(outcome),
        }
    }

    async fn claim_once(&self, partition: Partition, second_look: bool) -> anyhow::Result<ClaimOutcome> {
        let log = Arc::clone(&self.log);
        let (lineage, range) = blocking(move || log.describe(partition)).await?;
        let (group, owner) = (Arc::clone(&self.group), self.owner.clone());
        let request = ClaimRequest { group, lineage, log: range, owner, second_look };
        // The second round finds the position that the first one made.
        for _ in 0..2 {
            match self.in_time(self.store.claim(&request, clock::now())).await? {
                ClaimAnswer::Claimed(claim) => return Ok(ClaimOutcome::Claimed(claim)),
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
    /// Kafka's questions have their own bound; this is the database's.
    async fn in_time<T>(&self, question: impl Future<Output = Result<T, StoreError>>) -> anyhow::Result<T> {
        ensure!(self.breaker.admit().await, "the database does not answer");
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
                self.breaker.unreachable();
                bail!("the database does not answer")
            }
        }
    }

    /// The positions of the topic's partitions; null where the database is away.
    pub async fn positions(&self, topic: &str) -> Option<BTreeMap<Partition, Position>> {
        if self.dry_run.is_some() || self.breaker.open_for().is_some() {
            return None;
        }
        let positions = self.in_time(self.store.positions(&self.group, topic)).await.ok()?;
        Some(positions.into_iter().collect())
    }
}

async fn blocking<T: Send + 'static, E>(
    question: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    Ok(tokio::task::spawn_blocking(question).await.context("the question to Kafka panicked")??)
}
