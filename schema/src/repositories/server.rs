//! The database itself: which version it is, in which role, with which schema, and how fast it answers.

use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer, Text};

use super::statement::Statement;
use crate::store::{Conn, Store, StoreError};

/// What the server is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Follows a primary and only reads.
    Replica,
    /// A file of this process.
    Embedded,
}

/// The server as it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// Its version.
    pub version: String,
    /// Its role.
    pub role: Role,
    /// The version of our schema.
    pub schema_version: i32,
    /// From asking for a connection to the answer.
    pub latency: Duration,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Bool)]
    follows: bool,
    #[diesel(sql_type = Integer)]
    schema_version: i32,
}

impl Store {
    /// Asks the server what it is.
    ///
    /// # Errors
    /// It did not answer, or holds no schema of ours.
    pub async fn server_state(&self) -> Result<ServerState, StoreError> {
        let start = Instant::now();
        let mut session = self.checkout().await?;
        let conn = &mut session.conn();
        let (version, follows) = match conn {
            Conn::Postgres(_) => ("current_setting('server_version')", "pg_is_in_recovery()"),
            Conn::Sqlite(_) => ("sqlite_version()", "false"),
        };
        let role = |follows: bool| match conn {
            Conn::Postgres(_) if follows => Role::Replica,
            Conn::Postgres(_) => Role::Primary,
            Conn::Sqlite(_) => Role::Embedded,
        };
        let (follower, leader) = (role(true), role(false));
        let statement = Statement::new(format!(
            "select {version} as version, {follows} as follows, v.version as schema_version from schema_version v where true"
        ));
        let row: Row = statement.load(conn).await?.pop().ok_or(diesel::result::Error::NotFound)?;
        Ok(ServerState {
            version: row.version,
            role: if row.follows { follower } else { leader },
            schema_version: row.schema_version,
            latency: start.elapsed(),
        })
    }
}
