//! Replays and backfills: taken up under a lease, planned once, run as lines with ends, settled. Called by the commands `replay` and
//! `backfill`, and by `run` where it is configured.
//!
//! What must stay true: a workflow goes on from the positions that its lines left, whoever takes it up; who has lost the lease
//! stops; a dry run has no row, no position, and changes nothing.

pub(crate) mod line;
pub mod plan;
mod service;
mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use ledgerline_schema::store::{LEASE, Lease, Renewed, Store, Workflow, WorkflowError};
use ledgerline_schema::workflow::{
    Backfill, FILE_CLUSTER, Parameters, Part, Plan, Replay, State, WorkflowKind,
};

pub use line::LineEnd;
pub use service::{WorkflowsConfig, serve};
pub use status::{Counts, Report, Status};

use crate::breaker::Breaker;
use crate::buffer::Observed;
use crate::claim::Claimant;
use crate::config::{Config, Start, Topic};
use crate::dry_run::DryRun;
use crate::metrics::{self, Mode};
use crate::pace::{self, Pace, Terms, Yielding};
use crate::progress::Progress;
use crate::source::file::{FileLog, FilePart, FileSource};
use crate::source::kafka::{KafkaLog, group_of};
use crate::source::replay::ReplaySource;
use crate::source::{Log, SourceError};
use crate::{backoff, clock};

/// How often a lease is renewed: a third of it.
const RENEW_EVERY: Duration = LEASE.checked_div(3).expect("three is not zero");
/// How far behind live consumption may be while a replay works, in records.
pub const MAX_LAG_RECORDS: i64 = 10_000;
/// Tries of what depends on others: asking Kafka for a plan, writing down the end.
const TRIES: u32 = 5;

/// What a workflow needs to be run.
#[derive(Clone)]
pub struct Work {
    /// The whole configuration.
    pub config: Config,
    /// The database.
    pub store: Store,
    /// Whether it is to be tried.
    pub breaker: Arc<Breaker>,
    /// Who runs it: no two processes have the same name.
    pub owner: String,
    /// The folder that files are taken from; any where there is none.
    pub folder: Option<PathBuf>,
    /// How far it has come, and whether it is to stop.
    pub status: Arc<Status>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All is done.
    Succeeded,
    /// It could not be done.
    Failed(String),
    /// It was told to stop; whoever takes it up goes on.
    Stopped,
    /// Somebody else has it, or it was called off.
    Lost(State),
}

/// A name that no other process has.
#[must_use]
pub fn owner() -> String {
    format!("pid {} {}", std::process::id(), uuid::Uuid::new_v4().simple())
}

impl Work {
    /// Runs a workflow that was taken up, to its end or until it is told to stop. `parameters` may differ from its own in how fast
    /// it may go.
    ///
    /// # Errors
    /// The end could not be written down: the lease runs out, and the next one finds nothing left to do.
    pub async fn take_up(&self, workflow: &Workflow, parameters: &Parameters) -> anyhow::Result<Ended> {
        let lease = workflow.lease().context("it was not taken up")?;
        metrics::workflow_became(workflow.kind, State::Running);
        let _running = metrics::workflow_runs(workflow.kind);
        tracing::info!(
            workflow = workflow.id,
            kind = workflow.kind.name(),
            attempt = workflow.attempt,
            "workflow taken up"
        );
        let keeper = tokio::spawn(keep(self.store.clone(), lease.clone(), Arc::clone(&self.status)));
        let done = self.perform(workflow, parameters, &lease).await;
        keeper.abort();
        let ended = match (self.status.lost(), done) {
            (Some(state), _) => Ended::Lost(state),
            (None, Ok(LineEnd::Complete)) => Ended::Succeeded,
            (None, Ok(LineEnd::Stopped)) => Ended::Stopped,
            (None, Ok(LineEnd::Halted(partition, reason))) => {
                Ended::Failed(self.why_halted(workflow, partition, reason).await)
            }
            (None, Err(_)) if self.status.is_stopping() => Ended::Stopped,
            (None, Err(error)) => Ended::Failed(format!("{error:#}")),
        };
        self.settle(workflow.kind, &lease, ended).await
    }

