//! Replay: a part of a topic, read again by a consumer that belongs to no group. It assigns its partitions itself, announces each
//! once, and hands out what lies before its captured end.
//!
//! What must stay true: nothing is committed, no group is joined, nothing is reset by itself; no record at or behind the end of its
//! partition is handed out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::kafka::{group_of, hand_over, transient};
use super::rate::Rate;
use super::{Message, Source, SourceError, SourceEvent};
use crate::config::KafkaConfig;
use crate::kafka::{consumer_config, without_value};
use crate::protocol::Partition;

/// A reader of parts of one topic.
pub struct ReplaySource {
    consumer: BaseConsumer,
    topic: String,
    /// One past the last offset of each partition.
    ends: BTreeMap<Partition, i64>,
    /// Partitions that are being read.
    reading: BTreeSet<Partition>,
    noted: VecDeque<SourceEvent>,
    rate: Option<Rate>,
}

impl ReplaySource {
    /// A reader that ends in front of these offsets. The brokers need not be reachable yet.
    ///
    /// # Errors
    /// A setting that the Kafka client refuses.
    pub fn open(
        kafka: &KafkaConfig,
        topic: &str,
        ends: BTreeMap<Partition, i64>,
        rate_per_second: Option<u32>,
    ) -> anyhow::Result<Self> {
        // A name is demanded for any assignment, and nothing else is done with it.
        let config = consumer_config(kafka, &format!("{}.replay", group_of(kafka, topic)))?;
        let consumer = config.create().map_err(without_value).context("cannot create a Kafka consumer")?;
        let noted = VecDeque::from([SourceEvent::Assigned(ends.keys().copied().collect())]);
        let rate = rate_per_second.map(|rate| Rate::new(rate, Instant::now()));
        Ok(Self { consumer, topic: topic.to_owned(), ends, reading: BTreeSet::new(), noted, rate })
    }

    fn list(&self, partition: Partition, offset: Offset) -> Result<TopicPartitionList, SourceError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, offset).map_err(transient)?;
        Ok(list)
    }

    /// All that was asked for of the partition was read.
    fn ended(&mut self, partition: Partition) -> SourceEvent {
        self.stop(partition);
        SourceEvent::End { partition, position: self.end(partition) }
    }

    fn end(&self, partition: Partition) -> i64 {
        self.ends.get(&partition).copied().unwrap_or(0)
    }

    /// The end of the log as it is now: markers and aborted records may lie before it.
    fn at_end_of_log(&mut self, partition: Partition) -> Option<SourceEvent> {
        let positions = self.consumer.position().ok()?;
        let Offset::Offset(position) = positions.find_partition(&self.topic, partition)?.offset() else {
            return None;
        };
        if position >= self.end(partition) {
            return Some(self.ended(partition));
        }
        Some(SourceEvent::End { partition, position })
    }

    fn on_error(&mut self, error: &KafkaError) -> Result<Option<SourceEvent>, SourceError> {
        match error {
            KafkaError::PartitionEOF(partition) => Ok(self.at_end_of_log(*partition)),
            KafkaError::MessageConsumptionFatal(code) => Err(SourceError::Fatal(code.to_string())),
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ) => Ok(Some(SourceEvent::OffsetsLost)),
            other => Err(SourceError::Transient(other.to_string())),
        }
    }
}

/// What the client had.
enum Polled {
    /// A record that was asked for; it is handed over.
    Record,
    /// A record behind the end of its partition.
    Beyond(Partition),
    Failed(KafkaError),
    Nothing,
}

impl Source for ReplaySource {
    fn poll(
        &mut self,
        timeout: Duration,
        take: &mut dyn FnMut(&Message<'_>),
    ) -> Result<Option<SourceEvent>, SourceError> {
        if let Some(event) = self.noted.pop_front() {
            return Ok(Some(event));
        }
        if let Some(wait) = self.rate.as_mut().and_then(|rate| rate.wait(Instant::now())) {
            std::thread::park_timeout(wait.min(timeout)); // nobody wakes it: this is the pause that was asked for
            return Ok(None);
        }
        let polled = match self.consumer.poll(timeout) {
            Some(Ok(message)) => {
                let (partition, end) = (message.partition(), self.ends.get(&message.partition()));
                if end.is_some_and(|end| message.offset() < *end) {
                    hand_over(&message, take);
                    Polled::Record
                } else {
                    Polled::Beyond(partition)
                }
            }
            Some(Err(error)) => Polled::Failed(error),
            None => Polled::Nothing,
        };
        match polled {
            Polled::Record => {
                if let Some(rate) = &mut self.rate {
                    rate.took_one();
                }
                Ok(None)
            }
            Polled::Beyond(partition) if self.reading.contains(&partition) => Ok(Some(self.ended(partition))),
            Polled::Beyond(_) | Polled::Nothing => Ok(None),
            Polled::Failed(error) => self.on_error(&error),
        }
    }

    fn consume(&mut self, partition: Partition, offset: i64) -> Result<(), SourceError> {
        if offset >= self.end(partition) {
            return Ok(()); // an earlier run read all of it
        }
        let list = self.list(partition, Offset::Offset(offset))?;
        self.consumer.incremental_assign(&list).map_err(transient)?;
        self.reading.insert(partition);
        self.consumer.resume(&list).map_err(transient)
    }

    fn stop(&mut self, partition: Partition) {
        if !self.reading.remove(&partition) {
            return;
        }
        let list = self.list(partition, Offset::Invalid);
        let stopped = list.and_then(|list| self.consumer.incremental_unassign(&list).map_err(transient));
        if let Err(error) = stopped {
            tracing::debug!(kafka.topic = self.topic, kafka.partition = partition, %error, "cannot unassign");
        }
    }

    fn hold(&mut self, partition: Partition, held: bool) {
        if !self.reading.contains(&partition) {
            return;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        let result = if held { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
        if let Err(error) = result {
            tracing::debug!(kafka.topic = self.topic, kafka.partition = partition, %error, held, "cannot hold");
        }
    }

    /// Nobody outside is told: no group stands behind it.
    fn commit(&mut self, _partition: Partition, _next_offset: i64) {}
}
