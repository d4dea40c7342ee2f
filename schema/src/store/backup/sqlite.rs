//! SQLite's side of a backup: `VACUUM INTO` writes one consistent copy beside running writers, and what it holds is counted in the
//! copy itself.

use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

use super::super::census::{self, Census};
use super::super::error::StoreError;
use super::super::{Conn, DatabaseConfig, PooledConn, Store};

/// A database file to be backed up.
#[derive(Debug)]
pub struct SqliteSource {
    store: Store,
}

#[derive(QueryableByName)]
struct Pages {
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Text)]
    answer: String,
}

#[derive(QueryableByName)]
struct Checked {
    #[diesel(sql_type = Text)]
    quick_check: String,
}

impl SqliteSource {
    pub(super) async fn open(config: &DatabaseConfig, path: &str) -> Result<Self, StoreError> {
        let path = file_of(path);
        if !path.is_file() {
            return Err(StoreError::Rejected(format!("there is no database file {}", path.display())));
        }
        let source = Self { store: Store::connect(config).await? };
        let mut session = source.store.checkout().await?;
        if !census::our_tables(&mut session.conn()).await?.contains(&"schema_version") {
            return Err(StoreError::Rejected("there is no schema of ledgerline in this database".into()));
        }
        drop(session);
        Ok(source)
    }

    /// Bytes that a copy has at most.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn bytes(&self) -> Result<u64, StoreError> {
        let query = "select page_count * page_size as bytes from pragma_page_count, pragma_page_size";
        let mut session = self.store.checkout().await?;
        let row: Pages = diesel::sql_query(query).get_result(sqlite(&mut session)?).await?;
        Ok(u64::try_from(row.bytes).unwrap_or(0))
    }

    /// SQLite's version.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn version(&self) -> Result<String, StoreError> {
        let mut session = self.store.checkout().await?;
        let query = diesel::sql_query("select sqlite_version() as answer");
        let row: Answer = query.get_result(sqlite(&mut session)?).await?;
        Ok(row.answer)
    }

    /// Writes a consistent copy into a new file.
    ///
    /// # Errors
    /// The file is there already, or the disk or the database refused.
    pub async fn copy_into(&self, file: &Path) -> Result<(), StoreError> {
        let mut session = self.store.checkout().await?;
        let file = text_of(file)?;
        let query = diesel::sql_query("vacuum into ?").bind::<Text, _>(file);
        query.execute(sqlite(&mut session)?).await?;
        Ok(())
    }
}

impl Census {
    /// Counts what a database file holds that nobody else writes to, and has SQLite check its structure.
    ///
    /// # Errors
    /// It is no database, is damaged, or has no schema of ours.
    pub async fn of_file(file: &Path) -> Result<Self, StoreError> {
        let config = DatabaseConfig::for_url(&format!("sqlite:{}", text_of(file)?));
        let store = Store::connect_for_reads(&config).await?;
        let mut session = store.checkout().await?;
        let query = diesel::sql_query("pragma quick_check(1)");
        let row: Checked = query.get_result(sqlite(&mut session)?).await?;
        if row.quick_check != "ok" {
            return Err(StoreError::Rejected(format!("the file is damaged: {}", row.quick_check)));
        }
        census::take(&mut session.conn()).await
    }
}

/// The file that a URL names after `sqlite:`.
pub(super) fn file_of(path: &str) -> PathBuf {
    PathBuf::from(path.strip_prefix("//").unwrap_or(path))
}

fn text_of(file: &Path) -> Result<String, StoreError> {
    let text = file.to_str().map(str::to_owned);
    text.ok_or_else(|| StoreError::Rejected(format!("the path {} is not UTF-8", file.display())))
}

fn sqlite<'s>(session: &'s mut PooledConn<'_>) -> Result<&'s mut super::super::AsyncSqlite, StoreError> {
    match session.conn() {
        Conn::Sqlite(c) => Ok(c),
        Conn::Postgres(_) => Err(StoreError::Rejected("not a SQLite database".into())),
    }
}
