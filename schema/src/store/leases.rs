//! Who runs a workflow: taken up under a lease, renewed, given back, finished.
//!
//! What must stay true: of those who want a workflow one gets it, and nobody else before the lease has run out by the database's
//! clock; who has lost a lease changes nothing any more: owner and attempt are compared by every statement of an owner.

use std::time::Duration;

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::workflow_rows::{Workflow, load};
use super::workflows::{Change, WorkflowError, lock, now, transition, write_down};
use super::{Conn, Store, in_tx, with_conn};
use crate::schema::workflows;
use crate::sql_types::Json;
use crate::time::UtcMicros;
use crate::workflow::{Plan, State, WorkflowKind};

/// How long a workflow belongs to whoever took it up and says nothing more.
pub const LEASE: Duration = Duration::from_secs(15);

/// Which workflow somebody would take up.
#[derive(Debug, Clone, Copy)]
pub enum Claimable<'a> {
    /// This one.
    Id(&'a str),
    /// The oldest of these kinds that belongs to no command.
    Oldest(&'a [WorkflowKind]),
}

/// The right to run a workflow, while it is renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The workflow.
    pub id: String,
    /// Who holds it.
    pub owner: String,
    /// Which taking-up it is of.
    pub attempt: i32,
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// It is held for another while.
    Held,
    /// It is not ours any more: called off, or somebody else took it up.
    Lost(State),
}

impl Store {
    /// Takes up a workflow that waits, or whose owner is gone; null where there is none that may be taken up now.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn claim_workflow(
        &self,
        which: Claimable<'_>,
        owner: &str,
    ) -> Result<Option<Workflow>, WorkflowError> {
        in_tx!(self, conn => claim(conn, which, owner))
    }

    /// Holds a workflow for another while, and notes how far it has come.
    ///
    /// # Errors
    /// The database did not answer: it is still ours, unless somebody takes it up after the lease has run out.
    pub async fn renew_workflow(
        &self,
        lease: &Lease,
        progress: &serde_json::Value,
    ) -> Result<Renewed, WorkflowError> {
        in_tx!(self, conn => renew(conn, lease, progress))
    }

    /// Captures what a workflow covers. Where that was done before, the earlier plan stays.
    ///
    /// # Errors
    /// `LeaseLost`, or the database did not answer.
    pub async fn plan_workflow(&self, lease: &Lease, plan: &Plan) -> Result<(), WorkflowError> {
        let text = Json(serde_json::to_string(plan).expect("texts and numbers are JSON"));
        in_tx!(self, conn => async {
            let held = lock(conn, &lease.id).await?;
            held.filter(|row| row.is_held_by(lease)).ok_or_else(|| WorkflowError::LeaseLost(lease.id.clone()))?;
            let unplanned = workflows::table.find(&lease.id).filter(workflows::plan.is_null());
            let update = diesel::update(unplanned).set(workflows::plan.eq(&text));
            with_conn!(conn, c => update.execute(c).await)?;
            Ok::<(), WorkflowError>(())
        })
    }

    /// Gives a workflow back without a word on its end: it stays running, and whoever comes takes it up.
    ///
    /// # Errors
    /// The database did not answer: the lease runs out by itself.
    pub async fn release_workflow(
        &self,
        lease: &Lease,
        progress: &serde_json::Value,
    ) -> Result<(), WorkflowError> {
        let none = (workflows::lease_owner.eq(None::<String>), workflows::lease_until.eq(None::<UtcMicros>));
        in_tx!(self, conn => async {
            if renew(conn, lease, progress).await? == Renewed::Held {
                let update = diesel::update(workflows::table.find(&lease.id)).set(none);
                with_conn!(conn, c => update.execute(c).await)?;
            }
            Ok::<(), WorkflowError>(())
        })
    }

    /// Ends a workflow, by whoever runs it.
    ///
    /// # Errors
    /// `LeaseLost`, `Illegal`, or the database did not answer.
    pub async fn finish_workflow(
        &self,
        lease: &Lease,
        to: State,
        error: Option<&str>,
        progress: &serde_json::Value,
    ) -> Result<(), WorkflowError> {
        in_tx!(self, conn => async {
            if renew(conn, lease, progress).await? != Renewed::Held {
                return Err(WorkflowError::LeaseLost(lease.id.clone()));
            }
            let change = Change { to, actor: &lease.owner, detail: error.unwrap_or_default(), error };
            transition(conn, &lease.id, &change).await
        })
    }
}

