//! The write protocol as a pure state machine: what happened goes in, what to do comes out. No I/O, no clock, no threads,
//! no rows: it knows partitions, offsets and epochs only. `pipeline.rs` feeds it and carries out its commands.
//!
//! What must stay true:
//! - per partition and assignment at most one question or transaction is under way; an answer to an older one is ignored;
//! - a partition is consumed only from the position that its claim answered;
//! - after anything but "committed", the database is asked for its position before a batch is written again;
//! - a fence, a revocation and a halt drop what is buffered: the database's position says where to read again.

use std::collections::BTreeMap;

use ledgerline_schema::store::{Claim, Effort, Halt, Position};

mod messages;

pub use messages::{Assignment, ClaimOutcome, Command, Event, Partition, PositionOutcome, WriteOutcome};

/// What is under way for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// A claim was asked for.
    Claiming { attempt: u32 },
    /// A claim failed or was fenced; another follows after a pause.
    WaitingToClaim { attempt: u32 },
    /// Consumed; nothing under way.
    Idle { claim: Claim },
    /// The transaction of [from, to) is under way.
    Writing { claim: Claim, flight: Flight },
    /// The database was asked whether [from, to) is in.
    Asking { claim: Claim, flight: Flight },
    /// [from, to) is not known to be in; after a pause the database is asked.
    WaitingToAsk { claim: Claim, flight: Flight },
    /// [from, to) is known not to be in; after a pause it is written again.
    WaitingToWrite { claim: Claim, flight: Flight },
    /// An operator has to decide; whether he has is asked from time to time.
    Halted { halt: Halt },
    /// As `Halted`, while the claim that asks is under way.
    AskingOperator { halt: Halt },
}

/// Pauses in a row as after that many failures: how soon a halted partition notices an operator's decision.
const HALTED_ATTEMPT: u32 = u32::MAX;
/// Refusals in a row after which the batch is searched for the records that the database refuses.
const REFUSALS: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flight {
    from: i64,
    to: i64,
    attempt: u32,
    /// How often in a row the database answered and refused.
    refusals: u32,
}

impl Flight {
    fn next_attempt(self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self }
    }

    fn effort(self) -> Effort {
        if self.refusals < REFUSALS { Effort::Whole } else { Effort::Isolate }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    assignment: Assignment,
    state: State,
    /// Claims in a row that led to no commit; the pause before the next one grows with them.
    vain_claims: u32,
    /// Whether the position was looked at since our last claim or commit.
    quiet: bool,
}

/// The protocol of one topic in one process.
#[derive(Debug, Default)]
pub struct Protocol {
    partitions: BTreeMap<Partition, Entry>,
    last_assignment: Assignment,
    draining: bool,
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
            Event::RetryDue(partition, assignment) => {
                self.step(partition, assignment, |entry, draining| entry.retry_due(partition, draining))
            }
            Event::ConsumeFailed(partition) => self.reclaim(&[partition]),
            Event::OffsetsLost => self.reclaim(&self.partitions.keys().copied().collect::<Vec<_>>()),
            Event::PositionsSeen(None) => Vec::new(),
            Event::PositionsSeen(Some(seen)) => {
                let overruled = self.overruled(&seen);
                self.reclaim(&overruled)
            }
            Event::Drain => {
                self.draining = true;
                Vec::new()
            }
        }
    }

    /// Whether a batch of the partition may be handed over now.
    #[must_use]
    pub fn can_write(&self, partition: Partition) -> bool {
        !self.draining
            && self.partitions.get(&partition).is_some_and(|entry| matches!(entry.state, State::Idle { .. }))
    }

    /// Whether the partition is consumed: its messages belong into the buffer.
    #[must_use]
    pub fn is_consuming(&self, partition: Partition) -> bool {
        self.partitions.get(&partition).is_some_and(|entry| entry.state.claim().is_some())
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
            | State::Halted { .. }
            | State::AskingOperator { .. } => true,
        })
    }

    fn assigned(&mut self, partition: Partition) -> Vec<Command> {
        self.last_assignment += 1;
        let assignment = self.last_assignment;
        let state = State::Claiming { attempt: 0 };
        self.partitions.insert(partition, Entry { assignment, state, vain_claims: 0, quiet: false });
        vec![Command::Claim(partition, assignment)]
    }

    fn revoked(&mut self, partition: Partition) -> Vec<Command> {
        match self.partitions.remove(&partition) {
            Some(_) => vec![Command::Drop(partition)],
            None => Vec::new(),
        }
    }

    fn batch_ready(&mut self, partition: Partition, from: i64, to: i64) -> Vec<Command> {
        if self.draining {
            return Vec::new();
        }
        let Some(entry) = self.partitions.get_mut(&partition) else { return Vec::new() };
        let State::Idle { claim } = &entry.state else { return Vec::new() };
        let claim = claim.clone();
        assert_eq!(
            claim.next_offset, from,
            "partition {partition}: a batch must start where the last one ended"
        );
        let flight = Flight { from, to, attempt: 0, refusals: 0 };
        entry.state = State::Writing { claim: claim.clone(), flight };
        vec![Command::Write(partition, entry.assignment, claim, flight.effort())]
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
            if entry.state.claim().is_some() {
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
            Some(entry) if entry.assignment == assignment => next(entry, self.draining),
            Some(_) | None => Vec::new(),
        }
    }
}

