//! The OpenAPI 3.1 document: made of the handlers themselves, so that it cannot say anything else than they do.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::api;
use super::problem::{FieldError, Problem};

/// What is said once for all handlers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ledgerline",
        description = "Odds, games and articles as they were stored, where every partition stands, and what an operator may change. \
                       Every list is a page: give its `next` as `after` until there is none. Every error is a Problem (RFC 9457). \
                       Calls that change something are served on the control listener alone, and need the bearer token.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem, FieldError)),
    modifiers(&BearerToken),
    tags(
        (name = "games", description = "Games, their odds and what their lines did"),
        (name = "signals", description = "Sharp signals and betting analyses"),
        (name = "articles", description = "Articles, alerts and their rules"),
        (name = "workflows", description = "Replays and backfills"),
        (name = "operations", description = "Dead letters, partitions, scrapers, the database"),
        (name = "control", description = "What an operator changes"),
    ),
)]
pub(super) struct Frame;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// The document as JSON.
///
/// # Errors
/// Never in practice: it is made of texts.
pub fn document() -> serde_json::Result<String> {
    let mut document = Frame::openapi();
    document.merge(api::read_resources().into_openapi());
    document.merge(api::control_resources().into_openapi());
    document.to_pretty_json()
}
