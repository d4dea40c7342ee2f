//! Writing games: the refs and games that a batch touches are locked and loaded once, its events are folded over them in
//! order, and what changed is written once. So the counts and the result do not depend on where batches begin and end.
//!
//! What must stay true: the newest version wins, whatever the order of arrival; an event links refs, and never merges two
//! games: it leaves a row in `game_conflicts` for an operator.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::error::WriteError;
use super::rows::{Applied, RefKey};
use super::version::step;
use super::{Conn, with_conn};
use crate::batch::{Records, RowCounts};
use crate::events::game::{GameRow, Version};
use crate::schema::{game_conflicts, game_refs, games};
use crate::time::UtcMicros;

/// One game while the batch is folded over it.
struct Game<'a> {
    id: Option<i64>,
    version: Option<Version>,
    newest: Option<&'a GameRow>,
}

/// The refs and games that a batch touches.
#[derive(Default)]
struct Fold<'a> {
    games: Vec<Game<'a>>,
    game_of_ref: HashMap<i64, usize>,
    links: Vec<(i64, usize)>,
    conflicts: Vec<(i64, usize, u32)>,
    rows: RowCounts,
}

pub(super) async fn write(
    conn: &mut Conn<'_>,
    lineage_id: i32,
    rows: &[GameRow],
    records: &Records,
    refs: &HashMap<RefKey, i64>,
) -> Result<Applied, WriteError> {
    let mut fold = load(conn, refs).await?;
    for row in rows {
        fold.take(row, refs)?;
    }
    let mut ids = Vec::with_capacity(fold.games.len());
    for game in &fold.games {
        ids.push(save(conn, lineage_id, records, game).await?);
    }
    for (ref_id, game) in &fold.links {
        let link = diesel::update(game_refs::table.find(ref_id)).set(game_refs::game_id.eq(ids[*game]));
        with_conn!(conn, c => link.execute(c).await)?;
    }
    for (ref_id, game, record) in &fold.conflicts {
        let row = (
            game_conflicts::game_ref_id.eq(ref_id),
            game_conflicts::game_id.eq(ids[*game]),
            game_conflicts::lineage_id.eq(lineage_id),
            game_conflicts::record_offset.eq(records.offset(*record)),
        );
        let insert = diesel::insert_into(game_conflicts::table).values(row).on_conflict_do_nothing();
        with_conn!(conn, c => insert.execute(c).await)?;
    }
    Ok(Applied { rows: fold.rows, ..Applied::default() })
}

impl<'a> Fold<'a> {
    fn take(&mut self, row: &'a GameRow, refs: &HashMap<RefKey, i64>) -> QueryResult<()> {
        let named = std::iter::once(&row.key).chain(&row.linked);
        let ids = named.map(|key| refs.get(key).copied().ok_or(diesel::result::Error::NotFound));
        let ids = ids.collect::<QueryResult<Vec<i64>>>()?;
        let known = ids.iter().find_map(|id| self.game_of_ref.get(id).copied());
        let target = known.unwrap_or_else(|| {
            self.games.push(Game { id: None, version: None, newest: None });
            self.games.len() - 1
        });
        for id in ids {
            match self.game_of_ref.get(&id) {
                None => {
                    self.game_of_ref.insert(id, target);
                    self.links.push((id, target));
                }
                Some(other) if *other != target => self.conflicts.push((id, target, row.record)),
                Some(_) => {}
            }
        }
        self.take_version(row, target);
        Ok(())
    }

    fn take_version(&mut self, row: &'a GameRow, target: usize) {
        let game = &mut self.games[target];
        let moves = match &game.version {
            None => {
                self.rows.inserted += 1;
                true
            }
            Some(stored) => {
                let step = step(stored, &row.state.version);
                step.count(&mut self.rows);
                step.moves()
            }
        };
        if moves {
            game.version = Some(row.state.version.clone());
            game.newest = Some(row);
        }
    }
}

