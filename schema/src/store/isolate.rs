//! When the database refuses a batch again and again: which of its records are the reason? Called by `write.rs`, inside the
//! batch's one transaction. Ranges of records are written in savepoints, in the order of the log; one that is refused is
//! halved until single records are left. What was accepted stays, so order and counts are those of an ordinary batch.
//!
//! What must stay true:
//! - a record is blamed only when the database, at that moment, takes other rows into the same tables: a lock, a full disk, a
//!   timeout or a dead connection ends the transaction instead, and the batch is tried again later;
//! - one bad record of n costs at most 2 log2(n) + 2 attempts.

use std::ops::Range;
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind as Kind, Error};
use diesel_async::SimpleAsyncConnection;

use super::error::{StoreError, Trouble, WriteError};
use super::intern::{SelectionCache, intern};
use super::rows::{Applied, WriteJob};
use super::write::{check_budget, write_rows};
use super::{Conn, insert, with_conn};
use crate::batch::DeadRecord;
use crate::events::{Reason, Rejection, Rows};

/// A refusal of no named kind that took longer may be a lock or a timeout of the server, which are not below a second.
const QUICK: Duration = Duration::from_millis(500);

/// Records that are still to be written.
struct Todo {
    records: Range<u32>,
    /// Known to be refused as a whole: goes into halves, untried.
    refused: bool,
    /// If it is accepted, then the other half, next in line, is the one that is refused.
    first_half: bool,
}

/// The database's answer to a range.
enum Verdict {
    Accepted,
    Refused(Refusal),
}

struct Refusal {
    error: Error,
    took: Duration,
}

/// Writes every record that the database takes. Those that it refuses are answered among the conflicts.
pub(super) async fn write_accepted(conn: &mut Conn<'_>, job: &WriteJob<'_>) -> Result<Applied, WriteError> {
    if let Conn::Postgres(c) = conn {
        // A deferred constraint would else speak only at COMMIT, where nobody can tell which record it means.
        c.batch_execute("set constraints all immediate").await?;
    }
    let all = u32::try_from(job.batch.records.len()).unwrap_or(u32::MAX);
    let mut todo = vec![Todo { records: 0..all, refused: all > 1, first_half: false }];
    let mut applied = Applied { attempts: 0, ..Applied::default() };
    while let Some(Todo { records, refused, first_half }) = todo.pop() {
        if refused && records.len() > 1 {
            let middle = records.start + (records.end - records.start) / 2;
            todo.push(Todo { records: middle..records.end, refused: false, first_half: false });
            todo.push(Todo { records: records.start..middle, refused: false, first_half: true });
            continue;
        }
        match try_range(conn, job, records.clone(), &mut applied).await? {
            Verdict::Accepted => {
                if let Some(other_half) = todo.last_mut().filter(|_| first_half) {
                    other_half.refused = true;
                }
            }
            Verdict::Refused(_) if records.len() > 1 => {
                todo.push(Todo { records, refused: true, first_half: false });
            }
            Verdict::Refused(refusal) => {
                let dead = convict(conn, job, records.start, refusal, &mut applied).await?;
                applied.conflicts.extend(dead);
                check_budget(job, &applied.conflicts)?;
            }
        }
    }
    Ok(applied)
}

/// Tries a range in a savepoint and keeps it if it is accepted. An error that no record can be blamed for ends the transaction.
async fn try_range(
    conn: &mut Conn<'_>,
    job: &WriteJob<'_>,
    records: Range<u32>,
    applied: &mut Applied,
) -> Result<Verdict, WriteError> {
    applied.attempts += 1;
    let rows = job.batch.rows.of_records(records);
    let started = Instant::now();
    execute(conn, "savepoint ledgerline_range").await?;
    match write_range(conn, job, &rows).await {
        Ok(more) => {
            execute(conn, "release savepoint ledgerline_range").await?;
            applied.add(more);
            Ok(Verdict::Accepted)
        }
        Err(WriteError::Store(error)) if error.trouble() == Trouble::Refusal => {
            execute(conn, "rollback to savepoint ledgerline_range").await?;
            let StoreError::Query(error) = error else { return Err(error.into()) };
            Ok(Verdict::Refused(Refusal { error, took: started.elapsed() }))
        }
        Err(error) => Err(error),
    }
}