impl State {
    /// The claim under which the partition is consumed.
    fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Idle { claim }
            | Self::Writing { claim, .. }
            | Self::Asking { claim, .. }
            | Self::WaitingToAsk { claim, .. }
            | Self::WaitingToWrite { claim, .. } => Some(claim),
            Self::Claiming { .. }
            | Self::WaitingToClaim { .. }
            | Self::Halted { .. }
            | Self::AskingOperator { .. } => None,
        }
    }
}

impl Entry {
    /// An answer may be older than our last claim or commit; the first one after it is believed only where it shows a higher
    /// epoch. Where nothing has moved since, any other position means that the database has gone back in time.
    fn is_overruled(&mut self, at: Option<Position>) -> bool {
        let State::Idle { claim } = &self.state else { return false };
        let quiet = std::mem::replace(&mut self.quiet, true);
        let ours = Position { next_offset: claim.next_offset, epoch: claim.epoch };
        at.is_some_and(|at| at.epoch > claim.epoch) || (quiet && at != Some(ours))
    }

    fn claim_answered(&mut self, partition: Partition, outcome: ClaimOutcome) -> Vec<Command> {
        let (attempt, known_halt) = match &self.state {
            State::Claiming { attempt } => (*attempt, None),
            State::AskingOperator { halt } => (HALTED_ATTEMPT, Some(halt.clone())),
            State::WaitingToClaim { .. }
            | State::Idle { .. }
            | State::Writing { .. }
            | State::Asking { .. }
            | State::WaitingToAsk { .. }
            | State::WaitingToWrite { .. }
            | State::Halted { .. } => return Vec::new(),
        };
        match (outcome, known_halt) {
            (ClaimOutcome::Claimed(claim), _) => {
                let from = claim.next_offset;
                self.quiet = false;
                self.state = State::Idle { claim };
                vec![Command::Consume(partition, from)]
            }
            (ClaimOutcome::Halted(halt), Some(known)) if known.name() == halt.name() => {
                self.stay_halted(partition, halt)
            }
            (ClaimOutcome::Halted(halt), _) => self.halted(partition, halt),
            (ClaimOutcome::Unknown, Some(halt)) => self.stay_halted(partition, halt),
            (ClaimOutcome::Unknown, None) => self.claim_later(partition, attempt.saturating_add(1)),
        }
    }

    fn halted(&mut self, partition: Partition, halt: Halt) -> Vec<Command> {
        let mut commands = vec![Command::Halt(partition, halt.clone())];
        commands.extend(self.stay_halted(partition, halt));
        commands
    }

    fn stay_halted(&mut self, partition: Partition, halt: Halt) -> Vec<Command> {
        self.state = State::Halted { halt };
        vec![Command::RetryLater(partition, self.assignment, HALTED_ATTEMPT)]
    }

    fn claim_later(&mut self, partition: Partition, attempt: u32) -> Vec<Command> {
        self.state = State::WaitingToClaim { attempt };
        vec![Command::RetryLater(partition, self.assignment, attempt)]
    }

