//! Dead letters that nobody will redrive: given up for good, and their bytes forgotten after a while. Called by `ledgerline dlq`.
//!
//! What must stay true: a letter's row is never deleted, so its offset stays accounted for; only a letter that is still dead is
//! discarded, only one that is settled is pruned; each partition that a transaction touched has a row in `operator_actions`.

use std::collections::BTreeMap;

use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::audit::{self, Action};
use super::error::StoreError;
use super::letters::{LetterFilter, LetterId, LetterStatus, beyond, matching};
use super::redrive::REDRIVE_GROUP;
use super::undo::{Undo, outcome};
use super::{Conn, Store, in_tx, with_conn};
use crate::schema::dead_letters as letters;
use crate::sql_types::Json;
use crate::time::UtcMicros;

/// Which letters an operator's command is for.
#[derive(Debug, Clone)]
pub enum Selected {
    /// These, each of which has to fit.
    Ids(Vec<LetterId>),
    /// All that match.
    Matching(LetterFilter),
}

/// Who settles letters, and why.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Who, for the trail.
    pub actor: String,
    /// Why, for the trail.
    pub reason: String,
    /// Now, by the caller's clock.
    pub now: UtcMicros,
    /// Take everything back in the end, and only count.
    pub dry_run: bool,
}

/// What is ordered.
#[derive(Clone, Copy)]
enum Change<'a> {
    Discard(&'a LetterFilter),
    Prune(UtcMicros),
}

/// Most letters of one transaction: it holds their locks, and on SQLite every other writer, until it ends.
const BATCH: i64 = 1_000;

/// A letter that was changed: lineage, topic, partition, offset.
type Changed = (i32, String, i32, i64);
const CHANGED: (letters::lineage_id, letters::topic, letters::partition, letters::record_offset) =
    (letters::lineage_id, letters::topic, letters::partition, letters::record_offset);

/// The letters that an order is for, as a condition on either database.
macro_rules! ordered {
    (discard $filter:expr) => {
        letters::status.eq(LetterStatus::Dead.name()).and(matching!($filter))
    };
    (prune $before:expr) => {
        letters::status
            .ne(LetterStatus::Dead.name())
            .and(letters::resolved_at.lt($before))
            .and(letters::pruned_at.is_null())
    };
}

impl Store {
    /// Gives letters up for good. Answers how many.
    ///
    /// # Errors
    /// `Rejected`: one of the ids is not that of a letter that is still dead; nothing was changed. By a filter: the database did
    /// not answer; what was discarded before is, with its trail, and the same order takes the rest.
    pub async fn discard(&self, selected: &Selected, by: &Resolved) -> Result<usize, StoreError> {
        match selected {
            Selected::Matching(filter) => self.settle(Change::Discard(filter), by).await,
            Selected::Ids(ids) => self.discard_ids(ids, by).await,
        }
    }

    /// Forgets the bytes of letters that were settled before `before`. Answers how many.
    ///
    /// # Errors
    /// The database did not answer; what was pruned before is, with its trail, and the same order takes the rest.
    pub async fn prune(&self, before: UtcMicros, by: &Resolved) -> Result<usize, StoreError> {
        self.settle(Change::Prune(before), by).await
    }

    /// In the order of the letters, a transaction for each batch; a dry run only counts.
    async fn settle(&self, change: Change<'_>, by: &Resolved) -> Result<usize, StoreError> {
        if by.dry_run {
            let mut session = self.checkout().await?;
            return Ok(count(&mut session.conn(), change).await?);
        }
        let (mut after, mut settled) = (LetterId::default(), 0);
        loop {
            let batch = in_tx!(self, conn => settle_batch(conn, change, after, by));
            let (letters, last) = batch?;
            settled += letters;
            match last {
                Some(last) => after = last,
                None => return Ok(settled),
            }
        }
    }

    /// All or nothing, as they were named.
    async fn discard_ids(&self, ids: &[LetterId], by: &Resolved) -> Result<usize, StoreError> {
        outcome(in_tx!(self, conn => discard_ids(conn, ids, by)))
    }
}

async fn count(conn: &mut Conn<'_>, change: Change<'_>) -> QueryResult<usize> {
    let counts: Vec<i64> = match change {
        Change::Discard(filter) => {
            let query = letters::table.filter(ordered!(discard filter)).select(count_star());
            with_conn!(conn, c => query.load(c).await)?
        }
        Change::Prune(before) => {
            let query = letters::table.filter(ordered!(prune before)).select(count_star());
            with_conn!(conn, c => query.load(c).await)?
        }
    };
    Ok(counts.into_iter().map(|count| usize::try_from(count).unwrap_or_default()).sum())
}

