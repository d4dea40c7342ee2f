//! Workflows for people and for those who run them: one, a page of them, the history of one. Reads only; `workflows.rs` changes
//! them.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::error::StoreError;
use super::leases::Lease;
use super::{Conn, Store, with_conn};
use crate::repositories::{Page, one_more};
use crate::schema::{workflow_history as history, workflows};
use crate::sql_types::Json;
use crate::time::UtcMicros;
use crate::workflow::{Parameters, Plan, State, WorkflowKind};

/// One workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Workflow {
    /// Its id.
    pub id: String,
    /// What it does.
    pub kind: WorkflowKind,
    /// Where it stands.
    pub state: State,
    /// What it was asked to do.
    pub parameters: Parameters,
    /// What it covers; null before its first start.
    pub plan: Option<Plan>,
    /// How far it has come, as its owner last said.
    pub progress: Option<serde_json::Value>,
    /// Why it failed.
    pub error: Option<String>,
    /// Who asked for it.
    pub requested_by: String,
    /// Belongs to the command that asked for it; workers leave it alone.
    pub attended: bool,
    /// Who has taken it up.
    pub lease_owner: Option<String>,
    /// Until when nobody else may.
    pub lease_until: Option<UtcMicros>,
    /// How often it was taken up.
    pub attempt: i32,
    /// When it was asked for.
    pub created_at: UtcMicros,
    /// When it was first taken up.
    pub started_at: Option<UtcMicros>,
    /// When it was over.
    pub ended_at: Option<UtcMicros>,
    /// When its row last changed.
    pub updated_at: UtcMicros,
}

impl Workflow {
    /// The right of whoever took it up as this row says; null where nobody has.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        let owner = self.lease_owner.clone()?;
        Some(Lease { id: self.id.clone(), owner, attempt: self.attempt })
    }
}

/// One change of a workflow's state.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct HistoryRow {
    /// Its number within the workflow, from 1.
    pub seq: i32,
    /// When.
    pub at: UtcMicros,
    /// The state before; null when it was asked for.
    pub from_state: Option<String>,
    /// The state after.
    pub to_state: String,
    /// Who.
    pub actor: String,
    /// Why, or what came of it.
    pub detail: String,
}

/// Which workflows; what is not set matches all.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkflowFilter {
    /// Of this kind.
    pub kind: Option<WorkflowKind>,
    /// In this state.
    pub state: Option<State>,
}

type Columns = (
    (workflows::id, workflows::kind, workflows::state, workflows::parameters),
    (workflows::plan, workflows::progress, workflows::error, workflows::requested_by, workflows::attended),
    (workflows::lease_owner, workflows::lease_until, workflows::attempt),
    (workflows::created_at, workflows::started_at, workflows::ended_at, workflows::updated_at),
);
const COLUMNS: Columns = (
    (workflows::id, workflows::kind, workflows::state, workflows::parameters),
    (workflows::plan, workflows::progress, workflows::error, workflows::requested_by, workflows::attended),
    (workflows::lease_owner, workflows::lease_until, workflows::attempt),
    (workflows::created_at, workflows::started_at, workflows::ended_at, workflows::updated_at),
);

type Row = (
    (String, String, String, Json),
    (Option<Json>, Option<Json>, Option<String>, String, bool),
    (Option<String>, Option<UtcMicros>, i32),
    (UtcMicros, Option<UtcMicros>, Option<UtcMicros>, UtcMicros),
);

impl Store {
    /// One workflow.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn workflow(&self, id: &str) -> Result<Option<Workflow>, StoreError> {
        let mut session = self.checkout().await?;
        load(&mut session.conn(), id).await
    }

    /// The first `limit` workflows that match, the newest first, behind one of them.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn workflows(
        &self,
        filter: &WorkflowFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Workflow, String>, StoreError> {
        let kinds = filter.kind.map_or_else(|| WorkflowKind::ALL.to_vec(), |kind| vec![kind]);
        let states = filter.state.map_or_else(|| State::ALL.to_vec(), |state| vec![state]);
        let query = workflows::table
            .filter(workflows::kind.eq_any(kinds.into_iter().map(WorkflowKind::name)))
            .filter(workflows::state.eq_any(states.into_iter().map(State::name)))
            // Behind every id, which begins with a hexadecimal digit.
            .filter(workflows::id.lt(after.unwrap_or("z")))
            .order(workflows::id.desc())
            .limit(one_more(limit))
            .select(COLUMNS);
        let mut session = self.checkout().await?;
        let rows: Vec<Row> = with_conn!(&mut session.conn(), c => query.load(c).await)?;
        let rows = rows.into_iter().map(workflow).collect::<Result<Vec<Workflow>, StoreError>>()?;
        Ok(Page::cut(rows, limit, |workflow| workflow.id.clone()))
    }

    /// The newest workflow that is about the same; null where there is none.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn newest_workflow(&self, parameters: &Parameters) -> Result<Option<Workflow>, StoreError> {
        let query = workflows::table
            .filter(workflows::parameters_hash.eq(parameters.hash()))
            .order(workflows::id.desc())
            .limit(1)
            .select(COLUMNS);
        let mut session = self.checkout().await?;
        let rows: Vec<Row> = with_conn!(&mut session.conn(), c => query.load(c).await)?;
        rows.into_iter().next().map(workflow).transpose()
    }

    /// The first `limit` changes of a workflow's state, behind one of them, in order.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn workflow_history(
        &self,
        id: &str,
        after: Option<i32>,
        limit: usize,
    ) -> Result<Page<HistoryRow, i32>, StoreError> {
        let later = history::workflow_id.eq(id).and(history::seq.gt(after.unwrap_or(0)));
        let query = history::table.filter(later).order(history::seq).limit(one_more(limit)).select((
            history::seq,
            history::at,
            history::from_state,
            history::to_state,
            history::actor,
            history::detail,
        ));
        let mut session = self.checkout().await?;
        let rows: Vec<HistoryRow> = with_conn!(&mut session.conn(), c => query.load(c).await)?;
        Ok(Page::cut(rows, limit, |change| change.seq))
    }
}

pub(super) async fn load(conn: &mut Conn<'_>, id: &str) -> Result<Option<Workflow>, StoreError> {
    let query = workflows::table.find(id).select(COLUMNS);
    let rows: Vec<Row> = with_conn!(conn, c => query.load(c).await)?;
    rows.into_iter().next().map(workflow).transpose()
}

fn workflow(row: Row) -> Result<Workflow, StoreError> {
    let ((id, kind, state, parameters), (plan, progress, error, requested_by, attended), lease, times) = row;
    let unreadable =
        |what: &str| StoreError::Schema(format!("workflow {id}: its {what} is of another version"));
    let (lease_owner, lease_until, attempt) = lease;
    let (created_at, started_at, ended_at, updated_at) = times;
    let json = |text: Option<Json>| text.map(|text| serde_json::from_str(&text.0)).transpose();
    Ok(Workflow {
        kind: WorkflowKind::of_name(&kind).ok_or_else(|| unreadable("kind"))?,
        state: State::of_name(&state).ok_or_else(|| unreadable("state"))?,
        parameters: serde_json::from_str(&parameters.0).map_err(|_| unreadable("parameters"))?,
        plan: plan.map(|plan| serde_json::from_str(&plan.0)).transpose().map_err(|_| unreadable("plan"))?,
        progress: json(progress).map_err(|_| unreadable("progress"))?,
        error,
        requested_by,
        attended,
        lease_owner,
        lease_until,
        attempt,
        created_at,
        started_at,
        ended_at,
        updated_at,
        id,
    })
}
