//! Bulk statements: the fork between the databases. PostgreSQL takes arrays (`unnest`): one cacheable statement, a constant
//! number of parameters, any batch size. SQLite has no network, so rows go one by one, in one hop to the blocking pool.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bool, Double, Float, Integer, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::future::join_all;

use super::columns::Column;
use super::rows::{
    Key, NewSelection, OddsRow, RefKey, Standing, StoredRow, Value, WriteJob, dead_letter_row,
};
use super::sqlite_rows::{self, blocking};
use super::{Conn, Wire};
use crate::batch::{DeadRecord, Records};
use crate::schema::dead_letters as letters;
use crate::sql_types::UtcTimestamp;

/// `insert into odds … select unnest(…), …`. A type of its own for each text, because the statement cache goes by type.
///
/// The arrays are opened in the select list and not in FROM: there each would be copied into a tuple store first, which took a
/// tenth of the server's time.
struct InsertOdds<const SKIP_STORED: bool> {
    lineage_id: i32,
    selection_ids: Column<BigInt>,
    observed_at: Column<UtcTimestamp>,
    record_offsets: Column<BigInt>,
    prices: Column<Nullable<Double>>,
    lines: Column<Nullable<Float>>,
}

impl<const SKIP_STORED: bool> InsertOdds<SKIP_STORED> {
    fn new(lineage_id: i32, sorted: &[OddsRow], records: &Records) -> Self {
        Self {
            lineage_id,
            selection_ids: Column::of(sorted.iter().map(|row| row.selection_id)),
            observed_at: Column::of(sorted.iter().map(|row| row.observed_at)),
            record_offsets: Column::of(sorted.iter().map(|row| records.offset(row.record))),
            prices: Column::of(sorted.iter().map(|row| row.value.price)),
            lines: Column::of(sorted.iter().map(|row| row.value.line)),
        }
    }
}

impl<const SKIP_STORED: bool> QueryId for InsertOdds<SKIP_STORED> {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const SKIP_STORED: bool> QueryFragment<Pg> for InsertOdds<SKIP_STORED> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "insert into odds (lineage_id, selection_id, observed_at, record_offset, price, line) \
             select ",
        );
        out.push_bind_param::<Integer, _>(&self.lineage_id)?;
        out.push_sql(", unnest(");
        out.push_bind_param::<Array<BigInt>, _>(&self.selection_ids)?;
        out.push_sql("), unnest(");
        out.push_bind_param::<Array<UtcTimestamp>, _>(&self.observed_at)?;
        out.push_sql("), unnest(");
        out.push_bind_param::<Array<BigInt>, _>(&self.record_offsets)?;
        out.push_sql("), unnest(");
        out.push_bind_param::<Array<Nullable<Double>>, _>(&self.prices)?;
        out.push_sql("), unnest(");
        out.push_bind_param::<Array<Nullable<Float>>, _>(&self.lines)?;
        out.push_sql(")");
        if SKIP_STORED {
            out.push_sql(" on conflict do nothing");
        }
        Ok(())
    }
}

/// What to do with a quote whose key is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// The statement fails.
    Refuse,
    /// It is left out.
    Skip,
}

/// Inserts quotes, sorted by key. Answers how many went in.
pub(super) async fn odds(
    wire: Wire<'_>,
    lineage_id: i32,
    sorted: &[OddsRow],
    records: &Records,
    stored: Stored,
) -> QueryResult<usize> {
    if sorted.is_empty() {
        return Ok(0);
    }
    match (wire, stored) {
        (Wire::Postgres(mut c), Stored::Refuse) => {
            InsertOdds::<false>::new(lineage_id, sorted, records).execute(&mut c).await
        }
        (Wire::Postgres(mut c), Stored::Skip) => {
            InsertOdds::<true>::new(lineage_id, sorted, records).execute(&mut c).await
        }
        (Wire::Sqlite(c), _) => {
            let rows: Vec<_> = sorted.iter().map(|row| (*row, records.offset(row.record))).collect();
            blocking(c, move |c| sqlite_rows::insert_odds(c, lineage_id, &rows, stored)).await
        }
    }
}

