//! `odds.v1`: the quotes of one market of one game at one book, all outcomes together. The hot kind: each outcome becomes
//! one `Quote`, and the thing that is quoted is interned within the batch as a `Selection`.
//!
//! What must stay true: a refused event leaves no quote behind, and two outcomes of one event never share a selection.

use std::ops::Range;

use indexmap::IndexSet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::bet::{check_american, check_side, full_game, line};
use super::envelope::parse_time;
use super::game_key::{GameKey, check_slug};
pub use super::markets::{Market, MarketStatus, Period, Side};
use super::rejection::{Rejection, ensure};
use super::selection::HashedKey;
pub use super::selection::{BySelection, Selection, SelectionKey};
use super::text::Text;
use super::{Attributes, Contract, Flag, Flags};
use crate::time::UtcMicros;

/// Most outcomes of one event; three for an ordinary market, more where participants or alternate lines are listed.
const OUTCOMES: usize = 500;

/// `data` of `odds.v1`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct OddsData<'a> {
    /// The game, as the source names it.
    #[serde(borrow)]
    pub game: GameKey<'a>,
    /// The book, a slug; a state variant is a slug of its own (`draftkings-nj`).
    #[serde(borrow)]
    pub sportsbook: Text<'a>,
    /// What is bet on.
    pub market: Market,
    /// The part of the game that counts.
    #[serde(default = "full_game")]
    pub period: Period,
    /// When the book says it changed; at most 5 minutes after the observation.
    #[serde(borrow, default)]
    pub book_updated_at: Option<Text<'a>>,
    /// Whether the book takes bets.
    #[serde(default = "open")]
    pub market_status: MarketStatus,
    /// The prices.
    #[serde(borrow)]
    pub outcomes: Vec<Outcome<'a>>,
}

fn open() -> MarketStatus {
    MarketStatus::Open
}

/// One outcome of a market with its price.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Outcome<'a> {
    /// The outcome.
    pub side: Side,
    /// Who, for `participant` and props; at most 200 bytes.
    #[serde(borrow, default)]
    pub participant: Option<Text<'a>>,
    /// Set where a book offers several lines of one market at once; only then is `line` part of the identity.
    #[serde(default)]
    pub alternate: bool,
    /// Points; a multiple of 0.25. Required for spread and total, absent for moneyline.
    #[serde(default)]
    pub line: Option<f64>,
    /// American price: at most -100 or at least +100; null = not offered.
    #[serde(default)]
    pub price_american: Option<i64>,
    /// Decimal price, above 1; null = not offered. Must agree with the American one if both are given.
    #[serde(default)]
    pub price_decimal: Option<f64>,
}

/// One price of one selection at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quote {
    /// Number of the selection within [`OddsRows::selections`].
    pub selection: u32,
    /// Number of the record within the batch.
    pub record: u32,
    /// When the scraper saw it.
    pub observed_at: UtcMicros,
    /// Decimal price, unrounded; null = not offered.
    pub price: Option<f64>,
    /// Points, if the market has them.
    pub line: Option<f32>,
}

/// The quotes of one batch in the order of their records, and the distinct selections that they name.
#[derive(Debug, Clone, Default)]
pub struct OddsRows {
    /// Distinct selections in order of first sight.
    pub selections: IndexSet<Selection, BySelection>,
    /// Quotes in the order of their records.
    pub quotes: Vec<Quote>,
}

impl Contract for OddsRows {
    const TYPE: &'static str = "odds.v1";
    const TOPIC: &'static str = "odds";
    type Data<'a> = OddsData<'a>;

    fn push(
        &mut self,
        record: u32,
        attributes: Attributes<'_>,
        data: OddsData<'_>,
    ) -> Result<Flags, Rejection> {
        check_event(&data)?;
        let flags = check_book_time(&data, attributes.observed_at)?;
        let (first, selections) = (self.quotes.len(), self.selections.len());
        for (index, outcome) in data.outcomes.iter().enumerate() {
            if let Err(rejection) = self.push_outcome(record, attributes.observed_at, &data, outcome, first) {
                self.quotes.truncate(first);
                self.selections.truncate(selections);
                return Err(at_outcome(index, rejection));
            }
        }
        let mut flags = flags;
        flag_market(&data, &self.quotes[first..], &mut flags);
        Ok(flags)
    }

    fn count(&self) -> usize {
        self.quotes.len()
    }

    fn clear(&mut self) {
        self.selections.clear();
        self.quotes.clear();
    }

    fn held_bytes(&self, _record_bytes: usize) -> usize {
        self.quotes.len() * size_of::<Quote>() + self.selections.len() * Selection::HELD_BYTES
    }

    fn of_records(&self, records: Range<u32>) -> Self {
        let mut some = Self::default();
        for quote in self.quotes.iter().filter(|quote| records.contains(&quote.record)) {
            let selection = self.selections[quote.selection as usize].clone();
            let selection = some.selections.insert_full(selection).0;
            some.quotes.push(Quote { selection: number(selection), ..*quote });
        }
        some
    }

    fn samples() -> Vec<serde_json::Value> {
        super::samples::odds()
    }
}