/// Locks and loads the refs, then the games that they are linked to; each in the order of ids, so that no two batches wait
/// for each other. The weaker lock lets selections refer to the refs meanwhile.
async fn load<'a>(conn: &mut Conn<'_>, refs: &HashMap<RefKey, i64>) -> QueryResult<Fold<'a>> {
    let ref_ids: Vec<i64> = refs.values().copied().collect();
    let mut fold = Fold::default();
    let mut games_by_id: HashMap<i64, usize> = HashMap::new();
    let mut linked = Vec::new();
    for ids in sorted_chunks(ref_ids) {
        let query = game_refs::table
            .filter(game_refs::id.eq_any(ids))
            .order(game_refs::id)
            .select((game_refs::id, game_refs::game_id));
        let rows: Vec<(i64, Option<i64>)> = match conn {
            Conn::Postgres(c) => query.for_no_key_update().load(c).await?,
            Conn::Sqlite(c) => query.load(c).await?,
        };
        linked.extend(rows.into_iter().filter_map(|(id, game)| Some((id, game?))));
    }
    let mut game_ids: Vec<i64> = linked.iter().map(|(_, game)| *game).collect();
    game_ids.dedup();
    for ids in sorted_chunks(game_ids) {
        let query = games::table.filter(games::id.eq_any(ids)).order(games::id).select((
            games::id,
            games::source_time,
            games::sequence,
            games::content_hash,
        ));
        let rows: Vec<(i64, UtcMicros, i64, Vec<u8>)> = match conn {
            Conn::Postgres(c) => query.for_no_key_update().load(c).await?,
            Conn::Sqlite(c) => query.load(c).await?,
        };
        for (id, time, sequence, content_hash) in rows {
            games_by_id.insert(id, fold.games.len());
            let version = Some(Version { time, sequence, content_hash });
            fold.games.push(Game { id: Some(id), version, newest: None });
        }
    }
    fold.game_of_ref = linked.iter().filter_map(|(id, game)| Some((*id, *games_by_id.get(game)?))).collect();
    Ok(fold)
}

/// Distinct ids in order, in lists that fit one statement.
fn sorted_chunks(mut ids: Vec<i64>) -> Vec<Vec<i64>> {
    ids.sort_unstable();
    ids.dedup();
    ids.chunks(5_000).map(<[i64]>::to_vec).collect()
}

/// Inserts or updates the game if the batch changed it. Answers its id.
async fn save(conn: &mut Conn<'_>, lineage_id: i32, records: &Records, game: &Game<'_>) -> QueryResult<i64> {
    let Some(row) = game.newest else { return game.id.ok_or(diesel::result::Error::NotFound) };
    let state = &row.state;
    let values = (
        (
            games::sport.eq(&state.sport),
            games::league.eq(&state.league),
            games::home_team.eq(&state.home_team),
            games::away_team.eq(&state.away_team),
            games::commence_time.eq(state.commence_time),
            games::status.eq(state.status),
            games::home_score.eq(state.home_score),
            games::away_score.eq(state.away_score),
            games::details.eq(&state.details),
        ),
        (
            games::source.eq(&state.source),
            games::source_time.eq(state.version.time),
            games::sequence.eq(state.version.sequence),
            games::content_hash.eq(&state.version.content_hash),
            games::lineage_id.eq(lineage_id),
            games::record_offset.eq(records.offset(row.record)),
        ),
    );
    if let Some(id) = game.id {
        let update = diesel::update(games::table.find(id)).set(values);
        with_conn!(conn, c => update.execute(c).await)?;
        return Ok(id);
    }
    let insert = diesel::insert_into(games::table).values(values).returning(games::id);
    let ids: Vec<i64> = with_conn!(conn, c => insert.load(c).await)?;
    ids.into_iter().next().ok_or(diesel::result::Error::NotFound)
}