/// Rows of one of several statements that are sent together. While the server runs one, the next is encoded; and its arrays stay in
/// the processor's cache.
const ROWS_PER_PART: usize = 1_250;

/// The same in several statements, none of which waits for the one before. Fails on the first stored key.
pub(super) async fn odds_in_parts(
    c: &AsyncPgConnection,
    lineage_id: i32,
    sorted: &[OddsRow],
    records: &Records,
) -> QueryResult<usize> {
    let parts = sorted.chunks(ROWS_PER_PART);
    let parts = parts.map(|rows| odds(Wire::Postgres(c), lineage_id, rows, records, Stored::Refuse));
    join_all(parts).await.into_iter().sum() // the first error in their order: those behind it only say that it was
}

/// `select … from unnest(…) left join odds …`: the quotes that are not stored as they are. The limit of the inner query is not
/// needed to be right, a key is unique: it keeps the planner from building a bitmap for every single row.
struct UnlikeStored {
    selection_ids: Column<BigInt>,
    observed_at: Column<UtcTimestamp>,
    prices: Column<Nullable<Double>>,
    lines: Column<Nullable<Float>>,
}

impl QueryId for UnlikeStored {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for UnlikeStored {
    type SqlType = (BigInt, Bool, Nullable<Double>, Nullable<Float>);
}

impl QueryFragment<Pg> for UnlikeStored {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("select k.place, o.selection_id is not null, o.price, o.line from unnest(");
        out.push_bind_param::<Array<BigInt>, _>(&self.selection_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<UtcTimestamp>, _>(&self.observed_at)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Double>>, _>(&self.prices)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Float>>, _>(&self.lines)?;
        out.push_sql(
            ") with ordinality as k (selection_id, observed_at, price, line, place) \
             left join lateral (\
               select selection_id, price, line from odds \
               where selection_id = k.selection_id and observed_at = k.observed_at limit 1\
             ) o on true \
             where o.selection_id is null or o.price is distinct from k.price or o.line is distinct from k.line",
        );
        Ok(())
    }
}

/// What is stored under the keys of these quotes. PostgreSQL tells only what differs: of a replay nothing comes back.
pub(super) async fn stored_odds(conn: &mut Conn<'_>, rows: &[OddsRow]) -> QueryResult<Standing> {
    let c = match conn {
        Conn::Postgres(c) => c,
        Conn::Sqlite(c) => {
            let keys: Vec<Key> = rows.iter().map(OddsRow::key).collect();
            let stored = blocking(c, move |c| sqlite_rows::stored_odds(c, &keys)).await?;
            let pair = |(id, at, price, line): StoredRow| ((id, at), Value { price, line });
            return Ok(stored.into_iter().map(pair).collect());
        }
    };
    let question = UnlikeStored {
        selection_ids: Column::of(rows.iter().map(|row| row.selection_id)),
        observed_at: Column::of(rows.iter().map(|row| row.observed_at)),
        prices: Column::of(rows.iter().map(|row| row.value.price)),
        lines: Column::of(rows.iter().map(|row| row.value.line)),
    };
    let unlike: Vec<(i64, bool, Option<f64>, Option<f32>)> = question.load(c).await?;
    let mut standing: Standing = rows.iter().map(|row| (row.key(), row.value)).collect();
    for (place, is_stored, price, line) in unlike {
        let row = usize::try_from(place - 1).ok().and_then(|place| rows.get(place));
        let key = row.map(OddsRow::key).ok_or(diesel::result::Error::NotFound)?;
        if is_stored {
            standing.insert(key, Value { price, line });
        } else {
            standing.remove(&key);
        }
    }
    Ok(standing)
}

/// Stores the selections that are not there yet; sorted by the caller.
pub(super) async fn selections(conn: &mut Conn<'_>, rows: Vec<NewSelection>) -> QueryResult<()> {
    match conn {
        Conn::Postgres(c) => {
            let insert = diesel::insert_into(crate::schema::selections::table).values(rows);
            insert.on_conflict_do_nothing().execute(c).await?;
        }
        Conn::Sqlite(c) => blocking(c, move |c| sqlite_rows::insert_selections(c, rows)).await?,
    }
    Ok(())
}

/// Most game refs of one statement: 2 parameters each.
const REFS_PER_STATEMENT: usize = 5_000;

/// Stores the game refs that are not there yet; sorted by the caller.
pub(super) async fn game_refs(conn: &mut Conn<'_>, refs: Vec<RefKey>) -> QueryResult<()> {
    use crate::schema::game_refs::{external_id, system, table};
    match conn {
        Conn::Postgres(c) => {
            for refs in refs.chunks(REFS_PER_STATEMENT) {
                let rows: Vec<_> = refs.iter().map(|(of, id)| (system.eq(of), external_id.eq(id))).collect();
                diesel::insert_into(table).values(rows).on_conflict_do_nothing().execute(c).await?;
            }
        }
        Conn::Sqlite(c) => blocking(c, move |c| sqlite_rows::insert_game_refs(c, &refs)).await?,
    }
    Ok(())
}

/// Most dead letters of one statement: 13 parameters each, PostgreSQL takes 65,535.
const LETTERS_PER_STATEMENT: usize = 1_000;

/// Where a dead letter of the same offset is stored: if another record came in its place (the log was truncated and went on),
/// it takes the place of the old one and starts anew. The same record stays as it is, whatever became of it. Two records are
/// the same only if their timestamp, key, value and headers are: a log that was written again may differ in any one of them. Of
/// a letter whose bytes were pruned the timestamp is all that is left to tell by. `$differs` is how the database compares where
/// either side may be null.
macro_rules! or_replace_another_record {
    ($insert:expr, $differs:ident) => {{
        use diesel::query_dsl::methods::FilterDsl as _;
        use diesel::upsert::excluded;
        use $crate::schema::dead_letters as l;
        $insert
            .on_conflict((l::lineage_id, l::record_offset))
            .do_update()
            .set((
                l::record_timestamp.eq(excluded(l::record_timestamp)),
                l::key.eq(excluded(l::key)),
                l::payload.eq(excluded(l::payload)),
                l::headers.eq(excluded(l::headers)),
                l::reason.eq(excluded(l::reason)),
                l::detail.eq(excluded(l::detail)),
                l::correlation_id.eq(excluded(l::correlation_id)),
                l::trace_parent.eq(excluded(l::trace_parent)),
                l::created_at.eq(excluded(l::created_at)),
                l::status.eq($crate::store::letters::LetterStatus::Dead.name()),
                l::attempts.eq(0),
                l::attempted_at.eq(None::<$crate::time::UtcMicros>),
                l::resolved_at.eq(None::<$crate::time::UtcMicros>),
                l::pruned_at.eq(None::<$crate::time::UtcMicros>),
            ))
            .filter(
                l::record_timestamp.$differs(excluded(l::record_timestamp)).or(l::pruned_at.is_null().and(
                    l::payload
                        .$differs(excluded(l::payload))
                        .or(l::key.$differs(excluded(l::key)))
                        .or(l::headers.$differs(excluded(l::headers))),
                )),
            )
    }};
}
pub(super) use or_replace_another_record;

/// Stores the dead letters of a batch. One that another group stored before stays as it is: it is the same record.
pub(super) async fn dead_letters(
    mut wire: Wire<'_>,
    job: &WriteJob<'_>,
    dead: &[DeadRecord],
) -> QueryResult<()> {
    for chunk in dead.chunks(LETTERS_PER_STATEMENT) {
        let rows: Vec<_> = chunk.iter().map(|dead| dead_letter_row(job, dead)).collect();
        match wire.wire() {
            Wire::Postgres(mut c) => {
                let insert = diesel::insert_into(letters::table).values(rows);
                or_replace_another_record!(insert, is_distinct_from).execute(&mut c).await?;
            }
            Wire::Sqlite(c) => blocking(c, move |c| sqlite_rows::insert_dead_letters(c, rows)).await?,
        }
    }
    Ok(())
}
