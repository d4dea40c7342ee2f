//! The figures of a PostgreSQL database, from its own statistics: they are estimates, and start anew after a crash.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::Serialize;

use super::super::bloat::INDEXES;
use crate::sql_types::UtcTimestamp;
use crate::time::UtcMicros;

/// A database of a server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PostgresStats {
    /// The database and its server.
    pub database: ServerTotals,
    /// Tables, the largest first.
    pub tables: Vec<PostgresTable>,
    /// Indexes, the largest first.
    pub indexes: Vec<IndexStats>,
    /// Transactions that have been open for long, the oldest first.
    pub long_transactions: Vec<LongTransaction>,
    /// Connections to the server, by what they call themselves and what they do.
    pub connections: Vec<ConnectionCount>,
}

/// The database as a whole, and what the server has counted for it since `since`.
#[derive(Debug, Clone, PartialEq, Serialize, QueryableByName)]
pub struct ServerTotals {
    /// Its name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// The server's version.
    #[diesel(sql_type = Text)]
    pub server: String,
    /// Everything in it.
    #[diesel(sql_type = BigInt)]
    pub bytes: i64,
    /// Pages found in memory ÷ pages asked for; null before the first.
    #[diesel(sql_type = Nullable<Double>)]
    pub cache_hit_ratio: Option<f64>,
    /// Transactions that were committed.
    #[diesel(sql_type = BigInt)]
    pub commits: i64,
    /// Transactions that were rolled back.
    #[diesel(sql_type = BigInt)]
    pub rollbacks: i64,
    /// Deadlocks.
    #[diesel(sql_type = BigInt)]
    pub deadlocks: i64,
    /// Bytes that sorts and joins wrote to the disk.
    #[diesel(sql_type = BigInt)]
    pub temporary_bytes: i64,
    /// Since when it counts; null: since it was made.
    #[diesel(sql_type = Nullable<UtcTimestamp>)]
    pub since: Option<UtcMicros>,
    /// Most connections that the server takes, those reserved for superusers included.
    #[diesel(sql_type = Integer)]
    pub connections_max: i32,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, QueryableByName)]
pub struct PostgresTable {
    /// Its name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Rows, estimated.
    #[diesel(sql_type = BigInt)]
    pub rows: i64,
    /// Rows that nobody sees any more and that still take space, estimated.
    #[diesel(sql_type = BigInt)]
    pub dead_rows: i64,
    /// Their share of all rows.
    #[diesel(sql_type = Double)]
    pub dead_share: f64,
    /// Its rows, large values included.
    #[diesel(sql_type = BigInt)]
    pub table_bytes: i64,
    /// Its indexes.
    #[diesel(sql_type = BigInt)]
    pub index_bytes: i64,
    /// When it was last vacuumed, by hand or by itself.
    #[diesel(sql_type = Nullable<UtcTimestamp>)]
    pub vacuumed_at: Option<UtcMicros>,
    /// When its statistics were last refreshed.
    #[diesel(sql_type = Nullable<UtcTimestamp>)]
    pub analyzed_at: Option<UtcMicros>,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Serialize, QueryableByName)]
pub struct IndexStats {
    /// Its table.
    #[diesel(sql_type = Text)]
    pub table: String,
    /// Its name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Its size.
    #[diesel(sql_type = BigInt)]
    pub bytes: i64,
    /// The part that a new one would not need, estimated; null where nobody knows.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub wasted_bytes: Option<i64>,
    /// How often it was used.
    #[diesel(sql_type = BigInt)]
    pub scans: i64,
    /// Whether nobody has used it since the server counts, and no rule needs it.
    #[diesel(sql_type = Bool)]
    pub unused: bool,
    /// Whether it may be used. One that may not is what a failed rebuild left.
    #[diesel(sql_type = Bool)]
    pub valid: bool,
}

