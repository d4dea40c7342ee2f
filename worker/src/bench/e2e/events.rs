//! What a benchmark publishes: the odds of the demo's simulated day without its accidents, and the same events as batches, made
//! as the pipeline makes them. Used by `e2e`.
//!
//! What must stay true: one number gives the same events every time; every quote is new, so that what is stored can be counted.

use std::borrow::Borrow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use ledgerline_schema::batch::Batch;
use ledgerline_schema::events::{EventKind, RawRecord};
use ledgerline_schema::time::UtcMicros;

use crate::clock;
use crate::demo::simulate::Simulation;

/// The same games and prices in every run.
const SEED: u64 = 20_260_118;
/// Events of a simulated day, at the least.
const EVENTS_A_DAY: u64 = 100_000;
/// One day, in microseconds.
const DAY: i64 = 24 * UtcMicros::HOUR;

/// One odds event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its key in Kafka.
    pub key: Arc<str>,
    /// The bytes.
    pub value: Vec<u8>,
    /// How many quotes it holds.
    pub quotes: u64,
}

/// So many events, made one by one. `run` is part of every id.
pub fn events(run: &str, count: u64) -> impl Iterator<Item = Event> + use<> {
    let days = i64::try_from(count / EVENTS_A_DAY).unwrap_or(0) + 2;
    let midnight = UtcMicros((clock::now().0.div_euclid(DAY) - days) * DAY);
    let records = Simulation::new(SEED, run, midnight).clean();
    let odds = records.filter(|record| record.kind == EventKind::Odds);
    let event = |record: crate::demo::simulate::Simulated| {
        Some(Event { key: record.key, value: record.value?, quotes: record.quotes })
    };
    odds.filter_map(event).take(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Batches of the partitions, full ones as soon as they are full, then what is left.
pub struct Batches<I> {
    events: I,
    rows: usize,
    now: UtcMicros,
    lanes: Vec<Batch>,
}

impl<E: Borrow<Event>, I: Iterator<Item = E>> Batches<I> {
    /// Batches of so many rows, for so many partitions.
    pub fn new(events: I, partitions: usize, rows: usize) -> Self {
        let lanes = (0..partitions).map(|_| Batch::new(EventKind::Odds.rows(), 0)).collect();
        Self { events, rows, now: clock::now(), lanes }
    }

    /// The lane that an event went to.
    fn push(&mut self, event: &Event) -> usize {
        let mut hasher = DefaultHasher::new();
        event.key.hash(&mut hasher);
        let number = usize::try_from(hasher.finish() % self.lanes.len() as u64).unwrap_or(0);
        let lane = &mut self.lanes[number];
        let raw = RawRecord { value: &event.value, headers: &[], timestamp: Some(self.now) };
        lane.push(lane.to, Some(event.key.as_bytes()), &raw);
        number
    }

    fn take(&mut self, number: usize) -> (usize, Batch) {
        let lane = &mut self.lanes[number];
        let next = Batch::new(EventKind::Odds.rows(), lane.to);
        (number, std::mem::replace(lane, next))
    }
}

impl<E: Borrow<Event>, I: Iterator<Item = E>> Iterator for Batches<I> {
    type Item = (usize, Batch);

    fn next(&mut self) -> Option<(usize, Batch)> {
        while let Some(event) = self.events.next() {
            let number = self.push(event.borrow());
            if self.lanes[number].rows.len() >= self.rows {
                return Some(self.take(number));
            }
        }
        let left = self.lanes.iter().position(|lane| !lane.is_empty())?;
        Some(self.take(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_in_one_batch_and_none_is_refused() {
        let quotes: u64 = events("t", 3_000).map(|event| event.quotes).sum();
        let batches: Vec<(usize, Batch)> = Batches::new(events("t", 3_000), 3, 500).collect();
        let records: usize = batches.iter().map(|(_, batch)| batch.records.len()).sum();
        let rows: usize = batches.iter().map(|(_, batch)| batch.rows.len()).sum();
        assert_eq!((records, rows as u64), (3_000, quotes));
        assert!(batches.iter().all(|(_, batch)| batch.dead.is_empty()));
        for number in 0..3 {
            let mut at = 0;
            for (_, batch) in batches.iter().filter(|(lane, _)| *lane == number) {
                assert_eq!(batch.from, at);
                at = batch.to;
            }
        }
    }
}
