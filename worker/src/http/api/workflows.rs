//! Replays and backfills: asked for, looked at, called off, put back in line. Workers with `[workflows] enabled = true` take them up.
//!
//! What must stay true: what is asked for here is what the commands ask for; a bad parameter is named by its field.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledgerline_schema::store::{self, HistoryRow, NewWorkflow, WorkflowError, WorkflowFilter};
use ledgerline_schema::workflow::{BadParameter, Parameters, WorkflowKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page::{Page, time};
use super::parameters::WorkflowParameters;
use crate::http::Shared;
use crate::http::input::{Body, Id, Limit, Params, key, said};
use crate::http::problem::{OfChange, OfList, OfOne, Problem};

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(history))
}

pub(super) fn control() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(change))
}

/// A replay or a backfill.
#[derive(Debug, Serialize, ToSchema)]
struct Workflow {
    /// Its id.
    id: String,
    /// `replay` or `backfill`.
    kind: &'static str,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    state: &'static str,
    /// What it was asked to do.
    #[schema(value_type = WorkflowParameters)]
    parameters: Parameters,
    /// How far it has come, as its owner last said; null before its first start.
    #[schema(value_type = Option<Object>)]
    progress: Option<Value>,
    /// Why it failed.
    error: Option<String>,
    /// Who asked for it.
    requested_by: String,
    /// Belongs to the command that asked for it; workers leave it alone.
    attended: bool,
    /// Who has taken it up.
    lease_owner: Option<String>,
    /// Until when nobody else may.
    #[schema(format = DateTime)]
    lease_until: Option<String>,
    /// How often it was taken up.
    attempt: i32,
    /// When it was asked for.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was first taken up.
    #[schema(format = DateTime)]
    started_at: Option<String>,
    /// When it was over.
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    /// When it last changed.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A change of a workflow's state.
#[derive(Debug, Serialize, ToSchema)]
struct Change {
    /// Its number within the workflow, from 1.
    seq: i32,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// The state before; null when it was asked for.
    from: Option<String>,
    /// The state after.
    to: String,
    /// Who.
    actor: String,
    /// Why, or what came of it.
    detail: String,
}

/// A workflow that is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WorkflowOrder {
    /// What it is to do.
    #[schema(value_type = WorkflowParameters)]
    parameters: Parameters,
    /// Who asks, for its history.
    #[schema(min_length = 1, max_length = 1000)]
    actor: String,
}

/// What is to become of a workflow.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// Call it off; what it did stays done.
    Cancel,
    /// Put one that failed or was called off back in line; it goes on where it stopped.
    Retry,
}

/// A change that is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeOrder {
    /// What is to become of it.
    action: Action,
    /// Who asks, for its history.
    #[schema(min_length = 1, max_length = 1000)]
    actor: String,
    /// Why, for its history.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

/// Which workflows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// `replay` or `backfill`.
    #[param(value_type = Option<String>)]
    kind: Option<WorkflowKind>,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    #[param(value_type = Option<String>)]
    state: Option<ledgerline_schema::workflow::State>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryParams {
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Workflows, the newest first.
#[utoipa::path(get, path = "/api/v1/workflows", operation_id = "listWorkflows", tag = "workflows", params(ListParams),
    responses((status = 200, description = "A page of workflows", body = Page<Workflow>), OfList))]
async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Workflow>>, Problem> {
    let after = key::<String>(params.after.as_ref())?;
    let filter = WorkflowFilter { kind: params.kind, state: params.state };
    Ok(Json(Page::of(shared.reads.workflows(&filter, after.as_deref(), params.limit.0).await?, view)))
}

/// One workflow.
#[utoipa::path(get, path = "/api/v1/workflows/{id}", operation_id = "showWorkflow", tag = "workflows",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The workflow", body = Workflow), OfOne))]
async fn show(State(shared): State<Shared>, Id(id): Id<String>) -> Result<Json<Workflow>, Problem> {
    let found = shared.reads.workflow(&id).await?;
    found.map(|workflow| Json(view(workflow))).ok_or_else(|| WorkflowError::NotFound(id).into())
}

/// Every change of a workflow's state, in order.
#[utoipa::path(get, path = "/api/v1/workflows/{id}/history", operation_id = "workflowHistory", tag = "workflows",
    params(("id" = String, Path, description = "Its id"), HistoryParams),
    responses((status = 200, description = "A page of changes", body = Page<Change>), OfOne))]
