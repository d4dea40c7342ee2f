//! Errors as Problem details (RFC 9457): one shape for every answer that is none, whoever refused: a handler, the token, the
//! router, the parser.
//!
//! What must stay true: bad input names its field; what went wrong inside is in the log, and not in the answer.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use ledgerline_schema::store::StoreError;
use serde::Serialize;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// The content type of every error.
const CONTENT_TYPE: &str = "application/problem+json";

/// Why a call was refused or failed (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Says that the status is all there is to know about the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong, for people.
    detail: String,
    /// The fields that are wrong; empty where none is.
    errors: Vec<FieldError>,
}

/// What is wrong with one field of the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Its name: of a parameter, or the path of a value in the body.
    field: String,
    /// What is wrong with it.
    detail: String,
}

impl Problem {
    /// A problem of no field in particular.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// Bad input.
    #[must_use]
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let error = FieldError { field: field.into(), detail: detail.into() };
        let text = format!("{}: {}", error.field, error.detail);
        Self { errors: vec![error], ..Self::new(StatusCode::BAD_REQUEST, text) }
    }

    /// There is no such thing.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::Rejected(text) = error {
            return Self::new(StatusCode::CONFLICT, text);
        }
        tracing::warn!(%error, "a call of the API failed");
        match error {
            StoreError::Saturated => Self::unavailable("every connection for this is in use"),
            StoreError::Unavailable(_) => Self::unavailable("the database does not answer"),
            StoreError::Query(error) => Self::of_query(&error.to_string()),
            StoreError::Config(_)
            | StoreError::Schema(_)
            | StoreError::Race
            | StoreError::Panicked(_)
            | StoreError::Rejected(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, IN_THE_LOG),
        }
    }
}

/// What is said of an error whose text may not be shown.
const IN_THE_LOG: &str = "the log of the worker has the reason";

/// What the server says and what it means. The text is its message without values; diesel hides the code that would tell without it.
const SAID: [(&str, StatusCode, &str); 6] = [
    (
        "statement timeout",
        StatusCode::SERVICE_UNAVAILABLE,
        "the database ended the read because it took too long: ask for less",
    ),
    (
        "lock timeout",
        StatusCode::SERVICE_UNAVAILABLE,
        "what is to be changed was held by somebody else for too long: try again",
    ),
    (
        "deadlock detected",
        StatusCode::SERVICE_UNAVAILABLE,
        "what is to be changed was held by somebody else: try again",
    ),
    (
        "conflict with recovery",
        StatusCode::SERVICE_UNAVAILABLE,
        "the replica ended the read to keep up: try again",
    ),
    (
        "permission denied",
        StatusCode::FORBIDDEN,
        "the database role may not do this: docs/roles.sql has the grants",
    ),
    (
        "cannot execute",
        StatusCode::SERVICE_UNAVAILABLE,
        "the database takes no changes: it is a replica, or it is read-only",
    ),
];

impl Problem {
    fn unavailable(detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    fn of_query(said: &str) -> Self {
        let known = SAID.iter().find(|(words, ..)| said.contains(words));
        known.map_or_else(
            || Self::new(StatusCode::INTERNAL_SERVER_ERROR, IN_THE_LOG),
            |(_, status, detail)| Self::new(*status, *detail),
        )
    }

    /// What is wrong, without the rest.
    #[must_use]
    pub fn into_detail(self) -> String {
        self.detail
    }
}

/// The answer where no route is.
pub(super) async fn no_such_page(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
}

/// The answer where the route is, but not for that method.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for {}", uri.path()))
}

fn documented(statuses: &[StatusCode]) -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
    let response = |status: &StatusCode| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        ResponseBuilder::new()
            .description(status.canonical_reason().unwrap_or("Error"))
            .content(CONTENT_TYPE, content)
            .build()
    };
    statuses.iter().map(|status| (status.as_u16().to_string(), response(status).into())).collect()
}

/// What any list may answer instead.
pub struct OfList;

impl IntoResponses for OfList {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        use StatusCode as S;
        documented(&[S::BAD_REQUEST, S::FORBIDDEN, S::INTERNAL_SERVER_ERROR, S::SERVICE_UNAVAILABLE])
    }
}

/// What any read of one thing may answer instead.
pub struct OfOne;

impl IntoResponses for OfOne {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let mut responses = OfList::responses();
        responses.extend(documented(&[StatusCode::NOT_FOUND]));
        responses
    }
}

/// What any call that changes something may answer instead.
pub struct OfChange;

impl IntoResponses for OfChange {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        use StatusCode as S;
        let mut responses = OfOne::responses();
        responses.extend(documented(&[
            S::UNAUTHORIZED,
            S::CONFLICT,
            S::PAYLOAD_TOO_LARGE,
            S::UNSUPPORTED_MEDIA_TYPE,
        ]));
        responses
    }
}
