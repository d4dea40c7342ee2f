//! Games: lists and one by its name.

use axum::Json;
use axum::extract::State;
use ledgerline_schema::events::game::GameStatus;
use ledgerline_schema::repositories::{self, DetailsFilter, GameFilter};
use ledgerline_schema::store::GameName;
use ledgerline_schema::time::UtcMicros;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Number, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page::{Page, json, time};
use crate::clock;
use crate::http::Shared;
use crate::http::input::{Limit, Named, Params, Time, key};
use crate::http::problem::{OfList, OfOne, Problem};

/// Keys on the way to a value in the details.
const LEVELS: usize = 10;

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

/// What a system calls a game.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Name {
    /// The system, such as `theoddsapi`.
    #[schema(max_length = 1000)]
    pub(super) system: String,
    /// Its id of the game.
    #[schema(max_length = 1000)]
    pub(super) id: String,
}

/// A game as its newest event told it.
#[derive(Debug, Serialize, ToSchema)]
struct Game {
    /// What systems call it.
    names: Vec<Name>,
    /// A slug.
    sport: Option<String>,
    /// A slug.
    league: Option<String>,
    /// Who is at home.
    home_team: Option<String>,
    /// Who is not.
    away_team: Option<String>,
    /// When it begins.
    #[schema(format = DateTime)]
    commence_time: Option<String>,
    /// Where it stands.
    status: String,
    /// Points of the home team.
    home_score: Option<i32>,
    /// Points of the away team.
    away_score: Option<i32>,
    /// What else the source said.
    #[schema(value_type = Object)]
    details: Box<RawValue>,
    /// The scraper that told it.
    source: String,
    /// When that was so.
    #[schema(format = DateTime)]
    source_time: String,
}

/// Which games.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Begin at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    /// Begin before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Time>,
    /// Begin on this day in UTC: `today`, or a date such as `2025-11-09`.
    on: Option<String>,
    /// A team, at home or away, as the source writes it.
    team: Option<String>,
    /// Where the game stands: `scheduled`, `in_progress`, `final` and so on.
    #[param(value_type = Option<String>)]
    status: Option<GameStatus>,
    /// A slug, such as `mlb`.
    league: Option<String>,
    /// Goes with `id`: a system's name for the game.
    system: Option<String>,
    /// Goes with `system`.
    id: Option<String>,
    /// `true`: only games that are on.
    #[serde(default)]
    live: bool,
    /// A value inside the details, as `path:value`: `venue.city:Boston`, `doubleheader:true`.
    details: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Games by the time when they begin.
#[utoipa::path(get, path = "/api/v1/games", operation_id = "listGames", tag = "games", params(ListParams),
    responses((status = 200, description = "A page of games", body = Page<Game>), OfList))]
async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Game>>, Problem> {
    let (after, limit) = (key(params.after.as_ref())?, params.limit.0);
    let filter = params.filter(clock::now())?;
    Ok(Json(Page::of(shared.reads.games(&filter, after, limit).await?, view)))
}

/// The game that a name leads to.
#[utoipa::path(get, path = "/api/v1/games/{system}/{id}", operation_id = "showGame", tag = "games",
    params(("system" = String, Path, description = "The system", example = "theoddsapi"),
           ("id" = String, Path, description = "Its id of the game", example = "e912304de2b2ce35b473ce2ecd3d1502")),
    responses((status = 200, description = "The game", body = Game), OfOne))]
async fn show(State(shared): State<Shared>, Named(name): Named) -> Result<Json<Game>, Problem> {
    let game = shared.reads.game(&name).await?;
    game.map(|game| Json(view(game))).ok_or_else(|| Problem::not_found(format!("there is no game {name}")))
}

