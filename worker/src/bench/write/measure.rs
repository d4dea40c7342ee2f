//! One run of one method: an empty and settled table, batches that warm up, the clock, and a look at what is stored.

use std::time::Instant;

use anyhow::{Context, ensure};
use ledgerline_schema::batch::Batch;
use ledgerline_schema::store::{Rival, RivalRow, Rivals, Store, TrialDatabase};

use super::plan::{Method, Plan, SHAPE};
use crate::bench::cpu::Process;
use crate::bench::line::Line;
use crate::bench::quotes::{QUOTES_PER_EVENT, Quotes};

/// What one run came to.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// On the clock.
    pub seconds: f64,
    /// Seconds on a processor of this process.
    pub client_seconds: Option<f64>,
    /// Seconds on a processor of the server's process.
    pub server_seconds: Option<f64>,
}

/// What is stored, and the connections that store it.
pub struct Bench<'t> {
    plan: Plan,
    trial: &'t TrialDatabase,
    store: &'t Store,
    rivals: Rivals,
    /// Decoded beforehand: decoding is no part of the comparison.
    batches: Vec<Batch>,
    /// The same quotes with their ids, batch by batch.
    rows: Vec<Vec<RivalRow>>,
    /// Whether the server wrote everything out before each run.
    pub checkpointed: bool,
}

impl<'t> Bench<'t> {
    /// Makes the quotes and interns what they need.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn prepare(
        trial: &'t TrialDatabase,
        store: &'t Store,
        mut rivals: Rivals,
        plan: Plan,
    ) -> anyhow::Result<Self> {
        let events = plan.batch_rows / QUOTES_PER_EVENT;
        let mut quotes = Quotes::new(SHAPE);
        let mut batches: Vec<Batch> = Vec::new();
        let mut rows = Vec::new();
        let lineage_id = Line::open(store, "bench-rivals", 0).await?.lineage_id();
        for _ in 0..plan.warm_up_batches + plan.batches {
            let batch = quotes.batch(batches.last().map_or(0, |last| last.to), events);
            rows.push(rivals.prepare(lineage_id, &batch).await?);
            batches.push(batch);
        }
        Ok(Self { plan, trial, store, rivals, batches, rows, checkpointed: true })
    }

    /// Runs the method once.
    ///
    /// # Errors
    /// It failed, or did not store exactly what it should.
    pub async fn run(&mut self, method: Method, run: u32) -> anyhow::Result<Measured> {
        // What is stored twice is what the run before has stored.
        let checkpointed = match method {
            Method::Duplicates => self.trial.checkpoint().await?,
            Method::Ledgerline | Method::Rival(_) => self.trial.empty_odds().await?,
        };
        self.checkpointed &= checkpointed;
        let partition = i32::try_from(run).context("too many runs")?;
        let measured = match method {
            Method::Rival(rival) => self.run_rival(rival).await,
            Method::Ledgerline => self.run_ours("bench", partition, false).await,
            // Another group reads the same log: a replay.
            Method::Duplicates => self.run_ours("bench-replay", partition, true).await,
        };
        let measured = measured.with_context(|| format!("{}, run {run}", method.name()))?;
        let expected = self.plan.warm_up_rows(method) + self.plan.rows(method);
        let stored = self.trial.odds_count().await?;
        ensure!(
            usize::try_from(stored).is_ok_and(|stored| stored == expected),
            "{} stored {stored} rows instead of {expected}: its figures are void",
            method.name()
        );
        Ok(measured)
    }

    async fn run_rival(&mut self, rival: Rival) -> anyhow::Result<Measured> {
        let Self { plan, rivals, rows, .. } = self;
        let method = Method::Rival(rival);
        let pid = rivals.backend_pid(rival).await?;
        let (warm_up, timed) = (plan.warm_up_rows(method), plan.rows(method));
        for rows in part(rows, 0, warm_up) {
            rivals.write(rival, rows).await?;
        }
        let clock = Clock::start(pid);
        for rows in part(rows, warm_up, timed) {
            rivals.write(rival, rows).await?;
        }
        Ok(clock.stop())
    }

    async fn run_ours(&self, group: &str, partition: i32, stored: bool) -> anyhow::Result<Measured> {
        let line = Line::open(self.store, group, partition).await?;
        let pid = self.store.backend_pid().await?;
        let (warm_up, timed) = self.batches.split_at(self.plan.warm_up_batches);
        for batch in warm_up {
            line.write(batch).await?;
        }
        let clock = Clock::start(Some(pid));
        let (mut inserted, mut duplicate) = (0, 0);
        for batch in timed {
            let report = line.write(batch).await?;
            (inserted, duplicate) = (inserted + report.rows.inserted, duplicate + report.rows.duplicate);
        }
        let measured = clock.stop();
        let (wanted, other) = if stored { (duplicate, inserted) } else { (inserted, duplicate) };
        let rows = i64::try_from(self.plan.batches * self.plan.batch_rows)?;
        ensure!((wanted, other) == (rows, 0), "{inserted} rows were new and {duplicate} stored before");
        Ok(measured)
    }
}

/// The rows from `skip` on, `take` of them, in pieces that do not cross a batch.
fn part(batches: &[Vec<RivalRow>], skip: usize, take: usize) -> impl Iterator<Item = &[RivalRow]> {
    let mut at = 0;
    batches.iter().filter_map(move |rows| {
        let (begin, end) = (at, at + rows.len());
        at = end;
        let (from, to) = (begin.max(skip), end.min(skip + take));
        (from < to).then(|| &rows[from - begin..to - begin])
    })
}

/// From here on it counts.
struct Clock {
    pid: Option<i32>,
    started: Instant,
    client: Option<f64>,
    server: Option<f64>,
}

impl Clock {
    fn start(pid: Option<i32>) -> Self {
        let client = Process::Client.cpu_seconds();
        Self { pid, client, server: Process::Server(pid).cpu_seconds(), started: Instant::now() }
    }

    fn stop(self) -> Measured {
        let seconds = self.started.elapsed().as_secs_f64();
        let since = |now: Option<f64>, then: Option<f64>| Some(now? - then?);
        Measured {
            seconds,
            client_seconds: since(Process::Client.cpu_seconds(), self.client),
            server_seconds: since(Process::Server(self.pid).cpu_seconds(), self.server),
        }
    }
}
