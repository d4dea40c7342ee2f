//! The write protocol as a pure state machine: what happened goes in, what to do comes out. No I/O, no clock, no threads,
//! no rows: it knows partitions, offsets and epochs only. `pipeline.rs` feeds it and carries out its commands.
//!
//! What must stay true:
//! - per partition and assignment at most one question or transaction is under way; an answer to an older one is ignored;
//! - a partition is consumed only from the position that its claim answered;
//! - after anything but "committed", the database is asked for its position before a batch is written again;
//! - a fence, a revocation and a halt drop what is buffered: the database's position says where to read again;
//! - while the database is away, batches may go to a spool instead, from the position that it is known to have had last; when it is
//!   back, what the spool holds of a partition goes there before anything that is newer.

use std::collections::BTreeMap;

use ledgerline_schema::store::Position;

mod entry;
mod messages;

use entry::{Entry, Route, State};

pub use messages::{
    Assignment, ClaimOutcome, Command, Event, FetchOutcome, Partition, Place, PositionOutcome, WriteOutcome,
};

/// The protocol of one topic in one process.
#[derive(Debug, Default)]
pub struct Protocol {
    partitions: BTreeMap<Partition, Entry>,
    last_assignment: Assignment,
    /// The database is away, and has been for so long that batches go to the spool.
    outage: bool,
    /// No more batches.
    ending: bool,
}

