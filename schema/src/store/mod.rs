//! `Store`: the one door to either database. Only this module opens connections; nobody else asks which database it is.
//!
//! Query bodies are written once, as functions over a `Conn`; `with_conn!` compiles them for both. What differs (bulk inserts,
//! row locks, savepoints) is matched where it is done; outside this folder nobody asks which database it is.

mod alerts;
mod analyses;
mod append;
mod articles;
mod at_once;
mod audit;
mod backup;
mod bloat;
mod census;
mod chain;
mod claim;
mod columns;
mod config;
mod counts;
mod doctor;
mod error;
mod freshness;
mod games;
mod halt;
mod insert;
mod intern;
mod isolate;
mod leases;
mod ledger;
mod letters;
mod libpq;
mod merge;
mod migrate;
mod neighbours;
mod odds;
mod operate;
mod pool;
mod pool_state;
mod positions;
mod postgres;
mod postgres_url;
mod probe;
mod recent;
mod recheck;
mod redrive;
mod rehearse;
mod removals;
mod rivals;
mod rows;
mod rulers;
mod rules;
mod scrapers;
mod settle;
mod signals;
mod spool;
mod sqlite;
mod sqlite_rows;
mod stats;
mod sweep;
mod switches;
mod trial;
mod turn;
mod undo;
mod upkeep;
mod verify;
mod version;
mod workflow_rows;
mod workflows;
mod write;

use std::sync::Arc;
use std::time::Duration;

use diesel::SqliteConnection;
use diesel_async::AsyncPgConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use secrecy::ExposeSecret;

pub use backup::{
    BackupSource, CopiedTable, Copier, CopyIn, CopyOut, Loader, PostgresSnapshot, PostgresTarget,
    RestoreTarget, SqliteSource, SqliteTarget,
};
pub use census::{Census, SavedPosition, TABLES, TableRows, VIEWS};
pub use claim::{Claim, ClaimAnswer, ClaimRequest, Lineage, LogRange, Position};
pub use config::{DatabaseConfig, PoolConfig, Tls};
pub use counts::TableCount;
pub use doctor::{Burst, Server, Setting};
pub use error::{StoreError, Trouble, WriteError};
pub use freshness::{Freshness, FreshnessReport};
pub use halt::Halt;
pub use intern::Lookups;
pub use leases::{Claimable, LEASE, Lease, Renewed};
pub use letters::{Letter, LetterFilter, LetterGroup, LetterId, LetterStatus};
pub use libpq::Libpq;
pub use merge::{GameName, Merge, Merged};
pub use migrate::{MigrationStatus, SCHEMA_VERSION, SchemaState};
pub use operate::{LogNow, Moved, Order};
pub use pool_state::{Closed, PoolState, SetUpFailure};
pub use positions::PartitionState;
pub use postgres::LOG_LIMITS;
pub use recent::{Offer, RecentGame, WaitingLetters};
pub use recheck::RecordCheck;
pub use redrive::{REDRIVE_GROUP, Redrive, Redriven};
pub use removals::Removal;
pub use rivals::{Rival, RivalRow, Rivals};
pub use rows::{Effort, WriteJob};
pub use rulers::Ruler;
pub use rules::{Rule, RuleChange, RuleDraft, RuleError};
pub use settle::{Resolved, Selected};
pub use spool::{Held, Segment, Spool};
pub use stats::{
    ConnectionCount, DatabaseStats, IndexStats, LongTransaction, PostgresStats, PostgresTable, ServerTotals,
    SqliteStats, SqliteTable,
};
pub use sweep::{QuoteKey, Sweep, SweptChunk};
pub use switches::{Extent, Switch, SwitchOrder, SwitchState, Switched};
pub use trial::{Storage, TrialDatabase};
pub use upkeep::{Bloated, RebuildPatience, Upkeep, UpkeepStep, UpkeepWatch};
pub use verify::{LedgerSegment, Verification};
pub use workflow_rows::{HistoryRow, Workflow, WorkflowFilter};
pub use workflows::{NewWorkflow, WorkflowError};
pub use write::WriteReport;

use bb8::PooledConnection;
use pool::Pool;
use postgres::{Access, PostgresManager};
use sqlite::SqliteManager;

/// SQLite behind diesel-async: each call runs on the blocking pool.
pub(crate) type AsyncSqlite = SyncConnectionWrapper<SqliteConnection>;

/// Either database behind one interface. Cheap to clone: the pools are shared.
#[derive(Debug, Clone)]
pub enum Store {
    /// The production store.
    Postgres(Arc<Pool<PostgresManager>>),
    /// The embedded store: one writer.
    Sqlite(Arc<Pool<SqliteManager>>),
}

/// A borrowed connection of either kind; the ordinary parameter of every query function.
pub(crate) enum Conn<'c> {
    Postgres(&'c mut AsyncPgConnection),
    Sqlite(&'c mut AsyncSqlite),
}

/// A connection as single statements see it. PostgreSQL's can be had several times over: statements that are polled together are
/// sent together, in the order in which they are polled first, and none waits for the answer to the one before.
pub(crate) enum Wire<'c> {
    Postgres(&'c AsyncPgConnection),
    Sqlite(&'c mut AsyncSqlite),
}

impl Conn<'_> {
    pub(crate) fn wire(&mut self) -> Wire<'_> {
        match self {
            Self::Postgres(c) => Wire::Postgres(c),
            Self::Sqlite(c) => Wire::Sqlite(c),
        }
    }
}

