//! What keeps the database small: sweeps over the stored quotes, by command (`cli/compact.rs`) or, where it is configured, by a
//! schedule inside `run`.
//!
//! What must stay true: a sweep is chunks, each a transaction of its own, and may stop between any two; the schedule uses one
//! connection, gives way to the line (it rests as long as each chunk took, and any error ends the turn), and never ends the
//! process; a walk that has begun does not end because another one is in the middle of a chunk.

use std::time::{Duration, Instant};

use ledgerline_schema::store::{QuoteKey, Removal, Store, StoreError, Sweep, SweptChunk};
use ledgerline_schema::time::UtcMicros;
use rand::Rng;
use serde::Deserialize;
use tokio::time::sleep;

use crate::clock;
use crate::metrics::{self, SweepOutcome};

/// `[compaction]`: of each run of equal quotes the first and the last are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompactionConfig {
    /// Whether `run` compacts.
    pub enabled: bool,
    /// How often `run` compacts, and applies the retention.
    pub every_ms: u64,
    /// Younger quotes are left alone: an event may still come between them.
    pub older_than_hours: u32,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self { enabled: false, every_ms: 6 * 3_600_000, older_than_hours: 24 }
    }
}

/// `[retention]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// `run` deletes older quotes; without it none.
    pub older_than_days: Option<u32>,
}

/// What `run` does by itself, and how often.
#[derive(Debug, Clone)]
pub struct Schedule {
    every: Duration,
    /// What is removed, and how old a quote has to be for it, in microseconds.
    turns: Vec<(Removal, i64)>,
}

impl Schedule {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The key and what is wrong with it.
    pub fn new(compaction: &CompactionConfig, retention: &RetentionConfig) -> Result<Self, &'static str> {
        let CompactionConfig { enabled, every_ms, older_than_hours } = *compaction;
        if !(1_000..=7 * 86_400_000).contains(&every_ms) {
            return Err("compaction.every_ms: must be 1,000 to 604,800,000");
        }
        if !(1..=87_600).contains(&older_than_hours) {
            return Err("compaction.older_than_hours: must be 1 to 87,600");
        }
        if retention.older_than_days.is_some_and(|days| !(1..=36_500).contains(&days)) {
            return Err("retention.older_than_days: must be 1 to 36,500");
        }
        let mut turns = Vec::new();
        if let Some(days) = retention.older_than_days {
            turns.push((Removal::Expired, i64::from(days) * 24 * UtcMicros::HOUR));
        }
        if enabled {
            turns.push((Removal::Compacted, i64::from(older_than_hours) * UtcMicros::HOUR));
        }
        Ok(Self { every: Duration::from_millis(every_ms), turns })
    }

    /// Connections that it needs.
    #[must_use]
    pub fn connections(&self) -> usize {
        usize::from(!self.turns.is_empty())
    }
}

/// Rows of one transaction: a tenth of a second of work or so, so that nobody waits for it.
const CHUNK_ROWS: i64 = 20_000;

/// One sweep over all quotes, from chunk to chunk.
#[derive(Debug)]
pub struct Walk {
    store: Store,
    sweep: Sweep,
    after: Option<QuoteKey>,
    /// Quotes older than the horizon that it has looked at.
    pub scanned: i64,
    /// Those of them that it removed, or would have.
    pub removed: i64,
    /// Their selections.
    pub selections: i64,
}

/// How often a walk that has begun asks whether the other one has let go.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long: the other one holds on for no longer than its chunk takes.
const ASK_FOR: Duration = Duration::from_secs(30);

/// What a chunk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more.
    More,
    /// It was the last one.
    Done,
    /// Somebody else is sweeping this database; nothing was begun.
    Busy,
    /// Somebody else came between, and did not let go.
    Interrupted,
}

impl Walk {
    /// A sweep that has not begun.
    #[must_use]
    pub fn new(store: Store, removal: Removal, horizon: UtcMicros, dry_run: bool) -> Self {
        let sweep = Sweep { removal, horizon, chunk_rows: CHUNK_ROWS, dry_run };
        Self { store, sweep, after: None, scanned: 0, removed: 0, selections: 0 }
    }

    /// Sweeps one chunk. Once it has begun it waits where another walk is in the middle of one.
    ///
    /// # Errors
    /// The database did not answer, or the role may not remove quotes; what was removed before is.
    pub async fn step(&mut self) -> Result<Step, StoreError> {
        let Some(chunk) = self.chunk().await? else {
            return Ok(if self.after.is_none() { Step::Busy } else { Step::Interrupted });
        };
        self.scanned += chunk.scanned;
        self.removed += chunk.removed;
        self.selections += chunk.selections;
        self.after = chunk.next;
        if !self.sweep.dry_run {
            metrics::swept(self.sweep.removal, &chunk);
        }
        Ok(if chunk.next.is_some() { Step::More } else { Step::Done })
    }

