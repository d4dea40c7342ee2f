//! Which versions of which scrapers were seen, and how much they sent.

use axum::Json;
use axum::extract::State;
use ledgerline_schema::repositories;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page::{Page, time};
use crate::http::Shared;
use crate::http::input::{Limit, Params, key};
use crate::http::problem::{OfList, Problem};

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// One version of one scraper.
#[derive(Debug, Serialize, ToSchema)]
struct ScraperVersion {
    /// The kind of its events.
    kind: String,
    /// The scraper.
    source: String,
    /// Its version; empty where it tells none, `…` for those that there was no room for.
    version: String,
    /// The earliest `time` of an event.
    #[schema(format = DateTime)]
    first_seen: String,
    /// The latest.
    #[schema(format = DateTime)]
    last_seen: String,
    /// Events; what is read twice counts twice.
    records: i64,
}

/// Which scrapers.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// A scraper, as its events name it.
    source: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Versions of scrapers, by kind, scraper and version.
#[utoipa::path(get, path = "/api/v1/scraper-versions", operation_id = "listScraperVersions", tag = "operations", params(ListParams),
    responses((status = 200, description = "A page of versions", body = Page<ScraperVersion>), OfList))]
async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<ScraperVersion>>, Problem> {
    let after = key(params.after.as_ref())?;
    let page = shared.reads.scraper_versions(params.source.as_ref(), after, params.limit.0).await?;
    Ok(Json(Page::of(page, view)))
}

fn view(row: repositories::ScraperVersion) -> ScraperVersion {
    ScraperVersion {
        kind: row.kind,
        source: row.source,
        version: row.version,
        first_seen: time(row.first_seen),
        last_seen: time(row.last_seen),
        records: row.records,
    }
}
