//! What a bet is on, as odds, signals and analyses name it: side, participant, line and price, each checked against its market.
//! One rule for all kinds; called by their contracts.

use super::markets::{Market, Period, Side};
use super::rejection::{Rejection, ensure};

/// Bound on a participant's name, in bytes: it is part of an index entry.
const PARTICIPANT_BYTES: usize = 200;
/// Largest American price in size; the largest real one seen is -1,000,000.
const AMERICAN_LIMIT: u64 = 1_000_000;

/// The period where an event names none.
pub(super) fn full_game() -> Period {
    Period::FullGame
}

/// Whether the market has that side, and names a participant where it needs one.
pub(super) fn check_side(market: Market, side: Side, participant: Option<&str>) -> Result<(), Rejection> {
    let allowed: &[Side] = match market {
        Market::Moneyline => &[Side::Home, Side::Away, Side::Draw],
        Market::Spread | Market::DrawNoBet => &[Side::Home, Side::Away],
        Market::Total => &[Side::Over, Side::Under],
        Market::TeamTotal | Market::DoubleChance | Market::Outright | Market::PlayerProp | Market::Other => {
            Side::ALL
        }
    };
    ensure(allowed.contains(&side), "side", "not a side of this market")?;
    let named = participant.is_some_and(|name| !name.trim().is_empty());
    let needs_name = side == Side::Participant || market == Market::PlayerProp;
    ensure(named || !needs_name, "participant", "required here")?;
    let length = participant.map_or(0, str::len);
    ensure(length <= PARTICIPANT_BYTES, "participant", "more than 200 bytes")
}

/// The line, which the market may demand or forbid.
pub(super) fn line(market: Market, line: Option<f64>) -> Result<Option<f32>, Rejection> {
    let required = matches!(market, Market::Spread | Market::Total | Market::TeamTotal);
    ensure(line.is_some() || !required, "line", "required for this market")?;
    line_if_given("line", market, line)
}

/// Checks a line and narrows it: any multiple of 0.25 up to 100,000 is exact as f32.
pub(super) fn line_if_given(
    field: &str,
    market: Market,
    line: Option<f64>,
) -> Result<Option<f32>, Rejection> {
    let Some(line) = line else { return Ok(None) };
    ensure(market != Market::Moneyline, field, "must be absent for moneyline")?;
    ensure((line * 4.0).fract() == 0.0, field, "not a multiple of 0.25")?;
    let in_range = match market {
        Market::Spread => line.abs() <= 100.0,
        Market::Total | Market::TeamTotal => line > 0.0 && line <= 400.0,
        Market::Moneyline
        | Market::DrawNoBet
        | Market::DoubleChance
        | Market::Outright
        | Market::PlayerProp
        | Market::Other => line.abs() <= 100_000.0,
    };
    ensure(in_range, field, "out of range for this market")?;
    #[allow(clippy::cast_possible_truncation, reason = "multiples of 0.25 below 2^22 are exact as f32")]
    let narrow = line as f32;
    Ok(Some(narrow + 0.0)) // -0 + 0 = 0: a pick'em has one line
}

/// Whether a number is an American price.
pub(super) fn check_american(field: &str, american: i64) -> Result<(), Rejection> {
    ensure(
        (100..=AMERICAN_LIMIT).contains(&american.unsigned_abs()),
        field,
        "must be at most -100 or at least +100, and at most 1,000,000 in size",
    )
}

/// An American price as it is stored.
pub(super) fn american_if_given(field: &str, american: Option<i64>) -> Result<Option<i32>, Rejection> {
    let Some(american) = american else { return Ok(None) };
    check_american(field, american)?;
    i32::try_from(american).map(Some).map_err(|error| Rejection::field(field, error))
}

/// A number that must lie between two bounds, both included.
pub(super) fn within(field: &str, number: Option<f64>, (low, high): (f64, f64)) -> Result<(), Rejection> {
    match number {
        Some(number) if !(low..=high).contains(&number) => {
            Err(Rejection::field(field, format_args!("must be {low} to {high}")))
        }
        Some(_) | None => Ok(()),
    }
}
