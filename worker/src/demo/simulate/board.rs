//! One book's board: its own opinion of every game that it lists, and what it offers. Most polls find the last offer again,
//! as real ones do. Pure; used by `simulate`.

use rand::Rng;

use super::game::{Game, around_zero};
use super::prices::{Offer, Opinion};

/// How many of the games a book lists.
const COVERAGE: f64 = 0.85;
/// How likely a poll finds a changed offer.
const CHANGES: f64 = 0.13;
/// How likely a poll finds a market suspended.
const SUSPENDED: f64 = 0.002;

/// What one book offers, by game.
#[derive(Debug)]
pub struct Board {
    games: Vec<Option<Listing>>,
}

#[derive(Debug)]
struct Listing {
    /// How the book differs from the market.
    bias: Opinion,
    offers: [Offer; 3],
}

impl Board {
    /// The opening offers.
    pub fn new(games: &[Game], rng: &mut impl Rng) -> Self {
        let listing = |game: &Game| rng.random_bool(COVERAGE).then(|| Listing::new(game, rng));
        Self { games: games.iter().map(listing).collect() }
    }

    /// Polls one game: each market that the book lists, and whether it takes bets.
    pub fn poll(&mut self, index: usize, game: &Game, rng: &mut impl Rng) -> Option<[(Offer, bool); 3]> {
        let Listing { bias, offers } = self.games[index].as_mut()?;
        for offer in offers.iter_mut() {
            if rng.random_bool(CHANGES) {
                *offer = offer.renewed(game.league, biased(game, *bias), rng);
            }
        }
        Some(offers.map(|offer| (offer, !rng.random_bool(SUSPENDED))))
    }
}

impl Listing {
    fn new(game: &Game, rng: &mut impl Rng) -> Self {
        let mut bias = || 0.6 * game.league.step * around_zero(rng);
        let bias = Opinion { margin: bias(), total: 2.0 * bias() };
        Self { bias, offers: Offer::all(game.league, biased(game, bias), rng) }
    }
}

fn biased(game: &Game, bias: Opinion) -> Opinion {
    Opinion { margin: game.opinion.margin + bias.margin, total: game.opinion.total + bias.total }
}