    async fn perform(
        &self,
        workflow: &Workflow,
        parameters: &Parameters,
        lease: &Lease,
    ) -> anyhow::Result<LineEnd> {
        let plan = match &workflow.plan {
            Some(plan) => plan.clone(),
            None => {
                let plan = self.plan(parameters, &workflow.id).await?;
                self.store.plan_workflow(lease, &plan).await?;
                plan
            }
        };
        self.run(&plan, parameters, workflow.plan.is_some()).await
    }

    /// What the work covers; Kafka is asked again where it does not answer.
    ///
    /// # Errors
    /// It does not answer for long, or what is asked for does not fit.
    pub async fn plan(&self, parameters: &Parameters, id: &str) -> anyhow::Result<Plan> {
        for attempt in 0.. {
            let (config, parameters) = (self.config.clone(), parameters.clone());
            let (id, folder) = (id.to_owned(), self.folder.clone());
            let capture = move || plan::capture(&config, &parameters, &id, folder.as_deref());
            match tokio::task::spawn_blocking(capture).await.context("capturing the plan panicked")? {
                Err(error) if attempt < TRIES && is_transient(&error) && !self.status.is_stopping() => {
                    tracing::warn!("cannot capture the plan, trying again: {error:#}");
                    tokio::time::sleep(backoff::pause(attempt)).await;
                }
                captured => return captured,
            }
        }
        unreachable!("the last try ends the loop")
    }

    /// Runs the lines of a plan, one after the other.
    async fn run(&self, plan: &Plan, parameters: &Parameters, begun: bool) -> anyhow::Result<LineEnd> {
        self.status.planned(plan);
        for parts in lines(plan) {
            let [first, ..] = parts else { continue };
            let starts: Vec<_> = parts.iter().map(|part| (part.lineage(), part.from)).collect();
            self.store.start(&first.group, &starts, clock::now()).await?;
            let at: BTreeMap<i32, i64> = self
                .store
                .positions(&first.group, &first.topic)
                .await?
                .into_iter()
                .map(|(partition, at)| (partition, at.next_offset))
                .collect();
            let rest: Vec<Part> = parts.iter().map(|part| from(part, &at)).collect();
            if begun {
                self.tell_resumed(parts, &rest);
            }
            let rest: Vec<Part> = rest.into_iter().filter(|part| part.from < part.to).collect();
            if rest.is_empty() {
                continue;
            }
            match self.run_line(&rest, parameters, None).await? {
                LineEnd::Complete => {}
                other => return Ok(other),
            }
        }
        Ok(LineEnd::Complete)
    }

    /// Runs a plan without changing anything.
    ///
    /// # Errors
    /// A source died.
    pub async fn rehearse(&self, plan: &Plan, parameters: &Parameters) -> anyhow::Result<LineEnd> {
        self.status.planned(plan);
        for parts in lines(plan) {
            let dry_run = Arc::new(DryRun::of(parts));
            match self.run_line(parts, parameters, Some(dry_run)).await? {
                LineEnd::Complete => {}
                other => return Ok(other),
            }
        }
        Ok(LineEnd::Complete)
    }

    fn tell_resumed(&self, parts: &[Part], rest: &[Part]) {
        for (part, rest) in parts.iter().zip(rest) {
            let key = match part.cluster_id.as_str() {
                FILE_CLUSTER => format!("{} of {}", part.topic, part.group),
                _ => part.partition.to_string(),
            };
            self.status.resumed(key, rest.from, rest.from - part.from);
        }
    }

