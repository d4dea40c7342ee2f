//! Positions and claims: who may write a partition, and from where. The truth about positions is here, never in Kafka.
//!
//! What must stay true: `next_offset` moves only in the transaction that writes the rows (`write.rs`), or when a group starts
//! (`start`). A claim bumps the epoch and so fences every earlier owner.

use std::sync::Arc;

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::error::{StoreError, WriteError};
use super::halt::Halt;
use super::rows::WriteJob;
use super::{Conn, Store, Wire, in_tx, with_conn};
use crate::schema::{lineages, partition_offsets};
use crate::time::UtcMicros;

/// A log that offsets count in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lineage {
    /// The Kafka cluster.
    pub cluster_id: String,
    /// The incarnation of the topic; empty where the broker does not tell.
    pub topic_id: String,
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
}

impl Lineage {
    /// Of these parts.
    #[must_use]
    pub fn new(cluster_id: &str, topic_id: &str, topic: &str, partition: i32) -> Self {
        let (cluster_id, topic_id, topic) = (cluster_id.to_owned(), topic_id.to_owned(), topic.to_owned());
        Self { cluster_id, topic_id, topic, partition }
    }

    /// Whether both are the same log.
    #[must_use]
    pub fn is_same_log(&self, other: &Self) -> bool {
        same_incarnation(&self.topic_id, &other.topic_id) != Some(false)
            && (&self.cluster_id, &self.topic, self.partition)
                == (&other.cluster_id, &other.topic, other.partition)
    }
}

/// Whether two ids are of the same incarnation of a topic; null where one is not told: a broker that starts to tell ids, or one that
/// stops, has not made the topic again.
fn same_incarnation(one: &str, other: &str) -> Option<bool> {
    (!one.is_empty() && !other.is_empty()).then_some(one == other)
}

/// What the log holds now: offsets in [low, high).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRange {
    /// Oldest offset that is kept.
    pub low: i64,
    /// One past the newest offset.
    pub high: i64,
}

/// Somebody asks to own a partition.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The consumer group.
    pub group: Arc<str>,
    /// The log as the broker describes it now.
    pub lineage: Lineage,
    /// What the log holds now.
    pub log: LogRange,
    /// Who asks, for people.
    pub owner: String,
    /// Whether the log was asked again after a position beyond its end.
    pub second_look: bool,
    /// What the asking worker's spool holds of this log: ranges without a gap, in order.
    pub spooled: Vec<(i64, i64)>,
}

/// The right to write one partition, until somebody else claims it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The consumer group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The interned lineage.
    pub lineage_id: i32,
    /// The claim's number; the highest one may write.
    pub epoch: i64,
    /// Where to go on.
    pub next_offset: i64,
    /// Batches that start before this offset are not held against the dead-letter budget.
    pub exempt_to: i64,
}

/// What the position row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Queryable)]
pub struct Position {
    /// The next offset to apply.
    pub next_offset: i64,
    /// The epoch that may write.
    pub epoch: i64,
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// Go on from `next_offset`.
    Claimed(Claim),
    /// The partition has no position yet; `known_topic` tells whether the group has one on another partition.
    NoPosition {
        /// The group has read this topic before, so this partition is a new one and starts at its beginning.
        known_topic: bool,
    },
    /// An operator has to decide.
    Halted(Halt),
}

impl Store {
    /// Claims one partition: checks the lineage and the range of the log, bumps the epoch, answers the position.
    ///
    /// # Errors
    /// The database did not answer; nothing is known.
    pub async fn claim(&self, request: &ClaimRequest, now: UtcMicros) -> Result<ClaimAnswer, StoreError> {
        Ok(in_tx!(self, conn => claim_in_tx(conn, request, now))?)
    }

    /// Gives partitions their first position. One that has a position keeps it.
    ///
    /// # Errors
    /// The database did not answer; nothing is known.
    pub async fn start(
        &self,
        group: &str,
        starts: &[(Lineage, i64)],
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        in_tx!(self, conn => start_in_tx(conn, group, starts, now))?;
        Ok(())
    }

    /// The positions of a topic's partitions, without waiting for anybody: who sees a higher epoch than his own has been
    /// overruled, and who has written nothing and sees another position knows that the database has gone back in time.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn positions(&self, group: &str, topic: &str) -> Result<Vec<(i32, Position)>, StoreError> {
        let query = partition_offsets::table
            .filter(partition_offsets::consumer_group.eq(group))
            .filter(partition_offsets::topic.eq(topic))
            .select((
                partition_offsets::partition,
                (partition_offsets::next_offset, partition_offsets::epoch),
            ));
        let mut session = self.checkout().await?;
        Ok(with_conn!(&mut session.conn(), c => query.load(c).await)?)
    }

    /// What the position row says, after any transaction that still holds it has ended. Resolves a lost COMMIT answer.
    ///
    /// # Errors
    /// The database did not answer; nothing is known.
    pub async fn position(&self, claim: &Claim) -> Result<Option<Position>, StoreError> {
        Ok(in_tx!(self, conn => lock_position(conn.wire(), claim))?)
    }
}

