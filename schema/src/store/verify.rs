//! What the ledger proves. Called by `ledgerline verify`; reads only, in one snapshot.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::chain::{Jump, check_segments};
use super::claim::Lineage;
use super::error::StoreError;
use super::positions::Which;
use super::{Conn, Store, audit, positions, removals, with_conn};
use crate::schema::{
    articles, betting_analyses, games, lineages, odds, offset_ledger as ledger, operator_actions as actions,
    sharp_signals,
};

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
    /// The cluster.
    pub cluster_id: String,
    /// The incarnation of the topic; empty where the broker did not tell.
    pub topic_id: String,
    /// The claim under which it was written, or the operator's action; grows with time.
    pub epoch: i64,
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

impl LedgerSegment {
    /// The log that it counts in.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        Lineage::new(&self.cluster_id, &self.topic_id, &self.topic, self.partition)
    }

    /// The two as one, where `next` goes on where this one ends; else null.
    #[must_use]
    pub fn joined(&self, next: &Self) -> Option<Self> {
        let chained = self.group == next.group && self.lineage_id == next.lineage_id && self.to == next.from;
        chained.then(|| Self {
            to: next.to,
            applied: self.applied + next.applied,
            dead: self.dead + next.dead,
            tombstone: self.tombstone + next.tombstone,
            skipped: self.skipped + next.skipped,
            hole: self.hole + next.hole,
            lost: self.lost + next.lost,
            inserted: self.inserted + next.inserted,
            ..self.clone()
        })
    }
}

/// What `verify` found. Every list is empty where all is well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Partitions looked at.
    pub partitions: usize,
    /// Records accounted for.
    pub records: i64,
    /// Offsets that operators gave up. No violation by itself.
    pub lost: i64,
    /// Offsets between two segments, or between the last segment and the position, that nobody accounts for.
    pub gaps: Vec<String>,
    /// Offsets that two segments account for.
    pub overlaps: Vec<String>,
    /// Segments whose dispositions do not sum to their length.
    pub bad_sums: Vec<String>,
    /// Lineages with more odds rows, removed ones included, than were ever inserted.
    pub double_applied: Vec<String>,
    /// Lineages with fewer odds rows, removed ones included, than were inserted: deleted by hand. No violation by itself.
    pub fewer_rows: Vec<String>,
    /// Odds rows that compaction and retention removed, and wrote down.
    pub removed: i64,
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

impl Store {
    /// The ledger's segments, in the order of group, lineage, time. `topic` narrows them.
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
        // One snapshot: a batch that commits meanwhile is seen whole or not at all.
        Ok(match session.conn() {
            Conn::Postgres(c) => {
                let mut snapshot = c.build_transaction().repeatable_read().read_only();
                snapshot.run(async |c| verify_in_tx(&mut Conn::Postgres(c), topic).await).await
            }
            Conn::Sqlite(c) => c.transaction(async |c| verify_in_tx(&mut Conn::Sqlite(c), topic).await).await,
        }?)
    }
}

async fn verify_in_tx(conn: &mut Conn<'_>, topic: Option<&str>) -> QueryResult<Verification> {
    if let Conn::Postgres(c) = conn {
        // Counting a large table takes as long as it takes.
        diesel::sql_query("set local statement_timeout = 0").execute(c).await?;
    }
    let positions = positions::load(conn, Which { topic, ..Which::default() }).await?;
    let segments = segments(conn, topic).await?;
    let mut found = check_segments(&segments, &positions, &jumps(conn, topic).await?);
    check_rows(&mut found, conn, &segments, topic).await?;
    found.orphan_quotes = orphans(conn).await?;
    Ok(found)
}

