//! `DryRun`: the positions of a line that changes nothing: they are here and nowhere else. Asked in place of the database by
//! `claim.rs` and `writer.rs`.
//!
//! What must stay true: the line goes the same way as in earnest; only its claims are not asked for and its transactions are taken
//! back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledgerline_schema::store::{Claim, Lineage, Position};
use ledgerline_schema::workflow::Part;

use crate::protocol::Partition;

/// Positions that nobody else sees.
#[derive(Debug)]
pub struct DryRun(Mutex<BTreeMap<Partition, (Lineage, i64)>>);

impl DryRun {
    /// Each part at its start.
    #[must_use]
    pub fn of(parts: &[Part]) -> Self {
        Self(Mutex::new(parts.iter().map(|part| (part.partition, (part.lineage(), part.from))).collect()))
    }

    /// The claim that nobody disputes; null for a partition that is no part of it.
    pub(crate) fn claim(&self, group: &Arc<str>, partition: Partition) -> Option<Claim> {
        let positions = self.positions();
        let (lineage, next_offset) = positions.get(&partition)?;
        Some(Claim {
            group: Arc::clone(group),
            topic: lineage.topic.as_str().into(),
            partition,
            lineage_id: 0, // nobody has interned it for good
            epoch: 1,
            next_offset: *next_offset,
            exempt_to: i64::MAX, // it reports the dead records of all that it is asked for
        })
    }

    /// The log of a claim.
    pub(crate) fn lineage(&self, claim: &Claim) -> Option<Lineage> {
        self.positions().get(&claim.partition).map(|(lineage, _)| lineage.clone())
    }

    /// Where a claim's partition stands.
    pub(crate) fn position(&self, claim: &Claim) -> Option<Position> {
        let next_offset = self.positions().get(&claim.partition)?.1;
        Some(Position { next_offset, epoch: claim.epoch })
    }

    /// A batch was rehearsed.
    pub(crate) fn moved(&self, partition: Partition, to: i64) {
        if let Some((_, next_offset)) = self.positions().get_mut(&partition) {
            *next_offset = to;
        }
    }

    fn positions(&self) -> MutexGuard<'_, BTreeMap<Partition, (Lineage, i64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
