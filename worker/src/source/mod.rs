//! `Source`: where messages come from. Live consumption, replay and backfill are the same line with another Source. `Log`
//! answers questions about the log without moving in it.

pub mod file;
pub mod kafka;
mod native;
pub mod rate;
pub mod replay;
pub mod spooled;
pub mod survey;

pub(crate) use native::skip_mock_rebalance_delay;

use std::time::Duration;

use ledgerline_schema::events::{RawHeader, Rejection};
use ledgerline_schema::store::{Lineage, LogRange};
use ledgerline_schema::time::UtcMicros;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use crate::config::Start;
use crate::protocol::Partition;

/// One raw record, borrowed from the source's own memory.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: i64,
    /// Its key; null and empty are different.
    pub key: Option<&'a [u8]>,
    /// Its value; null is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers in order.
    pub headers: &'a [RawHeader<'a>],
    /// Its timestamp, if it has one.
    pub timestamp: Option<UtcMicros>,
    /// Why the source itself refuses it: it stands for something that could not be made into an event.
    pub refused: Option<&'a Rejection>,
}

/// What a source tells besides messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent {
    /// These partitions are ours to claim.
    Assigned(Vec<Partition>),
    /// These are no longer ours.
    Revoked(Vec<Partition>),
    /// Nothing is left to read at the moment; every offset below `position` has been handed out or holds no record.
    End {
        /// The partition.
        partition: Partition,
        /// The next offset that a record can have.
        position: i64,
    },
    /// The log no longer has the offsets that we want, on some partition.
    OffsetsLost,
}

/// What went wrong with a source.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The client is dead; the process has to end.
    #[error("fatal Kafka client error: {0}")]
    Fatal(String),
    /// The line ended by itself: a defect of ours.
    #[error("the pipeline ended: {0}")]
    Ended(String),
    /// What is to be read cannot be.
    #[error("{0}")]
    Unreadable(String),
    /// It may work the next time.
    #[error("{}", of_kafka(.0))]
    Transient(String),
}

/// A text that names a key of the configuration says enough.
fn of_kafka(text: &str) -> String {
    if text.starts_with("kafka.") { text.to_owned() } else { format!("kafka: {text}") }
}

impl SourceError {
    /// A question that none of these brokers answered, or that one of them refused.
    fn unanswered(brokers: &str, error: &KafkaError) -> Self {
        let nobody = [RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::OperationTimedOut];
        Self::Transient(match error.rdkafka_error_code() {
            Some(code) if nobody.contains(&code) => {
                format!("kafka.brokers: {brokers} does not answer; `ledgerline doctor` says more")
            }
            Some(_) | None => error.to_string(),
        })
    }
}

/// Where messages come from. Called by one thread, which never waits for anything else in between.
pub trait Source {
    /// Waits up to `timeout` for something. A message is handed to `take` while it is borrowed; anything else is returned.
    ///
    /// # Errors
    /// `Fatal`: the source is dead. `Transient`: nothing happened, poll again.
    fn poll(
        &mut self,
        timeout: Duration,
        take: &mut dyn FnMut(&Message<'_>),
    ) -> Result<Option<SourceEvent>, SourceError>;

    /// Hands out the partition's messages from `offset` on.
    ///
    /// # Errors
    /// The partition cannot be consumed now.
    fn consume(&mut self, partition: Partition, offset: i64) -> Result<(), SourceError>;

    /// Hands out nothing of the partition any more. No error where it was not consumed.
    fn stop(&mut self, partition: Partition);

    /// Holds the partition's messages back, or lets them flow on from where they were held.
    fn hold(&mut self, partition: Partition, held: bool);

    /// Tells outsiders, sooner or later, that everything before `next_offset` is stored. Advisory, never read back, never an error.
    fn commit(&mut self, partition: Partition, next_offset: i64);
}

/// Questions about a log, each answered within a bound. Called off the source's thread; may block.
pub trait Log: Send + Sync + 'static {
    /// The partition's lineage and what it holds now.
    ///
    /// # Errors
    /// The brokers did not answer.
    fn describe(&self, partition: Partition) -> Result<(Lineage, LogRange), SourceError>;

    /// Where each partition of the topic starts under that policy, as numbers.
    ///
    /// # Errors
    /// The brokers did not answer.
    fn starts(&self, start: Start) -> Result<Vec<(Lineage, i64)>, SourceError>;
}
