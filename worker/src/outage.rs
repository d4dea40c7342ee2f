//! `Outage`: whether the database has been away for so long that batches go to the spool. One per process that has one; watched by a
//! task of its own, asked by every pipeline.
//!
//! What must stay true: it begins only when, for the configured time, nobody has got an answer or the database has taken no writes; it ends
//! only when it takes writes and its schema fits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ledgerline_schema::store::{SchemaState, Store, StoreError};
use tokio::time::timeout;

use crate::breaker::Breaker;
use crate::clock;
use crate::metrics;

/// How often it is looked at, at most.
const OFTENEST: Duration = Duration::from_millis(100);
/// And at least.
const RAREST: Duration = Duration::from_secs(5);
/// How long the database may take to say that it is there, at least: as long as it may be away, where that is more.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);
/// And at most.
const LONGEST_LOOK: Duration = Duration::from_secs(4);
/// How long it may take to say that it is back. A connection has its own bound, which is shorter.
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
    /// None yet. `store` has a connection of its own: whatever the line does, looking does not wait for it.
    #[must_use]
    pub fn new(after: Duration, breaker: Arc<Breaker>, store: Store) -> Self {
        Self { after, breaker, store, on: AtomicBool::new(false) }
    }

    /// The database is known to be away.
    pub fn begin(&self) {
        let after_ms = self.after.as_millis();
        tracing::warn!(after_ms, "the database stays away: the spool stands in for it");
        self.set(true);
    }

    /// Whether batches go to the spool.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Looks whether the database takes batches, by a connection of its own. For ever; each time that it is back, `over` is called.
    pub async fn watch(&self, over: impl Fn()) {
        let last_look = self.after.clamp(SHORTEST_LOOK, LONGEST_LOOK);
        let mut ticks = clock::ticks((self.after / 4).clamp(OFTENEST, RAREST));
        let (mut looked, mut away_since) = (Instant::now(), None);
        loop {
            ticks.tick().await;
            if self.is_on() {
                if self.breaker.admit().await && self.look(PATIENCE).await == Look::Takes {
                    tracing::info!("the database is back: what is in the spool goes there first");
                    over();
                    self.set(false);
                }
                continue;
            }
            let before = std::mem::replace(&mut looked, Instant::now());
            away_since = match self.look(last_look).await {
                Look::TakesNone => away_since.or(Some(looked)),
                Look::Silent if !self.breaker.answered_since(before) => away_since.or(Some(looked)),
                Look::Takes | Look::Silent => None,
            };
            if away_since.is_some_and(|since| since.elapsed() >= self.after) {
                away_since = None;
                self.begin();
            }
        }
    }

    fn set(&self, on: bool) {
        self.on.store(on, Relaxed);
        metrics::outage(on);
    }

    async fn look(&self, patience: Duration) -> Look {
        let asked = Instant::now();
        match timeout(patience, self.takes_batches()).await {
            Ok(Ok(true)) => {
                self.breaker.answered();
                Look::Takes
            }
            Ok(Ok(false)) => {
                self.breaker.answered(); // somebody is there
                Look::TakesNone
            }
            Ok(Err(_)) | Err(_) => {
                self.breaker.unreachable_since(asked);
                Look::Silent
            }
        }
    }

    /// Whether the database says within that time that it takes batches.
    pub async fn takes_batches_within(&self, patience: Duration) -> bool {
        matches!(timeout(patience, self.takes_batches()).await, Ok(Ok(true)))
    }

    /// Neither a standby nor read-only, and with a schema that fits.
    async fn takes_batches(&self) -> Result<bool, StoreError> {
        Ok(self.store.takes_writes().await? && self.store.schema_state().await? == SchemaState::Ready)
    }
}

/// What a look at the database finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It is there.
    Takes,
    /// It answers and takes no batches.
    TakesNone,
    /// It does not answer; the line may have better luck with its own connections.
    Silent,
}