    fn write_ended(&mut self, partition: Partition, outcome: WriteOutcome) -> Vec<Command> {
        let State::Writing { claim, flight } = &self.state else { return Vec::new() };
        let (claim, flight) = (claim.clone(), *flight);
        match outcome {
            WriteOutcome::Committed => {
                self.committed(claim, flight.to);
                vec![Command::Committed(partition, flight.to)]
            }
            WriteOutcome::Fenced => self.claim_again(partition),
            WriteOutcome::Halted(halt) => {
                let mut commands = vec![Command::Drop(partition)];
                commands.extend(self.halted(partition, halt));
                commands
            }
            WriteOutcome::Refused => {
                let refusals = flight.refusals.saturating_add(1);
                self.ask_later(partition, claim, Flight { refusals, ..flight })
            }
            WriteOutcome::NotTried => self.write_later(partition, claim, flight.next_attempt()),
            WriteOutcome::Unknown => self.ask_later(partition, claim, Flight { refusals: 0, ..flight }),
        }
    }

    fn write_later(&mut self, partition: Partition, claim: Claim, flight: Flight) -> Vec<Command> {
        self.state = State::WaitingToWrite { claim, flight };
        vec![Command::RetryLater(partition, self.assignment, flight.attempt)]
    }

    fn ask_later(&mut self, partition: Partition, claim: Claim, flight: Flight) -> Vec<Command> {
        self.state = State::WaitingToAsk { claim, flight };
        vec![Command::RetryLater(partition, self.assignment, flight.attempt)]
    }

    fn committed(&mut self, mut claim: Claim, to: i64) {
        claim.next_offset = to;
        self.vain_claims = 0;
        self.quiet = false;
        self.state = State::Idle { claim };
    }

    /// The claim is void, or nobody knows whether the log still fits it. If the group still says that the partition is ours,
    /// the next claim says so too; the growing pause keeps two claimants from chasing each other.
    fn claim_again(&mut self, partition: Partition) -> Vec<Command> {
        self.vain_claims = self.vain_claims.saturating_add(1);
        let mut commands = vec![Command::Drop(partition)];
        commands.extend(self.claim_later(partition, self.vain_claims));
        commands
    }

    fn position_answered(&mut self, partition: Partition, outcome: PositionOutcome) -> Vec<Command> {
        let State::Asking { claim, flight } = &self.state else { return Vec::new() };
        let (claim, flight) = (claim.clone(), flight.next_attempt());
        match outcome {
            PositionOutcome::Unknown => self.ask_later(partition, claim, flight),
            PositionOutcome::Known(Some(at)) if at.epoch == claim.epoch && at.next_offset == flight.to => {
                self.committed(claim, flight.to);
                vec![Command::FoundCommitted(partition, flight.to)]
            }
            PositionOutcome::Known(Some(at)) if at.epoch == claim.epoch && at.next_offset == flight.from => {
                self.write_later(partition, claim, flight)
            }
            PositionOutcome::Known(Some(_) | None) => self.claim_again(partition),
        }
    }

    fn retry_due(&mut self, partition: Partition, draining: bool) -> Vec<Command> {
        if draining {
            return Vec::new(); // the next process asks the database itself
        }
        match &self.state {
            State::WaitingToClaim { attempt } => {
                self.state = State::Claiming { attempt: *attempt };
                vec![Command::Claim(partition, self.assignment)]
            }
            State::WaitingToAsk { claim, flight } => {
                let claim = claim.clone();
                self.state = State::Asking { claim: claim.clone(), flight: *flight };
                vec![Command::AskPosition(partition, self.assignment, claim)]
            }
            State::WaitingToWrite { claim, flight } => {
                let (claim, flight) = (claim.clone(), *flight);
                self.state = State::Writing { claim: claim.clone(), flight };
                vec![Command::Write(partition, self.assignment, claim, flight.effort())]
            }
            State::Halted { halt } => {
                self.state = State::AskingOperator { halt: halt.clone() };
                vec![Command::Claim(partition, self.assignment)]
            }
            State::Claiming { .. }
            | State::Idle { .. }
            | State::Writing { .. }
            | State::Asking { .. }
            | State::AskingOperator { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
