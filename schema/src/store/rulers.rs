//! Looking at a running worker's database from outside, on a connection that nobody else uses. Used by `bench` alone.
//!
//! What must stay true: it reads and changes nothing; each look is one round trip, so that looking often stays cheap.

use std::fmt;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Integer;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::Store;
use super::error::StoreError;
use super::pool::Session;
use crate::schema::partition_offsets;

/// A connection outside the pool.
pub struct Ruler(Session<AsyncPgConnection>);

impl fmt::Debug for Ruler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ruler")
    }
}

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

impl Store {
    /// Opens a connection to measure with.
    ///
    /// # Errors
    /// It is no PostgreSQL, or cannot be reached.
    pub async fn ruler(&self) -> Result<Ruler, StoreError> {
        match self {
            Self::Postgres(pool) => Ok(Ruler(pool.dedicated_connection().await?)),
            Self::Sqlite(_) => Err(StoreError::Rejected("only PostgreSQL can be measured".into())),
        }
    }
}

impl Ruler {
    /// Where the partitions of a topic stand: partition and next offset.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn positions(&mut self, group: &str, topic: &str) -> Result<Vec<(i32, i64)>, StoreError> {
        let query = partition_offsets::table
            .filter(partition_offsets::consumer_group.eq(group))
            .filter(partition_offsets::topic.eq(topic))
            .select((partition_offsets::partition, partition_offsets::next_offset));
        Ok(query.load(&mut self.0.conn).await?)
    }

    /// How long a transaction takes that does nothing.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn empty_commit(&mut self) -> Result<Duration, StoreError> {
        let start = Instant::now();
        self.0.conn.batch_execute("begin; commit").await?;
        Ok(start.elapsed())
    }

    /// The server's processes behind all other connections to this database.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn other_backends(&mut self) -> Result<Vec<i32>, StoreError> {
        let query = sql_query(
            "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
        );
        let found: Vec<Backend> = query.load(&mut self.0.conn).await?;
        Ok(found.into_iter().map(|backend| backend.pid).collect())
    }
}
