//! What a database says about its own health: sizes, dead rows, indexes, cache, long transactions, connections. For `ledgerline db
//! stats`; reads only, and judges nothing.
//!
//! What must stay true: no text of anybody's statement is read, it may hold values; what the role may not see is null.

mod postgres;
mod sqlite;

pub use postgres::{
    ConnectionCount, IndexStats, LongTransaction, PostgresStats, PostgresTable, ServerTotals,
};
pub use sqlite::{SqliteStats, SqliteTable};

use serde::Serialize;

use super::error::StoreError;
use super::{Conn, Store};

/// Figures of either kind of database.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "store", rename_all = "lowercase")]
pub enum DatabaseStats {
    /// A database of a server.
    Postgres(PostgresStats),
    /// A file.
    Sqlite(SqliteStats),
}

impl Store {
    /// The figures of now; transactions that are older than `old_seconds` are listed.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn database_stats(&self, old_seconds: f64) -> Result<DatabaseStats, StoreError> {
        let mut session = self.checkout().await?;
        Ok(match session.conn() {
            Conn::Postgres(c) => DatabaseStats::Postgres(postgres::stats(c, old_seconds).await?),
            Conn::Sqlite(c) => DatabaseStats::Sqlite(sqlite::stats(c).await?),
        })
    }
}
