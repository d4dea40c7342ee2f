//! The ledger: what became of every offset, one row per (group, lineage, epoch, hour), extended by each batch inside its
//! transaction. `verify` reads it.

use diesel::prelude::*;
use diesel::query_dsl::methods::FilterDsl as _;
use diesel::sql_types::Bool;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;

use super::claim::{Claim, Lineage};
use super::error::StoreError;
use super::{Conn, Store, Wire, positions, with_conn};
use crate::batch::{Dispositions, RowCounts};
use crate::schema::{lineages, offset_ledger as ledger};
use crate::time::UtcMicros;

/// One range with its dispositions, to be added to the ledger.
pub(super) struct Entry<'a> {
    pub(super) claim: &'a Claim,
    pub(super) hour: UtcMicros,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) dispositions: Dispositions,
    pub(super) rows: RowCounts,
}

/// What became of offsets, and of the rows of the applied ones.
type Account = ((i64, i64, i64, i64, i64), (i64, i64, i64, i64));

impl Store {
    /// What these groups have accounted for together.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn accounts(&self, groups: &[String]) -> Result<(Dispositions, RowCounts), StoreError> {
        let query = QueryDsl::filter(ledger::table, ledger::consumer_group.eq_any(groups)).select((
            (ledger::applied, ledger::dead, ledger::tombstone, ledger::skipped, ledger::hole),
            (ledger::inserted, ledger::updated, ledger::duplicate, ledger::stale),
        ));
        let mut session = self.checkout().await?;
        let rows: Vec<Account> = with_conn!(&mut session.conn(), c => query.load(c).await)?;
        let (mut offsets, mut sums) = (Dispositions::default(), RowCounts::default());
        for ((applied, dead, tombstone, skipped, hole), (inserted, updated, duplicate, stale)) in rows {
            offsets.add(&Dispositions { applied, dead, tombstone, skipped, hole });
            sums.add(&RowCounts { inserted, updated, duplicate, stale });
        }
        Ok((offsets, sums))
    }
}

impl Store {
    /// What of a log behind `from` a group has stored: ranges of its ledger, in order and joined. What an operator gave up is not in
    /// them, and nothing behind the position: after a reset the ledger knows of other records there. Of a log that the group has left
    /// the newest range tells where it stood.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn stored_ranges(
        &self,
        group: &str,
        lineage: &Lineage,
        from: i64,
    ) -> Result<Vec<(i64, i64)>, StoreError> {
        let query = ledger::table
            .inner_join(lineages::table.on(lineages::id.eq(ledger::lineage_id)))
            .select((ledger::from_offset, ledger::to_offset, ledger::lost))
            .order((ledger::epoch, ledger::hour, ledger::from_offset));
        // As `Lineage::is_same_log`.
        let no_id = lineage.topic_id.is_empty().into_sql::<Bool>();
        let same_id = lineages::topic_id.eq_any([lineage.topic_id.as_str(), ""]).or(no_id);
        let of_log = lineages::cluster_id
            .eq(&lineage.cluster_id)
            .and(same_id)
            .and(lineages::topic.eq(&lineage.topic))
            .and(lineages::partition.eq(lineage.partition));
        let behind = ledger::to_offset.gt(from);
        let query = QueryDsl::filter(query, ledger::consumer_group.eq(group).and(behind).and(of_log));
        let mut session = self.checkout().await?;
        let mut conn = session.conn();
        let rows: Vec<(i64, i64, i64)> = with_conn!(&mut conn, c => query.load(c).await)?;
        // Asked later: where it was moved back in between, what it has passed since then was written again.
        let position = positions::one(&mut conn, group, &lineage.topic, lineage.partition).await?;
        Ok(match position {
            Some(position) if position.lineage().is_same_log(lineage) => stored(&rows, position.next_offset),
            Some(_) => stored(&rows, rows.last().map_or(from, |(_, to, _)| *to)),
            None => Vec::new(),
        })
    }
}

/// What is stored up to an end, by rows in the order in which they were written: first offset, one past the last, how many of it lost.
fn stored(rows: &[(i64, i64, i64)], end: i64) -> Vec<(i64, i64)> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for (from, to, lost) in rows {
        if *lost == 0 {
            ranges.push((*from, *to));
            continue;
        }
        let beside = |(begin, end): &(i64, i64)| [(*begin, *from.min(end)), (*to.max(begin), *end)];
        ranges = ranges.iter().flat_map(beside).filter(|(begin, end)| begin < end).collect();
    }
    ranges.sort_unstable();
    joined(&ranges, end)
}

