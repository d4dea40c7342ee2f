//! `Breaker`: while the database is away, one caller at a time tries it and all others wait. Without it every partition would
//! knock by itself, and a server that comes back would meet them all at once. One per process; asked by every task before it
//! goes to the database.
//!
//! What must stay true: only trouble of the environment opens it, never a refused record and never a busy pool; nobody waits
//! longer than `PATIENCE`, so that a process can always end.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ledgerline_schema::store::{StoreError, Trouble};
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::sync::lock;
use crate::{backoff, metrics};

/// Failures in a row that open it.
const FAILURES: u32 = 3;
/// Longest wait for admission.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Everybody.
    Closed,
    /// Nobody.
    Open,
    /// One caller, who finds out.
    HalfOpen,
}

impl Circuit {
    /// The value of the gauge.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// The pure part: a state that changes with what was seen, and when.
#[derive(Debug)]
struct State {
    circuit: Circuit,
    /// Failures in a row.
    failures: u32,
    /// Since when nobody got an answer.
    since: Option<Instant>,
    /// When somebody got one last.
    answered_at: Instant,
    /// When the next caller may try.
    retry_at: Instant,
}

impl State {
    fn new(now: Instant) -> Self {
        Self { circuit: Circuit::Closed, failures: 0, since: None, answered_at: now, retry_at: now }
    }

    /// Whether the caller may go on; if so, and if the circuit was open, he is the one who finds out.
    fn admit(&mut self, now: Instant) -> bool {
        match self.circuit {
            Circuit::Closed => true,
            // A probe whose caller vanished would else keep everybody out.
            Circuit::Open | Circuit::HalfOpen if now >= self.retry_at => {
                self.circuit = Circuit::HalfOpen;
                self.retry_at = now + PATIENCE.max(backoff::LONGEST) * 4;
                true
            }
            Circuit::Open | Circuit::HalfOpen => false,
        }
    }

    /// What was asked then has no answer by now.
    fn failed(&mut self, asked: Instant, now: Instant, pause: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert(asked.max(self.answered_at));
        if self.failures >= FAILURES {
            self.circuit = Circuit::Open;
            self.retry_at = now + pause;
        }
    }

    fn answered(&mut self, now: Instant) {
        self.refused(now);
        self.failures = 0;
    }

    /// Somebody is there; whether he is well is not said. A server that shuts down refuses, too.
    fn refused(&mut self, now: Instant) {
        self.circuit = Circuit::Closed;
        self.since = None;
        self.answered_at = now;
    }

    /// The one who should find out found everybody busy; the next one tries.
    fn not_tried(&mut self, now: Instant) {
        if self.circuit == Circuit::HalfOpen {
            self.circuit = Circuit::Open;
            self.retry_at = now;
        }
    }
}

/// One database's breaker.
#[derive(Debug)]
pub struct Breaker {
    state: Mutex<State>,
    changed: Notify,
}

impl Default for Breaker {
    fn default() -> Self {
        metrics::circuit(Circuit::Closed);
        Self { state: Mutex::new(State::new(Instant::now())), changed: Notify::new() }
    }
}

impl Breaker {
    /// Waits until the database may be tried; answers false where that took too long.
    pub async fn admit(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let changed = self.changed.notified();
            let retry_at = {
                let mut state = self.lock();
                if state.admit(Instant::now()) {
                    metrics::circuit(state.circuit);
                    return true;
                }
                state.retry_at
            };
            if Instant::now() >= deadline {
                return false;
            }
            let until = retry_at.min(deadline);
            let _ = timeout_at(until.into(), changed).await; // whichever comes first, look again
        }
    }

