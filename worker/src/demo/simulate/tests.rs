//! The simulation against the contracts.

use std::collections::{HashMap, HashSet};

use ledgerline_schema::events::{Flag, Flags, RawRecord, Rows};

use super::*;

const MIDNIGHT: UtcMicros = UtcMicros(1_757_808_000_000_000); // 2025-09-14
/// Enough for every kind of mishap.
const RECORDS: usize = 60_000;

fn simulation(seed: u64) -> Simulation {
    Simulation::new(seed, "t", MIDNIGHT)
}

#[test]
fn a_seed_gives_the_same_bytes() {
    let records = |seed| simulation(seed).take(10_000).collect::<Vec<_>>();
    assert_eq!(records(1), records(1));
    assert_ne!(records(1), records(2));
}

/// Decodes a long run as one batch per kind, as the line does.
#[test]
fn everything_but_the_planted_passes_its_contract() {
    let mut rows: HashMap<EventKind, Rows> = EventKind::ALL.iter().map(|kind| (*kind, kind.rows())).collect();
    let (mut flags, mut dead, mut quotes, mut tombstones) = (Flags::default(), 0, 0, 0);
    for (number, record) in simulation(7).take(RECORDS).enumerate() {
        quotes += record.quotes;
        let Some(value) = &record.value else {
            tombstones += 1;
            continue;
        };
        let raw = RawRecord { value, headers: &[], timestamp: None };
        let rows = rows.get_mut(&record.kind).unwrap();
        match rows.decode(u32::try_from(number).unwrap(), &raw) {
            Ok(raised) => flags.add(raised),
            Err(rejection) => {
                assert_eq!(record.kind, EventKind::Odds);
                assert!(rejection.detail.contains("price_american"), "{rejection}");
                assert_eq!(record.quotes, 1);
                dead += 1;
            }
        }
    }
    let raised: Vec<(Flag, u32)> = flags.counts().filter(|(_, count)| *count > 0).collect();
    assert_eq!(raised, []);
    assert!((3..40).contains(&dead), "{dead} dead");
    assert!(tombstones > 3, "{tombstones} tombstones");
    assert_eq!(quotes, rows[&EventKind::Odds].len() as u64 + dead);
    let shown = [EventKind::Game, EventKind::Odds, EventKind::Article];
    assert!(shown.iter().all(|kind| !rows[kind].is_empty()));
}

#[test]
fn no_two_quotes_contradict_and_some_are_sent_twice() {
    let mut rows = EventKind::Odds.rows();
    for record in simulation(3).take(RECORDS).filter(|record| record.kind == EventKind::Odds) {
        let value = record.value.unwrap_or_default();
        let _ = rows.decode(0, &RawRecord { value: &value, headers: &[], timestamp: None });
    }
    let Rows::Odds(rows) = rows else { unreachable!("rows of odds") };
    let mut seen = HashMap::new();
    let mut last: HashMap<u32, (Option<f64>, Option<f32>)> = HashMap::new();
    let (mut duplicates, mut repeated, mut polled_again) = (0, 0, 0);
    for quote in &rows.quotes {
        let value = (quote.price, quote.line);
        match seen.insert((quote.selection, quote.observed_at), value) {
            Some(before) => {
                assert_eq!(before, value);
                duplicates += 1;
            }
            None => {
                let before = last.insert(quote.selection, value);
                polled_again += u32::from(before.is_some());
                repeated += u32::from(before == Some(value));
            }
        }
    }
    assert!(duplicates > 50, "{duplicates} duplicates");
    let share = f64::from(repeated) / f64::from(polled_again);
    assert!((0.85..0.95).contains(&share), "{share} repeat the last value");
}

#[test]
fn days_follow_each_other_with_games_of_their_own() {
    let mut simulation = simulation(5);
    let first: HashSet<String> = simulation.fixtures().into_iter().map(|fixture| fixture.id).collect();
    while simulation.midnight == MIDNIGHT {
        simulation.ready.clear();
        simulation.turn_page();
    }
    assert_eq!(first.len(), 300);
    assert!(simulation.fixtures().iter().all(|fixture| !first.contains(&fixture.id)));
    assert!(simulation.next().is_some());
}
