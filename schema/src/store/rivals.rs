//! The other ways to store quotes, for comparison: the limit of the database, and what a program without this one's care would
//! do. Used by `bench write` alone; nothing here takes part in the line.
//!
//! What must stay true: a rival is treated kindly. It gets the ids for nothing, the rows sorted, writes no ledger and no
//! position, asks for no conflicts, and its statements are prepared where they can be.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use secrecy::ExposeSecret;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use super::error::StoreError;
use super::intern::{Interned, Known, intern};
use super::pool_state::Fault;
use super::postgres::{Access, PostgresManager, chain};
use super::rows::OddsRow;
use super::trial::backend_pid;
use super::{Conn, DatabaseConfig, odds};
use crate::batch::Batch;
use crate::events::Rows;
use crate::schema::odds as table;
use crate::time::UtcMicros;

/// Rows of one multi-row insert: 6 parameters each, PostgreSQL takes 65,535.
const ROWS_PER_STATEMENT: usize = 10_000;

/// A way to store quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rival {
    /// `COPY … FROM STDIN BINARY`, a transaction a batch: nothing that PostgreSQL offers is faster.
    Copy,
    /// One `INSERT` with all rows as parameters, a transaction a batch.
    Values,
    /// One `INSERT` a row, a transaction a batch.
    RowsOneTransaction,
    /// One `INSERT` a row, each a transaction.
    RowsOwnTransaction,
    /// One `INSERT` a row, each on a new connection.
    RowsOwnConnection,
}

/// One quote as all rivals store it.
#[derive(Debug, Clone, Copy, Insertable)]
#[diesel(table_name = table, treat_none_as_default_value = false)]
pub struct RivalRow {
    selection_id: i64,
    observed_at: UtcMicros,
    record_offset: i64,
    price: Option<f64>,
    lineage_id: i32,
    line: Option<f32>,
}

/// Connections of the rivals: one for COPY, one for the others, and how to open more.
pub struct Rivals {
    manager: PostgresManager,
    copying: tokio_postgres::Client,
    inserting: AsyncPgConnection,
    known: Known,
}

fn unreachable(fault: Fault) -> StoreError {
    StoreError::Unavailable(fault.to_string())
}

impl Rivals {
    /// Opens the connections.
    ///
    /// # Errors
    /// It is no PostgreSQL, or did not answer.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let url = config.resolved_url().map_err(StoreError::Config)?;
        let manager = PostgresManager::new(config, url.expose_secret(), Access::Write)?;
        let copying = manager.client().await.map_err(StoreError::Unavailable)?;
        let inserting = manager.dial().await.map_err(unreachable)?;
        Ok(Self { manager, copying, inserting, known: Known::new(config.pool.cached_selections()) })
    }

    /// The rows of a batch, sorted by key; interns what they need.
    ///
    /// # Errors
    /// The batch is of another kind, or the database did not answer.
    pub async fn prepare(&mut self, lineage_id: i32, batch: &Batch) -> Result<Vec<RivalRow>, StoreError> {
        let Self { inserting, known, .. } = self;
        let interned = intern(&mut Conn::Postgres(inserting), known, &batch.rows).await?;
        let (Rows::Odds(rows), Interned::Selections(ids, _)) = (&batch.rows, interned) else {
            return Err(StoreError::Rejected("only quotes are compared".into()));
        };
        let mut sorted = odds::resolve(rows, &ids);
        sorted.sort_unstable_by_key(OddsRow::key);
        let row = |row: &OddsRow| RivalRow {
            selection_id: row.selection_id,
            observed_at: row.observed_at,
            record_offset: batch.records.offset(row.record),
            price: row.value.price,
            lineage_id,
            line: row.value.line,
        };
        Ok(sorted.iter().map(row).collect())
    }

    /// Stores the rows of one batch.
    ///
    /// # Errors
    /// The database refused or did not answer.
    pub async fn write(&mut self, rival: Rival, rows: &[RivalRow]) -> Result<(), StoreError> {
        match rival {
            Rival::Copy => self.copy(rows).await,
            Rival::Values => Ok(self.inserting.transaction(async |c| values(c, rows).await).await?),
            Rival::RowsOneTransaction => {
                Ok(self.inserting.transaction(async |c| one_by_one(c, rows).await).await?)
            }
            Rival::RowsOwnTransaction => Ok(one_by_one(&mut self.inserting, rows).await?),
            Rival::RowsOwnConnection => self.each_on_a_new_connection(rows).await,
        }
    }

    /// The server's process behind a rival; none where it changes with every row.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn backend_pid(&mut self, rival: Rival) -> Result<Option<i32>, StoreError> {
        match rival {
            Rival::Copy => {
                let row = self.copying.query_one("select pg_backend_pid()", &[]).await;
                let pid = row.and_then(|row| row.try_get(0));
                pid.map(Some).map_err(|error| StoreError::Unavailable(chain(error)))
            }
            Rival::Values | Rival::RowsOneTransaction | Rival::RowsOwnTransaction => {
                backend_pid(&mut self.inserting).await.map(Some)
            }
            Rival::RowsOwnConnection => Ok(None),
        }
    }

    async fn copy(&mut self, rows: &[RivalRow]) -> Result<(), StoreError> {
        copy(&mut self.copying, rows).await.map_err(|error| StoreError::Unavailable(chain(error)))
    }

    async fn each_on_a_new_connection(&self, rows: &[RivalRow]) -> Result<(), StoreError> {
        for row in rows {
            let mut conn = self.manager.dial().await.map_err(unreachable)?;
            one_by_one(&mut conn, std::slice::from_ref(row)).await?;
        }
        Ok(())
    }
}

async fn copy(client: &mut tokio_postgres::Client, rows: &[RivalRow]) -> Result<(), tokio_postgres::Error> {
    const TYPES: [Type; 6] =
        [Type::INT8, Type::TIMESTAMPTZ, Type::INT8, Type::FLOAT8, Type::INT4, Type::FLOAT4];
    let transaction = client.transaction().await?;
    let sink = transaction
        .copy_in(
            "copy odds (selection_id, observed_at, record_offset, price, lineage_id, line) from stdin binary",
        )
        .await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &TYPES));
    for row in rows {
        // The measured quotes are of these years; the driver takes its own type of time only.
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(row.observed_at.0.unsigned_abs());
        let values: [&(dyn ToSql + Sync); 6] =
            [&row.selection_id, &at, &row.record_offset, &row.price, &row.lineage_id, &row.line];
        writer.as_mut().write(&values).await?;
    }
    writer.finish().await?;
    transaction.commit().await
}

async fn values(c: &mut AsyncPgConnection, rows: &[RivalRow]) -> QueryResult<()> {
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        diesel::insert_into(table::table).values(rows).execute(c).await?;
    }
    Ok(())
}

async fn one_by_one(c: &mut AsyncPgConnection, rows: &[RivalRow]) -> QueryResult<()> {
    for row in rows {
        diesel::insert_into(table::table).values(row).execute(c).await?;
    }
    Ok(())
}
