//! What the ledger proves, and what a re-read record must have left behind. Called by `ledgerline verify`; reads only, and
//! shares no code with the write path but the contracts.

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

use super::error::StoreError;
use super::intern::{find_refs, find_selections};
use super::odds::resolve;
use super::{Conn, Store, insert, with_conn};
use crate::batch::Batch;
use crate::events::Rows;
use crate::schema::{articles, dead_letters, lineages, odds, offset_ledger as ledger, partition_offsets};

/// One row of the ledger with the log it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct LedgerSegment {
    /// The consumer group.
    pub group: String,
    /// The interned lineage.
    pub lineage_id: i32,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// One past the last offset.
    pub to: i64,
    /// Records with rows.
    pub applied: i64,
    /// Records kept as dead letters.
    pub dead: i64,
    /// Records without a value.
    pub tombstone: i64,
    /// Records passed over by a filter.
    pub skipped: i64,
    /// Offsets without a record.
    pub hole: i64,
    /// Offsets given up by an operator.
    pub lost: i64,
    /// New rows.
    pub inserted: i64,
}

/// What `verify` found. Every list is empty where all is well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Partitions looked at.
    pub partitions: usize,
    /// Records accounted for.
    pub records: i64,
    /// Offsets between two segments, or between the last segment and the position, that nobody accounts for.
    pub gaps: Vec<String>,
    /// Offsets that two segments account for.
    pub overlaps: Vec<String>,
    /// Segments whose dispositions do not sum to their length.
    pub bad_sums: Vec<String>,
    /// Lineages with more odds rows than were ever inserted.
    pub double_applied: Vec<String>,
    /// Lineages with fewer odds rows than were inserted: compacted or deleted. No violation by itself.
    pub fewer_rows: Vec<String>,
    /// Quotes whose selection does not exist.
    pub orphan_quotes: i64,
}

impl Verification {
    /// Whether the ledger proves what it should.
    #[must_use]
    pub fn ok(&self) -> bool {
        let lists = [&self.gaps, &self.overlaps, &self.bad_sums, &self.double_applied];
        lists.iter().all(|list| list.is_empty()) && self.orphan_quotes == 0
    }
}

/// What re-reading a range of the log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordCheck {
    /// Offsets of records that left neither rows nor a dead letter behind.
    pub missing: Vec<i64>,
}

type PositionRow = (String, String, i32, i32, i64);

impl Store {
    /// The ledger's segments, in the order of group, topic, partition, offset. `topic` narrows them.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn ledger_segments(&self, topic: Option<&str>) -> Result<Vec<LedgerSegment>, StoreError> {
        let mut session = self.checkout().await?;
        Ok(segments(&mut session.conn(), topic).await?)
    }

    /// Proves the ledger: segments without gap or overlap up to the position, sums, no quote applied twice.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn verify(&self, topic: Option<&str>) -> Result<Verification, StoreError> {
        let mut session = self.checkout().await?;
        let conn = &mut session.conn();
        // Positions first: what is written between the two reads then shows as more ledger, never as a gap.
        let positions = positions(conn, topic).await?;
        let segments = segments(conn, topic).await?;
        let mut found = check_segments(&segments, &positions);
        check_rows(&mut found, conn, &segments).await?;
        found.orphan_quotes = orphans(conn).await?;
        Ok(found)
    }

    /// Looks for what the records of a freshly decoded batch must have left behind.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn check_records(&self, lineage_id: i32, batch: &Batch) -> Result<RecordCheck, StoreError> {
        let mut session = self.checkout().await?;
        let conn = &mut session.conn();
        let unapplied = unapplied_records(conn, &batch.rows).await?;
        let refused = batch.dead.iter().map(|dead| dead.record);
        let suspects: HashSet<i64> =
            unapplied.into_iter().chain(refused).map(|record| batch.records.offset(record)).collect();
        let dead = dead_offsets(conn, lineage_id, batch).await?;
        let mut missing: Vec<i64> = suspects.difference(&dead).copied().collect();
        missing.sort_unstable();
        Ok(RecordCheck { missing })
    }

    /// The interned lineages that a group has positions on: (topic, partition, lineage, next offset).
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn group_positions(&self, topic: &str) -> Result<Vec<(String, i32, i32, i64)>, StoreError> {
        let mut session = self.checkout().await?;
        let rows = positions(&mut session.conn(), Some(topic)).await?;
        Ok(rows.into_iter().map(|(group, _, partition, lineage, next)| (group, partition, lineage, next)).collect())
    }
}

