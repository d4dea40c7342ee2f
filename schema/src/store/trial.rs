//! A database for one measurement: made on the configured server, filled, measured, dropped. Used by `bench` alone.
//!
//! What must stay true: what is emptied and dropped here is the database that was made here, and no other.

use std::fmt;

use diesel::sql_types::{BigInt, Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::error::StoreError;
use super::{Conn, DatabaseConfig, Store};

/// Making and dropping a database, and a checkpoint, copy files: they take as long as they take.
const PATIENCE_MS: u64 = 600_000;

/// What the server says about itself that decides how fast it writes.
const SETTINGS: [&str; 7] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
];

/// A migrated, empty database of its own.
pub struct TrialDatabase {
    name: String,
    config: DatabaseConfig,
    /// To the server, by the URL that was given: makes and drops.
    server: Store,
    /// To the database: empties and looks.
    inside: Store,
}

/// Bytes that a table takes, and what was written to the log to fill it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Storage {
    /// The write-ahead log's position: bytes since the server's beginning.
    #[diesel(sql_type = BigInt)]
    pub wal_bytes: i64,
    /// The rows of `odds`.
    #[diesel(sql_type = BigInt)]
    pub table_bytes: i64,
    /// The keys of `odds`.
    #[diesel(sql_type = BigInt)]
    pub index_bytes: i64,
}

#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Pid {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

/// Never shows the configuration: it holds the password.
impl fmt::Debug for TrialDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrialDatabase({})", self.name)
    }
}

impl TrialDatabase {
    /// Makes a database on the server of this configuration and brings its schema up to date.
    ///
    /// # Errors
    /// It is no PostgreSQL, cannot be reached, or the role may not make databases.
    pub async fn create(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let config =
            DatabaseConfig { url: config.resolved_url().map_err(StoreError::Config)?, ..config.clone() };
        let config = DatabaseConfig { url_file: None, ..config };
        let server = Store::connect(&patient(&config)).await?;
        if matches!(server, Store::Sqlite(_)) {
            return Err(not_postgres()); // before a file is made
        }
        let mut session = server.checkout().await?;
        let mut conn = session.conn();
        let c = postgres(&mut conn)?;
        let name = "select 'ledgerline_bench_' || left(gen_random_uuid()::text, 8) as word";
        let name = one_word(c, name).await?;
        c.batch_execute(&format!("create database {name}")).await.map_err(|error| {
            let problem = "cannot create a database to measure in, the role needs CREATEDB";
            StoreError::Rejected(format!("{problem}: {error}"))
        })?;
        drop(session);
        let url = url_of(&config, &name)?;
        let config = DatabaseConfig { url, ..config };
        let inside = Store::connect(&patient(&config)).await?;
        let trial = Self { name, config, server, inside };
        match trial.prepare().await {
            Ok(()) => Ok(trial),
            Err(error) => {
                trial.drop_it().await?;
                Err(error)
            }
        }
    }

