//! Games as lists and alone, each with everything that systems call it. Called by the API and by `ledgerline games`.
//!
//! What must stay true: the order is that of the index `games_order`, and the expression here is the one of the index.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};

use super::Page;
use super::statement::{Statement, Value};
use crate::schema::game_refs;
use crate::sql_types::{Json, JsonText, UtcTimestamp};
use crate::store::{Conn, GameName, Store, StoreError, with_conn};
use crate::time::UtcMicros;

/// The statuses of a game that is on, or about to go on. The index `games_live` has them too.
pub const LIVE: [&str; 3] = ["in_progress", "delayed", "suspended"];

/// When a game begins, for the order: those without a time come last.
const ORDER: &str = "coalesce(g.commence_time, '9999-12-30T21:59:59.999999Z')";

/// A game with its names.
#[derive(Debug, Clone, PartialEq)]
pub struct Game {
    /// Its state.
    pub state: GameState,
    /// What systems call it, in order.
    pub names: Vec<GameName>,
}

/// The newest state of a game.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct GameState {
    /// The number in this database; no other one knows it.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// A slug.
    #[diesel(sql_type = Nullable<Text>)]
    pub sport: Option<String>,
    /// A slug.
    #[diesel(sql_type = Nullable<Text>)]
    pub league: Option<String>,
    /// Who is at home.
    #[diesel(sql_type = Nullable<Text>)]
    pub home_team: Option<String>,
    /// Who is not.
    #[diesel(sql_type = Nullable<Text>)]
    pub away_team: Option<String>,
    /// When it begins.
    #[diesel(sql_type = Nullable<UtcTimestamp>)]
    pub commence_time: Option<UtcMicros>,
    /// Where it stands.
    #[diesel(sql_type = Text)]
    pub status: String,
    /// Points of the home team.
    #[diesel(sql_type = Nullable<Integer>)]
    pub home_score: Option<i32>,
    /// Points of the away team.
    #[diesel(sql_type = Nullable<Integer>)]
    pub away_score: Option<i32>,
    /// What else the source said.
    #[diesel(sql_type = JsonText)]
    pub details: Json,
    /// The scraper that said it.
    #[diesel(sql_type = Text)]
    pub source: String,
    /// When that was so.
    #[diesel(sql_type = UtcTimestamp)]
    pub source_time: UtcMicros,
    /// Its place in the order of lists.
    #[diesel(sql_type = UtcTimestamp)]
    order_time: UtcMicros,
}

/// A place in the list of games.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GameKey {
    /// When the game begins, or the latest time, in microseconds since 1970.
    pub micros: i64,
    /// Its number.
    pub id: i64,
}

/// One value inside the details of a game.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetailsFilter {
    /// The keys that lead to it, from outside.
    pub path: Vec<String>,
    /// What stands there, as JSON: a text, a number, true or false.
    pub value: String,
}

/// Which games; what is not set matches all.
#[derive(Debug, Clone, Default)]
pub struct GameFilter {
    /// That begin at this time or later.
    pub from: Option<UtcMicros>,
    /// That begin before this time.
    pub until: Option<UtcMicros>,
    /// In which this team plays, at home or away.
    pub team: Option<String>,
    /// Of this status.
    pub status: Option<String>,
    /// Of this league.
    pub league: Option<String>,
    /// That this name leads to.
    pub name: Option<GameName>,
    /// Only those that are on.
    pub live: bool,
    /// Whose details say this.
    pub details: Option<DetailsFilter>,
}

impl Store {
    /// The first `limit` games that match, after a place in the list, by the time when they begin.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn games(
        &self,
        filter: &GameFilter,
        after: Option<GameKey>,
        limit: usize,
    ) -> Result<Page<Game, GameKey>, StoreError> {
        let mut session = self.checkout().await?;
        let conn = &mut session.conn();
        let states: Vec<GameState> = list(conn, filter, after, limit).load(conn).await?;
        let page = Page::cut(states, limit, |state| GameKey { micros: state.order_time.0, id: state.id });
        let mut names = names(conn, page.rows.iter().map(|state| state.id).collect()).await?;
        let with_names =
            |state: GameState| Game { names: names.remove(&state.id).unwrap_or_default(), state };
        Ok(Page { rows: page.rows.into_iter().map(with_names).collect(), next: page.next })
    }

    /// The game that a name leads to, if there is one.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn game(&self, name: &GameName) -> Result<Option<Game>, StoreError> {
        let filter = GameFilter { name: Some(name.clone()), ..GameFilter::default() };
        Ok(self.games(&filter, None, 1).await?.rows.pop())
    }
}

