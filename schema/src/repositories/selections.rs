//! What can be bet on in a game, in the order of the unique key of `selections`. The odds of a game hang on its names, each of
//! which is one range of that key: whoever reads goes through the names one after the other, and nothing is ever sorted.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Float, Text};
use serde::{Deserialize, Serialize};

use super::statement::{Statement, Value};
use crate::store::{Conn, GameName};

/// The columns of a selection.
pub(super) const COLUMNS: &str = "s.id as selection_id, s.game_ref_id, s.sportsbook, s.market, s.period, \
                                  s.participant, s.side, s.alternate, s.line as identity_line";
/// The order of the unique key within one name of a game.
pub(super) const ORDER: &str = "s.sportsbook, s.market, s.period, s.participant, s.side, s.alternate, s.line";

/// Most names of one game that are looked at.
const NAMES: usize = 100;

/// Something that can be bet on at one book.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct Selection {
    /// The number in this database.
    #[diesel(sql_type = BigInt)]
    pub selection_id: i64,
    /// The name of the game that it hangs on.
    #[diesel(sql_type = BigInt)]
    pub game_ref_id: i64,
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
    /// The line, where it belongs to the identity; else 0.
    #[diesel(sql_type = Float)]
    pub identity_line: f32,
}

impl Selection {
    /// Its place in the order.
    #[must_use]
    pub fn key(&self) -> SelectionKey {
        SelectionKey {
            game_ref_id: self.game_ref_id,
            sportsbook: self.sportsbook.clone(),
            market: self.market.clone(),
            period: self.period.clone(),
            participant: self.participant.clone(),
            side: self.side.clone(),
            alternate: self.alternate,
            line: self.identity_line,
        }
    }
}

/// A place in the order of selections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectionKey {
    /// As in [`Selection`].
    pub game_ref_id: i64,
    /// As in [`Selection`].
    pub sportsbook: String,
    /// As in [`Selection`].
    pub market: String,
    /// As in [`Selection`].
    pub period: String,
    /// As in [`Selection`].
    pub participant: String,
    /// As in [`Selection`].
    pub side: String,
    /// As in [`Selection`].
    pub alternate: bool,
    /// As in [`Selection`].
    pub line: f32,
}

/// Which selections; what is not set matches all.
#[derive(Debug, Clone, Default)]
pub struct SelectionFilter {
    /// Of this book.
    pub sportsbook: Option<String>,
    /// Of this market.
    pub market: Option<String>,
    /// Of this part of the game.
    pub period: Option<String>,
    /// Of this outcome.
    pub side: Option<String>,
}

impl SelectionFilter {
    pub(super) fn add_to(&self, statement: &mut Statement) {
        statement.and_text("s.sportsbook = ?", self.sportsbook.as_ref());
        statement.and_text("s.market = ?", self.market.as_ref());
        statement.and_text("s.period = ?", self.period.as_ref());
        statement.and_text("s.side = ?", self.side.as_ref());
    }
}

/// Goes on at a place, or after it.
pub(super) fn from_place(statement: &mut Statement, operator: &str, key: &SelectionKey) {
    let SelectionKey { sportsbook, market, period, participant, side, alternate, line, .. } = key;
    let texts = [sportsbook, market, period, participant, side].map(|text| Value::Text(text.clone()));
    let values = texts.into_iter().chain([Value::Bool(*alternate), Value::Float(*line)]);
    statement.push(&format!("and ({ORDER}) {operator} (?, ?, ?, ?, ?, ?, ?)"), values);
}

/// All names of the game that one name leads to, as numbers in order; the name alone where no game event has named it yet.
pub(super) async fn names_of_game(conn: &mut Conn<'_>, name: &GameName) -> QueryResult<Vec<i64>> {
    #[derive(QueryableByName)]
    struct Id {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    let GameName { system, id } = name;
    let named = || [system, id].map(|text| Value::Text(text.clone()));
    let mut statement = Statement::new("select r.id from game_refs r where true");
    statement.push("and r.system = ? and r.external_id = ?", named());
    statement
        .push("union select o.id from game_refs r join game_refs o on o.game_id = r.game_id where true", []);
    statement.push("and r.system = ? and r.external_id = ?", named());
    statement.push(&format!("order by 1 limit {NAMES}"), []);
    let ids: Vec<Id> = statement.load(conn).await?;
    Ok(ids.into_iter().map(|row| row.id).collect())
}

/// The names from the one that a page goes on with, and whether its key is of that one.
pub(super) fn from_name<'k>(
    names: &[i64],
    after: Option<&'k SelectionKey>,
) -> Vec<(i64, Option<&'k SelectionKey>)> {
    let first = after.map_or(i64::MIN, |key| key.game_ref_id);
    let rest = names.iter().filter(|name| **name >= first);
    rest.map(|name| (*name, after.filter(|key| key.game_ref_id == *name))).collect()
}
