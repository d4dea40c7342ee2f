//! `Spool`: where batches wait while the database is away: an embedded store that keeps each batch as it came, and a position for
//! each partition. Claims and batches go through [`Spool::store`] as they go to any store; the worker moves what is here into the
//! database later.
//!
//! What must stay true:
//! - a segment and the position behind it are written in one transaction, or neither;
//! - a segment leaves only when the database's ledger accounts for every offset of it, none of them as lost; one that cannot be read
//!   stays, and is looked past;
//! - one process has the file, and the file has a bound; reaching it is an error like a full disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use super::claim::Lineage;
use super::config::PoolConfig;
use super::error::StoreError;
use super::sqlite::SqliteManager;
use super::{AsyncSqlite, Conn, Store, pool};
use crate::schema::lineages;
use crate::time::UtcMicros;

mod keep;

pub(super) use keep::keep_in_tx;

diesel::table! {
    use diesel::sql_types::{BigInt, Binary, Integer, Text};
    use crate::sql_types::UtcTimestamp;

    segments (consumer_group, lineage_id, from_offset) {
        consumer_group -> Text,
        lineage_id -> Integer,
        from_offset -> BigInt,
        to_offset -> BigInt,
        records -> BigInt,
        at -> UtcTimestamp,
        format -> Integer,
        body -> Binary,
    }
}

diesel::allow_tables_to_appear_in_same_query!(segments, lineages);

/// Segments that are dropped at once, of each range of the ledger.
const AT_A_TIME: i64 = 2_000;
/// Never: a connection that is replaced gives the file out of its hands.
const NEVER_MS: u64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// One process's spool.
#[derive(Debug, Clone)]
pub struct Spool {
    store: Store,
    path: Arc<PathBuf>,
    /// Segments that were set aside although the file took nothing in.
    aside: Arc<Mutex<Vec<Aside>>>,
}

/// A segment, by group, log and first offset.
type Aside = (String, Lineage, i64);

/// What the spool holds of one group in one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The consumer group.
    pub group: String,
    /// The log.
    pub lineage: Lineage,
    /// First offset of the first segment.
    pub from: i64,
    /// One past the last offset of the last one.
    pub to: i64,
    /// Segments.
    pub segments: i64,
    /// Records in them.
    pub records: i64,
}

/// One batch that waits.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = segments)]
pub struct Segment {
    /// Its first offset.
    #[diesel(column_name = from_offset)]
    pub from: i64,
    /// One past its last offset.
    #[diesel(column_name = to_offset)]
    pub to: i64,
    /// How its bytes are written.
    pub format: i32,
    /// [`crate::batch::Batch::from_segment`] reads them.
    pub body: Vec<u8>,
}

/// Selects the segments of one group in one log.
#[diesel::dsl::auto_type(no_type_alias)]
fn of_log<'a>(group: &'a str, lineage: &'a Lineage) -> _ {
    let cluster_id: &'a str = lineage.cluster_id.as_str();
    let topic_id: &'a str = lineage.topic_id.as_str();
    let topic: &'a str = lineage.topic.as_str();
    let partition: i32 = lineage.partition;
    let log = lineages::table
        .filter(lineages::cluster_id.eq(cluster_id))
        .filter(lineages::topic_id.eq(topic_id))
        .filter(lineages::topic.eq(topic))
        .filter(lineages::partition.eq(partition))
        .select(lineages::id);
    segments::consumer_group.eq(group).and(segments::lineage_id.nullable().eq(log.single_value()))
}

