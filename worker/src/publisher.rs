//! Sends records to Kafka and counts what the brokers acknowledge. Used by `publish`, by `demo` and by tests.
//! Blocks; call it off the async runtime.
//!
//! What must stay true: a record counts only when a broker has acknowledged it, and the first failure stops
//! everything.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use crate::config::KafkaConfig;
use crate::kafka::{QUESTION_TIMEOUT, producer_config, without_value};
use crate::sync::lock;

/// How long to serve acknowledgements before a record is offered again to a full queue.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);
/// How often a flush looks whether acknowledgements still come in.
const FLUSH_STEP: Duration = Duration::from_millis(250);

/// An idempotent producer that knows what became of its records.
pub struct Publisher {
    producer: ThreadedProducer<Deliveries>,
    brokers: String,
    checked_topics: Vec<String>,
    sent: u64,
}

impl Publisher {
    /// A producer for these brokers; connects when the first record is sent.
    ///
    /// # Errors
    /// Settings that the client refuses.
    pub fn new(kafka: &KafkaConfig) -> anyhow::Result<Self> {
        Self::with(kafka, Deliveries::default())
    }

    /// One that remembers where each record went: for some hundred thousand of them, not for a stream.
    ///
    /// # Errors
    /// As [`Publisher::new`].
    pub fn remembering(kafka: &KafkaConfig) -> anyhow::Result<Self> {
        Self::with(kafka, Deliveries { places: Some(Mutex::default()), ..Deliveries::default() })
    }

    fn with(kafka: &KafkaConfig, deliveries: Deliveries) -> anyhow::Result<Self> {
        let config = producer_config(kafka)?;
        let producer = config
            .create_with_context(deliveries)
            .map_err(without_value)
            .context("cannot create a producer")?;
        Ok(Self { producer, brokers: kafka.brokers.clone(), checked_topics: Vec::new(), sent: 0 })
    }

    /// Queues one record; waits while the queue is full. A null `value` is a tombstone; without
    /// `timestamp_ms` the record is of now.
    ///
    /// # Errors
    /// A topic that does not exist, brokers that do not answer, a record that the client refuses, or the
    /// first failure of an earlier one.
    pub fn send(
        &mut self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: Option<i64>,
    ) -> anyhow::Result<()> {
        self.check_topic(topic)?;
        let number = usize::try_from(self.sent).unwrap_or(usize::MAX);
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, number);
        (record.key, record.payload, record.timestamp) = (key, value, timestamp_ms);
        loop {
            self.check_deliveries()?;
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused
                }
                Err((error, _)) => {
                    return Err(error).with_context(|| format!("cannot send to topic {topic}"));
                }
            }
            self.producer.poll(QUEUE_FULL_PAUSE);
        }
        self.sent += 1;
        Ok(())
    }

    /// Waits until every record is acknowledged and answers how many are. `patience` is how long no
    /// acknowledgement at all may come.
    ///
    /// # Errors
    /// How many records were not acknowledged, and the first reason.
    pub fn flush(&mut self, patience: Duration) -> anyhow::Result<u64> {
        let mut acked = self.acked();
        let mut progress = Instant::now();
        while self.producer.flush(FLUSH_STEP).is_err() || self.deliveries().settled() < self.sent {
            if self.acked() > acked {
                (acked, progress) = (self.acked(), Instant::now());
            }
            if progress.elapsed() > patience {
                bail!(
                    "{} of {} records not acknowledged, none for {} s: {}",
                    self.sent - self.acked(),
                    self.sent,
                    patience.as_secs(),
                    self.deliveries().problem()
                );
            }
        }
        self.check_deliveries()?;
        Ok(self.acked())
    }

    /// How many records the brokers have acknowledged.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.deliveries().acked.load(Ordering::Acquire)
    }

    /// How many records were queued.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Where the acknowledged records are, in the order of the acknowledgements; nothing unless they are remembered.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let places = self.deliveries().places.as_ref();
        places.map(|places| lock(places).clone()).unwrap_or_default()
    }

    fn deliveries(&self) -> &Deliveries {
        self.producer.context()
    }

    fn check_deliveries(&self) -> anyhow::Result<()> {
        let failed = self.deliveries().failed.load(Ordering::Acquire);
        ensure!(
            failed == 0,
            "{failed} of {} records failed; first: {}",
            self.sent,
            self.deliveries().problem()
        );
        Ok(())
    }

    /// Asks once per topic, so that a wrong name is said at once and not after the client's own minutes.
    fn check_topic(&mut self, topic: &str) -> anyhow::Result<()> {
        if self.checked_topics.iter().any(|checked| checked == topic) {
            return Ok(());
        }
        let metadata = self.producer.client().fetch_metadata(Some(topic), QUESTION_TIMEOUT);
        let metadata = metadata.with_context(|| format!("cannot reach Kafka at {}", self.brokers))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        if let Some(error) = found.and_then(|found| found.error()) {
            let error = RDKafkaErrorCode::from(error);
            ensure!(
                error != RDKafkaErrorCode::UnknownTopicOrPartition,
                "topic {topic} does not exist at {}; create it first",
                self.brokers
            );
            bail!("topic {topic} at {}: {error}", self.brokers);
        }
        self.checked_topics.push(topic.to_owned());
        Ok(())
    }
}

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which record it was, counted from 0 in the order of sending.
    pub number: usize,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// What became of the records; filled by the client's thread.
