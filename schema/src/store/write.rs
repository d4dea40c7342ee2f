//! `Store::write`: the one transaction of the line. Everything that a batch changes, and its position, or nothing.
//!
//! What must stay true:
//! - the position row is locked and compared first, and updated with the same predicate, and the lineage, last; it must
//!   report one row. A COMMIT of an aborted transaction is answered as success: the last statement catches it;
//! - the future is never a branch of `select!` and never dropped half-way: the server's timeouts bound it;
//! - any error leaves "written or not" open; the caller asks `Store::position`.
//!
//! Where nothing has to be looked at in between, `at_once.rs` sends the same statements without waiting for each answer.

use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::claim::{Position, lock_position, mark_halted};
use super::error::{StoreError, WriteError};
use super::intern::{Interned, Known, Lookups, intern};
use super::pool::Session;
use super::rows::{Applied, Keeps, Look, OddsRow, WriteJob};
use super::{
    AsyncSqlite, Conn, Effort, Halt, Store, Wire, analyses, articles, at_once, games, insert, isolate,
    ledger, odds, signals, spool, with_conn,
};
use crate::batch::{DeadRecord, Dispositions, RowCounts};
use crate::events::Rows;
use crate::schema::partition_offsets;

/// What one committed transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteReport {
    /// What became of the offsets.
    pub dispositions: Dispositions,
    /// What became of the rows.
    pub rows: RowCounts,
    /// The dead letters that it stored, with the reason of each, in the order of the records.
    pub dead: Vec<DeadRecord>,
    /// How often rows were written until the database took them: 1 unless refused records had to be found.
    pub attempts: u32,
    /// How often the connection knew the id of a selection.
    pub lookups: Lookups,
}

impl Store {
    /// Writes one batch: rows, dead letters, ledger and position in one transaction.
    ///
    /// # Errors
    /// `Fenced`: nothing was written and the claim is void. `Halted`: nothing was written, and the partition is marked.
    /// Anything else: ask [`Store::position`].
    pub async fn write(&self, job: &WriteJob<'_>) -> Result<WriteReport, WriteError> {
        match self {
            Self::Postgres(pool) => {
                let mut session = pool.get().await?;
                session.broken = true; // until the end is known: this future may be dropped
                let mut result = write_postgres(&mut session, job).await;
                if let Err(WriteError::Halted(halt)) = result {
                    result = Err(mark_halted(&mut Conn::Postgres(&mut session.conn), job, halt).await);
                }
                session.after(result)
            }
            Self::Sqlite(pool) => {
                let mut session = pool.get().await?;
                session.broken = true; // until the end is known: this future may be dropped
                let mut result = write_sqlite(&mut session, job).await;
                if let Err(WriteError::Halted(halt)) = result {
                    result = Err(mark_halted(&mut Conn::Sqlite(&mut session.conn), job, halt).await);
                }
                session.after(result)
            }
        }
    }
}

impl<C> Session<C> {
    /// After any error the interned ids are forgotten, and where it was none of the protocol's the connection is closed too.
    fn after(&mut self, result: Result<WriteReport, WriteError>) -> Result<WriteReport, WriteError> {
        match &result {
            Ok(report) => {
                self.look = if report.rows.duplicate > 0 { Look::First } else { Look::OnlyIfRefused };
                self.broken = false;
            }
            Err(WriteError::Fenced | WriteError::Halted(_)) => {
                self.known.clear();
                self.broken = false;
            }
            // Refused by ourselves, and taken back.
            Err(WriteError::Store(StoreError::Rejected(_))) => {
                self.known.clear();
                self.broken = false;
            }
            Err(WriteError::Store(_)) => self.known.clear(),
        }
        result
    }
}

async fn write_postgres(
    session: &mut Session<AsyncPgConnection>,
    job: &WriteJob<'_>,
) -> Result<WriteReport, WriteError> {
    let Session { conn, known, look, .. } = session;
    let interned = interned(&mut Conn::Postgres(conn), known, job).await?;
    let tried = conn.transaction(async |c| write_in_tx(&mut Conn::Postgres(c), job, &interned, *look).await);
    match tried.await {
        Err(error) if *look == Look::OnlyIfRefused && is_stored_already(&error) => {
            conn.transaction(async |c| write_in_tx(&mut Conn::Postgres(c), job, &interned, Look::First).await)
                .await
        }
        ended => ended,
    }
}

async fn write_sqlite(
    session: &mut Session<AsyncSqlite>,
    job: &WriteJob<'_>,
) -> Result<WriteReport, WriteError> {
    let Session { conn, known, look, keeps, .. } = session;
    match keeps {
        Keeps::Segments => {
            return conn.immediate_transaction(async |c| spool::keep_in_tx(c, job).await).await;
        }
        Keeps::Rows => {}
    }
    let interned = interned(&mut Conn::Sqlite(conn), known, job).await?;
    let tried =
        conn.immediate_transaction(async |c| write_in_tx(&mut Conn::Sqlite(c), job, &interned, *look).await);
    match tried.await {
        Err(error) if *look == Look::OnlyIfRefused && is_stored_already(&error) => {
            conn.immediate_transaction(async |c| {
                write_in_tx(&mut Conn::Sqlite(c), job, &interned, Look::First).await
            })
            .await
        }
        ended => ended,
    }
}

/// Ids are made before the transaction, unless refused records are looked for: then each part makes its own.
async fn interned(conn: &mut Conn<'_>, known: &mut Known, job: &WriteJob<'_>) -> QueryResult<Interned> {
    match job.effort {
        Effort::Whole => intern(conn, known, &job.batch.rows).await,
        Effort::Isolate => Ok(Interned::Nothing),
    }
}