async fn history(
    State(shared): State<Shared>,
    Id(id): Id<String>,
    Params(params): Params<HistoryParams>,
) -> Result<Json<Page<Change>>, Problem> {
    let after = key(params.after.as_ref())?;
    if shared.reads.workflow(&id).await?.is_none() {
        return Err(WorkflowError::NotFound(id).into());
    }
    Ok(Json(Page::of(shared.reads.workflow_history(&id, after, params.limit.0).await?, change_view)))
}

/// Asks for a replay or a backfill. The next worker that takes up workflows does it.
#[utoipa::path(post, path = "/api/v1/workflows", operation_id = "createWorkflow", tag = "control", security(("token" = [])),
    request_body = WorkflowOrder,
    responses((status = 201, description = "The workflow", body = Workflow, headers(("location" = String, description = "Where it is")),
        links(("show" = (operation_id = "showWorkflow", parameters(("id" = "$response.body#/id")))),
              ("history" = (operation_id = "workflowHistory", parameters(("id" = "$response.body#/id")))),
              ("change" = (operation_id = "changeWorkflow", parameters(("id" = "$response.body#/id")))))),
              OfChange))]
async fn create(State(shared): State<Shared>, Body(order): Body<WorkflowOrder>) -> Result<Response, Problem> {
    said("actor", &order.actor)?;
    if let Parameters::Replay(replay) = &order.parameters
        && !shared.topics.iter().any(|topic| topic.name == replay.topic)
    {
        let known: Vec<&str> = shared.topics.iter().map(|topic| topic.name.as_str()).collect();
        let known = known.join(", ");
        return Err(Problem::field("parameters.topic", format!("is none of the configured topics: {known}")));
    }
    let new = NewWorkflow { parameters: &order.parameters, requested_by: &order.actor, attended: false };
    let created = shared.store.create_workflow(&new).await?;
    tracing::info!(
        workflow = created.id,
        kind = created.kind.name(),
        actor = order.actor,
        "workflow asked for"
    );
    let location = format!("/api/v1/workflows/{}", created.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view(created))).into_response())
}

/// Calls a workflow off, or puts it back in line.
#[utoipa::path(put, path = "/api/v1/workflows/{id}", operation_id = "changeWorkflow", tag = "control", security(("token" = [])),
    params(("id" = String, Path, description = "Its id")), request_body = ChangeOrder,
    responses((status = 200, description = "The workflow", body = Workflow), OfChange))]
async fn change(
    State(shared): State<Shared>,
    Id(id): Id<String>,
    Body(order): Body<ChangeOrder>,
) -> Result<Json<Workflow>, Problem> {
    said("actor", &order.actor)?;
    said("reason", &order.reason)?;
    let ChangeOrder { action, actor, reason } = order;
    let changed = match action {
        Action::Cancel => shared.store.cancel_workflow(&id, &actor, &reason).await?,
        Action::Retry => shared.store.retry_workflow(&id, &actor, &reason).await?,
    };
    tracing::info!(workflow = id, state = changed.state.name(), actor, "workflow changed");
    Ok(Json(view(changed)))
}

impl From<WorkflowError> for Problem {
    fn from(error: WorkflowError) -> Self {
        match error {
            WorkflowError::BadParameter(BadParameter { field, problem }) => {
                Self::field(format!("parameters.{field}"), problem)
            }
            WorkflowError::NotFound(_) => Self::not_found(error.to_string()),
            WorkflowError::Illegal { .. } | WorkflowError::Unfinished(_) | WorkflowError::LeaseLost(_) => {
                Self::new(StatusCode::CONFLICT, error.to_string())
            }
            WorkflowError::Store(error) => error.into(),
        }
    }
}

fn view(workflow: store::Workflow) -> Workflow {
    Workflow {
        id: workflow.id,
        kind: workflow.kind.name(),
        state: workflow.state.name(),
        parameters: workflow.parameters,
        progress: workflow.progress,
        error: workflow.error,
        requested_by: workflow.requested_by,
        attended: workflow.attended,
        lease_owner: workflow.lease_owner,
        lease_until: workflow.lease_until.map(time),
        attempt: workflow.attempt,
        created_at: time(workflow.created_at),
        started_at: workflow.started_at.map(time),
        ended_at: workflow.ended_at.map(time),
        updated_at: time(workflow.updated_at),
    }
}

fn change_view(row: HistoryRow) -> Change {
    Change {
        seq: row.seq,
        at: time(row.at),
        from: row.from_state,
        to: row.to_state,
        actor: row.actor,
        detail: row.detail,
    }
}
