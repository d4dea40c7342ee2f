//! Dead letters that nobody will redrive: given up for good, and their bytes forgotten after a while. Called by `ledgerline dlq`.
//!
//! What must stay true: a letter's row is never deleted, so its offset stays accounted for; only a letter that is still dead is
//! discarded, only one that is settled is pruned; each partition that was touched has a row in `operator_actions`.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::audit::{self, Action};
use super::error::StoreError;
use super::letters::{LetterFilter, LetterId, LetterStatus, matching};
use super::redrive::REDRIVE_GROUP;
use super::undo::{Undo, outcome};
use super::{Conn, Store, with_conn};
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
    Discard(&'a Selected),
    Prune(UtcMicros),
}

/// A letter that was changed: lineage, topic, partition, offset.
type Changed = (i32, String, i32, i64);
const CHANGED: (letters::lineage_id, letters::topic, letters::partition, letters::record_offset) =
    (letters::lineage_id, letters::topic, letters::partition, letters::record_offset);

impl Store {
    /// Gives letters up for good. Answers how many.
    ///
    /// # Errors
    /// `Rejected`: one of the ids is not that of a letter that is still dead; nothing was changed.
    pub async fn discard(&self, selected: &Selected, by: &Resolved) -> Result<usize, StoreError> {
        self.settle(Change::Discard(selected), by).await
    }

    /// Forgets the bytes of letters that were settled before `before`. Answers how many.
    ///
    /// # Errors
    /// The database did not answer; nothing was changed.
    pub async fn prune(&self, before: UtcMicros, by: &Resolved) -> Result<usize, StoreError> {
        self.settle(Change::Prune(before), by).await
    }

    async fn settle(&self, change: Change<'_>, by: &Resolved) -> Result<usize, StoreError> {
        let mut session = self.checkout().await?;
        outcome(match session.conn() {
            Conn::Postgres(c) => {
                c.transaction(async |c| settle_in_tx(&mut Conn::Postgres(c), change, by).await).await
            }
            Conn::Sqlite(c) => {
                c.immediate_transaction(async |c| settle_in_tx(&mut Conn::Sqlite(c), change, by).await).await
            }
        })
    }
}

async fn settle_in_tx(conn: &mut Conn<'_>, change: Change<'_>, by: &Resolved) -> Result<usize, Undo<usize>> {
    let (action, changed) = match change {
        Change::Discard(Selected::Matching(filter)) => ("discard", discard(conn, filter, by).await?),
        Change::Discard(Selected::Ids(ids)) => {
            let mut changed = Vec::new();
            for id in ids {
                changed.extend(discard_one(conn, *id, by).await?);
            }
            ("discard", changed)
        }
        Change::Prune(before) => ("prune", prune(conn, before, by).await?),
    };
    leave_trail(conn, action, &changed, by).await?;
    if by.dry_run { Err(Undo::Answer(changed.len())) } else { Ok(changed.len()) }
}

async fn discard(conn: &mut Conn<'_>, filter: &LetterFilter, by: &Resolved) -> QueryResult<Vec<Changed>> {
    let dead = letters::table.filter(letters::status.eq("dead")).filter(matching!(filter));
    let changes = (letters::status.eq(LetterStatus::Discarded.name()), letters::resolved_at.eq(by.now));
    let update = diesel::update(dead).set(changes).returning(CHANGED);
    with_conn!(conn, c => update.load(c).await)
}

async fn discard_one(conn: &mut Conn<'_>, id: LetterId, by: &Resolved) -> Result<Vec<Changed>, StoreError> {
    let dead = letters::table
        .filter(letters::lineage_id.eq(id.lineage_id))
        .filter(letters::record_offset.eq(id.offset))
        .filter(letters::status.eq("dead"));
    let changes = (letters::status.eq(LetterStatus::Discarded.name()), letters::resolved_at.eq(by.now));
    let update = diesel::update(dead).set(changes).returning(CHANGED);
    let changed: Vec<Changed> = with_conn!(conn, c => update.load(c).await)?;
    if changed.is_empty() {
        return Err(StoreError::Rejected(format!("there is no dead letter {id} that is not settled yet")));
    }
    Ok(changed)
}

async fn prune(conn: &mut Conn<'_>, before: UtcMicros, by: &Resolved) -> QueryResult<Vec<Changed>> {
    let settled = letters::table
        .filter(letters::status.ne("dead"))
        .filter(letters::resolved_at.lt(before))
        .filter(letters::pruned_at.is_null());
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
            at: by.now,
            actor: &by.actor,
            action,
            consumer_group: REDRIVE_GROUP,
            topic,
            partition,
            lineage_before: Some(lineage_id),
            lineage_after: Some(lineage_id),
            epoch: None,
            from_offset: offsets.iter().min().copied(),
            to_offset: offsets.iter().max().map(|last| last + 1),
            reason: &reason,
        };
        audit::write(conn, &row).await?;
    }
    Ok(())
}
