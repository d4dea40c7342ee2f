//! The operators' trail: one row for each thing that an operator changed by a command, written in the transaction of the change.
//! `verify` reads the resets among them.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Conn, with_conn};
use crate::schema::operator_actions as actions;
use crate::time::UtcMicros;

/// The action that moves a position; the only one that explains a jump in the ledger.
pub(super) const RESET: &str = "reset";

/// What is about no partition.
pub(super) const NO_PARTITION: i32 = -1;

/// One row of the trail.
#[derive(Insertable)]
#[diesel(table_name = actions)]
pub(super) struct Action<'a> {
    pub(super) at: UtcMicros,
    pub(super) actor: &'a str,
    pub(super) action: &'static str,
    pub(super) consumer_group: &'a str,
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) lineage_before: Option<i32>,
    pub(super) lineage_after: Option<i32>,
    pub(super) epoch: Option<i64>,
    pub(super) from_offset: Option<i64>,
    pub(super) to_offset: Option<i64>,
    pub(super) reason: &'a str,
}

impl<'a> Action<'a> {
    /// Of no partition, where nothing moves.
    pub(super) fn by(actor: &'a str, action: &'static str, reason: &'a str, at: UtcMicros) -> Self {
        Self {
            at,
            actor,
            action,
            consumer_group: "",
            topic: "",
            partition: NO_PARTITION,
            lineage_before: None,
            lineage_after: None,
            epoch: None,
            from_offset: None,
            to_offset: None,
            reason,
        }
    }
}

pub(super) async fn write(conn: &mut Conn<'_>, action: &Action<'_>) -> QueryResult<()> {
    let insert = diesel::insert_into(actions::table).values(action);
    with_conn!(conn, c => insert.execute(c).await)?;
    Ok(())
}
