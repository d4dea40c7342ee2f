//! Two games that are one: an event never merges games, it leaves a conflict; here an operator decides. Called by
//! `ledgerline games merge` and by the API.
//!
//! What must stay true: one transaction locks refs before games, each in the order of ids, as the line does; the newest state
//! of the two stands afterwards; nothing is deleted, and `operator_actions` has who and why.

use std::fmt;
use std::str::FromStr;

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::audit::{self, Action};
use super::error::StoreError;
use super::undo::{Undo, outcome};
use super::{Conn, Store, in_tx, with_conn};
use crate::events::game::Version;
use crate::schema::{game_conflicts, game_refs, games};
use crate::time::UtcMicros;

/// What a system calls a game: `SYSTEM:ID`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GameName {
    /// The system.
    pub system: String,
    /// Its id of the game.
    pub id: String,
}

impl fmt::Display for GameName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.system, self.id)
    }
}

impl FromStr for GameName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((system, id)) if !system.is_empty() && !id.is_empty() => {
                Ok(Self { system: system.to_owned(), id: id.to_owned() })
            }
            Some(_) | None => Err("not SYSTEM:ID, such as espn:401772971".to_owned()),
        }
    }
}

/// The order to make one game of two.
#[derive(Debug, Clone)]
pub struct Merge {
    /// A name of the game that stays.
    pub keep: GameName,
    /// A name of the game whose names it takes over.
    pub merge: GameName,
    /// Who, for the trail.
    pub actor: String,
    /// Why, for the trail.
    pub reason: String,
    /// Now, by the caller's clock.
    pub now: UtcMicros,
    /// Do everything, and take it back.
    pub dry_run: bool,
}

/// What a merge changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// The game that stays.
    pub kept: i64,
    /// The game that is no more.
    pub merged: i64,
    /// Names that lead to the other game now.
    pub names: usize,
    /// Conflicts between the two that are settled by it.
    pub conflicts: usize,
    /// Whether the state of the merged game was the newer one, and stands now.
    pub state_taken: bool,
}

impl Store {
    /// Makes one game of two.
    ///
    /// # Errors
    /// `Rejected`: a name that leads to no game, or both lead to one.
    pub async fn merge_games(&self, order: &Merge) -> Result<Merged, StoreError> {
        outcome(in_tx!(self, conn => merge_in_tx(conn, order)))
    }
}

async fn merge_in_tx(conn: &mut Conn<'_>, order: &Merge) -> Result<Merged, Undo<Merged>> {
    let (keep, merge) = (game_of(conn, &order.keep).await?, game_of(conn, &order.merge).await?);
    lock_refs(conn, [keep, merge]).await?;
    // Somebody may have merged one of them before the lock was ours.
    let (kept, merged) = (game_of(conn, &order.keep).await?, game_of(conn, &order.merge).await?);
    if (kept, merged) != (keep, merge) {
        return Err(
            StoreError::Rejected("one of the games was merged at the same time: look again".into()).into()
        );
    }
    if kept == merged {
        let same = format!("{} and {} are one game already", order.keep, order.merge);
        return Err(StoreError::Rejected(same).into());
    }
    let state_taken = is_newer(conn, merged, kept).await?;
    if state_taken {
        take_state(conn, merged, kept).await?;
    }
    let names = diesel::update(game_refs::table.filter(game_refs::game_id.eq(merged)))
        .set(game_refs::game_id.eq(kept));
    let names = with_conn!(conn, c => names.execute(c).await)?;
    let gone = diesel::update(games::table.find(merged)).set(games::merged_into.eq(kept));
    with_conn!(conn, c => gone.execute(c).await)?;
    let conflicts = settle_conflicts(conn, kept, merged, order.now).await?;
    audit_row(conn, order, kept, merged).await?;
    let done = Merged { kept, merged, names, conflicts, state_taken };
    if order.dry_run { Err(Undo::Answer(done)) } else { Ok(done) }
}

