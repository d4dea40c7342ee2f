//! Snapshots of The Odds API v4: for each event of a response one `game.v1`, then one `odds.v1` per book and
//! market. `snapshot` is what comes in, `markets` what it means, `wire` what goes out.
//!
//! What must stay true: every price of the line is in a record, and converting a line again gives the same
//! bytes.

mod markets;
mod snapshot;
mod wire;

use ledgerline_schema::events::envelope::parse_time;
use ledgerline_schema::events::game::GameStatus;
use ledgerline_schema::events::odds::Market;
use ledgerline_schema::events::{EventKind, Rejection};
use ledgerline_schema::time::UtcMicros;

use self::markets::{Meaning, sport_and_league};
use self::snapshot::{Bookmaker, Event, OfferedMarket, OfferedOutcome, PriceFormat, Snapshot};
use self::wire::Outcome;
use super::{Converted, Outgoing, not_parsed};

/// What all events of one snapshot share.
struct Capture<'a> {
    /// As it stands in the file.
    time: &'a str,
    at: UtcMicros,
    prices: PriceFormat,
}

/// Converts one line: `{"captured_at": …, "events": […]}` or `{"timestamp": …, "data": […]}`.
pub(super) fn convert(line: &[u8]) -> Result<Converted, Rejection> {
    if line.trim_ascii_start().starts_with(b"[") {
        return Err(no_capture_time());
    }
    let snapshot: Snapshot<'_> = serde_json::from_slice(line).map_err(|error| not_parsed(&error))?;
    let time = snapshot.captured_at.as_deref().ok_or_else(no_capture_time)?;
    let at = parse_time("captured_at", time)?;
    let capture = Capture { time, at, prices: PriceFormat::of(&snapshot)? };
    let mut converted = Converted::default();
    for event in &snapshot.events {
        let record = game(&capture, event).map_err(|rejection| within(event, "", rejection))?;
        converted.records.push(record);
    }
    for event in &snapshot.events {
        for (book, market) in
            event.bookmakers.iter().flat_map(|book| book.markets.iter().map(move |m| (book, m)))
        {
            let place = || format!(", book {}, market {}", &*book.key, &*market.key);
            push_odds(&mut converted, &capture, event, book, market)
                .map_err(|rejection| within(event, &place(), rejection))?;
        }
    }
    Ok(converted)
}

fn no_capture_time() -> Rejection {
    Rejection::field("captured_at", "missing; a line is {\"captured_at\": \"<RFC 3339>\", \"events\": [...]}")
}

fn within(event: &Event<'_>, place: &str, rejection: Rejection) -> Rejection {
    Rejection::new(rejection.reason, format_args!("event {}{place}: {}", &*event.id, rejection.detail))
}

/// The state of a game. After its start the feed does not say whether it is over, so neither do we.
fn game(capture: &Capture<'_>, event: &Event<'_>) -> Result<Outgoing, Rejection> {
    let commence_time = event.commence_time.as_deref();
    let start = commence_time.map(|time| parse_time("commence_time", time)).transpose()?;
    let to_come = start.is_some_and(|start| start > capture.at);
    let (sport, league) = sport_and_league(&event.sport_key);
    let data = wire::GameData {
        game: wire::Game::of(&event.id),
        sport,
        league,
        home_team: event.home_team.as_deref(),
        away_team: event.away_team.as_deref(),
        commence_time,
        status: if to_come { GameStatus::Scheduled } else { GameStatus::Unknown },
    };
    wire::record(EventKind::Game, capture.time, &[&event.id], data)
}

/// The quotes of one market at one book. The totals of two teams are two markets in the contract; an empty
/// market offers nothing.
fn push_odds(
    converted: &mut Converted,
    capture: &Capture<'_>,
    event: &Event<'_>,
    book: &Bookmaker<'_>,
    market: &OfferedMarket<'_>,
) -> Result<(), Rejection> {
    let meaning = Meaning::of(&market.key);
    if !meaning.known {
        converted.unknown_markets.push(market.key.to_string());
    }
    let outcomes = outcomes(capture, &meaning, event, market)?;
    let updated_at = market.last_update.as_deref().or(book.last_update.as_deref());
    let by_team =
        |a: &Outcome, b: &Outcome| meaning.market != Market::TeamTotal || a.participant == b.participant;
    for outcomes in outcomes.chunk_by(by_team) {
        let data = wire::OddsData {
            game: wire::Game::of(&event.id),
            sportsbook: &book.key,
            market: meaning.market,
            period: meaning.period,
            book_updated_at: updated_at,
            outcomes,
        };
        let team = outcomes[0].participant.as_deref().filter(|_| meaning.market == Market::TeamTotal);
        let identity = [&event.id, &book.key, &market.key, team.unwrap_or("")];
        converted.records.push(wire::record(EventKind::Odds, capture.time, &identity, data)?);
    }
    Ok(())
}

/// The outcomes of a market in their order, those of a team total by team. Several lines of one side are
/// alternates of each other, and so is any line of a market that we know nothing about.
fn outcomes(
    capture: &Capture<'_>,
    meaning: &Meaning<'_>,
    event: &Event<'_>,
    market: &OfferedMarket<'_>,
) -> Result<Vec<Outcome>, Rejection> {
    let mut outcomes = Vec::with_capacity(market.outcomes.len());
    for offered in &market.outcomes {
        outcomes.push(outcome(capture.prices, meaning, event, offered)?);
    }
    if meaning.market == Market::TeamTotal {
        outcomes.sort_by(|a, b| a.participant.cmp(&b.participant));
    }
    let any_line = meaning.market == Market::Other && outcomes.iter().any(|outcome| outcome.line.is_some());
    if meaning.alternate || any_line || one_repeats(&outcomes) {
        outcomes.iter_mut().for_each(|outcome| outcome.alternate = true);
    }
    Ok(outcomes)
}

fn outcome(
    prices: PriceFormat,
    meaning: &Meaning<'_>,
    event: &Event<'_>,
    offered: &OfferedOutcome<'_>,
) -> Result<Outcome, Rejection> {
    let (side, participant) = meaning.side(event, offered)?;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the contract refuses anything above 1,000,000 in size"
    )]
    let (price_american, price_decimal) = match prices {
        PriceFormat::American => (offered.price.map(|price| price as i64), None),
        PriceFormat::Decimal => (None, offered.price),
    };
    Ok(Outcome { side, participant, alternate: false, line: offered.point, price_american, price_decimal })
}

fn one_repeats(outcomes: &[Outcome]) -> bool {
    let mut seen = std::collections::HashSet::with_capacity(outcomes.len());
    outcomes.iter().any(|outcome| !seen.insert((outcome.side, outcome.participant.as_deref())))
}

#[cfg(test)]
mod tests;