/// Ranges in order up to an end, without the borders between those that meet or overlap.
pub(super) fn joined(ranges: &[(i64, i64)], end: i64) -> Vec<(i64, i64)> {
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for (from, to) in ranges.iter().map(|(from, to)| (*from, (*to).min(end))).filter(|(from, to)| from < to) {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            Some(_) | None => joined.push((from, to)),
        }
    }
    joined
}

/// Extends the ledger. Answers false where the row of this hour does not end at `from`: the range is not ours to add.
pub(super) async fn extend(mut wire: Wire<'_>, entry: &Entry<'_>) -> QueryResult<bool> {
    let Dispositions { applied, dead, tombstone, skipped, hole } = entry.dispositions;
    let row = (
        (
            ledger::consumer_group.eq(&*entry.claim.group),
            ledger::lineage_id.eq(entry.claim.lineage_id),
            ledger::epoch.eq(entry.claim.epoch),
            ledger::hour.eq(entry.hour),
            ledger::from_offset.eq(entry.from),
            ledger::to_offset.eq(entry.to),
        ),
        (
            ledger::applied.eq(applied),
            ledger::dead.eq(dead),
            ledger::tombstone.eq(tombstone),
            ledger::skipped.eq(skipped),
            ledger::hole.eq(hole),
        ),
        (
            ledger::inserted.eq(entry.rows.inserted),
            ledger::updated.eq(entry.rows.updated),
            ledger::duplicate.eq(entry.rows.duplicate),
            ledger::stale.eq(entry.rows.stale),
        ),
    );
    let extended = (
        ledger::to_offset.eq(excluded(ledger::to_offset)),
        ledger::applied.eq(ledger::applied + excluded(ledger::applied)),
        ledger::dead.eq(ledger::dead + excluded(ledger::dead)),
        ledger::tombstone.eq(ledger::tombstone + excluded(ledger::tombstone)),
        ledger::skipped.eq(ledger::skipped + excluded(ledger::skipped)),
        ledger::hole.eq(ledger::hole + excluded(ledger::hole)),
        ledger::inserted.eq(ledger::inserted + excluded(ledger::inserted)),
        ledger::updated.eq(ledger::updated + excluded(ledger::updated)),
        ledger::duplicate.eq(ledger::duplicate + excluded(ledger::duplicate)),
        ledger::stale.eq(ledger::stale + excluded(ledger::stale)),
    );
    let upsert = diesel::insert_into(ledger::table)
        .values(row)
        .on_conflict((ledger::consumer_group, ledger::lineage_id, ledger::epoch, ledger::hour))
        .do_update()
        .set(extended)
        .filter(ledger::to_offset.eq(excluded(ledger::from_offset)));
    let changed = with_conn!(wire, c => upsert.execute(c).await)?;
    Ok(changed == 1)
}

/// Accounts for offsets that an operator gave up, in a row of their own: the claim's epoch is that of the operator's action.
pub(super) async fn give_up(
    conn: &mut Conn<'_>,
    claim: &Claim,
    hour: UtcMicros,
    from: i64,
    to: i64,
) -> QueryResult<()> {
    let row = (
        ledger::consumer_group.eq(&*claim.group),
        ledger::lineage_id.eq(claim.lineage_id),
        ledger::epoch.eq(claim.epoch),
        ledger::hour.eq(hour),
        ledger::from_offset.eq(from),
        ledger::to_offset.eq(to),
        ledger::lost.eq(to - from),
    );
    let insert = diesel::insert_into(ledger::table).values(row);
    with_conn!(conn, c => insert.execute(c).await)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_is_not_stored_until_it_is_written_again() {
        let mut rows = vec![(0, 8, 0)];
        assert_eq!(stored(&rows, 20), [(0, 8)]);
        assert_eq!(stored(&rows, 5), [(0, 5)], "nothing behind the position");
        rows.push((3, 6, 3));
        assert_eq!(stored(&rows, 8), [(0, 3), (6, 8)]);
        rows.push((2, 5, 0));
        assert_eq!(stored(&rows, 8), [(0, 5), (6, 8)]);
        assert_eq!(stored(&rows, 0), []);
    }
}
