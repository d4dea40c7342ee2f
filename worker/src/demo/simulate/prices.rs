//! From an opinion about a game to what a book offers: lines in half points, American prices in the steps that books use.
//! Pure; used by `simulate`.

use ledgerline_schema::events::odds::{Market, Side};
use rand::Rng;
use serde::Serialize;

use super::leagues::League;

/// The book's share: implied probabilities sum to this.
const OVERROUND: f64 = 1.045;
/// What both sides of a spread or total cost before the book leans to one of them.
const EVEN: i64 = -110;

/// What somebody thinks of a game.
#[derive(Debug, Clone, Copy)]
pub struct Opinion {
    /// Points by which the home team wins.
    pub margin: f64,
    /// Points of both teams.
    pub total: f64,
}

/// One market of a game at a book. A spread or total costs the same on both sides, but for how far the book leans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Offer {
    /// Who wins: home, away and, where there is one, the draw.
    Moneyline([i64; 3]),
    /// Who wins after the home team got `line` points.
    Spread { line: f64, lean: i64 },
    /// Whether both teams score more than `line` points.
    Total { line: f64, lean: i64 },
}

/// One outcome as the event carries it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outcome {
    /// The outcome.
    pub side: Side,
    /// Points, where the market has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<f64>,
    /// American price; none while the market is suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_american: Option<i64>,
}

impl Offer {
    /// What a book of that opinion offers on a game.
    pub fn all(league: &League, opinion: Opinion, rng: &mut impl Rng) -> [Self; 3] {
        let offers = [
            Self::Moneyline([0; 3]),
            Self::Spread { line: 0.0, lean: 0 },
            Self::Total { line: 0.0, lean: 0 },
        ];
        offers.map(|offer| offer.renewed(league, opinion, rng))
    }

    /// The same market after the book has thought again.
    pub fn renewed(self, league: &League, opinion: Opinion, rng: &mut impl Rng) -> Self {
        let lean = 5 * rng.random_range(-2..=2);
        match self {
            Self::Moneyline(_) => Self::Moneyline(moneyline(league, opinion.margin)),
            Self::Spread { .. } => Self::Spread { line: half_points(-opinion.margin), lean },
            Self::Total { .. } => Self::Total { line: half_points(opinion.total).max(0.5), lean },
        }
    }

    /// What is bet on.
    pub fn market(self) -> Market {
        match self {
            Self::Moneyline(_) => Market::Moneyline,
            Self::Spread { .. } => Market::Spread,
            Self::Total { .. } => Market::Total,
        }
    }

    /// The outcomes, without prices while the book takes no bets.
    pub fn outcomes(self, league: &League, open: bool) -> Vec<Outcome> {
        let outcome = |side, line, price: i64| Outcome { side, line, price_american: open.then_some(price) };
        match self {
            Self::Moneyline([home, away, draw]) => {
                let mut outcomes = vec![outcome(Side::Home, None, home), outcome(Side::Away, None, away)];
                outcomes.extend((league.draw > 0.0).then(|| outcome(Side::Draw, None, draw)));
                outcomes
            }
            Self::Spread { line, lean } => vec![
                outcome(Side::Home, Some(line), EVEN + lean),
                outcome(Side::Away, Some(0.0 - line), EVEN - lean),
            ],
            Self::Total { line, lean } => vec![
                outcome(Side::Over, Some(line), EVEN + lean),
                outcome(Side::Under, Some(line), EVEN - lean),
            ],
        }
    }
}

fn moneyline(league: &League, margin: f64) -> [i64; 3] {
    let home = 1.0 / (1.0 + (-margin / (1.3 * league.margin)).exp());
    let decided = 1.0 - league.draw;
    [home * decided, (1.0 - home) * decided, league.draw].map(|chance| american(chance * OVERROUND))
}

/// The American price of an implied probability, rounded as books do: the longer the odds, the coarser.
fn american(implied: f64) -> i64 {
    let implied = implied.clamp(0.03, 0.97);
    let exact =
        if implied > 0.5 { -100.0 * implied / (1.0 - implied) } else { 100.0 * (1.0 - implied) / implied };
    let step = match exact.abs() {
        size if size < 250.0 => 5.0,
        size if size < 600.0 => 10.0,
        _ => 50.0,
    };
    #[allow(clippy::cast_possible_truncation, reason = "between -3,300 and 3,300")]
    let rounded = ((exact / step).round() * step) as i64;
    rounded
}

/// The nearest half point; 0 and never -0.
fn half_points(points: f64) -> f64 {
    (points * 2.0).round() / 2.0 + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn american_prices_are_sensible(implied in 0.0..1.1f64) {
            let price = american(implied);
            proptest::prop_assert!((100..=3_300).contains(&price.abs()), "{price}");
            proptest::prop_assert_eq!(price % 5, 0);
        }
    }

    #[test]
    fn even_money_and_favourites() {
        assert_eq!(american(0.5), 100);
        assert_eq!(american(0.525), -110);
        assert_eq!(american(0.3), 235);
        assert_eq!(half_points(-0.1).to_bits(), 0);
    }
}
