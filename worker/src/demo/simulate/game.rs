//! One simulated game: what the market thinks of it, how it goes, and which events tell so. Pure; used by `simulate`.

use std::sync::Arc;

use ledgerline_schema::events::game::GameStatus;
use ledgerline_schema::time::UtcMicros;
use rand::Rng;

use super::events::{GameData, GameRef, SYSTEM};
use super::leagues::{LEAGUES, League, team};
use super::prices::Opinion;

/// How likely the market's opinion moves between two polls.
const MOVES: f64 = 0.25;
/// How likely there is news: a jump of several steps.
const NEWS: f64 = 0.006;
/// First possible start within the day, in minutes.
const FIRST_START: i64 = 12 * 60;
/// Starts are spread over so many minutes.
const STARTS: i64 = 11 * 60;

/// One game.
#[derive(Debug)]
pub struct Game {
    /// Its id in the simulated feed.
    pub id: String,
    /// Its Kafka key.
    pub key: Arc<str>,
    /// Its league.
    pub league: &'static League,
    /// Home team.
    pub home: String,
    /// Away team.
    pub away: String,
    /// When it starts.
    pub commence: UtcMicros,
    /// Where it stands.
    pub status: GameStatus,
    /// What the market thinks.
    pub opinion: Opinion,
    score: [u32; 2],
    commence_time: String,
}

impl Game {
    /// Game `number` of a league, some time on the day that begins at `midnight`.
    pub fn new(
        id: String,
        league_index: usize,
        number: usize,
        midnight: UtcMicros,
        rng: &mut impl Rng,
    ) -> Self {
        let league = &LEAGUES[league_index];
        let minute = FIRST_START + rng.random_range(0..=STARTS / 5) * 5;
        let commence = midnight.plus(minute * 60 * UtcMicros::SECOND);
        let opinion = Opinion {
            margin: (around_zero(rng) + 0.15) * league.margin,
            total: league.total * (1.0 + 0.1 * around_zero(rng)),
        };
        Self {
            key: format!("{SYSTEM}:{id}").into(),
            id,
            league,
            home: team(league_index, 2 * number),
            away: team(league_index, 2 * number + 1),
            commence,
            status: GameStatus::Scheduled,
            opinion,
            score: [0; 2],
            commence_time: commence.to_string(),
        }
    }

    /// Whether books still take bets before the start.
    pub fn is_open(&self) -> bool {
        self.status == GameStatus::Scheduled
    }

    /// Moves the market's opinion on to the next poll.
    pub fn drift(&mut self, rng: &mut impl Rng) {
        let steps = if rng.random_bool(NEWS) {
            4.0
        } else if rng.random_bool(MOVES) {
            1.0
        } else {
            return;
        };
        self.opinion.margin += steps * self.league.step * around_zero(rng);
        self.opinion.total += 2.0 * steps * self.league.step * around_zero(rng);
    }

    /// Lets the game reach `now`. Answers whether there is something to tell.
    pub fn play(&mut self, now: UtcMicros, rng: &mut impl Rng) -> bool {
        if self.status == GameStatus::Final || now < self.commence {
            return false;
        }
        let over = now >= self.commence.plus(self.league.minutes * 60 * UtcMicros::SECOND);
        self.status = if over { GameStatus::Final } else { GameStatus::InProgress };
        // A poll sees about an eighth of the points of a game, a little more for whom the market favours.
        let home_share = 0.5 + (self.opinion.margin / self.opinion.total.max(1.0)).clamp(-1.0, 1.0) / 2.0;
        for (score, share) in self.score.iter_mut().zip([home_share, 1.0 - home_share]) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100 points")]
            let points = (self.opinion.total / 8.0 * share * 2.0 * rng.random::<f64>()).round() as u32;
            *score = (*score + points).min(300);
        }
        true
    }

    /// The ref that odds and games name.
    pub fn game_ref(&self) -> GameRef<'_> {
        GameRef { system: SYSTEM, id: &self.id }
    }

    /// Its state as `data` of `game.v1`.
    pub fn data(&self) -> GameData<'_> {
        let [home, away] = self.score.map(|score| (self.status != GameStatus::Scheduled).then_some(score));
        GameData {
            game: self.game_ref(),
            sport: self.league.sport,
            league: self.league.slug,
            home_team: &self.home,
            away_team: &self.away,
            commence_time: &self.commence_time,
            status: self.status,
            home_score: home,
            away_score: away,
        }
    }
}

/// A number around 0, mostly within ±1: enough of a bell for odds.
pub fn around_zero(rng: &mut impl Rng) -> f64 {
    (0..4).map(|_| rng.random_range(-1.0..1.0)).sum::<f64>() / 1.15
}
