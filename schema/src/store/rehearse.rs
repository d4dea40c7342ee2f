//! `Store::rehearse`: the transaction of a batch, taken back in the end: what a replay would change, without changing it. Called by
//! the worker's writer for dry runs.
//!
//! What must stay true: it runs the same statements as `write.rs`, on a position and ids of its own that nobody else ever sees;
//! whatever it answers, the transaction does not commit, and no id that it made is remembered.

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::claim::intern_lineage;
use super::error::WriteError;
use super::intern::{Interned, Known, intern};
use super::rows::{Look, WriteJob};
use super::write::write_in_tx;
use super::{Claim, Conn, Effort, Lineage, Store, WriteReport, with_conn};
use crate::schema::partition_offsets;

/// How the transaction ends, always: as an error, which takes it back.
struct TakenBack(Result<WriteReport, WriteError>);

impl From<diesel::result::Error> for TakenBack {
    fn from(error: diesel::result::Error) -> Self {
        Self(Err(error.into()))
    }
}

impl Store {
    /// What writing the batch would come to now. The claim's epoch and lineage count for nothing; its group must have no position
    /// on the partition.
    ///
    /// # Errors
    /// As [`Store::write`], and nothing is ever written.
    pub async fn rehearse(&self, job: &WriteJob<'_>, lineage: &Lineage) -> Result<WriteReport, WriteError> {
        let mut session = self.checkout().await?;
        let ended: Result<(), TakenBack> = match session.conn() {
            Conn::Postgres(c) => {
                c.transaction(async |c| Err(TakenBack(rehearse(&mut Conn::Postgres(c), job, lineage).await)))
                    .await
            }
            Conn::Sqlite(c) => {
                c.immediate_transaction(async |c| {
                    Err(TakenBack(rehearse(&mut Conn::Sqlite(c), job, lineage).await))
                })
                .await
            }
        };
        match ended {
            Err(TakenBack(answer)) => answer,
            Ok(()) => unreachable!("it always ends as an error"),
        }
    }
}

async fn rehearse(
    conn: &mut Conn<'_>,
    job: &WriteJob<'_>,
    lineage: &Lineage,
) -> Result<WriteReport, WriteError> {
    let lineage_id = intern_lineage(conn, lineage).await?;
    let claim = Claim { lineage_id, next_offset: job.batch.from, ..job.claim.clone() };
    let row = (
        partition_offsets::consumer_group.eq(&*claim.group),
        partition_offsets::topic.eq(&*claim.topic),
        partition_offsets::partition.eq(claim.partition),
        partition_offsets::lineage_id.eq(lineage_id),
        partition_offsets::start_offset.eq(job.batch.from),
        partition_offsets::next_offset.eq(job.batch.from),
        partition_offsets::epoch.eq(claim.epoch),
        partition_offsets::updated_at.eq(job.now),
    );
    let insert = diesel::insert_into(partition_offsets::table).values(row);
    with_conn!(conn, c => insert.execute(c).await)?;
    let job = WriteJob { claim: &claim, ..*job };
    let interned = match job.effort {
        Effort::Whole => intern(conn, &mut Known::nothing(), &job.batch.rows).await?,
        Effort::Isolate => Interned::Nothing,
    };
    // A plain insert that meets a stored row would end the transaction.
    write_in_tx(conn, &job, &interned, Look::First).await
}
