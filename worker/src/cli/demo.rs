//! `ledgerline demo`: the main job with nothing installed: an in-process broker, SQLite, a simulated odds day, the same
//! pipelines as `run`. Succeeds only if every record is accounted for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use super::operator::{print, print_line};
use crate::config::{Config, LogConfig, LogFormat};
use crate::demo::{self, Options};
use crate::telemetry;

/// What is logged unless the configuration says otherwise: trouble, but not the dead letters that the demo plants itself.
const LOG_LEVEL: &str = "warn,ledgerline_worker::progress=error";

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How long to publish.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600), value_name = "N")]
    seconds: u64,
    /// Keep the SQLite database in this folder; what earlier runs stored there stays.
    #[arg(long, value_name = "DIR", conflicts_with = "database_url")]
    data_dir: Option<PathBuf>,
    /// Use this Kafka instead of the in-process broker. The demo creates topics of its own there and deletes them at the end;
    /// security is as configured in [kafka].
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// Use this database (postgres://…) instead of SQLite. The demo migrates it and leaves its rows there; TLS is as configured
    /// in [database].
    #[arg(long, value_name = "URL")]
    database_url: Option<SecretString>,
    /// Print the numbers as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// Something did not start, a record is not accounted for, or `verify` found a violation.
pub async fn demo(config: &Config, args: DemoArgs) -> anyhow::Result<()> {
    telemetry::install(&log(&config.log))?;
    let options = Options {
        length: Duration::from_secs(args.seconds),
        data_dir: args.data_dir,
        brokers: args.brokers,
        database_url: args.database_url,
    };
    let summary = demo::run(config, &options).await?;
    let printed = if args.json { print_line(summary.json()?) } else { print(summary.text().as_bytes()) };
    summary.check()?; // who reads no further still gets the code
    printed
}

/// Readable lines. A level other than the default was asked for, and is taken.
fn log(configured: &LogConfig) -> LogConfig {
    let asked = configured.level != LogConfig::default().level;
    let level = if asked { configured.level.clone() } else { LOG_LEVEL.to_owned() };
    LogConfig { format: LogFormat::Text, level, ..configured.clone() }
}
