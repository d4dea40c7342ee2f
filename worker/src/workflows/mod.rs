//! Replays and backfills: taken up under a lease, planned once, run as lines with ends, settled. Called by the commands `replay` and
//! `backfill`, and by `run` where it is configured.
//!
//! What must stay true: a workflow goes on from the positions that its lines left, whoever takes it up; who has lost the lease
//! stops; a dry run has no row, no position, and changes nothing.

mod lease;
pub(crate) mod line;
mod lines;
pub mod plan;
mod service;
mod status;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use ledgerline_schema::store::{Lease, Store, Workflow};
use ledgerline_schema::workflow::{Parameters, Plan, State};

pub use line::LineEnd;
pub use service::{WorkflowsConfig, serve};
pub use status::{Counts, Report, Status};

use crate::blocking::blocking;
use crate::breaker::Breaker;
use crate::config::Config;
use crate::source::SourceError;
use crate::{backoff, metrics};

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
        let keeper = tokio::spawn(lease::keep(self.store.clone(), lease.clone(), Arc::clone(&self.status)));
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
        self.run_lines(&plan, parameters, workflow.plan.is_some()).await
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
            match blocking(capture).await {
                Err(error) if attempt < TRIES && is_transient(&error) && !self.status.is_stopping() => {
                    tracing::warn!("cannot capture the plan, trying again: {error:#}");
                    tokio::time::sleep(backoff::pause(attempt)).await;
                }
                captured => return captured,
            }
        }
        unreachable!("the last try ends the loop")
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
}

/// Whether asking again may help.
fn is_transient(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(SourceError::Transient(_)))
}
