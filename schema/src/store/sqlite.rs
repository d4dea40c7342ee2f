//! Connections to SQLite: write-ahead log, a busy timeout for other processes on the same file, foreign keys on.

use std::path::Path;

use diesel_async::{AsyncConnection, SimpleAsyncConnection, TransactionManager};

use super::AsyncSqlite;
use super::pool::Session;

/// Opens the pool's connections.
#[derive(Debug)]
pub struct SqliteManager {
    path: String,
    cached_selections: usize,
    settings: &'static str,
}

/// `synchronous = normal` with a write-ahead log: a power cut may lose the last transactions, rows and position together,
/// never one without the other.
const SETTINGS: &str = "pragma busy_timeout = 10000; pragma journal_mode = wal; \
                        pragma synchronous = normal; pragma foreign_keys = on;";

/// A reader beside the writer: sees what was committed, and is refused any change.
const READ_SETTINGS: &str = "pragma busy_timeout = 10000; pragma query_only = on;";

impl SqliteManager {
    pub(super) fn new(path: &str, cached_selections: usize) -> Self {
        let path = path.strip_prefix("//").unwrap_or(path).to_owned();
        Self { path, cached_selections, settings: SETTINGS }
    }

    /// Opens connections that only read.
    pub(super) fn reading(path: &str) -> Self {
        Self { settings: READ_SETTINGS, ..Self::new(path, 0) }
    }
}

impl bb8::ManageConnection for SqliteManager {
    type Connection = Session<AsyncSqlite>;
    type Error = String;

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    async fn connect(&self) -> Result<Self::Connection, String> {
        let folder = Path::new(&self.path).parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(format!("folder {} does not exist", folder.display()));
        }
        let mut conn = AsyncSqlite::establish(&self.path).await.map_err(|error| error.to_string())?;
        conn.batch_execute(self.settings).await.map_err(|error| error.to_string())?;
        Ok(Session::new(conn, self.cached_selections))
    }

    async fn is_valid(&self, _session: &mut Self::Connection) -> Result<(), String> {
        Ok(())
    }

    fn has_broken(&self, session: &mut Self::Connection) -> bool {
        type Manager = <AsyncSqlite as AsyncConnection>::TransactionManager;
        session.broken || Manager::is_broken_transaction_manager(&mut session.conn)
    }
}
