//! One partition of the protocol: its states, and what each event makes of them. Called by `protocol.rs`, which numbers the assignments
//! and tells the partitions apart.

use ledgerline_schema::store::{Claim, Effort, Halt, Position};

use super::{
    Assignment, ClaimOutcome, Command, FetchOutcome, Partition, Place, PositionOutcome, WriteOutcome,
};

/// From where to where the batches of one partition go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// From the log into the database.
    Live,
    /// From the log into the spool.
    Spooling,
    /// From the spool into the database.
    Draining,
}

impl Route {
    pub(super) fn place(self) -> Place {
        match self {
            Self::Live | Self::Draining => Place::Database,
            Self::Spooling => Place::Spool,
        }
    }
}

/// What is under way for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
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
    /// The spool is asked for what goes on at the claim's position.
    Fetching { claim: Claim, attempt: u32 },
    /// The spool could not be read; after a pause it is asked again.
    WaitingToFetch { claim: Claim, attempt: u32 },
    /// An operator has to decide; whether he has is asked from time to time.
    Halted { halt: Halt },
    /// As `Halted`, while the claim that asks is under way.
    AskingOperator { halt: Halt },
}

/// Pauses in a row as after that many failures: how soon a halted partition notices an operator's decision.
pub(super) const HALTED_ATTEMPT: u32 = u32::MAX;
/// Questions to a spool in a row that it does not answer, before a new claim asks the log.
const FETCHES: u32 = 5;
/// Refusals in a row after which the batch is searched for the records that the database refuses.
const REFUSALS: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flight {
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
pub(super) struct Entry {
    pub(super) assignment: Assignment,
    pub(super) state: State,
    pub(super) route: Route,
    /// The position that the database is known to have had last, under our claim.
    pub(super) known: Option<i64>,
    /// Claims in a row that led to no commit; the pause before the next one grows with them.
    pub(super) vain_claims: u32,
    /// Whether the position was looked at since our last claim or commit.
    pub(super) quiet: bool,
}

impl State {
    pub(super) fn is_halted(&self) -> bool {
        matches!(self, Self::Halted { .. } | Self::AskingOperator { .. })
    }

    /// The claim under which the partition's batches are written.
    pub(super) fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Idle { claim }
            | Self::Writing { claim, .. }
            | Self::Asking { claim, .. }
            | Self::WaitingToAsk { claim, .. }
            | Self::WaitingToWrite { claim, .. }
            | Self::Fetching { claim, .. }
            | Self::WaitingToFetch { claim, .. } => Some(claim),
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
    pub(super) fn is_overruled(&mut self, at: Option<Position>) -> bool {
        let (State::Idle { claim }, Route::Live) = (&self.state, self.route) else { return false };
        let quiet = std::mem::replace(&mut self.quiet, true);
        let ours = Position { next_offset: claim.next_offset, epoch: claim.epoch };
        at.is_some_and(|at| at.epoch > claim.epoch) || (quiet && at != Some(ours))
    }

    pub(super) fn claim_answered(&mut self, partition: Partition, outcome: ClaimOutcome) -> Vec<Command> {
        let (attempt, known_halt) = match &self.state {
            State::Claiming { attempt } => (*attempt, None),
            State::AskingOperator { halt } => (HALTED_ATTEMPT, Some(halt.clone())),
            State::WaitingToClaim { .. }
            | State::Idle { .. }
            | State::Writing { .. }
            | State::Asking { .. }
            | State::WaitingToAsk { .. }
            | State::WaitingToWrite { .. }
            | State::Fetching { .. }
            | State::WaitingToFetch { .. }
            | State::Halted { .. } => return Vec::new(),
        };
        match (outcome, known_halt) {
            (ClaimOutcome::Claimed(claim), _) => {
                let from = claim.next_offset;
                self.claimed(from, Route::Live);
                self.state = State::Idle { claim };
                vec![Command::Consume(partition, from)]
            }
            (ClaimOutcome::Drains(claim), _) => {
                self.claimed(claim.next_offset, Route::Draining);
                vec![self.fetch(partition, claim, 0)]
            }
            (ClaimOutcome::Halted(halt), Some(known)) if known.name() == halt.name() => {
                self.stay_halted(partition, halt)
            }
            (ClaimOutcome::Halted(halt), _) => self.halted(partition, halt),
            (ClaimOutcome::Unknown, Some(halt)) => self.stay_halted(partition, halt),
            (ClaimOutcome::Unknown, None) => self.claim_later(partition, attempt.saturating_add(1)),
        }
    }

    /// Where the claim was asked of the database, it says what the database has and how to go on.
    fn claimed(&mut self, next_offset: i64, route: Route) {
        self.quiet = false;
        match self.route {
            Route::Spooling => {}
            Route::Live | Route::Draining => (self.route, self.known) = (route, Some(next_offset)),
        }
    }

    /// Goes the other way from now on, from the position that the database is known to have had.
    pub(super) fn turn(&mut self, partition: Partition, outage: bool) -> Vec<Command> {
        self.route = if outage { Route::Spooling } else { Route::Live };
        self.vain_claims = 0;
        self.state = match &self.state {
            State::Halted { halt } | State::AskingOperator { halt } => {
                State::AskingOperator { halt: halt.clone() }
            }
            State::Claiming { .. }
            | State::WaitingToClaim { .. }
            | State::Idle { .. }
            | State::Writing { .. }
            | State::Asking { .. }
            | State::WaitingToAsk { .. }
            | State::WaitingToWrite { .. }
            | State::Fetching { .. }
            | State::WaitingToFetch { .. } => State::Claiming { attempt: 0 },
        };
        vec![Command::Drop(partition), self.claim_command(partition)]
    }

    pub(super) fn claim_command(&self, partition: Partition) -> Command {
        match self.route.place() {
            Place::Database => Command::Claim(partition, self.assignment),
            Place::Spool => Command::ClaimSpool(partition, self.assignment, self.known),
        }
    }

    /// Writes a batch that starts at the claim's position.
    pub(super) fn write(&mut self, partition: Partition, claim: Claim, to: i64) -> Command {
        let flight = Flight { from: claim.next_offset, to, attempt: 0, refusals: 0 };
        self.write_flight(partition, claim, flight)
    }

    fn write_flight(&mut self, partition: Partition, claim: Claim, flight: Flight) -> Command {
        self.state = State::Writing { claim: claim.clone(), flight };
        Command::Write(partition, self.assignment, self.route.place(), claim, flight.effort())
    }

    fn fetch(&mut self, partition: Partition, claim: Claim, attempt: u32) -> Command {
        self.state = State::Fetching { claim: claim.clone(), attempt };
        Command::Fetch(partition, self.assignment, claim)
    }

    fn fetch_later(&mut self, partition: Partition, claim: Claim, attempt: u32) -> Vec<Command> {
        self.state = State::WaitingToFetch { claim, attempt };
        vec![Command::RetryLater(partition, self.assignment, attempt)]
    }

    /// What the spool has next is written; where it has nothing more, a new claim decides where the log is read from.
    pub(super) fn fetched(
        &mut self,
        partition: Partition,
        outcome: FetchOutcome,
        ending: bool,
    ) -> Vec<Command> {
        let (State::Fetching { claim, attempt }, false) = (&self.state, ending) else { return Vec::new() };
        let (claim, attempt) = (claim.clone(), attempt.saturating_add(1));
        match outcome {
            FetchOutcome::Segment(to) => vec![self.write(partition, claim, to)],
            FetchOutcome::Nothing => self.claim_again(partition),
            FetchOutcome::Unknown if attempt > FETCHES => self.claim_again(partition),
            FetchOutcome::Unknown => self.fetch_later(partition, claim, attempt),
            FetchOutcome::Paused => self.fetch_later(partition, claim, 1),
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

    pub(super) fn write_ended(&mut self, partition: Partition, outcome: WriteOutcome) -> Vec<Command> {
        let State::Writing { claim, flight } = &self.state else { return Vec::new() };
        let (claim, flight) = (claim.clone(), *flight);
        match outcome {
            WriteOutcome::Committed => {
                self.committed(partition, claim, flight.to, Command::Committed(partition, flight.to))
            }
            WriteOutcome::Fenced => self.overruled(partition),
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

    /// The batch is where it should be. What comes next comes from where this one came.
    fn committed(&mut self, partition: Partition, mut claim: Claim, to: i64, told: Command) -> Vec<Command> {
        claim.next_offset = to;
        self.vain_claims = 0;
        self.quiet = false;
        match self.route {
            Route::Live => {
                self.known = Some(to);
                self.state = State::Idle { claim };
                vec![told]
            }
            Route::Spooling => {
                self.state = State::Idle { claim };
                vec![Command::Spooled(partition, to)]
            }
            Route::Draining => {
                self.known = Some(to);
                vec![told, self.fetch(partition, claim, 0)]
            }
        }
    }

    /// Somebody else has moved or claimed the partition: what we knew of its position says nothing any more.
    fn overruled(&mut self, partition: Partition) -> Vec<Command> {
        match self.route.place() {
            Place::Database => self.known = None,
            Place::Spool => {}
        }
        self.claim_again(partition)
    }

    /// The claim is void, or nobody knows whether the log still fits it. If the group still says that the partition is ours,
    /// the next claim says so too; the growing pause keeps two claimants from chasing each other.
    pub(super) fn claim_again(&mut self, partition: Partition) -> Vec<Command> {
        self.vain_claims = self.vain_claims.saturating_add(1);
        let mut commands = vec![Command::Drop(partition)];
        commands.extend(self.claim_later(partition, self.vain_claims));
        commands
    }

    pub(super) fn position_answered(
        &mut self,
        partition: Partition,
        outcome: PositionOutcome,
    ) -> Vec<Command> {
        let State::Asking { claim, flight } = &self.state else { return Vec::new() };
        let (claim, flight) = (claim.clone(), flight.next_attempt());
        match outcome {
            PositionOutcome::Unknown => self.ask_later(partition, claim, flight),
            PositionOutcome::Known(Some(at)) if at.epoch == claim.epoch && at.next_offset == flight.to => {
                self.committed(partition, claim, flight.to, Command::FoundCommitted(partition, flight.to))
            }
            PositionOutcome::Known(Some(at)) if at.epoch == claim.epoch && at.next_offset == flight.from => {
                self.write_later(partition, claim, flight)
            }
            PositionOutcome::Known(Some(_) | None) => self.overruled(partition),
        }
    }

    pub(super) fn retry_due(&mut self, partition: Partition, ending: bool) -> Vec<Command> {
        if ending {
            return Vec::new(); // the next process asks the database itself
        }
        match &self.state {
            State::WaitingToClaim { attempt } => {
                self.state = State::Claiming { attempt: *attempt };
                vec![self.claim_command(partition)]
            }
            State::WaitingToAsk { claim, flight } => {
                let claim = claim.clone();
                self.state = State::Asking { claim: claim.clone(), flight: *flight };
                vec![Command::AskPosition(partition, self.assignment, self.route.place(), claim)]
            }
            State::WaitingToWrite { claim, flight } => {
                let (claim, flight) = (claim.clone(), *flight);
                vec![self.write_flight(partition, claim, flight)]
            }
            State::WaitingToFetch { claim, attempt } => {
                let (claim, attempt) = (claim.clone(), *attempt);
                vec![self.fetch(partition, claim, attempt)]
            }
            State::Halted { halt } => {
                self.state = State::AskingOperator { halt: halt.clone() };
                vec![self.claim_command(partition)]
            }
            State::Claiming { .. }
            | State::Fetching { .. }
            | State::Idle { .. }
            | State::Writing { .. }
            | State::Asking { .. }
            | State::AskingOperator { .. } => Vec::new(),
        }
    }
}
