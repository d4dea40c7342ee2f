//! The keyword rules of alerts: what there is, and what an operator changes. A change holds for what articles say from then on.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledgerline_schema::keywords::Field;
use ledgerline_schema::store::{self, RuleChange, RuleDraft, RuleError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page::{Page, time};
use crate::clock;
use crate::http::Shared;
use crate::http::input::{Body, Id, Limit, Params, key, said};
use crate::http::problem::{OfChange, OfList, OfOne, Problem};

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

pub(super) fn control() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(update, delete))
}

/// A keyword rule.
#[derive(Debug, Serialize, ToSchema)]
struct Rule {
    /// The number in this database.
    id: i64,
    /// What it is called.
    name: String,
    /// What it looks for.
    keywords: Vec<String>,
    /// Where it looks: `title`, `body` or `any`.
    field: &'static str,
    /// Whether it looks at all.
    enabled: bool,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was changed last.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// What a rule is to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RuleOrder {
    /// What it is called; no two rules have the same name.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it looks for: words or phrases; case does not count.
    #[schema(min_items = 1, max_items = 100)]
    keywords: Vec<String>,
    /// Where it looks.
    #[serde(default = "anywhere")]
    #[schema(value_type = String, pattern = "^(title|body|any)$", default = "any")]
    field: Field,
    /// Whether it looks at all.
    #[serde(default = "yes")]
    #[schema(default = true)]
    enabled: bool,
    /// Who asks, for the trail of the operators.
    #[schema(min_length = 1, max_length = 1000)]
    actor: String,
}

/// Which rules.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Who asks.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DeleteParams {
    /// Who asks, for the trail of the operators.
    #[param(min_length = 1, max_length = 1000)]
    actor: String,
}

/// Keyword rules by their numbers.
#[utoipa::path(get, path = "/api/v1/alert-rules", operation_id = "listAlertRules", tag = "articles", params(ListParams),
    responses((status = 200, description = "A page of rules", body = Page<Rule>), OfList))]
async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Rule>>, Problem> {
    let after = key(params.after.as_ref())?;
    Ok(Json(Page::of(shared.reads.rules(after, params.limit.0).await?, view)))
}

/// One keyword rule.
#[utoipa::path(get, path = "/api/v1/alert-rules/{id}", operation_id = "showAlertRule", tag = "articles",
    params(("id" = i64, Path, description = "The number of a list")),
    responses((status = 200, description = "The rule", body = Rule), OfOne))]
async fn show(State(shared): State<Shared>, Id(id): Id<i64>) -> Result<Json<Rule>, Problem> {
    let rule = shared.reads.rule(id).await?;
    rule.map(|rule| Json(view(rule))).ok_or_else(|| RuleError::Missing(id).into())
}

/// Makes a rule. It holds for what articles say from now on, not for what they said.
#[utoipa::path(post, path = "/api/v1/alert-rules", operation_id = "createAlertRule", tag = "control", security(("token" = [])),
    request_body = RuleOrder,
    responses((status = 201, description = "The rule", body = Rule, headers(("location" = String, description = "Where it is")),
        links(("show" = (operation_id = "showAlertRule", parameters(("id" = "$response.body#/id")))),
              ("update" = (operation_id = "updateAlertRule", parameters(("id" = "$response.body#/id")))),
              ("delete" = (operation_id = "deleteAlertRule", parameters(("id" = "$response.body#/id")))))), OfChange))]
async fn create(State(shared): State<Shared>, Body(order): Body<RuleOrder>) -> Result<Response, Problem> {
    let (draft, actor) = order.read()?;
    let rule = shared.store.create_rule(&draft, &RuleChange { actor: &actor, now: clock::now() }).await?;
    let location = format!("/api/v1/alert-rules/{}", rule.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view(rule))).into_response())
}

/// Replaces a rule whole. Alerts that it has raised stand until their article is revised.
#[utoipa::path(put, path = "/api/v1/alert-rules/{id}", operation_id = "updateAlertRule", tag = "control", security(("token" = [])),
    params(("id" = i64, Path, description = "The number of a list")), request_body = RuleOrder,
    responses((status = 200, description = "The rule", body = Rule), OfChange))]
async fn update(
    State(shared): State<Shared>,
    Id(id): Id<i64>,
    Body(order): Body<RuleOrder>,
) -> Result<Json<Rule>, Problem> {
    let (draft, actor) = order.read()?;
    let change = RuleChange { actor: &actor, now: clock::now() };
    Ok(Json(view(shared.store.update_rule(id, &draft, &change).await?)))
}

/// Deletes a rule, and answers what it was. Its alerts stay.
#[utoipa::path(delete, path = "/api/v1/alert-rules/{id}", operation_id = "deleteAlertRule", tag = "control", security(("token" = [])),
    params(("id" = i64, Path, description = "The number of a list"), DeleteParams),
    responses((status = 200, description = "What the rule was", body = Rule), OfChange))]
async fn delete(
    State(shared): State<Shared>,
    Id(id): Id<i64>,
    Params(params): Params<DeleteParams>,
) -> Result<Json<Rule>, Problem> {
    said("actor", &params.actor)?;
    let change = RuleChange { actor: &params.actor, now: clock::now() };
    Ok(Json(view(shared.store.delete_rule(id, &change).await?)))
}

impl RuleOrder {
    fn read(self) -> Result<(RuleDraft, String), Problem> {
        said("actor", &self.actor)?;
        let Self { name, keywords, field, enabled, actor } = self;
        Ok((RuleDraft { name, keywords, field, enabled }, actor))
    }
}

impl From<RuleError> for Problem {
    fn from(error: RuleError) -> Self {
        match error {
            RuleError::Invalid { field, problem } => Self::field(field, problem),
            RuleError::NameTaken => Self::new(StatusCode::CONFLICT, error.to_string()),
            RuleError::Missing(_) => Self::not_found(error.to_string()),
            RuleError::Store(error) => error.into(),
        }
    }
}

fn anywhere() -> Field {
    Field::Any
}

fn yes() -> bool {
    true
}

fn view(rule: store::Rule) -> Rule {
    let store::Rule { id, draft, created_at, updated_at } = rule;
    Rule {
        id,
        name: draft.name,
        keywords: draft.keywords,
        field: draft.field.name(),
        enabled: draft.enabled,
        created_at: time(created_at),
        updated_at: time(updated_at),
    }
}