async fn segments(conn: &mut Conn<'_>, topic: Option<&str>) -> QueryResult<Vec<LedgerSegment>> {
    let query = ledger::table
        .inner_join(lineages::table.on(lineages::id.eq(ledger::lineage_id)))
        .order((ledger::consumer_group, ledger::lineage_id, ledger::from_offset, ledger::to_offset))
        .select((
            ledger::consumer_group,
            ledger::lineage_id,
            lineages::topic,
            lineages::partition,
            ledger::from_offset,
            ledger::to_offset,
            ledger::applied,
            ledger::dead,
            ledger::tombstone,
            ledger::skipped,
            ledger::hole,
            ledger::lost,
            ledger::inserted,
        ));
    let mut rows: Vec<LedgerSegment> = with_conn!(conn, c => query.load(c).await)?;
    rows.retain(|row| topic.is_none_or(|topic| row.topic == topic));
    Ok(rows)
}

async fn positions(conn: &mut Conn<'_>, topic: Option<&str>) -> QueryResult<Vec<PositionRow>> {
    let query = partition_offsets::table
        .order((partition_offsets::consumer_group, partition_offsets::topic, partition_offsets::partition))
        .select((
            partition_offsets::consumer_group,
            partition_offsets::topic,
            partition_offsets::partition,
            partition_offsets::lineage_id,
            partition_offsets::next_offset,
        ));
    let mut rows: Vec<PositionRow> = with_conn!(conn, c => query.load(c).await)?;
    rows.retain(|row| topic.is_none_or(|topic| row.1 == topic));
    Ok(rows)
}

/// Walks the segments of each (group, lineage) in order.
fn check_segments(segments: &[LedgerSegment], positions: &[PositionRow]) -> Verification {
    let mut found = Verification { partitions: positions.len(), ..Verification::default() };
    let mut ends: HashMap<(&str, i32), i64> = HashMap::new();
    for segment in segments {
        let name = format!("{} {}[{}]", segment.group, segment.topic, segment.partition);
        let records = segment.applied + segment.dead + segment.tombstone + segment.skipped;
        found.records += records;
        if records + segment.hole + segment.lost != segment.to - segment.from {
            found.bad_sums.push(format!("{name}: {} to {} does not sum up", segment.from, segment.to));
        }
        let end = ends.insert((&segment.group, segment.lineage_id), segment.to).unwrap_or(segment.from);
        compare(&mut found, &name, end, segment.from);
    }
    for (group, topic, partition, lineage_id, next) in positions {
        // A partition without a segment has read nothing yet: its position is its start.
        if let Some(end) = ends.get(&(group.as_str(), *lineage_id)) {
            let name = format!("{group} {topic}[{partition}] position");
            // Segments were read after positions: a ledger that is ahead has only grown in between.
            compare(&mut found, &name, (*end).min(*next), *next);
        }
    }
    found
}

fn compare(found: &mut Verification, name: &str, end: i64, from: i64) {
    if end < from {
        found.gaps.push(format!("{name}: nobody accounts for {end} to {from}"));
    }
    if end > from {
        found.overlaps.push(format!("{name}: {from} to {end} is accounted for twice"));
    }
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = BigInt)]
    found: i64,
}

/// Compares, per lineage over all groups, the quotes that are there with those that were inserted.
async fn check_rows(
    found: &mut Verification,
    conn: &mut Conn<'_>,
    segments: &[LedgerSegment],
) -> QueryResult<()> {
    let mut inserted: BTreeMap<i32, (i64, String)> = BTreeMap::new();
    for segment in segments {
        let name = || (0, format!("{}[{}]", segment.topic, segment.partition));
        inserted.entry(segment.lineage_id).or_insert_with(name).0 += segment.inserted;
    }
    let query = odds::table.group_by(odds::lineage_id).select((odds::lineage_id, diesel::dsl::count_star()));
    let stored: Vec<(i32, i64)> = with_conn!(conn, c => query.load(c).await)?;
    for (lineage_id, rows) in stored {
        let Some((inserted, name)) = inserted.get(&lineage_id) else { continue };
        if rows > *inserted {
            found.double_applied.push(format!("{name}: {rows} quotes stored, {inserted} inserted"));
        }
        if rows < *inserted {
            found.fewer_rows.push(format!("{name}: {rows} quotes stored, {inserted} inserted"));
        }
    }
    Ok(())
}

