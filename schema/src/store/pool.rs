//! The pool's common part: building it, what it lends, and its state for metrics.

use std::fmt;
use std::time::Duration;

use bb8::{ManageConnection, PooledConnection, QueueStrategy};

use super::intern::SelectionCache;
use super::postgres::PostgresManager;
use super::sqlite::SqliteManager;
use super::{Conn, PoolConfig};

/// A pooled connection and what belongs to it: ids interned on this connection are forgotten with it, because after a
/// failover a sequence may hand out an id again.
pub struct Session<C> {
    pub(super) conn: C,
    pub(super) selections: SelectionCache,
    /// Set by whoever met an error on it: the pool then closes it.
    pub(super) broken: bool,
    /// The last batch met rows that were already stored, so the next one looks before it inserts.
    pub(super) expects_duplicates: bool,
}

impl<C> Session<C> {
    pub(super) fn new(conn: C) -> Self {
        Self { conn, selections: SelectionCache::default(), broken: false, expects_duplicates: false }
    }
}

/// A connection lent by the pool.
pub(crate) enum PooledConn<'p> {
    Postgres(PooledConnection<'p, PostgresManager>),
    Sqlite(PooledConnection<'p, SqliteManager>),
}

impl PooledConn<'_> {
    pub(crate) fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Postgres(session) => Conn::Postgres(&mut session.conn),
            Self::Sqlite(session) => Conn::Sqlite(&mut session.conn),
        }
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

impl PoolState {
    pub(super) fn of<M: ManageConnection>(pool: &bb8::Pool<M>) -> Self {
        let state = pool.state();
        Self {
            idle: state.idle_connections,
            in_use: state.connections.saturating_sub(state.idle_connections),
            max: pool.config().max_size,
            timeouts: state.statistics.get_timed_out,
        }
    }
}

pub(super) fn build<M>(manager: M, config: &PoolConfig, size: u32) -> bb8::Pool<M>
where
    M: ManageConnection,
    M::Error: fmt::Display,
{
    bb8::Pool::builder()
        .max_size(size)
        .test_on_check_out(true)
        .connection_timeout(Duration::from_millis(config.checkout_timeout_ms))
        .idle_timeout(Duration::from_millis(config.idle_timeout_ms))
        .max_lifetime(Duration::from_millis(config.max_lifetime_ms))
        .retry_connection(false) // a failed attempt is answered now; who needs the connection backs off
        .queue_strategy(QueueStrategy::Lifo) // the connection used last knows the most ids
        .error_sink(Box::new(LogErrors))
        .build_unchecked(manager)
}

/// bb8 drops connect errors unless somebody listens.
#[derive(Debug, Clone, Copy)]
struct LogErrors;

impl<E: fmt::Display> bb8::ErrorSink<E> for LogErrors {
    fn sink(&self, error: E) {
        tracing::debug!(%error, "database connection not usable");
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<E>> {
        Box::new(*self)
    }
}