    /// Whether the last one who tried got an answer.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.lock().failures == 0
    }

    /// The database did what it was asked.
    pub fn answered(&self) {
        self.change(State::answered);
    }

    /// A task failed. Only trouble of the environment counts against the database.
    pub fn failed(&self, error: &StoreError) {
        match error.trouble() {
            Trouble::Environment => self.unreachable(),
            Trouble::Refusal => self.change(State::refused),
            Trouble::Contention => self.change(State::not_tried),
        }
    }

    /// The database did not answer.
    pub fn unreachable(&self) {
        self.unreachable_since(Instant::now());
    }

    /// The database has not answered what it was asked then.
    pub fn unreachable_since(&self, asked: Instant) {
        self.change(|state, now| state.failed(asked, now, backoff::pause(state.failures)));
    }

    /// Whether somebody has got an answer since then.
    #[must_use]
    pub fn answered_since(&self, then: Instant) -> bool {
        self.lock().answered_at > then
    }

    /// Changes the state, tells people, and wakes everybody who waits for another one.
    fn change(&self, change: impl FnOnce(&mut State, Instant)) {
        let (was, is) = {
            let mut state = self.lock();
            let was = state.circuit;
            change(&mut state, Instant::now());
            (was, state.circuit)
        };
        if was == is {
            return;
        }
        metrics::circuit(is);
        match (was, is) {
            (Circuit::Closed, _) => {
                tracing::warn!("the database does not answer; one caller at a time tries it");
            }
            (_, Circuit::Closed) => tracing::info!("the database answers again"),
            (Circuit::Open | Circuit::HalfOpen, Circuit::Open | Circuit::HalfOpen) => {}
        }
        self.changed.notify_waiters();
    }

    /// For how long nobody has got an answer, while the circuit is not closed.
    #[must_use]
    pub fn open_for(&self) -> Option<Duration> {
        let state = self.lock();
        if state.circuit == Circuit::Closed { None } else { state.since.map(|since| since.elapsed()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    fn open(now: Instant) -> State {
        let mut state = State::new(now);
        for _ in 0..FAILURES {
            assert!(state.admit(now));
            state.failed(now, now, PAUSE);
        }
        assert_eq!(state.circuit, Circuit::Open);
        state
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let now = Instant::now();
        let mut state = State::new(now);
        for _ in 0..10 {
            state.failed(now, now, PAUSE);
            state.failed(now, now, PAUSE);
            state.answered(now);
        }
        assert_eq!(state.circuit, Circuit::Closed);
        assert!(!open(now).admit(now));
    }

    #[test]
    fn after_the_pause_one_caller_finds_out() {
        let now = Instant::now();
        let later = now + PAUSE;
        let mut state = open(now);
        assert!(state.admit(later));
        assert!(!state.admit(later), "a second one waits");
        state.failed(later, later, PAUSE);
        assert!(!state.admit(later));
        assert!(state.admit(later + PAUSE));
        state.answered(later);
        assert!(state.admit(later) && state.admit(later));
    }

    #[test]
    fn a_question_without_an_answer_counts_from_when_it_was_asked_but_not_from_before_the_last_answer() {
        let now = Instant::now();
        let (later, last) = (now + PAUSE, now + 2 * PAUSE);
        let mut state = State::new(now);
        state.failed(later, last, PAUSE);
        assert_eq!(state.since, Some(later));
        state.answered(last);
        state.failed(later, last + PAUSE, PAUSE);
        assert_eq!(state.since, Some(last));
    }

    #[test]
    fn a_caller_who_vanished_keeps_nobody_out_for_ever() {
        let now = Instant::now();
        let mut state = open(now);
        assert!(state.admit(now + PAUSE));
        assert!(state.admit(now + PAUSE + Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn a_busy_pool_does_not_open_it_and_an_outage_does() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            breaker.failed(&StoreError::Saturated);
        }
        assert_eq!(breaker.open_for(), None);
        for _ in 0..FAILURES {
            breaker.failed(&StoreError::Unavailable("away".into()));
        }
        assert!(breaker.open_for().is_some());
        breaker.answered();
        assert!(breaker.admit().await);
    }
}