async fn game_of(conn: &mut Conn<'_>, name: &GameName) -> Result<i64, StoreError> {
    let query = game_refs::table
        .filter(game_refs::system.eq(&name.system).and(game_refs::external_id.eq(&name.id)))
        .select(game_refs::game_id);
    let found: Vec<Option<i64>> = with_conn!(conn, c => query.load(c).await)?;
    match found.as_slice() {
        [Some(game)] => Ok(*game),
        [None] => {
            Err(StoreError::Rejected(format!("{name} has odds but no game: no game event has named it")))
        }
        _ => Err(StoreError::Rejected(format!("there is no game {name}"))),
    }
}

/// Refs before games, as a batch locks them: the two wait for each other only in one order.
async fn lock_refs(conn: &mut Conn<'_>, pair: [i64; 2]) -> QueryResult<()> {
    let refs =
        game_refs::table.filter(game_refs::game_id.eq_any(pair)).order(game_refs::id).select(game_refs::id);
    let rows = games::table.filter(games::id.eq_any(pair)).order(games::id).select(games::id);
    match conn {
        Conn::Postgres(c) => {
            refs.for_no_key_update().load::<i64>(c).await?;
            rows.for_no_key_update().load::<i64>(c).await?;
        }
        Conn::Sqlite(_) => {} // one writer
    }
    Ok(())
}

async fn is_newer(conn: &mut Conn<'_>, one: i64, other: i64) -> Result<bool, StoreError> {
    let (one, other) = (version(conn, one).await?, version(conn, other).await?);
    Ok(one > other)
}

async fn version(conn: &mut Conn<'_>, game: i64) -> QueryResult<Version> {
    let query = games::table.find(game).select((games::source_time, games::sequence, games::content_hash));
    let rows: Vec<(UtcMicros, i64, Vec<u8>)> = with_conn!(conn, c => query.load(c).await)?;
    let (time, sequence, content_hash) = rows.into_iter().next().ok_or(diesel::result::Error::NotFound)?;
    Ok(Version { time, sequence, content_hash })
}

/// As if the newest event had named the game that stays.
async fn take_state(conn: &mut Conn<'_>, from: i64, to: i64) -> QueryResult<()> {
    let columns = "sport, league, home_team, away_team, commence_time, status, home_score, away_score, details, \
                   source, source_time, sequence, content_hash, lineage_id, record_offset";
    let update = diesel::sql_query(format!(
        "update games set ({columns}) = (select {columns} from games where id = {from}) where id = {to}"
    ));
    with_conn!(conn, c => update.execute(c).await)?;
    Ok(())
}

/// A conflict with the game that is no more is one with the game that stays, unless that is written down already; a conflict of the game
/// that stays with itself is none.
async fn settle_conflicts(conn: &mut Conn<'_>, kept: i64, merged: i64, now: UtcMicros) -> QueryResult<usize> {
    let with_kept =
        game_conflicts::table.filter(game_conflicts::game_id.eq(kept)).select(game_conflicts::game_ref_id);
    let refs: Vec<i64> = with_conn!(conn, c => with_kept.load(c).await)?;
    let with_merged = game_conflicts::table
        .filter(game_conflicts::game_id.eq(merged))
        .filter(game_conflicts::resolved_at.is_null());
    let twice = diesel::update(with_merged.filter(game_conflicts::game_ref_id.eq_any(refs)))
        .set(game_conflicts::resolved_at.eq(now));
    with_conn!(conn, c => twice.execute(c).await)?;
    let moved = diesel::update(with_merged).set(game_conflicts::game_id.eq(kept));
    with_conn!(conn, c => moved.execute(c).await)?;
    let names = game_refs::table.filter(game_refs::game_id.eq(kept)).select(game_refs::id);
    let with_itself = game_conflicts::table
        .filter(game_conflicts::game_id.eq(kept))
        .filter(game_conflicts::game_ref_id.eq_any(names))
        .filter(game_conflicts::resolved_at.is_null());
    let settle = diesel::update(with_itself).set(game_conflicts::resolved_at.eq(now));
    with_conn!(conn, c => settle.execute(c).await)
}

/// The trail knows topics and offsets; what a merge concerned stands in its reason.
async fn audit_row(conn: &mut Conn<'_>, order: &Merge, kept: i64, merged: i64) -> QueryResult<()> {
    let Merge { keep, merge, reason, .. } = order;
    let reason = format!("game {merged} ({merge}) into game {kept} ({keep}): {reason}");
    audit::write(conn, &Action::by(&order.actor, "merge_games", &reason, order.now)).await
}
