//! The lease of a workflow that was taken up: renewed while it runs, given back with how it ended. Called by `take_up`.
//!
//! What must stay true: who has lost the lease is told to stop, and writes down nothing more.

use std::sync::Arc;
use std::time::Duration;

use ledgerline_schema::store::{LEASE, Lease, Renewed, Store, WorkflowError};
use ledgerline_schema::workflow::{State, WorkflowKind};

use super::{Ended, Status, TRIES, Work};
use crate::{backoff, metrics};

/// How often a lease is renewed: a third of it.
const RENEW_EVERY: Duration = LEASE.checked_div(3).expect("three is not zero");

/// Renews the lease until it is aborted, and tells whoever runs the work when it is lost. An outage loses nothing: while nobody
/// else has taken the work up, it is still ours when the database is back.
pub(super) async fn keep(store: Store, lease: Lease, status: Arc<Status>) {
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

impl Work {
    /// Writes the end down, several times if need be: it is the last word on the work.
    pub(super) async fn settle(
        &self,
        kind: WorkflowKind,
        lease: &Lease,
        ended: Ended,
    ) -> anyhow::Result<Ended> {
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
