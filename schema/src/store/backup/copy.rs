//! Whole tables as streams of bytes, out of a snapshot: PostgreSQL's own COPY, in its text form, which every version of the server
//! reads. The other way is in `restore.rs`.

use std::pin::Pin;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, CopyOutStream};

use super::super::error::StoreError;
use super::super::postgres::{PostgresManager, chain};
use super::columns;

/// A table as it was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopiedTable {
    /// The table.
    pub name: String,
    /// Its columns, in the order of the copy.
    pub columns: Vec<String>,
    /// The column that the database numbers by itself, and the next number. A number that was given out is never given out
    /// again, also where its row is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbered: Option<(String, i64)>,
}

/// Reads tables in somebody's snapshot.
pub struct Copier {
    client: Client,
}

impl std::fmt::Debug for Copier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Copier")
    }
}

/// What makes the text of a value the same wherever it is written and read.
pub(super) const SAME_TEXT: &str = "\
    set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set client_encoding = 'UTF8'; \
    set datestyle = 'ISO, YMD'; set timezone = 'UTC'; set intervalstyle = 'postgres'; set extra_float_digits = 3; \
    set bytea_output = 'hex'; set synchronize_seqscans = off; set lock_timeout = '10s'; \
    select set_config(name, '0', false) from pg_settings where name in ('transaction_timeout', 'idle_session_timeout')";

/// Of these columns the one that a sequence numbers, if there is one.
const NUMBERED: &str = "\
    select a.attname::text, pg_get_serial_sequence(quote_ident($1), a.attname) from pg_attribute a \
    where a.attrelid = $1::text::regclass and a.attidentity <> '' and a.attname::text = any($2)";

impl Copier {
    pub(super) async fn open(manager: &PostgresManager, snapshot: &str) -> Result<Self, StoreError> {
        let client = manager.dedicated_client().await?;
        let begin =
            format!("begin isolation level repeatable read read only; set transaction snapshot '{snapshot}'");
        client.batch_execute(SAME_TEXT).await.map_err(refused)?;
        client.batch_execute(&begin).await.map_err(refused)?;
        Ok(Self { client })
    }

    /// What a copy of a table of ours is made of, and the columns that are left out: those that somebody else has added.
    ///
    /// # Errors
    /// The database did not answer, or the role may not read the table's sequence.
    pub async fn describe(&self, table: &str) -> Result<(CopiedTable, Vec<String>), StoreError> {
        let found = "select attname::text from pg_attribute where attrelid = $1::text::regclass \
                     and attnum > 0 and not attisdropped order by attnum";
        let found = self.client.query(found, &[&table]).await.map_err(refused)?;
        let found: Vec<String> =
            found.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(refused)?;
        let ours = columns::of(table);
        let (columns, others): (Vec<String>, Vec<String>) =
            found.into_iter().partition(|column| ours.contains(&&**column));
        let numbered = self.client.query_opt(NUMBERED, &[&table, &columns]).await.map_err(refused)?;
        let numbered = match numbered {
            None => None,
            Some(row) => {
                let column: String = row.try_get(0).map_err(refused)?;
                let sequence: String = row.try_get(1).map_err(refused)?; // quoted as it has to be
                let next = format!("select last_value + is_called::int from {sequence}");
                let next = self.client.query_one(&next, &[]).await.map_err(refused)?;
                Some((column, next.try_get(0).map_err(refused)?))
            }
        };
        Ok((CopiedTable { name: table.to_owned(), columns, numbered }, others))
    }

    /// Begins to read a table.
    ///
    /// # Errors
    /// The database did not answer, or the role may not read it.
    pub async fn read(&self, table: &CopiedTable) -> Result<CopyOut, StoreError> {
        let copy = format!("copy {} to stdout", listed(table));
        let stream = self.client.copy_out(&copy).await.map_err(refused)?;
        Ok(CopyOut { stream: Box::pin(stream) })
    }
}

/// A table that is being read.
pub struct CopyOut {
    stream: Pin<Box<CopyOutStream>>,
}

impl std::fmt::Debug for CopyOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CopyOut")
    }
}

impl CopyOut {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// The server refused or the connection is gone: what was read until then is not the table.
    pub async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, StoreError> {
        self.stream.next().await.transpose().map_err(refused)
    }
}

/// `table (column, …)`. Names of columns may come from a file: they are quoted.
pub(super) fn listed(table: &CopiedTable) -> String {
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = table.columns.iter().map(quoted).collect();
    format!("{} ({})", quoted(&table.name), columns.join(", "))
}

/// The server's message alone: details hold row values.
pub(super) fn refused(error: tokio_postgres::Error) -> StoreError {
    match error.as_db_error() {
        Some(said) => StoreError::Rejected(said.message().to_owned()),
        None => StoreError::Unavailable(chain(error)),
    }
}
