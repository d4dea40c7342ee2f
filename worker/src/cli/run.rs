//! `ledgerline run`: consumes the configured topics until SIGTERM. Reads like the program's table of contents: check the
//! schema, start the pipelines, look at them, stop them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use ledgerline_schema::store::Store;

use super::operator::{in_words, tell};
use super::process::{Process, wait_for_schema};
use super::{Ending, shadow};
use crate::config::{Config, Topic};
use crate::http;
use crate::http::token::Token;
use crate::maintenance::{self, Schedule};
use crate::metrics::Mode;
use crate::scrapers::{self, Counted};
use crate::source::kafka::KafkaLog;
use crate::stand_in::StandIn;
use crate::waiting::Waiting;
use crate::workers::Workers;
use crate::workflows::{self, Work};
use crate::{drain, observe};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Check the configuration, print nothing if it is good, and end.
    #[arg(long)]
    check_config: bool,
    /// Do everything beside the live group and take each transaction back: tells what this program would make of the topics, and
    /// changes nothing.
    #[arg(long, conflicts_with = "check_config")]
    shadow: bool,
}

/// Runs the command.
///
/// # Errors
/// Something that trying again does not mend: the configuration, the address of the HTTP server, a newer schema.
pub async fn run(config: &Config, args: RunArgs) -> anyhow::Result<Ending> {
    let topics = config.enabled_topics();
    ensure!(!topics.is_empty(), "topics: every kind is disabled, nothing to run");
    if let Err(error) = try_clients(config, &topics).await {
        tell(format_args!("error: {}", in_words(&error)));
        return Ok(Ending::BadConfiguration);
    }
    if args.check_config {
        return Ok(Ending::Done);
    }
    if args.shadow {
        return shadow::shadow(config, &topics).await;
    }
    let mut process = Process::start(config, &topics, Mode::Live).await?;
    let http::Shared { health, pipelines, store, .. } = process.shared.clone();
    let _control = serve_control(config, process.shared.clone()).await?;

    let stand_in = StandIn::open(config).await?;
    tokio::select! {
        ready = wait_for_schema(&store) => {
            ready?;
            health.database.store(true, Relaxed);
        }
        () = without_database(config, stand_in.as_ref()) => {}
        () = process.stop.received() => return Ok(Ending::Done),
    }
    let mut workers = Workers::start(config, &topics, &store, Arc::clone(&pipelines), stand_in.as_ref())?;
    if let Some(stand_in) = stand_in {
        let _ = health.outage.set(Arc::clone(&stand_in.outage));
        let (config, store, lines) = (config.clone(), store.clone(), Arc::clone(&pipelines));
        tokio::spawn(drain::leftovers(config, stand_in.clone(), store, lines));
        let names = topics.iter().map(|topic| topic.name.clone()).collect();
        tokio::spawn(stand_in.watch(names, Arc::clone(&health)));
    }
    tracing::info!(address = %process.address, topics = topics.len(), store = store.name(), "running");
    process.observe(config, &workers);
    measure_lag(config, &workers);
    let schedule = Schedule::new(&config.compaction, &config.retention).map_err(anyhow::Error::msg)?;
    let sweeps = tokio::spawn(maintenance::keep_small(store.clone(), schedule));
    let counted: Counted =
        topics.iter().map(|topic| topic.kind).zip(workers.progress.iter().cloned()).collect();
    tokio::spawn(scrapers::keep(store.clone(), counted.clone()));
    let workflows = config.workflows.enabled.then(|| workflows::serve(work(config, &store, &workers)));

    let ending = process.over(&mut workers).await?;
    sweeps.abort(); // the chunk under way is rolled back; the connection is the line's now
    let drain = Duration::from_millis(config.shutdown.drain_ms);
    let given_back = async {
        if let Some(workflows) = workflows {
            workflows.stop(drain).await;
        }
    };
    let (in_time, ()) = tokio::join!(workers.stop(drain), given_back);
    if in_time {
        scrapers::finish(&store, &counted).await;
    }
    tracing::info!(in_time, "stopped");
    Ok(if in_time { ending } else { Ending::Failed })
}

/// What workflows need of this process.
fn work(config: &Config, store: &Store, workers: &Workers) -> Work {
    Work {
        config: config.clone(),
        store: store.clone(),
        breaker: Arc::clone(&workers.breaker),
        owner: workflows::owner(),
        folder: None,
        status: Arc::default(),
    }
}

/// The calls that change something are served where a token is set, and nowhere else.
async fn serve_control(config: &Config, shared: http::Shared) -> anyhow::Result<Option<http::Server>> {
    let Some(token) = config.http.resolved_token()? else { return Ok(None) };
    let (control_address, server) =
        http::serve_control(config.http.control_listen, shared, Token::new(&token)).await?;
    tracing::info!(%control_address, "control calls are served");
    Ok(Some(server))
}

/// Makes every client once: that reads the files and tries the settings, and connects to nothing.
async fn try_clients(config: &Config, topics: &[Topic]) -> anyhow::Result<()> {
    for topic in topics {
        KafkaLog::new(&config.kafka, &topic.name)?;
    }
    Store::connect(&config.database).await?;
    Store::connect_for_reads(&config.database).await?;
    Ok(())
}

/// Measures how far each topic is behind.
fn measure_lag(config: &Config, workers: &Workers) {
    for (progress, log) in workers.progress.iter().zip(&workers.logs) {
        let waiting = Waiting::new(&config.kafka, log.topic());
        tokio::spawn(observe::measure_lag(Arc::clone(progress), Arc::clone(log), waiting));
    }
}

/// Waits until it is clear that the process starts without the database; for ever where nothing stands in for it.
async fn without_database(config: &Config, stand_in: Option<&StandIn>) {
    match stand_in {
        Some(stand_in) => {
            stand_in.takes_over(Duration::from_millis(config.store.spool_after_ms)).await;
        }
        None => std::future::pending().await,
    }
}
