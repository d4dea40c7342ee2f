//! Writing quotes. Sorted by key and inserted plainly, because that is half again as fast as asking for conflicts; only where
//! a key is there already is the batch settled exactly, record by record.
//!
//! What must stay true: a record is applied whole or not at all; an equal quote is a duplicate, another value under the same
//! key is a conflict, and nothing is dropped in silence.

use super::Conn;
use super::error::{StoreError, WriteError};
use super::insert::{self, Stored};
use super::rows::{Applied, Look, OddsRow, Standing, Value};
use crate::batch::{DeadRecord, Records, RowCounts};
use crate::events::odds::OddsRows;
use crate::events::{Reason, Rejection};

/// A batch's quotes with their ids, in the order of their records.
pub(super) fn resolve(rows: &OddsRows, ids: &[i64]) -> Vec<OddsRow> {
    let resolve = |quote: &crate::events::odds::Quote| OddsRow {
        selection_id: ids[quote.selection as usize],
        observed_at: quote.observed_at,
        value: Value { price: quote.price, line: quote.line },
        record: quote.record,
    };
    rows.quotes.iter().map(resolve).collect()
}

fn sorted(mut rows: Vec<OddsRow>) -> Vec<OddsRow> {
    rows.sort_unstable_by_key(OddsRow::key);
    rows
}

/// A batch's quotes sorted by key; none where two of them have the same one.
pub(super) fn distinct(rows: &OddsRows, ids: &[i64]) -> Option<Vec<OddsRow>> {
    let sorted = sorted(resolve(rows, ids));
    sorted.windows(2).all(|pair| pair[0].key() != pair[1].key()).then_some(sorted)
}

/// Writes the quotes of a batch. Fails on the first stored key unless it looks first; the caller begins anew then.
pub(super) async fn write(
    conn: &mut Conn<'_>,
    lineage_id: i32,
    rows: &OddsRows,
    records: &Records,
    ids: &[i64],
    look: Look,
) -> Result<Applied, WriteError> {
    if look == Look::OnlyIfRefused
        && let Some(sorted) = distinct(rows, ids)
    {
        let inserted = insert::odds(conn.wire(), lineage_id, &sorted, records, Stored::Refuse).await?;
        return all_in(&sorted, RowCounts { inserted: inserted as i64, ..RowCounts::default() }, Vec::new());
    }
    let in_order = resolve(rows, ids);
    let standing = insert::stored_odds(conn, &sorted(in_order.clone())).await?;
    let Settled { new, duplicate, conflicts } = settle(&in_order, standing);
    let inserted = insert::odds(conn.wire(), lineage_id, &new, records, Stored::Skip).await? as i64;
    all_in(&new, RowCounts { inserted, duplicate, ..RowCounts::default() }, conflicts)
}

/// Somebody stored one of the new rows since we looked, or a trigger drops them, where fewer went in.
fn all_in(new: &[OddsRow], rows: RowCounts, conflicts: Vec<DeadRecord>) -> Result<Applied, WriteError> {
    if rows.inserted != new.len() as i64 {
        return Err(StoreError::Race.into());
    }
    Ok(Applied { rows, conflicts, ..Applied::default() })
}

/// What a batch comes to against what is stored.
#[derive(Debug, PartialEq)]
struct Settled {
    /// Quotes to insert, sorted by key.
    new: Vec<OddsRow>,
    /// Quotes equal to a stored one or to an earlier one of the batch.
    duplicate: i64,
    /// Records that contradict a stored quote or an earlier record of the batch.
    conflicts: Vec<DeadRecord>,
}

/// Takes the records in order: each is applied whole, unless one of its quotes contradicts what stands before it.
fn settle(in_order: &[OddsRow], mut standing: Standing) -> Settled {
    let mut settled = Settled { new: Vec::new(), duplicate: 0, conflicts: Vec::new() };
    for record in in_order.chunk_by(|a, b| a.record == b.record) {
        let contradicts = |row: &&OddsRow| standing.get(&row.key()).is_some_and(|value| *value != row.value);
        if let Some(row) = record.iter().find(contradicts) {
            settled.conflicts.push(conflict(row));
            continue;
        }
        for row in record {
            if standing.insert(row.key(), row.value).is_some() {
                settled.duplicate += 1;
            } else {
                settled.new.push(*row);
            }
        }
    }
    settled.new.sort_unstable_by_key(OddsRow::key);
    settled
}

fn conflict(row: &OddsRow) -> DeadRecord {
    let detail =
        format!("another price or line is stored for selection {} at {}", row.selection_id, row.observed_at);
    DeadRecord { record: row.record, rejection: Rejection::new(Reason::Conflict, detail) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UtcMicros;

    fn row(record: u32, selection_id: i64, at: i64, price: f64) -> OddsRow {
        let value = Value { price: Some(price), line: None };
        OddsRow { selection_id, observed_at: UtcMicros(at), value, record }
    }

    #[test]
    fn a_record_that_contradicts_is_dead_whole() {
        let rows = [row(0, 1, 1, 2.0), row(1, 2, 1, 3.0), row(1, 1, 1, 2.5), row(2, 2, 1, 4.0)];
        let settled = settle(&rows, Standing::default());
        assert_eq!(settled.new, [row(0, 1, 1, 2.0), row(2, 2, 1, 4.0)]);
        assert_eq!(settled.conflicts.len(), 1);
        assert_eq!(settled.conflicts[0].record, 1);
        assert_eq!(settled.duplicate, 0);
    }

    proptest::proptest! {
        #[test]
        fn every_quote_is_new_duplicate_or_dead(
            quotes in proptest::collection::vec((0u32..6, 0i64..3, 0i64..2, 0u8..2), 0..40)
        ) {
            let mut rows: Vec<OddsRow> =
                quotes.iter().map(|&(r, s, t, p)| row(r, s, t, f64::from(p) + 2.0)).collect();
            rows.sort_by_key(|row| (row.record, row.key()));
            rows.dedup_by_key(|row| (row.record, row.key()));
            let settled = settle(&rows, Standing::default());
            let dead: std::collections::HashSet<u32> = settled.conflicts.iter().map(|dead| dead.record).collect();
            let in_dead = rows.iter().filter(|row| dead.contains(&row.record)).count();
            proptest::prop_assert_eq!(settled.new.len() + settled.duplicate as usize + in_dead, rows.len());
            // Settling what was settled again changes nothing: all duplicates, the same dead.
            let standing = settled.new.iter().map(|row| (row.key(), row.value)).collect();
            let again = settle(&rows, standing);
            proptest::prop_assert!(again.new.is_empty());
        }
    }
}
