//! Whether the databases answer, as what, and how busy the pools are.

use axum::Json;
use axum::extract::State;
use ledgerline_schema::repositories::{Role, ServerState};
use ledgerline_schema::store::{PoolState, SCHEMA_VERSION, Store};
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
    /// Whether both answered.
    ok: bool,
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
    /// The pool.
    pool: Pool,
    /// What the server said; null where it did not answer.
    server: Option<Server>,
    /// Why it did not.
    problem: Option<String>,
}

/// A server that answered.
#[derive(Debug, Serialize, ToSchema)]
struct Server {
    /// Its version.
    version: String,
    /// `primary`, `replica` or `embedded`.
    role: &'static str,
    /// The version of the schema there.
    schema_version: i32,
    /// From asking for a connection to the answer.
    latency_ms: f64,
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

/// Asks both databases, over connections that are none of the line's, and tells each by itself.
#[utoipa::path(get, path = "/api/v1/health/db", operation_id = "databaseHealth", tag = "operations",
    responses((status = 200, description = "What they said, or why they did not", body = Databases), OfList))]
async fn show(State(shared): State<Shared>) -> Json<Databases> {
    let (writes, reads) = tokio::join!(ask(&shared.store, &shared.probe), ask(&shared.reads, &shared.reads));
    let ok = writes.problem.is_none() && reads.problem.is_none();
    Json(Databases { ok, program_schema_version: SCHEMA_VERSION, writes, reads })
}

/// The pool of one store, and what the server says over a connection of another one.
async fn ask(store: &Store, by: &Store) -> Database {
    // The pool as it was before this call took a place in it.
    let PoolState { idle, in_use, max, timeouts } = store.pool_state();
    let pool = Pool { idle, in_use, max, timeouts };
    let (server, problem) = match by.server_state().await {
        Ok(state) => (Some(view(state)), None),
        Err(error) => {
            tracing::warn!(%error, "the database was asked how it is");
            (None, Some(Problem::from(error).into_detail()))
        }
    };
    Database { kind: store.name(), pool, server, problem }
}

fn view(state: ServerState) -> Server {
    let ServerState { version, role, schema_version, latency } = state;
    let role = match role {
        Role::Primary => "primary",
        Role::Replica => "replica",
        Role::Embedded => "embedded",
    };
    Server { version, role, schema_version, latency_ms: latency.as_secs_f64() * 1e3 }
}