/// The next letters: how many it settled, and the last of them if there may be more.
async fn settle_batch(
    conn: &mut Conn<'_>,
    change: Change<'_>,
    after: LetterId,
    by: &Resolved,
) -> QueryResult<(usize, Option<LetterId>)> {
    let keys = keys(conn, change, after).await?;
    let Some(&(lineage_id, offset)) = keys.last() else { return Ok((0, None)) };
    let last = LetterId { lineage_id, offset };
    let (action, changed) = match change {
        Change::Discard(filter) => ("discard", discard(conn, filter, (after, last), by).await?),
        Change::Prune(before) => ("prune", prune(conn, before, (after, last), by).await?),
    };
    leave_trail(conn, action, &changed, by).await?;
    Ok((changed.len(), (keys.len() as i64 == BATCH).then_some(last)))
}

async fn keys(conn: &mut Conn<'_>, change: Change<'_>, after: LetterId) -> QueryResult<Vec<(i32, i64)>> {
    let key = (letters::lineage_id, letters::record_offset);
    let later = letters::table.filter(beyond!(">", after)).order(key).select(key).limit(BATCH);
    match change {
        Change::Discard(filter) => {
            let query = later.filter(ordered!(discard filter));
            with_conn!(conn, c => query.load(c).await)
        }
        Change::Prune(before) => {
            let query = later.filter(ordered!(prune before));
            with_conn!(conn, c => query.load(c).await)
        }
    }
}

async fn discard(
    conn: &mut Conn<'_>,
    filter: &LetterFilter,
    (after, last): (LetterId, LetterId),
    by: &Resolved,
) -> QueryResult<Vec<Changed>> {
    let dead = letters::table
        .filter(beyond!(">", after))
        .filter(beyond!("<=", last))
        .filter(ordered!(discard filter));
    let changes = (letters::status.eq(LetterStatus::Discarded.name()), letters::resolved_at.eq(by.now));
    let update = diesel::update(dead).set(changes).returning(CHANGED);
    with_conn!(conn, c => update.load(c).await)
}

async fn discard_ids(conn: &mut Conn<'_>, ids: &[LetterId], by: &Resolved) -> Result<usize, Undo<usize>> {
    let mut changed = Vec::new();
    for id in ids {
        changed.extend(discard_one(conn, *id, by).await?);
    }
    leave_trail(conn, "discard", &changed, by).await?;
    if by.dry_run { Err(Undo::Answer(changed.len())) } else { Ok(changed.len()) }
}

async fn discard_one(conn: &mut Conn<'_>, id: LetterId, by: &Resolved) -> Result<Vec<Changed>, StoreError> {
    let dead = letters::table
        .filter(letters::lineage_id.eq(id.lineage_id))
        .filter(letters::record_offset.eq(id.offset))
        .filter(letters::status.eq(LetterStatus::Dead.name()));
    let changes = (letters::status.eq(LetterStatus::Discarded.name()), letters::resolved_at.eq(by.now));
    let update = diesel::update(dead).set(changes).returning(CHANGED);
    let changed: Vec<Changed> = with_conn!(conn, c => update.load(c).await)?;
    if changed.is_empty() {
        return Err(StoreError::Rejected(format!("there is no dead letter {id} that is not settled yet")));
    }
    Ok(changed)
}

async fn prune(
    conn: &mut Conn<'_>,
    before: UtcMicros,
    (after, last): (LetterId, LetterId),
    by: &Resolved,
) -> QueryResult<Vec<Changed>> {
    let settled =
        letters::table.filter(beyond!(">", after)).filter(beyond!("<=", last)).filter(ordered!(prune before));
    let changes = (
        letters::payload.eq(Vec::new()),
        letters::key.eq(None::<Vec<u8>>),
        letters::headers.eq(Json("[]".into())),
        letters::pruned_at.eq(by.now),
    );
    let update = diesel::update(settled).set(changes).returning(CHANGED);
    with_conn!(conn, c => update.load(c).await)
}

/// One row for each log that was touched: how many letters, between which offsets.
async fn leave_trail(
    conn: &mut Conn<'_>,
    action: &'static str,
    changed: &[Changed],
    by: &Resolved,
) -> QueryResult<()> {
    let mut logs: BTreeMap<(&str, i32, i32), Vec<i64>> = BTreeMap::new();
    for (lineage_id, topic, partition, offset) in changed {
        logs.entry((topic, *partition, *lineage_id)).or_default().push(*offset);
    }
    for ((topic, partition, lineage_id), offsets) in logs {
        let reason = format!("{} ({} dead letters)", by.reason, offsets.len());
        let row = Action {
            consumer_group: REDRIVE_GROUP,
            topic,
            partition,
            lineage_before: Some(lineage_id),
            lineage_after: Some(lineage_id),
            from_offset: offsets.iter().min().copied(),
            to_offset: offsets.iter().max().map(|last| last + 1),
            ..Action::by(&by.actor, action, &reason, by.now)
        };
        audit::write(conn, &row).await?;
    }
    Ok(())
}
