//! What `doctor` asks the database: whether it is there, what it is, its schema, what our role may, the time-outs in force, room for
//! the pool, its clock, and where the positions stand.

use std::path::Path;
use std::time::Duration;

use ledgerline_schema::store::{
    DatabaseConfig, PartitionState, PoolConfig, SCHEMA_VERSION, SchemaState, Server, Setting, Store,
    StoreError, Switch,
};
use ledgerline_schema::time::UtcMicros;
use tokio::time::timeout;

use super::super::operator::database_is_there;
use super::pool::POOL;
use super::{Probe, pool};
use crate::clock;
use crate::config::{Config, OnOutage};
use crate::source::kafka::group_of;

const DATABASE: &str = "database";
const SCHEMA: &str = "schema";
const PRIVILEGES: &str = "privileges";
const TIMEOUTS: &str = "time-outs";
const CONNECTIONS: &str = "connections";
const CLOCK: &str = "database clock";
const DURABILITY: &str = "durability";
const POSITIONS: &str = "positions";

/// The oldest PostgreSQL that is supported, as it numbers itself.
const OLDEST: i32 = 150_000;
/// Clocks may be so far apart before somebody should know, and before it matters.
const SKEW_WARN: i64 = 2 * UtcMicros::SECOND;
const SKEW_FAIL: i64 = 60 * UtcMicros::SECOND;

pub(super) async fn probes(config: &Config, file: Option<&Path>) -> Vec<Probe> {
    if let Err(missing) = database_is_there(config, file) {
        let advice = "name the configuration; where this is to be the database, run `ledgerline migrate up`";
        return not_reached(Probe::fail(DATABASE, missing.to_string(), advice));
    }
    let store = match Store::connect(&one_connection(&config.database)).await {
        Ok(store) => store,
        Err(error) => return unreachable(&error),
    };
    // The first question opens the connection; the second one tells how long an answer takes.
    let reached = async {
        store.ping().await?;
        store.ping().await
    };
    let latency = match timeout(config.database.deadline(), reached).await {
        Ok(Ok(latency)) => latency,
        Ok(Err(error)) => return unreachable(&error),
        Err(_) => return unreachable(&StoreError::Unavailable("no answer in time".into())),
    };
    let mut probes = vec![];
    let before = clock::now();
    match store.server().await {
        Ok(Some(server)) => {
            let between = UtcMicros(before.0.midpoint(clock::now().0));
            probes.push(database(&server, latency));
            probes.push(connections(&server, of_a_worker(config)));
            probes.push(pool::probe(config, free(&server)).await);
            probes.push(skew(server.now.0 - between.0));
            probes.push(durability(&server));
            probes.push(privileges(&store, config, &server).await);
            probes.push(timeouts(&store, &config.database).await);
        }
        Ok(None) => {
            probes.push(Probe::ok(DATABASE, format!("SQLite, answers after {} ms", latency.as_millis())));
            let no_server = [CONNECTIONS, POOL, CLOCK, DURABILITY, PRIVILEGES, TIMEOUTS];
            probes.extend(
                no_server.map(|name| Probe::skipped(name, "does not apply to SQLite: there is no server")),
            );
        }
        Err(error) => return unreachable(&error),
    }
    let (schema, ready) = schema(&store).await;
    probes.push(schema);
    probes.push(if ready {
        positions(&store, config).await
    } else {
        Probe::skipped(POSITIONS, "needs the schema")
    });
    probes
}

/// `doctor` asks one thing after the other, and takes nothing from the workers.
fn one_connection(config: &DatabaseConfig) -> DatabaseConfig {
    DatabaseConfig { pool: PoolConfig { size: 1, ..config.pool.clone() }, ..config.clone() }
}

fn unreachable(error: &StoreError) -> Vec<Probe> {
    let advice = "check database.url, tls and ca_file, that the server runs and is the primary, and that the role may log in";
    not_reached(Probe::fail(DATABASE, error.to_string(), advice))
}

fn not_reached(why: Probe) -> Vec<Probe> {
    let mut probes = vec![why];
    let rest = [CONNECTIONS, POOL, CLOCK, DURABILITY, PRIVILEGES, TIMEOUTS, SCHEMA, POSITIONS];
    probes.extend(rest.map(|name| Probe::skipped(name, "needs the database")));
    probes
}

fn database(server: &Server, latency: Duration) -> Probe {
    let Server { version, database, role, .. } = server;
    let found = format!(
        "PostgreSQL {version}, {database} as {role}, answers after {:.1} ms",
        latency.as_secs_f64() * 1e3
    );
    if server.version_number < OLDEST {
        return Probe::fail(DATABASE, found, "PostgreSQL 15 or newer is needed");
    }
    if server.in_recovery {
        return Probe::fail(
            DATABASE,
            format!("{found}; it follows another server"),
            "name the primary in database.url",
        );
    }
    Probe::ok(DATABASE, found)
}

