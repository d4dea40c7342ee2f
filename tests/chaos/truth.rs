//! The truth: what a reader of committed records finds in the topic. No group, no stored position, nothing of the product.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::events::PARTITIONS;

/// Longest time that reading the whole topic may take.
const READING: Duration = Duration::from_secs(120);

/// A record as it lies in Kafka.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub key: Vec<u8>,
    pub payload: Option<Vec<u8>>,
}

/// Everything that is committed, by partition and offset; and where each partition ends.
#[derive(Debug, Default)]
pub struct Truth {
    pub records: BTreeMap<(i32, i64), Record>,
    pub ends: BTreeMap<i32, i64>,
}

fn reader(brokers: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "chaos-reader")
        .set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    config.set("auto.offset.reset", "error").set("check.crcs", "true").set("log_level", "0");
    config.create().expect("a reader")
}

/// Where each partition ends for a reader of committed records. Nothing where Kafka does not answer. Blocks.
pub fn ends(brokers: &str, topic: &str) -> Option<BTreeMap<i32, i64>> {
    let reader = reader(brokers);
    let end = |partition| {
        Some((partition, reader.fetch_watermarks(topic, partition, Duration::from_secs(10)).ok()?.1))
    };
    (0..PARTITIONS).map(end).collect()
}

/// Reads the topic from its first record to its end. Blocks.
pub fn read(brokers: &str, topic: &str) -> Result<Truth, String> {
    let mut truth = Truth {
        ends: ends(brokers, topic).ok_or("Kafka does not say where the topic ends")?,
        ..Truth::default()
    };
    let reader = reader(brokers);
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Offset(0)).map_err(|error| error.to_string())?;
    }
    reader.assign(&list).map_err(|error| error.to_string())?;
    let (start, mut open) = (Instant::now(), PARTITIONS);
    while open > 0 {
        if start.elapsed() > READING {
            return Err(format!("the topic was not read within {READING:?}"));
        }
        match reader.poll(Duration::from_secs(1)) {
            None => {}
            Some(Ok(message)) => {
                let record = Record {
                    key: message.key().unwrap_or_default().to_vec(),
                    payload: message.payload().map(<[u8]>::to_vec),
                };
                truth.records.insert((message.partition(), message.offset()), record);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(format!("the topic cannot be read: {error}")),
        }
    }
    Ok(truth)
}
