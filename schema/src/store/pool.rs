//! The pool's common part: building it, what it lends, and its state for metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bb8::{ManageConnection, PooledConnection, QueueStrategy};

use super::PoolConfig;
use super::error::StoreError;
use super::intern::Known;
use super::pool_state::{Closed, Fault, PoolState, SetUpFailure};
use super::rows::{Keeps, Look};

/// A pooled connection and what belongs to it: ids interned on this connection are forgotten with it, because after a
/// failover a sequence may hand out an id again.
pub struct Session<C> {
    pub(super) conn: C,
    pub(super) known: Known,
    /// Set by whoever met an error on it: the pool then closes it.
    pub(super) broken: bool,
    /// Whether the last batch met rows that were stored already: then the next one may, too.
    pub(super) look: Look,
    /// What becomes of a batch that is written over it.
    pub(super) keeps: Keeps,
}

impl<C> Session<C> {
    pub(super) fn new(conn: C, cached_selections: usize) -> Self {
        let known = Known::new(cached_selections);
        Self { conn, known, broken: false, look: Look::OnlyIfRefused, keeps: Keeps::Rows }
    }
}

/// The pool, and why it could not connect: bb8 tells its callers only that they waited in vain.
#[derive(Debug)]
pub struct Pool<M: ManageConnection> {
    pool: bb8::Pool<M>,
    faults: Faults,
}

impl<M: ManageConnection<Error = Fault>> Pool<M> {
    /// Borrows a connection; waits at most the configured checkout timeout.
    pub(super) async fn get(&self) -> Result<PooledConnection<'_, M>, StoreError> {
        match self.pool.get().await {
            Ok(connection) => {
                self.faults.forget(); // it explains nothing any more
                Ok(connection)
            }
            Err(bb8::RunError::User(error)) => Err(StoreError::Unavailable(error.to_string())),
            Err(bb8::RunError::TimedOut) => Err(self.faults.why_timed_out()),
        }
    }

    /// Opens a connection that the pool does not count.
    pub(super) async fn dedicated_connection(&self) -> Result<M::Connection, StoreError> {
        let connected = self.pool.dedicated_connection().await;
        connected.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    pub(super) fn state(&self) -> PoolState {
        let (state, config) = (self.pool.state(), self.pool.config());
        let counted = &state.statistics;
        PoolState {
            min: config.min_idle.unwrap_or(0),
            max: config.max_size,
            idle: state.idle_connections,
            in_use: state.connections.saturating_sub(state.idle_connections),
            // Counted one after the other: for a moment more may have ended than have begun.
            waiting: counted.get_started.saturating_sub(counted.completed_gets()),
            direct: counted.get_direct,
            waits: counted.get_waited,
            wait_time: counted.get_wait_time,
            timeouts: counted.get_timed_out,
            opened: counted.connections_created,
            closed: Closed {
                broken: counted.connections_closed_broken,
                failed_check: counted.connections_closed_invalid,
                lifetime: counted.connections_closed_max_lifetime,
                idle: counted.connections_closed_idle_timeout,
            },
            set_up_failures: self.faults.set_up_failures(),
        }
    }
}

/// A pool of `size` connections, of which `min_idle` are kept open.
pub(super) fn build<M>(manager: M, config: &PoolConfig, size: u32, min_idle: u32) -> Pool<M>
where
    M: ManageConnection<Error = Fault>,
{
    let faults = Faults::default();
    let pool = bb8::Pool::builder()
        .max_size(size)
        .min_idle(min_idle.min(size))
        .test_on_check_out(true)
        .connection_timeout(Duration::from_millis(config.checkout_timeout_ms))
        .idle_timeout(Duration::from_millis(config.idle_timeout_ms))
        .max_lifetime(Duration::from_millis(config.max_lifetime_ms))
        .retry_connection(true) // a failed attempt is not told to who waits, so it must not be the only one
        .queue_strategy(QueueStrategy::Lifo) // the connection used last knows the most ids
        .error_sink(Box::new(faults.clone()))
        .build_unchecked(manager);
    Pool { pool, faults }
}

/// What the pool reports where nobody waits for the answer: the newest fault, and how often a connection could not be set up.
#[derive(Debug, Clone, Default)]
struct Faults(Arc<Mutex<Reported>>);

#[derive(Debug, Default)]
struct Reported {
    newest: Option<(Instant, String)>,
    set_up_failures: [u64; SetUpFailure::ALL.len()],
}

/// A fault older than this does not explain why somebody waited in vain just now.
const FRESH: Duration = Duration::from_secs(20);

impl Faults {
    fn forget(&self) {
        self.reported().newest = None;
    }

    fn set_up_failures(&self) -> [u64; SetUpFailure::ALL.len()] {
        self.reported().set_up_failures
    }

    /// A pool whose connections are all in use is no sign that the server is away.
    fn why_timed_out(&self) -> StoreError {
        match &self.reported().newest {
            Some((at, error)) if at.elapsed() < FRESH => StoreError::Unavailable(error.clone()),
            Some(_) | None => StoreError::Saturated,
        }
    }

    fn reported(&self) -> MutexGuard<'_, Reported> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl bb8::ErrorSink<Fault> for Faults {
    fn sink(&self, fault: Fault) {
        let mut reported = self.reported();
        match &fault {
            Fault::SetUp(why, _) => reported.set_up_failures[why.index()] += 1,
            Fault::Stale(_) => {} // the pool counts them itself
        }
        reported.newest = Some((Instant::now(), fault.to_string()));
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<Fault>> {
        Box::new(self.clone())
    }
}
