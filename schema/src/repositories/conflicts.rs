//! Conflicts of games that nobody has settled: an event named refs of two games. Called by `ledgerline games ls --conflicts`.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::statement::Statement;
use crate::store::{Store, StoreError};

/// An event named a ref of one game and a ref of another.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct GameConflict {
    /// The ref's system.
    #[diesel(sql_type = Text)]
    pub system: String,
    /// The ref's id there.
    #[diesel(sql_type = Text)]
    pub external_id: String,
    /// The game that the ref leads to.
    #[diesel(sql_type = Nullable<BigInt>)]
    pub leads_to: Option<i64>,
    /// The game that the event was about.
    #[diesel(sql_type = BigInt)]
    pub named_with: i64,
    /// A name of that game, as `SYSTEM:ID`.
    #[diesel(sql_type = Nullable<Text>)]
    pub named_with_name: Option<String>,
}

impl Store {
    /// The first `limit` conflicts that no merge has settled.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn game_conflicts(&self, limit: usize) -> Result<Vec<GameConflict>, StoreError> {
        let statement = Statement::new(format!(
            "select r.system, r.external_id, r.game_id as leads_to, c.game_id as named_with, \
                    (select min(o.system || ':' || o.external_id) from game_refs o where o.game_id = c.game_id) \
                    as named_with_name \
             from game_conflicts c join game_refs r on r.id = c.game_ref_id \
             where c.resolved_at is null order by c.game_ref_id, c.game_id limit {limit}"
        ));
        let mut session = self.checkout().await?;
        Ok(statement.load(&mut session.conn()).await?)
    }
}
