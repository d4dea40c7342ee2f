//! What happened to the pools of connections lately. Their counters grow from the start of the process: of an outage of last week they
//! tell for ever, and advice that was made of them would never go away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ledgerline_schema::store::{PoolState, Store};

use crate::clock::ticks;
use crate::http::Health;
use crate::sync::lock;

/// How often the counters are noted.
const EVERY: Duration = Duration::from_secs(60);
/// How many notes are kept: the oldest is of ten minutes ago.
const KEPT: usize = 10;

/// A pool as it was, minute by minute.
#[derive(Debug, Default)]
pub struct Lately(Mutex<VecDeque<PoolState>>);

impl Lately {
    fn note(&self, state: PoolState) {
        let mut notes = lock(&self.0);
        notes.push_back(state);
        if notes.len() > KEPT {
            notes.pop_front();
        }
    }

    /// The pool as it is, with what was counted in the last ten minutes; in a process that is younger, since its start.
    pub(crate) fn of(&self, now: &PoolState) -> PoolState {
        let oldest = lock(&self.0).front().copied().unwrap_or_default();
        now.since(&oldest)
    }
}

/// Notes both pools of a worker for as long as it lives.
pub(crate) async fn keep(line: Store, reads: Store, health: Arc<Health>) {
    let mut ticks = ticks(EVERY);
    loop {
        ticks.tick().await;
        health.line_pool.note(line.pool_state());
        health.read_pool.note(reads.pool_state());
    }
}

#[cfg(test)]
mod tests {
    use ledgerline_schema::store::Closed;

    use super::*;
    use crate::pool_report::advice;

    #[test]
    fn advice_appears_with_its_reason_and_goes_away_after_it() {
        let young = PoolState { max: 8, direct: 500, ..PoolState::default() };
        let restarted = PoolState {
            timeouts: 3,
            closed: Closed { failed_check: 8, ..Closed::default() },
            set_up_failures: [0, 2, 0, 0, 0, 0, 0, 0],
            ..young
        };
        let (lately, told) =
            (Lately::default(), |lately: &Lately| advice(&lately.of(&restarted), Some(8)).len());
        assert_eq!(told(&lately), 3, "nothing is noted yet, so all of it is of now");
        lately.note(young);
        for minute in 1..KEPT {
            lately.note(restarted);
            assert_eq!(told(&lately), 3, "after {minute} minutes");
        }
        lately.note(restarted);
        assert_eq!(told(&lately), 0);
        assert_eq!(lock(&lately.0).len(), KEPT);
        let again = PoolState { timeouts: 5, ..restarted };
        let text = advice(&lately.of(&again), Some(8)).join("\n");
        assert!(
            text.starts_with("2 callers waited for a connection in vain in the last 10 minutes"),
            "{text}"
        );
    }
}
