//! The simulated odds day: 300 games of five leagues, polled at nine books every twenty minutes until they start, with
//! everything that makes a day hard: most polls repeat the last price, pages are sent twice, records are broken. Called by the
//! demo's feed.
//!
//! What must stay true: pure, so that one seed gives the same bytes; every record but the planted bad ones passes its contract;
//! a book's page has one time, and times of one selection only grow, so that no two quotes contradict each other.

mod board;
mod events;
mod game;
mod leagues;
mod prices;

use std::collections::VecDeque;
use std::sync::Arc;

use ledgerline_schema::events::EventKind;
use ledgerline_schema::events::game::GameStatus;
use ledgerline_schema::events::odds::{Market, MarketStatus, Side};
use ledgerline_schema::time::UtcMicros;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use board::Board;
pub use events::SYSTEM;
use events::{ArticleData, Envelope, OddsData};
use game::Game;
use leagues::{BOOKS, LEAGUES};
use prices::Outcome;

/// Simulated time between two polls.
const POLL_EVERY: i64 = 20 * 60 * UtcMicros::SECOND;
/// When the scrapers start within the day. They poll until the next day's start.
const OPENS: i64 = 7 * UtcMicros::HOUR;
/// One odds record of so many is broken.
const BAD: f64 = 1.0 / 5_000.0;
/// One odds record of so many is followed by a record without a value.
const TOMBSTONE: f64 = 1.0 / 4_000.0;
/// One page of so many is sent twice: its scraper did not hear that it had arrived.
const RESENT: f64 = 1.0 / 150.0;
/// How likely there is an article at a poll, and how likely it is one read again with another text.
const ARTICLE: f64 = 0.6;
const REVISED: f64 = 0.3;

/// One record for Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// What it carries; decides the topic.
    pub kind: EventKind,
    /// Its key.
    pub key: Arc<str>,
    /// Its value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// How many quotes it holds, counted as the scraper counts: a broken one too.
    pub quotes: u64,
}

/// A game, for whoever wants to look it up in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixture {
    /// Its id under [`SYSTEM`].
    pub id: String,
    /// `away at home`.
    pub teams: String,
    /// Slug of the sport.
    pub sport: &'static str,
    /// When it starts.
    pub commence: UtcMicros,
}

/// An endless run of days.
#[derive(Debug)]
pub struct Simulation {
    rng: SmallRng,
    run: String,
    midnight: UtcMicros,
    polls: i64,
    games: Vec<Game>,
    boards: Vec<Board>,
    /// Where the current poll stands: book, league.
    page: (usize, usize),
    ready: VecDeque<Simulated>,
    ids: u64,
    articles: u64,
    /// Without what makes a day hard.
    clean: bool,
}

impl Simulation {
    /// Starts on the day that begins at `midnight`. `run` is part of every id, so that two runs never meet in one database.
    pub fn new(seed: u64, run: &str, midnight: UtcMicros) -> Self {
        let mut simulation = Self {
            rng: SmallRng::seed_from_u64(seed),
            run: run.to_owned(),
            midnight,
            polls: 0,
            games: Vec::new(),
            boards: Vec::new(),
            page: (0, 0),
            ready: VecDeque::new(),
            ids: 0,
            articles: 0,
            clean: false,
        };
        simulation.open_day();
        simulation
    }

    /// The same day without broken records, tombstones and pages that are sent twice: every record is stored, every quote is new.
    pub fn clean(mut self) -> Self {
        self.clean = true;
        self
    }

    /// The games of the current day.
    pub fn fixtures(&self) -> Vec<Fixture> {
        let fixture = |game: &Game| Fixture {
            id: game.id.clone(),
            teams: format!("{} at {}", game.away, game.home),
            sport: game.league.sport,
            commence: game.commence,
        };
        self.games.iter().map(fixture).collect()
    }

    fn open_day(&mut self) {
        let day = self.midnight.to_string()[..10].replace('-', "");
        self.games.clear();
        for (index, league) in LEAGUES.iter().enumerate() {
            for number in 0..league.games {
                let id = format!("{}-{day}-{:03}", self.run, self.games.len());
                self.games.push(Game::new(id, index, number, self.midnight, &mut self.rng));
            }
        }
        self.boards = BOOKS.iter().map(|_| Board::new(&self.games, &mut self.rng)).collect();
        (self.polls, self.page) = (0, (0, 0));
        for index in 0..self.games.len() {
            self.tell_game(index);
        }
    }

    fn now(&self) -> UtcMicros {
        self.midnight.plus(OPENS + self.polls * POLL_EVERY)
    }

    /// Makes the next page of events: one book, one league; between two polls, what happened to the games.
    fn turn_page(&mut self) {
        let (book, league) = self.page;
        self.poll_page(book, league);
        self.page = if league + 1 < LEAGUES.len() { (book, league + 1) } else { (book + 1, 0) };
        if self.page.0 == BOOKS.len() {
            self.next_poll();
        }
    }

