//! `Spooled`: the source of a line that only moves what waits in a spool. It announces its partitions once and has no messages: the
//! batches come out of the spool as they went in (`pipeline.rs`, `spool.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use ledgerline_schema::store::{Held, Lineage, LogRange};

use super::{Log, Message, Source, SourceError, SourceEvent};
use crate::config::Start;
use crate::protocol::Partition;

/// No messages.
pub struct Spooled(VecDeque<SourceEvent>);

impl Spooled {
    /// Of these partitions.
    #[must_use]
    pub fn new(partitions: Vec<Partition>) -> Self {
        Self(VecDeque::from([SourceEvent::Assigned(partitions)]))
    }
}

impl Source for Spooled {
    fn poll(
        &mut self,
        timeout: Duration,
        _take: &mut dyn FnMut(&Message<'_>),
    ) -> Result<Option<SourceEvent>, SourceError> {
        let event = self.0.pop_front();
        if event.is_none() {
            std::thread::park_timeout(timeout); // nothing ever comes
        }
        Ok(event)
    }

    fn consume(&mut self, _partition: Partition, _offset: i64) -> Result<(), SourceError> {
        Ok(())
    }

    fn stop(&mut self, _partition: Partition) {}

    fn hold(&mut self, _partition: Partition, _held: bool) {}

    fn commit(&mut self, _partition: Partition, _next_offset: i64) {}
}

/// The log that a part of a spool was filled from, as far as the spool knows it: Kafka is not asked.
pub struct SpooledLog(pub Held);

impl Log for SpooledLog {
    fn describe(&self, _partition: Partition) -> Result<(Lineage, LogRange), SourceError> {
        // Whatever the position is, it is the database's own.
        Ok((self.0.lineage.clone(), LogRange { low: 0, high: i64::MAX }))
    }

    fn starts(&self, _start: Start) -> Result<Vec<(Lineage, i64)>, SourceError> {
        Ok(vec![(self.0.lineage.clone(), self.0.from)])
    }
}
