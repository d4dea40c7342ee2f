//! Signals for people: the latest, the strong ones, those of a game. Reads only.
//!
//! What must stay true: a page costs the same wherever it starts; a game has all its names.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};

use super::selections::names_of_game;
use super::{Page, one_more};
use crate::events::markets::Market;
use crate::events::sharp_signal::Severity;
use crate::schema::{game_refs, sharp_signals as signals};
use crate::sql_types::{Json, UtcTimestamp};
use crate::store::{GameName, Store, StoreError, with_conn};
use crate::time::UtcMicros;

/// Which signals; what is not set matches all.
#[derive(Debug, Clone, Default)]
pub struct SignalFilter {
    /// Of this game, by any of its names.
    pub game: Option<GameName>,
    /// Of this market.
    pub market: Option<Market>,
    /// Detected at this time or later.
    pub since: Option<UtcMicros>,
    /// As strong as this or stronger.
    pub min_severity: Option<Severity>,
}

/// Where a page ended: its last row's time and number. The next one goes on with what is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The time that the list is ordered by.
    pub at: UtcMicros,
    /// The row's number, among rows of one time.
    pub id: i64,
}

/// A signal with its game.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub struct FoundSignal {
    /// Its number.
    pub id: i64,
    /// System of the game's id.
    pub system: String,
    /// The game's id there.
    pub external_id: String,
    /// Who saw it, and in which version.
    pub detector: (String, String),
    /// What was seen.
    pub signal_type: String,
    /// What is bet on.
    pub market: String,
    /// The part of the game.
    pub period: String,
    /// Who; empty where the side says it all.
    pub participant: String,
    /// The side that it points to.
    pub side: String,
    /// Points.
    pub line: Option<f32>,
    /// When it was seen.
    pub detected_at: UtcMicros,
    /// Begin and end of the movement.
    pub window: (UtcMicros, UtcMicros),
    /// Line before and after.
    pub lines: (Option<f32>, Option<f32>),
    /// American price before and after.
    pub prices: (Option<i32>, Option<i32>),
    /// Part of the tickets, in percent.
    pub tickets_pct: Option<f64>,
    /// Part of the money, in percent.
    pub money_pct: Option<f64>,
    /// How far it moved, and in what.
    pub magnitude: (Option<f64>, Option<String>),
    /// How sure the detector is.
    pub confidence: Option<f64>,
    /// How strong it is.
    pub severity: String,
    /// When it stops to matter.
    pub expires_at: Option<UtcMicros>,
    /// Books and events: a JSON object.
    pub evidence: Json,
    /// The detector's own id.
    pub signal_id: Option<String>,
    /// The scraper.
    pub source: String,
}

impl FoundSignal {
    /// Where a page that ends with it ends.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { at: self.detected_at, id: self.id }
    }
}

impl Store {
    /// The latest signals that match, newest first, at most `limit`, older than the cursor.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn signals(
        &self,
        filter: &SignalFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<FoundSignal, Cursor>, StoreError> {
        let mut session = self.checkout().await?;
        let conn = &mut session.conn();
        let unset = |is_none: bool| is_none.into_sql::<Bool>();
        let after = after.unwrap_or(Cursor { at: UtcMicros::LATEST, id: i64::MAX });
        let older = sql::<Bool>("(sharp_signals.detected_at, sharp_signals.id) < (")
            .bind::<UtcTimestamp, _>(after.at)
            .sql(", ")
            .bind::<BigInt, _>(after.id)
            .sql(")");
        let strong = Severity::ALL.iter().filter(|severity| Some(**severity) >= filter.min_severity);
        let strong: Vec<&str> = strong.map(|severity| severity.name()).collect();
        let query = signals::table
            .inner_join(game_refs::table)
            .filter(older)
            .filter(signals::detected_at.ge(filter.since.unwrap_or(UtcMicros::EARLIEST)))
            .filter(signals::severity.eq_any(strong))
            .filter(
                signals::market.eq(filter.market.map_or("", Market::name)).or(unset(filter.market.is_none())),
            )
            .order((signals::detected_at.desc(), signals::id.desc()))
            .limit(one_more(limit))
            .select((
                signals::id,
                game_refs::system,
                game_refs::external_id,
                (signals::detector, signals::detector_version),
                signals::signal_type,
                signals::market,
                signals::period,
                signals::participant,
                signals::side,
                signals::line,
                signals::detected_at,
                (signals::window_start, signals::window_end),
                (signals::line_from, signals::line_to),
                (signals::price_from, signals::price_to),
                signals::tickets_pct,
                signals::money_pct,
                (signals::magnitude, signals::magnitude_unit),
                signals::confidence,
                signals::severity,
                signals::expires_at,
                signals::evidence,
                signals::signal_id,
                signals::source,
            ));
        let rows: Vec<FoundSignal> = match &filter.game {
            None => with_conn!(conn, c => query.load(c).await)?,
            Some(game) => {
                let names = names_of_game(conn, game).await?;
                let query = query.filter(signals::game_ref_id.eq_any(names));
                with_conn!(conn, c => query.load(c).await)?
            }
        };
        Ok(Page::cut(rows, limit, FoundSignal::cursor))
    }
}