    /// One line: the parts of one topic and group.
    async fn run_line(
        &self,
        parts: &[Part],
        parameters: &Parameters,
        dry_run: Option<Arc<DryRun>>,
    ) -> anyhow::Result<LineEnd> {
        match parameters {
            Parameters::Replay(replay) => self.run_replay(parts, replay, dry_run).await,
            Parameters::Backfill(backfill) => self.run_backfill(parts, backfill, dry_run).await,
        }
    }

    async fn run_replay(
        &self,
        parts: &[Part],
        replay: &Replay,
        dry_run: Option<Arc<DryRun>>,
    ) -> anyhow::Result<LineEnd> {
        let topic = self.topic(&replay.topic)?;
        let kafka = &self.config.kafka_for(topic.kind);
        let ends = parts.iter().map(|part| (part.partition, part.to)).collect();
        let source = ReplaySource::open(kafka, &replay.topic, ends, replay.rate_per_second)?;
        let log = Arc::new(KafkaLog::new(kafka, &replay.topic)?);
        let yielding = Arc::new(Yielding::new(replay.max_lag_records.unwrap_or(MAX_LAG_RECORDS)));
        let group = group_of(kafka, &replay.topic);
        let (to, asked) = (Arc::clone(&yielding), Arc::new(KafkaLog::new(kafka, &replay.topic)?));
        let watch = tokio::spawn(pace::watch(to, self.store.clone(), group, asked));
        let observed = Observed { from: replay.observed_from, to: replay.observed_to };
        let any = observed.from.is_some() || observed.to.is_some();
        let terms = Terms { pace: Pace::Yielding(yielding), observed: any.then_some(observed) };
        let progress = Arc::new(Progress::new(&topic.name, Mode::Replay));
        let claimant = self.claimant(parts, log, dry_run);
        let ended = line::run(source, claimant, (topic, terms), parts, &progress, &self.status).await;
        watch.abort();
        metrics::yielding(false);
        ended
    }

    async fn run_backfill(
        &self,
        parts: &[Part],
        backfill: &Backfill,
        dry_run: Option<Arc<DryRun>>,
    ) -> anyhow::Result<LineEnd> {
        let [part] = parts else { return Err(anyhow!("a file has one partition")) };
        let number = part.group.rsplit(':').next().and_then(|number| number.parse::<usize>().ok());
        let file = number.and_then(|number| backfill.files.get(number.checked_sub(1)?));
        let path = plan::resolve(&file.context("the plan names no file")?.path, self.folder.as_deref())?;
        let format = plan::format_of(backfill)?;
        let scanned = path.clone();
        let contents = tokio::task::spawn_blocking(move || crate::formats::events::scan(&scanned, format));
        let contents = contents.await.context("reading the file panicked")??;
        anyhow::ensure!(
            contents.sha256 == part.topic_id,
            "{} has changed since it was planned",
            path.display()
        );
        let topic = self.topic(&part.topic)?;
        let strays = contents.strays == Some(topic.kind);
        let source = FileSource::new(FilePart { path, format, kind: topic.kind, strays, end: part.to });
        let log = Arc::new(FileLog { lineage: part.lineage(), end: part.to });
        let progress = Arc::new(Progress::new(&topic.name, Mode::Backfill));
        let claimant = self.claimant(parts, log, dry_run);
        line::run(source, claimant, (topic, Terms::default()), parts, &progress, &self.status).await
    }

    fn topic(&self, name: &str) -> anyhow::Result<Topic> {
        let kind = self.config.kind_of(name);
        let kind =
            kind.with_context(|| format!("the configuration does not say which kind {name} carries"))?;
        Ok(Topic { name: name.to_owned(), ..self.config.topic(kind) })
    }

    fn claimant(&self, parts: &[Part], log: Arc<dyn Log>, dry_run: Option<Arc<DryRun>>) -> Claimant {
        Claimant {
            group: parts.first().map_or("", |part| &part.group).into(),
            owner: self.owner.clone(),
            start: Start::Earliest, // never asked: every part has its position
            store: self.store.clone(),
            log,
            deadline: self.config.database.deadline(),
            breaker: Arc::clone(&self.breaker),
            dry_run,
            spool: None,
            switches: Arc::default(),
        }
    }

