//! What is written into a spool: a batch with the position behind it, and where spooling begins. Called by `spool.rs` and `write.rs`.
//!
//! What must stay true: spooling of a partition goes on where that ends which follows the database's position without a gap.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

use super::super::claim::{Lineage, intern_lineage, lock_position};
use super::super::error::{StoreError, WriteError};
use super::super::intern::Lookups;
use super::super::ledger::joined;
use super::super::rows::WriteJob;
use super::super::write::{WriteReport, is_ours, move_position};
use super::super::{AsyncSqlite, Conn, Wire};
use super::{of_log, segments};
use crate::batch::{RowCounts, SEGMENT_FORMAT};
use crate::schema::partition_offsets;
use crate::time::UtcMicros;

/// What a segment takes besides its bytes, on the high side.
const BESIDES: i64 = 64 << 10;
/// So much of the disk is left alone: what leaves a spool is written down, too, in a log of 4 MiB that then goes into the file. On a
/// disk that is full to the last byte nothing could ever leave.
const SPARE: u64 = 16 << 20;

/// The body of a spool's transaction: the batch as it came, and its position. What its records are worth is decided where all
/// others are: nothing of it is judged here, and no budget is used up.
pub(in super::super) async fn keep_in_tx(
    c: &mut AsyncSqlite,
    job: &WriteJob<'_>,
) -> Result<WriteReport, WriteError> {
    let WriteJob { claim, batch, now, .. } = job;
    if !is_ours(job, lock_position(Wire::Sqlite(c), claim).await?) {
        return Err(WriteError::Fenced);
    }
    leave_room(c, batch.segment().len()).await?;
    let key = (
        segments::consumer_group.eq(&*claim.group),
        segments::lineage_id.eq(claim.lineage_id),
        segments::from_offset.eq(batch.from),
    );
    let value = (
        segments::to_offset.eq(batch.to),
        segments::records.eq(i64::try_from(batch.records.len()).unwrap_or(i64::MAX)),
        segments::at.eq(*now),
        segments::format.eq(SEGMENT_FORMAT),
        segments::body.eq(batch.segment()),
    );
    // After the database was set back a segment may start where an older one does: both are of the same log, and the one that says
    // more stays.
    let upsert = diesel::insert_into(segments::table)
        .values((key, value))
        .on_conflict((segments::consumer_group, segments::lineage_id, segments::from_offset))
        .do_update()
        .set(value);
    let says_less = segments::to_offset.lt(batch.to).or(segments::format.lt(0));
    diesel::query_dsl::methods::FilterDsl::filter(upsert, says_less).execute(c).await?;
    if !move_position(Wire::Sqlite(c), job).await? {
        return Err(WriteError::Fenced);
    }
    Ok(WriteReport {
        dispositions: batch.dispositions(batch.dead.len()),
        rows: RowCounts::default(),
        dead: batch.dead.clone(),
        attempts: 1,
        lookups: Lookups::default(),
    })
}

/// Refuses what the file's bound or the disk leaves no room for: SQLite would, too, but ends the transaction by itself and so hides why.
async fn leave_room(c: &mut AsyncSqlite, bytes: usize) -> Result<(), StoreError> {
    let query = diesel::sql_query(
        "select (m.max_page_count - p.page_count + f.freelist_count) * s.page_size as bytes, d.file \
         from pragma_max_page_count m, pragma_page_count p, pragma_freelist_count f, pragma_page_size s, pragma_database_list d \
         where d.name = 'main'",
    );
    let Room { bytes: room, file } = query.get_result(c).await?;
    // A disk that does not tell is SQLite's to refuse.
    let free =
        rustix::fs::statvfs(&*file).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    has_room(bytes, room, free).map_err(|why| StoreError::Rejected(why.into()))
}

/// Whether a segment of so many bytes fits into a file that may grow by `room`, on a disk with `free` bytes.
fn has_room(bytes: usize, room: i64, free: u64) -> Result<(), &'static str> {
    if !i64::try_from(bytes).is_ok_and(|bytes| bytes + BESIDES <= room) {
        return Err("the spool is full");
    }
    // A page is written twice, into the log and into the file.
    if (bytes as u64).saturating_mul(2).saturating_add(SPARE) > free {
        return Err("the disk of the spool is full, but for what it takes to empty the spool");
    }
    Ok(())
}

#[derive(QueryableByName)]
struct Room {
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    #[diesel(sql_type = Text)]
    file: String,
}

/// Lets spooling of a partition go on for a database that stands at `at`.
pub(super) async fn begin(
    c: &mut AsyncSqlite,
    (group, lineage): (&str, &Lineage),
    at: i64,
    aside: &[i64],
    now: UtcMicros,
) -> QueryResult<()> {
    let lineage_id = intern_lineage(&mut Conn::Sqlite(c), lineage).await?;
    let held = ranges(c, (group, lineage), at, aside).await?;
    let from = held.iter().find(|(from, _)| *from <= at).map_or(at, |(_, to)| *to);
    let row = (
        partition_offsets::consumer_group.eq(group),
        partition_offsets::topic.eq(&lineage.topic),
        partition_offsets::partition.eq(lineage.partition),
        partition_offsets::lineage_id.eq(lineage_id),
        partition_offsets::start_offset.eq(from),
        partition_offsets::next_offset.eq(from),
        partition_offsets::updated_at.eq(now),
    );
    let moved = (
        partition_offsets::lineage_id.eq(lineage_id),
        partition_offsets::start_offset.eq(from),
        partition_offsets::next_offset.eq(from),
        partition_offsets::epoch.eq(partition_offsets::epoch + 1),
        partition_offsets::halted.eq(None::<String>),
        partition_offsets::updated_at.eq(now),
    );
    let elsewhere = partition_offsets::lineage_id.ne(lineage_id).or(partition_offsets::next_offset.ne(from));
    let upsert = diesel::insert_into(partition_offsets::table)
        .values(row)
        .on_conflict((
            partition_offsets::consumer_group,
            partition_offsets::topic,
            partition_offsets::partition,
        ))
        .do_update()
        .set(moved);
    diesel::query_dsl::methods::FilterDsl::filter(upsert, elsewhere).execute(c).await?;
    Ok(())
}

/// What can be read behind `at`, in order, without the borders between segments that follow each other.
pub(super) async fn ranges(
    c: &mut AsyncSqlite,
    (group, lineage): (&str, &Lineage),
    at: i64,
    aside: &[i64],
) -> QueryResult<Vec<(i64, i64)>> {
    let rows = segments::table
        .filter(of_log(group, lineage))
        .filter(segments::to_offset.gt(at))
        .filter(segments::format.gt(0))
        .filter(segments::from_offset.ne_all(aside))
        .order((segments::from_offset, segments::to_offset))
        .select((segments::from_offset, segments::to_offset));
    let rows: Vec<(i64, i64)> = rows.load(c).await?;
    Ok(joined(&rows, i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_needs_room_in_the_file_and_on_the_disk() {
        let (kib, mib) = (1_i64 << 10, 1_u64 << 20);
        assert_eq!(has_room(100 << 10, 164 * kib, 20 * mib), Ok(()));
        assert_eq!(has_room(100 << 10, 163 * kib, 20 * mib), Err("the spool is full"));
        assert!(has_room(100 << 10, 164 * kib, 16 * mib).is_err_and(|why| why.contains("disk")));
        assert!(has_room(usize::MAX, i64::MAX, u64::MAX).is_err(), "nothing overflows");
    }
}