fn list(conn: &Conn<'_>, filter: &GameFilter, after: Option<GameKey>, limit: usize) -> Statement {
    let mut statement = Statement::new(format!(
        "select g.id, g.sport, g.league, g.home_team, g.away_team, g.commence_time, g.status, g.home_score, \
                g.away_score, g.details, g.source, g.source_time, {ORDER} as order_time \
         from games g where g.merged_into is null"
    ));
    if let Some(GameName { system, id }) = &filter.name {
        let values = [system, id].map(|text| Value::Text(text.clone()));
        statement.push(
            "and g.id = (select r.game_id from game_refs r where r.system = ? and r.external_id = ?)",
            values,
        );
    }
    statement.and_time(&format!("{ORDER} >= ?"), filter.from);
    statement.and_time(&format!("{ORDER} < ?"), filter.until);
    if let Some(team) = &filter.team {
        let twice = [Value::Text(team.clone()), Value::Text(team.clone())];
        statement.push("and (g.home_team = ? or g.away_team = ?)", twice);
    }
    statement.and_text("g.status = ?", filter.status.as_ref());
    statement.and_text("g.league = ?", filter.league.as_ref());
    if filter.live {
        statement.push(&format!("and g.status in ('{}')", LIVE.join("', '")), []);
    }
    if let Some(details) = &filter.details {
        let (condition, values) = in_details(conn, details);
        statement.push(condition, values);
    }
    if let Some(GameKey { micros, id }) = after {
        let place = [Value::Time(UtcMicros(micros).plus(0)), Value::BigInt(id)];
        statement.push(&format!("and ({ORDER}, g.id) > (?, ?)"), place);
    }
    statement.push(&format!("order by {ORDER}, g.id limit {}", limit + 1), []);
    statement
}

/// PostgreSQL asks whether the details contain a document, SQLite what stands at a path.
fn in_details(conn: &Conn<'_>, filter: &DetailsFilter) -> (&'static str, Vec<Value>) {
    let DetailsFilter { path, value } = filter;
    match conn {
        Conn::Postgres(_) => {
            let nest = |inner: String, key: &String| format!("{{{}:{inner}}}", quoted(key));
            let document = path.iter().rev().fold(value.clone(), nest);
            let also_as_text = path.iter().rev().fold(quoted(&plain(value)), nest);
            let condition = "and (g.details @> cast(? as jsonb) or g.details @> cast(? as jsonb))";
            (condition, vec![Value::Text(document), Value::Text(also_as_text)])
        }
        Conn::Sqlite(_) => {
            let path = path.iter().fold("$".to_owned(), |path, key| format!("{path}.{}", quoted(key)));
            let condition = "and (g.details ->> ? = json_extract(?, '$') and (json_type(g.details, ?) in ('true', 'false')) = \
                                  (json_type(?) in ('true', 'false')) \
                                  or json_type(g.details, ?) = 'text' and g.details ->> ? = ?)";
            let [path, value, text] = [path, value.clone(), plain(value)].map(Value::Text);
            let values = vec![path.clone(), value.clone(), path.clone(), value, path.clone(), path, text];
            (condition, values)
        }
    }
}

/// A JSON value as a text would say it.
fn plain(value: &str) -> String {
    serde_json::from_str(value).unwrap_or_else(|_| value.to_owned())
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

async fn names(conn: &mut Conn<'_>, ids: Vec<i64>) -> QueryResult<HashMap<i64, Vec<GameName>>> {
    let query = game_refs::table
        .filter(game_refs::game_id.eq_any(ids))
        .order((game_refs::system, game_refs::external_id))
        .select((game_refs::game_id, game_refs::system, game_refs::external_id));
    let rows: Vec<(Option<i64>, String, String)> = with_conn!(conn, c => query.load(c).await)?;
    let mut names: HashMap<i64, Vec<GameName>> = HashMap::new();
    for (game, system, id) in rows {
        if let Some(game) = game {
            names.entry(game).or_default().push(GameName { system, id });
        }
    }
    Ok(names)
}
