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
mod simulate;
pub mod summary;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{DatabaseConfig, Store};
use ledgerline_schema::time::UtcMicros;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::time::interval;

use crate::clock;
use crate::config::{Config, Topic};
use crate::metrics::Mode;
use crate::progress::Progress;
use crate::protocol::Partition;
use crate::publisher::Publisher;
use crate::workers::Workers;
use broker::Broker;
use feed::{Feed, Tally};
use simulate::Simulation;
use summary::{Numbers, Summary};

/// The same games and prices in every run; only their ids and dates are fresh.
const SEED: u64 = 20_251_109;
/// How long the group may take to hand out its partitions.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing may be stored at the end.
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);
/// How long the pipelines may take to end, with nothing left to do.
const DRAIN: Duration = Duration::from_secs(10);
/// How often the progress is looked at while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(5);

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
    let broker = match &options.brokers {
        None => Broker::in_process(group)?,
        Some(brokers) => Broker::real(crate::config::KafkaConfig { brokers: brokers.clone(), ..config.kafka.clone() }, group).await?,
    };
    let mut config = config.clone();
    config.database = place.database.clone();
    config.kafka = broker.kafka.clone();
    for (kind, topic) in &broker.topics {
        let settings = config.topics.entry(kind.name().to_owned()).or_default();
        (settings.name, settings.enabled) = (Some(topic.clone()), Some(true));
    }
    let result = play(&config, &broker, &run, options.length).await;
    broker.close().await;
    let mut summary = result?;
    summary.database = place.kept();
    Ok(summary)
}

/// Where the database is.
struct Place {
    database: DatabaseConfig,
    data_dir: Option<PathBuf>,
    /// Deleted when dropped.
    _temporary: Option<TempDir>,
}

impl Place {
    fn new(config: &Config, options: &Options) -> anyhow::Result<Self> {
        if let Some(url) = &options.database_url {
            let database = DatabaseConfig { url: url.clone(), url_file: None, ..config.database.clone() };
            database.check().map_err(anyhow::Error::msg)?;
            return Ok(Self { database, data_dir: None, _temporary: None });
        }
        let temporary = match &options.data_dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
                None
            }
            None => Some(TempDir::with_prefix("ledgerline-demo-").context("cannot create a temporary folder")?),
        };
        let dir = options.data_dir.as_deref().or(temporary.as_ref().map(TempDir::path)).context("no folder")?;
        let url = format!("sqlite:{}", dir.join("ledgerline.db").display());
        let database = DatabaseConfig { url: url.into(), url_file: None, ..config.database.clone() };
        Ok(Self { database, data_dir: options.data_dir.clone(), _temporary: temporary })
    }

    /// What is still there afterwards.
    fn kept(&self) -> Option<PathBuf> {
        self.data_dir.as_ref().map(|dir| dir.join("ledgerline.db"))
    }
}

/// One run from an empty broker to the last stored record.
async fn play(config: &Config, broker: &Broker, run: &str, length: Duration) -> anyhow::Result<Summary> {
    let store = Store::connect(&config.database).await?;
    store.migrate_up().await.context("cannot prepare the database")?;
    let topics = config.enabled_topics();
    let pipelines: Arc<[Arc<Progress>]> =
        topics.iter().map(|topic| Arc::new(Progress::new(&topic.name, Mode::Live))).collect();
    let mut workers = Workers::start(config, &topics, &store, Arc::clone(&pipelines))?;
    joined(&mut workers).await?;
    announce(broker, &store);

    // Far enough back that even a fast machine's simulated days end before today: nothing may be of the future.
    let days = i64::try_from(length.as_secs()).unwrap_or(0).saturating_add(1).min(3_650);
    let midnight = UtcMicros(clock::now().0.div_euclid(24 * UtcMicros::HOUR) * 24 * UtcMicros::HOUR);
    let simulation = Simulation::new(SEED, run, midnight.plus(-days * 24 * UtcMicros::HOUR));
    let fixtures = simulation.fixtures();
    let tally = Arc::new(Tally::default());
    let display = tokio::spawn(display::show(Arc::clone(&tally), Arc::clone(&pipelines), length));
    let started = Instant::now();
    let published = publish(broker, &topics, &mut workers, &tally, simulation, started + length).await;
    let settled = match &published {
        Ok(_) => settle(&mut workers).await,
        Err(_) => Ok(()),
    };
    let seconds = started.elapsed().as_secs_f64();
    display.abort();
    // Its bar is cleared when it is gone.
    let _ = display.await;
    workers.stop(DRAIN).await;
    let published = published?;
    settled?;
    let totals = topics.iter().zip(pipelines.iter()).map(|(topic, progress)| (topic.kind, progress.totals()));
    let numbers = Numbers::new(published, tally.quotes(), totals, seconds);
    Summary::collect(&store, numbers, &fixtures).await
}

