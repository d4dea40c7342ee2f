//! An ordinary batch of quotes in one round trip: all statements of its transaction are sent before the first is answered. Called by
//! `write.rs`, on PostgreSQL, where every quote is new as far as anybody knows.
//!
//! What must stay true: the statements are those of `write.rs`, in its order, and the server runs them one after the other, so the
//! position is locked before a row is written and moved last. What is wrong with any answer ends the transaction without COMMIT.

use diesel_async::AsyncPgConnection;

use super::Wire;
use super::claim::lock_position;
use super::error::{StoreError, WriteError};
use super::insert;
use super::intern::Lookups;
use super::ledger::{self, Entry};
use super::rows::{OddsRow, WriteJob};
use super::write::{WriteReport, check_budget, is_ours, move_position};
use crate::batch::RowCounts;

/// The body of the transaction. The counts go into the ledger before they are known: they are what the answers must be.
pub(super) async fn write(
    c: &AsyncPgConnection,
    job: &WriteJob<'_>,
    sorted: &[OddsRow],
    lookups: Lookups,
) -> Result<WriteReport, WriteError> {
    let WriteJob { claim, batch, hour, .. } = job;
    let dead = check_budget(job, &[])?;
    let dispositions = batch.dispositions(dead.len());
    let rows = RowCounts { inserted: sorted.len() as i64, ..RowCounts::default() };
    let entry = Entry { claim, hour: *hour, from: batch.from, to: batch.to, dispositions, rows };
    let (position, inserted, letters, extended, moved) = tokio::join!(
        biased; // polled, and so sent, in this order
        lock_position(Wire::Postgres(c), claim),
        insert::odds_in_parts(c, claim.lineage_id, sorted, &batch.records),
        insert::dead_letters(Wire::Postgres(c), job, &dead),
        ledger::extend(Wire::Postgres(c), &entry),
        move_position(Wire::Postgres(c), job),
    );
    // The first error in this order is the cause: the statements behind it are told only that there was one.
    let (position, inserted) = (position?, inserted?);
    letters?;
    let (extended, moved) = (extended?, moved?);
    if !(is_ours(job, position) && extended && moved) {
        return Err(WriteError::Fenced);
    }
    if inserted != sorted.len() {
        return Err(StoreError::Race.into()); // a trigger drops rows
    }
    Ok(WriteReport { dispositions, rows, dead, attempts: 1, lookups })
}
