//! What a backup is made of: one moment of a database, held fast while it is counted and read. Called by `ledgerline db backup`,
//! which makes files of it; `restore` puts them back.
//!
//! What must stay true: rows and positions are read in one snapshot; nothing here writes to the database, takes a lock that a
//! worker waits for, or is ended by the pool's time-outs.

mod columns;
mod copy;
mod restore;
mod sqlite;

pub use copy::{CopiedTable, Copier, CopyOut};
pub use restore::{CopyIn, Loader, PostgresTarget, RestoreTarget, SqliteTarget};
pub use sqlite::SqliteSource;

use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use secrecy::ExposeSecret;

use super::census::{self, Census};
use super::error::StoreError;
use super::libpq::Libpq;
use super::postgres::{Access, PostgresManager};
use super::{Conn, DatabaseConfig};
use crate::sql_types::UtcTimestamp;
use crate::time::UtcMicros;

/// A database to be backed up, of either kind.
#[derive(Debug)]
pub enum BackupSource {
    /// A server; the snapshot is held open as long as this lives.
    Postgres(Box<PostgresSnapshot>),
    /// A file; its snapshot is the copy.
    Sqlite(SqliteSource),
}

impl BackupSource {
    /// Reaches the database; on PostgreSQL the moment of the backup is now.
    ///
    /// # Errors
    /// The configuration cannot be used, the database does not answer, or it has no schema of ours.
    pub async fn open(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let url = config.resolved_url().map_err(StoreError::Config)?;
        match url.expose_secret().strip_prefix("sqlite:") {
            Some(path) => Ok(Self::Sqlite(SqliteSource::open(config, path).await?)),
            None => {
                let manager = PostgresManager::new(config, url.expose_secret(), Access::Snapshot)?;
                Ok(Self::Postgres(Box::new(PostgresSnapshot::hold(manager).await?)))
            }
        }
    }
}

/// One moment of a PostgreSQL database, exported so that others can read it too.
pub struct PostgresSnapshot {
    manager: PostgresManager,
    /// Its transaction is the moment; whoever holds it open lets dead rows stay until it ends.
    holder: AsyncPgConnection,
    named: Named,
}

/// Never shows how to reach the server.
impl std::fmt::Debug for PostgresSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresSnapshot({})", self.named.snapshot)
    }
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    snapshot: String,
    #[diesel(sql_type = Text)]
    schema: String,
    #[diesel(sql_type = Text)]
    server: String,
    #[diesel(sql_type = Integer)]
    server_number: i32,
    #[diesel(sql_type = UtcTimestamp)]
    at: UtcMicros,
}

/// Newer servers have more time-outs, and a role may have them set.
pub(super) const PATIENT: &str = "select set_config(name, '0', false) from pg_settings \
                       where name in ('transaction_timeout', 'idle_session_timeout')";

impl PostgresSnapshot {
    async fn hold(manager: PostgresManager) -> Result<Self, StoreError> {
        let mut holder = manager.dedicated().await?;
        holder.batch_execute(PATIENT).await?;
        holder.batch_execute("begin isolation level repeatable read read only").await?;
        let query = diesel::sql_query(
            "select pg_export_snapshot() as snapshot, coalesce(current_schema()::text, '') as schema, \
                    current_setting('server_version') as server, \
                    current_setting('server_version_num')::int4 as server_number, transaction_timestamp() as at",
        );
        let named: Named = query.get_result(&mut holder).await?;
        if named.schema.is_empty() {
            return Err(StoreError::Rejected("the role's search_path names no schema that is there".into()));
        }
        Ok(Self { manager, holder, named })
    }

    /// Counts what it holds. Takes as long as reading every table.
    ///
    /// # Errors
    /// The database did not answer, the role may not read a table, or there is no schema of ours.
    pub async fn census(&mut self) -> Result<Census, StoreError> {
        census::take(&mut Conn::Postgres(&mut self.holder)).await
    }

    /// The name under which others can read the same moment, while this lives.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.named.snapshot
    }

    /// When it was, by the server's clock.
    #[must_use]
    pub fn at(&self) -> UtcMicros {
        self.named.at
    }

    /// The server's version, as it writes it.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.named.server
    }

    /// The server's major version.
    #[must_use]
    pub fn server_major(&self) -> u32 {
        u32::try_from(self.named.server_number / 10_000).unwrap_or(0)
    }

    /// How PostgreSQL's own programs reach it.
    #[must_use]
    pub fn libpq(&self) -> Libpq {
        Libpq::of(&self.manager)
    }

    /// Everything of ours that is there, tables and views, as patterns for `pg_dump --table`: quoted, each names one thing.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn patterns(&mut self) -> Result<Vec<String>, StoreError> {
        let names = census::names(&mut Conn::Postgres(&mut self.holder)).await?;
        let ours = census::TABLES.iter().chain(&census::VIEWS).chain([&census::MIGRATIONS]);
        let schema = self.named.schema.replace('"', "\"\"");
        let found = ours.filter(|name| names.contains(**name));
        Ok(found.map(|name| format!("\"{schema}\".\"{name}\"")).collect())
    }

    /// A connection of its own that reads tables as they are in this moment.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn copier(&self) -> Result<Copier, StoreError> {
        Copier::open(&self.manager, &self.named.snapshot).await
    }
}
