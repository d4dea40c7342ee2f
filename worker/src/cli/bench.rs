//! `ledgerline bench`: figures about this machine and this database: rows a second beside the limit, the whole line from Kafka
//! to the commit, and how both hold when the table grows.

use std::path::Path;

use clap::{Args, Subcommand};

use crate::bench::{e2e, growth, page, write};
use crate::config::Config;
use crate::telemetry;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The same quotes written in seven ways, from COPY, which is the limit, to a connection for every row.
    Write(write::Options),
    /// A topic filled beforehand and drained into the database, then the latency at a fixed rate.
    E2e(e2e::Options),
    /// Throughput and write-ahead log per row while the table grows.
    Growth(growth::Options),
    /// Put the JSON of the other three on one page.
    Report(page::Options),
}

/// Runs the command. `file` is where the configuration came from: a worker that is measured reads it too.
///
/// # Errors
/// Something did not start, or a figure is worse than the recorded one.
pub async fn bench(config: &Config, file: Option<&Path>, args: BenchArgs) -> anyhow::Result<()> {
    telemetry::install(&config.log)?;
    match args.what {
        What::Write(options) => write::run(config, &options).await,
        What::E2e(options) => e2e::run(config, file, &options).await,
        What::Growth(options) => growth::run(config, &options).await,
        What::Report(options) => page::run(&options),
    }
}