impl Wire<'_> {
    /// Itself: what takes a `Conn` takes a `Wire` too.
    pub(crate) fn wire(&mut self) -> Wire<'_> {
        match self {
            Self::Postgres(c) => Wire::Postgres(c),
            Self::Sqlite(c) => Wire::Sqlite(c),
        }
    }
}

/// A connection lent by the pool.
#[expect(clippy::large_enum_variant, reason = "lives on the stack of one call")]
pub(crate) enum PooledConn<'p> {
    Postgres(PooledConnection<'p, PostgresManager>),
    Sqlite(PooledConnection<'p, SqliteManager>),
}

impl PooledConn<'_> {
    pub(crate) fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Postgres(session) => Conn::Postgres(&mut session.conn),
            Self::Sqlite(session) => Conn::Sqlite(&mut session.conn),
        }
    }
}

/// Compiles one query body for both databases: `with_conn!(conn, c => table.load(c).await)`.
macro_rules! with_conn {
    ($conn:expr, $c:ident => $body:expr) => {
        match $conn.wire() {
            $crate::store::Wire::Postgres(mut shared) => {
                let $c = &mut shared;
                $body
            }
            $crate::store::Wire::Sqlite($c) => $body,
        }
    };
}
pub(crate) use with_conn;

/// Runs a body in one transaction on either database; SQLite's takes the writer's lock at once.
macro_rules! in_tx {
    ($store:expr, $conn:ident => $body:expr) => {{
        let mut session = $store.checkout().await?;
        match session.conn() {
            $crate::store::Conn::Postgres(c) => {
                c.transaction(async |c| {
                    let $conn = &mut $crate::store::Conn::Postgres(c);
                    $body.await
                })
                .await
            }
            $crate::store::Conn::Sqlite(c) => {
                c.immediate_transaction(async |c| {
                    let $conn = &mut $crate::store::Conn::Sqlite(c);
                    $body.await
                })
                .await
            }
        }
    }};
}
pub(crate) use in_tx;

impl Store {
    /// Prepares the pool. Connections are opened when they are needed, so a database that is down is no error here.
    ///
    /// # Errors
    /// The configuration cannot be used: a URL, file or certificate, named by its key.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, StoreError> {
        Self::writing(config, 0)
    }

    /// The same for a process that stays: it keeps `min_idle` connections open, from now on.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn connect_to_stay(config: &DatabaseConfig) -> Result<Self, StoreError> {
        Self::writing(config, config.pool.min_idle)
    }

    fn writing(config: &DatabaseConfig, min_idle: u32) -> Result<Self, StoreError> {
        let url = config.resolved_url().map_err(StoreError::Config)?;
        match url.expose_secret().strip_prefix("sqlite:") {
            Some(path) => {
                let manager = SqliteManager::new(path, config.pool.cached_selections());
                // One connection: SQLite has one writer, and readers in line behind it see what it wrote.
                Ok(Self::Sqlite(Arc::new(pool::build(manager, &config.pool, 1, min_idle))))
            }
            None => {
                let manager = PostgresManager::new(config, url.expose_secret(), Access::Write)?;
                Ok(Self::Postgres(Arc::new(pool::build(manager, &config.pool, config.pool.size, min_idle))))
            }
        }
    }

    /// Prepares a pool of its own for people's reads, at `read_url` where that is set: few connections, short statements, and
    /// the database itself refuses any change that comes over it.
    ///
    /// # Errors
    /// The configuration cannot be used: a URL, file or certificate, named by its key.
    pub async fn connect_for_reads(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let url = config.resolved_read_url().map_err(StoreError::Config)?;
        match url.expose_secret().strip_prefix("sqlite:") {
            Some(path) => {
                let manager = SqliteManager::reading(path);
                Ok(Self::Sqlite(Arc::new(pool::build(manager, &config.pool, config.read_connections, 0))))
            }
            None => {
                let manager = PostgresManager::new(config, url.expose_secret(), Access::Read)?;
                Ok(Self::Postgres(Arc::new(pool::build(manager, &config.pool, config.read_connections, 0))))
            }
        }
    }

    /// The database in a word, for people: `postgres` or `sqlite`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Sqlite(_) => "sqlite",
        }
    }

    /// Whether the database is a file of this machine: then there is no server to ask or to tune.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        match self {
            Self::Postgres(_) => false,
            Self::Sqlite(_) => true,
        }
    }

    /// Borrows a connection; waits at most the configured checkout timeout.
    pub(crate) async fn checkout(&self) -> Result<PooledConn<'_>, StoreError> {
        match self {
            Self::Postgres(pool) => pool.get().await.map(PooledConn::Postgres),
            Self::Sqlite(pool) => pool.get().await.map(PooledConn::Sqlite),
        }
    }

    /// Asks the database to answer, and how long that took.
    ///
    /// # Errors
    /// It did not.
    pub async fn ping(&self) -> Result<Duration, StoreError> {
        use diesel_async::RunQueryDsl;
        let start = std::time::Instant::now();
        let mut session = self.checkout().await?;
        with_conn!(&mut session.conn(), c => diesel::sql_query("select 1").execute(c).await)?;
        Ok(start.elapsed())
    }

    /// Connections of the pool.
    #[must_use]
    pub fn pool_state(&self) -> PoolState {
        match self {
            Self::Postgres(pool) => pool.state(),
            Self::Sqlite(pool) => pool.state(),
        }
    }
}