/// A transaction that keeps dead rows in their place as long as it is open.
#[derive(Debug, Clone, PartialEq, Serialize, QueryableByName)]
pub struct LongTransaction {
    /// The server's process.
    #[diesel(sql_type = Integer)]
    pub pid: i32,
    /// Who.
    #[diesel(sql_type = Nullable<Text>)]
    pub role: Option<String>,
    /// What it calls itself.
    #[diesel(sql_type = Text)]
    pub application: String,
    /// For how long.
    #[diesel(sql_type = Double)]
    pub seconds: f64,
    /// What it does: `active`, `idle in transaction`; null where the role may not see it.
    #[diesel(sql_type = Nullable<Text>)]
    pub state: Option<String>,
    /// What it waits for.
    #[diesel(sql_type = Nullable<Text>)]
    pub waits_for: Option<String>,
}

/// Connections that are alike.
#[derive(Debug, Clone, PartialEq, Serialize, QueryableByName)]
pub struct ConnectionCount {
    /// What they call themselves.
    #[diesel(sql_type = Text)]
    pub application: String,
    /// What they do; null where the role may not see it.
    #[diesel(sql_type = Nullable<Text>)]
    pub state: Option<String>,
    /// How many.
    #[diesel(sql_type = BigInt)]
    pub connections: i64,
}

const DATABASE: &str = "\
    select datname::text as name, current_setting('server_version') as server, pg_database_size(datname) as bytes, \
           blks_hit::float8 / nullif(blks_hit + blks_read, 0) as cache_hit_ratio, xact_commit as commits, \
           xact_rollback as rollbacks, deadlocks, temp_bytes as temporary_bytes, stats_reset as since, \
           current_setting('max_connections')::int4 as connections_max \
    from pg_stat_database where datname = current_database()";

const TABLES: &str = "\
    select relname::text as name, n_live_tup as rows, n_dead_tup as dead_rows, \
           coalesce(n_dead_tup::float8 / nullif(n_live_tup + n_dead_tup, 0), 0) as dead_share, \
           pg_table_size(relid) as table_bytes, pg_indexes_size(relid) as index_bytes, \
           greatest(last_vacuum, last_autovacuum) as vacuumed_at, greatest(last_analyze, last_autoanalyze) as analyzed_at \
    from pg_stat_user_tables where schemaname = current_schema() \
    order by pg_total_relation_size(relid) desc, relname";

/// Vacuum's own workers are not transactions that somebody forgot.
const TRANSACTIONS: &str = "\
    select pid, usename::text as role, coalesce(application_name, '') as application, \
           extract(epoch from clock_timestamp() - xact_start)::float8 as seconds, state, \
           wait_event_type || ': ' || wait_event as waits_for \
    from pg_stat_activity \
    where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend' \
      and xact_start < clock_timestamp() - make_interval(secs => $1) \
    order by xact_start limit 100";

const CONNECTIONS: &str = "\
    select coalesce(application_name, '') as application, state, count(*) as connections \
    from pg_stat_activity where datname is not null \
    group by 1, 2 order by 3 desc, 1, 2 limit 100";

pub(super) async fn stats(c: &mut AsyncPgConnection, old_seconds: f64) -> QueryResult<PostgresStats> {
    let indexes = format!(
        "select x.\"table\", x.name, x.bytes, \
                case when x.expected is not null then greatest(x.bytes - x.expected, 0) end as wasted_bytes, \
                coalesce(s.idx_scan, 0) as scans, coalesce(s.idx_scan, 0) = 0 and not x.needed as unused, x.valid \
         from ({INDEXES}) x left join pg_stat_user_indexes s on s.indexrelid = x.oid \
         order by x.bytes desc, x.name"
    );
    Ok(PostgresStats {
        database: diesel::sql_query(DATABASE).get_result(c).await?,
        tables: diesel::sql_query(TABLES).load(c).await?,
        indexes: diesel::sql_query(indexes).load(c).await?,
        long_transactions: diesel::sql_query(TRANSACTIONS).bind::<Double, _>(old_seconds).load(c).await?,
        connections: diesel::sql_query(CONNECTIONS).load(c).await?,
    })
}