async fn segments(conn: &mut Conn<'_>, topic: Option<&str>) -> QueryResult<Vec<LedgerSegment>> {
    let query = ledger::table
        .inner_join(lineages::table.on(lineages::id.eq(ledger::lineage_id)))
        .order((
            ledger::consumer_group,
            ledger::lineage_id,
            ledger::epoch,
            ledger::from_offset,
            ledger::to_offset,
        ))
        .select((
            ledger::consumer_group,
            ledger::lineage_id,
            lineages::topic,
            lineages::partition,
            lineages::cluster_id,
            lineages::topic_id,
            ledger::epoch,
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

/// The operators' resets: what explains that a segment does not start where the one before ends.
async fn jumps(conn: &mut Conn<'_>, topic: Option<&str>) -> QueryResult<Vec<Jump>> {
    let query = actions::table
        .filter(actions::action.eq(audit::RESET))
        .order((actions::epoch, actions::id))
        .select((
            actions::consumer_group,
            actions::topic,
            actions::partition,
            actions::lineage_before,
            actions::lineage_after,
            actions::epoch,
            actions::from_offset,
            actions::to_offset,
        ));
    let mut rows: Vec<Jump> = with_conn!(conn, c => query.load(c).await)?;
    rows.retain(|row| topic.is_none_or(|topic| row.topic == topic));
    Ok(rows)
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = BigInt)]
    found: i64,
}

/// Compares, per lineage over all groups, the append-only rows that are there, and those that were removed, with those that were
/// inserted.
async fn check_rows(
    found: &mut Verification,
    conn: &mut Conn<'_>,
    segments: &[LedgerSegment],
    topic: Option<&str>,
) -> QueryResult<()> {
    let mut inserted: BTreeMap<i32, (i64, String)> = BTreeMap::new();
    for segment in segments {
        let name = || (0, format!("{}[{}]", segment.topic, segment.partition));
        inserted.entry(segment.lineage_id).or_insert_with(name).0 += segment.inserted;
    }
    // Stored, removed. A log is of one kind.
    let mut appended: BTreeMap<i32, (i64, i64)> =
        stored(conn).await?.into_iter().map(|(id, rows)| (id, (rows, 0))).collect();
    for removed in removals::load(conn).await? {
        appended.entry(removed.lineage_id).or_default().1 += removed.rows;
    }
    let with_rows: HashSet<i32> = appended.keys().copied().collect();
    let vanished = vanished(segments, &with_rows, &lineages_of_other_rows(conn).await?);
    appended.extend(vanished.into_iter().map(|id| (id, (0, 0))));
    for (lineage_id, (stored, removed)) in appended {
        let unknown = (0, format!("lineage {lineage_id}"));
        let (inserted, name) = match inserted.get(&lineage_id) {
            Some(known) => known,
            None if topic.is_none() => &unknown, // stored, and no group accounts for it
            None => continue,
        };
        found.removed += removed;
        let said = || match removed {
            0 => format!("{name}: {stored} rows stored, {inserted} inserted"),
            _ => format!("{name}: {stored} rows stored, {removed} removed, {inserted} inserted"),
        };
        match (stored + removed).cmp(inserted) {
            Ordering::Greater => found.double_applied.push(said()),
            Ordering::Less => found.fewer_rows.push(said()),
            Ordering::Equal => {}
        }
    }
    Ok(())
}

/// How many quotes, signals or analyses are there of each lineage.
async fn stored(conn: &mut Conn<'_>) -> QueryResult<Vec<(i32, i64)>> {
    macro_rules! counted {
        ($table:ident) => {{
            let query = $table::table.group_by($table::lineage_id);
            let query = query.select(($table::lineage_id, diesel::dsl::count_star()));
            with_conn!(conn, c => query.load::<(i32, i64)>(c).await)?
        }};
    }
    Ok([counted!(odds), counted!(sharp_signals), counted!(betting_analyses)].concat())
}

/// Lineages that should have such rows and have none. The topic decides: rows that were updated name the log that they were
/// updated from, so the earlier logs of a topic of games look as if they never had any.
fn vanished(segments: &[LedgerSegment], with_rows: &HashSet<i32>, elsewhere: &HashSet<i32>) -> BTreeSet<i32> {
    let topics = |holds: &dyn Fn(i32) -> bool| -> HashSet<&str> {
        let holding = segments.iter().filter(|segment| holds(segment.lineage_id));
        holding.map(|segment| segment.topic.as_str()).collect()
    };
    let of_rows = topics(&|id| with_rows.contains(&id));
    let of_others = topics(&|id| elsewhere.contains(&id));
    let judged = |topic: &str| of_rows.contains(topic) || !of_others.contains(topic);
    let without = segments.iter().filter(|segment| !with_rows.contains(&segment.lineage_id));
    without.filter(|segment| judged(&segment.topic)).map(|segment| segment.lineage_id).collect()
}

/// Lineages that games and articles came from: the ledger does not say which kind it accounts for.
async fn lineages_of_other_rows(conn: &mut Conn<'_>) -> QueryResult<HashSet<i32>> {
    let of_games = games::table.select(games::lineage_id).distinct();
    let of_articles = articles::table.select(articles::lineage_id).distinct();
    let mut lineages: Vec<i32> = with_conn!(conn, c => of_games.load(c).await)?;
    lineages.extend(with_conn!(conn, c => of_articles.load::<i32>(c).await)?);
    Ok(lineages.into_iter().collect())
}

async fn orphans(conn: &mut Conn<'_>) -> QueryResult<i64> {
    let query = diesel::sql_query(
        "select count(*) as found from odds o where not exists (select 1 from selections s where s.id = o.selection_id)",
    );
    let rows: Vec<CountRow> = with_conn!(conn, c => query.load(c).await)?;
    Ok(rows.as_slice().first().map_or(0, |row| row.found))
}
