//! Whether the databases answer, as what, and how busy the pools are.

use axum::Json;
use axum::extract::State;
use ledgerline_schema::repositories::{Role, ServerState};
use ledgerline_schema::store::{PoolState, SCHEMA_VERSION, Store, StoreError};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Shared;
use crate::http::problem::{OfList, Problem};

pub(super) fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(show))
}

/// The databases of this worker.
#[derive(Debug, Serialize, ToSchema)]
struct Databases {
    /// The schema version that this program is made for.
    program_schema_version: i32,
    /// Where the line writes.
    writes: Database,
    /// Where this API reads.
    reads: Database,
}

/// A database and the pool of connections to it.
#[derive(Debug, Serialize, ToSchema)]
struct Database {
    /// `postgres` or `sqlite`.
    kind: &'static str,
    /// The server's version.
    version: String,
    /// `primary`, `replica` or `embedded`.
    role: &'static str,
    /// The version of the schema there.
    schema_version: i32,
    /// From asking for a connection to the answer.
    latency_ms: f64,
    /// The pool.
    pool: Pool,
}

/// A pool of connections.
#[derive(Debug, Serialize, ToSchema)]
struct Pool {
    /// Open and unused.
    idle: u32,
    /// In use.
    in_use: u32,
    /// The most that may be open.
    max: u32,
    /// Callers that waited in vain, since the start.
    timeouts: u64,
}

/// Asks both databases to answer.
#[utoipa::path(get, path = "/api/v1/health/db", operation_id = "databaseHealth", tag = "operations",
    responses((status = 200, description = "Both answered", body = Databases), OfList))]
async fn show(State(shared): State<Shared>) -> Result<Json<Databases>, Problem> {
    let (writes, reads) = tokio::join!(ask(&shared.store), ask(&shared.reads));
    Ok(Json(Databases { program_schema_version: SCHEMA_VERSION, writes: writes?, reads: reads? }))
}

async fn ask(store: &Store) -> Result<Database, StoreError> {
    // The pool as it was before this call took a place in it.
    let PoolState { idle, in_use, max, timeouts } = store.pool_state();
    let ServerState { version, role, schema_version, latency } = store.server_state().await?;
    let role = match role {
        Role::Primary => "primary",
        Role::Replica => "replica",
        Role::Embedded => "embedded",
    };
    let latency_ms = latency.as_secs_f64() * 1e3;
    let pool = Pool { idle, in_use, max, timeouts };
    Ok(Database { kind: store.name(), version, role, schema_version, latency_ms, pool })
}