#[derive(Default)]
struct Deliveries {
    acked: AtomicU64,
    failed: AtomicU64,
    /// Of the first record that failed.
    first_failure: Mutex<Option<String>>,
    /// What the client said last about its connections: the likely reason where nothing is acknowledged.
    last_error: Mutex<Option<String>>,
    /// Where the records went, if that is asked for.
    places: Option<Mutex<Vec<Place>>>,
}

impl Deliveries {
    fn settled(&self) -> u64 {
        self.acked.load(Ordering::Acquire) + self.failed.load(Ordering::Acquire)
    }

    fn problem(&self) -> String {
        let read = |text: &Mutex<Option<String>>| lock(text).clone();
        read(&self.first_failure)
            .or_else(|| read(&self.last_error))
            .unwrap_or_else(|| "the client reports no error".to_owned())
    }
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        *lock(&self.last_error) = Some(format!("{error}: {reason}"));
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let (error, message) = match result {
            Ok(message) => {
                if let Some(places) = &self.places {
                    let (partition, offset) = (message.partition(), message.offset());
                    lock(places).push(Place { number, partition, offset });
                }
                self.acked.fetch_add(1, Ordering::Release);
                return;
            }
            Err(failure) => failure,
        };
        let mut first = lock(&self.first_failure);
        first.get_or_insert_with(|| format!("topic {}: {error}", message.topic()));
        drop(first);
        self.failed.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::config::Security;

    fn publisher(brokers: String) -> Publisher {
        Publisher::new(&KafkaConfig { brokers, security: Security::Plaintext, ..KafkaConfig::default() })
            .unwrap()
    }

    #[test]
    fn counts_what_is_acknowledged() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("odds", 2, 1).unwrap();
        let mut publisher = publisher(cluster.bootstrap_servers());
        for i in 0..1_000 {
            publisher
                .send("odds", Some(b"k"), Some(b"v"), (i % 2 == 0).then_some(1_700_000_000_000))
                .unwrap();
        }
        publisher.send("odds", Some(b"k"), None, None).unwrap();
        assert_eq!(publisher.flush(Duration::from_secs(20)).unwrap(), 1_001);
    }

    #[test]
    fn remembers_where_each_record_went() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("odds", 1, 1).unwrap();
        let (brokers, security) = (cluster.bootstrap_servers(), Security::Plaintext);
        let kafka = KafkaConfig { brokers, security, ..KafkaConfig::default() };
        let mut publisher = Publisher::remembering(&kafka).unwrap();
        for _ in 0..3 {
            publisher.send("odds", Some(b"k"), Some(b"v"), None).unwrap();
        }
        publisher.flush(Duration::from_secs(20)).unwrap();
        let expected: Vec<Place> =
            (0..3).map(|number| Place { number, partition: 0, offset: number as i64 }).collect();
        assert_eq!(publisher.places(), expected);
    }

    #[test]
    fn a_refused_record_is_a_failure() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("odds", 1, 1).unwrap();
        cluster
            .topic_error("odds", rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            .unwrap();
        let mut publisher = publisher(cluster.bootstrap_servers());
        let error = publisher.send("odds", None, Some(b"v"), None).unwrap_err();
        assert!(error.to_string().starts_with("topic odds at"), "{error}");
    }

    #[test]
    fn a_failed_delivery_is_counted_and_explained() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("odds", 1, 1).unwrap();
        let mut publisher = publisher(cluster.bootstrap_servers());
        cluster.request_errors(
            rdkafka::types::RDKafkaApiKey::Produce,
            &[rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD],
        );
        publisher.send("odds", None, Some(b"v"), None).unwrap();
        let error = publisher.flush(Duration::from_secs(20)).unwrap_err().to_string();
        assert!(error.starts_with("1 of 1 records failed; first: topic odds:"), "{error}");
        assert!(publisher.send("odds", None, Some(b"v"), None).is_err(), "nothing is sent after a failure");
    }

    #[test]
    fn a_missing_topic_is_said_at_once() {
        let cluster = MockCluster::new(1).unwrap();
        let error = publisher(cluster.bootstrap_servers()).send("nope", None, Some(b"v"), None).unwrap_err();
        assert!(error.to_string().starts_with("topic nope does not exist at"), "{error}");
    }

    #[test]
    fn unreachable_brokers_are_named() {
        let error = publisher("127.0.0.1:1".into()).send("odds", None, Some(b"v"), None).unwrap_err();
        assert_eq!(error.to_string(), "cannot reach Kafka at 127.0.0.1:1");
    }
}
