//! The row-by-row twins of the bulk statements in `insert.rs`, in diesel's synchronous API: SQLite has no network, so a whole
//! batch goes in one hop to the blocking pool.

use diesel::prelude::*;

use super::AsyncSqlite;
use super::alerts::NewAlert;
use super::analyses::NewAnalysis;
use super::insert::{Stored, or_replace_another_record};
use super::neighbours::Neighbours;
use super::rows::{DeadLetterRow, Key, NewSelection, OddsRow, RefKey, StoredRow, Value};
use super::signals::NewSignal;
use crate::schema::{alerts, betting_analyses, dead_letters, game_refs, odds, selections, sharp_signals};
use crate::time::UtcMicros;

/// Runs diesel's synchronous API in one hop to the blocking pool: row-by-row inserts cost no hop each.
pub(super) async fn blocking<R: Send + 'static>(
    conn: &mut AsyncSqlite,
    task: impl FnOnce(&mut SqliteConnection) -> diesel::QueryResult<R> + Send + 'static,
) -> diesel::QueryResult<R> {
    conn.spawn_blocking(task).await
}

/// Inserts quotes with their offsets row by row. Answers how many went in.
pub(super) fn insert_odds(
    c: &mut SqliteConnection,
    lineage_id: i32,
    rows: &[(OddsRow, i64)],
    stored: Stored,
) -> QueryResult<usize> {
    let mut inserted = 0;
    for (row, record_offset) in rows {
        let values = (
            odds::selection_id.eq(row.selection_id),
            odds::observed_at.eq(row.observed_at),
            odds::record_offset.eq(record_offset),
            odds::price.eq(row.value.price),
            odds::lineage_id.eq(lineage_id),
            odds::line.eq(row.value.line),
        );
        let insert = diesel::insert_into(odds::table).values(values);
        inserted += match stored {
            Stored::Refuse => insert.execute(c)?,
            Stored::Skip => insert.on_conflict_do_nothing().execute(c)?,
        };
    }
    Ok(inserted)
}

/// What is stored under these keys.
pub(super) fn stored_odds(c: &mut SqliteConnection, keys: &[Key]) -> QueryResult<Vec<StoredRow>> {
    let mut stored = Vec::new();
    for key in keys {
        let query =
            odds::table.find(*key).select((odds::selection_id, odds::observed_at, odds::price, odds::line));
        stored.extend(query.load::<StoredRow>(c)?);
    }
    Ok(stored)
}

/// What stands beside these keys; a later quote only if it is older than `before`.
pub(super) fn neighbours(
    c: &mut SqliteConnection,
    keys: &[Key],
    before: UtcMicros,
) -> QueryResult<Vec<Neighbours>> {
    let value = |(price, line)| Value { price, line };
    let beside = |(selection_id, at): &Key| {
        let of_selection =
            || odds::table.filter(odds::selection_id.eq(*selection_id)).select((odds::price, odds::line));
        let earlier = of_selection().filter(odds::observed_at.lt(*at)).order(odds::observed_at.desc());
        let later = of_selection()
            .filter(odds::observed_at.gt(*at).and(odds::observed_at.lt(before)))
            .order(odds::observed_at);
        Ok(Neighbours {
            earlier: earlier.first(c).optional()?.map(value),
            later: later.first(c).optional()?.map(value),
        })
    };
    keys.iter().map(beside).collect()
}

/// Stores the selections that are not there yet, in one transaction.
pub(super) fn insert_selections(c: &mut SqliteConnection, rows: Vec<NewSelection>) -> QueryResult<()> {
    c.transaction(|c| {
        for row in rows {
            diesel::insert_into(selections::table).values(row).on_conflict_do_nothing().execute(c)?;
        }
        Ok(())
    })
}

/// Stores the game refs that are not there yet, in one transaction.
pub(super) fn insert_game_refs(c: &mut SqliteConnection, refs: &[RefKey]) -> QueryResult<()> {
    c.transaction(|c| {
        for (system, id) in refs {
            let row = (game_refs::system.eq(system), game_refs::external_id.eq(id));
            diesel::insert_into(game_refs::table).values(row).on_conflict_do_nothing().execute(c)?;
        }
        Ok(())
    })
}

/// Stores the dead letters that are not there yet, and those that take the place of another record.
pub(super) fn insert_dead_letters(c: &mut SqliteConnection, rows: Vec<DeadLetterRow>) -> QueryResult<()> {
    for row in rows {
        let insert = diesel::insert_into(dead_letters::table).values(row);
        or_replace_another_record!(insert, is_not).execute(c)?;
    }
    Ok(())
}

/// Stores the signals that are not there yet. Answers how many went in.
pub(super) fn insert_signals(c: &mut SqliteConnection, rows: &[NewSignal]) -> QueryResult<usize> {
    let mut inserted = 0;
    for row in rows {
        inserted +=
            diesel::insert_into(sharp_signals::table).values(row).on_conflict_do_nothing().execute(c)?;
    }
    Ok(inserted)
}

/// Stores the analyses that are not there yet. Answers how many went in.
pub(super) fn insert_analyses(c: &mut SqliteConnection, rows: &[NewAnalysis]) -> QueryResult<usize> {
    let mut inserted = 0;
    for row in rows {
        let insert = diesel::insert_into(betting_analyses::table).values(row);
        inserted += insert.on_conflict_do_nothing().execute(c)?;
    }
    Ok(inserted)
}

/// Stores new alerts.
pub(super) fn insert_alerts(c: &mut SqliteConnection, new: &[NewAlert]) -> QueryResult<()> {
    for alert in new {
        diesel::insert_into(alerts::table).values(alert).execute(c)?;
    }
    Ok(())
}
