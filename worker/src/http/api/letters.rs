//! Dead letters: lists without their records, and one with its exact bytes.

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ledgerline_schema::events::Reason;
use ledgerline_schema::repositories::LetterHead;
use ledgerline_schema::store::{LetterFilter, LetterId, LetterStatus};
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

/// A record that could not be applied.
#[derive(Debug, Serialize, ToSchema)]
struct DeadLetter {
    /// LINEAGE:OFFSET, as `ledgerline dlq` takes it.
    id: String,
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// The record's offset.
    offset: i64,
    /// Kafka's timestamp of the record.
    #[schema(format = DateTime)]
    timestamp: Option<String>,
    /// Bytes of the record's value.
    payload_bytes: i32,
    /// Why it was refused last.
    reason: String,
    /// What is wrong where.
    detail: String,
    /// The scraper's poll.
    correlation_id: Option<String>,
    /// When it was stored.
    #[schema(format = DateTime)]
    created_at: String,
    /// `dead`, `redriven` or `discarded`.
    status: String,
    /// How often it was redriven.
    attempts: i32,
}

/// A record that could not be applied, byte for byte.
#[derive(Debug, Serialize, ToSchema)]
struct WholeLetter {
    #[serde(flatten)]
    head: DeadLetter,
    /// The record's key; null where it has none.
    key_base64: Option<String>,
    /// The record's value; empty once it was pruned.
    payload_base64: String,
    /// The record's headers.
    #[schema(value_type = Value)]
    headers: Box<RawValue>,
    /// When its bytes were forgotten.
    #[schema(format = DateTime)]
    pruned_at: Option<String>,
}

/// Which dead letters.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// A topic.
    topic: Option<String>,
    /// A partition.
    partition: Option<i32>,
    /// Why they were refused, as docs/EVENTS.md lists it.
    reason: Option<String>,
    /// Stored at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Time>,
    /// Stored before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Time>,
    /// `dead`, `redriven` or `discarded`.
    status: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Most rows of the page.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 50)]
    limit: Limit,
}

/// Dead letters in the order of their records.
#[utoipa::path(get, path = "/api/v1/dead-letters", operation_id = "listDeadLetters", tag = "operations", params(ListParams),
    responses((status = 200, description = "A page of dead letters", body = Page<DeadLetter>), OfList))]
async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<DeadLetter>>, Problem> {
    let after = key::<(i32, i64)>(params.after.as_ref())?;
    let after = after.map(|(lineage_id, offset)| LetterId { lineage_id, offset });
    let limit = params.limit.0;
    let page = shared.reads.letter_heads(&params.filter()?, after, limit).await?;
    Ok(Json(Page::of(page.map_key(|id| (id.lineage_id, id.offset)), head)))
}

/// One dead letter with its exact bytes.
#[utoipa::path(get, path = "/api/v1/dead-letters/{id}", operation_id = "showDeadLetter", tag = "operations",
    params(("id" = String, Path, description = "LINEAGE:OFFSET, as the list has it")),
    responses((status = 200, description = "The dead letter", body = WholeLetter), OfOne))]
async fn show(State(shared): State<Shared>, Id(id): Id<LetterId>) -> Result<Json<WholeLetter>, Problem> {
    let letter = shared.reads.letter(id).await?;
    let letter = letter.ok_or_else(|| Problem::not_found(format!("there is no dead letter {id}")))?;
    Ok(Json(WholeLetter {
        key_base64: letter.key.as_ref().map(|key| BASE64.encode(key)),
        payload_base64: BASE64.encode(&letter.payload),
        headers: json(&letter.headers.0),
        pruned_at: letter.pruned_at.map(time),
        head: head(LetterHead {
            lineage_id: letter.lineage_id,
            record_offset: letter.offset,
            topic: letter.topic,
            partition: letter.partition,
            record_timestamp: letter.timestamp,
            payload_bytes: i32::try_from(letter.payload.len()).unwrap_or(i32::MAX),
            reason: letter.reason,
            detail: letter.detail,
            correlation_id: letter.correlation_id,
            created_at: letter.created_at,
            status: letter.status,
            attempts: letter.attempts,
        }),
    }))
}

fn head(letter: LetterHead) -> DeadLetter {
    DeadLetter {
        id: letter.id().to_string(),
        topic: letter.topic,
        partition: letter.partition,
        offset: letter.record_offset,
        timestamp: letter.record_timestamp.map(time),
        payload_bytes: letter.payload_bytes,
        reason: letter.reason,
        detail: letter.detail,
        correlation_id: letter.correlation_id,
        created_at: time(letter.created_at),
        status: letter.status,
        attempts: letter.attempts,
    }
}

impl ListParams {
    fn filter(self) -> Result<LetterFilter, Problem> {
        let reason = self.reason.map(|name| {
            let known = Reason::ALL.iter().copied().find(|reason| reason.name() == name);
            known.ok_or_else(|| Problem::field("reason", "is none of those in docs/EVENTS.md"))
        });
        let status = self.status.map(|name| {
            let known = LetterStatus::ALL.into_iter().find(|status| status.name() == name);
            known.ok_or_else(|| Problem::field("status", "must be dead, redriven or discarded"))
        });
        Ok(LetterFilter {
            topic: self.topic,
            partition: self.partition,
            reason: reason.transpose()?,
            since: self.from.map(|time| time.0),
            until: self.until.map(|time| time.0),
            status: status.transpose()?,
        })
    }
}