    /// How far it has come, with what the ledger says of all who worked on it.
    pub async fn report(&self) -> Report {
        let report = self.status.report();
        match self.store.accounts(&self.status.groups()).await {
            Ok((offsets, rows)) => Report { counts: Counts::of(offsets, rows), ..report },
            Err(_) => report,
        }
    }

    async fn why_halted(&self, workflow: &Workflow, partition: i32, reason: &str) -> String {
        let rows = self.store.partitions(None).await.unwrap_or_default();
        let ours = rows.into_iter().find(|row| row.group.contains(&workflow.id) && row.halt().is_some());
        let detail = ours.and_then(|row| row.halted_detail).unwrap_or_default();
        format!("partition {partition} is halted: {reason}: {detail}")
    }

    /// Writes the end down, several times if need be: it is the last word on the work.
    async fn settle(&self, kind: WorkflowKind, lease: &Lease, ended: Ended) -> anyhow::Result<Ended> {
        let progress = self.report().await;
        metrics::workflow_done(progress.ratio());
        let progress = progress.json();
        for attempt in 0.. {
            let settled = match &ended {
                Ended::Succeeded => {
                    self.store.finish_workflow(lease, State::Succeeded, None, &progress).await
                }
                Ended::Failed(error) => {
                    self.store.finish_workflow(lease, State::Failed, Some(error), &progress).await
                }
                Ended::Stopped => self.store.release_workflow(lease, &progress).await,
                Ended::Lost(_) => Ok(()),
            };
            match settled {
                Err(WorkflowError::Store(error)) if attempt < TRIES => {
                    tracing::warn!(workflow = lease.id, %error, "cannot write down how the workflow ended, trying again");
                    tokio::time::sleep(backoff::pause(attempt)).await;
                }
                Err(WorkflowError::LeaseLost(_)) => {
                    let now =
                        self.store.workflow(&lease.id).await?.map_or(State::Running, |found| found.state);
                    return Ok(Ended::Lost(now));
                }
                Err(error) => return Err(error.into()),
                Ok(()) => break,
            }
        }
        match &ended {
            Ended::Succeeded => metrics::workflow_became(kind, State::Succeeded),
            Ended::Failed(_) => metrics::workflow_became(kind, State::Failed),
            Ended::Lost(State::Cancelled) => metrics::workflow_became(kind, State::Cancelled),
            Ended::Lost(_) | Ended::Stopped => {}
        }
        tracing::info!(workflow = lease.id, ?ended, "workflow ended");
        Ok(ended)
    }
}

/// Whether asking again may help.
fn is_transient(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(SourceError::Transient(_)))
}

/// The part from where its position stands.
fn from(part: &Part, at: &BTreeMap<i32, i64>) -> Part {
    let from = at.get(&part.partition).map_or(part.from, |next| (*next).max(part.from));
    Part { from, ..part.clone() }
}

/// The parts that make one line each.
fn lines(plan: &Plan) -> impl Iterator<Item = &[Part]> {
    plan.parts.chunk_by(|a, b| a.group == b.group && a.topic == b.topic)
}

/// Renews the lease until it is aborted, and tells whoever runs the work when it is lost. An outage loses nothing: while nobody
/// else has taken the work up, it is still ours when the database is back.
async fn keep(store: Store, lease: Lease, status: Arc<Status>) {
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    loop {
        ticks.tick().await;
        let report = status.report();
        metrics::workflow_done(report.ratio());
        match store.renew_workflow(&lease, &report.json()).await {
            Ok(Renewed::Held) => {}
            Ok(Renewed::Lost(state)) => {
                tracing::warn!(workflow = lease.id, state = state.name(), "the lease is lost; stopping");
                return status.lose(state);
            }
            Err(error) => tracing::warn!(workflow = lease.id, %error, "cannot renew the lease"),
        }
    }
}
