//! The walk that takes quotes out of `odds`: those inside a run of equal ones (compaction), and those that are too old
//! (retention). Called by `ledgerline compact|retention` and by the schedule of `run`, chunk by chunk.
//!
//! What must stay true: compaction removes a quote only where the quotes before and after it in its selection, older than the
//! horizon like itself, have the same price and line: so no change is lost, and what is left does not depend on the order of
//! arrival, on chunks, or on how often it ran; every removed row is counted in `removals` in the transaction of its delete; one
//! transaction looks at a bounded number of rows.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};

use super::error::StoreError;
use super::removals::{self, Removal};
use super::{Conn, Store, with_conn};
use crate::sql_types::UtcTimestamp;
use crate::time::UtcMicros;

/// A walk over all quotes in the order of their keys.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// What it removes.
    pub removal: Removal,
    /// Only quotes observed before this are looked at.
    pub horizon: UtcMicros,
    /// Most rows of one transaction; 3 at least, or it would not get on.
    pub chunk_rows: i64,
    /// Only count.
    pub dry_run: bool,
}

/// The natural key of a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, QueryableByName)]
pub struct QuoteKey {
    /// The interned selection.
    #[diesel(sql_type = BigInt)]
    pub selection_id: i64,
    /// When it was seen.
    #[diesel(sql_type = UtcTimestamp)]
    pub observed_at: UtcMicros,
}

/// What one transaction of a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweptChunk {
    /// Quotes older than the horizon that no earlier chunk had looked at.
    pub scanned: i64,
    /// Selections that begin among them.
    pub selections: i64,
    /// Quotes removed; in a dry run those that would have been.
    pub removed: i64,
    /// Where the next chunk starts; null at the end.
    pub next: Option<QuoteKey>,
}

/// For one chunk. Statistics that are out of date must not make it read the whole table; compiling its statements takes longer
/// than running them; and a slow disk has its time: a chunk that fails would fail in every turn, and nothing waits for it.
const SETTINGS: &str =
    "set local enable_seqscan = off; set local jit = off; set local statement_timeout = '5min'";

impl Store {
    /// Sweeps the next chunk: `after` is where the one before says, null for the first. Null where somebody else is sweeping
    /// this database.
    ///
    /// # Errors
    /// `Rejected`: the role may not remove quotes. Else the database did not answer; what earlier chunks removed is removed.
    pub async fn sweep(
        &self,
        sweep: &Sweep,
        after: Option<QuoteKey>,
    ) -> Result<Option<SweptChunk>, StoreError> {
        let mut session = self.checkout().await?;
        match session.conn() {
            Conn::Postgres(c) => {
                c.transaction(async |c| {
                    if !sweep.dry_run && !may_sweep(&mut Conn::Postgres(c)).await? {
                        return Ok(None);
                    }
                    c.batch_execute(SETTINGS).await?;
                    Ok(Some(sweep_chunk(&mut Conn::Postgres(c), sweep, after).await?))
                })
                .await
            }
            Conn::Sqlite(c) => {
                c.immediate_transaction(async |c| {
                    Ok(Some(sweep_chunk(&mut Conn::Sqlite(c), sweep, after).await?))
                })
                .await
            }
        }
    }
}

/// Takes the lock of the one sweep of a database until the transaction ends. Two at a time would do no harm, only work twice
/// and wait for each other.
async fn may_sweep(conn: &mut Conn<'_>) -> Result<bool, StoreError> {
    #[derive(QueryableByName)]
    struct Answer {
        #[diesel(sql_type = Bool)]
        granted: bool,
        #[diesel(sql_type = Bool)]
        held: bool,
    }
    let query = diesel::sql_query(
        "select has_table_privilege('odds', 'delete') and has_table_privilege('removals', 'insert') \
                and has_table_privilege('removals', 'update') as granted, \
                pg_try_advisory_xact_lock(hashtext('ledgerline removals')) as held",
    );
    let answers: Vec<Answer> = with_conn!(conn, c => query.load(c).await)?;
    if answers.iter().any(|answer| !answer.granted) {
        return Err(StoreError::Rejected(
            "this role may not remove quotes: it needs delete on odds, and insert and update on removals, \
             as docs/roles.sql grants them to ledgerline_maintenance"
                .into(),
        ));
    }
    Ok(answers.iter().all(|answer| answer.held))
}

