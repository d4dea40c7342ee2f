//! When the database refuses a batch again and again: which of its records are the reason? Called by `write.rs`, inside the
//! batch's one transaction. Ranges of records are written in savepoints, in the order of the log; one that is refused is
//! halved until single records are left. What was accepted stays, so order and counts are those of an ordinary batch.
//!
//! What must stay true:
//! - a single record is blamed only when the database, at that moment, takes other rows of the same kind (`probe.rs`): a lock,
//!   a full disk, a timeout or a dead connection ends the transaction instead, and the batch is tried again later;
//! - one bad record of n costs at most 2 log2(n) + 2 attempts.

use std::ops::Range;
use std::time::{Duration, Instant};

use diesel::result::Error;
use diesel_async::SimpleAsyncConnection;

use super::Conn;
use super::error::{StoreError, Trouble, WriteError};
use super::intern::{Known, intern};
use super::probe::{execute, probe};
use super::rows::{Applied, Look, WriteJob};
use super::write::{check_budget, write_rows};
use crate::batch::DeadRecord;
use crate::events::{Reason, Rejection, Rows};

/// A refusal that took longer may be a lock or a timeout of the server, which are not below a second.
const QUICK: Duration = Duration::from_millis(500);
/// How long a probe speaks for the database.
const PROBE_HOLDS: Duration = Duration::from_secs(1);
/// Words of either database about itself. A hint only, that can save a record and never convict one.
const NOT_THE_DATA: [&str; 7] = [
    "could not extend",
    "No space left",
    "out of memory",
    "out of shared memory",
    "is full",
    "disk I/O",
    "cached plan",
];

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
    error: StoreError,
    took: Duration,
}

/// What has come of the batch so far.
#[derive(Default)]
struct Course {
    applied: Applied,
    /// A record that the database has taken.
    accepted: Option<u32>,
    /// The record that was blamed last.
    convicted: Option<u32>,
    /// When it took a probe, and for how long.
    probed: Option<(Instant, Duration)>,
}

/// Writes every record that the database takes. Those that it refuses are answered among the conflicts.
pub(super) async fn write_accepted(conn: &mut Conn<'_>, job: &WriteJob<'_>) -> Result<Applied, WriteError> {
    if let Conn::Postgres(c) = conn {
        // A deferred constraint would else speak only at COMMIT, where nobody can tell which record it means.
        c.batch_execute("set constraints all immediate").await?;
    }
    intern_in_one_order(conn, job).await?;
    let all = u32::try_from(job.batch.records.len()).unwrap_or(u32::MAX);
    let mut todo = vec![Todo { records: 0..all, refused: all > 1, first_half: false }];
    let mut course = Course { applied: Applied { attempts: 0, ..Applied::default() }, ..Course::default() };
    while let Some(Todo { records, refused, first_half }) = todo.pop() {
        if refused && records.len() > 1 {
            let middle = records.start + (records.end - records.start) / 2;
            todo.push(Todo { records: middle..records.end, refused: false, first_half: false });
            todo.push(Todo { records: records.start..middle, refused: false, first_half: true });
            continue;
        }
        match try_range(conn, job, records.clone(), &mut course).await? {
            Verdict::Accepted => {
                if let Some(other_half) = todo.last_mut().filter(|_| first_half) {
                    other_half.refused = true;
                }
            }
            Verdict::Refused(_) if records.len() > 1 => {
                todo.push(Todo { records, refused: true, first_half: false });
            }
            Verdict::Refused(refusal) => {
                let dead = convict(conn, job, records.start, refusal, &mut course).await?;
                course.applied.conflicts.extend(dead);
                if !job.is_exempt() {
                    check_budget(job, &course.applied.conflicts)?;
                }
            }
        }
    }
    if let Some(last) = course.convicted {
        probe(conn, job, last, course.accepted).await?; // it still takes rows, or nobody is guilty
    }
    Ok(course.applied)
}

