//! The program: one topic, from the source to the database. `Pipeline::run` is the straight line; live consumption, replay and
//! backfill run it, each with another Source. A redrive has no log to follow: it shares the store's half.
//!
//! While the database is away, a line that has a spool writes there; what waits there goes first when it is back (`spool.rs`).
//!
//! One OS thread per pipeline. It polls, decodes and decides, and never waits for the database: claims and transactions are
//! tasks whose answers come back through a channel.
//!
//! What must stay true: the source is polled regularly whatever the database does; a transaction is a task that is never
//! cancelled; what is in the buffers is bounded by rows and bytes per partition, and by bytes for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ledgerline_schema::batch::Batch;
use ledgerline_schema::time::UtcMicros;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::buffer::Trigger;
use crate::claim::Claimant;
use crate::clock;
use crate::config::Topic;
use crate::lane::{self, Lane, POLL};
use crate::pace::Terms;
use crate::progress::Progress;
use crate::protocol::{Assignment, Event, FetchOutcome, Partition, Protocol};
use crate::room::Room;
use crate::source::{Message, Source, SourceError, SourceEvent};

mod commands;

mod heed;

/// Messages taken before the answers and the clock are looked at again.
const MESSAGES_PER_TURN: usize = 512;
/// A partition that could take nothing for this long is held back, so that the others flow on.
const HOLD_AFTER: Duration = Duration::from_secs(2);
/// Batches out of the spool that wait or are written, for each writer.
const TURNS_PER_WRITER: usize = 2;
/// How soon a quiet partition notices that it has been moved.
const WATCH_EVERY: Duration = Duration::from_secs(5);
/// Answers that may wait for the thread: each partition has a question or a timer open, and perhaps those of assignments
/// before.
const ANSWERS: usize = 16_384;

/// What a task brings back to the thread.
enum Answer {
    /// What happened.
    Event(Event),
    /// A batch out of the spool, and its turn.
    Segment(Partition, Assignment, Arc<Batch>, OwnedSemaphorePermit),
}

/// One topic's line.
pub struct Pipeline<S> {
    topic: Topic,
    terms: Terms,
    source: S,
    claimant: Claimant,
    protocol: Protocol,
    lanes: BTreeMap<Partition, Lane>,
    writers: Arc<Semaphore>,
    /// Batches that may come out of the spool at a time, for all partitions: they are in no buffer's bound.
    turns: Arc<Semaphore>,
    room: Room,
    progress: Arc<Progress>,
    runtime: Handle,
    answers: Receiver<Answer>,
    answer: SyncSender<Answer>,
    hour: UtcMicros,
    watch_at: Instant,
    /// One look at a time: a database that hangs must not collect them.
    watching: bool,
}

impl<S: Source> Pipeline<S> {
    /// A line that has not read anything yet. Tasks run on `runtime`.
    pub fn new(
        topic: Topic,
        source: S,
        claimant: Claimant,
        progress: Arc<Progress>,
        runtime: Handle,
    ) -> Self {
        let (answer, answers) = sync_channel(ANSWERS);
        let writers = Arc::new(Semaphore::new(topic.writers));
        let turns = Arc::new(Semaphore::new(TURNS_PER_WRITER * topic.writers));
        let room = Room::new(topic.buffered_bytes);
        Self {
            topic,
            terms: Terms::default(),
            source,
            claimant,
            protocol: Protocol::default(),
            lanes: BTreeMap::new(),
            writers,
            turns,
            room,
            progress,
            runtime,
            answers,
            answer,
            hour: UtcMicros::default(),
            watch_at: Instant::now() + WATCH_EVERY,
            watching: false,
        }
    }

    /// Keeps to terms.
    #[must_use]
    pub fn under(self, terms: Terms) -> Self {
        Self { terms, ..self }
    }

