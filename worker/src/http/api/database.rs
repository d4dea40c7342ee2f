//! Whether the databases answer, as what, and how busy the pools are.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use ledgerline_schema::repositories::{Role, ServerState};
use ledgerline_schema::store::{self, PoolState, SCHEMA_VERSION, Store};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Shared;
use crate::http::problem::{OfList, Problem};
use crate::pool_lately::Lately;
use crate::pool_report::advice;

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

/// A pool of connections. What is counted is counted since the start of the process.
#[derive(Debug, Serialize, ToSchema)]
struct Pool {
    /// Unused ones that are kept open.
    min: u32,
    /// The most that may be open.
    max: u32,
    /// Open and unused.
    idle: u32,
    /// In use.
    in_use: u32,
    /// Callers that wait now.
    waiting: u64,
    /// Callers that had one at once.
    direct: u64,
    /// Callers that had to wait until one was opened or given back.
    waits: u64,
    /// How long all of them have waited together.
    wait_ms: f64,
    /// Callers that waited in vain.
    timeouts: u64,
    /// Connections that were opened.
    opened: u64,
    /// Stale connections that were closed.
    closed: Closed,
    /// Connections that could not be set up, by reason: `timed_out`, `unreachable`, `tls`, `login`, `full`, `not_ready`, `settings`,
    /// `other`.
    set_up_failures: BTreeMap<&'static str, u64>,
    /// What to change, by what was counted in the last ten minutes; nothing where all is well.
    advice: Vec<String>,
}

/// Connections that were closed, by reason.
#[derive(Debug, Serialize, ToSchema)]
struct Closed {
    /// Something went wrong while they were used.
    broken: u64,
    /// Found dead, or on a server that only reads, before they were lent.
    failed_check: u64,
    /// Older than they may be.
    lifetime: u64,
    /// Unused for too long.
    idle: u64,
}

/// Asks both databases, over connections that are none of the line's, and tells each by itself.
#[utoipa::path(get, path = "/api/v1/health/db", operation_id = "databaseHealth", tag = "operations",
    responses((status = 200, description = "What they said, or why they did not", body = Databases), OfList))]
async fn show(State(shared): State<Shared>) -> Json<Databases> {
    let wanted = Some(shared.wanted_connections).filter(|_| !shared.store.is_embedded());
    // As they were before this call took a place in them.
    let line = pool(&shared.store, &shared.health.line_pool, wanted);
    let readers = pool(&shared.reads, &shared.health.read_pool, None);
    let (writes, reads) =
        tokio::join!(ask(&shared.store, line, &shared.probe), ask(&shared.reads, readers, &shared.reads));
    let ok = writes.problem.is_none() && reads.problem.is_none();
    Json(Databases { ok, program_schema_version: SCHEMA_VERSION, writes, reads })
}

/// The pool of one store, and what the server says over a connection of another one.
async fn ask(store: &Store, pool: Pool, by: &Store) -> Database {
    let (server, problem) = match by.server_state().await {
        Ok(state) => (Some(view(state)), None),
        Err(error) => {
            tracing::warn!(%error, "the database was asked how it is");
            (None, Some(Problem::from(error).into_detail()))
        }
    };
    Database { kind: store.name(), pool, server, problem }
}

fn pool(store: &Store, lately: &Lately, wanted: Option<u32>) -> Pool {
    let state = store.pool_state();
    let advice = advice(&lately.of(&state), wanted);
    let set_up_failures = state.failures().map(|(why, count)| (why.name(), count)).collect();
    let PoolState { min, max, idle, in_use, waiting, direct, waits, timeouts, opened, closed, .. } = state;
    let store::Closed { broken, failed_check, lifetime, idle: unused } = closed;
    Pool {
        min,
        max,
        idle,
        in_use,
        waiting,
        direct,
        waits,
        wait_ms: state.wait_time.as_secs_f64() * 1e3,
        timeouts,
        opened,
        closed: Closed { broken, failed_check, lifetime, idle: unused },
        set_up_failures,
        advice,
    }
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