/// Rows in the order of their keys, both ends included.
#[derive(Clone, Copy)]
struct Window {
    first: QuoteKey,
    last: QuoteKey,
}

async fn sweep_chunk(conn: &mut Conn<'_>, sweep: &Sweep, after: Option<QuoteKey>) -> QueryResult<SweptChunk> {
    let seen = after.unwrap_or(LOWEST);
    let first = match sweep.removal {
        // The last row of the chunk before had no successor there: it is judged now, with the row before it that is left.
        Removal::Compacted => before(conn, seen).await?.unwrap_or(seen),
        // Age needs no neighbour, and to look back were to go over all that was deleted so far, again in every chunk.
        Removal::Expired => seen,
    };
    let end = nth_from(conn, first, sweep.chunk_rows).await?;
    let window = Window { first, last: end.unwrap_or(HIGHEST) };
    let Counted { scanned, selections } = count(conn, sweep, seen, window.last).await?;
    let removed = match sweep.removal {
        Removal::Compacted => compact(conn, sweep, window).await?,
        Removal::Expired => expire(conn, sweep, seen, window.last).await?,
    };
    if !sweep.dry_run {
        let lineages = removed.iter().map(|origin| origin.lineage_id);
        removals::write_down(conn, sweep.removal, sweep.horizon, lineages).await?;
        if end.is_none() {
            removals::write_down_the_end(conn, sweep.removal, sweep.horizon).await?;
        }
    }
    Ok(SweptChunk { scanned, selections, removed: removed.len() as i64, next: end })
}

/// Before every key.
const LOWEST: QuoteKey = QuoteKey { selection_id: i64::MIN, observed_at: UtcMicros::EARLIEST };
/// After every key.
const HIGHEST: QuoteKey = QuoteKey { selection_id: i64::MAX, observed_at: UtcMicros::LATEST };

async fn before(conn: &mut Conn<'_>, key: QuoteKey) -> QueryResult<Option<QuoteKey>> {
    let query = diesel::sql_query(
        "select selection_id, observed_at from odds where (selection_id, observed_at) < ($1, $2) \
         order by selection_id desc, observed_at desc limit 1",
    )
    .bind::<BigInt, _>(key.selection_id)
    .bind::<UtcTimestamp, _>(key.observed_at);
    let found: Vec<QuoteKey> = with_conn!(conn, c => query.load(c).await)?;
    Ok(found.as_slice().first().copied())
}

/// The `number`th row from `first` on; null where there are fewer.
async fn nth_from(conn: &mut Conn<'_>, first: QuoteKey, number: i64) -> QueryResult<Option<QuoteKey>> {
    let query = diesel::sql_query(
        "select selection_id, observed_at from odds where (selection_id, observed_at) >= ($1, $2) \
         order by selection_id, observed_at limit 1 offset $3",
    )
    .bind::<BigInt, _>(first.selection_id)
    .bind::<UtcTimestamp, _>(first.observed_at)
    .bind::<BigInt, _>(number - 1);
    let found: Vec<QuoteKey> = with_conn!(conn, c => query.load(c).await)?;
    Ok(found.as_slice().first().copied())
}

#[derive(Clone, Copy, Default, QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    scanned: i64,
    #[diesel(sql_type = BigInt)]
    selections: i64,
}

