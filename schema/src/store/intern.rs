//! Interning: the integers that stand for selections and game refs. Done before the batch's transaction, on the same
//! connection, each statement by itself: SELECT the unknown, INSERT the missing sorted, SELECT again. Where articles are
//! written, what they are searched for is looked up here too.
//!
//! What must stay true: only committed ids are kept, the cache is bounded, and it dies with its connection.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::rows::{NewSelection, RefKey};
use super::rules::{KnownRules, matcher};
use super::{Conn, insert, with_conn};
use crate::events::Rows;
use crate::events::game::GameRow;
use crate::events::odds::{BySelection, Selection, SelectionKey};
use crate::keywords::Matcher;
use crate::schema::{game_refs, selections};

/// Most parameters of one list: SQLite takes 32,766 a statement.
const LIST: usize = 5_000;

/// Ids of selections that this connection has seen committed. Two generations: when the young one has filled half of the room it
/// becomes the old one, and what nobody asks for goes with that.
#[derive(Debug)]
pub(super) struct SelectionCache {
    young: IdsBySelection,
    old: IdsBySelection,
    /// Most that it remembers.
    most: usize,
}

/// What a connection remembers from batch to batch.
#[derive(Debug)]
pub(super) struct Known {
    /// Ids of selections.
    pub(super) selections: SelectionCache,
    /// What articles are searched for.
    pub(super) rules: KnownRules,
}

impl Known {
    pub(super) fn new(selections: usize) -> Self {
        Self { selections: SelectionCache::new(selections), rules: None }
    }

    /// For ids that may not be remembered, because the transaction that made them is still open.
    pub(super) fn nothing() -> Self {
        Self::new(0)
    }

    pub(super) fn clear(&mut self) {
        self.selections.clear();
        self.rules = None;
    }
}

/// Ids of selections.
pub(super) type IdsBySelection = HashMap<Selection, i64, BySelection>;

impl SelectionCache {
    fn new(most: usize) -> Self {
        Self { young: IdsBySelection::default(), old: IdsBySelection::default(), most }
    }

    fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    fn get(&mut self, selection: &Selection) -> Option<i64> {
        if let Some(id) = self.young.get(selection) {
            return Some(*id);
        }
        let (selection, id) = self.old.remove_entry(selection)?;
        self.remember(selection, id);
        Some(id)
    }

    fn remember(&mut self, selection: Selection, id: i64) {
        if self.most < 2 {
            return;
        }
        if self.young.len() >= self.most / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(selection, id);
    }
}

/// How often a connection knew the id of a batch's selection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lookups {
    /// It did.
    pub hits: u64,
    /// The database was asked.
    pub misses: u64,
}

/// The ids that the rows of a batch need.
pub(super) enum Interned {
    /// By number of the selection within the batch, and how many of them the connection knew.
    Selections(Vec<i64>, Lookups),
    /// Every ref that the batch names.
    GameRefs(HashMap<RefKey, i64>),
    /// Articles need no ids; what they are searched for is as old as ids are.
    Rules(Arc<Matcher>),
    /// Each part makes its own.
    Nothing,
}

impl Interned {
    pub(super) fn lookups(&self) -> Lookups {
        match self {
            Self::Selections(_, lookups) => *lookups,
            Self::GameRefs(_) | Self::Rules(_) | Self::Nothing => Lookups::default(),
        }
    }
}

