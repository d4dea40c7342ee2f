//! The latest odds of a game: of each selection the newest quote. One probe of the primary key of `odds` per selection, however
//! many quotes there are.

use diesel::prelude::*;
use diesel::sql_types::{Double, Float, Nullable};

use super::Page;
use super::selections::{self, COLUMNS, ORDER, Selection, SelectionFilter, SelectionKey};
use super::statement::Statement;
use crate::sql_types::UtcTimestamp;
use crate::store::{GameName, Store, StoreError};
use crate::time::UtcMicros;

/// The newest quote of a selection.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct Latest {
    /// What can be bet on.
    #[diesel(embed)]
    pub selection: Selection,
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

impl Store {
    /// The newest quotes of the first `limit` selections of a game that match, after one of them. None where nobody has named
    /// the game.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn latest(
        &self,
        game: &GameName,
        filter: &SelectionFilter,
        after: Option<&SelectionKey>,
        limit: usize,
    ) -> Result<Option<Page<Latest, SelectionKey>>, StoreError> {
        let mut session = self.checkout().await?;
        let conn = &mut session.conn();
        let names = selections::names_of_game(conn, game).await?;
        if names.is_empty() {
            return Ok(None);
        }
        let mut rows: Vec<Latest> = Vec::new();
        for (name, after) in selections::from_name(&names, after) {
            let wanted = limit + 1 - rows.len();
            if wanted == 0 {
                break;
            }
            rows.extend(of_name(name, filter, after, wanted).load::<Latest>(conn).await?);
        }
        Ok(Some(Page::cut(rows, limit, |latest| latest.selection.key())))
    }
}

fn of_name(name: i64, filter: &SelectionFilter, after: Option<&SelectionKey>, limit: usize) -> Statement {
    let mut statement = Statement::new(format!(
        "select {COLUMNS}, o.observed_at, o.price, o.line \
         from selections s join odds o on o.selection_id = s.id \
          and o.observed_at = (select max(n.observed_at) from odds n where n.selection_id = s.id) \
         where s.game_ref_id = {name}"
    ));
    filter.add_to(&mut statement);
    if let Some(key) = after {
        selections::from_place(&mut statement, ">", key);
    }
    statement.push(&format!("order by {ORDER} limit {limit}"), []);
    statement
}
