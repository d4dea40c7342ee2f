//! How much is stored, for people. Never used by the line.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

use super::error::StoreError;
use super::{Store, with_conn};

/// A table with its number of rows.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct TableCount {
    /// The table's name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Its rows.
    #[diesel(sql_type = BigInt)]
    pub rows: i64,
}

impl Store {
    /// Rows of every table that events go to.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn table_counts(&self) -> Result<Vec<TableCount>, StoreError> {
        let tables = [
            "games",
            "game_refs",
            "selections",
            "odds",
            "articles",
            "alerts",
            "sharp_signals",
            "betting_analyses",
            "dead_letters",
        ];
        let counts = tables.map(|table| format!("select '{table}' as name, count(*) as rows from {table}"));
        let mut session = self.checkout().await?;
        let query = diesel::sql_query(counts.join(" union all "));
        Ok(with_conn!(&mut session.conn(), c => query.load(c).await)?)
    }
}
