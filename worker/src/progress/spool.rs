//! What a pipeline tells of its spool: what goes in, and what comes out.

use std::time::Duration;

use ledgerline_schema::batch::Batch;
use ledgerline_schema::store::{Claim, WriteError};

use super::Progress;
use crate::metrics;
use crate::protocol::Partition;

impl Progress {
    /// The partition's batches go to the spool from now on.
    pub(crate) fn spooling(&self, partition: Partition, next_offset: i64) {
        tracing::info!(
            kafka.topic = self.topic,
            kafka.partition = partition,
            next_offset,
            "the partition goes to the spool"
        );
        if self.mode.is_live() {
            metrics::halted(&self.topic, partition, None);
        }
        self.update(partition, |progress| progress.halted = None);
    }

    /// What the spool holds of the partition goes into the database from here on.
    pub(crate) fn draining(&self, partition: Partition, next_offset: i64) {
        tracing::debug!(
            kafka.topic = self.topic,
            kafka.partition = partition,
            next_offset,
            "the partition comes out of the spool"
        );
        if self.mode.is_live() {
            metrics::halted(&self.topic, partition, None);
        }
        self.update(partition, |progress| {
            (progress.next_offset, progress.halted) = (Some(next_offset), None);
        });
    }

    /// A batch is in the spool.
    pub(crate) fn spooled(&self, claim: &Claim, batch: &Batch, took: Duration) {
        metrics::spooled(&self.topic, batch);
        tracing::debug!(
            kafka.topic = self.topic,
            kafka.partition = claim.partition,
            from = batch.from,
            to = batch.to,
            ms = took.as_millis(),
            "batch spooled"
        );
    }

    /// The spool did not take a batch: Kafka keeps it meanwhile.
    pub(crate) fn spool_failed(&self, claim: &Claim, batch: &Batch, error: &WriteError) {
        metrics::spool_failed(&self.topic);
        tracing::warn!(
            kafka.topic = self.topic,
            kafka.partition = claim.partition,
            from = batch.from,
            to = batch.to,
            %error,
            "the spool does not take the batch; trying again"
        );
    }
}
