//! What the status page shows of the stored rows: the games that matter now, what is offered for one of them,
//! and which dead letters wait. Reads only.
//!
//! What must stay true: every answer has a limit, because somebody may look every second.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;

use super::error::StoreError;
use super::freshness::{CURRENT, window};
use super::{Store, with_conn};
use crate::schema::selections;
use crate::sql_types::UtcTimestamp;
use crate::time::UtcMicros;

/// A game ref that somebody offers lines of, with what is known about its game.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct RecentGame {
    /// The interned ref.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// Whose name for the game it is.
    #[diesel(sql_type = Text)]
    pub system: String,
    /// The name.
    #[diesel(sql_type = Text)]
    pub external_id: String,
    /// The league.
    #[diesel(sql_type = Nullable<Text>)]
    pub league: Option<String>,
    /// Who plays at home.
    #[diesel(sql_type = Nullable<Text>)]
    pub home_team: Option<String>,
    /// Who does not.
    #[diesel(sql_type = Nullable<Text>)]
    pub away_team: Option<String>,
    /// When it starts.
    #[diesel(sql_type = Nullable<UtcTimestamp>)]
    pub commence_time: Option<UtcMicros>,
}

/// Something that can be bet on at a book.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub struct Offer {
    /// The interned selection.
    pub selection_id: i64,
    /// The book.
    pub sportsbook: String,
    /// What is bet on.
    pub market: String,
    /// The part of the game.
    pub period: String,
    /// Who, where the side does not say it all.
    pub participant: String,
    /// The outcome.
    pub side: String,
    /// One of several lines of the market.
    pub alternate: bool,
    /// Its line, where it is one of several; else 0.
    pub line: f32,
}

/// Dead letters that nobody has settled, and that have topic and reason in common.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct WaitingLetters {
    /// The topic.
    #[diesel(sql_type = Text)]
    pub topic: String,
    /// Why they were refused.
    #[diesel(sql_type = Text)]
    pub reason: String,
    /// How many.
    #[diesel(sql_type = BigInt)]
    pub letters: i64,
    /// When the first one was stored.
    #[diesel(sql_type = UtcTimestamp)]
    pub oldest: UtcMicros,
    /// When the last one was stored.
    #[diesel(sql_type = UtcTimestamp)]
    pub newest: UtcMicros,
}

impl Store {
    /// The games that matter now and have odds, those nearest to now first; at most `limit`.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn recent_games(&self, now: UtcMicros, limit: usize) -> Result<Vec<RecentGame>, StoreError> {
        let (from, to, refs) = window(now);
        let query = diesel::sql_query(format!(
            "{CURRENT} \
             select r.id, r.system, r.external_id, g.league, g.home_team, g.away_team, g.commence_time \
             from current_refs c join game_refs r on r.id = c.id left join games g on g.id = r.game_id \
             where exists (select 1 from selections s where s.game_ref_id = r.id)"
        ))
        .bind::<UtcTimestamp, _>(from)
        .bind::<UtcTimestamp, _>(to)
        .bind::<BigInt, _>(refs);
        let mut session = self.checkout().await?;
        let mut games: Vec<RecentGame> = with_conn!(&mut session.conn(), c => query.load(c).await)?;
        games.sort_by_key(|game| {
            let distance = game.commence_time.map_or(i64::MAX, |at| at.0.abs_diff(now.0).cast_signed());
            (distance, std::cmp::Reverse(game.id))
        });
        games.truncate(limit);
        Ok(games)
    }

    /// What is offered for a game, by book, market, period, participant and side; at most `limit`.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn offers(&self, game_ref_id: i64, limit: i64) -> Result<Vec<Offer>, StoreError> {
        use selections::dsl as s;
        let query = selections::table
            .filter(s::game_ref_id.eq(game_ref_id))
            .order((s::sportsbook, s::market, s::period, s::participant, s::side, s::alternate, s::line))
            .limit(limit)
            .select((
                s::id,
                s::sportsbook,
                s::market,
                s::period,
                s::participant,
                s::side,
                s::alternate,
                s::line,
            ));
        let mut session = self.checkout().await?;
        Ok(with_conn!(&mut session.conn(), c => query.load(c).await)?)
    }

    /// Dead letters that nobody has settled, per topic and reason, most first; of more than `limit` only so many are counted.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn waiting_letters(&self, limit: i64) -> Result<Vec<WaitingLetters>, StoreError> {
        let query = diesel::sql_query(
            "select topic, reason, count(*) as letters, min(created_at) as oldest, max(created_at) as newest \
             from (select topic, reason, created_at from dead_letters where status = 'dead' limit $1) waiting \
             group by topic, reason order by letters desc, topic, reason",
        )
        .bind::<BigInt, _>(limit);
        let mut session = self.checkout().await?;
        Ok(with_conn!(&mut session.conn(), c => query.load(c).await)?)
    }
}
