//! One partition of a log that is nowhere but in the benchmark, written by `Store::write` as the line writes it: claim,
//! position, ledger and all.

use std::sync::Arc;

use anyhow::bail;
use ledgerline_schema::batch::Batch;
use ledgerline_schema::budget::Budget;
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{
    Claim, ClaimAnswer, ClaimRequest, Effort, Lineage, LogRange, Store, WriteJob, WriteReport,
};

use crate::clock;

/// The owner of one partition.
pub struct Line<'s> {
    store: &'s Store,
    claim: Claim,
}

impl<'s> Line<'s> {
    /// Starts the partition at offset 0 for a group and claims it.
    ///
    /// # Errors
    /// The database did not answer, or the group has claimed it before.
    pub async fn open(store: &'s Store, group: &str, partition: i32) -> anyhow::Result<Self> {
        let topic = EventKind::Odds.default_topic().to_owned();
        let lineage = Lineage { cluster_id: "bench".into(), topic_id: String::new(), topic, partition };
        store.start(group, &[(lineage.clone(), 0)], clock::now()).await?;
        let request = ClaimRequest {
            group: Arc::from(group),
            lineage,
            log: LogRange { low: 0, high: i64::MAX },
            owner: "bench".into(),
            second_look: false,
            spooled: Vec::new(),
        };
        match store.claim(&request, clock::now()).await? {
            ClaimAnswer::Claimed(claim) => Ok(Self { store, claim }),
            other => bail!("cannot claim partition {partition} for {group}: {other:?}"),
        }
    }

    /// The integer that stands for the log.
    pub fn lineage_id(&self) -> i32 {
        self.claim.lineage_id
    }

    /// Writes the batch, which begins where the last one ended.
    ///
    /// # Errors
    /// It is not written; or a record of it is dead, and what is measured is not what it should be.
    pub async fn write(&self, batch: &Batch) -> anyhow::Result<WriteReport> {
        let now = clock::now();
        let (claim, hour, budget) = (&self.claim, now.hour(), Budget::unlimited());
        let job = WriteJob { claim, batch, now, hour, effort: Effort::Whole, budget };
        let report = self.store.write(&job).await?;
        match report.dead.as_slice() {
            [] => Ok(report),
            [first, ..] => bail!("a record of the benchmark is dead: {:?}", first.rejection),
        }
    }
}
