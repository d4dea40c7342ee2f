//! What a pool tells of itself, for metrics, the API and `doctor`, and why connections could not be set up, by class: a text would show
//! more than a metric may.

use std::fmt;
use std::time::Duration;

/// Why a connection could not be set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetUpFailure {
    /// It took longer than `database.pool.connect_timeout_ms` in all.
    TimedOut,
    /// The name, the way, or nobody listens there.
    Unreachable,
    /// The certificate, or the server knows no TLS.
    Tls,
    /// The role, its password, the database, or who may come from here.
    Login,
    /// The server, or the role, has no connection left.
    Full,
    /// It starts, it ends, or it only reads.
    NotReady,
    /// Something between us and the server swallows settings.
    Settings,
    /// Anything else; the text is in the log.
    Other,
}

impl SetUpFailure {
    /// All of them, in the order of [`PoolState::set_up_failures`].
    pub const ALL: [Self; 8] = [
        Self::TimedOut,
        Self::Unreachable,
        Self::Tls,
        Self::Login,
        Self::Full,
        Self::NotReady,
        Self::Settings,
        Self::Other,
    ];

    /// The label of metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Login => "login",
            Self::Full => "full",
            Self::NotReady => "not_ready",
            Self::Settings => "settings",
            Self::Other => "other",
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// What a pool reports of one connection. Shown as its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It could not be opened.
    SetUp(SetUpFailure, String),
    /// It was open, and the check before it was lent found that it is no good any more.
    Stale(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::SetUp(_, text) | Self::Stale(text)) = self;
        f.write_str(text)
    }
}

/// A pool's connections now, and what happened to it since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Unused connections that are kept open.
    pub min: u32,
    /// Most connections that may be open.
    pub max: u32,
    /// Open connections that nobody uses.
    pub idle: u32,
    /// Open connections in use.
    pub in_use: u32,
    /// Callers that wait now.
    pub waiting: u64,
    /// Callers that had one at once.
    pub direct: u64,
    /// Callers that had to wait until one was opened or given back.
    pub waits: u64,
    /// How long all callers have waited together.
    pub wait_time: Duration,
    /// Callers that gave up waiting.
    pub timeouts: u64,
    /// Connections that were opened.
    pub opened: u64,
    /// Stale connections that were closed.
    pub closed: Closed,
    /// Connections that could not be set up, in the order of [`SetUpFailure::ALL`].
    pub set_up_failures: [u64; SetUpFailure::ALL.len()],
}

/// Connections that were closed, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Closed {
    /// Something went wrong while they were used.
    pub broken: u64,
    /// The check before they were lent found them dead, or on a server that only reads.
    pub failed_check: u64,
    /// They were older than `database.pool.max_lifetime_ms`.
    pub lifetime: u64,
    /// They were unused for longer than `database.pool.idle_timeout_ms`.
    pub idle: u64,
}

impl Closed {
    /// Each with its name.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); 4] {
        let Self { broken, failed_check, lifetime, idle } = *self;
        [("broken", broken), ("failed_check", failed_check), ("lifetime", lifetime), ("idle", idle)]
    }
}

impl PoolState {
    /// The pool as it is, with what was counted since it was `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |now: u64, before: u64| now.saturating_sub(before);
        let (closed, before) = (self.closed, earlier.closed);
        let mut set_up_failures = self.set_up_failures;
        for (count, before) in set_up_failures.iter_mut().zip(earlier.set_up_failures) {
            *count = less(*count, before);
        }
        Self {
            min: self.min,
            max: self.max,
            idle: self.idle,
            in_use: self.in_use,
            waiting: self.waiting,
            direct: less(self.direct, earlier.direct),
            waits: less(self.waits, earlier.waits),
            wait_time: self.wait_time.saturating_sub(earlier.wait_time),
            timeouts: less(self.timeouts, earlier.timeouts),
            opened: less(self.opened, earlier.opened),
            closed: Closed {
                broken: less(closed.broken, before.broken),
                failed_check: less(closed.failed_check, before.failed_check),
                lifetime: less(closed.lifetime, before.lifetime),
                idle: less(closed.idle, before.idle),
            },
            set_up_failures,
        }
    }

    /// Connections that could not be set up, with why.
    pub fn failures(&self) -> impl Iterator<Item = (SetUpFailure, u64)> {
        SetUpFailure::ALL.into_iter().zip(self.set_up_failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_counted_in_its_own_place() {
        for (index, failure) in SetUpFailure::ALL.into_iter().enumerate() {
            assert_eq!(failure.index(), index, "{failure:?}");
        }
        let state = PoolState { set_up_failures: [0, 0, 0, 0, 3, 0, 0, 0], ..PoolState::default() };
        let found: Vec<_> = state.failures().filter(|(_, count)| *count > 0).collect();
        assert_eq!(found, [(SetUpFailure::Full, 3)]);
    }
}
