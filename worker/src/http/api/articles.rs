//! Articles: lists without bodies, and one with its body.

use axum::Json;
use axum::extract::State;
use ledgerline_schema::repositories::{self, ArticleFilter};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page::{Page, json, time};
use crate::http::Shared;
use crate::http::input::{Id, Limit, Params, Time, key};
use crate::http::problem::{OfList, OfOne, Problem};

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

/// An article as it was read last.
#[derive(Debug, Serialize, ToSchema)]
struct Article {
    /// The number in this database.
    id: i64,
    /// As it was published.
    url: String,
    /// What tells articles apart.
    canonical_url: String,
    /// Title.
    title: String,
    /// Summary.
    summary: String,
    /// Text; null in a list.
    body: Option<String>,
    /// Who published it.
    source_name: Option<String>,
    /// Language tag.
    language: Option<String>,
    /// Who wrote it.
    #[schema(value_type = Vec<String>)]
    authors: Box<RawValue>,
    /// Tags.
    #[schema(value_type = Vec<String>)]
    tags: Box<RawValue>,
    /// When it was published.
    #[schema(format = DateTime)]
    published_at: Option<String>,
    /// How often its content has changed.
    revision: i32,
    /// The scraper.
    source: String,
    /// When the scraper saw it so.
    #[schema(format = DateTime)]
    source_time: String,
}

/// Which articles.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Seen at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    /// Seen before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Time>,
    /// A language tag, such as `en`.
    language: Option<String>,
    /// A scraper.
    source: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Articles, the one stored last first.
#[utoipa::path(get, path = "/api/v1/articles", operation_id = "listArticles", tag = "articles", params(ListParams),
    responses((status = 200, description = "A page of articles", body = Page<Article>), OfList))]
async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Article>>, Problem> {
    let before = key(params.after.as_ref())?;
    let filter = ArticleFilter {
        from: params.from.map(|time| time.0),
        until: params.until.map(|time| time.0),
        language: params.language,
        source: params.source,
    };
    Ok(Json(Page::of(shared.reads.articles(&filter, before, params.limit.0).await?, view)))
}

/// One article with its body.
#[utoipa::path(get, path = "/api/v1/articles/{id}", operation_id = "showArticle", tag = "articles",
    params(("id" = i64, Path, description = "The number of a list")),
    responses((status = 200, description = "The article", body = Article), OfOne))]
async fn show(State(shared): State<Shared>, Id(id): Id<i64>) -> Result<Json<Article>, Problem> {
    let article = shared.reads.article(id).await?;
    article
        .map(|article| Json(view(article)))
        .ok_or_else(|| Problem::not_found(format!("there is no article {id}")))
}

fn view(article: repositories::Article) -> Article {
    Article {
        id: article.id,
        url: article.url,
        canonical_url: article.canonical_url,
        title: article.title,
        summary: article.summary,
        body: article.body,
        source_name: article.source_name,
        language: article.language,
        authors: json(&article.authors.0),
        tags: json(&article.tags.0),
        published_at: article.published_at.map(time),
        revision: article.revision,
        source: article.source,
        source_time: time(article.source_time),
    }
}
