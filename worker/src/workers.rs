//! `Workers`: the pipelines of one process: starts a thread for each, stops them together. Used by `run` and `demo`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use ledgerline_schema::store::Store;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use crate::breaker::Breaker;
use crate::claim::Claimant;
use crate::config::{Config, KafkaConfig, Topic};
use crate::dry_run::DryRun;
use crate::pipeline::Pipeline;
use crate::progress::Progress;
use crate::source::SourceError;
use crate::source::kafka::{KafkaLog, KafkaSource, group_of};
use crate::stand_in::StandIn;

/// How long leaving the group may take; kept back from the time to drain. A group that is being rebalanced answers only when
/// it is done, which takes its members a heartbeat or two.
const LEAVE: Duration = Duration::from_secs(8);

/// The pipelines of one process.
pub struct Workers {
    /// What each pipeline has done, in the order of the topics.
    pub progress: Arc<[Arc<Progress>]>,
    /// A client for questions per pipeline.
    pub logs: Vec<Arc<KafkaLog>>,
    /// Whether the database is to be tried, for whatever else this process does with it.
    pub breaker: Arc<Breaker>,
    threads: Vec<JoinHandle<()>>,
    /// Pipelines that have not told their end yet.
    running: usize,
    ended: mpsc::Receiver<Result<(), SourceError>>,
}

/// What the pipelines are.
enum Kind<'a> {
    /// They write, and may have something that stands in for the database.
    Live(Option<&'a StandIn>),
    /// They run beside live groups and write nothing.
    ShadowsOf(&'a KafkaConfig),
}

impl Workers {
    /// Starts one thread per topic. Nothing has to be reachable yet: each pipeline tries until it is.
    ///
    /// # Errors
    /// A setting that the Kafka client refuses, or no thread could be had.
    pub fn start(
        config: &Config,
        topics: &[Topic],
        store: &Store,
        progress: Arc<[Arc<Progress>]>,
        stand_in: Option<&StandIn>,
    ) -> anyhow::Result<Self> {
        Self::launch(config, topics, store, progress, Kind::Live(stand_in))
    }

    /// The same as shadows of the groups of `live`: every transaction is taken back, and Kafka is told nothing.
    ///
    /// # Errors
    /// As [`Workers::start`].
    pub fn start_shadows(
        config: &Config,
        topics: &[Topic],
        store: &Store,
        progress: Arc<[Arc<Progress>]>,
        live: &KafkaConfig,
    ) -> anyhow::Result<Self> {
        Self::launch(config, topics, store, progress, Kind::ShadowsOf(live))
    }

    fn launch(
        config: &Config,
        topics: &[Topic],
        store: &Store,
        progress: Arc<[Arc<Progress>]>,
        kind: Kind<'_>,
    ) -> anyhow::Result<Self> {
        let (report, ended) = mpsc::channel(topics.len().max(1));
        let (mut threads, mut logs) = (Vec::new(), Vec::new());
        let (stand_in, shadow_of) = match kind {
            Kind::Live(stand_in) => (stand_in, None),
            Kind::ShadowsOf(live) => (None, Some(live)),
        };
        let breaker = stand_in.map_or_else(Arc::default, |stand_in| Arc::clone(&stand_in.breaker));
        for (topic, done) in topics.iter().zip(progress.iter()) {
            let mut source = KafkaSource::subscribe(&config.kafka_for(topic.kind), &topic.name)?;
            let dry_run = shadow_of.map(|live| Arc::new(DryRun::shadow_of(group_of(live, &topic.name))));
            if dry_run.is_some() {
                source = source.silent();
            }
            let log = Arc::new(KafkaLog::new(&config.kafka, &topic.name)?);
            let group: Arc<str> = group_of(&config.kafka, &topic.name).into();
            let spool = stand_in.map(|stand_in| Arc::new(stand_in.of_topic(&group, &topic.name)));
            let claimant = Claimant {
                group,
                owner: owner(),
                start: config.kafka.start,
                store: store.clone(),
                log: log.clone(),
                deadline: config.database.deadline(),
                breaker: Arc::clone(&breaker),
                dry_run,
                spool,
                switches: Arc::default(),
            };
            let pipeline =
                Pipeline::new(topic.clone(), source, claimant, Arc::clone(done), Handle::current());
            let report = report.clone();
            let thread = std::thread::Builder::new().name(format!("pipeline {}", topic.name));
            let thread = thread.spawn(move || run_and_report(pipeline, &report));
            threads.push(thread.context("cannot start a thread")?);
            logs.push(log);
        }
        let running = threads.len();
        Ok(Self { progress, logs, breaker, threads, running, ended })
    }

    /// Waits until a pipeline ends by itself, which it should not.
    pub async fn ended(&mut self) -> SourceError {
        let ended = self.ended.recv().await;
        self.running = self.running.saturating_sub(1);
        match ended {
            Some(Err(error)) => error,
            Some(Ok(())) => SourceError::Ended("without being told to".into()),
            None => SourceError::Ended("without a word".into()),
        }
    }

    /// Lets every pipeline finish what is under way and leave its group, all within `drain`. Answers whether what was under way
    /// is finished; a group whose broker is away notices by itself that we are gone.
    pub async fn stop(mut self, drain: Duration) -> bool {
        let deadline = Instant::now() + drain;
        self.progress.iter().for_each(|progress| progress.stop());
        let settled = timeout_at((deadline - LEAVE.min(drain / 2)).into(), self.all_ended()).await.is_ok();
        // A thread may still wait for a transaction whose answer does not come. The next owner asks the database.
        self.progress.iter().for_each(|progress| progress.give_up());
        if !finished(&self.threads, deadline.min(Instant::now() + LEAVE)).await {
            tracing::warn!(
                "ending without having left the consumer group: it is being rebalanced, or no broker answers"
            );
        }
        settled
    }

    async fn all_ended(&mut self) {
        while self.running > 0 {
            self.ended.recv().await;
            self.running -= 1;
        }
    }
}

/// Who we are, for people: in a container every process is the first one, so the machine's name tells them apart.
fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} pid {}", host.trim(), std::process::id()).trim().to_owned()
}

/// Reports before the source is dropped: leaving a group that does not answer may take long. A panic is an end like others.
fn run_and_report(mut pipeline: Pipeline<KafkaSource>, report: &mpsc::Sender<Result<(), SourceError>>) {
    let ended = catch_unwind(AssertUnwindSafe(|| pipeline.run()));
    let ended = ended.unwrap_or_else(|_| Err(SourceError::Ended("it panicked".into())));
    // Nobody listens only when the process is past waiting.
    let _ = report.try_send(ended);
}

async fn finished(threads: &[JoinHandle<()>], deadline: Instant) -> bool {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        if threads.iter().all(JoinHandle::is_finished) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        ticks.tick().await;
    }
}