    /// The straight line: read, decode, write, until told to stop; then finish what is under way.
    ///
    /// # Errors
    /// The source is dead.
    pub fn run(&mut self) -> Result<(), SourceError> {
        while !self.progress.is_stopping() {
            self.read()?;
            self.look_for_outage();
            self.take_answers();
            self.write_due();
            self.watch_positions();
        }
        self.drain();
        Ok(())
    }

    /// Takes what the source has, up to a bound: messages into their buffers, everything else to the protocol.
    fn read(&mut self) -> Result<(), SourceError> {
        self.progress.tick(clock::now());
        if self.is_saturated() {
            self.await_answer(POLL);
            return Ok(());
        }
        let holding = self.terms.pace.is_holding(); // what is due must not make it spin
        let mut timeout = if holding { POLL } else { lane::poll_timeout(&self.lanes, Instant::now()) };
        let mut taken_bytes = 0;
        for _ in 0..MESSAGES_PER_TURN {
            let now = Instant::now();
            let (lanes, protocol, mut taken) = (&mut self.lanes, &self.protocol, false);
            let mut take = |message: &Message<'_>| {
                taken = true;
                if protocol.is_consuming(message.partition)
                    && let Some(lane) = lanes.get_mut(&message.partition)
                {
                    taken_bytes += message.value.map_or(0, <[u8]>::len);
                    lane.take(message, now);
                }
            };
            match self.source.poll(timeout, &mut take) {
                Ok(Some(event)) => self.on_source_event(event),
                Ok(None) if !taken => return Ok(()),
                Ok(None) => {}
                Err(SourceError::Transient(error)) => {
                    tracing::debug!(kafka.topic = self.topic.name, error, "kafka");
                    return Ok(());
                }
                Err(dead) => return Err(dead),
            }
            if self.is_saturated() || taken_bytes >= self.room.bytes_per_turn() {
                return Ok(());
            }
            timeout = Duration::ZERO;
        }
        Ok(())
    }

    fn on_source_event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Assigned(partitions) => {
                self.progress.assigned(&partitions);
                partitions.into_iter().for_each(|partition| self.feed(Event::Assigned(partition)));
            }
            SourceEvent::Revoked(partitions) => {
                self.progress.revoked(&partitions);
                partitions.into_iter().for_each(|partition| self.feed(Event::Revoked(partition)));
            }
            SourceEvent::End { partition, position } => {
                if let Some(lane) = self.lanes.get_mut(&partition) {
                    lane.buffer.advance(position, Instant::now());
                }
            }
            SourceEvent::OffsetsLost => self.feed(Event::OffsetsLost),
        }
    }

    fn take_answers(&mut self) {
        while let Ok(answer) = self.answers.try_recv() {
            self.take_answer(answer);
        }
    }

    fn take_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Event(event) => self.feed(event),
            Answer::Segment(partition, assignment, batch, turn) => {
                let to = batch.to;
                if self.protocol.is_fetching(partition, assignment)
                    && let Some(lane) = self.lanes.get_mut(&partition)
                {
                    (lane.in_flight, lane.turn) = (Some(batch), Some(turn));
                }
                self.feed(Event::Fetched(partition, assignment, FetchOutcome::Segment(to)));
            }
        }
    }

    /// Tells the protocol that batches go to the spool from now on, or no more. A line that only empties it ends.
    fn look_for_outage(&mut self) {
        let Some(spool) = &self.claimant.spool else { return };
        let outage = spool.is_on();
        if outage && spool.ends("the database is away again") {
            return;
        }
        if outage != self.protocol.is_outage() {
            self.feed(if outage { Event::Outage } else { Event::Recovered });
        }
    }

    /// Hands every due batch over that the protocol lets go, and one before its time where memory is tight.
    fn write_due(&mut self) {
        self.heed_switches();
        let now = Instant::now();
        let ready: Vec<Partition> =
            self.lanes.keys().copied().filter(|partition| self.protocol.can_write(*partition)).collect();
        for partition in ready {
            self.dispatch(partition, |lane| lane.buffer.due(now));
        }
        if let Some(partition) = self.early_lane() {
            self.dispatch(partition, |_| Some(Trigger::Memory));
        }
        lane::mark_full(&mut self.lanes, &mut self.room, now);
        self.hold_full_lanes(now);
    }

    fn dispatch(&mut self, partition: Partition, due: impl Fn(&Lane) -> Option<Trigger>) {
        let Some(lane) = self.lanes.get_mut(&partition).filter(|lane| !lane.paused) else { return };
        let Some(trigger) = due(lane) else { return };
        if !self.terms.pace.may_start(Instant::now()) {
            return;
        }
        let batch = lane.dispatch();
        self.progress.dispatched(&batch, std::mem::take(&mut lane.flags), trigger);
        self.feed(Event::BatchReady(partition, batch.from, batch.to));
    }

    /// Looks from time to time whether an operator, or a database that went back in time, has moved a partition: a quiet one
    /// would not notice.
    fn watch_positions(&mut self) {
        let now = Instant::now();
        // A spool is told of partitions that others have, too: they may be this worker's when the database is away.
        let nobody_asks = self.lanes.is_empty() && self.claimant.spool.is_none();
        if nobody_asks || now < self.watch_at || self.watching {
            return;
        }
        self.watch_at = now + WATCH_EVERY;
        self.watching = true;
        let (claimant, topic) = (self.claimant.clone(), self.topic.name.clone());
        self.spawn(Event::PositionsSeen(None), async move {
            Event::PositionsSeen(claimant.positions(&topic).await)
        });
    }

    /// Gives the protocol an event and carries out what it says.
    fn feed(&mut self, event: Event) {
        self.watching &= !matches!(event, Event::PositionsSeen(_));
        for command in self.protocol.on(event) {
            self.carry_out(command);
        }
    }

    /// Some lane can take nothing and is not held back yet: the next message might be for it.
    fn is_saturated(&self) -> bool {
        self.lanes.values().any(|lane| lane.full_since.is_some() && !lane.held)
    }

    /// The lane that holds most, where memory is tight and a writer is free: only writing makes room.
    fn early_lane(&self) -> Option<Partition> {
        let in_flight = self.lanes.values().filter(|lane| lane.in_flight.is_some()).count();
        if !self.room.is_tight() || in_flight >= self.topic.writers {
            return None;
        }
        let ready = self.lanes.iter().filter(|(at, lane)| !lane.paused && self.protocol.can_write(**at));
        let largest = ready.max_by_key(|(_, lane)| lane.held_bytes());
        largest.filter(|(_, lane)| lane.held_bytes() > 0).map(|(partition, _)| *partition)
    }

    /// A short stall only stops the reading. After a longer one the full lanes are held back, once, and flow on once.
    fn hold_full_lanes(&mut self, now: Instant) {
        for (partition, lane) in &mut self.lanes {
            let hold = match lane.full_since {
                Some(since) => lane.paused || lane.held || now.duration_since(since) >= HOLD_AFTER,
                None => lane.paused,
            };
            if hold != lane.held {
                lane.held = hold;
                self.source.hold(*partition, hold);
                let (topic, what) = (&self.topic.name, if hold { "held back" } else { "flows again" });
                tracing::info!(kafka.topic = topic, kafka.partition = partition, "partition {what}");
            }
        }
    }

    fn await_answer(&mut self, timeout: Duration) {
        match self.answers.recv_timeout(timeout) {
            Ok(answer) => self.take_answer(answer),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }

    /// Waits for what is under way; the source is not read any more, and the group is left when it is dropped.
    fn drain(&mut self) {
        self.feed(Event::Drain);
        while !self.protocol.is_settled() && !self.progress.is_out_of_time() {
            self.await_answer(POLL);
        }
        // Lets the client look once more at what the group decided; what it still hands out is read again by the next owner.
        let _ = self.source.poll(Duration::ZERO, &mut |_| {});
    }
}
