//! The demo: the main job with nothing installed. A simulated odds day goes through a real Kafka client and the very pipelines
//! of `run` into a database; afterwards everything is counted. Called by `cli::demo`.
//!
//! What must stay true: nothing here takes part in the line; the numbers come from the producer's acknowledgements on one side
//! and from committed transactions on the other.

mod broker;
mod chart;
mod display;
mod featured;
mod feed;
mod place;
pub(crate) mod simulate;
pub mod summary;
mod wait;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use ledgerline_schema::store::Store;
use ledgerline_schema::time::UtcMicros;
use secrecy::SecretString;

use crate::cli::operator::tell;
use crate::clock;
use crate::config::{Config, KafkaConfig, Topic};
use crate::metrics::Mode;
use crate::progress::Progress;
use crate::publisher::Publisher;
use crate::scrapers;
use crate::workers::Workers;
use broker::Broker;
use feed::{Feed, Tally};
use place::Place;
use simulate::Simulation;
use summary::{Numbers, Summary};

/// The same games and prices in every run; only their ids and dates are fresh.
const SEED: u64 = 20_251_109;
/// How long the pipelines may take to end, with nothing left to do.
const DRAIN: Duration = Duration::from_secs(10);
/// One day, in microseconds.
const DAY: i64 = 24 * UtcMicros::HOUR;

/// What to show.
#[derive(Debug)]
pub struct Options {
    /// How long to publish.
    pub length: Duration,
    /// Where the SQLite database is kept; a temporary folder where it is not.
    pub data_dir: Option<PathBuf>,
    /// Real brokers instead of the one in this process.
    pub brokers: Option<String>,
    /// A real database instead of SQLite.
    pub database_url: Option<SecretString>,
}

/// Runs the demo and looks at what it left behind.
///
/// # Errors
/// Something did not start, or a record was not stored.
pub async fn run(config: &Config, options: &Options) -> anyhow::Result<Summary> {
    let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let group = format!("demo-{run}");
    let place = Place::new(config, options)?;
    let broker = match options.brokers.clone() {
        None => Broker::in_process(group)?,
        Some(brokers) => Broker::real(KafkaConfig { brokers, ..config.kafka.clone() }, group).await?,
    };
    let config = configure(config, &place, &broker);
    let result = play(&config, &broker, &run, options.length).await;
    broker.close().await;
    let mut summary = result?;
    summary.database = place.kept();
    Ok(summary)
}

/// The given configuration, pointed to the demo's database and broker.
fn configure(config: &Config, place: &Place, broker: &Broker) -> Config {
    let mut config = config.clone();
    config.database = place.database.clone();
    config.kafka = broker.kafka.clone();
    for (kind, topic) in &broker.topics {
        let settings = config.topics.entry(kind.name().to_owned()).or_default();
        (settings.name, settings.enabled) = (Some(topic.clone()), Some(true));
    }
    config
}

/// One run from an empty broker to the last stored record.
async fn play(config: &Config, broker: &Broker, run: &str, length: Duration) -> anyhow::Result<Summary> {
    let store = Store::connect(&config.database).await?;
    store.migrate_up().await.context("cannot prepare the database")?;
    let topics = config.enabled_topics();
    let pipelines: Arc<[Arc<Progress>]> =
        topics.iter().map(|topic| Arc::new(Progress::new(&topic.name, Mode::Live))).collect();
    let mut workers = Workers::start(config, &topics, &store, Arc::clone(&pipelines), None)?;
    wait::until_joined(&mut workers).await?;
    announce(broker, &store);

    let simulation = Simulation::new(SEED, run, first_day(length));
    let fixtures = simulation.fixtures();
    let tally = Arc::new(Tally::default());
    let display = tokio::spawn(display::show(Arc::clone(&tally), Arc::clone(&pipelines), length));
    let started = Instant::now();
    let published = through(broker, &topics, &mut workers, &tally, simulation, length).await;
    let seconds = started.elapsed().as_secs_f64();
    display.abort();
    let _ = display.await; // ends as cancelled; its bar is gone then
    workers.stop(DRAIN).await;
    let counted = topics.iter().map(|topic| topic.kind).zip(pipelines.iter().cloned()).collect();
    scrapers::finish(&store, &counted).await;

    let totals = topics.iter().zip(pipelines.iter()).map(|(topic, progress)| (topic.kind, progress.totals()));
    let numbers = Numbers::new(published?, tally.quotes(), totals, seconds);
    Summary::collect(&store, numbers, &fixtures).await
}

/// Far enough back that even a fast machine's simulated days end before today: nothing may be of the future.
fn first_day(length: Duration) -> UtcMicros {
    let days = i64::try_from(length.as_secs()).unwrap_or(0) + 1;
    UtcMicros((clock::now().0.div_euclid(DAY) - days) * DAY)
}

/// Where to look while it runs.
fn announce(broker: &Broker, store: &Store) {
    let address = &broker.kafka.brokers;
    let topics: Vec<&str> = broker.topics.values().map(String::as_str).collect();
    tell(format_args!("Kafka at {address}, topics {}; database {}", topics.join(", "), store.name()));
    if broker.is_in_process() {
        tell(
            "  This Kafka is a stand-in inside this process and ends with it. Until then, others can use it:",
        );
        tell(format_args!("  kcat -C -b {address} -t odds -o end"));
        tell(format_args!(
            "  LEDGERLINE_KAFKA__SECURITY=plaintext ledgerline publish --brokers {address} FILE"
        ));
    }
}

/// Publishes, until the time is up or Ctrl-C, and waits until all of it is stored. Answers how many records were
/// acknowledged.
async fn through(
    broker: &Broker,
    topics: &[Topic],
    workers: &mut Workers,
    tally: &Arc<Tally>,
    simulation: Simulation,
    length: Duration,
) -> anyhow::Result<u64> {
    let kinds: Vec<_> = topics.iter().map(|topic| topic.kind).collect();
    let pipelines = kinds.into_iter().zip(workers.progress.iter().cloned());
    let publisher = Publisher::new(&broker.kafka)?;
    let feed = Feed::new(publisher, pipelines, broker.lead_bytes, Arc::clone(tally));
    let deadline = Instant::now() + length;
    let mut feeding = tokio::task::spawn_blocking(move || feed.run(simulation, deadline));
    let published = loop {
        tokio::select! {
            published = &mut feeding => break published.context("the publishing thread panicked")??,
            Ok(()) = tokio::signal::ctrl_c() => tally.stop(),
            error = workers.ended() => {
                tally.stop();
                return Err(error).context("a pipeline ended");
            }
        }
    };
    wait::until_stored(workers).await?;
    Ok(published)
}

/// Records that are stored, of all topics.
fn stored(pipelines: &[Arc<Progress>]) -> u64 {
    let records = |progress: &Arc<Progress>| {
        let dispositions = progress.totals().dispositions;
        u64::try_from(dispositions.sum() - dispositions.hole).unwrap_or(0)
    };
    pipelines.iter().map(records).sum()
}