fn view(game: repositories::Game) -> Game {
    let repositories::Game { state, names } = game;
    Game {
        names: names.into_iter().map(|GameName { system, id }| Name { system, id }).collect(),
        sport: state.sport,
        league: state.league,
        home_team: state.home_team,
        away_team: state.away_team,
        commence_time: state.commence_time.map(time),
        status: state.status,
        home_score: state.home_score,
        away_score: state.away_score,
        details: json(&state.details.0),
        source: state.source,
        source_time: time(state.source_time),
    }
}

impl ListParams {
    fn filter(self, now: UtcMicros) -> Result<GameFilter, Problem> {
        let (mut from, mut until) = (self.from.map(|time| time.0), self.until.map(|time| time.0));
        if let Some(on) = &self.on {
            if from.is_some() || until.is_some() {
                return Err(Problem::field("on", "does not go with from or until"));
            }
            let day = day(on, now).map_err(|problem| Problem::field("on", problem))?;
            (from, until) = (Some(day), Some(day.plus(24 * UtcMicros::HOUR)));
        }
        let name = name_of(self.system, self.id)?;
        let details = self.details.as_deref().map(details).transpose();
        Ok(GameFilter {
            from,
            until,
            team: self.team,
            status: self.status.map(|status| status.name().to_owned()),
            league: self.league,
            name,
            live: self.live,
            details: details.map_err(|problem| Problem::field("details", problem))?,
        })
    }
}

/// A game by the parameters `system` and `id`, which go together.
pub(super) fn name_of(system: Option<String>, id: Option<String>) -> Result<Option<GameName>, Problem> {
    match (system, id) {
        (Some(system), Some(id)) => Ok(Some(GameName { system, id })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Problem::field("id", "is missing: it goes with system")),
        (None, Some(_)) => Err(Problem::field("system", "is missing: it goes with id")),
    }
}

/// The start of the day in UTC.
fn day(on: &str, now: UtcMicros) -> Result<UtcMicros, String> {
    match on {
        "today" => Ok(UtcMicros(now.0.div_euclid(24 * UtcMicros::HOUR) * 24 * UtcMicros::HOUR)),
        date => UtcMicros::parse(&format!("{date}T00:00:00Z"))
            .map_err(|_| "neither `today` nor a date such as 2025-11-09".to_owned()),
    }
}

fn details(text: &str) -> Result<DetailsFilter, String> {
    let (path, value) = text.split_once(':').ok_or("not `path:value`, such as venue.city:Boston")?;
    let path: Vec<String> = path.split('.').map(str::to_owned).collect();
    if path.len() > LEVELS || path.iter().any(|key| key.is_empty() || key.contains(['"', '\\'])) {
        return Err(format!("the path must be 1 to {LEVELS} keys with dots between them, without quotes"));
    }
    let is_plain = matches!(value, "true" | "false") || serde_json::from_str::<Number>(value).is_ok();
    let value = if is_plain { value.to_owned() } else { Value::from(value).to_string() };
    Ok(DetailsFilter { path, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_a_path_and_a_value_of_the_right_type() {
        let parsed = |text| details(text).map(|filter| (filter.path.join("/"), filter.value));
        assert_eq!(parsed("venue.city:Boston"), Ok(("venue/city".into(), "\"Boston\"".into())));
        assert_eq!(parsed("round:3"), Ok(("round".into(), "3".into())));
        assert_eq!(parsed("on:true"), Ok(("on".into(), "true".into())));
        assert_eq!(parsed("at:12:30"), Ok(("at".into(), "\"12:30\"".into())));
        for wrong in ["", "venue", ":x", "a..b:1", "a\"b:1", "a\\b:1"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_day_is_today_or_a_date() {
        let now = UtcMicros::parse("2025-11-09T18:20:41Z").expect("a time");
        let midnight = UtcMicros::parse("2025-11-09T00:00:00Z");
        assert_eq!(day("today", now), midnight);
        assert_eq!(day("2025-11-09", now), midnight);
        assert!(day("yesterday", now).is_err() && day("2025-02-30", now).is_err());
    }
}
