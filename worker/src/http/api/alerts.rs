//! Alerts: what keyword rules found in articles, the newest first.

use axum::Json;
use axum::extract::State;
use ledgerline_schema::repositories::{AlertFilter, FoundAlert};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page::{Page, time};
use crate::http::Shared;
use crate::http::input::{Limit, Params, Time, key};
use crate::http::problem::{OfList, Problem};

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A keyword that an article holds.
#[derive(Debug, Serialize, ToSchema)]
struct Alert {
    /// The number in this database.
    id: i64,
    /// The rule's number.
    rule_id: i64,
    /// What the rule is called; null where it was deleted.
    rule: Option<String>,
    /// The article's number.
    article_id: i64,
    /// Where the article is.
    url: String,
    /// What it is called now.
    title: String,
    /// What was found.
    keyword: String,
    /// Where: `title` or `body`.
    field: String,
    /// The text around it.
    excerpt: String,
    /// In which revision it was found.
    revision: i32,
    /// When that was read.
    #[schema(format = DateTime)]
    at: String,
    /// When a later revision no longer held it.
    #[schema(format = DateTime)]
    withdrawn_at: Option<String>,
}

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Of the rule of this number.
    rule: Option<i64>,
    /// Of the article of this number.
    article: Option<i64>,
    /// Raised by a reading of this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Time>,
    /// `true`: those that were withdrawn, too.
    #[serde(default)]
    withdrawn: bool,
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Alerts, the newest first.
#[utoipa::path(get, path = "/api/v1/alerts", operation_id = "listAlerts", tag = "articles", params(ListParams),
    responses((status = 200, description = "A page of alerts", body = Page<Alert>), OfList))]
async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Alert>>, Problem> {
    let before = key(params.after.as_ref())?;
    let filter = AlertFilter {
        rule_id: params.rule,
        article_id: params.article,
        since: params.since.map(|time| time.0),
        with_withdrawn: params.withdrawn,
    };
    Ok(Json(Page::of(shared.reads.alerts(&filter, before, params.limit.0).await?, view)))
}

fn view(alert: FoundAlert) -> Alert {
    Alert {
        id: alert.id,
        rule_id: alert.rule_id,
        rule: alert.rule,
        article_id: alert.article_id,
        url: alert.url,
        title: alert.title,
        keyword: alert.keyword,
        field: alert.field,
        excerpt: alert.excerpt,
        revision: alert.revision,
        at: time(alert.at),
        withdrawn_at: alert.withdrawn_at.map(time),
    }
}
