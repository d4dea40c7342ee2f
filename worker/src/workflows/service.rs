//! The workflows that `run` takes up: one at a time, beside the live lines, under the same lease as everybody else's.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::ensure;
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{Claimable, Workflow};
use ledgerline_schema::workflow::WorkflowKind;
use serde::Deserialize;
use tokio::time::timeout;

use super::{Status, Work};
use crate::clock;
use crate::metrics;

/// `[workflows]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkflowsConfig {
    /// Whether `run` takes up workflows that wait.
    pub enabled: bool,
    /// How often it looks for one, in ms.
    pub poll_ms: u64,
    /// The folder that backfills take their files from; without it `run` takes up none.
    pub files_dir: Option<PathBuf>,
}

impl Default for WorkflowsConfig {
    fn default() -> Self {
        Self { enabled: false, poll_ms: 1_000, files_dir: None }
    }
}

impl WorkflowsConfig {
    /// Connections that the pool needs for it: a writer, and one that claims, renews and measures.
    pub(crate) fn connections(&self) -> usize {
        if self.enabled { 2 } else { 0 }
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!((100..=600_000).contains(&self.poll_ms), "workflows.poll_ms: must be 100 to 600,000");
        Ok(())
    }
}

/// What `run` holds of it.
pub struct Service {
    told: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

/// Starts taking up workflows.
#[must_use]
pub fn serve(mut work: Work) -> Service {
    metrics::touch_workflows();
    // One writer is enough beside the live ones.
    for kind in EventKind::ALL {
        work.config.topics.entry(kind.name().to_owned()).or_default().writers = Some(1);
    }
    work.folder.clone_from(&work.config.workflows.files_dir);
    let told = Arc::default();
    Service { task: tokio::spawn(take_up_all(work, Arc::clone(&told))), told }
}

impl Service {
    /// Lets what is under way be given back, within `patience`: whoever takes it up goes on.
    pub async fn stop(self, patience: Duration) {
        self.told.store(true, Relaxed);
        if timeout(patience, self.task).await.is_err() {
            tracing::warn!("a workflow was not given back in time; its lease runs out by itself");
        }
    }
}

async fn take_up_all(work: Work, told: Arc<AtomicBool>) {
    let mut ticks = clock::ticks(Duration::from_millis(work.config.workflows.poll_ms));
    while !told.load(Relaxed) {
        ticks.tick().await;
        let Some(workflow) = next(&work).await else { continue };
        let work = Work { status: Arc::new(Status::under(Arc::clone(&told))), ..work.clone() };
        if let Err(error) = work.take_up(&workflow, &workflow.parameters).await {
            tracing::warn!(workflow = workflow.id, "the workflow's end could not be written down: {error:#}");
        }
    }
}

async fn next(work: &Work) -> Option<Workflow> {
    let kinds: &[WorkflowKind] =
        if work.folder.is_some() { &WorkflowKind::ALL } else { &[WorkflowKind::Replay] };
    if work.breaker.open_for().is_some() {
        return None;
    }
    match work.store.claim_workflow(Claimable::Oldest(kinds), &work.owner).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "cannot look for workflows");
            None
        }
    }
}
