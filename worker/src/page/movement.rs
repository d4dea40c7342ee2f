//! The line movement of a chosen game: what can be chosen, what was chosen, and the blocks of it. The choice comes from the address
//! (`?game=17&book=fanduel&market=…`), so it works without a script and can be sent to somebody.
//!
//! What must stay true: a choice is only compared with what there is; whatever it says, the page is drawn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledgerline_schema::events::odds::american_from_decimal;
use ledgerline_schema::repositories::Run;
use ledgerline_schema::store::{Offer, RecentGame, Store};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::chart::{Block, tidy};
use super::database::in_time;
use super::text::plain;

/// Newest quotes of a selection that are looked at, and newest blocks of those that are shown.
const QUOTES: i64 = 5_000;
const BLOCKS: usize = 240;
/// Offers of one game that are looked at, and markets of one book that can be chosen.
const OFFERS: i64 = 5_000;
const MARKETS: usize = 120;
/// For so long all who ask for the same get the same.
const KEPT: Duration = Duration::from_secs(3);
/// Choices whose answers are kept.
const CHOICES: usize = 16;
/// How long somebody waits for his turn.
const TURN: Duration = Duration::from_secs(4);
/// What most people look for first.
const FAVOURITES: [(&str, &str); 4] =
    [("spread", "home"), ("total", "over"), ("moneyline", "home"), ("moneyline", "away")];

/// What somebody chose, as it stands in the address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Choice {
    pub game: Option<String>,
    pub book: Option<String>,
    pub market: Option<String>,
}

/// One thing that a book offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Market {
    /// In the address.
    pub key: String,
    /// For people.
    pub label: String,
}

/// The answer to a choice.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Movement {
    /// The chosen game ref; none where there is nothing to choose from.
    pub game: Option<i64>,
    /// The books that offer it.
    pub books: Vec<String>,
    /// The chosen one.
    pub book: String,
    /// What it offers.
    pub markets: Vec<Market>,
    /// The key of the chosen one.
    pub market: String,
    /// Whether the blocks are as high as their points, or as their prices.
    pub of_points: bool,
    /// The newest blocks, time ascending.
    pub blocks: Vec<Block>,
    /// Older ones that were left out.
    pub left_out: usize,
    /// Why there is nothing to see.
    pub problem: Option<String>,
}

impl Movement {
    fn failed(problem: impl Into<String>) -> Self {
        Self { problem: Some(problem.into()), ..Self::default() }
    }

    /// The label of the chosen market.
    pub(super) fn label(&self) -> &str {
        let chosen = self.markets.iter().find(|market| market.key == self.market);
        chosen.map_or("", |market| &market.label)
    }
}

/// Answers choices, one at a time, and remembers the last ones for a moment.
#[derive(Debug, Default)]
pub(super) struct Movements {
    kept: Mutex<VecDeque<(Instant, Choice, Arc<Movement>)>>,
}

impl Movements {
    /// The movement of what was chosen; of the first game where nothing was.
    pub(super) async fn of(&self, store: &Store, games: &[RecentGame], choice: &Choice) -> Arc<Movement> {
        let Ok(mut kept) = timeout(TURN, self.kept.lock()).await else {
            return Arc::new(Movement::failed("Too many look at once, or the database is slow. Try again."));
        };
        kept.retain(|(at, _, _)| at.elapsed() < KEPT);
        if let Some((_, _, movement)) = kept.iter().find(|(_, known, _)| known == choice) {
            return Arc::clone(movement);
        }
        let found = in_time(find(store, games, choice)).await;
        let movement = Arc::new(
            found.unwrap_or_else(|problem| Movement::failed(format!("The database did not say: {problem}."))),
        );
        if kept.len() == CHOICES {
            kept.pop_front();
        }
        kept.push_back((Instant::now(), choice.clone(), Arc::clone(&movement)));
        movement
    }
}

async fn find(
    store: &Store,
    games: &[RecentGame],
    choice: &Choice,
) -> Result<Movement, ledgerline_schema::store::StoreError> {
    let game = match &choice.game {
        None => games.first().map(|game| game.id),
        Some(text) => match text.parse() {
            Ok(id) => Some(id),
            Err(_) => return Ok(Movement::failed("That is no game.")),
        },
    };
    let Some(game) = game else { return Ok(Movement::failed("No odds are stored yet.")) };
    let offers = store.offers(game, OFFERS).await?;
    let (mut movement, selection_id) = choose(&offers, choice);
    movement.game = Some(game);
    let Some(selection_id) = selection_id else {
        movement.problem = Some("No odds of that game are stored.".into());
        return Ok(movement);
    };
    let mut stored = store.recent_movement(selection_id, QUOTES).await?;
    movement.left_out = stored.len().saturating_sub(BLOCKS);
    stored.drain(..movement.left_out);
    (movement.of_points, movement.blocks) = blocks(&stored);
    Ok(movement)
}

