//! The quotes that are measured with: games polled at nine books in rounds, two quotes an event, prices that mostly stay.
//!
//! What must stay true: pure, so that one seed gives the same bytes; times of one selection only grow, so that every quote is
//! a new row.

use ledgerline_schema::batch::Batch;
use ledgerline_schema::events::{EventKind, RawRecord};
use ledgerline_schema::time::UtcMicros;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The same quotes in every run.
const SEED: u64 = 20_251_109;
/// 2025-11-09T00:00:00Z.
const START: UtcMicros = UtcMicros(1_762_646_400_000_000);
/// Time between two rounds.
const ROUND: i64 = 60 * UtcMicros::SECOND;
/// Quotes of one event.
pub const QUOTES_PER_EVENT: usize = 2;
/// Of so many polls one finds another price.
const CHANGES: f64 = 0.15;
const BOOKS: [&str; 9] =
    ["draftkings", "fanduel", "betmgm", "caesars", "pointsbet", "bet365", "pinnacle", "betrivers", "unibet"];
const MARKETS: usize = 3;

/// How many games there are at once, and how long one is polled.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Games that are polled in every round.
    pub games: usize,
    /// A game is replaced by a new one after so many rounds; none: never.
    pub rounds_per_game: Option<i64>,
}

impl Shape {
    /// Selections that are polled in every round.
    pub const fn selections(self) -> usize {
        self.games * BOOKS.len() * MARKETS * QUOTES_PER_EVENT
    }
}

/// An endless run of events.
#[derive(Debug)]
pub struct Quotes {
    rng: SmallRng,
    shape: Shape,
    games: Vec<Game>,
    /// Games so far; their number is their id.
    known: usize,
    round: i64,
    /// Where the round stands: book, game, market.
    next: (usize, usize, usize),
}

/// A game and what every book offers on it.
#[derive(Debug)]
struct Game {
    id: String,
    key: String,
    /// The round that it is polled in no more.
    ends: i64,
    offers: Vec<Offer>,
}

/// One market of a game at one book.
#[derive(Debug, Clone, Copy)]
struct Offer {
    line: f64,
    lean: i64,
}

impl Quotes {
    /// Starts with the first round.
    pub fn new(shape: Shape) -> Self {
        let rng = SmallRng::seed_from_u64(SEED);
        let mut quotes = Self { rng, shape, games: Vec::new(), known: 0, round: 0, next: (0, 0, 0) };
        let length = shape.rounds_per_game.unwrap_or(i64::MAX);
        for index in 0..shape.games as i64 {
            // Staggered: as in life, a few games end in a round, not all of them.
            let ends = match shape.rounds_per_game {
                Some(rounds) => 1 + (index * rounds) / shape.games as i64,
                None => length,
            };
            let game = quotes.new_game(ends);
            quotes.games.push(game);
        }
        quotes
    }

    /// The next events as a batch that begins at that offset.
    pub fn batch(&mut self, from: i64, events: usize) -> Batch {
        let mut batch = Batch::new(EventKind::Odds.rows(), from);
        for offset in (from..).take(events) {
            let (book, game, market) = self.next;
            let seen = START.plus(self.round * ROUND + book as i64 * UtcMicros::SECOND);
            let value = self.event(offset, seen);
            let raw = RawRecord { value: value.as_bytes(), headers: &[], timestamp: Some(seen) };
            batch.push(offset, Some(self.games[game].key.as_bytes()), &raw);
            self.advance(book, game, market);
        }
        batch
    }

    /// One book's two quotes of one market, as the scraper says it.
    fn event(&mut self, offset: i64, seen: UtcMicros) -> String {
        let (book, game, market) = self.next;
        let changes = self.rng.random_bool(CHANGES);
        let Game { id, offers, .. } = &mut self.games[game];
        let offer = &mut offers[book * MARKETS + market];
        if changes {
            offer.lean = 5 * self.rng.random_range(-3..=3);
        }
        let (first, second) = outcomes(market, *offer);
        let (name, book) = (["moneyline", "spread", "total"][market], BOOKS[book]);
        format!(
            r#"{{"specversion":"1.0","type":"odds.v1","id":"bench-{offset:x}","source":"bench-{book}","time":"{seen}","#
        ) + &format!(
            r#""datacontenttype":"application/json","correlationid":"poll-{}","scraperversion":"2.4.1","#,
            self.round
        ) + &format!(
            r#""data":{{"game":{{"system":"bench","id":"{id}"}},"sportsbook":"{book}","market":"{name}","#
        ) + &format!(
            r#""period":"full_game","book_updated_at":"{seen}","market_status":"open","outcomes":[{first},{second}]}}}}"#
        )
    }