/// Locks the position row and reads it. SQLite's immediate transaction is the lock.
pub(super) async fn lock_position(wire: Wire<'_>, claim: &Claim) -> QueryResult<Option<Position>> {
    let row = partition_offsets::table
        .find((&*claim.group, &*claim.topic, claim.partition))
        .select((partition_offsets::next_offset, partition_offsets::epoch));
    // Loaded whole, never `first`: a statement that stops after one row can hide the error of a later one.
    let rows: Vec<Position> = match wire {
        Wire::Postgres(mut c) => row.for_update().load(&mut c).await?,
        Wire::Sqlite(c) => row.load(c).await?,
    };
    Ok(rows.into_iter().next())
}

async fn claim_in_tx(
    conn: &mut Conn<'_>,
    request: &ClaimRequest,
    now: UtcMicros,
) -> QueryResult<ClaimAnswer> {
    let lineage = &request.lineage;
    let mut claim = Claim {
        group: request.group.clone(),
        topic: lineage.topic.as_str().into(),
        partition: lineage.partition,
        lineage_id: 0,
        epoch: 0,
        next_offset: 0,
        exempt_to: 0,
    };
    let Some(position) = lock_position(conn.wire(), &claim).await? else {
        let known_topic = group_knows_topic(conn, &request.group, &lineage.topic).await?;
        return Ok(ClaimAnswer::NoPosition { known_topic });
    };
    let stored = stored(conn, &claim).await?;
    if let Some(halt) = find_halt(&stored, request, position.next_offset) {
        if stored.halted.as_deref() != Some(halt.name()) && is_certain(&halt, request) {
            remember(conn, &claim, position, &halt, now).await?;
        }
        return Ok(ClaimAnswer::Halted(halt));
    }
    claim.lineage_id = stored.lineage_id;
    claim.epoch = position.epoch + 1;
    claim.next_offset = position.next_offset;
    claim.exempt_to = stored.budget_exempt_to;
    let row = partition_offsets::table.find((&*claim.group, &*claim.topic, claim.partition));
    let changes = (
        partition_offsets::epoch.eq(claim.epoch),
        partition_offsets::owner.eq(&request.owner),
        partition_offsets::updated_at.eq(now),
        partition_offsets::halted.eq(None::<String>),
        partition_offsets::halted_detail.eq(None::<String>),
        partition_offsets::halted_at.eq(None::<UtcMicros>),
    );
    with_conn!(conn, c => diesel::update(row).set(changes).execute(c).await)?;
    Ok(ClaimAnswer::Claimed(claim))
}

/// Marks the partition as halted, if position and epoch are still these. Answers whether they were. A halt that stays overrules
/// the owner, or he would write on over it, and the next claim would meet the mark of a partition that flows.
async fn remember(
    conn: &mut Conn<'_>,
    claim: &Claim,
    at: Position,
    halt: &Halt,
    now: UtcMicros,
) -> QueryResult<bool> {
    let row = partition_offsets::table
        .find((&*claim.group, &*claim.topic, claim.partition))
        .filter(partition_offsets::next_offset.eq(at.next_offset))
        .filter(partition_offsets::epoch.eq(at.epoch));
    let moved: Vec<UtcMicros> =
        with_conn!(conn, c => row.select(partition_offsets::updated_at).load(c).await)?;
    let Some(moved) = moved.into_iter().next() else { return Ok(false) };
    let changes = (
        partition_offsets::halted.eq(halt.name()),
        partition_offsets::halted_detail.eq(halt.to_string()),
        // Whoever moved it may have a faster clock: a halt that looked older than the move would not be shown.
        partition_offsets::halted_at.eq(now.max(moved)),
        partition_offsets::epoch.eq(at.epoch + i64::from(halt.stays())),
    );
    let changed = with_conn!(conn, c => diesel::update(row).set(changes).execute(c).await)?;
    Ok(changed == 1)
}

/// A batch was over the budget and rolled back: the halt is remembered, or the next owner would flush as much again.
pub(super) async fn mark_halted(conn: &mut Conn<'_>, job: &WriteJob<'_>, halt: Halt) -> WriteError {
    let at = Position { next_offset: job.batch.from, epoch: job.claim.epoch };
    match remember(conn, job.claim, at, &halt, job.now).await {
        Ok(true) => WriteError::Halted(halt),
        Ok(false) => WriteError::Fenced,
        Err(error) => error.into(),
    }
}