/// The rows that may be taken up, of those that are meant.
macro_rules! claimable {
    ($meant:expr, $now:expr) => {
        workflows::table
            .filter($meant)
            .filter(
                workflows::state.eq(State::Queued.name()).or(workflows::state
                    .eq(State::Running.name())
                    .and(workflows::lease_until.is_null().or(workflows::lease_until.le($now)))),
            )
            .order(workflows::id)
            .limit(1)
            .select((workflows::id, workflows::state, workflows::lease_owner, workflows::attempt))
    };
}

type Claimed = (String, String, Option<String>, i32);

async fn claim(
    conn: &mut Conn<'_>,
    which: Claimable<'_>,
    owner: &str,
) -> Result<Option<Workflow>, WorkflowError> {
    let at = now(conn).await?;
    let rows: Vec<Claimed> = match which {
        Claimable::Id(id) => {
            let query = claimable!(workflows::id.eq(id), at);
            match conn {
                Conn::Postgres(c) => query.for_update().skip_locked().load(c).await?,
                Conn::Sqlite(c) => query.load(c).await?,
            }
        }
        Claimable::Oldest(kinds) => {
            let kinds = kinds.iter().map(|kind| kind.name());
            let query = claimable!(workflows::kind.eq_any(kinds).and(workflows::attended.eq(false)), at);
            match conn {
                Conn::Postgres(c) => query.for_update().skip_locked().load(c).await?,
                Conn::Sqlite(c) => query.load(c).await?,
            }
        }
    };
    let Some((id, state, before, attempt)) = rows.into_iter().next() else { return Ok(None) };
    let first = (workflows::started_at.eq(at),);
    let unstarted = workflows::table.find(&id).filter(workflows::started_at.is_null());
    with_conn!(conn, c => diesel::update(unstarted).set(first).execute(c).await)?;
    let changes = (
        workflows::state.eq(State::Running.name()),
        workflows::lease_owner.eq(owner),
        workflows::lease_until.eq(lease_end(at)),
        workflows::attempt.eq(attempt + 1),
        workflows::updated_at.eq(at),
    );
    let update = diesel::update(workflows::table.find(&id)).set(changes);
    with_conn!(conn, c => update.execute(c).await)?;
    let detail = match before {
        Some(before) => format!("taken up; {before} is gone"),
        None => "taken up".to_owned(),
    };
    let change = Change { to: State::Running, actor: owner, detail: &detail, error: None };
    write_down(conn, &id, State::of_name(&state), &change, at).await?;
    Ok(load(conn, &id).await?)
}

fn lease_end(at: UtcMicros) -> UtcMicros {
    at.plus(i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX))
}

async fn renew(
    conn: &mut Conn<'_>,
    lease: &Lease,
    progress: &serde_json::Value,
) -> Result<Renewed, WorkflowError> {
    let found = lock(conn, &lease.id).await?.ok_or_else(|| WorkflowError::NotFound(lease.id.clone()))?;
    if !found.is_held_by(lease) {
        return Ok(Renewed::Lost(found.state));
    }
    let at = now(conn).await?;
    let changes = (
        workflows::lease_until.eq(lease_end(at)),
        workflows::progress.eq(Json(progress.to_string())),
        workflows::updated_at.eq(at),
    );
    let update = diesel::update(workflows::table.find(&lease.id)).set(changes);
    with_conn!(conn, c => update.execute(c).await)?;
    Ok(Renewed::Held)
}