    /// Market by market, game by game, book by book, then the next round.
    fn advance(&mut self, book: usize, game: usize, market: usize) {
        self.next = match () {
            () if market + 1 < MARKETS => (book, game, market + 1),
            () if game + 1 < self.games.len() => (book, game + 1, 0),
            () if book + 1 < BOOKS.len() => (book + 1, 0, 0),
            () => (0, 0, 0),
        };
        if self.next == (0, 0, 0) {
            self.round += 1;
            self.replace_ended();
        }
    }

    fn replace_ended(&mut self) {
        let Some(rounds) = self.shape.rounds_per_game else { return };
        for index in 0..self.games.len() {
            if self.games[index].ends <= self.round {
                self.games[index] = self.new_game(self.round + rounds);
            }
        }
    }

    fn new_game(&mut self, ends: i64) -> Game {
        self.known += 1;
        let id = format!("{:032x}", self.known);
        let mut offer = || Offer {
            line: f64::from(self.rng.random_range(1..=20)) / 2.0,
            lean: 5 * self.rng.random_range(-3..=3),
        };
        let offers = (0..BOOKS.len() * MARKETS).map(|_| offer()).collect();
        Game { key: format!("bench:{id}"), id, ends, offers }
    }
}

/// The two outcomes of a market as JSON. Both sides cost the same but for how far the book leans.
fn outcomes(market: usize, offer: Offer) -> (String, String) {
    let Offer { line, lean } = offer;
    let price = |lean: i64| -120 + lean;
    let outcome = |side: &str, line: Option<f64>, lean: i64| match line {
        Some(line) => format!(r#"{{"side":"{side}","line":{line},"price_american":{}}}"#, price(lean)),
        None => format!(r#"{{"side":"{side}","price_american":{}}}"#, price(lean)),
    };
    match market {
        0 => (outcome("home", None, lean), outcome("away", None, -lean)),
        1 => (outcome("home", Some(-line), lean), outcome("away", Some(line), -lean)),
        _ => (outcome("over", Some(200.0 + line), lean), outcome("under", Some(200.0 + line), -lean)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ledgerline_schema::events::Rows;

    use super::*;

    const SHAPE: Shape = Shape { games: 4, rounds_per_game: Some(3) };

    #[test]
    fn every_event_is_good_and_every_quote_a_new_row() {
        let batch = Quotes::new(SHAPE).batch(7, 2_000);
        assert!(batch.dead.is_empty(), "{:?}", batch.dead);
        assert_eq!((batch.from, batch.to), (7, 2_007));
        let Rows::Odds(rows) = &batch.rows else { panic!("quotes") };
        let keys: HashSet<_> = rows.quotes.iter().map(|quote| (quote.selection, quote.observed_at)).collect();
        assert_eq!((keys.len(), rows.quotes.len()), (4_000, 4_000));
    }

    #[test]
    fn games_are_replaced_one_by_one() {
        let batch = Quotes::new(SHAPE).batch(0, SHAPE.selections() / QUOTES_PER_EVENT * 6);
        let Rows::Odds(rows) = &batch.rows else { panic!("quotes") };
        let games: HashSet<_> = rows.selections.iter().map(|selection| selection.key().game).collect();
        assert!(games.len() > 2 * SHAPE.games, "{}", games.len());
        let of_a_round = rows.quotes[..SHAPE.selections()].iter().map(|quote| quote.selection);
        assert_eq!(of_a_round.collect::<HashSet<_>>().len(), SHAPE.selections());
    }

    #[test]
    fn one_seed_gives_the_same_quotes() {
        let of = |mut quotes: Quotes| format!("{:?}", quotes.batch(0, 500).rows);
        assert_eq!(of(Quotes::new(SHAPE)), of(Quotes::new(SHAPE)));
    }
}