    /// How to reach it; all other settings are those that were given.
    #[must_use]
    pub fn config(&self) -> &DatabaseConfig {
        &self.config
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Drops it, whoever is still connected.
    ///
    /// # Errors
    /// The server refused or did not answer: it is still there, under the name in the error.
    pub async fn drop_it(self) -> Result<(), StoreError> {
        let Self { name, server, inside, .. } = self;
        drop(inside);
        let left =
            |error: StoreError| StoreError::Rejected(format!("database {name} is left behind: {error}"));
        let mut session = server.checkout().await.map_err(left)?;
        let mut conn = session.conn();
        let drop = format!("drop database if exists {name} with (force)");
        postgres(&mut conn)?.batch_execute(&drop).await.map_err(|error| left(error.into()))
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        // A URL may name a database beside its path too, and that one is not ours.
        let found = self.word("select current_database()::text as word").await?;
        if found != self.name {
            return Err(StoreError::Config(
                "database.url: names its database in another place than its path".into(),
            ));
        }
        self.inside.migrate_up().await?;
        Ok(())
    }

    /// Empties `odds` and has everything written out, so that the next measurement starts from the same state as the last.
    /// Answers whether the role may ask for a checkpoint.
    ///
    /// # Errors
    /// The server refused or did not answer.
    pub async fn empty_odds(&self) -> Result<bool, StoreError> {
        let mut session = self.inside.checkout().await?;
        postgres(&mut session.conn())?.batch_execute("truncate odds").await?;
        drop(session);
        self.checkpoint().await
    }

    /// Has everything written out. Answers whether the role may ask for it.
    ///
    /// # Errors
    /// No connection.
    pub async fn checkpoint(&self) -> Result<bool, StoreError> {
        let mut session = self.inside.checkout().await?;
        Ok(postgres(&mut session.conn())?.batch_execute("checkpoint").await.is_ok())
    }

    /// How many quotes are stored.
    ///
    /// # Errors
    /// The server refused or did not answer.
    pub async fn odds_count(&self) -> Result<i64, StoreError> {
        let mut session = self.inside.checkout().await?;
        let query = sql_query("select count(*) as count from odds");
        let row: Count = query.get_result(postgres(&mut session.conn())?).await?;
        Ok(row.count)
    }

    /// The log's position and the sizes of `odds`.
    ///
    /// # Errors
    /// The server refused or did not answer.
    pub async fn storage(&self) -> Result<Storage, StoreError> {
        let mut session = self.inside.checkout().await?;
        let query = sql_query(
            "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8 as wal_bytes, \
             pg_table_size('odds') as table_bytes, pg_indexes_size('odds') as index_bytes",
        );
        Ok(query.get_result(postgres(&mut session.conn())?).await?)
    }

    /// What the server says about itself that decides how fast it writes: name and value.
    ///
    /// # Errors
    /// The server refused or did not answer.
    pub async fn server_settings(&self) -> Result<Vec<(&'static str, String)>, StoreError> {
        let mut found = Vec::new();
        for name in SETTINGS {
            let value = self.word(&format!("select current_setting('{name}') as word")).await?;
            found.push((name, value));
        }
        Ok(found)
    }

    async fn word(&self, query: &str) -> Result<String, StoreError> {
        let mut session = self.inside.checkout().await?;
        one_word(postgres(&mut session.conn())?, query).await
    }
}

impl Store {
    /// The server's process behind the connection that is lent next: the only one, where the pool holds one.
    ///
    /// # Errors
    /// It is no PostgreSQL, or did not answer.
    pub async fn backend_pid(&self) -> Result<i32, StoreError> {
        let mut session = self.checkout().await?;
        backend_pid(postgres(&mut session.conn())?).await
    }
}

pub(super) async fn backend_pid(c: &mut AsyncPgConnection) -> Result<i32, StoreError> {
    let row: Pid = sql_query("select pg_backend_pid() as pid").get_result(c).await?;
    Ok(row.pid)
}

async fn one_word(c: &mut AsyncPgConnection, query: &str) -> Result<String, StoreError> {
    let row: Word = sql_query(query).get_result(c).await?;
    Ok(row.word)
}

fn postgres<'c>(conn: &'c mut Conn<'_>) -> Result<&'c mut AsyncPgConnection, StoreError> {
    match conn {
        Conn::Postgres(c) => Ok(c),
        Conn::Sqlite(_) => Err(not_postgres()),
    }
}

fn not_postgres() -> StoreError {
    StoreError::Rejected("only PostgreSQL can be measured: name a server with --database-url".into())
}

/// The same settings with time for what takes long.
fn patient(config: &DatabaseConfig) -> DatabaseConfig {
    let mut config = DatabaseConfig { statement_timeout_ms: PATIENCE_MS, ..config.clone() };
    config.pool.size = 2;
    config
}

/// The same server, another database.
fn url_of(config: &DatabaseConfig, name: &str) -> Result<SecretString, StoreError> {
    let mut url = Url::parse(config.url.expose_secret())
        .map_err(|error| StoreError::Config(format!("database.url: not a URL: {error}")))?;
    url.set_path(name);
    Ok(SecretString::from(String::from(url)))
}
