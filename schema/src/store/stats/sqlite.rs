//! The figures of a SQLite file. Rows are counted, which reads each table once.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use serde::Serialize;

use super::super::{AsyncSqlite, Conn, census};

/// A database file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SqliteStats {
    /// SQLite's version.
    pub version: String,
    /// The file.
    pub bytes: i64,
    /// Pages of the file.
    pub pages: i64,
    /// Bytes of a page.
    pub page_bytes: i64,
    /// Pages that hold nothing; new rows take them, and `db optimize --vacuum` gives them back.
    pub free_pages: i64,
    /// `wal`, or what somebody else has set.
    pub journal_mode: String,
    /// Bytes of the write-ahead log beside the file.
    pub wal_bytes: i64,
    /// Tables of ours.
    pub tables: Vec<SqliteTable>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SqliteTable {
    /// Its name.
    pub name: String,
    /// Its rows, counted.
    pub rows: i64,
}

#[derive(QueryableByName)]
struct File {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = BigInt)]
    pages: i64,
    #[diesel(sql_type = BigInt)]
    page_bytes: i64,
    #[diesel(sql_type = BigInt)]
    free_pages: i64,
    #[diesel(sql_type = Text)]
    journal_mode: String,
    #[diesel(sql_type = Text)]
    path: String,
}

const FILE: &str = "\
    select sqlite_version() as version, page_count as pages, page_size as page_bytes, freelist_count as free_pages, \
           journal_mode, coalesce(file, '') as path \
    from pragma_page_count, pragma_page_size, pragma_freelist_count, pragma_journal_mode, pragma_database_list \
    where name = 'main'";

pub(super) async fn stats(c: &mut AsyncSqlite) -> QueryResult<SqliteStats> {
    let file: File = diesel::sql_query(FILE).get_result(c).await?;
    let mut tables = Vec::new();
    let conn = &mut Conn::Sqlite(c);
    for name in census::our_tables(conn).await? {
        tables.push(SqliteTable { name: name.to_owned(), rows: census::count(conn, name).await? });
    }
    let wal = std::fs::metadata(format!("{}-wal", file.path)).map_or(0, |wal| wal.len());
    Ok(SqliteStats {
        version: file.version,
        bytes: file.pages * file.page_bytes,
        pages: file.pages,
        page_bytes: file.page_bytes,
        free_pages: file.free_pages,
        journal_mode: file.journal_mode,
        wal_bytes: i64::try_from(wal).unwrap_or(i64::MAX),
        tables,
    })
}
