//! The accounts of quotes that were removed on purpose. Written by `sweep.rs` in the transaction of the delete; `verify.rs` adds
//! them to what is stored, and `recheck.rs` asks whether a quote that is not there was rightly removed.

use std::collections::{BTreeMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel_async::RunQueryDsl;

use super::error::StoreError;
use super::neighbours::{Neighbours, neighbours};
use super::rows::{Key, NO_SELECTION, OddsRow};
use super::{Conn, Store, with_conn};
use crate::schema::removals;
use crate::sql_types::UtcTimestamp;
use crate::time::UtcMicros;

/// Why quotes are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// They lie inside a run of equal quotes.
    Compacted,
    /// They are older than what is kept.
    Expired,
}

impl Removal {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::Compacted, Self::Expired];

    /// The name in the database and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Compacted => "compacted",
            Self::Expired => "expired",
        }
    }
}

/// What was removed of one log for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(super) struct Removed {
    pub(super) lineage_id: i32,
    pub(super) reason: String,
    pub(super) rows: i64,
    pub(super) horizon: UtcMicros,
}

/// In place of a lineage: how far a sweep got that came to its end, whether it removed anything or not. Ids start at 1.
const WHOLE_SWEEP: i32 = 0;

/// All that was ever removed.
pub(super) async fn load(conn: &mut Conn<'_>) -> QueryResult<Vec<Removed>> {
    let columns = (removals::lineage_id, removals::reason, removals::rows, removals::horizon);
    let of_logs = removals::table.filter(removals::lineage_id.ne(WHOLE_SWEEP));
    let query = of_logs.select(columns).order((removals::lineage_id, removals::reason));
    with_conn!(conn, c => query.load(c).await)
}

impl Store {
    /// The latest horizon of a sweep for that reason that came to its end; null before the first.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn swept_before(&self, removal: Removal) -> Result<Option<UtcMicros>, StoreError> {
        let mut session = self.checkout().await?;
        let query = removals::table.find((WHOLE_SWEEP, removal.name())).select(removals::horizon);
        let conn = &mut session.conn();
        let horizon: QueryResult<UtcMicros> = with_conn!(conn, c => query.first(c).await);
        Ok(horizon.optional()?)
    }
}

fn latest(removed: &[Removed], reason: Removal) -> Option<UtcMicros> {
    removed.iter().filter(|row| row.reason == reason.name()).map(|row| row.horizon).max()
}

/// Keeps the accounts, a lineage for each removed row: how many of each log, and the latest horizon.
pub(super) async fn write_down(
    conn: &mut Conn<'_>,
    reason: Removal,
    horizon: UtcMicros,
    lineages: impl Iterator<Item = i32>,
) -> QueryResult<()> {
    let mut rows: BTreeMap<i32, i64> = BTreeMap::new();
    for lineage_id in lineages {
        *rows.entry(lineage_id).or_default() += 1;
    }
    for (lineage_id, rows) in rows {
        add(conn, reason, horizon, (lineage_id, rows)).await?;
    }
    Ok(())
}

/// Notes that a sweep came to its end: nothing older than the horizon is left for another one.
pub(super) async fn write_down_the_end(
    conn: &mut Conn<'_>,
    reason: Removal,
    horizon: UtcMicros,
) -> QueryResult<()> {
    add(conn, reason, horizon, (WHOLE_SWEEP, 0)).await
}

async fn add(
    conn: &mut Conn<'_>,
    reason: Removal,
    horizon: UtcMicros,
    (lineage_id, rows): (i32, i64),
) -> QueryResult<()> {
    let upsert = diesel::sql_query(
            "insert into removals (lineage_id, reason, rows, horizon) values ($1, $2, $3, $4) \
             on conflict (lineage_id, reason) do update set rows = removals.rows + excluded.rows, \
             horizon = case when excluded.horizon > removals.horizon then excluded.horizon else removals.horizon end",
        )
        .bind::<Integer, _>(lineage_id)
        .bind::<Text, _>(reason.name())
        .bind::<BigInt, _>(rows)
        .bind::<UtcTimestamp, _>(horizon);
    with_conn!(conn, c => upsert.execute(c).await)?;
    Ok(())
}

/// What became of quotes that are not stored.
#[derive(Default)]
pub(super) struct Judged {
    /// Removed as the rules say.
    pub(super) rightly: HashSet<Key>,
    /// Perhaps: nothing is stored before them, and what they would have been equal to may have expired.
    pub(super) unjudged: HashSet<Key>,
}

/// Which of these quotes, none of which is stored, were removed as the rules say. A quote that another one differs from which
/// came in beside it since is not among them: what is stored no longer tells its price.
///
/// That a selection had older quotes, which have expired, is not written down anywhere: so the first ones of what is stored
/// cannot be judged. The accounts do not bound them either: they count a row by the log that brought it first, and again
/// whenever a replay brought it back, while the re-read meets it once for each log and group.
pub(super) async fn judge(conn: &mut Conn<'_>, absent: Vec<OddsRow>) -> QueryResult<Judged> {
    let mut judged = Judged::default();
    if absent.is_empty() {
        return Ok(judged);
    }
    // Whatever the log: an equal quote of a second log is a duplicate, and its row says the first one.
    let removed = load(conn).await?;
    let horizon = |reason| latest(&removed, reason).unwrap_or(UtcMicros::EARLIEST);
    let (compacted, expired) = (horizon(Removal::Compacted), horizon(Removal::Expired));
    let mut inside = Vec::new();
    for row in absent {
        if row.selection_id == NO_SELECTION {
            continue; // nothing was ever stored of it, so nothing was removed
        }
        if row.observed_at < expired {
            judged.rightly.insert(row.key());
        } else if row.observed_at < compacted {
            inside.push(row);
        }
    }
    let may_have_expired = expired > UtcMicros::EARLIEST;
    // A later neighbour that is younger than the horizon was none then.
    for (row, Neighbours { earlier, later }) in inside.iter().zip(neighbours(conn, &inside, compacted).await?)
    {
        if later != Some(row.value) {
            continue;
        }
        match earlier {
            Some(earlier) if earlier == row.value => judged.rightly.insert(row.key()),
            None if may_have_expired => judged.unjudged.insert(row.key()),
            _ => false,
        };
    }
    Ok(judged)
}
