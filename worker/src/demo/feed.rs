//! Publishes the simulated day for a while, as fast as the line can store it. Runs on a thread that may block; called by the
//! demo.
//!
//! What must stay true: what is sent and not yet stored stays below the broker's bound; what counts as published was
//! acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use anyhow::Context;
use ledgerline_schema::events::EventKind;

use super::simulate::{Simulated, Simulation};
use crate::progress::Progress;
use crate::publisher::Publisher;

/// How often the clock and the lead are looked at, in records: some 20 kB.
const LOOK_EVERY: u64 = 64;
/// How long to wait before looking again whether there is room.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(1);
/// How long no acknowledgement at all may come at the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What has been sent so far, for whoever looks, and the order to stop.
#[derive(Debug, Default)]
pub struct Tally {
    records: AtomicU64,
    quotes: AtomicU64,
    stopped: AtomicBool,
}

impl Tally {
    /// Records sent.
    pub fn records(&self) -> u64 {
        self.records.load(Relaxed)
    }

    /// Quotes in them.
    pub fn quotes(&self) -> u64 {
        self.quotes.load(Relaxed)
    }

    /// Asks the feed to end early.
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }
}

/// One topic with what was sent to it.
struct Outlet {
    kind: EventKind,
    progress: Arc<Progress>,
    sent_bytes: u64,
}

/// The way of the records into Kafka.
pub struct Feed {
    publisher: Publisher,
    outlets: Vec<Outlet>,
    lead_bytes: u64,
    tally: Arc<Tally>,
}

impl Feed {
    /// A feed of these topics; each pipeline tells what it has stored.
    pub fn new(
        publisher: Publisher,
        pipelines: impl IntoIterator<Item = (EventKind, Arc<Progress>)>,
        lead_bytes: u64,
        tally: Arc<Tally>,
    ) -> Self {
        let outlet = |(kind, progress)| Outlet { kind, progress, sent_bytes: 0 };
        Self { publisher, outlets: pipelines.into_iter().map(outlet).collect(), lead_bytes, tally }
    }

    /// Publishes until the deadline or the order to stop. Answers how many records were acknowledged: all of them.
    ///
    /// # Errors
    /// A record that was not acknowledged.
    pub fn run(mut self, simulation: Simulation, deadline: Instant) -> anyhow::Result<u64> {
        for record in simulation {
            if self.tally.records().is_multiple_of(LOOK_EVERY) {
                self.await_room(deadline);
                if self.is_over(deadline) {
                    break;
                }
            }
            self.send(&record)?;
        }
        self.publisher.flush(PATIENCE)
    }

    fn send(&mut self, record: &Simulated) -> anyhow::Result<()> {
        let outlet = self.outlets.iter_mut().find(|outlet| outlet.kind == record.kind);
        let outlet = outlet.with_context(|| format!("no topic for events of kind {}", record.kind.name()))?;
        let key = record.key.as_bytes();
        self.publisher.send(outlet.progress.topic(), Some(key), record.value.as_deref(), None)?;
        // Counted as the pipeline counts: a tombstone's key is not.
        outlet.sent_bytes += record.value.as_ref().map_or(0, |value| (key.len() + value.len()) as u64);
        self.tally.records.fetch_add(1, Relaxed);
        self.tally.quotes.fetch_add(record.quotes, Relaxed);
        Ok(())
    }

    fn await_room(&self, deadline: Instant) {
        while self.is_full() && !self.is_over(deadline) {
            park_timeout(NO_ROOM_PAUSE);
        }
    }

    fn is_full(&self) -> bool {
        let lead = |outlet: &Outlet| outlet.sent_bytes.saturating_sub(outlet.progress.totals().bytes);
        self.outlets.iter().any(|outlet| lead(outlet) > self.lead_bytes)
    }

    fn is_over(&self, deadline: Instant) -> bool {
        self.tally.stopped.load(Relaxed) || Instant::now() >= deadline
    }
}

#[cfg(test)]
mod tests {
    use ledgerline_schema::time::UtcMicros;

    use super::super::broker::Broker;
    use super::*;
    use crate::metrics::Mode;

    /// Nobody stores anything, so the feed must stop by itself at the bound.
    #[test]
    fn never_runs_further_ahead_than_the_broker_keeps() {
        let broker = Broker::in_process("demo-t".into()).unwrap();
        let pipelines =
            broker.topics.iter().map(|(kind, topic)| (*kind, Arc::new(Progress::new(topic, Mode::Live))));
        let tally = Arc::new(Tally::default());
        let publisher = Publisher::new(&broker.kafka).unwrap();
        let feed = Feed::new(publisher, pipelines, 100_000, Arc::clone(&tally));
        let deadline = Instant::now() + Duration::from_millis(500);
        let acked = feed.run(Simulation::new(1, "t", UtcMicros::default()), deadline).unwrap();
        assert_eq!(acked, tally.records());
        assert!((200..2_000).contains(&acked), "{acked}");
    }
}
