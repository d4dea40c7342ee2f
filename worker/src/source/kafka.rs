//! Live consumption: one `BaseConsumer` on the thread that polls it, with the group's rebalances handled by us, and `KafkaLog`
//! for questions.
//!
//! What must stay true:
//! - a partition is assigned once per claim, with the offset that the database said; nothing is reset by itself;
//! - inside the rebalance callback nothing waits: partitions are noted, and claimed later by the pipeline;
//! - Kafka's committed offsets are written for others and never read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ledgerline_schema::events::RawHeader;
use ledgerline_schema::store::{Lineage, LogRange};
use ledgerline_schema::time::UtcMicros;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};

use super::{Log, Message, Source, SourceError, SourceEvent, native};
use crate::config::{KafkaConfig, Start};
use crate::kafka::{QUESTION_TIMEOUT, base_config, consumer_config, without_value};
use crate::metrics;
use crate::protocol::Partition;
use crate::sync::lock;

/// How often the group is told how far its partitions are stored. More often would only bury a coordinator that is busy with a
/// rebalance, and each refusal is a line in the log.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// A member of a consumer group on one topic.
pub struct KafkaSource {
    consumer: BaseConsumer<Rebalances>,
    topic: String,
    /// Stored, and not yet told to the group.
    untold: BTreeMap<Partition, i64>,
    tell_at: Instant,
    /// Whether the group is told at all.
    silent: bool,
}

/// Notes what the group decides; the pipeline acts on it.
struct Rebalances {
    topic: String,
    noted: Mutex<VecDeque<SourceEvent>>,
}

impl ClientContext for Rebalances {
    fn error(&self, error: KafkaError, reason: &str) {
        metrics::kafka_client_error(&self.topic);
        tracing::debug!(kafka.topic = self.topic, %error, reason, "kafka client");
    }
}

impl ConsumerContext for Rebalances {
    /// Takes over from the library: an assignment is answered with nothing and each partition is added when its claim is
    /// answered, so a slow database never holds up the group.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: Code, list: &mut TopicPartitionList) {
        let partitions: Vec<Partition> = list.elements().iter().map(|element| element.partition()).collect();
        let (result, event) = match code {
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                (consumer.incremental_assign(&TopicPartitionList::new()), SourceEvent::Assigned(partitions))
            }
            _ => (unassign(consumer, &self.topic, &partitions), SourceEvent::Revoked(partitions)),
        };
        if let Err(error) = result {
            tracing::warn!(kafka.topic = self.topic, %error, "rebalance: the assignment could not be changed");
        }
        self.note(event);
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _offsets: &TopicPartitionList) {
        metrics::kafka_commit(&self.topic, result.is_ok());
    }
}

impl Rebalances {
    fn note(&self, event: SourceEvent) {
        lock(&self.noted).push_back(event);
    }

    fn next(&self) -> Option<SourceEvent> {
        lock(&self.noted).pop_front()
    }
}

/// Takes those of the partitions out of the assignment that are in it: one whose claim is not answered yet is not.
fn unassign(
    consumer: &BaseConsumer<Rebalances>,
    topic: &str,
    partitions: &[Partition],
) -> Result<(), KafkaError> {
    let assigned = consumer.assignment()?;
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        if assigned.find_partition(topic, *partition).is_some() {
            list.add_partition(topic, *partition);
        }
    }
    consumer.incremental_unassign(&list)
}

impl KafkaSource {
    /// Joins the group `<group>.<topic>`. The brokers need not be reachable yet.
    ///
    /// # Errors
    /// A setting that librdkafka refuses.
    pub fn subscribe(kafka: &KafkaConfig, topic: &str) -> anyhow::Result<Self> {
        let context = Rebalances { topic: topic.to_owned(), noted: Mutex::default() };
        let config = consumer_config(kafka, &group_of(kafka, topic))?;
        let consumer: BaseConsumer<Rebalances> = config
            .create_with_context(context)
            .map_err(without_value)
            .context("cannot create a Kafka consumer")?;
        consumer.subscribe(&[topic]).with_context(|| format!("cannot subscribe to topic {topic}"))?;
        let (topic, tell_at) = (topic.to_owned(), Instant::now());
        Ok(Self { consumer, topic, untold: BTreeMap::new(), tell_at, silent: false })
    }

