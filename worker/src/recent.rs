//! `Recent`: what one pipeline did in the last minutes, for people who look now: its last batches, and how much it stored in each
//! second. Filled by `Progress`, read by the status page. Pure: time is an argument.
//!
//! What must stay true: it is small and bounded, and an idle pipeline costs nothing.

use std::collections::VecDeque;
use std::time::Duration;

use ledgerline_schema::batch::{Dispositions, RowCounts};
use ledgerline_schema::time::UtcMicros;

use crate::protocol::Partition;

/// Batches that are remembered.
const BATCHES: usize = 32;
/// Seconds that are remembered: five minutes fit on a sparkline.
pub const SECONDS: i64 = 300;

/// A committed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentBatch {
    /// When its COMMIT was answered.
    pub at: UtcMicros,
    /// The partition.
    pub partition: Partition,
    /// Its first offset.
    pub from: i64,
    /// The first offset behind it.
    pub to: i64,
    /// What became of its offsets.
    pub offsets: Dispositions,
    /// What became of its rows.
    pub rows: RowCounts,
    /// How long its transaction took.
    pub took: Duration,
}

/// What was stored within one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Second {
    /// Since 1970.
    number: i64,
    records: u64,
    rows: u64,
}

/// The last batches and seconds of one pipeline.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    batches: VecDeque<RecentBatch>,
    /// Only those in which something was stored, oldest first.
    seconds: VecDeque<Second>,
    /// Kafka timestamp of the newest record that is stored.
    pub newest_record: Option<UtcMicros>,
    /// When the last batch was committed.
    pub last_commit: Option<UtcMicros>,
}

impl Recent {
    /// A batch is stored.
    pub fn batch(&mut self, batch: RecentBatch, newest_record: Option<UtcMicros>) {
        self.newest_record = self.newest_record.max(newest_record);
        self.last_commit = Some(batch.at);
        self.count(batch.at, &batch.offsets, &batch.rows);
        if self.batches.len() == BATCHES {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }

    /// So much is stored, whatever batch it was in.
    pub fn count(&mut self, at: UtcMicros, offsets: &Dispositions, rows: &RowCounts) {
        let number = at.0.div_euclid(UtcMicros::SECOND);
        let n = |n: i64| u64::try_from(n).unwrap_or(0);
        let records = n(offsets.sum() - offsets.hole);
        let rows = n(rows.inserted + rows.updated);
        match self.seconds.back_mut() {
            // A clock that steps back counts into the last second that it knows.
            Some(last) if number <= last.number => {
                last.records += records;
                last.rows += rows;
            }
            Some(_) | None => self.seconds.push_back(Second { number, records, rows }),
        }
        while self.seconds.len() > 1 && self.seconds.front().is_some_and(|old| old.number <= number - SECONDS)
        {
            self.seconds.pop_front();
        }
    }

    /// The last batches, newest first.
    pub fn batches(&self) -> impl Iterator<Item = &RecentBatch> {
        self.batches.iter().rev()
    }

    /// Records and rows a second over the last five whole seconds.
    #[must_use]
    pub fn rates(&self, now: UtcMicros) -> (f64, f64) {
        const OVER: i64 = 5;
        let this = now.0.div_euclid(UtcMicros::SECOND);
        let (mut records, mut rows) = (0, 0);
        for second in self.seconds.iter().filter(|second| (this - OVER..this).contains(&second.number)) {
            records += second.records;
            rows += second.rows;
        }
        (records as f64 / OVER as f64, rows as f64 / OVER as f64)
    }

    /// Records stored in each of the last `steps` steps of so many seconds, oldest first. Steps begin at multiples of their
    /// length, so that the past stays as it was drawn; the one that is not over is left out.
    #[must_use]
    pub fn history(&self, now: UtcMicros, steps: usize, length: i64) -> Vec<u64> {
        let this = now.0.div_euclid(UtcMicros::SECOND * length);
        let mut history = vec![0; steps];
        for second in &self.seconds {
            let back = this - second.number.div_euclid(length);
            if let Ok(back) = usize::try_from(back)
                && (1..=steps).contains(&back)
            {
                history[steps - back] += second.records;
            }
        }
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> UtcMicros {
        UtcMicros(1_700_000_000 * UtcMicros::SECOND + second * UtcMicros::SECOND)
    }

    fn batch(second: i64, applied: i64) -> RecentBatch {
        RecentBatch {
            at: at(second),
            partition: 0,
            from: second,
            to: second + applied,
            offsets: Dispositions { applied, hole: 1, ..Dispositions::default() },
            rows: RowCounts { inserted: 2 * applied, ..RowCounts::default() },
            took: Duration::from_millis(3),
        }
    }

    #[test]
    fn keeps_the_last_batches_newest_first() {
        let mut recent = Recent::default();
        (0..100).for_each(|second| recent.batch(batch(second, 1), Some(at(-second))));
        let found: Vec<i64> = recent.batches().map(|batch| batch.from).collect();
        assert_eq!((found.len(), found[0], found[31]), (BATCHES, 99, 68));
        assert_eq!((recent.newest_record, recent.last_commit), (Some(at(0)), Some(at(99))));
    }

    #[test]
    fn rates_are_of_whole_seconds_and_holes_are_no_records() {
        let mut recent = Recent::default();
        (0..10).for_each(|second| recent.batch(batch(second, 10), None));
        assert_eq!(recent.rates(at(9)), (10.0, 20.0), "the second under way does not count");
        assert_eq!(recent.rates(at(12)), (6.0, 12.0));
        assert_eq!(recent.rates(at(60)), (0.0, 0.0));
    }

    #[test]
    fn the_past_stays_as_it_was_drawn() {
        let mut recent = Recent::default();
        (0..9).for_each(|second| recent.batch(batch(second, second), None));
        // Steps begin at the seconds 1, 4, 7: 1,700,000,000 is 2 modulo 3.
        assert_eq!(recent.history(at(10), 4, 3), [0, 1 + 2 + 3, 4 + 5 + 6, 7 + 8]);
        assert_eq!(recent.history(at(12), 4, 3), recent.history(at(10), 4, 3));
        assert_eq!(recent.history(at(13), 4, 3), [1 + 2 + 3, 4 + 5 + 6, 7 + 8, 0]);
    }

    #[test]
    fn forgets_what_is_older_than_the_sparkline() {
        let mut recent = Recent::default();
        (0..1_000).for_each(|second| recent.batch(batch(second, 1), None));
        assert!(recent.seconds.len() <= usize::try_from(SECONDS).expect("small"));
        assert_eq!(recent.history(at(1_000), 100, 3).iter().sum::<u64>(), 300);
    }
}
