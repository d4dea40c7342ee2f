//! Workflows change their states here: asked for, called off, put back in line. Who takes them up is in `leases.rs`.
//!
//! What must stay true: a state changes only as `State::may_become` says, under the row's lock, with a row of history in the same
//! transaction; the same work is never under way twice.

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use thiserror::Error;
use uuid::Uuid;

use super::error::StoreError;
use super::leases::Lease;
use super::workflow_rows::{Workflow, load};
use super::{Conn, Store, in_tx, with_conn};
use crate::schema::{workflow_history as history, workflows};
use crate::sql_types::{Json, UtcTimestamp};
use crate::time::UtcMicros;
use crate::workflow::{BadParameter, Parameters, State};

/// Somebody asks for a workflow.
#[derive(Debug, Clone, Copy)]
pub struct NewWorkflow<'a> {
    /// What it is to do.
    pub parameters: &'a Parameters,
    /// Who asks.
    pub requested_by: &'a str,
    /// It belongs to the command that asks; workers leave it alone.
    pub attended: bool,
}

/// Why a workflow was not changed.
#[derive(Debug, Error)]
pub enum WorkflowError {
    /// What is asked for cannot be done.
    #[error(transparent)]
    BadParameter(#[from] BadParameter),
    /// There is none of that id.
    #[error("there is no workflow {0}")]
    NotFound(String),
    /// Its state does not allow it.
    #[error("workflow {id} is {from} and cannot become {to}")]
    Illegal {
        /// The workflow.
        id: String,
        /// Its state.
        from: State,
        /// The state that was asked for.
        to: State,
    },
    /// The same is under way already.
    #[error("workflow {0} is about the same and not over yet")]
    Unfinished(String),
    /// Somebody else has taken it up, or it was called off.
    #[error("the lease on workflow {0} is lost")]
    LeaseLost(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for WorkflowError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Writes down what is asked for; somebody has to take it up.
    ///
    /// # Errors
    /// `BadParameter`; `Unfinished`: the same is under way; or the database did not answer.
    pub async fn create_workflow(&self, new: &NewWorkflow<'_>) -> Result<Workflow, WorkflowError> {
        new.parameters.check()?;
        let created = in_tx!(self, conn => create(conn, new));
        self.or_unfinished(created, &new.parameters.hash()).await
    }

    /// Calls a workflow off. Whoever runs it notices when it next renews its lease; what it did stays done.
    ///
    /// # Errors
    /// `NotFound`, `Illegal`, or the database did not answer.
    pub async fn cancel_workflow(
        &self,
        id: &str,
        actor: &str,
        detail: &str,
    ) -> Result<Workflow, WorkflowError> {
        self.to_state(id, &Change { to: State::Cancelled, actor, detail, error: None }).await
    }

    /// Puts a workflow that failed or was called off back in line; it goes on from where it came to.
    ///
    /// # Errors
    /// `NotFound`, `Illegal`; `Unfinished`: another one about the same is under way; or the database did not answer.
    pub async fn retry_workflow(
        &self,
        id: &str,
        actor: &str,
        detail: &str,
    ) -> Result<Workflow, WorkflowError> {
        let found = self.workflow(id).await?.ok_or_else(|| WorkflowError::NotFound(id.to_owned()))?;
        let changed = self.to_state(id, &Change { to: State::Queued, actor, detail, error: None }).await;
        self.or_unfinished(changed, &found.parameters.hash()).await
    }

    async fn to_state(&self, id: &str, change: &Change<'_>) -> Result<Workflow, WorkflowError> {
        in_tx!(self, conn => async {
            transition(conn, id, change).await?;
            load(conn, id).await?.ok_or_else(|| WorkflowError::NotFound(id.to_owned()))
        })
    }

    /// The index of unfinished ones was in the way: says which it is.
    async fn or_unfinished(
        &self,
        changed: Result<Workflow, WorkflowError>,
        hash: &str,
    ) -> Result<Workflow, WorkflowError> {
        use diesel::result::{DatabaseErrorKind::UniqueViolation, Error::DatabaseError};
        let Err(WorkflowError::Store(StoreError::Query(DatabaseError(UniqueViolation, _)))) = changed else {
            return changed;
        };
        let query = workflows::table
            .filter(workflows::parameters_hash.eq(hash))
            .filter(workflows::state.eq_any([State::Queued.name(), State::Running.name()]))
            .select(workflows::id);
        let mut session = self.checkout().await?;
        let ids: Vec<String> = with_conn!(&mut session.conn(), c => query.load(c).await)?;
        Err(WorkflowError::Unfinished(ids.into_iter().next().unwrap_or_default()))
    }
}

/// A uuid v7 whose order goes down to the microsecond: the bits that may hold a finer time do.
fn id_of(at: UtcMicros) -> String {
    let millis = u64::try_from(at.0.div_euclid(1_000)).unwrap_or(0);
    let [high, low] = u16::try_from(at.0.rem_euclid(1_000) * 4_096 / 1_000).unwrap_or(0).to_be_bytes();
    let [mut bytes @ .., _, _, _, _, _, _] = Uuid::new_v4().into_bytes();
    (bytes[0], bytes[1]) = (high, low);
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid().to_string()
}

/// A change of state.
pub(super) struct Change<'a> {
    pub(super) to: State,
    pub(super) actor: &'a str,
    pub(super) detail: &'a str,
    pub(super) error: Option<&'a str>,
}

/// The clock of the database, after the row's lock: the only one that leases know.
pub(super) async fn now(conn: &mut Conn<'_>) -> QueryResult<UtcMicros> {
    #[derive(QueryableByName)]
    struct Now {
        #[diesel(sql_type = UtcTimestamp)]
        at: UtcMicros,
    }
    let text = match conn {
        Conn::Postgres(_) => "select clock_timestamp() as at",
        Conn::Sqlite(_) => "select strftime('%Y-%m-%dT%H:%M:%f000Z', 'now') as at",
    };
    let rows: Vec<Now> = with_conn!(conn, c => diesel::sql_query(text).load(c).await)?;
    rows.as_slice().first().map(|row| row.at).ok_or(diesel::result::Error::NotFound)
}

/// What a change looks at before.
pub(super) struct Locked {
    pub(super) state: State,
    owner: Option<String>,
    attempt: i32,
}

impl Locked {
    pub(super) fn is_held_by(&self, lease: &Lease) -> bool {
        let ours = (self.owner.as_deref(), self.attempt) == (Some(&*lease.owner), lease.attempt);
        ours && self.state == State::Running
    }
}

/// Locks the row. SQLite's immediate transaction is the lock.
pub(super) async fn lock(conn: &mut Conn<'_>, id: &str) -> Result<Option<Locked>, WorkflowError> {
    let row =
        workflows::table.find(id).select((workflows::state, workflows::lease_owner, workflows::attempt));
    let rows: Vec<(String, Option<String>, i32)> = match conn {
        Conn::Postgres(c) => row.for_update().load(c).await?,
        Conn::Sqlite(c) => row.load(c).await?,
    };
    let Some((state, owner, attempt)) = rows.into_iter().next() else { return Ok(None) };
    let state = State::of_name(&state)
        .ok_or_else(|| StoreError::Schema(format!("workflow {id}: its state is of another version")))?;
    Ok(Some(Locked { state, owner, attempt }))
}

async fn create(conn: &mut Conn<'_>, new: &NewWorkflow<'_>) -> Result<Workflow, WorkflowError> {
    let at = now(conn).await?;
    let newest = workflows::table.order(workflows::id.desc()).limit(1).select(workflows::created_at);
    let newest: Vec<UtcMicros> = with_conn!(conn, c => newest.load(c).await)?;
    // A clock may be coarse, or step back; the order of ids is the order in which they are shown and taken up.
    let at = newest.as_slice().first().map_or(at, |newest| at.max(newest.plus(1)));
    let id = id_of(at);
    let row = (
        workflows::id.eq(&id),
        workflows::kind.eq(new.parameters.kind().name()),
        workflows::state.eq(State::Queued.name()),
        workflows::parameters.eq(Json(serde_json::to_string(new.parameters).expect("texts are JSON"))),
        workflows::parameters_hash.eq(new.parameters.hash()),
        workflows::requested_by.eq(new.requested_by),
        workflows::attended.eq(new.attended),
        workflows::created_at.eq(at),
        workflows::updated_at.eq(at),
    );
    let insert = diesel::insert_into(workflows::table).values(row);
    with_conn!(conn, c => insert.execute(c).await)?;
    let change = Change { to: State::Queued, actor: new.requested_by, detail: "asked for", error: None };
    write_down(conn, &id, None, &change, at).await?;
    load(conn, &id).await?.ok_or(WorkflowError::NotFound(id))
}

pub(super) async fn transition(
    conn: &mut Conn<'_>,
    id: &str,
    change: &Change<'_>,
) -> Result<(), WorkflowError> {
    let found = lock(conn, id).await?.ok_or_else(|| WorkflowError::NotFound(id.to_owned()))?;
    let (from, to) = (found.state, change.to);
    if !from.may_become(to) {
        return Err(WorkflowError::Illegal { id: id.to_owned(), from, to });
    }
    let at = now(conn).await?;
    let changes = (
        workflows::state.eq(to.name()),
        workflows::error.eq(change.error),
        workflows::lease_owner.eq(None::<String>),
        workflows::lease_until.eq(None::<UtcMicros>),
        workflows::ended_at.eq(to.is_final().then_some(at)),
        workflows::updated_at.eq(at),
    );
    let update = diesel::update(workflows::table.find(id)).set(changes);
    with_conn!(conn, c => update.execute(c).await)?;
    Ok(write_down(conn, id, Some(from), change, at).await?)
}

/// The next row of the history: the workflow's row is locked, so nobody else takes the number.
pub(super) async fn write_down(
    conn: &mut Conn<'_>,
    id: &str,
    from: Option<State>,
    change: &Change<'_>,
    at: UtcMicros,
) -> QueryResult<()> {
    let numbers = history::table.filter(history::workflow_id.eq(id)).select(history::seq);
    let numbers: Vec<i32> = with_conn!(conn, c => numbers.load(c).await)?;
    let row = (
        history::workflow_id.eq(id),
        history::seq.eq(numbers.into_iter().max().unwrap_or(0) + 1),
        history::at.eq(at),
        history::from_state.eq(from.map(State::name)),
        history::to_state.eq(change.to.name()),
        history::actor.eq(change.actor),
        history::detail.eq(change.detail),
    );
    let insert = diesel::insert_into(history::table).values(row);
    with_conn!(conn, c => insert.execute(c).await)?;
    Ok(())
}