/// Connections that we could open now.
fn free(server: &Server) -> i64 {
    let of_server = server.connections_max - server.connections;
    let of_role = server.role_connections_max.map(|max| max - server.role_connections);
    of_role.map_or(of_server, |of_role| of_role.min(of_server)).into()
}

/// The pool of the line, that for reads, and one each for the status page, for who asks how the database is, and for who looks whether it
/// is back while batches go to a spool.
fn of_a_worker(config: &Config) -> u32 {
    let database = &config.database;
    let elsewhere = database.read_url.is_some() || database.read_url_file.is_some();
    let outage = match config.store.on_outage {
        OnOutage::Wait => 0,
        OnOutage::Spool => 1,
    };
    database.pool.size + if elsewhere { 0 } else { database.read_connections } + 2 + outage
}

fn connections(server: &Server, worker: u32) -> Probe {
    let limit =
        server.role_connections_max.map(|max| format!(", the role may have {max}")).unwrap_or_default();
    let found = format!(
        "{} of {} in use{limit}; a worker takes up to {worker}",
        server.connections, server.connections_max
    );
    if free(server) < i64::from(worker) {
        let advice = "another worker would not fit: raise max_connections or the role's limit, or lower database.pool.size";
        return Probe::warn(CONNECTIONS, found, advice);
    }
    Probe::ok(CONNECTIONS, found)
}

/// How much the database's clock is ahead of ours.
fn skew(micros: i64) -> Probe {
    let found = format!("{:+.3} s against this machine", micros as f64 / 1e6);
    let advice = "set both clocks by NTP";
    match micros.abs() {
        SKEW_FAIL.. => Probe::fail(CLOCK, found, advice),
        SKEW_WARN.. => Probe::warn(CLOCK, found, advice),
        _ => Probe::ok(CLOCK, found),
    }
}

fn durability(server: &Server) -> Probe {
    let Server { fsync, synchronous_commit, .. } = server;
    let found = format!("fsync {fsync}, synchronous_commit {synchronous_commit}");
    if fsync != "on" {
        return Probe::warn(DURABILITY, found, "set fsync = on: a power cut may destroy the database");
    }
    if synchronous_commit == "off" {
        let advice = "a crash takes the last transactions back, rows and position together; they are read again while Kafka has them";
        return Probe::warn(DURABILITY, found, advice);
    }
    Probe::ok(DURABILITY, found)
}

async fn privileges(store: &Store, config: &Config, server: &Server) -> Probe {
    let sweeps = config.compaction.enabled || config.retention.older_than_days.is_some();
    match store.missing_privileges(sweeps).await {
        Err(error) => {
            Probe::fail(PRIVILEGES, error.to_string(), "the catalog should be readable by everybody")
        }
        Ok(None) => Probe::skipped(PRIVILEGES, "does not apply"),
        Ok(Some(missing)) if !missing.is_empty() => {
            let found = format!("{} may not: {}", server.role, missing.join(", "));
            let advice = "run docs/roles.sql again as a superuser: it has to be after each migration; sweeps inside `run` need maintenance, too";
            Probe::fail(PRIVILEGES, found, advice)
        }
        Ok(Some(_)) if server.superuser => {
            let advice =
                "use the role ledgerline_worker of docs/roles.sql, which can neither delete nor create";
            Probe::warn(PRIVILEGES, format!("{} may do everything", server.role), advice)
        }
        Ok(Some(_)) => Probe::ok(PRIVILEGES, format!("{} may do what a worker does", server.role)),
    }
}

async fn timeouts(store: &Store, config: &DatabaseConfig) -> Probe {
    let wanted = [
        ("statement_timeout", config.statement_timeout_ms),
        ("lock_timeout", config.lock_timeout_ms),
        ("idle_in_transaction_session_timeout", config.idle_in_transaction_timeout_ms),
    ];
    match store.settings(&wanted.map(|(name, _)| name)).await {
        Err(error) => {
            Probe::fail(TIMEOUTS, error.to_string(), "the settings should be readable by everybody")
        }
        Ok(None) => Probe::skipped(TIMEOUTS, "does not apply"),
        Ok(Some(found)) => in_force(&wanted, &found),
    }
}

fn in_force(wanted: &[(&str, u64)], found: &[Setting]) -> Probe {
    let words = found.iter().map(|setting| format!("{} {} ms", setting.name, setting.value));
    let words = words.collect::<Vec<_>>().join(", ");
    let is = |(name, value): &(&str, u64)| {
        found.iter().any(|setting| setting.name == *name && setting.value == value.to_string())
    };
    if wanted.iter().all(is) {
        return Probe::ok(TIMEOUTS, words);
    }
    let advice =
        "something between us and the server swallows settings: a pooler has to keep a session to one client";
    Probe::fail(TIMEOUTS, words, advice)
}

