//! How lists answer.

use ledgerline_schema::repositories;
use ledgerline_schema::time::UtcMicros;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::http::input::cursor;

/// Some of the rows, and where the next page starts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T: ToSchema> {
    /// The rows.
    items: Vec<T>,
    /// Give it as `after` for the next page; null where no more follow.
    next: Option<String>,
}

impl<T: ToSchema> Page<T> {
    /// The page as callers see it.
    pub(super) fn of<R, K: Serialize>(page: repositories::Page<R, K>, view: impl FnMut(R) -> T) -> Self {
        Self { next: page.next.as_ref().and_then(cursor), items: page.rows.into_iter().map(view).collect() }
    }
}

/// A time as callers see it.
pub(super) fn time(time: UtcMicros) -> String {
    time.to_string()
}

/// A stored JSON document, handed on as it is.
pub(super) fn json(document: &str) -> Box<RawValue> {
    RawValue::from_string(document.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
