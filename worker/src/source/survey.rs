//! Questions about a topic that only people ask: who leads its partitions, what its group committed, how long the next record has
//! waited. Asked by `lag` and `doctor`, each within a bound, off the line.
//!
//! What must stay true: the client never joins the group and never commits; what the group committed is shown and decides nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ledgerline_schema::time::UtcMicros;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
use rdkafka::{Offset, TopicPartitionList};

use super::SourceError;
use super::kafka::transient;
use crate::config::KafkaConfig;
use crate::kafka::{QUESTION_TIMEOUT, consumer_config, without_value};
use crate::protocol::Partition;

/// Bytes that are fetched of a partition to see its next record; a larger record still comes.
const LOOK_BYTES: u64 = 64 << 10;
/// Longest single wait while records are looked at.
const POLL: Duration = Duration::from_millis(100);

/// A client for questions about one topic and one group.
pub struct Survey {
    client: BaseConsumer,
    topic: String,
    group: String,
}

/// What the brokers tell about a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The partition.
    pub partition: Partition,
    /// Whether a broker leads it.
    pub has_leader: bool,
    /// Copies that there should be.
    pub replicas: usize,
    /// Copies that are up to date.
    pub in_sync: usize,
}

/// A group, as its coordinator tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// `Stable`, `Empty`, `PreparingRebalance`, …; `Dead` where there is none.
    pub state: String,
    /// Its members.
    pub members: usize,
}

impl Survey {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// A setting that the Kafka client refuses.
    pub fn new(kafka: &KafkaConfig, topic: &str, group: &str) -> anyhow::Result<Self> {
        let mut config = consumer_config(kafka, group)?;
        config
            .set("queued.max.messages.kbytes", "1024")
            .set("message.max.bytes", (1 << 20).to_string())
            .set("fetch.max.bytes", (1 << 20).to_string())
            .set("max.partition.fetch.bytes", LOOK_BYTES.to_string())
            .set("queued.min.messages", "1");
        let client = config.create().map_err(without_value).context("cannot create a Kafka client")?;
        Ok(Self { client, topic: topic.to_owned(), group: group.to_owned() })
    }

    /// The brokers' addresses, and the topic's partitions; none of these where there is no such topic.
    ///
    /// # Errors
    /// The brokers did not answer.
    pub fn placements(&self) -> Result<(Vec<String>, Vec<Placement>), SourceError> {
        let metadata = self.client.fetch_metadata(Some(&self.topic), QUESTION_TIMEOUT).map_err(transient)?;
        let brokers = metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port()));
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let topic = topic.filter(|topic| topic.error().is_none());
        let mut placements: Vec<Placement> = topic.map_or(Vec::new(), |topic| {
            let placement = |partition: &rdkafka::metadata::MetadataPartition| Placement {
                partition: partition.id(),
                has_leader: partition.leader() >= 0,
                replicas: partition.replicas().len(),
                in_sync: partition.isr().len(),
            };
            topic.partitions().iter().map(placement).collect()
        });
        placements.sort_by_key(|placement| placement.partition);
        Ok((brokers.collect(), placements))
    }

    /// Oldest offset and end of a partition.
    ///
    /// # Errors
    /// The brokers did not answer.
    pub fn range(&self, partition: Partition) -> Result<(i64, i64), SourceError> {
        self.client.fetch_watermarks(&self.topic, partition, QUESTION_TIMEOUT).map_err(transient)
    }

    /// What the group told Kafka of these partitions, for other tools to see; nothing of those that it told nothing of.
    ///
    /// # Errors
    /// The brokers did not answer.
    pub fn committed(&self, partitions: &[Partition]) -> Result<BTreeMap<Partition, i64>, SourceError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, *partition);
        }
        let committed = self.client.committed_offsets(list, QUESTION_TIMEOUT).map_err(transient)?;
        let offset = |offset| match offset {
            Offset::Offset(offset) => Some(offset),
            Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => {
                None
            }
        };
        let found = committed.elements();
        Ok(found.iter().filter_map(|found| Some((found.partition(), offset(found.offset())?))).collect())
    }

    /// Who is in the group; null where the brokers have just started and do not know yet.
    ///
    /// # Errors
    /// The brokers did not answer.
    pub fn group(&self) -> Result<Option<GroupState>, SourceError> {
        let groups = match self.client.fetch_group_list(Some(&self.group), QUESTION_TIMEOUT) {
            Err(KafkaError::GroupListFetch(
                CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator,
            )) => {
                return Ok(None);
            }
            groups => groups.map_err(transient)?,
        };
        let found = groups.groups().iter().find(|group| group.name() == self.group);
        Ok(Some(found.map_or_else(
            || GroupState { state: "Dead".into(), members: 0 },
            |group| GroupState { state: group.state().to_owned(), members: group.members().len() },
        )))
    }

    /// Kafka's timestamp of the first record at or behind each offset, as far as it is found in time. One that lies beyond the
    /// last committed record has none.
    ///
    /// # Errors
    /// The client refused the partitions.
    pub fn timestamps(
        &self,
        offsets: &BTreeMap<Partition, i64>,
        within: Duration,
    ) -> Result<BTreeMap<Partition, UtcMicros>, SourceError> {
        let deadline = Instant::now() + within;
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset)).map_err(transient)?;
        }
        self.client.assign(&list).map_err(transient)?;
        let (mut found, mut open) = (BTreeMap::new(), offsets.clone());
        while !open.is_empty() && Instant::now() < deadline {
            match self.client.poll(POLL) {
                Some(Ok(message)) => {
                    if open.remove(&message.partition()).is_some()
                        && let Some(at) = message.timestamp().to_millis().and_then(UtcMicros::from_millis)
                    {
                        found.insert(message.partition(), at);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(_)) | None => {} // most heal; else the deadline ends it
            }
        }
        self.client.unassign().map_err(transient)?;
        Ok(found)
    }
}