/// Finds or makes the ids that the rows need.
pub(super) async fn intern(conn: &mut Conn<'_>, known: &mut Known, rows: &Rows) -> QueryResult<Interned> {
    let cache = &mut known.selections;
    match rows {
        Rows::Odds(rows) => {
            // One look-up for each selection: ids start at 1, so 0 stands for what is not known yet.
            let mut ids: Vec<i64> = rows.selections.iter().map(|of| cache.get(of).unwrap_or(0)).collect();
            let unknown = ids.iter().zip(&rows.selections).filter(|(id, _)| **id == 0);
            let unknown: Vec<&Selection> = unknown.map(|(_, selection)| selection).collect();
            let found = intern_selections(conn, &unknown).await?;
            for (id, selection) in ids.iter_mut().zip(&rows.selections).filter(|(id, _)| **id == 0) {
                *id = found.get(selection).copied().ok_or(diesel::result::Error::NotFound)?;
            }
            let (all, misses) = (ids.len() as u64, unknown.len() as u64);
            found.into_iter().for_each(|(selection, id)| cache.remember(selection, id));
            Ok(Interned::Selections(ids, Lookups { hits: all - misses, misses }))
        }
        Rows::Game(rows) => Ok(Interned::GameRefs(intern_refs(conn, named_refs(&rows.0)).await?)),
        Rows::Article(_) => Ok(Interned::Rules(matcher(conn, &mut known.rules).await?)),
        Rows::Signal(rows) => {
            let games = rows.0.iter().map(|row| row.game.clone()).collect();
            Ok(Interned::GameRefs(intern_refs(conn, games).await?))
        }
        Rows::Analysis(rows) => {
            let games = rows.0.iter().map(|row| row.game.clone()).collect();
            Ok(Interned::GameRefs(intern_refs(conn, games).await?))
        }
    }
}

fn named_refs(rows: &[GameRow]) -> BTreeSet<RefKey> {
    rows.iter().flat_map(|row| row.linked.iter().chain([&row.key])).cloned().collect()
}

async fn intern_selections(conn: &mut Conn<'_>, unknown: &[&Selection]) -> QueryResult<IdsBySelection> {
    if unknown.is_empty() {
        return Ok(IdsBySelection::default());
    }
    let games = unknown.iter().map(|selection| ref_key(selection));
    let refs = intern_refs(conn, games.collect()).await?;
    let found = find_selections(conn, unknown, &refs).await?;
    let mut missing: Vec<&Selection> =
        unknown.iter().copied().filter(|selection| !found.contains_key(*selection)).collect();
    if missing.is_empty() {
        return Ok(found);
    }
    missing.sort_unstable(); // one order for all writers: no deadlock
    insert_selections(conn, &missing, &refs).await?;
    find_selections(conn, unknown, &refs).await
}

async fn intern_refs(conn: &mut Conn<'_>, wanted: BTreeSet<RefKey>) -> QueryResult<HashMap<RefKey, i64>> {
    let found = find_refs(conn, &wanted).await?;
    let missing: Vec<&RefKey> = wanted.iter().filter(|key| !found.contains_key(*key)).collect();
    if missing.is_empty() {
        return Ok(found);
    }
    insert::game_refs(conn, missing.into_iter().cloned().collect()).await?;
    find_refs(conn, &wanted).await
}

/// The ids of those refs that exist.
pub(super) async fn find_refs(
    conn: &mut Conn<'_>,
    wanted: &BTreeSet<RefKey>,
) -> QueryResult<HashMap<RefKey, i64>> {
    let systems: BTreeSet<&str> = wanted.iter().map(|(system, _)| system.as_str()).collect();
    let ids: Vec<&str> = wanted.iter().map(|(_, id)| id.as_str()).collect();
    let mut found = HashMap::new();
    for ids in ids.chunks(LIST) {
        let query = game_refs::table
            .filter(game_refs::system.eq_any(systems.iter().copied()))
            .filter(game_refs::external_id.eq_any(ids.iter().copied()))
            .select((game_refs::system, game_refs::external_id, game_refs::id));
        let rows: Vec<(String, String, i64)> = with_conn!(conn, c => query.load(c).await)?;
        found.extend(rows.into_iter().map(|(system, external_id, id)| ((system, external_id), id)));
    }
    found.retain(|key, _| wanted.contains(key));
    Ok(found)
}

type SelectionRow = (i64, i64, String, String, String, String, String, bool, f32);