async fn write_range(conn: &mut Conn<'_>, job: &WriteJob<'_>, rows: &Rows) -> Result<Applied, WriteError> {
    // Ids made inside a transaction are not committed yet: nothing of them may be remembered.
    let interned = intern(conn, &mut SelectionCache::default(), rows).await?;
    write_rows(conn, job, rows, &interned, true).await
}

/// A single record was refused: is it the record? It is tried once more. Where the refusal does not name a broken rule, the
/// database has to take other rows before and after, and to have answered at once.
async fn convict(
    conn: &mut Conn<'_>,
    job: &WriteJob<'_>,
    record: u32,
    first: Refusal,
    applied: &mut Applied,
) -> Result<Option<DeadRecord>, WriteError> {
    let named = names_a_broken_rule(&first.error);
    if !named {
        if first.took >= QUICK {
            return Err(first.error.into());
        }
        probe(conn, job, record).await?;
    }
    let again = match try_range(conn, job, record..record + 1, applied).await? {
        Verdict::Accepted => return Ok(None),
        Verdict::Refused(again) => again,
    };
    if !named {
        if again.took >= QUICK {
            return Err(again.error.into());
        }
        probe(conn, job, record).await?;
    }
    let rejection = Rejection::new(Reason::Refused, describe(&again.error));
    Ok(Some(DeadRecord { record, rejection }))
}

/// Writes rows that no record asked for, and the record's dead letter, and takes them back.
async fn probe(conn: &mut Conn<'_>, job: &WriteJob<'_>, record: u32) -> Result<(), WriteError> {
    execute(conn, "savepoint ledgerline_probe").await?;
    let result = write_probe(conn, job, record).await;
    if let Err(error) = result
        && !names_a_broken_rule(&error)
    {
        return Err(error.into());
    }
    execute(conn, "rollback to savepoint ledgerline_probe").await?;
    Ok(())
}

async fn write_probe(conn: &mut Conn<'_>, job: &WriteJob<'_>, record: u32) -> QueryResult<()> {
    let rejection = Rejection::new(Reason::Refused, "probe");
    insert::dead_letters(conn, job, &[DeadRecord { record, rejection }]).await?;
    let rows = match job.batch.rows {
        Rows::Odds(_) => {
            "insert into game_refs (system, external_id) values ('ledgerline-probe', 'probe'); \
             insert into selections (game_ref_id, sportsbook, market, period, participant, side, alternate, line) \
             select id, '', '', '', '', '', false, 0 from game_refs where system = 'ledgerline-probe'; \
             insert into odds (selection_id, observed_at, record_offset, lineage_id) values \
             (-1, current_timestamp, 0, 0), (-2, current_timestamp, 0, 0), \
             (-3, current_timestamp, 0, 0), (-4, current_timestamp, 0, 0)"
        }
        Rows::Game(_) => {
            "insert into game_refs (system, external_id) values ('ledgerline-probe', 'probe'); \
             insert into games (status, details, source, source_time, sequence, content_hash, lineage_id, record_offset) \
             values ('unknown', '{}', '', current_timestamp, 0, '', 0, 0)"
        }
        Rows::Article(_) => {
            "insert into articles (url_hash, url, canonical_url, title, summary, body, authors, tags, revision, \
                                   content_hash, source, source_time, lineage_id, record_offset) \
             values ('', '', '', '', '', '', '[]', '[]', 0, '', '', current_timestamp, 0, 0)"
        }
    };
    execute(conn, rows).await
}

async fn execute(conn: &mut Conn<'_>, sql: &str) -> QueryResult<()> {
    with_conn!(conn, c => c.batch_execute(sql).await)
}

/// Whether the database named a constraint, or the client a value that it cannot encode: never a matter of time.
fn names_a_broken_rule(error: &Error) -> bool {
    match error {
        Error::DatabaseError(kind, _) => matches!(
            kind,
            Kind::UniqueViolation
                | Kind::ForeignKeyViolation
                | Kind::NotNullViolation
                | Kind::CheckViolation
                | Kind::RestrictViolation
                | Kind::ExclusionViolation
        ),
        Error::SerializationError(_) | Error::QueryBuilderError(_) => true,
        _ => false,
    }
}

/// The server's message; its details hold row values and stay out.
fn describe(error: &Error) -> String {
    let Error::DatabaseError(_, information) = error else { return error.to_string() };
    match information.constraint_name() {
        Some(name) => format!("constraint {name}: {}", information.message()),
        None => information.message().to_owned(),
    }
}