/// A plain insert met a key that is stored: nothing of the transaction is left, and it begins anew with a look. Cheaper than a
/// savepoint around each plain insert, which costs two round trips and a transaction id of its own.
fn is_stored_already(error: &WriteError) -> bool {
    use diesel::result::{DatabaseErrorKind::UniqueViolation, Error::DatabaseError};
    matches!(error, WriteError::Store(StoreError::Query(DatabaseError(UniqueViolation, _))))
}

/// The body of the transaction, in the order of the protocol.
pub(super) async fn write_in_tx(
    conn: &mut Conn<'_>,
    job: &WriteJob<'_>,
    interned: &Interned,
    look: Look,
) -> Result<WriteReport, WriteError> {
    let WriteJob { claim, batch, .. } = job;
    if let Conn::Postgres(c) = &*conn
        && let Some(sorted) = plain(job, interned, look)
    {
        return at_once::write(c, job, &sorted, interned.lookups()).await;
    }
    if !is_ours(job, lock_position(conn.wire(), claim).await?) {
        return Err(WriteError::Fenced);
    }

    let Applied { rows, conflicts, attempts } = match job.effort {
        Effort::Whole => write_rows(conn, job, &batch.rows, interned, look).await?,
        Effort::Isolate => isolate::write_accepted(conn, job).await?,
    };
    let dead = check_budget(job, &conflicts)?;
    insert::dead_letters(conn.wire(), job, &dead).await?;
    let dispositions = batch.dispositions(dead.len());
    let entry = ledger::Entry { claim, hour: job.hour, from: batch.from, to: batch.to, dispositions, rows };
    let extended = ledger::extend(conn.wire(), &entry).await?;
    let moved = move_position(conn.wire(), job).await?;
    if extended && moved {
        Ok(WriteReport { dispositions, rows, dead, attempts, lookups: interned.lookups() })
    } else {
        Err(WriteError::Fenced)
    }
}

/// Whether the position is the one that the batch starts from, under its own claim.
pub(super) fn is_ours(job: &WriteJob<'_>, position: Option<Position>) -> bool {
    position == Some(Position { next_offset: job.batch.from, epoch: job.claim.epoch })
}

/// The quotes of an ordinary batch, sorted: all of them new as far as anybody knows.
fn plain(job: &WriteJob<'_>, interned: &Interned, look: Look) -> Option<Vec<OddsRow>> {
    let (Rows::Odds(rows), Interned::Selections(ids, _)) = (&job.batch.rows, interned) else { return None };
    if job.effort == Effort::Whole && look == Look::OnlyIfRefused { odds::distinct(rows, ids) } else { None }
}

/// Writes rows of the batch: all of them, or those of some records.
pub(super) async fn write_rows(
    conn: &mut Conn<'_>,
    job: &WriteJob<'_>,
    rows: &Rows,
    interned: &Interned,
    look: Look,
) -> Result<Applied, WriteError> {
    let (lineage_id, records) = (job.claim.lineage_id, &job.batch.records);
    match (rows, interned) {
        (Rows::Odds(rows), Interned::Selections(ids, _)) => {
            odds::write(conn, lineage_id, rows, records, ids, look).await
        }
        (Rows::Game(rows), Interned::GameRefs(refs)) => {
            games::write(conn, lineage_id, &rows.0, records, refs).await
        }
        (Rows::Article(rows), Interned::Rules(matcher)) => {
            articles::write(conn, lineage_id, &rows.0, records, matcher).await
        }
        (Rows::Signal(rows), Interned::GameRefs(refs)) => {
            signals::write(conn, lineage_id, &rows.0, records, refs).await
        }
        (Rows::Analysis(rows), Interned::GameRefs(refs)) => {
            analyses::write(conn, lineage_id, &rows.0, records, refs).await
        }
        (Rows::Odds(_) | Rows::Game(_) | Rows::Article(_) | Rows::Signal(_) | Rows::Analysis(_), _) => {
            unreachable!("intern answers for the kind of the batch")
        }
    }
}

/// All dead records of the batch in order, unless they are more than the partition may have.
pub(super) fn check_budget(
    job: &WriteJob<'_>,
    conflicts: &[DeadRecord],
) -> Result<Vec<DeadRecord>, WriteError> {
    let mut dead = job.batch.dead.clone();
    dead.extend_from_slice(conflicts);
    dead.sort_by_key(|dead| dead.record);
    if job.is_exempt() {
        return Ok(dead);
    }
    match job.budget.check(job.batch.records.len(), &dead) {
        Ok(()) => Ok(dead),
        Err(overrun) => Err(WriteError::Halted(Halt::DeadLetterBudget { detail: overrun.to_string() })),
    }
}

/// The last statement: it fails on an aborted transaction, and moves nothing that is not ours.
pub(super) async fn move_position(mut wire: Wire<'_>, job: &WriteJob<'_>) -> QueryResult<bool> {
    let WriteJob { claim, batch, now, .. } = job;
    let row = partition_offsets::table
        .find((&*claim.group, &*claim.topic, claim.partition))
        .filter(partition_offsets::next_offset.eq(batch.from))
        .filter(partition_offsets::epoch.eq(claim.epoch))
        // After a restore an epoch may come again, by then on another log.
        .filter(partition_offsets::lineage_id.eq(claim.lineage_id));
    let changes = (partition_offsets::next_offset.eq(batch.to), partition_offsets::updated_at.eq(*now));
    let changed = with_conn!(wire, c => diesel::update(row).set(changes).execute(c).await)?;
    Ok(changed == 1)
}