/// The ids of those selections that exist.
pub(super) async fn find_selections(
    conn: &mut Conn<'_>,
    wanted: &[&Selection],
    refs: &HashMap<RefKey, i64>,
) -> QueryResult<IdsBySelection> {
    let by_row: HashMap<SelectionRowKey<'_>, &Selection> = wanted
        .iter()
        .filter_map(|selection| Some((row_key(selection, *ref_of(selection, refs)?), *selection)))
        .collect();
    let ref_ids: BTreeSet<i64> = by_row.keys().map(|key| key.0).collect();
    let books: BTreeSet<&str> = wanted.iter().map(|selection| selection.key().sportsbook).collect();
    let ref_ids: Vec<i64> = ref_ids.into_iter().collect();
    let mut found = IdsBySelection::default();
    for ref_ids in ref_ids.chunks(LIST) {
        let query = selections::table
            .filter(selections::game_ref_id.eq_any(ref_ids))
            .filter(selections::sportsbook.eq_any(books.iter().copied()))
            .select((
                selections::id,
                selections::game_ref_id,
                selections::sportsbook,
                selections::market,
                selections::period,
                selections::participant,
                selections::side,
                selections::alternate,
                selections::line,
            ));
        let rows: Vec<SelectionRow> = with_conn!(conn, c => query.load(c).await)?;
        for (id, game_ref, book, market, period, participant, side, alternate, line) in &rows {
            let key = (
                *game_ref,
                book.as_str(),
                market.as_str(),
                period.as_str(),
                participant.as_str(),
                side.as_str(),
                *alternate,
                line.to_bits(),
            );
            if let Some(selection) = by_row.get(&key) {
                found.insert((*selection).clone(), *id);
            }
        }
    }
    Ok(found)
}

type SelectionRowKey<'a> = (i64, &'a str, &'a str, &'a str, &'a str, &'a str, bool, u32);

fn row_key(selection: &Selection, game_ref: i64) -> SelectionRowKey<'_> {
    let SelectionKey { sportsbook, participant, market, period, side, alternate, line_bits, .. } =
        selection.key();
    (game_ref, sportsbook, market.name(), period.name(), participant, side.name(), alternate, line_bits)
}

/// What the game of a selection is called.
pub(super) fn ref_key(selection: &Selection) -> RefKey {
    let SelectionKey { system, game, .. } = selection.key();
    (system.to_owned(), game.to_owned())
}

fn ref_of<'r>(selection: &Selection, refs: &'r HashMap<RefKey, i64>) -> Option<&'r i64> {
    refs.get(&ref_key(selection))
}

/// Rows of one multi-row insert: 8 parameters each.
const SELECTIONS_PER_STATEMENT: usize = 1_000;

async fn insert_selections(
    conn: &mut Conn<'_>,
    missing: &[&Selection],
    refs: &HashMap<RefKey, i64>,
) -> QueryResult<()> {
    for chunk in missing.chunks(SELECTIONS_PER_STATEMENT) {
        let rows = chunk.iter().map(|selection| selection_row(selection, refs));
        let rows = rows.collect::<QueryResult<Vec<_>>>()?;
        insert::selections(conn, rows).await?;
    }
    Ok(())
}

fn selection_row(selection: &Selection, refs: &HashMap<RefKey, i64>) -> QueryResult<NewSelection> {
    let game_ref_id = *ref_of(selection, refs).ok_or(diesel::result::Error::NotFound)?;
    let SelectionKey { sportsbook, participant, market, period, side, alternate, line_bits, .. } =
        selection.key();
    Ok(NewSelection {
        game_ref_id,
        sportsbook: sportsbook.to_owned(),
        market: market.name(),
        period: period.name(),
        participant: participant.to_owned(),
        side: side.name(),
        alternate,
        line: f32::from_bits(line_bits),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::odds::{Market, Period, Side};

    fn selection(game: usize) -> Selection {
        let key = SelectionKey {
            system: "s",
            game: &game.to_string(),
            sportsbook: "b",
            participant: "",
            market: Market::Total,
            period: Period::FullGame,
            side: Side::Over,
            alternate: false,
            line_bits: 0,
        };
        key.into()
    }

    #[test]
    fn the_cache_keeps_what_is_asked_for_and_no_more_than_its_room() {
        let mut cache = SelectionCache::new(10);
        for game in 0..100 {
            cache.remember(selection(game), game as i64);
            assert_eq!(cache.get(&selection(0)), Some(0), "asked for all the time, at {game}");
            assert!(cache.young.len() + cache.old.len() <= 10);
        }
        assert_eq!(cache.get(&selection(99)), Some(99));
        assert_eq!(cache.get(&selection(50)), None);
    }

    #[test]
    fn what_is_not_committed_is_not_remembered() {
        let mut cache = Known::nothing().selections;
        cache.remember(selection(1), 1);
        assert_eq!(cache.get(&selection(1)), None);
    }
}