    /// Never tells the group how far anything is stored: a shadow stores nothing.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.silent = true;
        self
    }

    /// Tells the group what is stored, for lag tools.
    fn tell(&mut self) {
        let mut list = TopicPartitionList::new();
        for (partition, next_offset) in std::mem::take(&mut self.untold) {
            let added = list.add_partition_offset(&self.topic, partition, Offset::Offset(next_offset));
            debug_assert!(added.is_ok(), "an offset of the database is one");
        }
        self.tell_at = Instant::now() + COMMIT_EVERY;
        if self.consumer.commit(&list, CommitMode::Async).is_err() {
            metrics::kafka_commit(&self.topic, false);
        }
    }

    fn one(&self, partition: Partition, offset: Offset) -> Result<TopicPartitionList, SourceError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, offset).map_err(transient)?;
        Ok(list)
    }

    fn position(&self, partition: Partition) -> Option<i64> {
        let positions = self.consumer.position().ok()?;
        match positions.find_partition(&self.topic, partition)?.offset() {
            Offset::Offset(offset) => Some(offset),
            Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => {
                None
            }
        }
    }

    /// Errors that the client reports between messages.
    fn on_error(&self, error: &KafkaError) -> Result<Option<SourceEvent>, SourceError> {
        match error {
            KafkaError::PartitionEOF(partition) => {
                let end = |position| SourceEvent::End { partition: *partition, position };
                Ok(self.position(*partition).map(end))
            }
            KafkaError::MessageConsumptionFatal(code) => Err(SourceError::Fatal(code.to_string())),
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ) => Ok(Some(SourceEvent::OffsetsLost)),
            other => Err(SourceError::Transient(other.to_string())),
        }
    }
}

/// Leaves the group in two steps. A member without partitions that only closes says nothing to the group (librdkafka skips the
/// step that would), and everybody else would wait for its session to end.
impl Drop for KafkaSource {
    fn drop(&mut self) {
        if !self.untold.is_empty() {
            self.tell();
        }
        self.consumer.unsubscribe();
    }
}

/// The consumer group of a topic.
#[must_use]
pub fn group_of(kafka: &KafkaConfig, topic: &str) -> String {
    format!("{}.{topic}", kafka.group)
}

impl Source for KafkaSource {
    fn poll(
        &mut self,
        timeout: Duration,
        take: &mut dyn FnMut(&Message<'_>),
    ) -> Result<Option<SourceEvent>, SourceError> {
        if !self.untold.is_empty() && Instant::now() >= self.tell_at {
            self.tell();
        }
        if let Some(event) = self.consumer.context().next() {
            return Ok(Some(event));
        }
        match self.consumer.poll(timeout) {
            Some(Ok(message)) => {
                hand_over(&message, take);
                Ok(None)
            }
            Some(Err(error)) => self.on_error(&error),
            None => Ok(self.consumer.context().next()),
        }
    }

    fn consume(&mut self, partition: Partition, offset: i64) -> Result<(), SourceError> {
        let list = self.one(partition, Offset::Offset(offset))?;
        self.consumer.incremental_assign(&list).map_err(transient)?;
        // A partition that was held when it was dropped stays paused inside the library, whoever owns it next.
        self.consumer.resume(&list).map_err(transient)
    }

    fn stop(&mut self, partition: Partition) {
        self.untold.remove(&partition); // the next owner tells
        let assigned = self.consumer.assignment();
        if assigned.is_ok_and(|list| list.find_partition(&self.topic, partition).is_none()) {
            return;
        }
        if let Err(error) = unassign(&self.consumer, &self.topic, &[partition]) {
            tracing::debug!(kafka.topic = self.topic, kafka.partition = partition, %error, "cannot unassign");
        }
    }

    fn hold(&mut self, partition: Partition, held: bool) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        let result = if held { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        if let Err(error) = result {
            tracing::debug!(kafka.topic = self.topic, kafka.partition = partition, %error, held, "cannot hold");
        }
    }

    fn commit(&mut self, partition: Partition, next_offset: i64) {
        if !self.silent {
            self.untold.insert(partition, next_offset);
        }
    }
}

pub(super) fn hand_over(message: &BorrowedMessage<'_>, take: &mut dyn FnMut(&Message<'_>)) {
    let headers = raw_headers(message);
    take(&Message {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key(),
        value: message.payload(),
        headers: &headers,
        timestamp: message.timestamp().to_millis().and_then(UtcMicros::from_millis),
        refused: None,
    });
}

/// The message's headers byte for byte; allocates only where there are any.
pub(crate) fn raw_headers<'m>(message: &'m BorrowedMessage<'_>) -> Vec<RawHeader<'m>> {
    let mut headers = Vec::new();
    native::headers(message, &mut headers);
    headers
}

pub(super) fn transient(error: KafkaError) -> SourceError {
    SourceError::Transient(error.to_string())
}

/// Questions about a topic, asked by a client of its own that never joins the group.
pub struct KafkaLog {
    client: BaseConsumer,
    brokers: String,
    topic: String,
}