impl Spool {
    /// Opens the file, and makes it where there is none. It never grows over `most_mib`.
    ///
    /// # Errors
    /// The file cannot be had, another process has it, or it is of a newer program.
    pub async fn open(path: &Path, most_mib: u64) -> Result<Self, StoreError> {
        let config =
            PoolConfig { idle_timeout_ms: NEVER_MS, max_lifetime_ms: NEVER_MS, ..PoolConfig::default() };
        let pool = pool::build(SqliteManager::spool(path, most_mib), &config, 1, 0);
        let (store, path_of_it) = (Store::Sqlite(Arc::new(pool)), Arc::new(path.to_owned()));
        let spool = Self { store, path: path_of_it, aside: Arc::default() };
        spool.prepare().await.map_err(|error| {
            StoreError::Schema(format!("cannot open the spool {}: {error}", path.display()))
        })?;
        Ok(spool)
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        self.store.migrate_up().await?;
        let mut session = self.store.checkout().await?;
        let c = sqlite(session.conn());
        Ok(c.batch_execute(include_str!("../../../migrations/spool.sql")).await?)
    }

    /// Where claims and batches go.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets spooling of partitions go on at these offsets; of one that stands behind its offset already, in the same log, it goes on
    /// there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn begin(
        &self,
        group: &str,
        starts: &[(Lineage, i64)],
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        let mut session = self.store.checkout().await?;
        let begun = sqlite(session.conn()).immediate_transaction(async |c| {
            for (lineage, from) in starts {
                keep::begin(c, (group, lineage), *from, &self.aside(group, lineage), now).await?;
            }
            QueryResult::Ok(())
        });
        Ok(begun.await?)
    }

    /// Everything that waits, by group and log, in the order of topic and partition.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn held(&self) -> Result<Vec<Held>, StoreError> {
        let query = diesel::sql_query(
            "select s.consumer_group, l.cluster_id, l.topic_id, l.topic, l.partition, \
                    min(s.from_offset) as from_offset, max(s.to_offset) as to_offset, \
                    count(*) as segments, sum(s.records) as records \
             from segments s join lineages l on l.id = s.lineage_id \
             group by s.consumer_group, l.id order by l.topic, l.partition, l.id, s.consumer_group",
        );
        let mut session = self.store.checkout().await?;
        let rows: Vec<HeldRow> = query.load(sqlite(session.conn())).await?;
        Ok(rows.into_iter().map(Held::from).collect())
    }

    /// The logs of a partition of which anything waits.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn logs(&self, group: &str, topic: &str, partition: i32) -> Result<Vec<Lineage>, StoreError> {
        let of_log = segments::table
            .filter(segments::consumer_group.eq(group))
            .filter(segments::lineage_id.eq(lineages::id));
        let logs = lineages::table
            .filter(lineages::topic.eq(topic))
            .filter(lineages::partition.eq(partition))
            .filter(diesel::dsl::exists(of_log))
            .order(lineages::id)
            .select((lineages::cluster_id, lineages::topic_id, lineages::topic, lineages::partition));
        let mut session = self.store.checkout().await?;
        let logs: Vec<(String, String, String, i32)> = logs.load(sqlite(session.conn())).await?;
        let lineage =
            |(cluster_id, topic_id, topic, partition)| Lineage { cluster_id, topic_id, topic, partition };
        Ok(logs.into_iter().map(lineage).collect())
    }

    /// The segment that goes on at `position`: it starts there, or before it and ends behind it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn at(
        &self,
        group: &str,
        lineage: &Lineage,
        position: i64,
    ) -> Result<Option<Segment>, StoreError> {
        let rows = segments::table
            .filter(of_log(group, lineage))
            .filter(segments::from_offset.le(position))
            .filter(segments::to_offset.gt(position))
            .filter(segments::format.gt(0))
            .filter(segments::from_offset.ne_all(self.aside(group, lineage)))
            .order(segments::to_offset.desc())
            .select(Segment::as_select());
        let mut session = self.store.checkout().await?;
        Ok(rows.first(sqlite(session.conn())).await.optional()?)
    }

    /// Drops segments that start before `position` and lie in one of these ranges, which the database has stored
    /// ([`Store::stored_ranges`]): of each range some thousand at a time. Answers how many. One that stays after an error is dropped
    /// the next time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn drop_stored(
        &self,
        group: &str,
        lineage: &Lineage,
        position: i64,
        stored: &[(i64, i64)],
    ) -> Result<usize, StoreError> {
        let mut session = self.store.checkout().await?;
        let c = sqlite(session.conn());
        let mut dropped = 0;
        for (from, to) in stored {
            let rows = segments::table
                .filter(of_log(group, lineage))
                .filter(segments::from_offset.ge(from))
                .filter(segments::from_offset.lt(position))
                .filter(segments::to_offset.le(to))
                .limit(AT_A_TIME)
                .select(segments::from_offset);
            let gone: Vec<i64> = rows.load(c).await?;
            let rows =
                segments::table.filter(of_log(group, lineage)).filter(segments::from_offset.eq_any(&gone));
            dropped += diesel::delete(rows).execute(c).await?;
        }
        if dropped > 0 {
            c.batch_execute("pragma incremental_vacuum").await?; // the room on the disk is others' again
        }
        Ok(dropped)
    }

    /// What can be read of one group and log, in order and without the borders between segments that follow each other: first offset,
    /// and one past the last.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn ranges(&self, group: &str, lineage: &Lineage) -> Result<Vec<(i64, i64)>, StoreError> {
        let mut session = self.store.checkout().await?;
        Ok(keep::ranges(sqlite(session.conn()), (group, lineage), 0, &self.aside(group, lineage)).await?)
    }

    /// Where the first segment of one group and log starts.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn first(&self, group: &str, lineage: &Lineage) -> Result<Option<i64>, StoreError> {
        let rows = segments::table
            .filter(of_log(group, lineage))
            .order(segments::from_offset)
            .select(segments::from_offset);
        let mut session = self.store.checkout().await?;
        Ok(rows.first(sqlite(session.conn())).await.optional()?)
    }

    /// Keeps a segment that cannot be read, and looks past it from now on, until the file is opened again.
    ///
    /// # Errors
    /// The file cannot be written; it is looked past all the same.
    pub async fn set_aside(
        &self,
        group: &str,
        lineage: &Lineage,
        segment: &Segment,
    ) -> Result<(), StoreError> {
        let row =
            segments::table.filter(of_log(group, lineage)).filter(segments::from_offset.eq(segment.from));
        let aside = diesel::update(row).set(segments::format.eq(-segment.format.abs()));
        let written = async {
            let mut session = self.store.checkout().await?;
            aside.execute(sqlite(session.conn())).await?;
            Ok(())
        };
        written.await.inspect_err(|_| {
            let segment = (group.to_owned(), lineage.clone(), segment.from);
            self.aside.lock().unwrap_or_else(PoisonError::into_inner).push(segment);
        })
    }

    /// First offsets of what the file does not know to be set aside.
    fn aside(&self, group: &str, lineage: &Lineage) -> Vec<i64> {
        let aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        let of_log = aside.iter().filter(|(of, log, _)| of == group && log == lineage);
        of_log.map(|(_, _, from)| *from).collect()
    }
}

