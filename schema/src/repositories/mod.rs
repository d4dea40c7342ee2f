//! What people ask: games, odds, signals, analyses, articles, alerts, dead letters, partitions, the database itself. One file per resource, each a few
//! methods of `Store`; the store lends the connection, and `Store::connect_for_reads` makes one whose pool is none of the line's.
//! Called by the HTTP API and by commands.
//!
//! What must stay true: every list is a page with a bound; a page costs the same wherever it starts, because it goes on after
//! the key of the last row and never counts rows to skip; nothing here writes.

mod alerts;
mod analyses;
mod articles;
mod conflicts;
mod games;
mod letters;
mod movement;
mod odds;
mod partitions;
mod runs;
mod scrapers;
mod selections;
mod server;
mod signals;
mod statement;

pub use alerts::{AlertFilter, FoundAlert};
pub use analyses::{AnalysisFilter, FoundAnalysis};
pub use articles::{Article, ArticleFilter};
pub use conflicts::GameConflict;
pub use games::{DetailsFilter, Game, GameFilter, GameKey, GameState, LIVE};
pub use letters::LetterHead;
pub use movement::{Block, BlockKey, Span};
pub use odds::Latest;
pub use partitions::PartitionKey;
pub use runs::Run;
pub use scrapers::{ScraperKey, ScraperVersion};
pub use selections::{Selection, SelectionFilter, SelectionKey};
pub use server::{Role, ServerState};
pub use signals::{Cursor, FoundSignal, SignalFilter};

use statement::{Statement, Value};

/// What a page asks for, to know whether more follow.
pub(crate) fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// Only what a list from the newest to the oldest has behind a place in it.
fn older(statement: &mut Statement, time: &str, id: &str, after: Option<Cursor>) {
    if let Some(Cursor { at, id: number }) = after {
        // A cursor comes from outside: `plus` keeps its time within what either database can hold.
        let place = [Value::Time(at.plus(0)), Value::BigInt(number)];
        statement.push(&format!("and ({time}, {id}) < (?, ?)"), place);
    }
}

/// Rows and where the next page starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K> {
    /// The rows.
    pub rows: Vec<T>,
    /// The key of the last row; none where no more follow.
    pub next: Option<K>,
}

impl<T, K> Page<T, K> {
    /// The same page with its key in another form.
    pub fn map_key<L>(self, form: impl FnOnce(K) -> L) -> Page<T, L> {
        Page { rows: self.rows, next: self.next.map(form) }
    }

    /// A page of at most `limit` of the rows, of which one more was asked for.
    pub(crate) fn cut(mut rows: Vec<T>, limit: usize, key: impl FnOnce(&T) -> K) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(key);
        Self { rows, next }
    }
}