/// Waits until every pipeline has all its partitions, so that the demo measures the line and not the start of a group.
async fn joined(workers: &mut Workers) -> anyhow::Result<()> {
    let pipelines = Arc::clone(&workers.progress);
    let claimed = async {
        let mut looks = interval(LOOK_EVERY);
        let is_claimed = |pipeline: &Arc<Progress>| {
            let partitions = pipeline.partitions();
            !partitions.is_empty() && partitions.values().all(|partition| partition.next_offset.is_some())
        };
        while !pipelines.iter().all(is_claimed) {
            looks.tick().await;
        }
    };
    tokio::select! {
        claimed = tokio::time::timeout(JOIN_PATIENCE, claimed) => {
            claimed.map_err(|_| anyhow::anyhow!("the consumer groups got no partitions within {} s", JOIN_PATIENCE.as_secs()))
        }
        error = workers.ended() => Err(error).context("a pipeline ended"),
    }
}

fn announce(broker: &Broker, store: &Store) {
    let address = &broker.kafka.brokers;
    if !broker.is_in_process() {
        eprintln!("Kafka at {address}, database {}", store.name());
        return;
    }
    let topics: Vec<&str> = broker.topics.values().map(String::as_str).collect();
    eprintln!("Kafka: an in-process stand-in at {address} while this runs (topics {})", topics.join(", "));
    eprintln!("       look at it from another terminal: kcat -C -b {address} -t odds -o end");
}

/// Publishes on a thread of its own until the deadline or Ctrl-C. Answers how many records were acknowledged.
async fn publish(
    broker: &Broker,
    topics: &[Topic],
    workers: &mut Workers,
    tally: &Arc<Tally>,
    simulation: Simulation,
    deadline: Instant,
) -> anyhow::Result<u64> {
    let kinds: Vec<EventKind> = topics.iter().map(|topic| topic.kind).collect();
    let pipelines = kinds.into_iter().zip(workers.progress.iter().cloned());
    let publisher = Publisher::new(&broker.kafka)?;
    let feed = Feed::new(publisher, pipelines, broker.lead_bytes, Arc::clone(tally));
    let mut feeding = tokio::task::spawn_blocking(move || feed.run(simulation, deadline));
    loop {
        tokio::select! {
            published = &mut feeding => return published.context("the publishing thread panicked")?,
            Ok(()) = tokio::signal::ctrl_c() => tally.stop(),
            error = workers.ended() => {
                tally.stop();
                return Err(error).context("a pipeline ended");
            }
        }
    }
}

/// Waits until every record that the topics hold now is stored.
async fn settle(workers: &mut Workers) -> anyhow::Result<()> {
    let (pipelines, logs) = (Arc::clone(&workers.progress), workers.logs.clone());
    let ends = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<Vec<(Partition, i64)>>> {
        let ends = logs.iter().map(|log| {
            let partitions = log.partitions()?.into_iter();
            partitions.map(|partition| Ok((partition, log.range(partition)?.high))).collect()
        });
        ends.collect()
    });
    let ends = ends.await.context("the question to Kafka panicked")?.context("cannot ask for the topics' ends")?;
    let all_stored = async {
        let mut looks = interval(LOOK_EVERY);
        let (mut before, mut moved) = (0, Instant::now());
        loop {
            let missing = missing(&pipelines, &ends);
            let now = stored(&pipelines);
            if missing.is_empty() {
                return Ok(());
            }
            if now > before {
                (before, moved) = (now, Instant::now());
            }
            if moved.elapsed() > SETTLE_PATIENCE {
                bail!("nothing stored for {} s, and still missing: {}", SETTLE_PATIENCE.as_secs(), missing.join(", "));
            }
            looks.tick().await;
        }
    };
    tokio::select! {
        stored = all_stored => stored,
        error = workers.ended() => Err(error).context("a pipeline ended"),
        Ok(()) = tokio::signal::ctrl_c() => bail!("interrupted before everything was stored"),
    }
}

/// What is not stored yet, partition by partition.
fn missing(pipelines: &[Arc<Progress>], ends: &[Vec<(Partition, i64)>]) -> Vec<String> {
    let mut missing = Vec::new();
    for (pipeline, ends) in pipelines.iter().zip(ends) {
        let partitions = pipeline.partitions();
        for (partition, end) in ends {
            let state = partitions.get(partition).cloned().unwrap_or_default();
            let next = state.next_offset.unwrap_or(0);
            if next < *end {
                let halted = state.halted.map_or(String::new(), |reason| format!(" (halted: {reason})"));
                missing.push(format!("{}[{partition}] {next} to {end}{halted}", pipeline.topic()));
            }
        }
    }
    missing
}

/// Records that are stored, of all topics.
fn stored(pipelines: &[Arc<Progress>]) -> u64 {
    let records = |progress: &Arc<Progress>| {
        let dispositions = progress.totals().dispositions;
        u64::try_from(dispositions.sum() - dispositions.hole).unwrap_or(0)
    };
    pipelines.iter().map(records).sum()
}
