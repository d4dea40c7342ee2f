//! `bench growth`: one connection fills a table by `Store::write`, and each window of rows says how fast that went and what it
//! cost. Games come and go, so that keys grow as in life.
//!
//! What must stay true: only the writing is on the clock, never the making of the quotes; and memory holds one batch.

mod report;

use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use ledgerline_schema::store::{DatabaseConfig, Storage, Store, TrialDatabase};
use secrecy::SecretString;

use super::arguments;
use super::cpu::Process;
use super::line::Line;
use super::place;
use super::quotes::{QUOTES_PER_EVENT, Quotes, Shape};
use crate::cli::operator::{print, print_line};
use crate::config::Config;
use report::Report;

/// 648 selections at once; each is polled 300 times, then its game is over.
const SHAPE: Shape = Shape { games: 12, rounds_per_game: Some(300) };

/// Arguments of `bench growth`.
#[derive(Debug, Args)]
pub struct Options {
    /// Quotes in the end.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(2..=1_000_000_000), value_name = "N")]
    pub rows: u64,
    /// Quotes of one window: there is one line of figures for each.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(2..=1_000_000_000), value_name = "N")]
    pub window: u64,
    /// Quotes of one transaction, an even number.
    #[arg(long, default_value_t = 5_000, value_parser = arguments::batch_rows, value_name = "N")]
    pub batch_rows: u32,
    /// Measure on this server (postgres://…) instead of the configured one, in a database that is made and dropped.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<SecretString>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// How much is stored: whole batches, whole windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    batch_rows: usize,
    batches_per_window: usize,
    windows: usize,
}

/// What one window came to.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// Rows in the table at its end.
    rows: usize,
    /// Seconds of writing.
    seconds: f64,
    /// Seconds on a processor of the server's process.
    server_seconds: Option<f64>,
    /// Bytes of log that the whole server wrote.
    wal_bytes: i64,
    /// The table at its end.
    storage: Storage,
}

impl Plan {
    fn new(rows: u64, window: u64, batch_rows: u32) -> Self {
        let even =
            |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX) / QUOTES_PER_EVENT * QUOTES_PER_EVENT;
        let rows = even(rows);
        let window = even(window).min(rows);
        let batch_rows = (batch_rows as usize).min(window);
        let batches_per_window = window / batch_rows;
        let windows = (rows / (batches_per_window * batch_rows)).max(1);
        Self { batch_rows, batches_per_window, windows }
    }

    fn rows_per_window(self) -> usize {
        self.batches_per_window * self.batch_rows
    }
}

/// Runs the benchmark.
///
/// # Errors
/// Something did not start, or not every quote was stored.
pub async fn run(config: &Config, options: &Options) -> anyhow::Result<()> {
    let plan = Plan::new(options.rows, options.window, options.batch_rows);
    let server = place::server(config, options.database_url.as_ref())?;
    let report = place::in_trial_database(&server, async |trial| fill(trial, plan).await).await?;
    if options.json { print_line(report.json()) } else { print(report.text().as_bytes()) }
}

async fn fill(trial: &TrialDatabase, plan: Plan) -> anyhow::Result<Report> {
    let mut config = DatabaseConfig::clone(trial.config());
    config.pool.size = 1; // one connection: its process on the server is the one to look at
    let store = Store::connect(&config).await?;
    let mut filling = Filling {
        line: Line::open(&store, "bench", 0).await?,
        server: Process::Server(Some(store.backend_pid().await?)),
        quotes: Quotes::new(SHAPE),
        next_offset: 0,
        rows: 0,
    };
    let mut windows = Vec::new();
    let mut before = trial.storage().await?;
    for _ in 0..plan.windows {
        let window = filling.window(trial, plan, before).await?;
        tracing::info!(rows = window.rows, seconds = window.seconds, "window written");
        before = window.storage;
        windows.push(window);
    }
    let stored = trial.odds_count().await?;
    ensure!(
        usize::try_from(stored).is_ok_and(|stored| stored == filling.rows),
        "{stored} rows are stored instead of {}: the figures are void",
        filling.rows
    );
    Ok(Report::new(plan, trial.server_settings().await?, windows))
}

/// The table on its way up.
struct Filling<'s> {
    line: Line<'s>,
    server: Process,
    quotes: Quotes,
    next_offset: i64,
    rows: usize,
}

impl Filling<'_> {
    async fn window(&mut self, trial: &TrialDatabase, plan: Plan, before: Storage) -> anyhow::Result<Window> {
        let cpu_before = self.server.cpu_seconds();
        let mut seconds = 0.0;
        for _ in 0..plan.batches_per_window {
            let batch = self.quotes.batch(self.next_offset, plan.batch_rows / QUOTES_PER_EVENT);
            let started = Instant::now();
            let report = self.line.write(&batch).await?;
            seconds += started.elapsed().as_secs_f64();
            ensure!(
                usize::try_from(report.rows.inserted).is_ok_and(|inserted| inserted == plan.batch_rows),
                "{} of {} rows were new",
                report.rows.inserted,
                plan.batch_rows
            );
            self.next_offset = batch.to;
            self.rows += plan.batch_rows;
        }
        let server_seconds = self.server.cpu_seconds().zip(cpu_before).map(|(now, then)| now - then);
        let storage = trial.storage().await?;
        let wal_bytes = storage.wal_bytes - before.wal_bytes;
        Ok(Window { rows: self.rows, seconds, server_seconds, wal_bytes, storage })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_batches_and_whole_windows() {
        let plan = Plan::new(10_000_000, 1_000_000, 5_000);
        assert_eq!(plan, Plan { batch_rows: 5_000, batches_per_window: 200, windows: 10 });
        assert_eq!(plan.rows_per_window(), 1_000_000);
        let plan = Plan::new(2_001, 1_000_000, 5_000);
        assert_eq!(plan, Plan { batch_rows: 2_000, batches_per_window: 1, windows: 1 });
        let plan = Plan::new(4_000, 1_001, 500);
        assert_eq!(plan, Plan { batch_rows: 500, batches_per_window: 2, windows: 4 });
    }
}
