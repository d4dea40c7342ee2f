//! Those who write to the topic while everything fails: two plain producers, one that commits its transactions, one that aborts
//! a third of them; all idempotent, all with `acks=all`. Each has a thread, and keeps a ledger of what it was told.
//!
//! What must stay true: an outcome is noted only where the client said it; what is not known stays unknown.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode::{MessageTimedOut, PurgeInflight};

use crate::dice::Dice;
use crate::events::{Id, PARTITIONS, PRODUCERS, event};

/// Longest time that a producer may take to bring its last records in.
const LAST: Duration = Duration::from_secs(60);
/// Bound on one call of the transaction API.
const CALL: Duration = Duration::from_secs(10);

/// What a producer was told about one record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    Unknown,
    Acked(i32, i64),
    Failed,
}

/// How a transaction ended, as far as its producer knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum End {
    Committed,
    Aborted,
    Unknown,
}

/// What one producer did: records by number, and the transactions that they were in.
#[derive(Debug, Default)]
pub struct Ledger {
    pub outcomes: Vec<Outcome>,
    /// First number, one past the last, how it ended.
    pub transactions: Vec<(u32, u32, End)>,
}

/// One past the highest offset that is known to be readable, per partition.
#[derive(Debug, Default)]
pub struct Ends([AtomicI64; PARTITIONS as usize]);

impl Ends {
    fn saw(&self, partition: i32, offset: i64) {
        self.0[usize::try_from(partition).expect("a partition")].fetch_max(offset + 1, Ordering::Relaxed);
    }

    pub fn get(&self, partition: i32) -> i64 {
        self.0[usize::try_from(partition).expect("a partition")].load(Ordering::Relaxed)
    }
}

/// Notes what becomes of each record.
struct Notes {
    ledger: Mutex<Ledger>,
    ends: Arc<Ends>,
    plain: bool,
}

/// Shared with the client, which calls back.
#[derive(Clone)]
struct Context(Arc<Notes>);

impl ClientContext for Context {
    fn error(&self, _: KafkaError, _: &str) {} // brokers come and go here
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let outcome = match result {
            Ok(message) => Outcome::Acked(message.partition(), message.offset()),
            Err((KafkaError::MessageProduction(MessageTimedOut | PurgeInflight), _)) => Outcome::Unknown,
            Err(_) => Outcome::Failed,
        };
        if let (Outcome::Acked(partition, offset), true) = (outcome, self.0.plain) {
            self.0.ends.saw(partition, offset);
        }
        self.0.ledger.lock().expect("the ledger").outcomes[number] = outcome;
    }
}

/// All producers of a run.
pub struct Producers {
    stop: Arc<AtomicBool>,
    threads: Vec<(Arc<Notes>, std::thread::JoinHandle<()>)>,
    pub ends: Arc<Ends>,
}

impl Producers {
    pub fn start(seed: u64, brokers: &str, topic: &str, per_second: u32) -> Self {
        let (stop, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(Ends::default()));
        let start = |index: u32| {
            let notes =
                Arc::new(Notes { ledger: Mutex::default(), ends: Arc::clone(&ends), plain: index < 2 });
            let one = One {
                seed,
                index,
                brokers: brokers.to_owned(),
                topic: topic.to_owned(),
                every: Duration::from_secs(1) * PRODUCERS / per_second,
                due: Instant::now(),
                stop: Arc::clone(&stop),
                notes: Context(Arc::clone(&notes)),
            };
            (notes, std::thread::spawn(move || one.run()))
        };
        let threads = (0..PRODUCERS).map(start).collect();
        Self { stop, threads, ends }
    }

    /// Stops them, waits for the last answers, and answers their ledgers. Blocks.
    pub fn stop(self) -> Vec<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        let end = |(notes, thread): (Arc<Notes>, std::thread::JoinHandle<()>)| {
            thread.join().expect("a producer ends");
            std::mem::take(&mut *notes.ledger.lock().expect("the ledger"))
        };
        self.threads.into_iter().map(end).collect()
    }
}

/// One producer on its thread.
struct One {
    seed: u64,
    index: u32,
    brokers: String,
    topic: String,
    every: Duration,
    due: Instant,
    stop: Arc<AtomicBool>,
    notes: Context,
}

