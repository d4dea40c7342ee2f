//! One transaction as a task: waits for a writer's turn, writes, reports. Never cancelled: the server's timeouts bound it.
//! Called by the pipeline.

use std::sync::Arc;
use std::time::Instant;

use ledgerline_schema::batch::Batch;
use ledgerline_schema::store::{Claim, Store, WriteError};
use ledgerline_schema::time::UtcMicros;
use tokio::sync::Semaphore;

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
    /// Who counts.
    pub progress: Arc<Progress>,
    /// As many permits as there are writers.
    pub writers: Arc<Semaphore>,
}

/// How it ended; what was written is counted here, because the partition may be revoked before the answer is read.
pub struct Written {
    /// What the protocol decides on.
    pub outcome: WriteOutcome,
}

/// Writes one batch and counts it.
pub async fn write(job: Job) -> Written {
    let Ok(_turn) = job.writers.acquire().await else { return Written { outcome: WriteOutcome::Unknown } };
    let started = Instant::now();
    let result = job.store.write(&job.claim, &job.batch, clock::now(), job.hour).await;
    let outcome = match result {
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
    };
    Written { outcome }
}

/// Asks what became of a transaction whose end is not known.
pub async fn ask_position(store: &Store, claim: &Claim) -> PositionOutcome {
    match store.position(claim).await {
        Ok(position) => PositionOutcome::Known(position),
        Err(error) => {
            tracing::debug!(kafka.topic = &*claim.topic, kafka.partition = claim.partition, %error, "cannot ask for the position");
            PositionOutcome::Unknown
        }
    }
}