/// The named states in which going on would lose or mix records. What is remembered comes first: nothing may hide it.
fn find_halt(stored: &Stored, request: &ClaimRequest, next: i64) -> Option<Halt> {
    if let Some(name) = &stored.halted {
        let remembered = Halt::remembered(name, stored.halted_detail.clone().unwrap_or_default());
        if remembered.is_some() {
            return remembered;
        }
    }
    let now = &request.lineage;
    let LogRange { low, high } = request.log;
    if stored.cluster_id != now.cluster_id {
        return Some(Halt::OtherCluster);
    }
    let same_topic = same_incarnation(&stored.topic_id, &now.topic_id);
    if same_topic == Some(false) {
        return Some(Halt::TopicRecreated);
    }
    if next < low {
        let later = request.spooled.iter().find(|(from, _)| *from > next);
        return Some(match later {
            Some((spooled, _)) => Halt::SpoolGap { next, low, spooled: *spooled },
            None => Halt::RetentionPassed { next, low },
        });
    }
    if next <= high {
        return None;
    }
    let detail = format!("position {next} lies beyond the end of the log, {high}");
    Some(if same_topic.is_some() { Halt::LogTruncated { detail } } else { Halt::AheadOfLog { detail } })
}

/// A position beyond the end may only be newer than the end that was read before it: looked at twice before it is remembered.
fn is_certain(halt: &Halt, request: &ClaimRequest) -> bool {
    match halt {
        Halt::LogTruncated { .. } | Halt::AheadOfLog { .. } => request.second_look,
        Halt::RetentionPassed { .. }
        | Halt::SpoolGap { .. }
        | Halt::TopicRecreated
        | Halt::OtherCluster
        | Halt::DeadLetterBudget { .. } => true,
    }
}

async fn group_knows_topic(conn: &mut Conn<'_>, group: &str, topic: &str) -> QueryResult<bool> {
    let rows = partition_offsets::table
        .filter(partition_offsets::consumer_group.eq(group))
        .filter(partition_offsets::topic.eq(topic))
        .select(partition_offsets::partition)
        .limit(1);
    let found: Vec<i32> = with_conn!(conn, c => rows.load(c).await)?;
    Ok(!found.is_empty())
}

/// The rest of the position row, with the log that it counts in.
#[derive(Queryable)]
struct Stored {
    lineage_id: i32,
    cluster_id: String,
    topic_id: String,
    halted: Option<String>,
    halted_detail: Option<String>,
    budget_exempt_to: i64,
}

async fn stored(conn: &mut Conn<'_>, claim: &Claim) -> QueryResult<Stored> {
    let query = partition_offsets::table
        .inner_join(lineages::table.on(lineages::id.eq(partition_offsets::lineage_id)))
        .filter(partition_offsets::consumer_group.eq(&*claim.group))
        .filter(partition_offsets::topic.eq(&*claim.topic))
        .filter(partition_offsets::partition.eq(claim.partition))
        .select((
            lineages::id,
            lineages::cluster_id,
            lineages::topic_id,
            partition_offsets::halted,
            partition_offsets::halted_detail,
            partition_offsets::budget_exempt_to,
        ));
    let rows: Vec<Stored> = with_conn!(conn, c => query.load(c).await)?;
    rows.into_iter().next().ok_or(diesel::result::Error::NotFound)
}

async fn start_in_tx(
    conn: &mut Conn<'_>,
    group: &str,
    starts: &[(Lineage, i64)],
    now: UtcMicros,
) -> QueryResult<()> {
    for (lineage, next_offset) in starts {
        let row = (
            partition_offsets::consumer_group.eq(group),
            partition_offsets::topic.eq(&lineage.topic),
            partition_offsets::partition.eq(lineage.partition),
            partition_offsets::lineage_id.eq(intern_lineage(conn, lineage).await?),
            partition_offsets::start_offset.eq(next_offset),
            partition_offsets::next_offset.eq(next_offset),
            partition_offsets::updated_at.eq(now),
        );
        let insert = diesel::insert_into(partition_offsets::table).values(row).on_conflict_do_nothing();
        with_conn!(conn, c => insert.execute(c).await)?;
    }
    Ok(())
}

pub(super) async fn intern_lineage(conn: &mut Conn<'_>, lineage: &Lineage) -> QueryResult<i32> {
    let row = (
        lineages::cluster_id.eq(&lineage.cluster_id),
        lineages::topic_id.eq(&lineage.topic_id),
        lineages::topic.eq(&lineage.topic),
        lineages::partition.eq(lineage.partition),
    );
    let insert = diesel::insert_into(lineages::table).values(row).on_conflict_do_nothing();
    with_conn!(conn, c => insert.execute(c).await)?;
    let query = lineages::table
        .filter(lineages::cluster_id.eq(&lineage.cluster_id))
        .filter(lineages::topic_id.eq(&lineage.topic_id))
        .filter(lineages::topic.eq(&lineage.topic))
        .filter(lineages::partition.eq(lineage.partition))
        .select(lineages::id);
    let ids: Vec<i32> = with_conn!(conn, c => query.load(c).await)?;
    ids.into_iter().next().ok_or(diesel::result::Error::NotFound)
}
