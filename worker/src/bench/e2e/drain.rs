//! The drain: a topic that is full, a worker that has never read it, and the clock from the first committed record to the last.
//! Used by `e2e`.
//!
//! What must stay true: nothing that starts up is on the clock; what was committed is seen in the database, and every quote
//! that was published is there at the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use ledgerline_schema::store::{Ruler, Store};

use super::Scene;
use super::cpu::{self, ThreadTimes};
use super::fill::Filled;
use super::process::{Memory, Worker};

/// How often the positions are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long they may stand still.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One drained topic.
#[derive(Debug, Clone, Copy, Default)]
pub struct Drain {
    /// Events that were on the clock.
    pub events: u64,
    /// Quotes in them, as many to an event as in the whole topic.
    pub quotes: f64,
    /// What the clock showed.
    pub seconds: f64,
    /// The worker's time on the processors.
    pub worker: ThreadTimes,
    /// The server's; none where it is on another machine.
    pub server_us: Option<u64>,
    /// The worker's memory at the end.
    pub memory: Memory,
}

/// What a look shows.
struct Look {
    at: Instant,
    committed: u64,
    worker: ThreadTimes,
    backends: BTreeMap<i32, u64>,
}

/// Drains the topic once more, as a group that does not know it.
///
/// # Errors
/// The worker stands still or ends, or not every quote is there at the end.
pub async fn drain(scene: &Scene<'_>, filled: &Filled, number: u64) -> anyhow::Result<Drain> {
    scene.trial.empty_odds().await?;
    let mut ruler = Store::connect(&scene.config.database).await?.ruler().await?;
    let group = format!("{}-{number}", scene.name);
    let mut worker = Worker::start(scene, &group, &scene.backlog)?;
    let groups = format!("{group}.{}", scene.backlog);
    let mut watch = Watch { ruler: &mut ruler, group: &groups, topic: &scene.backlog };

    let before = watch.until(&mut worker, |_| true).await?;
    let mut first = watch.until(&mut worker, |committed| committed > 0).await?;
    if first.committed == filled.events {
        first = before; // so few that one look shows them all
    }
    let last = watch.until(&mut worker, |committed| committed >= filled.events).await?;
    let memory = worker.memory()?;
    worker.end().await?;

    let stored = scene.trial.odds_count().await?;
    ensure!(
        u64::try_from(stored) == Ok(filled.quotes),
        "{} quotes published, {stored} stored",
        filled.quotes
    );
    let events = last.committed - first.committed;
    let local = !last.backends.is_empty();
    Ok(Drain {
        events,
        quotes: events as f64 * filled.quotes as f64 / filled.events as f64,
        seconds: (last.at - first.at).as_secs_f64(),
        worker: last.worker.since(first.worker),
        server_us: local.then(|| cpu::since(&last.backends, &first.backends)),
        memory,
    })
}

/// Whose positions are looked at.
struct Watch<'a> {
    ruler: &'a mut Ruler,
    group: &'a str,
    topic: &'a str,
}

impl Watch<'_> {
    /// Looks until so much is committed.
    async fn until(&mut self, worker: &mut Worker, enough: impl Fn(u64) -> bool) -> anyhow::Result<Look> {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        let (mut moved_at, mut committed) = (Instant::now(), 0);
        loop {
            let found = committed_in(&self.ruler.positions(self.group, self.topic).await?);
            if enough(found) {
                return self.look(found, worker).await;
            }
            if found > committed {
                (moved_at, committed) = (Instant::now(), found);
            }
            worker.check()?;
            if moved_at.elapsed() > PATIENCE {
                let log = worker.log();
                bail!("{committed} records are stored, none for {PATIENCE:?}; the worker's log:\n{log}");
            }
            ticks.tick().await;
        }
    }

    async fn look(&mut self, committed: u64, worker: &Worker) -> anyhow::Result<Look> {
        let at = Instant::now();
        let backends = cpu::of_backends(&self.ruler.other_backends().await?);
        Ok(Look { at, committed, worker: worker.cpu(), backends })
    }
}

/// Records in [0, position) of all partitions: the topics are our own and start at 0.
pub fn committed_in(positions: &[(i32, i64)]) -> u64 {
    positions.iter().map(|(_, next)| u64::try_from(*next).unwrap_or(0)).sum()
}
