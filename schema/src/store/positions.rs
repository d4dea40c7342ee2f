//! Where every partition stands, for people and for `verify`: the position rows with the logs they count in. Reads only.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use diesel_async::RunQueryDsl;

use super::claim::Lineage;
use super::error::StoreError;
use super::halt::Halt;
use super::{Conn, Store, with_conn};
use crate::schema::{lineages, partition_offsets};
use crate::sql_types::UtcTimestamp;
use crate::time::UtcMicros;

/// One position row with its log.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, QueryableByName)]
pub struct PartitionState {
    /// The consumer group.
    #[diesel(sql_type = Text)]
    pub group: String,
    /// The topic.
    #[diesel(sql_type = Text)]
    pub topic: String,
    /// The partition.
    #[diesel(sql_type = Integer)]
    pub partition: i32,
    /// The interned lineage.
    #[diesel(sql_type = Integer)]
    pub lineage_id: i32,
    /// The cluster.
    #[diesel(sql_type = Text)]
    pub cluster_id: String,
    /// The incarnation of the topic; empty where the broker did not tell.
    #[diesel(sql_type = Text)]
    pub topic_id: String,
    /// Where the group started in this log.
    #[diesel(sql_type = BigInt)]
    pub start_offset: i64,
    /// The next offset to apply.
    #[diesel(sql_type = BigInt)]
    pub next_offset: i64,
    /// The epoch that may write.
    #[diesel(sql_type = BigInt)]
    pub epoch: i64,
    /// Who claimed it last.
    #[diesel(sql_type = Text)]
    pub owner: String,
    /// When the row last moved.
    #[diesel(sql_type = UtcTimestamp)]
    pub updated_at: UtcMicros,
    /// The name of the halt that was marked last.
    #[diesel(sql_type = Nullable<Text>)]
    pub halted: Option<String>,
    /// What it says.
    #[diesel(sql_type = Nullable<Text>)]
    pub halted_detail: Option<String>,
    /// When it was marked.
    #[diesel(sql_type = Nullable<UtcTimestamp>)]
    pub halted_at: Option<UtcMicros>,
    /// Batches that start before this offset are not held against the dead-letter budget.
    #[diesel(sql_type = BigInt)]
    pub budget_exempt_to: i64,
}

impl PartitionState {
    /// The log that the position counts in.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        Lineage::new(&self.cluster_id, &self.topic_id, &self.topic, self.partition)
    }

    /// Whether nothing is written before an operator's command has taken the halt away.
    #[must_use]
    pub fn waits_for_operator(&self) -> bool {
        self.halted.as_deref().is_some_and(|name| Halt::remembered(name, String::new()).is_some())
    }

    /// The halt's name and when it was marked, while it counts: a partition that moved after the mark flows.
    #[must_use]
    pub fn halt(&self) -> Option<(&str, UtcMicros)> {
        let since = self.halted_at.filter(|at| *at >= self.updated_at)?;
        Some((self.halted.as_deref()?, since))
    }
}

impl Store {
    /// Every position, in the order of group, topic, partition. `topic` narrows them.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn partitions(&self, topic: Option<&str>) -> Result<Vec<PartitionState>, StoreError> {
        let mut session = self.checkout().await?;
        Ok(load(&mut session.conn(), Which { topic, ..Which::default() }).await?)
    }

    /// One group's positions in a topic, in the order of partitions.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn partitions_of(&self, group: &str, topic: &str) -> Result<Vec<PartitionState>, StoreError> {
        let mut session = self.checkout().await?;
        let which = Which { group: Some(group), topic: Some(topic), partition: None };
        Ok(load(&mut session.conn(), which).await?)
    }

    /// Where one group stands on one partition; null where it has no position.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn partition(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
    ) -> Result<Option<PartitionState>, StoreError> {
        let mut session = self.checkout().await?;
        Ok(one(&mut session.conn(), group, topic, partition).await?)
    }
}

/// Which positions; all where nothing is said.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Which<'a> {
    pub(super) group: Option<&'a str>,
    pub(super) topic: Option<&'a str>,
    pub(super) partition: Option<i32>,
}

pub(super) async fn one(
    conn: &mut Conn<'_>,
    group: &str,
    topic: &str,
    partition: i32,
) -> QueryResult<Option<PartitionState>> {
    let which = Which { group: Some(group), topic: Some(topic), partition: Some(partition) };
    Ok(load(conn, which).await?.pop())
}

pub(super) async fn load(conn: &mut Conn<'_>, which: Which<'_>) -> QueryResult<Vec<PartitionState>> {
    let Which { group, topic, partition } = which;
    let any = |given: bool| (!given).into_sql::<Bool>();
    let asked = any(group.is_some())
        .or(partition_offsets::consumer_group.eq(group.unwrap_or_default()))
        .and(any(topic.is_some()).or(partition_offsets::topic.eq(topic.unwrap_or_default())))
        .and(any(partition.is_some()).or(partition_offsets::partition.eq(partition.unwrap_or_default())));
    let query = partition_offsets::table
        .inner_join(lineages::table.on(lineages::id.eq(partition_offsets::lineage_id)))
        .filter(asked)
        .order((partition_offsets::consumer_group, partition_offsets::topic, partition_offsets::partition))
        .select((
            partition_offsets::consumer_group,
            partition_offsets::topic,
            partition_offsets::partition,
            partition_offsets::lineage_id,
            lineages::cluster_id,
            lineages::topic_id,
            partition_offsets::start_offset,
            partition_offsets::next_offset,
            partition_offsets::epoch,
            partition_offsets::owner,
            partition_offsets::updated_at,
            partition_offsets::halted,
            partition_offsets::halted_detail,
            partition_offsets::halted_at,
            partition_offsets::budget_exempt_to,
        ));
    with_conn!(conn, c => query.load(c).await)
}
