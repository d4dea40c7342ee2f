//! Connections to SQLite: write-ahead log, a busy timeout for other processes on the same file, foreign keys on. A spool's connection
//! keeps everybody else out and every commit safe from a power cut.

use std::borrow::Cow;
use std::path::Path;

use diesel_async::{AsyncConnection, SimpleAsyncConnection, TransactionManager};

use super::AsyncSqlite;
use super::pool::Session;
use super::pool_state::{Fault, SetUpFailure};
use super::rows::Keeps;

/// Opens the pool's connections.
#[derive(Debug)]
pub struct SqliteManager {
    path: String,
    cached_selections: usize,
    settings: Cow<'static, str>,
    keeps: Keeps,
}

/// `synchronous = normal` with a write-ahead log: a power cut may lose the last transactions, rows and position together,
/// never one without the other.
const SETTINGS: &str = "pragma busy_timeout = 10000; pragma journal_mode = wal; \
                        pragma synchronous = normal; pragma foreign_keys = on;";

/// A reader beside the writer: sees what was committed, and is refused any change.
const READ_SETTINGS: &str = "pragma busy_timeout = 10000; pragma query_only = on;";

/// The first writer takes the file until it closes it; a commit is on the disk, because Kafka may have deleted its records since.
const SPOOL_SETTINGS: &str = "pragma busy_timeout = 2000; pragma locking_mode = exclusive; pragma journal_mode = wal; \
                              pragma synchronous = full; pragma foreign_keys = on;";
/// Of a file that is not there yet. They write, and what is in a spool can be read although its disk is full.
const NEW_SPOOL_SETTINGS: &str = "pragma page_size = 4096; pragma auto_vacuum = incremental;";
const PAGES_PER_MIB: u64 = 256;

impl SqliteManager {
    pub(super) fn new(path: &str, cached_selections: usize) -> Self {
        let path = path.strip_prefix("//").unwrap_or(path).to_owned();
        Self { path, cached_selections, settings: SETTINGS.into(), keeps: Keeps::Rows }
    }

    /// Opens connections that only read.
    pub(super) fn reading(path: &str) -> Self {
        Self { settings: READ_SETTINGS.into(), ..Self::new(path, 0) }
    }

    /// Opens the one connection of a spool that holds at most that many MiB.
    pub(super) fn spool(path: &Path, most_mib: u64) -> Self {
        let most_pages = most_mib.saturating_mul(PAGES_PER_MIB);
        let settings = format!("{SPOOL_SETTINGS} pragma max_page_count = {most_pages};");
        let path = path.to_string_lossy();
        Self { settings: settings.into(), keeps: Keeps::Segments, ..Self::new(&path, 0) }
    }
}

impl bb8::ManageConnection for SqliteManager {
    type Connection = Session<AsyncSqlite>;
    type Error = Fault;

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    async fn connect(&self) -> Result<Self::Connection, Fault> {
        let folder = Path::new(&self.path).parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let text = format!("folder {} does not exist", folder.display());
            return Err(Fault::SetUp(SetUpFailure::Unreachable, text));
        }
        let is_new = std::fs::metadata(&self.path).map_or(true, |file| file.len() == 0);
        let mut conn = AsyncSqlite::establish(&self.path).await.map_err(failed)?;
        if is_new && self.keeps == Keeps::Segments {
            conn.batch_execute(NEW_SPOOL_SETTINGS).await.map_err(failed)?;
        }
        conn.batch_execute(&self.settings).await.map_err(failed)?;
        Ok(Session { keeps: self.keeps, ..Session::new(conn, self.cached_selections) })
    }

    async fn is_valid(&self, _session: &mut Self::Connection) -> Result<(), Fault> {
        Ok(())
    }

    fn has_broken(&self, session: &mut Self::Connection) -> bool {
        type Manager = <AsyncSqlite as AsyncConnection>::TransactionManager;
        session.broken || Manager::is_broken_transaction_manager(&mut session.conn)
    }
}

fn failed(error: impl std::error::Error) -> Fault {
    Fault::SetUp(SetUpFailure::Other, error.to_string())
}
