//! `Outage`: whether the database has been away for so long that batches go to the spool. One per process that has one; watched by a
//! task of its own, asked by every pipeline.
//!
//! What must stay true: it begins only when the circuit breaker has been open for the configured time; it ends only when the database
//! takes writes and its schema fits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::ensure;
use ledgerline_schema::store::{SchemaState, Store};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::breaker::Breaker;
use crate::metrics;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the database may take to say that it is there. A connection has its own bound, which is shorter.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the spool stands in for the database.
#[derive(Debug)]
pub struct Outage {
    after: Duration,
    breaker: Arc<Breaker>,
    store: Store,
    on: AtomicBool,
}

impl Outage {
    /// None yet.
    #[must_use]
    pub fn new(after: Duration, breaker: Arc<Breaker>, store: Store) -> Self {
        Self { after, breaker, store, on: AtomicBool::new(false) }
    }

    /// The database is known to be away.
    pub fn begin(&self) {
        let after_ms = self.after.as_millis();
        tracing::warn!(after_ms, "the database stays away: batches go to the spool");
        self.set(true);
    }

    /// Whether batches go to the spool.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Looks at the breaker while the database is there, and for the database while it is not. For ever; each time that the database
    /// is back, `over` is called.
    pub async fn watch(&self, over: impl Fn()) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.is_on() {
                if self.breaker.open_for().is_some_and(|open| open >= self.after) {
                    self.begin();
                }
            } else if self.is_over().await {
                tracing::info!("the database is back: what is in the spool goes there first");
                over();
                self.set(false);
            }
        }
    }

    fn set(&self, on: bool) {
        self.on.store(on, Relaxed);
        metrics::outage(on);
    }

    async fn is_over(&self) -> bool {
        if !self.breaker.admit().await {
            return false;
        }
        match timeout(PATIENCE, self.takes_batches()).await {
            Ok(Ok(())) => {
                self.breaker.answered();
                true
            }
            Ok(Err(error)) => {
                self.breaker.unreachable();
                tracing::debug!(error = format!("{error:#}"), "the database does not take batches yet");
                false
            }
            Err(_) => {
                self.breaker.unreachable();
                false
            }
        }
    }

    async fn takes_batches(&self) -> anyhow::Result<()> {
        ensure!(self.store.takes_writes().await?, "it takes no writes: a standby, or read-only");
        let state = self.store.schema_state().await?;
        ensure!(state == SchemaState::Ready, "its schema does not fit: {state:?}");
        Ok(())
    }
}