impl KafkaLog {
    /// A client for questions; the brokers need not be reachable yet.
    ///
    /// # Errors
    /// A setting that librdkafka refuses.
    pub fn new(kafka: &KafkaConfig, topic: &str) -> anyhow::Result<Self> {
        let client =
            base_config(kafka)?.create().map_err(without_value).context("cannot create a Kafka client")?;
        Ok(Self { client, brokers: kafka.brokers.clone(), topic: topic.to_owned() })
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    fn metadata(&self) -> Result<Metadata, SourceError> {
        let answer = self.client.fetch_metadata(Some(&self.topic), QUESTION_TIMEOUT);
        answer.map_err(|error| SourceError::unanswered(&self.brokers, &error))
    }

    /// Whether there is such a topic.
    ///
    /// # Errors
    /// The brokers did not answer.
    pub fn exists(&self) -> Result<bool, SourceError> {
        let metadata = self.metadata()?;
        Ok(metadata.topics().iter().any(|topic| topic.name() == self.topic && topic.error().is_none()))
    }

    /// Every partition that the topic has now.
    ///
    /// # Errors
    /// The brokers did not answer, or there is no such topic.
    pub fn partitions(&self) -> Result<Vec<Partition>, SourceError> {
        let metadata = self.metadata()?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let topic = topic.filter(|topic| topic.error().is_none());
        let topic =
            topic.ok_or_else(|| SourceError::Transient(format!("topic {} does not exist", self.topic)))?;
        Ok(topic.partitions().iter().map(|partition| partition.id()).collect())
    }

    /// What the partition holds now.
    ///
    /// # Errors
    /// The brokers did not answer.
    pub fn range(&self, partition: Partition) -> Result<LogRange, SourceError> {
        let watermarks = self.client.fetch_watermarks(&self.topic, partition, QUESTION_TIMEOUT);
        let (low, high) = watermarks.map_err(transient)?;
        Ok(LogRange { low, high })
    }

    fn lineage(&self, partition: Partition) -> Result<Lineage, SourceError> {
        let client = self.client.client();
        let leader = self.leader(partition)?; // asked first: it says why there is no answer
        let cluster_id = client
            .fetch_cluster_id(QUESTION_TIMEOUT)
            .ok_or_else(|| SourceError::Transient("the brokers did not tell their cluster id".into()))?;
        let topic_id = native::topic_id(client, &self.topic, leader, QUESTION_TIMEOUT).map_err(|error| {
            SourceError::Transient(format!("cannot describe topic {}: {error}", self.topic))
        })?;
        Ok(Lineage { cluster_id, topic_id, topic: self.topic.clone(), partition })
    }

    /// The broker that leads the partition: the one that must answer us anyway.
    fn leader(&self, partition: Partition) -> Result<i32, SourceError> {
        let metadata = self.metadata()?;
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let leader = partitions.find(|found| found.id() == partition).map(|found| found.leader());
        leader.filter(|leader| *leader >= 0).ok_or_else(|| {
            SourceError::Transient(format!("partition {partition} of topic {} has no leader", self.topic))
        })
    }

    /// Resolves a time to offsets; a partition without a record of that time or later starts at its end.
    fn offsets_at(
        &self,
        time: UtcMicros,
        partitions: &[Partition],
    ) -> Result<TopicPartitionList, SourceError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            let at = Offset::Offset(time.0.div_euclid(1_000));
            list.add_partition_offset(&self.topic, *partition, at).map_err(transient)?;
        }
        self.client.offsets_for_times(list, QUESTION_TIMEOUT).map_err(transient)
    }
}

impl Log for KafkaLog {
    fn describe(&self, partition: Partition) -> Result<(Lineage, LogRange), SourceError> {
        Ok((self.lineage(partition)?, self.range(partition)?))
    }

    fn starts(&self, start: Start) -> Result<Vec<(Lineage, i64)>, SourceError> {
        let partitions = self.partitions()?;
        let at = match start {
            Start::At(time) => Some(self.offsets_at(time, &partitions)?),
            Start::Earliest | Start::Latest => None,
        };
        let lineage = self.lineage(0)?;
        let mut starts = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let LogRange { low, high } = self.range(partition)?;
            let found = at.as_ref().and_then(|list| list.find_partition(&self.topic, partition));
            let offset = match (start, found.map(|element| element.offset())) {
                (Start::Earliest, _) => low,
                (Start::At(_), Some(Offset::Offset(offset))) => offset,
                (Start::Latest | Start::At(_), _) => high,
            };
            starts.push((Lineage { partition, ..lineage.clone() }, offset));
        }
        Ok(starts)
    }
}
