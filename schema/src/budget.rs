//! `Budget`: how many dead letters a partition may have before somebody looks. A schema mistake upstream would else flush a whole
//! topic into the dead letters, one clean transaction after the other. Checked by `Store::write` before it commits; carried
//! from batch to batch by the worker.
//!
//! What must stay true: pure and small (it is copied into every transaction); a batch that goes over is not written at all.

use std::fmt;

use serde::Deserialize;

use crate::batch::DeadRecord;

/// `[topics.<kind>.dead_letters]`: the partition halts at the first of these.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// Most dead letters in a row, without a good record in between.
    pub max_consecutive: u32,
    /// Largest share of dead letters among the last `window` records.
    pub max_ratio: f64,
    /// Records that `max_ratio` looks back over.
    pub window: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { max_consecutive: 250, max_ratio: 0.05, window: 10_000 }
    }
}

impl BudgetConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The key and what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let ranges = [
            (self.max_consecutive >= 1, "max_consecutive: must be at least 1"),
            (self.max_ratio > 0.0 && self.max_ratio <= 1.0, "max_ratio: must be above 0, and 1 at most"),
            ((100..=10_000_000).contains(&self.window), "window: must be 100 to 10,000,000"),
        ];
        match ranges.into_iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err(problem.to_owned()),
            None => Ok(()),
        }
    }
}

/// The window moves by a tenth of itself.
const SLOTS: usize = 10;

/// What a partition has used up of its budget since it was claimed.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    limits: BudgetConfig,
    /// Records and dead letters of the window's tenths; the current one is `slot`.
    slots: [(u32, u32); SLOTS],
    slot: usize,
    /// Dead letters since the last good record.
    run: u32,
}

/// Too many dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun {
    /// Dead letters.
    pub dead: u32,
    /// Among that many of the newest records; the same number where all of them are dead.
    pub records: u32,
}

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dead, records } = self;
        if dead == records {
            return write!(f, "{dead} records in a row would become dead letters");
        }
        write!(f, "{dead} of the last {records} records would be dead letters")
    }
}

impl Budget {
    /// Nothing used up yet.
    #[must_use]
    pub fn new(limits: BudgetConfig) -> Self {
        Self { limits, slots: [(0, 0); SLOTS], slot: 0, run: 0 }
    }

    /// A budget that nothing exceeds, where no topic could be flushed: one record at a time.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(BudgetConfig { max_consecutive: u32::MAX, max_ratio: 1.0, window: u32::MAX })
    }

    /// Whether a batch of that many records may have these dead ones, sorted by number.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, records: usize, dead: &[DeadRecord]) -> Result<(), Overrun> {
        if dead.is_empty() {
            return Ok(()); // the ordinary batch
        }
        let (longest, _) = runs(self.run, records, dead);
        if longest > self.limits.max_consecutive {
            return Err(Overrun { dead: longest, records: longest });
        }
        let sum = |of: fn(&(u32, u32)) -> u32| self.slots.iter().map(of).fold(0, u32::saturating_add);
        let dead = sum(|slot| slot.1).saturating_add(count(dead.len()));
        let records = sum(|slot| slot.0).saturating_add(count(records));
        // A batch may be larger than the window: then the share counts over what is known.
        let most = f64::from(self.limits.window.max(records)) * self.limits.max_ratio;
        if f64::from(dead) > most { Err(Overrun { dead, records }) } else { Ok(()) }
    }

    /// Counts a batch that is in the database.
    pub fn add(&mut self, records: usize, dead: &[DeadRecord]) {
        (_, self.run) = runs(self.run, records, dead);
        if self.slots[self.slot].0 >= self.limits.window / count(SLOTS) {
            self.slot = (self.slot + 1) % SLOTS;
            self.slots[self.slot] = (0, 0);
        }
        let slot = &mut self.slots[self.slot];
        *slot = (slot.0.saturating_add(count(records)), slot.1.saturating_add(count(dead.len())));
    }
}

/// The longest run of dead records when `run` came before the batch, and the run that it ends with.
fn runs(run: u32, records: usize, dead: &[DeadRecord]) -> (u32, u32) {
    let (mut longest, mut current, mut next) = (0, run, 0);
    for number in dead.iter().map(|dead| dead.record) {
        current = if number == next { current.saturating_add(1) } else { 1 };
        next = number + 1;
        longest = longest.max(current);
    }
    let ends_dead = next as usize == records;
    (longest, if ends_dead { current } else { 0 })
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Reason, Rejection};

    fn dead(numbers: &[u32]) -> Vec<DeadRecord> {
        let rejection = Rejection::new(Reason::MalformedJson, "");
        numbers.iter().map(|record| DeadRecord { record: *record, rejection: rejection.clone() }).collect()
    }

    #[test]
    fn a_run_goes_on_over_batches_and_ends_at_a_good_record() {
        let mut budget = Budget::new(BudgetConfig { max_consecutive: 3, ..BudgetConfig::default() });
        let tail = dead(&[2, 3]); // two at the end of four
        assert_eq!(budget.check(4, &tail), Ok(()));
        budget.add(4, &tail);
        assert_eq!(budget.check(3, &dead(&[0])), Ok(()));
        assert_eq!(budget.check(3, &dead(&[0, 1])), Err(Overrun { dead: 4, records: 4 }));
        assert_eq!(budget.check(5, &dead(&[1, 2, 3])), Ok(()));
        budget.add(1, &[]);
        assert_eq!(budget.check(3, &dead(&[0, 1])), Ok(()));
    }

    #[test]
    fn a_share_counts_over_the_window_and_is_forgotten_after_it() {
        let limits = BudgetConfig { max_consecutive: 1_000, max_ratio: 0.1, window: 100 };
        let mut budget = Budget::new(limits);
        budget.add(50, &dead(&[1, 3, 5, 7, 9]));
        assert_eq!(budget.check(20, &dead(&[1, 3, 5, 7, 9])), Ok(()));
        assert_eq!(budget.check(20, &dead(&[1, 3, 5, 7, 9, 11])), Err(Overrun { dead: 11, records: 70 }));
        for _ in 0..20 {
            budget.add(10, &[]);
        }
        assert_eq!(budget.check(20, &dead(&[1, 3, 5, 7, 9, 11])), Ok(()));
    }

    #[test]
    fn a_batch_larger_than_the_window_is_held_to_the_same_share() {
        let limits = BudgetConfig { max_consecutive: 1_000, max_ratio: 0.05, window: 1_000 };
        let mut budget = Budget::new(limits);
        let one_percent: Vec<u32> = (0..50).map(|number| number * 100).collect();
        for _ in 0..30 {
            assert_eq!(budget.check(5_000, &dead(&one_percent)), Ok(()));
            budget.add(5_000, &dead(&one_percent));
        }
    }

    #[test]
    fn an_old_run_that_ended_is_not_held_against_a_batch() {
        let mut budget = Budget::new(BudgetConfig { max_consecutive: 3, ..BudgetConfig::default() });
        budget.add(4, &dead(&[0, 1, 2, 3])); // over, by an operator's leave
        assert_eq!(budget.check(2, &dead(&[1])), Ok(()));
    }

    #[test]
    fn an_unlimited_budget_takes_everything() {
        let all: Vec<u32> = (0..5_000).collect();
        let mut budget = Budget::unlimited();
        for _ in 0..3 {
            assert_eq!(budget.check(5_000, &dead(&all)), Ok(()));
            budget.add(5_000, &dead(&all));
        }
    }
}
