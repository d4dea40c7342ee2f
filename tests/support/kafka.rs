//! Topics on the real Kafka, and producers for tests.

use std::time::Duration;

use ledgerline_worker::config::{KafkaConfig, Security};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{PATIENCE, eventually, service, unique};

pub fn brokers() -> String {
    service("LEDGERLINE_TEST_KAFKA")
}

/// The client settings of the product for the test's Kafka.
pub fn config(group: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: brokers(),
        group: group.to_owned(),
        security: Security::Plaintext,
        session_timeout_ms: 6_000,
        ..KafkaConfig::default()
    }
}

/// A topic of a test's own, without retention.
pub async fn topic(kind: &str, partitions: i32) -> String {
    topic_at(&brokers(), kind, partitions).await
}

pub async fn topic_at(brokers: &str, kind: &str, partitions: i32) -> String {
    topic_with(brokers, kind, partitions, &[]).await
}

/// A topic with further settings.
pub async fn topic_with(brokers: &str, kind: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
    let name = unique(kind);
    let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
    let results = admin(brokers).create_topics([&topic], &AdminOptions::new()).await.expect("Kafka answers");
    results.into_iter().for_each(|result| drop(result.expect("the topic is created")));
    name
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().expect("an admin client")
}

/// Adds partitions until there are `total`.
pub async fn grow(topic: &str, total: usize) {
    let grown = NewPartitions::new(topic, total);
    let results =
        admin(&brokers()).create_partitions([&grown], &AdminOptions::new()).await.expect("Kafka answers");
    results.into_iter().for_each(|result| drop(result.expect("the topic grows")));
}

/// Deletes the records before that offset, as retention would.
pub async fn delete_before(topic: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
    admin(&brokers()).delete_records(&list, &AdminOptions::new()).await.expect("the records are deleted");
}

/// Deletes a topic and makes one of the same name.
pub async fn make_again(name: &str, partitions: i32) {
    let admin = admin(&brokers());
    admin.delete_topics(&[name], &AdminOptions::new()).await.expect("Kafka answers");
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    eventually("the topic to be made again", async || {
        let results = admin.create_topics([&topic], &AdminOptions::new()).await.expect("Kafka answers");
        results.into_iter().all(|result| result.is_ok()).then_some(())
    })
    .await;
}

/// Asks the real Kafka for the end of a partition.
pub fn end(topic: &str, partition: i32) -> i64 {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers()).create().expect("a client");
    consumer.fetch_watermarks(topic, partition, Duration::from_secs(30)).expect("Kafka answers").1
}

/// How many members a group has, once they agree; none where nobody is in it.
pub fn members(group: &str) -> Option<usize> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers()).create().expect("a client");
    let groups = consumer.fetch_group_list(Some(group), Duration::from_secs(30)).expect("Kafka answers");
    let Some(group) = groups.groups().first() else { return Some(0) };
    ["Stable", "Empty", "Dead"].contains(&group.state()).then(|| group.members().len())
}

/// What a group has committed to Kafka.
pub fn committed(group: &str, topic: &str, partition: i32) -> Option<i64> {
    let mut config = ClientConfig::new();
    let consumer: BaseConsumer =
        config.set("bootstrap.servers", brokers()).set("group.id", group).create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    let committed = consumer.committed_offsets(list, Duration::from_secs(30)).expect("Kafka answers");
    committed.find_partition(topic, partition)?.offset().to_raw()
}

/// A record for a test.
#[derive(Debug, Clone, Default)]
pub struct Record {
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub fn of(key: &str, value: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }
}

/// Produces the records in order and waits until all are acknowledged. Blocks.
pub fn produce(brokers: &str, topic: &str, records: &[Record]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .expect("a producer");
    send_all(&producer, topic, records);
    producer.flush(PATIENCE).expect("every record is acknowledged");
}

/// Produces the records to the services' own brokers, off the thread.
pub async fn produced(topic: &str, records: Vec<Record>) {
    let topic = topic.to_owned();
    let producing = tokio::task::spawn_blocking(move || produce(&brokers(), &topic, &records));
    producing.await.expect("produced");
}

/// Produces the records in one transaction, and commits or aborts it. Blocks.
pub fn produce_in_transaction(topic: &str, records: &[Record], commit: bool) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers())
        .set("transactional.id", unique("tx"))
        .create()
        .expect("a producer");
    producer.init_transactions(PATIENCE).expect("transactions");
    producer.begin_transaction().expect("a transaction");
    send_all(&producer, topic, records);
    producer.flush(PATIENCE).expect("every record is acknowledged");
    let end =
        if commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) };
    end.expect("the transaction ends");
}

fn send_all(producer: &BaseProducer, topic: &str, records: &[Record]) {
    for record in records {
        let mut message: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        message.partition = record.partition;
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        if !record.headers.is_empty() {
            let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_ref() })
            });
            message.headers = Some(headers);
        }
        while let Err((error, back)) = producer.send(message) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull));
            producer.poll(Duration::from_millis(10));
            message = back;
        }
    }
}

/// Produces a steady stream of records on a thread of its own until it is stopped.
pub struct Load {
    stop: std::sync::mpsc::SyncSender<()>,
    thread: std::thread::JoinHandle<usize>,
}

impl Load {
    /// About that many records a second, numbered from 0.
    pub fn start(brokers: &str, topic: &str, per_second: usize, record: fn(usize) -> Record) -> Self {
        let (stop, stopped) = std::sync::mpsc::sync_channel(1);
        let (brokers, topic) = (brokers.to_owned(), topic.to_owned());
        let thread = std::thread::spawn(move || {
            let producer: BaseProducer = ClientConfig::new()
                .set("bootstrap.servers", brokers)
                .set("enable.idempotence", "true")
                .create()
                .expect("a producer");
            let mut sent = 0;
            while stopped.recv_timeout(Duration::from_millis(100)).is_err() {
                let records: Vec<Record> = (sent..sent + per_second / 10).map(record).collect();
                send_all(&producer, &topic, &records);
                producer.poll(Duration::ZERO);
                sent += records.len();
            }
            producer.flush(PATIENCE).expect("every record is acknowledged");
            sent
        });
        Self { stop, thread }
    }

    /// Stops it; answers how many records it has produced.
    pub fn stop(self) -> usize {
        self.stop.send(()).expect("the thread lives");
        self.thread.join().expect("the thread ends")
    }
}