    fn next_poll(&mut self) {
        (self.polls, self.page) = (self.polls + 1, (0, 0));
        if self.polls * POLL_EVERY >= 24 * UtcMicros::HOUR {
            self.midnight = self.midnight.plus(24 * UtcMicros::HOUR);
            return self.open_day();
        }
        let now = self.now();
        for index in 0..self.games.len() {
            self.games[index].drift(&mut self.rng);
            if self.games[index].play(now, &mut self.rng) {
                self.tell_game(index);
            }
        }
        if self.rng.random_bool(ARTICLE) {
            self.tell_article();
        }
    }

    fn tell_game(&mut self, index: usize) {
        let (id, time) = (self.next_id(), self.now().to_string());
        let game = &self.games[index];
        let envelope = Envelope { id: &id, source: "sim-schedule", time: &time, poll: "" };
        let value = envelope.write(EventKind::Game.event_type(), game.data());
        let record =
            |value| Simulated { kind: EventKind::Game, key: Arc::clone(&game.key), value, quotes: 0 };
        self.ready.push_back(record(Some(value)));
        if game.status == GameStatus::Final {
            // A compacted topic forgets a game that is over.
            self.ready.push_back(record(None));
        }
    }

    fn tell_article(&mut self) {
        if self.articles == 0 || !self.rng.random_bool(REVISED) {
            self.articles += 1;
        }
        let (id, time, number) = (self.next_id(), self.now().to_string(), self.articles);
        let game = &self.games[(number as usize * 37) % self.games.len()];
        let url = format!("https://news.example/{}/{number}", self.run);
        let title = format!("Line watch {number}: {} at {}", game.away, game.home);
        let summary = format!("What moved by {}, and what the books make of it.", &time[11..16]);
        let data = ArticleData {
            url: &url,
            title: &title,
            summary: &summary,
            published_at: &time,
            source_name: "Simulated Wire",
            language: "en",
            tags: &[game.league.slug, "odds"],
        };
        let envelope = Envelope { id: &id, source: "sim-wire", time: &time, poll: "" };
        let value = Some(envelope.write(EventKind::Article.event_type(), data));
        let key = format!("{:x}", Sha256::digest(&url)).into();
        self.ready.push_back(Simulated { kind: EventKind::Article, key, value, quotes: 0 });
    }

    /// One book's odds on one league's open games, all of one time.
    fn poll_page(&mut self, book: usize, league: usize) {
        let begin = self.ready.len();
        let time = self.now().plus((7 * book as i64 + league as i64) * UtcMicros::SECOND).to_string();
        let poll = format!("poll-{}-{}-{}", BOOKS[book], &time[..10], &time[11..16]);
        let page = Page { book: BOOKS[book], source: format!("sim-{}", BOOKS[book]), time, poll };
        for index in 0..self.games.len() {
            if self.games[index].league.slug == LEAGUES[league].slug && self.games[index].is_open() {
                self.poll_game(&page, book, index);
            }
        }
        if self.ready.len() > begin && self.happens(RESENT) {
            let again: Vec<Simulated> = self.ready.range(begin..).cloned().collect();
            self.ready.extend(again);
        }
    }

    fn poll_game(&mut self, page: &Page, book: usize, index: usize) {
        let Some(offers) = self.boards[book].poll(index, &self.games[index], &mut self.rng) else { return };
        for (offer, open) in offers {
            let outcomes = offer.outcomes(self.games[index].league, open);
            let status = if open { MarketStatus::Open } else { MarketStatus::Suspended };
            self.push_odds(page, index, offer.market(), status, &outcomes);
            if self.happens(BAD) {
                // 50 is no American price: the contract refuses the record, and the line keeps it as a dead letter.
                let bad = Outcome { side: Side::Home, line: None, price_american: Some(50) };
                self.push_odds(page, index, Market::Moneyline, MarketStatus::Open, &[bad]);
            }
            if self.happens(TOMBSTONE) {
                let key = Arc::clone(&self.games[index].key);
                self.ready.push_back(Simulated { kind: EventKind::Odds, key, value: None, quotes: 0 });
            }
        }
    }

    fn push_odds(
        &mut self,
        page: &Page,
        index: usize,
        market: Market,
        status: MarketStatus,
        outcomes: &[Outcome],
    ) {
        let id = self.next_id();
        let game = &self.games[index];
        let data = OddsData {
            game: game.game_ref(),
            sportsbook: page.book,
            market,
            market_status: status,
            outcomes,
        };
        let envelope = Envelope { id: &id, source: &page.source, time: &page.time, poll: &page.poll };
        let value = Some(envelope.write(EventKind::Odds.event_type(), data));
        let (key, quotes) = (Arc::clone(&game.key), outcomes.len() as u64);
        self.ready.push_back(Simulated { kind: EventKind::Odds, key, value, quotes });
    }

    /// Whether something that makes a day hard happens now.
    fn happens(&mut self, probability: f64) -> bool {
        !self.clean && self.rng.random_bool(probability)
    }

    fn next_id(&mut self) -> String {
        self.ids += 1;
        format!("{}-{:x}", self.run, self.ids)
    }
}

/// What the records of one page share.
struct Page {
    book: &'static str,
    source: String,
    time: String,
    poll: String,
}

impl Iterator for Simulation {
    type Item = Simulated;

    /// The next record; there always is one.
    fn next(&mut self) -> Option<Simulated> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Some(record);
            }
            self.turn_page();
        }
    }
}

#[cfg(test)]
mod tests;