async fn orphans(conn: &mut Conn<'_>) -> QueryResult<i64> {
    let query = diesel::sql_query(
        "select count(*) as found from odds o where not exists (select 1 from selections s where s.id = o.selection_id)",
    );
    let rows: Vec<CountRow> = with_conn!(conn, c => query.load(c).await)?;
    Ok(rows.as_slice().first().map_or(0, |row| row.found))
}

/// Good records whose rows are not there, or not with the same value.
async fn unapplied_records(conn: &mut Conn<'_>, rows: &Rows) -> QueryResult<HashSet<u32>> {
    match rows {
        Rows::Odds(rows) => {
            let wanted: Vec<_> = rows.selections.iter().collect();
            let games = wanted.iter().map(|selection| (selection.system.to_string(), selection.game.to_string()));
            let refs = find_refs(conn, &games.collect()).await?;
            let ids = find_selections(conn, &wanted, &refs).await?;
            // Ids start at 1, so a selection that is not there finds no quote either.
            let ids: Vec<i64> = wanted.iter().map(|selection| ids.get(*selection).copied().unwrap_or(0)).collect();
            let resolved = resolve(rows, &ids);
            let stored = insert::stored_odds(conn, &resolved).await?;
            let unapplied = resolved.iter().filter(|row| stored.get(&row.key()) != Some(&row.value));
            Ok(unapplied.map(|row| row.record).collect())
        }
        Rows::Game(rows) => {
            let keys = rows.0.iter().map(|row| row.key.clone()).collect();
            let refs = find_refs(conn, &keys).await?;
            let unapplied = rows.0.iter().filter(|row| !refs.contains_key(&row.key));
            Ok(unapplied.map(|row| row.record).collect())
        }
        Rows::Article(rows) => {
            let keys: Vec<&[u8]> = rows.0.iter().map(|row| row.url_hash.as_slice()).collect();
            let mut stored: HashSet<Vec<u8>> = HashSet::new();
            for keys in keys.chunks(5_000) {
                let query = articles::table
                    .filter(articles::url_hash.eq_any(keys.iter().copied()))
                    .select(articles::url_hash);
                let found: Vec<Vec<u8>> = with_conn!(conn, c => query.load(c).await)?;
                stored.extend(found);
            }
            let unapplied = rows.0.iter().filter(|row| !stored.contains(&row.url_hash));
            Ok(unapplied.map(|row| row.record).collect())
        }
    }
}

async fn dead_offsets(conn: &mut Conn<'_>, lineage_id: i32, batch: &Batch) -> QueryResult<HashSet<i64>> {
    let query = dead_letters::table
        .filter(dead_letters::lineage_id.eq(lineage_id))
        .filter(dead_letters::record_offset.ge(batch.from))
        .filter(dead_letters::record_offset.lt(batch.to))
        .select(dead_letters::record_offset);
    let offsets: Vec<i64> = with_conn!(conn, c => query.load(c).await)?;
    Ok(offsets.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(from: i64, to: i64) -> LedgerSegment {
        LedgerSegment {
            group: "g.odds".into(),
            lineage_id: 1,
            topic: "odds".into(),
            partition: 0,
            from,
            to,
            applied: to - from,
            dead: 0,
            tombstone: 0,
            skipped: 0,
            hole: 0,
            lost: 0,
            inserted: 0,
        }
    }

    fn check(segments: &[LedgerSegment], next: i64) -> Verification {
        check_segments(segments, &[("g.odds".into(), "odds".into(), 0, 1, next)])
    }

    #[test]
    fn sees_gaps_overlaps_and_bad_sums() {
        assert!(check(&[segment(0, 5), segment(5, 9)], 9).ok());
        assert_eq!(check(&[segment(0, 5), segment(6, 9)], 9).gaps.len(), 1);
        assert_eq!(check(&[segment(0, 5), segment(4, 9)], 9).overlaps.len(), 1);
        assert_eq!(check(&[segment(0, 5)], 9).gaps.len(), 1);
        let wrong = LedgerSegment { applied: 4, ..segment(0, 5) };
        assert_eq!(check(&[wrong], 5).bad_sums.len(), 1);
    }
}
