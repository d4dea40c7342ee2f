//! `Store::redrive`: one dead letter, decoded again, through the same code as a batch of the line. Called by the worker's
//! `redrive.rs`.
//!
//! What must stay true:
//! - one transaction per letter; what is compared first and set last is the letter itself: still dead, and attempted as often as
//!   when it was read, so that of two redrives one applies it;
//! - what it stores is in the ledger under a group of its own, so that `verify` still counts every row; the offset keeps its
//!   disposition `dead` in the group that read it;
//! - an answer of the environment changes nothing, not even the attempts.

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::audit::{self, Action};
use super::error::StoreError;
use super::letters::{Letter, LetterStatus};
use super::probe::execute;
use super::rows::{Effort, WriteJob};
use super::settle::Resolved;
use super::undo::{Undo, outcome};
use super::{Claim, Conn, Store, in_tx, isolate, ledger, with_conn};
use crate::batch::{Batch, Dispositions, RowCounts};
use crate::budget::Budget;
use crate::events::Rejection;
use crate::schema::dead_letters as letters;

/// The group that redriven records are accounted for under.
pub const REDRIVE_GROUP: &str = "redrive";

/// One letter on its way back into the line.
#[derive(Debug, Clone, Copy)]
pub struct Redrive<'a> {
    /// The letter as it was read.
    pub letter: &'a Letter,
    /// Its record alone, decoded.
    pub batch: &'a Batch,
    /// Who, why, when, and whether for good.
    pub by: &'a Resolved,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redriven {
    /// Its rows are stored.
    Applied(RowCounts),
    /// It was refused again; the reason is the newest one.
    StillDead(Rejection),
    /// Somebody else settled or attempted it since it was read. Nothing was changed.
    Overtaken,
}

impl Store {
    /// Applies one letter, or notes that it was refused again.
    ///
    /// # Errors
    /// The environment, or another writer; nothing was changed.
    pub async fn redrive(&self, redrive: &Redrive<'_>) -> Result<Redriven, StoreError> {
        outcome(in_tx!(self, conn => redrive_in_tx(conn, redrive)))
    }
}

async fn redrive_in_tx(conn: &mut Conn<'_>, redrive: &Redrive<'_>) -> Result<Redriven, Undo<Redriven>> {
    let letter = redrive.letter;
    if lock(conn, letter).await? != Some((LetterStatus::Dead.name().to_owned(), letter.attempts)) {
        return Ok(Redriven::Overtaken);
    }
    let claim = Claim {
        group: REDRIVE_GROUP.into(),
        topic: letter.topic.as_str().into(),
        partition: letter.partition,
        lineage_id: letter.lineage_id,
        epoch: letter.offset,
        next_offset: letter.offset,
        exempt_to: i64::MAX,
    };
    let redriven = match write(conn, redrive, &claim).await? {
        Ok(rows) => {
            account(conn, redrive, &claim, rows).await?;
            Redriven::Applied(rows)
        }
        Err(rejection) => {
            // Reasons only: a detail may quote the record.
            let (before, now) = (&letter.reason, rejection.reason.name());
            let reason = format!("{}: refused again, before for {before}, now for {now}", redrive.by.reason);
            trail(conn, redrive, "redrive_refused", &reason).await?;
            Redriven::StillDead(rejection)
        }
    };
    update(conn, redrive, &redriven).await?;
    if redrive.by.dry_run { Err(Undo::Answer(redriven)) } else { Ok(redriven) }
}

async fn lock(conn: &mut Conn<'_>, letter: &Letter) -> QueryResult<Option<(String, i32)>> {
    let row =
        letters::table.find((letter.lineage_id, letter.offset)).select((letters::status, letters::attempts));
    let rows: Vec<(String, i32)> = match conn {
        Conn::Postgres(c) => row.for_update().load(c).await?,
        Conn::Sqlite(c) => row.load(c).await?,
    };
    Ok(rows.into_iter().next())
}

