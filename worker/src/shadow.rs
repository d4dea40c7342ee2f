//! Where a shadow reads from: beside the live group, whose positions it only looks at. Called by `claim.rs`; the positions that it
//! makes are those of a dry run, and nobody else ever sees them.
//!
//! What must stay true: nothing is claimed and nothing is started in the database; a shadow that finds its own group in there ends the
//! question with an error, because its rehearsals could not.

use std::sync::Arc;

use anyhow::{Context, ensure};
use ledgerline_schema::store::{Lineage, LogRange, PartitionState};

use crate::blocking::blocking;
use crate::claim::Claimant;
use crate::dry_run::DryRun;
use crate::protocol::Partition;

/// What is added to `kafka.group` for the group of a shadow.
pub const SUFFIX: &str = "-shadow";

/// Makes sure that the shadow has a position on the partition: the one it had in this process, while the log still holds it; else that of
/// the live group; else where a new group would start.
///
/// # Errors
/// Kafka or the database did not answer, or the shadow's group has positions of its own.
pub(crate) async fn find_place(
    claimant: &Claimant,
    dry_run: &DryRun,
    partition: Partition,
) -> anyhow::Result<()> {
    let Some(live) = dry_run.beside() else { return Ok(()) };
    let log = Arc::clone(&claimant.log);
    let (lineage, range) = blocking(move || log.describe(partition)).await?;
    if dry_run.at(&lineage).is_some_and(|next| holds(range, next)) {
        return Ok(());
    }
    let rows = claimant.in_time(claimant.store.partitions(Some(&lineage.topic))).await?;
    ensure!(
        rows.iter().all(|row| row.group != *claimant.group),
        "group {} has positions in the database: it is one that writes, and no shadow can be called like it",
        claimant.group
    );
    let next = match live_position(&rows, live, &lineage) {
        Some(next) if holds(range, next) => next,
        Some(next) => {
            tracing::warn!(
                kafka.topic = lineage.topic,
                kafka.partition = partition,
                next,
                "the log holds {} to {} and not the position of the live group; reading from its beginning",
                range.low,
                range.high
            );
            range.low
        }
        None if rows.iter().any(|row| row.group == live) => range.low, // as a partition that appears later
        None => {
            let (log, start) = (Arc::clone(&claimant.log), claimant.start);
            let starts = blocking(move || log.starts(start)).await?;
            let start = starts.iter().find(|(lineage, _)| lineage.partition == partition);
            start.map(|(_, offset)| *offset).context("the partition is not in the topic's metadata yet")?
        }
    };
    dry_run.place(lineage, next);
    Ok(())
}

fn holds(range: LogRange, next: i64) -> bool {
    (range.low..=range.high).contains(&next)
}

/// Where the live group stands in this log.
fn live_position(rows: &[PartitionState], live: &str, now: &Lineage) -> Option<i64> {
    let row = rows.iter().find(|row| row.group == live && row.partition == now.partition)?;
    row.lineage().is_same_log(now).then_some(row.next_offset)
}
