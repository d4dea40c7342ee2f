//! Analyses for people: the latest, those of high confidence, those of a game. Reads only.
//!
//! What must stay true: a page costs the same wherever it starts; a game has all its names.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use diesel_async::RunQueryDsl;

use super::selections::names_of_game;
use super::signals::Cursor;
use super::{Page, one_more};
use crate::events::betting_analysis::Recommendation;
use crate::events::markets::Market;
use crate::schema::{betting_analyses as analyses, game_refs};
use crate::sql_types::{Json, UtcTimestamp};
use crate::store::{GameName, Store, StoreError, with_conn};
use crate::time::UtcMicros;

/// Which analyses; what is not set matches all.
#[derive(Debug, Clone, Default)]
pub struct AnalysisFilter {
    /// Of this game, by any of its names.
    pub game: Option<GameName>,
    /// Of this market.
    pub market: Option<Market>,
    /// As of this time or later.
    pub since: Option<UtcMicros>,
    /// As sure as this or surer.
    pub min_confidence: Option<f64>,
    /// That say this.
    pub recommendation: Option<Recommendation>,
}

/// An analysis with its game.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub struct FoundAnalysis {
    /// Its number.
    pub id: i64,
    /// System of the game's id.
    pub system: String,
    /// The game's id there.
    pub external_id: String,
    /// Who made it, and in which version.
    pub model: (String, String),
    /// What is bet on.
    pub market: String,
    /// The part of the game.
    pub period: String,
    /// Who; empty where the side says it all.
    pub participant: String,
    /// The side.
    pub side: String,
    /// Points.
    pub line: Option<f32>,
    /// What was known.
    pub as_of: UtcMicros,
    /// Between 0 and 1.
    pub fair_probability: f64,
    /// The same as an American price.
    pub fair_price_american: Option<i32>,
    /// The book.
    pub sportsbook: Option<String>,
    /// Its price.
    pub offered_price_american: Option<i32>,
    /// How the margin was taken out.
    pub vig_method: String,
    /// The edge, as the model tells it.
    pub edge: Option<f64>,
    /// Part of the bankroll.
    pub kelly_fraction: Option<f64>,
    /// Units to stake.
    pub stake_units: Option<f64>,
    /// What to do.
    pub recommendation: String,
    /// How sure the model is.
    pub confidence: f64,
    /// Why.
    pub rationale: String,
    /// What it was made from: a JSON object.
    pub inputs: Json,
    /// What became of the bet.
    pub result: String,
    /// When.
    pub settled_at: Option<UtcMicros>,
    /// The model's own id.
    pub analysis_id: Option<String>,
    /// The scraper.
    pub source: String,
}

impl FoundAnalysis {
    /// Where a page that ends with it ends.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { at: self.as_of, id: self.id }
    }
}

impl Store {
    /// The latest analyses that match, newest first, at most `limit`, older than the cursor.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn analyses(
        &self,
        filter: &AnalysisFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<FoundAnalysis, Cursor>, StoreError> {
        let mut session = self.checkout().await?;
        let conn = &mut session.conn();
        let unset = |is_none: bool| is_none.into_sql::<Bool>();
        let after = after.unwrap_or(Cursor { at: UtcMicros::LATEST, id: i64::MAX });
        let older = sql::<Bool>("(betting_analyses.as_of, betting_analyses.id) < (")
            .bind::<UtcTimestamp, _>(after.at)
            .sql(", ")
            .bind::<BigInt, _>(after.id)
            .sql(")");
        let market = filter.market.map_or("", Market::name);
        let wanted = filter.recommendation.map_or("", Recommendation::name);
        let query = analyses::table
            .inner_join(game_refs::table)
            .filter(older)
            .filter(analyses::as_of.ge(filter.since.unwrap_or(UtcMicros::EARLIEST)))
            .filter(analyses::confidence.ge(filter.min_confidence.unwrap_or(0.0)))
            .filter(analyses::market.eq(market).or(unset(filter.market.is_none())))
            .filter(analyses::recommendation.eq(wanted).or(unset(filter.recommendation.is_none())))
            .order((analyses::as_of.desc(), analyses::id.desc()))
            .limit(one_more(limit))
            .select((
                analyses::id,
                game_refs::system,
                game_refs::external_id,
                (analyses::model, analyses::model_version),
                analyses::market,
                analyses::period,
                analyses::participant,
                analyses::side,
                analyses::line,
                analyses::as_of,
                analyses::fair_probability,
                analyses::fair_price_american,
                analyses::sportsbook,
                analyses::offered_price_american,
                analyses::vig_method,
                analyses::edge,
                analyses::kelly_fraction,
                analyses::stake_units,
                analyses::recommendation,
                analyses::confidence,
                analyses::rationale,
                analyses::inputs,
                analyses::result,
                analyses::settled_at,
                analyses::analysis_id,
                analyses::source,
            ));
        let rows: Vec<FoundAnalysis> = match &filter.game {
            None => with_conn!(conn, c => query.load(c).await)?,
            Some(game) => {
                let names = names_of_game(conn, game).await?;
                let query = query.filter(analyses::game_ref_id.eq_any(names));
                with_conn!(conn, c => query.load(c).await)?
            }
        };
        Ok(Page::cut(rows, limit, FoundAnalysis::cursor))
    }
}
