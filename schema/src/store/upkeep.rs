//! The database looked after: dead rows, statistics, bloated indexes, what a failed rebuild left; on SQLite statistics, the log, the
//! file. Called by `ledgerline db optimize`, step by step.
//!
//! What must stay true: nothing here takes a lock that a worker waits for behind it, but for SQLite's own `vacuum`, which has to be
//! asked for; a step that fails leaves what was there; one upkeep at a time per database.

mod rebuild;
mod rights;
mod watch;

pub use watch::UpkeepWatch;

use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use secrecy::ExposeSecret;

use super::backup::PATIENT;
use super::bloat::INDEXES;
use super::census::TABLES;
use super::error::StoreError;
use super::postgres::{Access, PostgresManager};
use super::probe::execute;
use super::turn::{self, GIVE_BACK};
use super::{Conn, DatabaseConfig, Store};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpkeepStep {
    /// An index that a failed rebuild left goes.
    DropLeftover {
        /// The index.
        index: String,
    },
    /// Dead rows of a table make room, and its statistics are refreshed.
    VacuumTable {
        /// The table.
        table: String,
    },
    /// A bloated index is made anew beside the old one.
    Reindex {
        /// The index.
        index: String,
        /// Its size.
        bytes: i64,
        /// What a new one would not need, estimated.
        wasted_bytes: i64,
    },
    /// SQLite refreshes the statistics that have become old.
    RefreshStatistics,
    /// SQLite's file is written anew without its free pages. Workers wait meanwhile.
    VacuumFile,
    /// SQLite's write-ahead log goes into the file and is cut to nothing.
    Checkpoint,
}

/// When an index counts as bloated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bloated {
    /// A new one would not need this share of it, in percent.
    pub from_percent: u8,
    /// Nor this many bytes.
    pub from_bytes: i64,
}

/// How patient the rebuild of an index is. It waits for transactions that are older than itself, and nobody waits behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebuildPatience {
    /// So long it waits, and so does the dropping of what a failed one left.
    pub waits: Duration,
    /// It is not begun where a transaction that it would wait for has been open for so long.
    pub open: Duration,
}

impl Default for RebuildPatience {
    fn default() -> Self {
        Self { waits: Duration::from_secs(60), open: Duration::from_secs(60) }
    }
}

/// A connection for upkeep; on PostgreSQL one of its own.
pub struct Upkeep {
    place: Place,
    patience: RebuildPatience,
}

enum Place {
    Postgres(Box<AsyncPgConnection>),
    Sqlite(Store),
}

impl std::fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Upkeep")
    }
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Granted {
    #[diesel(sql_type = Bool)]
    granted: bool,
}

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    pid: i32,
}

#[derive(QueryableByName)]
struct Sized {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    #[diesel(sql_type = BigInt)]
    wasted_bytes: i64,
}

#[derive(QueryableByName)]
struct Checkpoint {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    busy: i32,
}

/// Largest first: what helps most comes first.
const OURS: &str = "\
    select c.relname::text as name from pg_class c \
    where c.relnamespace = (select oid from pg_namespace where nspname = current_schema()) and c.relkind = 'r' \
      and c.relname = any(string_to_array($1, ' ')) \
    order by pg_total_relation_size(c.oid) desc, c.relname";

/// How long a step waits for its turn: for another vacuum or a migration.
const LOCK_WAIT: Duration = Duration::from_secs(5);

impl Upkeep {
    /// Connects, and waits a little until nobody else is at it. The lock is on the connection that does the work: of a command that
    /// was killed the server carries its last step to the end, and until then it is at work.
    ///
    /// # Errors
    /// `Rejected`: the role may not look after these tables, or somebody else does. Else the configuration or the database.
    pub async fn open(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let url = config.resolved_url().map_err(StoreError::Config)?;
        if url.expose_secret().starts_with("sqlite:") {
            return Ok(Self::at(Place::Sqlite(Store::connect(config).await?)));
        }
        let manager = PostgresManager::new(config, url.expose_secret(), Access::Write)?;
        let mut c = manager.dedicated().await?;
        c.batch_execute("set statement_timeout = 0").await?; // a large table takes as long as it takes
        c.batch_execute(PATIENT).await?;
        let query = "select pg_try_advisory_lock(hashtext('ledgerline optimize')) as granted";
        let ask =
            async || diesel::sql_query(query).get_result(&mut c).await.map(|turn: Granted| turn.granted);
        if !turn::taken(ask).await? {
            return Err(StoreError::Rejected("somebody else is optimizing this database".into()));
        }
        Ok(Self::at(Place::Postgres(Box::new(c))))
    }

    fn at(place: Place) -> Self {
        Self { place, patience: RebuildPatience::default() }
    }

    /// Rebuilds with another patience.
    #[must_use]
    pub fn with_patience(self, patience: RebuildPatience) -> Self {
        Self { patience, ..self }
    }

    /// Whether the role may do what is to be done. Asked before anything is changed.
    ///
    /// # Errors
    /// `Rejected`, with the tables; else the database did not answer.
    pub async fn check_rights(&mut self) -> Result<(), StoreError> {
        match &mut self.place {
            Place::Postgres(c) => rights::check(c).await,
            Place::Sqlite(_) => Ok(()),
        }
    }

