//! The movement of a game's lines: of each selection its quotes as blocks of equal ones, before and after compaction the same.
//! Quotes are read along the primary key of `odds` in bounded pieces, because most of them only repeat the last one.
//!
//! What must stay true: a request reads a bounded number of quotes, for a bounded time. Where a run is longer than that, a page ends inside it, and
//! the next page begins with a block of the same price.

use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};

use super::Page;
use super::runs::{Quote, Run, extend};
use super::selections::{self, COLUMNS, ORDER, Selection, SelectionFilter, SelectionKey};
use super::statement::Statement;
use crate::schema::odds;
use crate::store::{Conn, GameName, Store, StoreError, with_conn};
use crate::time::UtcMicros;

/// Quotes that one statement reads.
const PIECE: i64 = 5_000;
/// Quotes that one page may read.
const QUOTES: usize = 50_000;
/// How long one page may look for more.
const PATIENCE: Duration = Duration::from_secs(3);
/// Selections that one statement reads.
const SELECTIONS: usize = 100;
/// Selections that one page may look at.
const LOOKED_AT: usize = 2_000;

/// A run of equal quotes of what can be bet on.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// What can be bet on.
    pub selection: Selection,
    /// Price, line, and how long they stood.
    pub run: Run,
}

/// A place in the movement of a game.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockKey {
    /// The selection.
    pub selection: SelectionKey,
    /// The last quote that was told, in microseconds since 1970.
    pub micros: i64,
}

/// Between which times; what is not set is not bounded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// Observed at this time or later.
    pub from: Option<UtcMicros>,
    /// Observed before this time.
    pub until: Option<UtcMicros>,
}

/// The page that is being filled.
struct Filling {
    blocks: Vec<Block>,
    limit: usize,
    quotes_left: usize,
    selections_left: usize,
    deadline: Instant,
    next: Option<BlockKey>,
}

impl Store {
    /// The first `limit` blocks of the selections of a game that match, after a place. None where nobody has named the game.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn movement(
        &self,
        game: &GameName,
        filter: &SelectionFilter,
        span: Span,
        after: Option<&BlockKey>,
        limit: usize,
    ) -> Result<Option<Page<Block, BlockKey>>, StoreError> {
        let mut session = self.checkout().await?;
        let conn = &mut session.conn();
        let names = selections::names_of_game(conn, game).await?;
        if names.is_empty() {
            return Ok(None);
        }
        let mut filling = Filling {
            blocks: Vec::new(),
            limit,
            quotes_left: QUOTES,
            selections_left: LOOKED_AT,
            deadline: Instant::now() + PATIENCE,
            next: None,
        };
        for (name, place) in selections::from_name(&names, after.map(|key| &key.selection)) {
            let after = after.filter(|_| place.is_some());
            fill_from_name(conn, &mut filling, name, filter, span, after).await?;
            if filling.next.is_some() {
                break;
            }
        }
        Ok(Some(Page { rows: filling.blocks, next: filling.next }))
    }
}

async fn fill_from_name(
    conn: &mut Conn<'_>,
    filling: &mut Filling,
    name: i64,
    filter: &SelectionFilter,
    span: Span,
    after: Option<&BlockKey>,
) -> QueryResult<()> {
    let mut operator = ">="; // the selection inside which the last page ended goes on
    let mut place = after.map(|key| key.selection.clone());
    loop {
        let mut statement =
            Statement::new(format!("select {COLUMNS} from selections s where s.game_ref_id = {name}"));
        filter.add_to(&mut statement);
        if let Some(key) = &place {
            selections::from_place(&mut statement, operator, key);
        }
        statement.push(&format!("order by {ORDER} limit {SELECTIONS}"), []);
        let selections: Vec<Selection> = statement.load(conn).await?;
        let last = selections.len() < SELECTIONS;
        for selection in selections {
            let key = selection.key();
            let resumed =
                after.filter(|after| after.selection == key).map(|after| UtcMicros(after.micros).plus(0));
            filling.selection(conn, &selection, span, resumed).await?;
            if filling.next.is_some() {
                return Ok(());
            }
            place = Some(key);
        }
        operator = ">";
        if last {
            return Ok(());
        }
    }
}

impl Filling {
    /// Adds the blocks of one selection; sets `next` where the page is full.
    async fn selection(
        &mut self,
        conn: &mut Conn<'_>,
        selection: &Selection,
        span: Span,
        after: Option<UtcMicros>,
    ) -> QueryResult<()> {
        let block = |run| Block { selection: selection.clone(), run };
        let mut open: Option<Run> = None;
        let mut after = after;
        loop {
            let piece = PIECE.min(i64::try_from(self.quotes_left).unwrap_or(PIECE));
            let quotes = quotes(conn, selection.selection_id, span, after, piece).await?;
            self.quotes_left -= quotes.len().min(self.quotes_left);
            let ended = (quotes.len() as i64) < piece;
            for quote in quotes {
                after = Some(quote.0);
                if let Some(ended) = extend(&mut open, quote)
                    && self.push(block(ended))
                {
                    return Ok(());
                }
            }
            if ended || self.quotes_left == 0 {
                break;
            }
        }
        self.selections_left = self.selections_left.saturating_sub(1);
        let exhausted = self.quotes_left == 0 || self.selections_left == 0 || Instant::now() >= self.deadline;
        if let Some(last) = open
            && !self.push(block(last))
            && !exhausted
        {
            return Ok(());
        }
        if exhausted && self.next.is_none() {
            // Nothing of it was told yet where it has no quotes: the next page looks at it once more and goes on.
            let micros = after.map_or(UtcMicros::LATEST.0, |at| at.0);
            self.next = Some(BlockKey { selection: selection.key(), micros });
        }
        Ok(())
    }

    /// Adds a block that has ended; answers whether the page is full.
    fn push(&mut self, block: Block) -> bool {
        self.blocks.push(block);
        let full = self.blocks.len() == self.limit;
        if full && let Some(last) = self.blocks.last() {
            self.next = Some(BlockKey { selection: last.selection.key(), micros: last.run.to.0 });
        }
        full
    }
}

async fn quotes(
    conn: &mut Conn<'_>,
    selection_id: i64,
    span: Span,
    after: Option<UtcMicros>,
    limit: i64,
) -> QueryResult<Vec<Quote>> {
    let query = odds::table
        .filter(odds::selection_id.eq(selection_id))
        .filter(odds::observed_at.ge(span.from.unwrap_or(UtcMicros::EARLIEST)))
        .filter(odds::observed_at.lt(span.until.unwrap_or(UtcMicros::LATEST)))
        .filter(odds::observed_at.gt(after.unwrap_or(UtcMicros(UtcMicros::EARLIEST.0 - 1))))
        .order(odds::observed_at)
        .limit(limit)
        .select((odds::observed_at, odds::price, odds::line));
    with_conn!(conn, c => query.load(c).await)
}
