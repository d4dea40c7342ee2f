//! How old the newest odds are, per sport, league and book. Called by `ledgerline freshness` and the status page; reads only.
//!
//! What must stay true: a look is bounded whatever is stored. It begins with the games that matter now (those that were named
//! last, and those that are played about now), takes so many of their selections, and asks the key of `odds` once for each.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::RunQueryDsl;

use super::error::StoreError;
use super::{Store, with_conn};
use crate::sql_types::UtcTimestamp;
use crate::time::UtcMicros;

/// Game refs that were named last and are looked at, and as many of games about now.
const REFS: i64 = 500;
/// Selections that are looked at; one index look-up each, so a fraction of a second all together.
const SELECTIONS: i64 = 50_000;
/// A game matters from so long before its start: most books open their lines a week ahead.
const AHEAD: i64 = 7 * 24 * UtcMicros::HOUR;
/// And until so long after it.
const BEHIND: i64 = 2 * 24 * UtcMicros::HOUR;

/// The refs of the games that matter now; binds a time twice and a limit. A season that is announced at once would push
/// today's games out of the newest ones, and a history that is read again is nowhere near today: hence both.
pub(super) const CURRENT: &str = "\
    with about_now as ( \
        select r.id from game_refs r join games g on g.id = r.game_id \
        where g.commence_time >= $1 and g.commence_time < $2 order by g.commence_time limit $3 \
    ), current_refs as ( \
        select id from (select id from game_refs order by id desc limit $3) newest \
        union select id from about_now \
    ) ";

/// The binds of [`CURRENT`].
pub(super) fn window(now: UtcMicros) -> (UtcMicros, UtcMicros, i64) {
    (now.plus(-BEHIND), now.plus(AHEAD), REFS)
}

/// What one book offers in one league.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Freshness {
    /// The sport; empty where no event told the game's.
    #[diesel(sql_type = Text)]
    pub sport: String,
    /// The league; empty likewise.
    #[diesel(sql_type = Text)]
    pub league: String,
    /// The book.
    #[diesel(sql_type = Text)]
    pub sportsbook: String,
    /// Games that it has lines of, among those looked at.
    #[diesel(sql_type = BigInt)]
    pub games: i64,
    /// Its selections of them.
    #[diesel(sql_type = BigInt)]
    pub selections: i64,
    /// When the newest of its quotes was seen; none where retention took all.
    #[diesel(sql_type = Nullable<UtcTimestamp>)]
    pub newest: Option<UtcMicros>,
}

/// Every book of every league that matters now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreshnessReport {
    /// In the order of sport, league and book.
    pub books: Vec<Freshness>,
    /// Whether all selections were looked at that there are of these games; else a book may be fresher than it seems.
    pub complete: bool,
}

impl Store {
    /// The age of the newest odds per sport, league and book, of the games that matter now.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn freshness(&self, now: UtcMicros) -> Result<FreshnessReport, StoreError> {
        let (from, to, refs) = window(now);
        let query = diesel::sql_query(format!(
            "{CURRENT}, quoted as ( \
                select s.id, s.game_ref_id, s.sportsbook \
                from current_refs c join selections s on s.game_ref_id = c.id limit $4 \
             ) \
             select coalesce(g.sport, '') as sport, coalesce(g.league, '') as league, q.sportsbook, \
                    count(distinct q.game_ref_id) as games, count(*) as selections, \
                    max((select max(o.observed_at) from odds o where o.selection_id = q.id)) as newest \
             from quoted q join game_refs r on r.id = q.game_ref_id left join games g on g.id = r.game_id \
             group by 1, 2, 3 order by 1, 2, 3"
        ))
        .bind::<UtcTimestamp, _>(from)
        .bind::<UtcTimestamp, _>(to)
        .bind::<BigInt, _>(refs)
        .bind::<BigInt, _>(SELECTIONS);
        let mut session = self.checkout().await?;
        let books: Vec<Freshness> = with_conn!(&mut session.conn(), c => query.load(c).await)?;
        let complete = books.iter().map(|book| book.selections).sum::<i64>() < SELECTIONS;
        Ok(FreshnessReport { books, complete })
    }
}
