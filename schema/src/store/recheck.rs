//! What a record that was read again must have left behind. Called by `ledgerline verify --kafka`; reads only.

use std::collections::HashSet;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::error::StoreError;
use super::intern::{find_refs, find_selections, ref_key};
use super::odds::resolve;
use super::removals::Judged;
use super::rows::NO_SELECTION;
use super::{Conn, Store, analyses, append, insert, removals, signals, with_conn};
use crate::batch::Batch;
use crate::events::Rows;
use crate::events::game::GameRow;
use crate::events::odds::OddsRows;
use crate::schema::{articles, dead_letters, game_refs};

/// What re-reading a range of the log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordCheck {
    /// Offsets of records that left neither rows nor a dead letter behind, nor a quote that was rightly removed.
    pub missing: Vec<i64>,
    /// Offsets of records with a quote under whose key another price or line is stored.
    pub differing: Vec<i64>,
    /// Offsets of records with a quote that may have been rightly removed: what would tell has expired.
    pub unjudged: Vec<i64>,
}

/// Records of a batch by what is wrong with them.
#[derive(Default)]
pub(super) struct Unapplied {
    pub(super) absent: HashSet<u32>,
    /// Rows are there for all of them, and not theirs.
    pub(super) differing: HashSet<u32>,
    /// Rows may have been removed.
    pub(super) unjudged: HashSet<u32>,
}

impl Store {
    /// Looks for what the records of a freshly decoded batch must have left behind.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn check_records(&self, lineage_id: i32, batch: &Batch) -> Result<RecordCheck, StoreError> {
        let mut session = self.checkout().await?;
        let conn = &mut session.conn();
        let unapplied = unapplied_records(conn, &batch.rows).await?;
        let refused = batch.dead.iter().map(|dead| dead.record);
        let dead = dead_offsets(conn, lineage_id, batch).await?;
        let undead = |records: HashSet<u32>| {
            let offsets = records.into_iter().map(|record| batch.records.offset(record));
            let mut offsets: Vec<i64> = offsets.filter(|offset| !dead.contains(offset)).collect();
            offsets.sort_unstable();
            offsets
        };
        let missing = undead(unapplied.absent.into_iter().chain(refused).collect());
        let [differing, unjudged] = [unapplied.differing, unapplied.unjudged].map(undead);
        Ok(RecordCheck { missing, differing, unjudged })
    }
}

/// Good records whose rows are not there; what is append-only also where the content is another. A game or an article may have
/// moved on.
async fn unapplied_records(conn: &mut Conn<'_>, rows: &Rows) -> QueryResult<Unapplied> {
    let absent = match rows {
        Rows::Odds(rows) => return unapplied_quotes(conn, rows).await,
        Rows::Game(rows) => {
            let keys = rows.0.iter().map(|row| row.key.clone()).collect();
            let refs = find_refs(conn, &keys).await?;
            let linked = linked_refs(conn, refs.values().copied().collect()).await?;
            let applied = |row: &&GameRow| refs.get(&row.key).is_some_and(|id| linked.contains(id));
            let unapplied = rows.0.iter().filter(|row| !applied(row));
            unapplied.map(|row| row.record).collect()
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
            unapplied.map(|row| row.record).collect()
        }
        Rows::Signal(rows) => {
            let refs = find_refs(conn, &rows.0.iter().map(|row| row.game.clone()).collect()).await?;
            let standing = signals::standing(conn, &append::keyed(&rows.0, &refs)).await?;
            return Ok(append::unapplied(&rows.0, &refs, &standing));
        }
        Rows::Analysis(rows) => {
            let refs = find_refs(conn, &rows.0.iter().map(|row| row.game.clone()).collect()).await?;
            let standing = analyses::standing(conn, &append::keyed(&rows.0, &refs)).await?;
            return Ok(append::unapplied(&rows.0, &refs, &standing));
        }
    };
    Ok(Unapplied { absent, ..Unapplied::default() })
}

async fn unapplied_quotes(conn: &mut Conn<'_>, rows: &OddsRows) -> QueryResult<Unapplied> {
    let wanted: Vec<_> = rows.selections.iter().collect();
    let games = wanted.iter().map(|selection| ref_key(selection));
    let refs = find_refs(conn, &games.collect()).await?;
    let ids = find_selections(conn, &wanted, &refs).await?;
    // A selection that is not there finds no quote either.
    let id = |selection| ids.get(selection).copied().unwrap_or(NO_SELECTION);
    let ids: Vec<i64> = wanted.iter().map(|selection| id(*selection)).collect();
    let resolved = resolve(rows, &ids);
    let stored = insert::stored_odds(conn, &resolved).await?;
    let absent = resolved.iter().filter(|row| !stored.contains_key(&row.key())).copied().collect();
    let Judged { rightly, unjudged } = removals::judge(conn, absent).await?;
    let mut unapplied = Unapplied::default();
    for row in &resolved {
        match stored.get(&row.key()) {
            None if rightly.contains(&row.key()) => false,
            None if unjudged.contains(&row.key()) => unapplied.unjudged.insert(row.record),
            None => unapplied.absent.insert(row.record),
            Some(value) if *value != row.value => unapplied.differing.insert(row.record),
            Some(_) => false,
        };
    }
    // One quote that is not there says more than another that differs.
    unapplied.differing.retain(|record| !unapplied.absent.contains(record));
    let is_wrong = |record: &u32| unapplied.absent.contains(record) || unapplied.differing.contains(record);
    unapplied.unjudged.retain(|record| !is_wrong(record));
    Ok(unapplied)
}

/// Those of the refs that have a game: odds make refs too.
async fn linked_refs(conn: &mut Conn<'_>, ids: Vec<i64>) -> QueryResult<HashSet<i64>> {
    let mut linked = HashSet::new();
    for ids in ids.chunks(5_000) {
        let query = game_refs::table
            .filter(game_refs::id.eq_any(ids))
            .filter(game_refs::game_id.is_not_null())
            .select(game_refs::id);
        let found: Vec<i64> = with_conn!(conn, c => query.load(c).await)?;
        linked.extend(found);
    }
    Ok(linked)
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
