//! The pool's common part: building it, what it lends, and its state for metrics.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bb8::{ManageConnection, PooledConnection, QueueStrategy};

use super::PoolConfig;
use super::error::StoreError;
use super::intern::Known;
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

/// Connections in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// Open connections that nobody uses.
    pub idle: u32,
    /// Open connections in use.
    pub in_use: u32,
    /// Most connections that may be open.
    pub max: u32,
    /// Callers that gave up waiting, since the start.
    pub timeouts: u64,
}

/// The pool, and why it could not connect: bb8 tells its callers only that they waited in vain.
#[derive(Debug)]
pub struct Pool<M: ManageConnection> {
    pool: bb8::Pool<M>,
    last_error: LastError,
}

impl<M: ManageConnection> Pool<M>
where
    M::Error: fmt::Display,
{
    /// Borrows a connection; waits at most the configured checkout timeout.
    pub(super) async fn get(&self) -> Result<PooledConnection<'_, M>, StoreError> {
        match self.pool.get().await {
            Ok(connection) => {
                self.last_error.forget(); // it explains nothing any more
                Ok(connection)
            }
            Err(bb8::RunError::User(error)) => Err(StoreError::Unavailable(error.to_string())),
            Err(bb8::RunError::TimedOut) => Err(self.last_error.why_timed_out()),
        }
    }

    /// Opens a connection that the pool does not count.
    pub(super) async fn dedicated_connection(&self) -> Result<M::Connection, StoreError> {
        let connected = self.pool.dedicated_connection().await;
        connected.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    pub(super) fn state(&self) -> PoolState {
        let state = self.pool.state();
        PoolState {
            idle: state.idle_connections,
            in_use: state.connections.saturating_sub(state.idle_connections),
            max: self.pool.config().max_size,
            timeouts: state.statistics.get_timed_out,
        }
    }
}

pub(super) fn build<M>(manager: M, config: &PoolConfig, size: u32) -> Pool<M>
where
    M: ManageConnection,
    M::Error: fmt::Display,
{
    let last_error = LastError::default();
    let pool = bb8::Pool::builder()
        .max_size(size)
        .test_on_check_out(true)
        .connection_timeout(Duration::from_millis(config.checkout_timeout_ms))
        .idle_timeout(Duration::from_millis(config.idle_timeout_ms))
        .max_lifetime(Duration::from_millis(config.max_lifetime_ms))
        .retry_connection(true) // a failed attempt is not told to who waits, so it must not be the only one
        .queue_strategy(QueueStrategy::Lifo) // the connection used last knows the most ids
        .error_sink(Box::new(last_error.clone()))
        .build_unchecked(manager);
    Pool { pool, last_error }
}

/// The newest connect error.
#[derive(Debug, Clone, Default)]
struct LastError(Arc<Mutex<Option<(Instant, String)>>>);

/// An error older than this does not explain why somebody waited in vain just now.
const FRESH: Duration = Duration::from_secs(20);

impl LastError {
    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A pool whose connections are all in use is no sign that the server is away.
    fn why_timed_out(&self) -> StoreError {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((at, error)) if at.elapsed() < FRESH => StoreError::Unavailable(error.clone()),
            Some(_) | None => StoreError::Saturated,
        }
    }
}

impl<E: fmt::Display> bb8::ErrorSink<E> for LastError {
    fn sink(&self, error: E) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.to_string()));
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<E>> {
        Box::new(self.clone())
    }
}
