//! What the database tells about itself, for `ledgerline doctor`. Reads only, and judges nothing: the command does.

use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer, Text};
use diesel_async::RunQueryDsl;

use super::error::StoreError;
use super::{Conn, Store};
use crate::sql_types::UtcTimestamp;
use crate::time::UtcMicros;

/// A PostgreSQL server, and who we are there.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Server {
    /// As it writes its version.
    #[diesel(sql_type = Text)]
    pub version: String,
    /// The same to compare: 150018 for 15.18.
    #[diesel(sql_type = Integer)]
    pub version_number: i32,
    /// The database.
    #[diesel(sql_type = Text)]
    pub database: String,
    /// Our role.
    #[diesel(sql_type = Text)]
    pub role: String,
    /// Whether it may do everything.
    #[diesel(sql_type = Bool)]
    pub superuser: bool,
    /// Whether the server only follows another one.
    #[diesel(sql_type = Bool)]
    pub in_recovery: bool,
    /// Whether commits reach the disk at all.
    #[diesel(sql_type = Text)]
    pub fsync: String,
    /// Whether a commit waits for it.
    #[diesel(sql_type = Text)]
    pub synchronous_commit: String,
    /// Most connections that the server lets ordinary roles have.
    #[diesel(sql_type = Integer)]
    pub connections_max: i32,
    /// Connections to it now, our own included.
    #[diesel(sql_type = Integer)]
    pub connections: i32,
    /// Most connections of our role; none where it has no limit.
    #[diesel(sql_type = diesel::sql_types::Nullable<Integer>)]
    pub role_connections_max: Option<i32>,
    /// Connections of our role now.
    #[diesel(sql_type = Integer)]
    pub role_connections: i32,
    /// Its clock.
    #[diesel(sql_type = UtcTimestamp)]
    pub now: UtcMicros,
}

#[derive(QueryableByName)]
struct TakesWrites {
    #[diesel(sql_type = Bool)]
    takes_writes: bool,
}

impl Store {
    /// Whether the database takes writes at all: neither a standby nor read-only.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn takes_writes(&self) -> Result<bool, StoreError> {
        let mut session = self.checkout().await?;
        let Conn::Postgres(c) = session.conn() else { return Ok(true) };
        let query = diesel::sql_query(
            "select not pg_is_in_recovery() and not current_setting('transaction_read_only')::bool as takes_writes",
        );
        let rows: Vec<TakesWrites> = query.load(c).await?;
        Ok(rows.iter().any(|row| row.takes_writes))
    }
}

/// A setting of the session.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Setting {
    /// Its name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Its value, in the unit that the server keeps it in; for timeouts milliseconds.
    #[diesel(sql_type = Text)]
    pub value: String,
}

#[derive(QueryableByName)]
struct Missing {
    #[diesel(sql_type = Text)]
    missing: String,
}

const SERVER: &str = "\
    select current_setting('server_version') as version, current_setting('server_version_num')::int4 as version_number, \
           current_database()::text as database, me.rolname::text as role, me.rolsuper as superuser, \
           pg_is_in_recovery() as in_recovery, current_setting('fsync') as fsync, \
           current_setting('synchronous_commit') as synchronous_commit, \
           current_setting('max_connections')::int4 - current_setting('superuser_reserved_connections')::int4 \
               as connections_max, \
           (select count(*)::int4 from pg_stat_activity where datname is not null) as connections, \
           nullif(me.rolconnlimit, -1) as role_connections_max, \
           (select count(*)::int4 from pg_stat_activity where usename = current_user) as role_connections, \
           clock_timestamp() as now \
    from pg_roles me where me.rolname = current_user";

/// What a worker must be allowed, as `docs/roles.sql` grants it: to read every table, to add to all but some, to change a few.
/// Tables of later migrations are found by themselves.
const MISSING: &str = "\
    select verb || ' on ' || tablename as missing \
    from pg_tables, lateral (values \
        ('select', true), \
        ('insert', tablename not in ('schema_version', 'operator_actions', 'removals', 'alert_rules', 'alert_rule_set', \
                                     'switches', '__diesel_schema_migrations')), \
        ('update', tablename in ('partition_offsets', 'offset_ledger', 'games', 'game_refs', 'articles', 'dead_letters', \
                                 'alerts', 'scraper_versions', 'workflows')), \
        ('delete', $1 and tablename = 'odds'), \
        ('insert', $1 and tablename = 'removals'), \
        ('update', $1 and tablename = 'removals') \
    ) as needed (verb, is_needed) \
    where schemaname = current_schema() and is_needed \
      and not has_table_privilege(format('%I.%I', schemaname, tablename), verb) \
    order by tablename, verb";

/// How a burst of callers fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Callers.
    pub asked: u32,
    /// Those that had a connection.
    pub had: u32,
    /// How long the last of them waited, or the first that gave up.
    pub longest: Duration,
}

impl Store {
    /// Borrows `asked` connections at the same time, and gives them back when each caller has one or has waited in vain.
    pub async fn burst(&self, asked: u32) -> Burst {
        let start = Instant::now();
        let callers = (0..asked).map(async |_| (self.checkout().await, start.elapsed()));
        let served = futures_util::future::join_all(callers).await;
        let had = served.iter().filter(|(lent, _)| lent.is_ok()).count();
        let longest = served.iter().map(|(_, waited)| *waited).max().unwrap_or_default();
        Burst { asked, had: u32::try_from(had).unwrap_or(asked), longest }
    }

    /// The server and who we are there; none where the database is a file.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn server(&self) -> Result<Option<Server>, StoreError> {
        let mut session = self.checkout().await?;
        match session.conn() {
            Conn::Postgres(c) => {
                let rows: Vec<Server> = diesel::sql_query(SERVER).load(c).await?;
                Ok(rows.into_iter().next())
            }
            Conn::Sqlite(_) => Ok(None),
        }
    }

    /// The named settings as they are in force on a connection of the pool; none where the database is a file.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn settings(&self, names: &[&str]) -> Result<Option<Vec<Setting>>, StoreError> {
        use diesel::sql_types::Array;
        let mut session = self.checkout().await?;
        match session.conn() {
            Conn::Postgres(c) => {
                let query = diesel::sql_query(
                    "select name, setting as value from pg_settings where name = any($1) order by name",
                );
                Ok(Some(query.bind::<Array<Text>, _>(names).load(c).await?))
            }
            Conn::Sqlite(_) => Ok(None),
        }
    }

    /// What a worker needs and our role may not do, as `verb on table`; with `sweeps`, what compaction and retention need too.
    /// None where the database is a file.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn missing_privileges(&self, sweeps: bool) -> Result<Option<Vec<String>>, StoreError> {
        let mut session = self.checkout().await?;
        match session.conn() {
            Conn::Postgres(c) => {
                let rows: Vec<Missing> = diesel::sql_query(MISSING).bind::<Bool, _>(sweeps).load(c).await?;
                Ok(Some(rows.into_iter().map(|row| row.missing).collect()))
            }
            Conn::Sqlite(_) => Ok(None),
        }
    }
}
