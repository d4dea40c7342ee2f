//! Reads for people: how much is stored, the latest odds of a game, the movement of a line as blocks. Never used by the line.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Float, Nullable, Text};
use diesel_async::RunQueryDsl;

use super::error::StoreError;
use super::{Store, with_conn};
use crate::schema::odds;
use crate::sql_types::UtcTimestamp;
use crate::time::UtcMicros;

/// A table with its number of rows.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct TableCount {
    /// The table's name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Its rows.
    #[diesel(sql_type = BigInt)]
    pub rows: i64,
}

/// The newest quote of one selection.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct LatestQuote {
    /// The interned selection.
    #[diesel(sql_type = BigInt)]
    pub selection_id: i64,
    /// The book.
    #[diesel(sql_type = Text)]
    pub sportsbook: String,
    /// What is bet on.
    #[diesel(sql_type = Text)]
    pub market: String,
    /// The part of the game.
    #[diesel(sql_type = Text)]
    pub period: String,
    /// Who, where the side does not say it all.
    #[diesel(sql_type = Text)]
    pub participant: String,
    /// The outcome.
    #[diesel(sql_type = Text)]
    pub side: String,
    /// One of several lines of the market.
    #[diesel(sql_type = Bool)]
    pub alternate: bool,
    /// When it was seen.
    #[diesel(sql_type = UtcTimestamp)]
    pub observed_at: UtcMicros,
    /// Decimal price; null = not offered.
    #[diesel(sql_type = Nullable<Double>)]
    pub price: Option<f64>,
    /// Points.
    #[diesel(sql_type = Nullable<Float>)]
    pub line: Option<f32>,
}

/// A run of equal quotes of one selection: the price stood from `from` to `to`.
#[derive(Debug, Clone, PartialEq)]
pub struct Movement {
    /// First observation of the run.
    pub from: UtcMicros,
    /// Last observation of the run.
    pub to: UtcMicros,
    /// Decimal price; null = not offered.
    pub price: Option<f64>,
    /// Points.
    pub line: Option<f32>,
}

impl Store {
    /// Rows of every table that events go to.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn table_counts(&self) -> Result<Vec<TableCount>, StoreError> {
        let tables = [
            "games",
            "game_refs",
            "selections",
            "odds",
            "articles",
            "alerts",
            "sharp_signals",
            "betting_analyses",
            "dead_letters",
        ];
        let counts = tables.map(|table| format!("select '{table}' as name, count(*) as rows from {table}"));
        let mut session = self.checkout().await?;
        let query = diesel::sql_query(counts.join(" union all "));
        Ok(with_conn!(&mut session.conn(), c => query.load(c).await)?)
    }

    /// The newest quote of every selection of a game, by book, market and side.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn latest_odds(&self, system: &str, external_id: &str) -> Result<Vec<LatestQuote>, StoreError> {
        let query = diesel::sql_query(
            "select s.id as selection_id, s.sportsbook, s.market, s.period, s.participant, s.side, s.alternate, \
                    o.observed_at, o.price, o.line \
             from game_refs r join selections s on s.game_ref_id = r.id \
             join odds o on o.selection_id = s.id \
              and o.observed_at = (select max(n.observed_at) from odds n where n.selection_id = s.id) \
             where r.system = $1 and r.external_id = $2 \
             order by s.sportsbook, s.market, s.period, s.participant, s.side, o.line",
        )
        .bind::<Text, _>(system)
        .bind::<Text, _>(external_id);
        let mut session = self.checkout().await?;
        Ok(with_conn!(&mut session.conn(), c => query.load(c).await)?)
    }

    /// The quotes of one selection as blocks of equal ones: the movement of its line. Time ascending.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn line_movement(&self, selection_id: i64) -> Result<Vec<Movement>, StoreError> {
        let query = odds::table
            .filter(odds::selection_id.eq(selection_id))
            .order(odds::observed_at)
            .select((odds::observed_at, odds::price, odds::line));
        let mut session = self.checkout().await?;
        let quotes: Vec<(UtcMicros, Option<f64>, Option<f32>)> =
            with_conn!(&mut session.conn(), c => query.load(c).await)?;
        Ok(blocks(&quotes))
    }
}

/// Slots to blocks: consecutive equal quotes become one.
pub(super) fn blocks(quotes: &[(UtcMicros, Option<f64>, Option<f32>)]) -> Vec<Movement> {
    let mut blocks: Vec<Movement> = Vec::new();
    for &(at, price, line) in quotes {
        match blocks.last_mut() {
            Some(block) if block.price == price && block.line == line => block.to = at,
            Some(_) | None => blocks.push(Movement { from: at, to: at, price, line }),
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_become_one_block() {
        let quote = |at, price| (UtcMicros(at), Some(price), None);
        let found = blocks(&[quote(1, 2.0), quote(2, 2.0), quote(3, 2.1), quote(4, 2.0)]);
        let spans: Vec<_> = found.iter().map(|block| (block.from.0, block.to.0, block.price)).collect();
        assert_eq!(spans, [(1, 2, Some(2.0)), (3, 3, Some(2.1)), (4, 4, Some(2.0))]);
    }
}