    async fn chunk(&self) -> Result<Option<SweptChunk>, StoreError> {
        let start = Instant::now();
        loop {
            let chunk = self.store.sweep(&self.sweep, self.after).await?;
            if chunk.is_some() || self.after.is_none() || start.elapsed() >= ASK_FOR {
                return Ok(chunk);
            }
            sleep(ASK_EVERY).await;
        }
    }
}

/// Longest wait for the first turn: workers that start together do not sweep together.
const FIRST_TURN_WITHIN: Duration = Duration::from_secs(60);

/// Sweeps again and again, beside the line.
pub async fn keep_small(store: Store, schedule: Schedule) {
    if schedule.turns.is_empty() {
        return;
    }
    schedule.turns.iter().for_each(|(removal, _)| metrics::touch_sweep(*removal));
    let part: f64 = rand::rng().random();
    sleep(schedule.every.min(FIRST_TURN_WITHIN).mul_f64(part)).await;
    let mut ticks = clock::ticks(schedule.every);
    loop {
        ticks.tick().await;
        for (removal, older_than) in &schedule.turns {
            turn(&store, *removal, clock::now().plus(-older_than), schedule.every).await;
        }
    }
}

/// One sweep, unless another worker has just done it. An error ends it: the next turn tries again.
async fn turn(store: &Store, removal: Removal, horizon: UtcMicros, every: Duration) {
    let start = Instant::now();
    let mut walk = Walk::new(store.clone(), removal, horizon, false);
    let ended = match done_lately(store, removal, horizon, every).await {
        Ok(true) => Ok(Step::Busy),
        Ok(false) => to_the_end(&mut walk).await,
        Err(error) => Err(error),
    };
    let reason = removal.name();
    let outcome = match &ended {
        Ok(Step::Busy) => SweepOutcome::Skipped,
        Ok(Step::Interrupted) => SweepOutcome::Interrupted,
        Ok(Step::More | Step::Done) => SweepOutcome::Completed,
        Err(_) => SweepOutcome::Failed,
    };
    metrics::sweep_ended(removal, outcome, start.elapsed(), clock::now());
    let Walk { scanned, removed, selections, .. } = walk;
    let seconds = start.elapsed().as_secs_f64();
    match ended {
        Ok(Step::Busy) => tracing::debug!(reason, scanned, removed, "another worker sweeps the quotes"),
        Ok(Step::Interrupted) => {
            tracing::info!(reason, scanned, removed, "another worker took over sweeping the quotes");
        }
        Ok(_) => tracing::info!(reason, %horizon, scanned, removed, selections, seconds, "quotes swept"),
        Err(error @ StoreError::Rejected(_)) => tracing::error!(reason, %error, "quotes cannot be swept"),
        Err(error) => {
            tracing::warn!(reason, scanned, removed, %error, "sweeping quotes stopped; the next turn goes on");
        }
    }
}

/// Whether the accounts tell of a sweep that came to its end, and whose horizon is about this one's.
async fn done_lately(
    store: &Store,
    removal: Removal,
    horizon: UtcMicros,
    every: Duration,
) -> Result<bool, StoreError> {
    let half = i64::try_from(every.as_micros() / 2).unwrap_or(i64::MAX);
    let latest = store.swept_before(removal).await?;
    Ok(latest.is_some_and(|latest| (latest.0 - horizon.0).abs() < half))
}

async fn to_the_end(walk: &mut Walk) -> Result<Step, StoreError> {
    loop {
        let start = Instant::now();
        let step = walk.step().await?;
        if step != Step::More {
            return Ok(step);
        }
        sleep(start.elapsed()).await; // half of the time belongs to others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_removed_unless_it_is_asked_for() {
        let schedule =
            Schedule::new(&CompactionConfig::default(), &RetentionConfig::default()).expect("valid");
        assert_eq!((schedule.turns.as_slice(), schedule.connections()), (&[] as &[_], 0));
    }

    #[test]
    fn what_is_old_goes_first() {
        let compaction = CompactionConfig { enabled: true, ..CompactionConfig::default() };
        let schedule =
            Schedule::new(&compaction, &RetentionConfig { older_than_days: Some(90) }).expect("valid");
        let day = 24 * UtcMicros::HOUR;
        assert_eq!(schedule.turns, [(Removal::Expired, 90 * day), (Removal::Compacted, day)]);
        assert_eq!(schedule.connections(), 1);
    }
}