/// The probe, and whether a worker could run on it.
async fn schema(store: &Store) -> (Probe, bool) {
    match store.schema_state().await {
        Ok(SchemaState::Ready) => (Probe::ok(SCHEMA, format!("fits version {SCHEMA_VERSION}")), true),
        Ok(SchemaState::Older { found }) => {
            let found = format!("version {found}, and {SCHEMA_VERSION} is needed");
            (Probe::fail(SCHEMA, found, "run `ledgerline migrate up`, then docs/roles.sql"), false)
        }
        Ok(SchemaState::Newer { found }) => {
            let found = format!("version {found}, which no longer fits this program");
            (Probe::fail(SCHEMA, found, "use a newer ledgerline"), false)
        }
        Err(error) => {
            (Probe::fail(SCHEMA, error.to_string(), "the role has to read the table schema_version"), false)
        }
    }
}

async fn positions(store: &Store, config: &Config) -> Probe {
    let topics = config.enabled_topics();
    let ours = |row: &PartitionState| {
        topics
            .iter()
            .any(|topic| topic.name == row.topic && group_of(&config.kafka, &topic.name) == row.group)
    };
    let rows: Vec<PartitionState> = match store.partitions(None).await {
        Ok(rows) => rows.into_iter().filter(ours).collect(),
        Err(error) => {
            return Probe::fail(POSITIONS, error.to_string(), "the role has to read partition_offsets");
        }
    };
    let halted =
        rows.iter().filter_map(|row| Some(format!("{}[{}] {}", row.topic, row.partition, row.halt()?.0)));
    let halted: Vec<String> = halted.collect();
    if halted.is_empty() {
        return paused(store, &rows).await;
    }
    let advice = "`ledgerline offsets ls` says why, docs/OPERATIONS.md what to do about each";
    Probe::fail(POSITIONS, format!("halted: {}", halted.join(", ")), advice)
}

/// A pause is somebody's decision; who looks for the reason of a lag should see it.
async fn paused(store: &Store, rows: &[PartitionState]) -> Probe {
    let set = match store.switches(None, None).await {
        Ok(set) => set,
        Err(error) => return Probe::fail(POSITIONS, error.to_string(), "the role has to read switches"),
    };
    let paused =
        rows.iter().filter(|row| Switch::pausing(&set, &row.group, &row.topic, row.partition).is_some());
    let paused: Vec<String> = paused.map(|row| format!("{}[{}]", row.topic, row.partition)).collect();
    if paused.is_empty() {
        return Probe::ok(POSITIONS, format!("{} partitions, none halted or paused", rows.len()));
    }
    let found = format!("{} partitions, none halted; paused: {}", rows.len(), paused.join(", "));
    Probe::warn(
        POSITIONS,
        found,
        "`ledgerline offsets ls` says by whom and why, `ledgerline resume` lets it flow",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn server() -> Server {
        Server {
            version: "15.18".into(),
            version_number: 150_018,
            database: "odds".into(),
            role: "ledgerline_worker".into(),
            superuser: false,
            in_recovery: false,
            fsync: "on".into(),
            synchronous_commit: "on".into(),
            connections_max: 100,
            connections: 20,
            role_connections_max: None,
            role_connections: 10,
            now: UtcMicros(0),
        }
    }

    #[test]
    fn a_server_that_is_too_old_or_follows_another_one_will_not_do() {
        let status = |server: &Server| database(server, Duration::from_millis(1)).status;
        assert_eq!(status(&server()), Status::Ok);
        assert_eq!(status(&Server { version_number: 140_012, ..server() }), Status::Fail);
        assert_eq!(status(&Server { in_recovery: true, ..server() }), Status::Fail);
    }

    #[test]
    fn the_pool_has_to_fit_into_the_server_and_the_role() {
        assert_eq!(connections(&server(), 8).status, Status::Ok);
        assert_eq!(connections(&Server { connections: 95, ..server() }, 8).status, Status::Warn);
        assert_eq!(
            connections(&Server { role_connections_max: Some(12), ..server() }, 8).status,
            Status::Warn
        );
    }

    #[test]
    fn clocks_may_be_a_little_apart() {
        let status = |seconds: i64| skew(seconds * UtcMicros::SECOND).status;
        assert_eq!([status(0), status(-3), status(90)], [Status::Ok, Status::Warn, Status::Fail]);
    }

    #[test]
    fn a_setting_that_was_swallowed_is_a_failure() {
        let setting = |value: &str| [Setting { name: "lock_timeout".into(), value: value.into() }];
        assert_eq!(in_force(&[("lock_timeout", 5_000)], &setting("5000")).status, Status::Ok);
        assert_eq!(in_force(&[("lock_timeout", 5_000)], &setting("0")).status, Status::Fail);
        assert_eq!(in_force(&[("lock_timeout", 5_000)], &[]).status, Status::Fail);
    }

    #[test]
    fn a_careless_server_is_worth_a_look() {
        assert_eq!(durability(&server()).status, Status::Ok);
        assert_eq!(durability(&Server { fsync: "off".into(), ..server() }).status, Status::Warn);
        assert_eq!(durability(&Server { synchronous_commit: "off".into(), ..server() }).status, Status::Warn);
    }
}
