//! `bench write`: the same quotes stored in seven ways, method after method, run after run.
//!
//! What must stay true: every method stores the same rows into the same empty, settled table, in the same order; after each
//! run exactly they are there, or there is no figure.

mod measure;
mod plan;
mod report;

use std::time::Instant;

use clap::Args;
use ledgerline_schema::store::{DatabaseConfig, Rivals, Store, TrialDatabase};
use secrecy::SecretString;

use super::{arguments, place};
use crate::cli::operator::{print, print_line};
use crate::config::Config;
use measure::Bench;
use plan::{Method, Plan};
use report::Report;

/// Arguments of `bench write`.
#[derive(Debug, Args)]
pub struct Options {
    /// Quotes of one run; the slow methods store a part of them.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(2..=20_000_000), value_name = "N")]
    pub rows: u64,
    /// Runs of every method, an odd number; the median counts.
    #[arg(long, default_value_t = 5, value_parser = arguments::runs, value_name = "N")]
    pub runs: u32,
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

/// Runs the benchmark.
///
/// # Errors
/// Something did not start, or a method did not store what it should.
pub async fn run(config: &Config, options: &Options) -> anyhow::Result<()> {
    let plan = Plan::new(options.rows, options.batch_rows, options.runs);
    let server = place::server(config, options.database_url.as_ref())?;
    let report = place::in_trial_database(&server, async |trial| measure(trial, plan).await).await?;
    if options.json { print_line(report.json()) } else { print(report.text().as_bytes()) }
}

async fn measure(trial: &TrialDatabase, plan: Plan) -> anyhow::Result<Report> {
    let started = Instant::now();
    let mut config = DatabaseConfig::clone(trial.config());
    config.pool.size = 1; // one connection: its ids stay known, and its process on the server is the one to look at
    let store = Store::connect(&config).await?;
    let rivals = Rivals::connect(&config).await?;
    let mut bench = Bench::prepare(trial, &store, rivals, plan).await?;
    let mut runs = Vec::new();
    for run in 0..plan.runs {
        for method in Method::ALL {
            let found = bench.run(method, run).await?;
            tracing::debug!(method = method.name(), run, seconds = found.seconds, "measured");
            runs.push((method, found));
        }
    }
    let settings = trial.server_settings().await?;
    Ok(Report::new(plan, settings, bench.checkpointed, &runs, started.elapsed()))
}
