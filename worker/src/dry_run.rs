//! `DryRun`: the positions of a line that changes nothing: they are here and nowhere else. Asked in place of the database by
//! `claim.rs` and `writer.rs`.
//!
//! What must stay true: the line goes the same way as in earnest; only its claims are not asked for and its transactions are taken
//! back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ledgerline_schema::store::{Claim, Lineage, Position};
use ledgerline_schema::workflow::Part;

use crate::protocol::Partition;
use crate::sync::lock;

/// Positions that nobody else sees.
#[derive(Debug)]
pub struct DryRun {
    positions: Mutex<BTreeMap<Partition, (Lineage, i64)>>,
    /// The live group that it runs beside, where it is a shadow.
    beside: Option<String>,
}

impl DryRun {
    /// Each part at its start.
    #[must_use]
    pub fn of(parts: &[Part]) -> Self {
        let positions = parts.iter().map(|part| (part.partition, (part.lineage(), part.from))).collect();
        Self { positions: Mutex::new(positions), beside: None }
    }

    /// A shadow of a live group: `shadow.rs` finds a place for each partition when it is asked for.
    #[must_use]
    pub fn shadow_of(group: String) -> Self {
        Self { positions: Mutex::default(), beside: Some(group) }
    }

    /// The live group that it runs beside.
    pub(crate) fn beside(&self) -> Option<&str> {
        self.beside.as_deref()
    }

    /// Where it stands in that very log.
    pub(crate) fn at(&self, log: &Lineage) -> Option<i64> {
        let positions = self.positions();
        positions.get(&log.partition).filter(|(of, _)| of == log).map(|(_, next_offset)| *next_offset)
    }

    /// It reads that log from there.
    pub(crate) fn place(&self, log: Lineage, next_offset: i64) {
        self.positions().insert(log.partition, (log, next_offset));
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
        lock(&self.positions)
    }
}