impl Protocol {
    /// Takes one event; answers what to do, in order.
    #[must_use]
    pub fn on(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Assigned(partition) => self.assigned(partition),
            Event::Revoked(partition) => self.revoked(partition),
            Event::ClaimAnswered(partition, assignment, outcome) => {
                self.step(partition, assignment, |entry, _| entry.claim_answered(partition, outcome))
            }
            Event::BatchReady(partition, from, to) => self.batch_ready(partition, from, to),
            Event::WriteEnded(partition, assignment, outcome) => {
                self.step(partition, assignment, |entry, _| entry.write_ended(partition, outcome))
            }
            Event::PositionAnswered(partition, assignment, outcome) => {
                self.step(partition, assignment, |entry, _| entry.position_answered(partition, outcome))
            }
            Event::Fetched(partition, assignment, outcome) => {
                self.step(partition, assignment, |entry, ending| entry.fetched(partition, outcome, ending))
            }
            Event::RetryDue(partition, assignment) => {
                self.step(partition, assignment, |entry, ending| entry.retry_due(partition, ending))
            }
            Event::Outage => self.turn(true),
            Event::Recovered => self.turn(false),
            Event::ConsumeFailed(partition) => self.reclaim(&[partition]),
            Event::OffsetsLost => self.reclaim(&self.partitions.keys().copied().collect::<Vec<_>>()),
            Event::PositionsSeen(None) => Vec::new(),
            Event::PositionsSeen(Some(seen)) => {
                let overruled = self.overruled(&seen);
                self.reclaim(&overruled)
            }
            Event::Drain => {
                self.ending = true;
                Vec::new()
            }
        }
    }

    /// Whether a batch of the partition may be handed over now.
    #[must_use]
    pub fn can_write(&self, partition: Partition) -> bool {
        !self.ending
            && self.partitions.get(&partition).is_some_and(|entry| matches!(entry.state, State::Idle { .. }))
    }

    /// Whether the partition is consumed: its messages belong into the buffer.
    #[must_use]
    pub fn is_consuming(&self, partition: Partition) -> bool {
        self.partitions
            .get(&partition)
            .is_some_and(|entry| entry.route != Route::Draining && entry.state.claim().is_some())
    }

    /// Whether this assignment of the partition waits for what comes out of the spool.
    #[must_use]
    pub fn is_fetching(&self, partition: Partition, assignment: Assignment) -> bool {
        let entry = self.partitions.get(&partition).filter(|entry| entry.assignment == assignment);
        entry.is_some_and(|entry| matches!(entry.state, State::Fetching { .. }))
    }

    /// Whether batches go to the spool.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        self.outage
    }

    /// Where the partition's batches go.
    #[must_use]
    pub fn place(&self, partition: Partition) -> Place {
        self.partitions.get(&partition).map_or(Place::Database, |entry| entry.route.place())
    }

    /// Whether no transaction and no question about one is under way, so that the process may end.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.partitions.values().all(|entry| match entry.state {
            State::Writing { .. } | State::Asking { .. } => false,
            State::Claiming { .. }
            | State::WaitingToClaim { .. }
            | State::Idle { .. }
            | State::WaitingToAsk { .. }
            | State::WaitingToWrite { .. }
            | State::Fetching { .. }
            | State::WaitingToFetch { .. }
            | State::Halted { .. }
            | State::AskingOperator { .. } => true,
        })
    }

    fn assigned(&mut self, partition: Partition) -> Vec<Command> {
        self.last_assignment += 1;
        let assignment = self.last_assignment;
        let entry = Entry {
            assignment,
            state: State::Claiming { attempt: 0 },
            route: if self.outage { Route::Spooling } else { Route::Live },
            known: None,
            vain_claims: 0,
            quiet: false,
        };
        let claim = entry.claim_command(partition);
        self.partitions.insert(partition, entry);
        vec![claim]
    }

    /// The database is away for long, or back: every partition goes the other way. What is under way there is left alone: whether it
    /// commits or not, the position says so later.
    fn turn(&mut self, outage: bool) -> Vec<Command> {
        if self.ending || self.outage == outage {
            return Vec::new();
        }
        self.outage = outage;
        let mut commands = Vec::new();
        for (partition, entry) in &mut self.partitions {
            let stays = match entry.route {
                Route::Live | Route::Draining => !outage || entry.state.is_halted(),
                Route::Spooling => outage,
            };
            if !stays {
                self.last_assignment += 1;
                entry.assignment = self.last_assignment;
                commands.extend(entry.turn(*partition, outage));
            }
        }
        commands
    }

    fn revoked(&mut self, partition: Partition) -> Vec<Command> {
        match self.partitions.remove(&partition) {
            Some(_) => vec![Command::Drop(partition)],
            None => Vec::new(),
        }
    }

    fn batch_ready(&mut self, partition: Partition, from: i64, to: i64) -> Vec<Command> {
        if self.ending {
            return Vec::new();
        }
        let Some(entry) = self.partitions.get_mut(&partition) else { return Vec::new() };
        let State::Idle { claim } = &entry.state else { return Vec::new() };
        let claim = claim.clone();
        assert_eq!(
            claim.next_offset, from,
            "partition {partition}: a batch must start where the last one ended"
        );
        vec![entry.write(partition, claim, to)]
    }

    /// Idle partitions that the database has moved. Where a transaction is under way it finds out itself.
    fn overruled(&mut self, seen: &BTreeMap<Partition, Position>) -> Vec<Partition> {
        let entries = self.partitions.iter_mut();
        let overruled = entries.filter_map(|(partition, entry)| {
            entry.is_overruled(seen.get(partition).copied()).then_some(*partition)
        });
        overruled.collect()
    }

    /// Claims partitions again, because a claim checks what the log holds. A transaction under way is left alone: it commits
    /// before the new claim, which then sees its position, or it is fenced by it.
    fn reclaim(&mut self, partitions: &[Partition]) -> Vec<Command> {
        let mut commands = Vec::new();
        for partition in partitions {
            let Some(entry) = self.partitions.get_mut(partition) else { continue };
            if entry.route != Route::Draining && entry.state.claim().is_some() {
                self.last_assignment += 1;
                entry.assignment = self.last_assignment;
                commands.extend(entry.claim_again(*partition));
            }
        }
        commands
    }

    /// Runs `next` on the partition, unless the answer belongs to an earlier assignment.
    fn step(
        &mut self,
        partition: Partition,
        assignment: Assignment,
        next: impl FnOnce(&mut Entry, bool) -> Vec<Command>,
    ) -> Vec<Command> {
        match self.partitions.get_mut(&partition) {
            Some(entry) if entry.assignment == assignment => next(entry, self.ending),
            Some(_) | None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