/// A spool's connection.
fn sqlite(conn: Conn<'_>) -> &mut AsyncSqlite {
    match conn {
        Conn::Sqlite(c) => c,
        Conn::Postgres(_) => unreachable!("a spool is an embedded store"),
    }
}

#[derive(QueryableByName)]
struct HeldRow {
    #[diesel(sql_type = Text)]
    consumer_group: String,
    #[diesel(sql_type = Text)]
    cluster_id: String,
    #[diesel(sql_type = Text)]
    topic_id: String,
    #[diesel(sql_type = Text)]
    topic: String,
    #[diesel(sql_type = Integer)]
    partition: i32,
    #[diesel(sql_type = BigInt)]
    from_offset: i64,
    #[diesel(sql_type = BigInt)]
    to_offset: i64,
    #[diesel(sql_type = BigInt)]
    segments: i64,
    #[diesel(sql_type = BigInt)]
    records: i64,
}

impl From<HeldRow> for Held {
    fn from(row: HeldRow) -> Self {
        let HeldRow { cluster_id, topic_id, topic, partition, .. } = row;
        Self {
            group: row.consumer_group,
            lineage: Lineage { cluster_id, topic_id, topic, partition },
            from: row.from_offset,
            to: row.to_offset,
            segments: row.segments,
            records: row.records,
        }
    }
}