/// Ids are made in the order that all writers keep, or two of them could wait for each other; where the database refuses
/// that, each range makes its own.
async fn intern_in_one_order(conn: &mut Conn<'_>, job: &WriteJob<'_>) -> Result<(), WriteError> {
    execute(conn, "savepoint ledgerline_names").await?;
    match intern(conn, &mut Known::nothing(), &job.batch.rows).await.map_err(StoreError::from) {
        Ok(_) => {}
        Err(error) if error.trouble() == Trouble::Refusal => {
            execute(conn, "rollback to savepoint ledgerline_names").await?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(execute(conn, "release savepoint ledgerline_names").await?)
}

/// Tries a range in a savepoint and keeps it if it is accepted. An error that no record can be blamed for ends the transaction.
/// A savepoint that is rolled back is released too: each open one costs the server a lock.
async fn try_range(
    conn: &mut Conn<'_>,
    job: &WriteJob<'_>,
    records: Range<u32>,
    course: &mut Course,
) -> Result<Verdict, WriteError> {
    course.applied.attempts += 1;
    let rows = job.batch.rows.of_records(records.clone());
    let started = Instant::now();
    execute(conn, "savepoint ledgerline_range").await?;
    match write_range(conn, job, &rows).await {
        Ok(more) => {
            execute(conn, "release savepoint ledgerline_range").await?;
            course.applied.add(more);
            if !rows.is_empty() {
                course.accepted = Some(records.start);
            }
            Ok(Verdict::Accepted)
        }
        Err(WriteError::Store(error)) if error.trouble() == Trouble::Refusal => {
            let took = started.elapsed();
            execute(conn, "rollback to savepoint ledgerline_range; release savepoint ledgerline_range")
                .await?;
            Ok(Verdict::Refused(Refusal { error, took }))
        }
        Err(error) => Err(error),
    }
}

async fn write_range(conn: &mut Conn<'_>, job: &WriteJob<'_>, rows: &Rows) -> Result<Applied, WriteError> {
    // Ids made inside a transaction are not committed yet: nothing of them may be remembered.
    let interned = intern(conn, &mut Known::nothing(), rows).await?;
    write_rows(conn, job, rows, &interned, Look::First).await
}

/// A single record was refused: is it the record? Only if it is refused twice, while the database takes other rows of the same
/// kind before it and in the end, and without the time that a lock or a timeout would have taken.
async fn convict(
    conn: &mut Conn<'_>,
    job: &WriteJob<'_>,
    record: u32,
    first: Refusal,
    course: &mut Course,
) -> Result<Option<DeadRecord>, WriteError> {
    let quick = probed(conn, job, record, course).await?;
    if !first.may_be_the_data(quick) {
        return Err(first.error.into());
    }
    let again = match try_range(conn, job, record..record + 1, course).await? {
        Verdict::Accepted => return Ok(None),
        Verdict::Refused(again) => again,
    };
    if !again.may_be_the_data(quick) {
        return Err(again.error.into());
    }
    course.convicted = Some(record);
    let rejection = Rejection::new(Reason::Refused, describe(&again.error));
    Ok(Some(DeadRecord { record, rejection }))
}

/// Makes sure that the database has taken a probe a moment ago. Answers what counts as quick: on a slow link a probe takes its
/// time as well, and it makes more round trips than a record.
async fn probed(
    conn: &mut Conn<'_>,
    job: &WriteJob<'_>,
    record: u32,
    course: &mut Course,
) -> Result<Duration, WriteError> {
    if let Some((at, took)) = course.probed
        && at.elapsed() < PROBE_HOLDS
    {
        return Ok(QUICK.max(took));
    }
    let started = Instant::now();
    probe(conn, job, record, course.accepted).await?;
    let took = started.elapsed();
    course.probed = Some((Instant::now(), took));
    Ok(QUICK.max(took))
}

impl Refusal {
    fn may_be_the_data(&self, quick: Duration) -> bool {
        let text = self.error.to_string();
        self.took < quick && !NOT_THE_DATA.iter().any(|words| text.contains(words))
    }
}

/// The server's message; its details hold row values and stay out.
fn describe(error: &StoreError) -> String {
    let StoreError::Query(Error::DatabaseError(_, information)) = error else { return error.to_string() };
    match information.constraint_name() {
        Some(name) => format!("constraint {name}: {}", information.message()),
        None => information.message().to_owned(),
    }
}
