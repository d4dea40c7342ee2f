//! One transaction as a task: waits for a writer's turn, writes, counts. Called by the pipeline.
//!
//! What must stay true: a transaction is a task of its own and is never raced against anything. The server's timeouts end it;
//! only where the server itself is frozen does the deadline above them drop the connection, and then nobody knows: the
//! pipeline asks for the position.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use ledgerline_schema::batch::Batch;
use ledgerline_schema::budget::Budget;
use ledgerline_schema::store::{Claim, Effort, StoreError, Trouble, WriteError, WriteJob, WriteReport};
use ledgerline_schema::time::UtcMicros;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::claim::Claimant;
use crate::clock;
use crate::progress::Progress;
use crate::protocol::{Place, PositionOutcome, WriteOutcome};
use crate::sync::lock;

/// Deadlines that the search for refused records may take: thousands of statements instead of a few. As many refused records
/// as the budget allows are found within one on a healthy server.
const ISOLATION: u32 = 3;
/// The same where an operator has lifted the budget: every record of the batch may be refused.
const ISOLATION_OF_ALL: u32 = 10;

/// One batch to write.
pub struct Job {
    /// Whose it is: the database, and how it is asked.
    pub claimant: Claimant,
    /// Where to.
    pub place: Place,
    /// Under which right.
    pub claim: Claim,
    /// What.
    pub batch: Arc<Batch>,
    /// The ledger's hour.
    pub hour: UtcMicros,
    /// How hard to try.
    pub effort: Effort,
    /// The partition's dead-letter budget since it was claimed.
    pub budget: Arc<Mutex<Budget>>,
    /// Who counts. Here and not in the pipeline: the partition may be revoked before the answer is read.
    pub progress: Arc<Progress>,
    /// As many permits as there are writers.
    pub writers: Arc<Semaphore>,
}

/// Writes one batch and counts it.
pub async fn write(job: Job) -> WriteOutcome {
    match (job.place, &job.claimant.spool) {
        (Place::Spool, Some(spool)) => return spool.keep(&job).await,
        (Place::Spool, None) => return WriteOutcome::NotTried,
        (Place::Database, _) => {}
    }
    let Ok(_turn) = job.writers.acquire().await else { return WriteOutcome::NotTried };
    // Nothing has begun: where the process ends and the database is away, the next owner writes it.
    let hopeless = job.progress.is_stopping() && !job.claimant.breaker.is_healthy();
    let paused = job.claimant.is_paused(job.claim.partition);
    if hopeless || paused || !job.claimant.breaker.admit().await {
        return WriteOutcome::NotTried;
    }
    let started = Instant::now();
    match write_in_time(&job).await {
        Ok(report) => {
            job.claimant.breaker.answered();
            // What an operator has allowed is not held against the partition later.
            if job.batch.from >= job.claim.exempt_to {
                lock(&job.budget).add(job.batch.records.len(), &report.dead);
            }
            job.progress.written(&job.claim, &job.batch, &report, started.elapsed());
            WriteOutcome::Committed
        }
        Err(WriteError::Fenced) => {
            job.claimant.breaker.answered();
            job.progress.fenced(&job.claim);
            WriteOutcome::Fenced
        }
        Err(WriteError::Halted(halt)) => {
            job.claimant.breaker.answered();
            job.progress.over_budget();
            WriteOutcome::Halted(halt)
        }
        Err(WriteError::Store(error)) => {
            job.claimant.breaker.failed(&error);
            job.progress.write_failed(&job.claim, &job.batch, &error);
            match error.trouble() {
                Trouble::Environment => WriteOutcome::Unknown,
                Trouble::Refusal => WriteOutcome::Refused,
                Trouble::Contention => WriteOutcome::NotTried,
            }
        }
    }
}

async fn write_in_time(job: &Job) -> Result<WriteReport, WriteError> {
    let (claimant, claim, batch) = (job.claimant.clone(), job.claim.clone(), Arc::clone(&job.batch));
    let (hour, effort, budget) = (job.hour, job.effort, *lock(&job.budget));
    let mut transaction = tokio::spawn(async move {
        let (claim, batch, now) = (&claim, &*batch, clock::now());
        let job = WriteJob { claim, batch, now, hour, effort, budget };
        let Some(dry_run) = &claimant.dry_run else { return claimant.store.write(&job).await };
        let lineage = dry_run.lineage(claim).ok_or(WriteError::Fenced)?;
        let report = claimant.store.rehearse(&job, &lineage).await?;
        dry_run.moved(claim.partition, batch.to);
        Ok(report)
    });
    let deadline = match effort {
        Effort::Whole => job.claimant.deadline,
        Effort::Isolate if job.batch.from < job.claim.exempt_to => job.claimant.deadline * ISOLATION_OF_ALL,
        Effort::Isolate => job.claimant.deadline * ISOLATION,
    };
    match timeout(deadline, &mut transaction).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(StoreError::Panicked(panic.to_string()).into()),
        Err(_) => {
            transaction.abort(); // drops the connection: the pool never lends it again
            Err(StoreError::Unavailable(format!("no answer within {} s", deadline.as_secs())).into())
        }
    }
}

/// Asks what became of a transaction whose end is not known.
pub async fn ask_position(claimant: &Claimant, place: Place, claim: &Claim) -> PositionOutcome {
    match (place, &claimant.spool) {
        (Place::Spool, Some(spool)) => return spool.position(claim).await,
        (Place::Spool, None) => return PositionOutcome::Unknown,
        (Place::Database, _) => {}
    }
    if let Some(dry_run) = &claimant.dry_run {
        return PositionOutcome::Known(dry_run.position(claim));
    }
    if !claimant.breaker.admit().await {
        return PositionOutcome::Unknown;
    }
    match claimant.admitted(claimant.store.position(claim)).await {
        Ok(position) => PositionOutcome::Known(position),
        Err(error) => {
            let (topic, partition) = (&*claim.topic, claim.partition);
            tracing::warn!(
                kafka.topic = topic,
                kafka.partition = partition,
                %error,
                "cannot ask for the position, trying again"
            );
            PositionOutcome::Unknown
        }
    }
}
