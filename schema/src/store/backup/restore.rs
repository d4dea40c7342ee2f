//! The way back: a backup's data into a database that holds nothing of ours. Called by `ledgerline db restore`.
//!
//! What must stay true: nothing that is there is overwritten; two restores never fill, or take back, the same database; the copied
//! rows come in one transaction, in which no worker can have written before; the numbers that the database gives out go on where
//! they were.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use diesel_async::SimpleAsyncConnection;
use futures_util::SinkExt;
use secrecy::ExposeSecret;
use tokio_postgres::{Client, CopyInSink};

use super::super::census::{self, Census, MIGRATIONS, TABLES};
use super::super::doctor::Server;
use super::super::error::StoreError;
use super::super::libpq::Libpq;
use super::super::postgres::{Access, PostgresManager};
use super::super::turn::{self, GIVE_BACK};
use super::super::{Conn, DatabaseConfig, Store};
use super::PATIENT;
use super::copy::{CopiedTable, SAME_TEXT, listed, refused};
use super::sqlite::file_of;

/// A database to restore into, of either kind.
#[derive(Debug)]
pub enum RestoreTarget {
    /// A database of a server.
    Postgres(Box<PostgresTarget>),
    /// A file, which need not be there.
    Sqlite(SqliteTarget),
}

impl RestoreTarget {
    /// Prepares the way to it.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub async fn open(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let url = config.resolved_url().map_err(StoreError::Config)?;
        match url.expose_secret().strip_prefix("sqlite:") {
            Some(path) => Ok(Self::Sqlite(SqliteTarget { file: file_of(path) })),
            None => {
                let manager = PostgresManager::new(config, url.expose_secret(), Access::Write)?;
                let store = Store::connect(config).await?;
                let target = PostgresTarget { manager, store, reserved: None };
                Ok(Self::Postgres(Box::new(target)))
            }
        }
    }

    /// Keeps every other restore out of the database for as long as this lives: what is found from here on is true until the end.
    /// Of two that fill a file the slower one finds it when it is about to give its own the name.
    ///
    /// # Errors
    /// Another restore is at work on it, or it did not answer.
    pub async fn reserve(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(target) => target.reserve().await,
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// Lets other restores at it again.
    pub async fn release(&mut self) {
        let Self::Postgres(target) = self else { return };
        if let Some(client) = target.reserved.take() {
            turn::given_back(client.batch_execute(GIVE_BACK)).await;
        }
    }

    /// Tables and views that are there: with one of them it is not a database to restore into. On a server only ours count, a
    /// file is replaced as a whole.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn found(&self) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Postgres(target) => found(&target.store).await,
            Self::Sqlite(target) => target.found().await,
        }
    }
}

/// A list of migrations that says none is what a reverted schema leaves.
async fn found(store: &Store) -> Result<Vec<String>, StoreError> {
    let mut session = store.checkout().await?;
    let mut conn = session.conn();
    let mut names = census::names(&mut conn).await?;
    let ours = TABLES.iter().chain(&census::VIEWS).filter(|name| names.contains(**name));
    let mut found: Vec<String> = ours.map(|name| (*name).to_owned()).collect();
    if names.contains(MIGRATIONS) && census::count(&mut conn, MIGRATIONS).await? > 0 {
        found.push(MIGRATIONS.to_owned());
    }
    if matches!(conn, Conn::Sqlite(_)) {
        names.retain(|name| name != MIGRATIONS && !found.contains(name) && !name.starts_with("sqlite_"));
        found.extend(names);
    }
    Ok(found)
}

/// A database of a PostgreSQL server to restore into.
pub struct PostgresTarget {
    manager: PostgresManager,
    store: Store,
    /// The connection that holds the lock of restores; the lock ends with it.
    reserved: Option<Client>,
}

/// Never shows how to reach the server.
impl std::fmt::Debug for PostgresTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresTarget")
    }
}

impl PostgresTarget {
    /// How PostgreSQL's own programs reach it.
    #[must_use]
    pub fn libpq(&self) -> Libpq {
        Libpq::of(&self.manager)
    }

