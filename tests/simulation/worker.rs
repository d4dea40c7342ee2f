//! The shell of a worker: carries the real protocol's commands out as `pipeline.rs` does, on the models. Called by the
//! schedule, one turn at a time. Checks what the protocol promises to its shell.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use ledgerline_schema::store::Effort;
use ledgerline_worker::protocol::{
    Assignment, ClaimOutcome, Command, Event, Partition, Place, PositionOutcome, Protocol, WriteOutcome,
};

use crate::coverage::Seen;
use crate::database::{Batch, slot};
use crate::kafka::{Content, Kind};
use crate::schedule::{Fault, PARTITIONS};
use crate::task::{Stage, Task, Work};
use crate::world::World;

/// One consumed partition.
#[derive(Debug)]
pub struct Lane {
    incarnation: usize,
    /// Where the consumer stands.
    read_at: i64,
    from: i64,
    to: i64,
    records: Vec<(i64, Content)>,
    in_flight: Option<Rc<Batch>>,
    run: Rc<Cell<u32>>,
    /// It holds what comes out of the spool, and nothing is read into it.
    pub drains: bool,
}

/// What a task brings back.
#[derive(Debug)]
pub struct Answer {
    pub event: Event,
    /// The incarnation that a claim was told.
    pub incarnation: usize,
    /// What came out of the spool.
    pub batch: Option<Rc<Batch>>,
}

/// What is watched of one partition, to check the protocol's promises.
#[derive(Debug, Default, Clone, Copy)]
struct Watched {
    /// The assignment and position that the last claim answered.
    claimed: Option<(Assignment, i64)>,
    /// An assignment with a batch of which nobody knows whether it is in.
    must_ask: Assignment,
    /// The newest assignment for which something was started.
    newest: Assignment,
    /// It was assigned while there was a lane, which stays until the claim is answered.
    assigned_again: bool,
}

/// One process, or the place where the next one starts.
#[derive(Debug, Default)]
pub struct Worker {
    pub alive: bool,
    pub paused: bool,
    pub draining: bool,
    /// The cluster that this process reaches.
    pub cluster: usize,
    pub protocol: Protocol,
    pub lanes: [Option<Lane>; PARTITIONS],
    pub inbox: VecDeque<Answer>,
    /// What the group has to say and has not said yet.
    pub membership: VecDeque<Event>,
    /// Partitions that this process holds to be its own.
    pub believes: [bool; PARTITIONS],
    /// Partitions that it has called halted.
    pub halted: [bool; PARTITIONS],
    watched: [Watched; PARTITIONS],
    /// Whose spool it has.
    pub disk: usize,
    /// Whether it only moves what its disk holds, and reads nothing.
    pub drainer: bool,
    /// The log in which each partition was claimed last.
    pub claimed: [Option<usize>; PARTITIONS],
    /// Under which epoch each partition was claimed last.
    pub drained_under: [Option<i64>; PARTITIONS],
    /// Where each partition was seen to stand, and since when.
    pub stood: [(Option<i64>, usize); PARTITIONS],
}

impl Worker {
    pub fn started(cluster: usize, disk: usize, drainer: bool) -> Self {
        Self { alive: true, cluster, disk, drainer, ..Self::default() }
    }
}

impl World {
    /// The next thing that the group has to say reaches the process.
    pub fn hear(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        let Some(event) = worker.membership.pop_front() else { return };
        let (Event::Assigned(partition) | Event::Revoked(partition)) = event else { return };
        let assigned = matches!(event, Event::Assigned(_));
        worker.halted[slot(partition)] = false;
        let twice = std::mem::replace(&mut worker.believes[slot(partition)], assigned) && assigned;
        if twice {
            self.saw(Seen::AssignedTwice);
        }
        self.feed(number, event, 0);
    }

