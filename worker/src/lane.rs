//! `Lane`: one partition on its way through the line: a buffer that fills and a batch that is being written. Owned by the
//! pipeline; decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ledgerline_schema::batch::Batch;
use ledgerline_schema::budget::Budget;
use ledgerline_schema::events::Flags;
use tokio::sync::OwnedSemaphorePermit;

use crate::buffer::Buffer;
use crate::protocol::Partition;
use crate::room::Room;
use crate::source::Message;
use crate::sync::lock;

/// Longest wait in one poll: how late an answer of the database is noticed on a quiet topic.
pub const POLL: Duration = Duration::from_millis(20);
/// Longest wait in one poll while a transaction is under way.
const POLL_BUSY: Duration = Duration::from_millis(2);

/// One consumed partition.
#[derive(Debug)]
pub struct Lane {
    /// Fills while the batch is written.
    pub buffer: Buffer,
    /// The batch whose transaction is under way, kept until it is known to be in.
    pub in_flight: Option<Arc<Batch>>,
    /// Its turn, where it came out of the spool: not all partitions hold such a batch at a time.
    pub turn: Option<OwnedSemaphorePermit>,
    /// Since when the lane can take nothing; none while it can.
    pub full_since: Option<Instant>,
    /// Whether the source holds its messages back.
    pub held: bool,
    /// Whether an operator has paused it: nothing of it is handed to a writer.
    pub paused: bool,
    /// What was odd about the records in the buffer.
    pub flags: Flags,
    /// What is used up of the dead-letter budget; its writer counts.
    pub budget: Arc<Mutex<Budget>>,
    /// What starts before this offset is not held against the budget: the claim says so.
    pub exempt_to: i64,
}

impl Lane {
    /// A lane that starts with an empty buffer.
    #[must_use]
    pub fn new(buffer: Buffer, budget: Budget) -> Self {
        let budget = Arc::new(Mutex::new(budget));
        Self {
            buffer,
            in_flight: None,
            turn: None,
            full_since: None,
            held: false,
            paused: false,
            flags: Flags::default(),
            budget,
            exempt_to: 0,
        }
    }

    /// Decodes one message into the buffer.
    pub fn take(&mut self, message: &Message<'_>, now: Instant) {
        let flags = self.buffer.take(message, now);
        self.flags.add(flags);
        if self.buffer.is_full() {
            self.full_since.get_or_insert(now);
        }
    }

    /// Takes the batch out, to be written.
    pub fn dispatch(&mut self) -> Arc<Batch> {
        let batch = Arc::new(self.buffer.split_off());
        self.in_flight = Some(Arc::clone(&batch));
        self.full_since = None;
        batch
    }

    /// Lets the batch go that is stored. Its memory is used again, unless it is more than the lane's fair part.
    pub fn settle(&mut self, room: &Room) {
        self.turn = None;
        let Some(batch) = self.in_flight.take().and_then(Arc::into_inner) else { return };
        if batch.held_bytes() <= room.fair_bytes() {
            self.buffer.keep(batch);
        }
    }

    /// What the buffer and the running transaction hold in memory, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.buffer.batch().held_bytes() + self.in_flight.as_ref().map_or(0, |batch| batch.held_bytes())
    }

    /// Counts a batch whose writer does not know that it is stored. What it found dead while writing nobody knows.
    pub fn count_dead(&self, batch: &Batch) {
        if batch.from < self.exempt_to {
            return; // what an operator has allowed is not held against the partition later
        }
        let mut budget = lock(&self.budget);
        budget.add(batch.records.len(), &batch.dead);
    }
}

/// A lane is full when its own bounds are reached, or when all together leave it no room.
pub fn mark_full(lanes: &mut BTreeMap<Partition, Lane>, room: &mut Room, now: Instant) {
    room.look(lanes.values().map(Lane::held_bytes));
    for lane in lanes.values_mut() {
        let full = lane.buffer.is_full() || !room.is_left_for(lane.held_bytes());
        lane.full_since = full.then(|| lane.full_since.unwrap_or(now));
    }
}

/// How long the source may be waited for: until a batch is due, and not long while an answer may come.
pub fn poll_timeout(lanes: &BTreeMap<Partition, Lane>, now: Instant) -> Duration {
    let busy = lanes.values().any(|lane| lane.in_flight.is_some());
    let due = lanes.values().filter(|lane| lane.in_flight.is_none() && !lane.paused);
    let due = due.filter_map(|lane| lane.buffer.due_in(now)).min();
    let longest = if busy { POLL_BUSY } else { POLL };
    due.map_or(longest, |due| due.min(longest))
}