    /// The server, and the database's name on it.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn server(&self) -> Result<Server, StoreError> {
        self.store.server().await?.ok_or_else(|| StoreError::Rejected("not a server".into()))
    }

    /// Takes away the empty list of migrations that a reverted schema leaves, where there is one: a dump brings its own.
    ///
    /// # Errors
    /// It did not answer, or the role may not.
    pub async fn clear(&self) -> Result<(), StoreError> {
        let mut session = self.store.checkout().await?;
        let Conn::Postgres(c) = session.conn() else { return Ok(()) };
        Ok(c.batch_execute(&format!("drop table if exists {MIGRATIONS}")).await?)
    }

    /// Makes the tables of that version of the schema, and begins the transaction that fills them. Workers that have been waiting
    /// for the schema wait on.
    ///
    /// # Errors
    /// This program does not know the version, a migration failed, or somebody has written into the new tables already.
    pub async fn begin(&self, schema: i32) -> Result<Loader, StoreError> {
        self.store.migrate_up_to(schema).await?;
        let client = self.manager.dedicated_client().await?;
        client.batch_execute(SAME_TEXT).await.map_err(refused)?;
        let loader = Loader { client };
        loader.take_the_tables(&self.store).await?;
        Ok(loader)
    }

    /// Beside the lock of migrations, which waits: whoever came second would find an empty database and take back, as its own, what
    /// the first one has filled meanwhile.
    async fn reserve(&mut self) -> Result<(), StoreError> {
        let client = self.manager.dedicated_client().await?;
        client.batch_execute(PATIENT).await.map_err(refused)?;
        let lock = "select pg_try_advisory_lock(hashtext('ledgerline restore'))";
        let ask = async || client.query_one(lock, &[]).await?.try_get(0);
        if !turn::taken(ask).await.map_err(refused)? {
            let problem = "another restore into this database is under way; nothing was changed";
            return Err(StoreError::Rejected(problem.into()));
        }
        self.reserved = Some(client);
        Ok(())
    }

    /// Takes back what [`PostgresTarget::begin`] has made; for a restore that did not come to its end.
    ///
    /// # Errors
    /// It did not answer, somebody uses the tables, or they may be another restore's by now.
    pub async fn undo(&self) -> Result<(), StoreError> {
        let lost = || StoreError::Rejected("the lock that kept other restores out is lost".into());
        self.reserved.as_ref().ok_or_else(lost)?.batch_execute("select 1").await.map_err(|_| lost())?;
        while !self.store.migrate_down().await?.is_empty() {}
        self.clear().await
    }

    /// Has the planner know what came: it would guess until autovacuum comes by.
    ///
    /// # Errors
    /// It did not answer, or somebody holds a table for long.
    pub async fn analyze(&self) -> Result<(), StoreError> {
        let mut session = self.store.checkout().await?;
        let tables = census::our_tables(&mut session.conn()).await?;
        drop(session);
        let client = self.manager.dedicated_client().await?;
        client.batch_execute(SAME_TEXT).await.map_err(refused)?; // no time-out among it
        for table in tables {
            client.batch_execute(&format!("analyze {table}")).await.map_err(refused)?;
        }
        Ok(())
    }

    /// Counts what it holds now; on the server that was written to, for a standby may not have it yet.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn census(&self) -> Result<Census, StoreError> {
        let mut c = self.manager.dedicated().await?;
        c.batch_execute(PATIENT).await?;
        c.batch_execute("set statement_timeout = 0; begin isolation level repeatable read read only").await?;
        census::take(&mut Conn::Postgres(&mut c)).await
    }
}

/// The transaction that fills the tables. Nothing is there until it is committed, and nobody else reads or writes meanwhile.
pub struct Loader {
    client: Client,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loader")
    }
}

/// Tables that migrations put a row into.
const SEEDED: [&str; 2] = ["schema_version", "alert_rule_set"];