impl OddsRows {
    fn push_outcome(
        &mut self,
        record: u32,
        observed_at: UtcMicros,
        data: &OddsData<'_>,
        outcome: &Outcome<'_>,
        first: usize,
    ) -> Result<(), Rejection> {
        check_side(data.market, outcome.side, outcome.participant.as_deref())?;
        let line = line(data.market, outcome.line)?;
        let price = price(outcome)?.filter(|_| data.market_status == MarketStatus::Open);
        let key = SelectionKey {
            system: &data.game.system,
            game: &data.game.id,
            sportsbook: &data.sportsbook,
            participant: outcome.participant.as_deref().unwrap_or(""),
            market: data.market,
            period: data.period,
            side: outcome.side,
            alternate: outcome.alternate,
            line_bits: identity_bits(outcome.alternate, line),
        };
        let selection = self.intern(&key.hashed());
        let twice = self.quotes[first..].iter().any(|quote| quote.selection == selection);
        ensure(!twice, "side", "twice in one event; several lines at once need \"alternate\": true")?;
        self.quotes.push(Quote { selection, record, observed_at, price, line });
        Ok(())
    }

    fn intern(&mut self, key: &HashedKey<SelectionKey<'_>>) -> u32 {
        let known = self.selections.get_index_of(key);
        number(known.unwrap_or_else(|| self.selections.insert_full(key.into()).0))
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("a batch is bounded far below 2^32 selections")
}

/// The part of a line that belongs to the selection's identity. -0 and 0 are one line.
fn identity_bits(alternate: bool, line: Option<f32>) -> u32 {
    match line {
        Some(line) if alternate && line != 0.0 => line.to_bits(),
        Some(_) | None => 0,
    }
}

fn at_outcome(index: usize, rejection: Rejection) -> Rejection {
    Rejection::new(rejection.reason, format_args!("outcomes[{index}].{}", rejection.detail))
}

fn check_event(data: &OddsData<'_>) -> Result<(), Rejection> {
    data.game.check()?;
    check_slug("sportsbook", &data.sportsbook)?;
    let several_lines = data.outcomes.iter().any(|outcome| outcome.alternate);
    let most = match data.market {
        Market::Outright | Market::PlayerProp | Market::Other => OUTCOMES,
        Market::TeamTotal if !several_lines => 4, // two sides for each team
        Market::Moneyline | Market::Spread | Market::Total | Market::DrawNoBet | Market::DoubleChance
            if !several_lines =>
        {
            3
        }
        Market::TeamTotal
        | Market::Moneyline
        | Market::Spread
        | Market::Total
        | Market::DrawNoBet
        | Market::DoubleChance => OUTCOMES,
    };
    let problem = "1 to 3, 4 for team totals, up to 500 for outrights, props and alternate lines";
    ensure((1..=most).contains(&data.outcomes.len()), "outcomes", problem)
}

fn check_book_time(data: &OddsData<'_>, observed_at: UtcMicros) -> Result<Flags, Rejection> {
    let mut flags = Flags::default();
    if let Some(text) = &data.book_updated_at {
        let book_time = parse_time("book_updated_at", text)?;
        ensure(
            book_time <= observed_at.plus(300 * UtcMicros::SECOND),
            "book_updated_at",
            "more than 5 minutes after time",
        )?;
        flags.raise_if(book_time < observed_at.plus(-900 * UtcMicros::SECOND), Flag::OldQuote);
    }
    Ok(flags)
}

/// The decimal price; the American one decides where both are given, because it is what a book shows.
fn price(outcome: &Outcome<'_>) -> Result<Option<f64>, Rejection> {
    if let Some(decimal) = outcome.price_decimal {
        ensure(decimal > 1.0 && decimal <= 1e7, "price_decimal", "must be above 1 and at most 10,000,000")?;
    }
    let Some(american) = outcome.price_american else { return Ok(outcome.price_decimal) };
    check_american("price_american", american)?;
    let price = decimal_from_american(american);
    if let Some(decimal) = outcome.price_decimal {
        let agree = (decimal - price).abs() <= 0.0051 * price;
        ensure(agree, "price_decimal", "does not agree with price_american")?;
    }
    Ok(Some(price))
}

/// Decimal price of an American one: 1 + a/100 or 1 + 100/|a|, unrounded. Even money is 2 however it is written.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "at most 1,000,000 in size")]
pub fn decimal_from_american(american: i64) -> f64 {
    if american > 0 { 1.0 + american as f64 / 100.0 } else { 1.0 + 100.0 / -(american as f64) }
}

/// American price of a decimal one, rounded: gives back what [`decimal_from_american`] was given (even money as +100).
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "prices above 1 give at most 10^9")]
pub fn american_from_decimal(decimal: f64) -> i64 {
    let american = if decimal >= 2.0 { (decimal - 1.0) * 100.0 } else { -100.0 / (decimal - 1.0) };
    american.round() as i64
}

/// Looks at a market as a whole; several lines at once are several markets, so they are left alone.
fn flag_market(data: &OddsData<'_>, quotes: &[Quote], flags: &mut Flags) {
    if data.outcomes.iter().any(|outcome| outcome.alternate) {
        return;
    }
    if let [first, second] = quotes {
        let (a, b) = (first.line.unwrap_or(0.0), second.line.unwrap_or(0.0));
        flags.raise_if(data.market == Market::Spread && a != -b, Flag::SpreadNotOpposite);
        flags.raise_if(data.market == Market::Total && a != b, Flag::TotalsDiffer);
    }
    let whole_market = matches!(data.market, Market::Moneyline | Market::Spread | Market::Total);
    if whole_market && quotes.len() > 1 && quotes.iter().all(|quote| quote.price.is_some()) {
        let sum: f64 = quotes.iter().filter_map(|quote| quote.price).map(|price| 1.0 / price).sum();
        flags.raise_if(!(0.95..=1.30).contains(&sum), Flag::ImpliedSum);
    }
}

#[cfg(test)]
mod tests;