async fn count(conn: &mut Conn<'_>, sweep: &Sweep, after: QuoteKey, last: QuoteKey) -> QueryResult<Counted> {
    let query = diesel::sql_query(
        "select count(*) as scanned, count(distinct case when selection_id > $1 then selection_id end) as selections \
         from odds where (selection_id, observed_at) > ($1, $2) and (selection_id, observed_at) <= ($3, $4) \
         and observed_at < $5",
    )
    .bind::<BigInt, _>(after.selection_id)
    .bind::<UtcTimestamp, _>(after.observed_at)
    .bind::<BigInt, _>(last.selection_id)
    .bind::<UtcTimestamp, _>(last.observed_at)
    .bind::<UtcTimestamp, _>(sweep.horizon);
    let counted: Vec<Counted> = with_conn!(conn, c => query.load(c).await)?;
    Ok(counted.as_slice().first().copied().unwrap_or_default())
}

/// The log that a removed row came from.
#[derive(QueryableByName)]
struct Origin {
    #[diesel(sql_type = Integer)]
    lineage_id: i32,
}

/// The rows of a window, older than the horizon, each with its neighbours in its selection; then those that say nothing which
/// both neighbours do not say. At the ends of the window a neighbour is unknown, and the row stays.
macro_rules! inside_of_runs {
    ($columns:literal) => {
        concat!(
            "select ", $columns, " from (select ", $columns, ", price, line, \
                    lag(observed_at) over run as earlier, lag(price) over run as earlier_price, \
                    lag(line) over run as earlier_line, lead(observed_at) over run as later, \
                    lead(price) over run as later_price, lead(line) over run as later_line \
             from odds where (selection_id, observed_at) >= ($1, $2) and (selection_id, observed_at) <= ($3, $4) \
             and observed_at < $5 window run as (partition by selection_id order by observed_at)) judged \
             where earlier is not null and later is not null \
             and price is not distinct from earlier_price and price is not distinct from later_price \
             and line is not distinct from earlier_line and line is not distinct from later_line"
        )
    };
}

async fn compact(conn: &mut Conn<'_>, sweep: &Sweep, window: Window) -> QueryResult<Vec<Origin>> {
    let text = match (sweep.dry_run, &conn) {
        (true, _) => inside_of_runs!("lineage_id"),
        // By their places, which nothing but vacuum changes, and vacuum spares what this statement sees: no join to plan.
        (false, Conn::Postgres(_)) => concat!(
            "delete from odds where ctid = any (array(",
            inside_of_runs!("ctid"),
            ")) returning lineage_id"
        ),
        (false, Conn::Sqlite(_)) => concat!(
            "delete from odds where (selection_id, observed_at) in (",
            inside_of_runs!("selection_id, observed_at"),
            ") returning lineage_id"
        ),
    };
    let query = diesel::sql_query(text)
        .bind::<BigInt, _>(window.first.selection_id)
        .bind::<UtcTimestamp, _>(window.first.observed_at)
        .bind::<BigInt, _>(window.last.selection_id)
        .bind::<UtcTimestamp, _>(window.last.observed_at)
        .bind::<UtcTimestamp, _>(sweep.horizon);
    with_conn!(conn, c => query.load(c).await)
}

async fn expire(
    conn: &mut Conn<'_>,
    sweep: &Sweep,
    after: QuoteKey,
    last: QuoteKey,
) -> QueryResult<Vec<Origin>> {
    macro_rules! old {
        () => {
            "from odds where (selection_id, observed_at) > ($1, $2) and (selection_id, observed_at) <= ($3, $4) \
             and observed_at < $5"
        };
    }
    let text = match sweep.dry_run {
        true => concat!("select lineage_id ", old!()),
        false => concat!("delete ", old!(), " returning lineage_id"),
    };
    let query = diesel::sql_query(text)
        .bind::<BigInt, _>(after.selection_id)
        .bind::<UtcTimestamp, _>(after.observed_at)
        .bind::<BigInt, _>(last.selection_id)
        .bind::<UtcTimestamp, _>(last.observed_at)
        .bind::<UtcTimestamp, _>(sweep.horizon);
    with_conn!(conn, c => query.load(c).await)
}