/// Writes the record's rows as the line does when it looks for the records that the database refuses. A refusal leaves nothing
/// behind, not even names.
async fn write(
    conn: &mut Conn<'_>,
    redrive: &Redrive<'_>,
    claim: &Claim,
) -> Result<Result<RowCounts, Rejection>, Undo<Redriven>> {
    let Redrive { batch, by, .. } = *redrive;
    if let Some(dead) = batch.dead.as_slice().first() {
        return Ok(Err(dead.rejection.clone()));
    }
    let job = WriteJob {
        claim,
        batch,
        now: by.now,
        hour: by.now.hour(),
        effort: Effort::Isolate,
        budget: Budget::unlimited(),
    };
    execute(conn, "savepoint ledgerline_redrive").await?;
    let applied = isolate::write_accepted(conn, &job).await?;
    match applied.conflicts.into_iter().next() {
        None => Ok(Ok(applied.rows)),
        Some(dead) => {
            execute(conn, "rollback to savepoint ledgerline_redrive").await?;
            Ok(Err(dead.rejection))
        }
    }
}

/// The ledger and the operators' trail. A letter that takes the place of another one may be redriven in the same hour: it gets a
/// row of its own.
async fn account(
    conn: &mut Conn<'_>,
    redrive: &Redrive<'_>,
    claim: &Claim,
    rows: RowCounts,
) -> Result<(), StoreError> {
    let Redrive { letter, by, .. } = *redrive;
    let dispositions = Dispositions { applied: 1, ..Dispositions::default() };
    let (from, to) = (letter.offset, letter.offset + 1);
    let mut entry = ledger::Entry { claim, hour: by.now.hour(), from, to, dispositions, rows };
    if !ledger::extend(conn.wire(), &entry).await? {
        entry.hour = by.now;
        if !ledger::extend(conn.wire(), &entry).await? {
            return Err(StoreError::Race);
        }
    }
    Ok(trail(conn, redrive, "redrive", &by.reason).await?)
}

/// The operators' trail. Of a letter that was refused again it keeps why it was refused before, which the letter itself forgets.
async fn trail(
    conn: &mut Conn<'_>,
    redrive: &Redrive<'_>,
    action: &'static str,
    reason: &str,
) -> QueryResult<()> {
    let Redrive { letter, by, .. } = *redrive;
    let row = Action {
        consumer_group: REDRIVE_GROUP,
        topic: &letter.topic,
        partition: letter.partition,
        lineage_before: Some(letter.lineage_id),
        lineage_after: Some(letter.lineage_id),
        epoch: Some(letter.offset),
        from_offset: Some(letter.offset),
        to_offset: Some(letter.offset + 1),
        ..Action::by(&by.actor, action, reason, by.now)
    };
    audit::write(conn, &row).await
}

/// The last statement, with what was compared first: it fails on an aborted transaction.
async fn update(conn: &mut Conn<'_>, redrive: &Redrive<'_>, redriven: &Redriven) -> Result<(), StoreError> {
    let Redrive { letter, by, .. } = *redrive;
    let row = letters::table
        .find((letter.lineage_id, letter.offset))
        .filter(letters::status.eq(LetterStatus::Dead.name()))
        .filter(letters::attempts.eq(letter.attempts));
    let attempt = (letters::attempts.eq(letter.attempts + 1), letters::attempted_at.eq(by.now));
    let changed = match redriven {
        Redriven::Applied(_) => {
            let settled =
                (letters::status.eq(LetterStatus::Redriven.name()), letters::resolved_at.eq(by.now));
            let update = diesel::update(row).set((attempt, settled));
            with_conn!(conn, c => update.execute(c).await)?
        }
        Redriven::StillDead(rejection) => {
            let newest = (letters::reason.eq(rejection.reason.name()), letters::detail.eq(&rejection.detail));
            let update = diesel::update(row).set((attempt, newest));
            with_conn!(conn, c => update.execute(c).await)?
        }
        Redriven::Overtaken => return Ok(()),
    };
    if changed == 1 { Ok(()) } else { Err(StoreError::Race) }
}