    /// What failed rebuilds left, then tables. `whole_file` asks for SQLite's vacuum.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn first_steps(&mut self, whole_file: bool) -> Result<Vec<UpkeepStep>, StoreError> {
        let Place::Postgres(c) = &mut self.place else {
            let file = whole_file.then_some(UpkeepStep::VacuumFile);
            return Ok([Some(UpkeepStep::RefreshStatistics), file, Some(UpkeepStep::Checkpoint)]
                .into_iter()
                .flatten()
                .collect());
        };
        let query =
            format!("select name from ({INDEXES}) x where not valid and name ~ '_cc(new|old)[0-9]*$'");
        let leftovers: Vec<Named> = diesel::sql_query(query).load(c).await?;
        let tables: Vec<Named> = diesel::sql_query(OURS).bind::<Text, _>(TABLES.join(" ")).load(c).await?;
        let leftovers = leftovers.into_iter().map(|row| UpkeepStep::DropLeftover { index: row.name });
        let tables = tables.into_iter().map(|row| UpkeepStep::VacuumTable { table: row.name });
        Ok(leftovers.chain(tables).collect())
    }

    /// Indexes to be made anew, by the statistics of now: asked for after the tables.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn rebuilds(&mut self, bloated: Bloated) -> Result<Vec<UpkeepStep>, StoreError> {
        let Place::Postgres(c) = &mut self.place else { return Ok(Vec::new()) };
        let query = format!(
            "select name, bytes, bytes - expected as wasted_bytes from ({INDEXES}) x \
             where valid and \"table\" = any(string_to_array($1, ' ')) \
               and bytes - expected >= $2 and (bytes - expected) * 100 >= bytes * $3 \
             order by bytes - expected desc, name"
        );
        let query = diesel::sql_query(query)
            .bind::<Text, _>(TABLES.join(" "))
            .bind::<BigInt, _>(bloated.from_bytes)
            .bind::<BigInt, _>(i64::from(bloated.from_percent));
        let found: Vec<Sized> = query.load(c).await?;
        let step = |row: Sized| UpkeepStep::Reindex {
            index: row.name,
            bytes: row.bytes,
            wasted_bytes: row.wasted_bytes,
        };
        Ok(found.into_iter().map(step).collect())
    }

    /// Somebody who looks how far a step has come; null where there is no server, or it has no connection left.
    pub async fn watch(&mut self, config: &DatabaseConfig) -> Option<UpkeepWatch> {
        let Place::Postgres(c) = &mut self.place else { return None };
        let backend: Backend =
            diesel::sql_query("select pg_backend_pid() as pid").get_result(c).await.ok()?;
        let url = config.resolved_url().ok()?;
        let manager = PostgresManager::new(config, url.expose_secret(), Access::Write).ok()?; // the same server
        Some(UpkeepWatch { conn: manager.dedicated().await.ok()?, pid: backend.pid })
    }

    /// Does it. Answers how long it took.
    ///
    /// # Errors
    /// The database refused, or somebody else held on to what it needs; what was there is there.
    pub async fn run(&mut self, step: &UpkeepStep) -> Result<Duration, StoreError> {
        let start = Instant::now();
        match &mut self.place {
            Place::Postgres(c) => on_server(c, step, self.patience).await?,
            Place::Sqlite(store) => in_file(store, step).await?,
        }
        Ok(start.elapsed())
    }

    /// Lets the next one in.
    pub async fn end(self) {
        if let Place::Postgres(mut c) = self.place {
            turn::given_back(c.batch_execute(GIVE_BACK)).await;
        }
    }
}

async fn on_server(
    c: &mut AsyncPgConnection,
    step: &UpkeepStep,
    patience: RebuildPatience,
) -> Result<(), StoreError> {
    match step {
        UpkeepStep::DropLeftover { index } => {
            wait_at_most(c, patience.waits).await?;
            Ok(c.batch_execute(&format!("drop index concurrently if exists {}", quoted(index))).await?)
        }
        UpkeepStep::VacuumTable { table } => {
            wait_at_most(c, LOCK_WAIT).await?;
            Ok(c.batch_execute(&format!("vacuum (analyze) {}", quoted(table))).await?)
        }
        UpkeepStep::Reindex { index, .. } => {
            wait_at_most(c, patience.waits).await?;
            rebuild::rebuild(c, index, patience.open).await
        }
        UpkeepStep::RefreshStatistics | UpkeepStep::VacuumFile | UpkeepStep::Checkpoint => Err(misplaced()),
    }
}

async fn wait_at_most(c: &mut AsyncPgConnection, wait: Duration) -> QueryResult<()> {
    c.batch_execute(&format!("set lock_timeout = {}", wait.as_millis())).await
}

async fn in_file(store: &Store, step: &UpkeepStep) -> Result<(), StoreError> {
    let mut session = store.checkout().await?;
    let mut conn = session.conn();
    match step {
        UpkeepStep::RefreshStatistics => Ok(execute(&mut conn, REFRESH).await?),
        UpkeepStep::VacuumFile => Ok(execute(&mut conn, "vacuum").await?),
        UpkeepStep::Checkpoint => {
            let Conn::Sqlite(c) = conn else { return Err(misplaced()) };
            let done: Checkpoint = diesel::sql_query("pragma wal_checkpoint(truncate)").get_result(c).await?;
            if done.busy != 0 {
                return Err(StoreError::Rejected(
                    "somebody reads an older state; the log stays for now".into(),
                ));
            }
            Ok(())
        }
        UpkeepStep::DropLeftover { .. } | UpkeepStep::VacuumTable { .. } | UpkeepStep::Reindex { .. } => {
            Err(misplaced())
        }
    }
}

/// Of all tables, not only of those that this connection has asked something of.
const REFRESH: &str = "pragma optimize = 0x10002";

fn misplaced() -> StoreError {
    StoreError::Rejected("this step is of the other kind of database".into())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