/// What can be chosen, and the selection that was. What is not there is replaced by the first that is.
fn choose(offers: &[Offer], choice: &Choice) -> (Movement, Option<i64>) {
    let mut books: Vec<String> = offers.iter().map(|offer| offer.sportsbook.clone()).collect();
    books.dedup(); // they come in order
    let wanted = choice.book.as_ref().filter(|book| books.contains(*book));
    let Some(book) = wanted.or(books.first()).cloned() else { return (Movement::default(), None) };
    let of_book: Vec<&Offer> = offers.iter().filter(|offer| offer.sportsbook == book).take(MARKETS).collect();
    let wanted = choice.market.as_ref();
    let chosen = of_book.iter().find(|offer| wanted == Some(&key(offer))).or_else(|| favourite(&of_book));
    let movement = Movement {
        market: chosen.map(|offer| key(offer)).unwrap_or_default(),
        markets: of_book.iter().map(|offer| Market { key: key(offer), label: label(offer) }).collect(),
        books,
        book,
        ..Movement::default()
    };
    (movement, chosen.map(|offer| offer.selection_id))
}

fn favourite<'o>(offers: &'o [&'o Offer]) -> Option<&'o &'o Offer> {
    let find = |(market, side): &(&str, &str)| {
        offers.iter().find(|offer| {
            offer.market == *market && offer.side == *side && offer.period == "full_game" && !offer.alternate
        })
    };
    FAVOURITES.iter().find_map(find).or(offers.first())
}

/// What tells the selections of a book apart, and is the same at every book.
fn key(offer: &Offer) -> String {
    let Offer { market, period, participant, side, alternate, line, .. } = offer;
    let line = if *alternate { line.to_string() } else { String::new() };
    [market, period, participant, side, &line].map(String::as_str).join("~")
}

fn label(offer: &Offer) -> String {
    let Offer { market, period, participant, side, alternate, line, .. } = offer;
    let mut label = market.replace('_', " ");
    for part in [participant, side] {
        if !part.is_empty() {
            label = format!("{label} · {part}");
        }
    }
    if *alternate {
        label = format!("{label} {}", tidy(f64::from(*line)));
    }
    if period != "full_game" {
        label = format!("{label} · {}", period.replace('_', " "));
    }
    plain(&label)
}

/// As high as the points where those move; else as the prices, which then are what moves.
fn blocks(stored: &[Run]) -> (bool, Vec<Block>) {
    let mut lines = stored.iter().filter_map(|block| block.line);
    let first = lines.next();
    let of_points = lines.any(|line| Some(line) != first);
    let block = |block: &Run| Block {
        from: block.from,
        to: block.to,
        value: block.price.and_then(|price| if of_points { block.line.map(f64::from) } else { Some(price) }),
        quote: quote(block),
    };
    (of_points, stored.iter().map(block).collect())
}

/// Line and American price, as people write them.
fn quote(block: &Run) -> String {
    let price =
        block.price.map_or("not offered".to_owned(), |price| format!("{:+}", american_from_decimal(price)));
    match block.line {
        Some(line) => format!("{} at {price}", tidy(f64::from(line))),
        None => price,
    }
}

#[cfg(test)]
mod tests {
    use ledgerline_schema::time::UtcMicros;

    use super::*;

    fn offer(selection_id: i64, sportsbook: &str, market: &str, side: &str) -> Offer {
        Offer {
            selection_id,
            sportsbook: sportsbook.into(),
            market: market.into(),
            period: "full_game".into(),
            participant: String::new(),
            side: side.into(),
            alternate: false,
            line: 0.0,
        }
    }

    #[test]
    fn what_is_not_there_is_replaced_by_the_first_that_is() {
        let offers = [
            offer(1, "a", "moneyline", "away"),
            offer(2, "a", "spread", "home"),
            offer(3, "b", "moneyline", "away"),
        ];
        let chosen = |book: &str, market: &str| {
            let choice = Choice { game: None, book: Some(book.into()), market: Some(market.into()) };
            let (movement, selection) = choose(&offers, &choice);
            (movement.book, selection)
        };
        assert_eq!(chosen("b", "moneyline~full_game~~away~"), ("b".to_owned(), Some(3)));
        assert_eq!(chosen("b", "spread~full_game~~home~"), ("b".to_owned(), Some(3)));
        assert_eq!(chosen("<script>", "'; drop table odds"), ("a".to_owned(), Some(2)));
        assert_eq!(choose(&[], &Choice::default()).1, None);
    }

    #[test]
    fn a_line_that_stands_is_drawn_by_its_price() {
        let stored =
            |line, price| Run { from: UtcMicros(0), to: UtcMicros(60_000_000), price: Some(price), line };
        let (of_points, drawn) = blocks(&[stored(Some(-1.5), 2.0), stored(Some(-1.5), 1.5)]);
        assert_eq!((of_points, drawn[1].value), (false, Some(1.5)));
        assert_eq!(drawn[1].quote, "-1.5 at -200");
        let (of_points, drawn) = blocks(&[stored(Some(-1.5), 2.0), stored(Some(-2.0), 2.0)]);
        assert_eq!((of_points, drawn[1].value), (true, Some(-2.0)));
        let (of_points, drawn) = blocks(&[stored(None, 2.0)]);
        assert_eq!((of_points, drawn[0].value, drawn[0].quote.as_str()), (false, Some(2.0), "+100"));
    }
}