impl Loader {
    /// A worker that waits for a schema may have started between the last migration and the lock. Then it knows ids of rows
    /// that would go: it is found, and the restore is refused.
    async fn take_the_tables(&self, store: &Store) -> Result<(), StoreError> {
        let mut session = store.checkout().await?;
        let tables = census::our_tables(&mut session.conn()).await?;
        drop(session);
        let lock = format!("begin; lock table {} in access exclusive mode", tables.join(", "));
        self.client.batch_execute(&lock).await.map_err(refused)?;
        for table in tables.iter().filter(|table| !SEEDED.contains(*table)) {
            let anybody = format!("select exists (select from {table})");
            let row = self.client.query_one(&anybody, &[]).await.map_err(refused)?;
            if row.try_get(0).map_err(refused)? {
                let problem =
                    "somebody else writes into this database: end the workers that use it, and make it anew";
                return Err(StoreError::Rejected(format!("{problem} ({table} has rows already)")));
            }
        }
        for table in tables.iter().filter(|table| SEEDED.contains(*table)) {
            self.client.batch_execute(&format!("delete from {table}")).await.map_err(refused)?;
        }
        Ok(())
    }

    /// Begins to fill a table.
    ///
    /// # Errors
    /// It is no table of ours, or the database refused.
    pub async fn fill(&self, table: &CopiedTable) -> Result<CopyIn, StoreError> {
        if !TABLES.contains(&&*table.name) {
            return Err(StoreError::Rejected(format!("{} is no table of ledgerline", table.name)));
        }
        let copy = format!("copy {} from stdin", listed(table));
        let sink = self.client.copy_in(&copy).await.map_err(refused)?;
        Ok(CopyIn { sink: Box::pin(sink) })
    }

    /// Lets the numbers of a table go on where they were.
    ///
    /// # Errors
    /// The database refused.
    pub async fn number_on(&self, table: &CopiedTable) -> Result<(), StoreError> {
        let Some((column, next)) = &table.numbered else { return Ok(()) };
        let set = "select setval(pg_get_serial_sequence(quote_ident($1), $2), $3, false)";
        self.client.query_one(set, &[&table.name, column, next]).await.map_err(refused)?;
        Ok(())
    }

    /// Makes it last.
    ///
    /// # Errors
    /// The database did not say that it did.
    pub async fn commit(self) -> Result<(), StoreError> {
        // A COMMIT on a transaction that failed is answered without an error.
        self.client.batch_execute("select 1").await.map_err(refused)?;
        self.client.batch_execute("commit").await.map_err(refused)
    }
}

/// A table that is being filled.
pub struct CopyIn {
    sink: Pin<Box<CopyInSink<Cursor<Vec<u8>>>>>,
}

impl std::fmt::Debug for CopyIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CopyIn")
    }
}

impl CopyIn {
    /// Hands on bytes; they need not end where a row ends.
    ///
    /// # Errors
    /// The database refused or the connection is gone.
    pub async fn send(&mut self, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.sink.send(Cursor::new(bytes)).await.map_err(refused)
    }

    /// Answers how many rows went in.
    ///
    /// # Errors
    /// The database refused them.
    pub async fn finish(mut self) -> Result<i64, StoreError> {
        let rows = self.sink.as_mut().finish().await.map_err(refused)?;
        Ok(i64::try_from(rows).unwrap_or(i64::MAX))
    }
}

/// A SQLite file to be made.
#[derive(Debug)]
pub struct SqliteTarget {
    file: PathBuf,
}

impl SqliteTarget {
    /// Tables and views that are there, whoever made them.
    ///
    /// # Errors
    /// It is no database.
    pub async fn found(&self) -> Result<Vec<String>, StoreError> {
        if !self.file.exists() {
            return Ok(Vec::new());
        }
        let config = DatabaseConfig::for_url(&format!("sqlite:{}", self.file.display()));
        found(&Store::connect_for_reads(&config).await?).await
    }

    /// Where the database will be.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where its log and index would be: what is left of an empty database there must not be read as part of the new one.
    #[must_use]
    pub fn companions(&self) -> [PathBuf; 3] {
        ["-wal", "-shm", "-journal"].map(|end| {
            let mut name = self.file.clone().into_os_string();
            name.push(end);
            name.into()
        })
    }
}
