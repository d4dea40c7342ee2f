//! One transaction as a task: waits for a writer's turn, writes, counts. Called by the pipeline.
//!
//! What must stay true: a transaction is a task of its own and is never raced against anything. The server's timeouts end it;
//! only where the server itself is frozen does the deadline above them drop the connection, and then nobody knows: the
//! pipeline asks for the position.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ledgerline_schema::batch::Batch;
use ledgerline_schema::store::{Claim, Store, StoreError, WriteError};
use ledgerline_schema::time::UtcMicros;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock;
use crate::progress::Progress;
use crate::protocol::{PositionOutcome, WriteOutcome};

/// One batch to write.
pub struct Job {
    /// Where to.
    pub store: Store,
    /// Under which right.
    pub claim: Claim,
    /// What.
    pub batch: Arc<Batch>,
    /// The ledger's hour.
    pub hour: UtcMicros,
    /// When a transaction counts as lost; above all of the server's timeouts.
    pub deadline: Duration,
    /// Who counts. Here and not in the pipeline: the partition may be revoked before the answer is read.
    pub progress: Arc<Progress>,
    /// As many permits as there are writers.
    pub writers: Arc<Semaphore>,
}

/// Writes one batch and counts it.
pub async fn write(job: Job) -> WriteOutcome {
    let Ok(_turn) = job.writers.acquire().await else { return WriteOutcome::Unknown };
    let started = Instant::now();
    match write_in_time(&job).await {
        Ok(report) => {
            job.progress.written(&job.claim, &job.batch, &report, started.elapsed());
            WriteOutcome::Committed
        }
        Err(WriteError::Fenced) => {
            job.progress.fenced(&job.claim);
            WriteOutcome::Fenced
        }
        Err(WriteError::Store(error)) => {
            job.progress.write_failed(&job.claim, &job.batch, &error);
            WriteOutcome::Unknown
        }
    }
}

async fn write_in_time(job: &Job) -> Result<ledgerline_schema::store::WriteReport, WriteError> {
    let (store, claim, batch) = (job.store.clone(), job.claim.clone(), Arc::clone(&job.batch));
    let hour = job.hour;
    let mut transaction = tokio::spawn(async move { store.write(&claim, &batch, clock::now(), hour).await });
    match timeout(job.deadline, &mut transaction).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(StoreError::Unavailable(format!("the transaction panicked: {panic}")).into()),
        Err(_) => {
            transaction.abort(); // drops the connection: the pool never lends it again
            Err(StoreError::Unavailable(format!("no answer within {} s", job.deadline.as_secs())).into())
        }
    }
}

/// Asks what became of a transaction whose end is not known.
pub async fn ask_position(store: &Store, claim: &Claim, deadline: Duration) -> PositionOutcome {
    let error = match timeout(deadline, store.position(claim)).await {
        Ok(Ok(position)) => return PositionOutcome::Known(position),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", deadline.as_secs()),
    };
    let (topic, partition) = (&*claim.topic, claim.partition);
    tracing::warn!(
        kafka.topic = topic,
        kafka.partition = partition,
        error,
        "cannot ask for the position, trying again"
    );
    PositionOutcome::Unknown
}