    /// The next answer reaches the process.
    pub fn take_answer(&mut self, number: usize) {
        let Some(Answer { event, incarnation, batch }) = self.workers[number].inbox.pop_front() else {
            return;
        };
        if let (Event::Fetched(partition, assignment, _), Some(batch)) = (&event, batch) {
            let worker = &mut self.workers[number];
            let fetching = worker.protocol.is_fetching(*partition, *assignment);
            if let Some(lane) = worker.lanes[slot(*partition)].as_mut().filter(|_| fetching) {
                let batch = Batch {
                    run: Rc::clone(&lane.run),
                    records: batch.records.clone(),
                    committed: Cell::new(false),
                    ..*batch
                };
                lane.in_flight = Some(Rc::new(batch));
            }
        }
        self.feed(number, event, incarnation);
    }

    /// Gives the protocol an event and carries out what it says.
    pub fn feed(&mut self, number: usize, event: Event, incarnation: usize) {
        self.watch_event(number, &event);
        let overrules = matches!(event, Event::PositionsSeen(_));
        let traced = self.trace.is_on().then(|| event.clone());
        let commands = self.workers[number].protocol.on(event);
        if let Some(event) = traced {
            self.trace.event(number, &event, &commands);
        }
        if overrules && !commands.is_empty() {
            self.saw(Seen::Overruled);
        }
        for command in commands {
            self.carry_out(number, command, incarnation);
        }
        self.check_lanes(number);
    }

    /// What is not consumed is not buffered.
    fn check_lanes(&mut self, number: usize) {
        let worker = &self.workers[number];
        let idle = |partition: &usize| {
            worker.lanes[*partition].as_ref().is_some_and(|lane| !lane.drains)
                && !worker.watched[*partition].assigned_again
                && !worker.protocol.is_consuming(Partition::try_from(*partition).unwrap_or(0))
        };
        if (0..PARTITIONS).any(|partition| idle(&partition)) {
            self.fail(number, "keeps a buffer of a partition that it does not consume");
        }
    }

