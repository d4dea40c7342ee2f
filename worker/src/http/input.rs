//! What a call brings: parameters, parts of the path, a body. Parsed once here, so that whatever is wrong is a `Problem` that
//! names the field.
//!
//! What must stay true: a parameter is known exactly where it is documented; no text with a NUL reaches a database, which one of
//! them cannot store.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ledgerline_schema::store::GameName;
use ledgerline_schema::time::UtcMicros;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::IntoParams;

use super::problem::Problem;

/// Characters of any text that is asked for.
const TEXT_CHARS: usize = 1_000;

/// The parameters behind the `?`.
pub(super) struct Params<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned + IntoParams> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the query cannot be read: {error}"))
        })?;
        let known: Vec<String> =
            T::into_params(|| None).into_iter().map(|parameter| parameter.name).collect();
        for (index, (name, value)) in pairs.iter().enumerate() {
            if !known.contains(name) {
                let known = known.join(", ");
                return Err(Problem::field(name, format!("there is no such parameter; there are {known}")));
            }
            if pairs[..index].iter().any(|(other, _)| other == name) {
                return Err(Problem::field(name, "is given twice"));
            }
            if name != "after" {
                text(name, value)?;
            }
        }
        let parser = serde_urlencoded::Deserializer::new(url_pairs(query));
        serde_path_to_error::deserialize(parser).map(Self).map_err(|error| located(&error))
    }
}

fn url_pairs(query: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(query.as_bytes())
}

/// Where something is wrong, and what.
fn located<E: std::fmt::Display>(error: &serde_path_to_error::Error<E>) -> Problem {
    let (path, text) = (error.path().to_string(), error.inner().to_string());
    // A field that is missing or unknown is named in the text: its parent is what was being read.
    let named = ["missing field `", "unknown field `"].iter().find_map(|start| text.strip_prefix(start));
    match (named.and_then(|rest| rest.split('`').next()), path.as_str()) {
        (Some(name), "." | "?") => Problem::field(name, text.clone()),
        (Some(name), path) if path.ends_with(name) => Problem::field(path, text.clone()),
        (Some(name), path) => Problem::field(format!("{path}.{name}"), text.clone()),
        (None, "." | "?") => Problem::field("body", text),
        (None, path) => Problem::field(path, text),
    }
}

/// Refuses a text that no database should see.
pub(super) fn text(field: &str, text: &str) -> Result<(), Problem> {
    if text.contains('\0') {
        return Err(Problem::field(field, "must not hold the character NUL"));
    }
    if text.chars().count() > TEXT_CHARS {
        return Err(Problem::field(field, format!("must be at most {TEXT_CHARS} characters")));
    }
    Ok(())
}

/// Refuses a text that says nothing.
pub(super) fn said(field: &str, value: &str) -> Result<(), Problem> {
    text(field, value)?;
    match value.trim() {
        "" => Err(Problem::field(field, "must not be empty")),
        _ => Ok(()),
    }
}

/// The name of a game in the path: `{system}/{id}`.
pub(super) struct Named(pub(super) GameName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((system, id)) = path.map_err(|error| Problem::new(error.status(), error.body_text()))?;
        text("system", &system)?;
        text("id", &id)?;
        Ok(Self(GameName { system, id }))
    }
}

/// One part of the path, `{id}`.
pub(super) struct Id<T>(pub(super) T);

impl<S: Send + Sync, T: std::str::FromStr<Err: std::fmt::Display>> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|error| Problem::new(error.status(), error.body_text()))?;
        text("id", &id)?;
        id.parse().map(Self).map_err(|error| Problem::field("id", error.to_string()))
    }
}

/// A body of JSON.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind =
            request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        let essence = kind.split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let detail = "the body must be application/json, and its content type must say so";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|error| Problem::new(error.status(), error.body_text()))?;
        let parser = &mut serde_json::Deserializer::from_slice(&bytes);
        let body = serde_path_to_error::deserialize(&mut *parser).map_err(|error| located(&error))?;
        parser.end().map_err(|error| Problem::field("body", error.to_string()))?;
        Ok(Self(body))
    }
}

/// Rows of a page.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Limit(pub(super) usize);

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let limit = text.parse().ok().filter(|limit| (1..=500).contains(limit));
        limit.map(Self).ok_or_else(|| "must be 1 to 500".to_owned())
    }
}

/// A part of one, 0 to 1.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Part(pub(super) f64);

impl TryFrom<String> for Part {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
        part.map(Self).ok_or_else(|| "must be 0 to 1".to_owned())
    }
}

/// A time.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Time(pub(super) UtcMicros);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        UtcMicros::parse(&text).map(Self)
    }
}

/// Where the next page starts, as callers see it: opaque.
pub(super) fn cursor<K: Serialize>(key: &K) -> Option<String> {
    serde_json::to_vec(key).ok().map(|json| BASE64.encode(json))
}

fn holds_nul(key: &Value) -> bool {
    match key {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(fields) => fields.values().any(holds_nul),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The key in the cursor `after`.
pub(super) fn key<K: DeserializeOwned>(after: Option<&String>) -> Result<Option<K>, Problem> {
    let Some(after) = after else { return Ok(None) };
    let json: Option<Value> = BASE64.decode(after).ok().and_then(|json| serde_json::from_slice(&json).ok());
    let key = json.filter(|key| !holds_nul(key)).and_then(|key| serde_json::from_value(key).ok());
    key.map(Some).ok_or_else(|| Problem::field("after", "is not the `next` of an earlier page of this list"))
}
