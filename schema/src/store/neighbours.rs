//! What is stored beside quotes that are not stored themselves. Called by `removals.rs`; the fork between the databases, as in
//! `insert.rs`.
//!
//! What must stay true: two look-ups by key for each quote, however long the history of its selection is.

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bool, Double, Float, Nullable};
use diesel_async::RunQueryDsl;

use super::Conn;
use super::columns::Column;
use super::rows::{Key, OddsRow, Value};
use super::sqlite_rows::{self, blocking};
use crate::sql_types::UtcTimestamp;
use crate::time::UtcMicros;

/// What the quotes around a key say, in its selection; null where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neighbours {
    /// The last one before it.
    pub(super) earlier: Option<Value>,
    /// The first one after it.
    pub(super) later: Option<Value>,
}

/// Quotes of one question: it is answered well within the time of a statement.
const ASKED: usize = 20_000;

/// The neighbours of each of these quotes, in their order; a later one only if it is older than `before`.
pub(super) async fn neighbours(
    conn: &mut Conn<'_>,
    rows: &[OddsRow],
    before: UtcMicros,
) -> QueryResult<Vec<Neighbours>> {
    let mut found = Vec::with_capacity(rows.len());
    for rows in rows.chunks(ASKED) {
        match conn {
            Conn::Postgres(c) => {
                let question = Beside {
                    selection_ids: Column::of(rows.iter().map(|row| row.selection_id)),
                    observed_at: Column::of(rows.iter().map(|row| row.observed_at)),
                    before,
                };
                let answers: Vec<Answer> = question.load(c).await?;
                found.extend(answers.into_iter().map(Neighbours::from));
            }
            Conn::Sqlite(c) => {
                let keys: Vec<Key> = rows.iter().map(OddsRow::key).collect();
                found.extend(blocking(c, move |c| sqlite_rows::neighbours(c, &keys, before)).await?);
            }
        }
    }
    Ok(found)
}

/// Of the earlier quote, then of the later one: whether it is there, its price, its line.
type Answer = (bool, Option<f64>, Option<f32>, bool, Option<f64>, Option<f32>);

impl From<Answer> for Neighbours {
    fn from((is_earlier, earlier_price, earlier_line, is_later, price, line): Answer) -> Self {
        Self {
            earlier: is_earlier.then_some(Value { price: earlier_price, line: earlier_line }),
            later: is_later.then_some(Value { price, line }),
        }
    }
}

/// `select … from unnest(…) left join lateral …` twice.
struct Beside {
    selection_ids: Column<BigInt>,
    observed_at: Column<UtcTimestamp>,
    before: UtcMicros,
}

impl QueryId for Beside {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Beside {
    type SqlType = (Bool, Nullable<Double>, Nullable<Float>, Bool, Nullable<Double>, Nullable<Float>);
}

impl QueryFragment<Pg> for Beside {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "select earlier.selection_id is not null, earlier.price, earlier.line, \
             later.selection_id is not null, later.price, later.line from unnest(",
        );
        out.push_bind_param::<Array<BigInt>, _>(&self.selection_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<UtcTimestamp>, _>(&self.observed_at)?;
        out.push_sql(
            ") with ordinality as k (selection_id, observed_at, place) \
             left join lateral (\
               select selection_id, price, line from odds \
               where selection_id = k.selection_id and observed_at < k.observed_at \
               order by observed_at desc limit 1\
             ) earlier on true \
             left join lateral (\
               select selection_id, price, line from odds \
               where selection_id = k.selection_id and observed_at > k.observed_at and observed_at < ",
        );
        out.push_bind_param::<UtcTimestamp, _>(&self.before)?;
        out.push_sql(" order by observed_at limit 1) later on true order by k.place");
        Ok(())
    }
}