    fn watch_event(&mut self, number: usize, event: &Event) {
        if let Event::WriteEnded(partition, assignment, _) = event
            && *assignment < self.workers[number].watched[slot(*partition)].newest
        {
            self.saw(Seen::LateAnswerIgnored);
        }
        let worker = &mut self.workers[number];
        match event {
            Event::Assigned(partition) => {
                let lane = worker.lanes[slot(*partition)].is_some();
                worker.watched[slot(*partition)].assigned_again = lane;
            }
            Event::ClaimAnswered(partition, assignment, ClaimOutcome::Claimed(claim)) => {
                worker.watched[slot(*partition)].claimed = Some((*assignment, claim.next_offset));
            }
            Event::WriteEnded(partition, assignment, WriteOutcome::Unknown | WriteOutcome::Refused) => {
                let must_ask = &mut worker.watched[slot(*partition)].must_ask;
                *must_ask = (*must_ask).max(*assignment);
            }
            Event::PositionAnswered(partition, assignment, PositionOutcome::Known(_)) => {
                let must_ask = &mut worker.watched[slot(*partition)].must_ask;
                *must_ask = if must_ask == assignment { 0 } else { *must_ask };
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, number: usize, command: Command, incarnation: usize) {
        match command {
            Command::Claim(partition, _) if self.gives_way(number, partition) => {}
            Command::Claim(partition, assignment) => {
                self.spawn(
                    number,
                    partition,
                    assignment,
                    Work::Claim { log: None, again: false, held: false },
                );
            }
            Command::ClaimSpool(partition, assignment, known) => {
                self.spawn(number, partition, assignment, Work::ClaimSpool { log: None, known });
            }
            Command::Fetch(partition, assignment, claim) => {
                self.drains(number, partition, claim.next_offset);
                self.spawn(number, partition, assignment, Work::Fetch { claim });
            }
            Command::Spooled(partition, _) => {
                let lane = self.workers[number].lanes[slot(partition)].as_mut();
                if lane.and_then(|lane| lane.in_flight.take()).is_none() {
                    self.fail(number, "calls a batch spooled that it does not have");
                }
            }
            Command::Consume(partition, offset) => self.consume(number, partition, offset, incarnation),
            Command::Write(partition, assignment, place, claim, effort) => {
                let watched = self.workers[number].watched[slot(partition)];
                if watched.must_ask == assignment {
                    self.fail(number, "writes after an unknown end without having asked");
                }
                if self.workers[number].halted[slot(partition)] {
                    self.fail(number, "writes a partition that it has called halted");
                }
                let lane = self.workers[number].lanes[slot(partition)].as_ref();
                let Some(batch) = lane.and_then(|lane| lane.in_flight.clone()) else {
                    return self.fail(number, "is told to write and has no batch");
                };
                let isolate = effort == Effort::Isolate;
                let work = match place {
                    Place::Database => Work::Write { claim, batch, isolate },
                    Place::Spool => Work::Keep { claim, batch },
                };
                self.spawn(number, partition, assignment, work);
            }
            Command::AskPosition(partition, assignment, place, _) => {
                let work = if place == Place::Spool { Work::AskSpool } else { Work::Ask };
                self.spawn(number, partition, assignment, work);
            }
            Command::RetryLater(partition, assignment, _) => {
                self.spawn(number, partition, assignment, Work::Timer);
            }
            Command::Committed(partition, next) => self.committed(number, partition, next),
            Command::FoundCommitted(partition, next) => {
                self.saw(Seen::CommitFoundLater);
                self.committed(number, partition, next);
            }
            Command::Drop(partition) => self.workers[number].lanes[slot(partition)] = None,
            Command::Halt(partition, _) => self.workers[number].halted[slot(partition)] = true,
        }
    }

    /// Starts a question or a transaction: at most one is under way per partition and assignment.
    fn spawn(&mut self, number: usize, partition: Partition, assignment: Assignment, work: Work) {
        let same = |task: &&Task| {
            (task.worker, task.partition, task.assignment) == (number, partition, assignment)
                && !task.orphan
                && !matches!(task.work, Work::Watch)
        };
        if self.tasks.iter().any(|task| same(&task)) {
            self.fail(number, "has two things under way for one assignment");
        }
        self.workers[number].watched[slot(partition)].newest = assignment;
        self.add_task(number, partition, assignment, work);
    }

    fn add_task(&mut self, worker: usize, partition: Partition, assignment: Assignment, work: Work) {
        self.task_id += 1;
        let (id, stage) = (self.task_id, Stage::New);
        self.tasks.push(Task {
            id,
            worker,
            partition,
            assignment,
            work,
            stage,
            orphan: false,
            fetched: None,
        });
    }

    /// Asks for the positions of all partitions, unless that is under way.
    pub fn watch(&mut self, number: usize) {
        let watches = |task: &Task| task.worker == number && matches!(task.work, Work::Watch);
        if !self.tasks.iter().any(watches) {
            self.add_task(number, 0, 0, Work::Watch);
        }
    }

    fn consume(&mut self, number: usize, partition: Partition, offset: i64, incarnation: usize) {
        let worker = &mut self.workers[number];
        let claimed = worker.watched[slot(partition)].claimed.map(|(_, next)| next);
        worker.halted[slot(partition)] = false;
        worker.watched[slot(partition)].assigned_again = false;
        worker.lanes[slot(partition)] = Some(Lane {
            incarnation,
            read_at: offset,
            from: offset,
            to: offset,
            records: Vec::new(),
            in_flight: None,
            run: Rc::default(),
            drains: false,
        });
        if claimed != Some(offset) {
            self.fail(number, "consumes from another position than its claim answered");
        }
        if self.fault(Fault::KafkaAway, 5) {
            self.saw(Seen::ConsumeFailed);
            self.feed(number, Event::ConsumeFailed(partition), 0);
        }
    }

    /// A lane for what comes out of the spool; the one that there is goes on.
    fn drains(&mut self, number: usize, partition: Partition, next: i64) {
        let worker = &mut self.workers[number];
        worker.halted[slot(partition)] = false;
        worker.watched[slot(partition)].assigned_again = false;
        let lane = &mut worker.lanes[slot(partition)];
        if lane.as_ref().is_some_and(|lane| lane.drains) {
            return;
        }
        *lane = Some(Lane {
            incarnation: 0,
            read_at: next,
            from: next,
            to: next,
            records: Vec::new(),
            in_flight: None,
            run: Rc::default(),
            drains: true,
        });
    }

    fn committed(&mut self, number: usize, partition: Partition, next: i64) {
        let lane = self.workers[number].lanes[slot(partition)].as_mut();
        let Some(batch) = lane.and_then(|lane| lane.in_flight.take()) else {
            return self.fail(number, "calls a batch committed that it does not have");
        };
        if self.workers[number].lanes[slot(partition)].as_ref().is_some_and(|lane| lane.drains) {
            self.saw(Seen::Drained);
        }
        self.check.told(&self.database, partition, next, &batch);
    }

    /// Reads a few offsets of one lane into its buffer, unless that is full.
    pub fn read(&mut self, number: usize, partition: usize, most: usize) {
        let full = self.plan.batch;
        let worker = &mut self.workers[number];
        let consuming = worker.protocol.is_consuming(Partition::try_from(partition).unwrap_or(0));
        let Some(lane) =
            worker.lanes[partition].as_mut().filter(|_| consuming && !worker.draining && !worker.drainer)
        else {
            return;
        };
        if !self.kafka.up || lane.records.len() >= full {
            return;
        }
        let same_topic = self.kafka.seen_by(worker.cluster) == lane.incarnation;
        let log = self.kafka.log(lane.incarnation, partition);
        let in_range = log.filter(|log| same_topic && (log.low..=log.high()).contains(&lane.read_at));
        let Some(log) = in_range else {
            self.saw(Seen::OffsetsLost);
            return self.feed(number, Event::OffsetsLost, 0);
        };
        for _ in 0..most {
            if lane.read_at >= log.high() || lane.records.len() >= full {
                break;
            }
            let content = log.at(lane.read_at);
            if content.kind != Kind::Hole {
                lane.records.push((lane.read_at, content));
                lane.to = lane.read_at + 1;
            }
            lane.read_at += 1;
        }
        if lane.read_at == log.high() {
            lane.to = lane.read_at; // the end of the partition is told: there is nothing before it
        }
    }

    /// Hands the lane's batch over if there is one and the protocol lets it go.
    pub fn dispatch(&mut self, number: usize, partition: usize) {
        let worker = &mut self.workers[number];
        let name = Partition::try_from(partition).unwrap_or(0);
        let Some(lane) = worker.lanes[partition].as_mut().filter(|_| worker.protocol.can_write(name)) else {
            return;
        };
        if lane.to == lane.from {
            return;
        }
        let (from, to) = (lane.from, lane.to);
        let batch = Batch {
            incarnation: lane.incarnation,
            from,
            to,
            records: std::mem::take(&mut lane.records),
            committed: Cell::new(false),
            run: Rc::clone(&lane.run),
        };
        lane.from = to;
        lane.in_flight = Some(Rc::new(batch));
        self.feed(number, Event::BatchReady(name, from, to), 0);
    }

    /// A process that drains ends when nothing is under way any more.
    pub fn end_if_drained(&mut self, number: usize) {
        let worker = &self.workers[number];
        if worker.draining && worker.protocol.is_settled() {
            self.kill(number);
        }
    }

    /// The process is gone, with all that it had in memory. What the server has got from it stays under way there.
    pub fn kill(&mut self, number: usize) {
        let Worker { cluster, disk, drainer, .. } = self.workers[number];
        self.workers[number] = Worker { cluster, disk, drainer, ..Worker::default() };
        for task in self.tasks.iter_mut().filter(|task| task.worker == number) {
            task.orphan = true;
        }
        self.tasks.retain(|task| !task.orphan || !matches!(task.stage, Stage::New | Stage::Answer(..)));
    }

    /// A new process, to which the group gives what belongs to its place.
    pub fn restart(&mut self, number: usize) {
        let Worker { disk, drainer, .. } = self.workers[number];
        self.workers[number] = Worker::started(self.kafka.newest_cluster(), disk, drainer);
        for partition in 0..self.kafka.partitions() {
            if self.owners[partition] == number {
                let partition = Partition::try_from(partition).unwrap_or(0);
                self.workers[number].membership.push_back(Event::Assigned(partition));
            }
        }
    }
}