impl One {
    fn run(mut self) {
        if self.index < 2 {
            let producer = self.client(None);
            while !self.stopped() {
                self.send(&producer);
            }
            let _ = producer.flush(LAST); // what is not answered stays unknown
        } else {
            self.run_transactions();
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn client(&self, transactional_id: Option<&str>) -> BaseProducer<Context> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "20");
        config
            .set("reconnect.backoff.max.ms", "500")
            .set("message.timeout.ms", "120000")
            .set("log_level", "0");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id).set("message.timeout.ms", "50000");
        }
        config.create_with_context(self.notes.clone()).expect("a producer")
    }

    /// Waits until the next record is due, and sends it.
    fn send(&mut self, producer: &BaseProducer<Context>) {
        while let Some(early) = self.due.checked_duration_since(Instant::now()) {
            producer.poll(early);
        }
        self.due =
            (self.due + self.every).max(Instant::now().checked_sub(self.every * 20).unwrap_or(self.due));
        let number = {
            let mut ledger = self.notes.0.ledger.lock().expect("the ledger");
            ledger.outcomes.push(Outcome::Unknown);
            ledger.outcomes.len() - 1
        };
        let id = Id { producer: self.index, number: u32::try_from(number).expect("a number") };
        let event = event(self.seed, id);
        let mut record: BaseRecord<'_, str, [u8], usize> = BaseRecord::with_opaque_to(&self.topic, number)
            .key(event.key.as_str())
            .partition(event.partition);
        record.payload = event.payload.as_deref();
        if producer.send(record).is_err() {
            self.notes.0.ledger.lock().expect("the ledger").outcomes[number] = Outcome::Failed; // never left us
        }
    }

    fn run_transactions(&mut self) {
        let id = format!("{}-{}", self.topic, self.index);
        let mut dice = Dice::new(self.seed, 100 + u64::from(self.index));
        let mut producer = self.transactional(&id);
        while !self.stopped() {
            let abort = self.index == 3 && dice.between(1, 3) == 1;
            let count = dice.between(5, 40);
            let first = self.count();
            let end = self.transaction(&producer, count, abort);
            let transaction = (first, self.count(), end);
            self.notes.0.ledger.lock().expect("the ledger").transactions.push(transaction);
            if end == End::Unknown {
                producer = self.transactional(&id); // fences the old one and ends what it left open
            }
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.notes.0.ledger.lock().expect("the ledger").outcomes.len()).expect("a number")
    }

    fn transactional(&self, id: &str) -> BaseProducer<Context> {
        let start = Instant::now();
        loop {
            let producer = self.client(Some(id));
            if again(|| producer.init_transactions(CALL)).is_ok() {
                return producer;
            }
            assert!(
                start.elapsed() < 2 * LAST,
                "Kafka never let producer {} start a transaction",
                self.index
            );
        }
    }

    fn transaction(&mut self, producer: &BaseProducer<Context>, count: u64, abort: bool) -> End {
        if producer.begin_transaction().is_err() {
            return End::Unknown;
        }
        for _ in 0..count {
            self.send(producer);
        }
        let end = match abort {
            false => again(|| producer.flush(CALL).and_then(|()| producer.commit_transaction(CALL))),
            true => again(|| producer.flush(CALL).and_then(|()| producer.abort_transaction(CALL))),
        };
        match end {
            Ok(()) if abort => End::Aborted,
            Ok(()) => End::Committed,
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                // What is still on its way is given up; its answers have to be fetched before the abort can end.
                producer.purge(PurgeConfig::default().queue().inflight());
                let aborted = again(|| producer.flush(CALL).and_then(|()| producer.abort_transaction(CALL)));
                aborted.map_or(End::Unknown, |()| End::Aborted)
            }
            Err(_) => End::Unknown,
        }
    }
}

/// Calls until the answer is one that stays.
fn again(mut call: impl FnMut() -> KafkaResult<()>) -> KafkaResult<()> {
    let start = Instant::now();
    loop {
        let result = call();
        let passing = match &result {
            Ok(()) => false,
            Err(KafkaError::Transaction(error)) => error.is_retriable(),
            Err(KafkaError::Flush(_)) => true,
            Err(_) => false,
        };
        if !passing || start.elapsed() > LAST {
            return result;
        }
    }
}
