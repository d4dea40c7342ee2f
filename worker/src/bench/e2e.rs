//! `bench e2e`: a topic of a real Kafka filled beforehand and drained by a real worker into PostgreSQL, beside the same quotes
//! through `Store::write` alone; then the latency at a fixed rate.
//!
//! What must stay true: broker, worker and database are those of production, and only the worker is measured, as a process of
//! its own; drains and writes take turns, so that a slow minute of the machine meets both.

mod alone;
mod cpu;
mod drain;
mod events;
mod fill;
mod latency;
mod process;
mod report;

use std::path::{Path, PathBuf};

use clap::Args;
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{Store, TrialDatabase};
use secrecy::SecretString;

use crate::bench::{gate, place};
use crate::cli::operator::{print_line, tell};
use crate::config::{BatchConfig, Config, KafkaConfig};
use crate::kafka::OwnTopics;
use report::{Report, Settings};

/// Arguments of `bench e2e`.
#[derive(Debug, Args)]
pub struct Options {
    /// Use these brokers instead of the configured ones. Topics of the benchmark's own are created there and deleted at the end;
    /// security is as configured in [kafka].
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// Use this server (postgres://…) instead of the configured one. A database of the benchmark's own is created there and
    /// dropped at the end; TLS is as configured in [database].
    #[arg(long, value_name = "URL")]
    database_url: Option<SecretString>,
    /// Events to fill the topic with.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000), value_name = "N")]
    events: u64,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256), value_name = "N")]
    partitions: u16,
    /// Connections that the worker writes with at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), value_name = "N")]
    writers: u32,
    /// Events per second while latency is measured.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=100_000), value_name = "N")]
    rate: u64,
    /// How long latency is measured.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600), value_name = "N")]
    seconds: u64,
    /// How often to drain, and to write alone; the medians count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99), value_name = "N")]
    runs: u64,
    /// The worker's memory budget, where it is to be another than the configured one.
    #[arg(long, value_name = "MIB")]
    memory_mib: Option<u64>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Fail where a ratio is worse than the one recorded in this file.
    #[arg(long, value_name = "FILE")]
    gate: Option<PathBuf>,
}

/// Where everything happens. The configuration is the user's, pointed to the database of the benchmark's own.
struct Scene<'a> {
    trial: &'a TrialDatabase,
    config: Config,
    file: Option<PathBuf>,
    /// What the names of this run start with.
    name: String,
    /// The topic that is filled beforehand.
    backlog: String,
    /// The topic that is filled at a steady rate.
    live: String,
    partitions: usize,
    writers: u32,
    batch: BatchConfig,
    events: u64,
    memory_mib: Option<u64>,
}

/// Runs the benchmark. `file` is where the configuration came from.
///
/// # Errors
/// Something did not start, not every quote was stored, or a ratio is worse than the recorded one.
pub async fn run(config: &Config, file: Option<&Path>, options: &Options) -> anyhow::Result<()> {
    let database = place::server(config, options.database_url.as_ref())?;
    Store::connect(&database).await?.ruler().await?; // what is refused, is refused before anything is made
    let brokers = options.brokers.clone().unwrap_or_else(|| config.kafka.brokers.clone());
    let kafka = KafkaConfig { brokers, ..config.kafka.clone() };
    let name = format!("bench-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let topics = [format!("{name}-backlog"), format!("{name}-live")];
    let report = place::in_trial_database(&database, async |trial| {
        let mut config = Config { kafka: kafka.clone(), ..config.clone() };
        config.database = trial.config().clone();
        config.database.pool.size = config.database.pool.size.max(options.writers + 2);
        let [backlog, live] = topics.clone();
        let scene = Scene {
            trial,
            batch: config.topic(EventKind::Odds).batch,
            config,
            file: file.map(Path::to_owned),
            name: name.clone(),
            backlog,
            live,
            partitions: usize::from(options.partitions),
            writers: options.writers,
            events: options.events,
            memory_mib: options.memory_mib,
        };
        measure(&scene, options).await
    });
    let new = topics.clone().map(|topic| (topic, i32::from(options.partitions)));
    let own = OwnTopics::create(&kafka, &new).await?;
    let report = report.await; // Ctrl-C ends it too, and then the topics go
    own.delete().await;
    let report = report?;
    let printed = print_line(if options.json { report.json()? } else { report.text() });
    if let Some(gate) = &options.gate {
        gate::check(gate, &report.ratios())?; // who reads no further still gets the code
    }
    printed
}

async fn measure(scene: &Scene<'_>, options: &Options) -> anyhow::Result<Report> {
    say(&format!("filling a topic with {} events", scene.events));
    let filled = fill::fill(scene).await?;
    let (mut writes, mut drains) = (Vec::new(), Vec::new());
    for run in 1..=options.runs {
        say(&format!("run {run} of {}: {} quotes, written alone", options.runs, filled.quotes));
        writes.push(alone::write(scene, &filled, run).await?);
        say(&format!("run {run} of {}: the same, drained by a worker", options.runs));
        drains.push(drain::drain(scene, &filled, run).await?);
    }
    let decode_us = alone::decode(scene).await?;
    say(&format!("{} events a second for {} s", options.rate, options.seconds));
    scene.trial.empty_odds().await?;
    let latency = latency::measure(scene, options.rate, options.seconds).await?;
    let settings = Settings::new(scene, options, &filled).await?;
    Ok(Report { settings, writes, drains, decode_us, latency })
}

fn say(what: &str) {
    tell(format_args!("bench: {what}"));
}
