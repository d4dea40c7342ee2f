//! The world of one schedule: Kafka, the database, the workers and what is on its way between them; and the schedule itself:
//! disturbed steps in an order that the dice choose, then, with all faults gone, rounds until everything is written.

use std::sync::Arc;

use ledgerline_worker::protocol::Partition;

use crate::check::Check;
use crate::coverage::{Coverage, Seen};
use crate::database::{Database, slot};
use crate::kafka::Kafka;
use crate::schedule::{Dice, Fault, PARTITIONS, Plan};
use crate::spool::Disk;
use crate::task::Task;
use crate::trace::Trace;
use crate::worker::Worker;

/// Rounds after the last fault in which every partition has to reach its end, or a named halt.
const ROUNDS: usize = 2_000;

pub struct World {
    pub dice: Dice,
    pub plan: Plan,
    pub kafka: Kafka,
    pub database: Database,
    pub workers: Vec<Worker>,
    /// One for each of the plan's workers; behind those, a line that drains it has the same.
    pub disks: Vec<Disk>,
    pub tasks: Vec<Task>,
    pub task_id: u64,
    /// Whom the group holds to be the owner of each partition.
    pub owners: [usize; PARTITIONS],
    pub healed: bool,
    /// Steps so far.
    pub now: usize,
    pub check: Check,
    pub coverage: Coverage,
    pub trace: Trace,
    /// The group's and the topic's name, made once.
    pub names: (Arc<str>, Arc<str>),
}

impl World {
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::roll(&mut dice);
        let mut workers: Vec<Worker> =
            (0..plan.workers).map(|disk| Worker::started(0, disk, false)).collect();
        if plan.spool {
            workers.extend((0..plan.workers).map(|disk| Worker::started(0, disk, true)));
        }
        Self {
            kafka: Kafka::new(plan.partitions),
            database: Database::new(),
            workers,
            disks: (0..plan.workers).map(|_| Disk::default()).collect(),
            tasks: Vec::new(),
            task_id: 0,
            owners: std::array::from_fn(|_| dice.below(plan.workers)),
            healed: false,
            now: 0,
            check: Check::default(),
            coverage: Coverage::default(),
            trace: Trace::new(traced),
            names: ("g".into(), "t".into()),
            dice,
            plan,
        }
    }

    pub fn saw(&mut self, kind: Seen) {
        self.coverage.saw(kind);
    }

    /// Whether a fault of this kind strikes now.
    pub fn fault(&mut self, fault: Fault, percent: usize) -> bool {
        !self.healed && self.plan.has(fault) && self.dice.percent(percent)
    }

    pub fn fail(&mut self, worker: usize, what: &str) {
        self.check.fail(format!("worker {worker} {what}"));
    }

    /// Runs the schedule to its end or to the first violation.
    pub fn run(&mut self) {
        for _ in 0..self.plan.partitions * 2 {
            self.append();
        }
        (0..self.workers.len()).for_each(|number| self.restart(number));
        for step in 0..self.plan.steps {
            self.trace.at(step);
            self.now = step;
            self.step();
            if self.verify() {
                return;
            }
        }
        self.heal();
        for round in 0..ROUNDS {
            self.now = self.plan.steps + round;
            self.trace.at(self.now);
            self.round(round);
            if self.verify() {
                return;
            }
            if self.is_done() {
                return self.check.all(&self.database, &self.kafka);
            }
        }
        self.check.fail("I10: all faults are gone, and not every partition reaches its end".into());
    }

    /// Answers whether something is violated.
    fn verify(&mut self) -> bool {
        self.check.tables(&self.database, &self.kafka);
        if self.trace.is_on() {
            self.trace.rows(&self.database);
        }
        self.check.violation.is_some()
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..=54 if !self.tasks.is_empty() => {
                let index = self.dice.below(self.tasks.len());
                self.step_task(index);
            }
            0..=88 => {
                let number = self.dice.below(self.workers.len());
                self.turn(number);
            }
            89..=92 => self.append(),
            _ => self.disturb(),
        }
    }

    /// One thing that a process does.
    fn turn(&mut self, number: usize) {
        let worker = &self.workers[number];
        if !worker.alive || worker.paused {
            return;
        }
        let partition = self.dice.below(self.kafka.partitions());
        match self.dice.below(24) {
            0..=4 if !worker.membership.is_empty() => self.hear(number),
            0..=13 if !worker.inbox.is_empty() => self.take_answer(number),
            14 => self.watch(number),
            15 => self.look_for_outage(number),
            16 => self.leftovers(number),
            _ => {
                let most = self.dice.below(7);
                self.read(number, partition, most);
                self.dispatch(number, partition);
            }
        }
        self.end_if_drained(number);
    }

    /// Everybody does everything once.
    fn round(&mut self, round: usize) {
        for number in 0..self.workers.len() {
            while !self.workers[number].inbox.is_empty() {
                self.take_answer(number);
            }
            for partition in 0..self.kafka.partitions() {
                self.read(number, partition, 16);
                self.dispatch(number, partition);
            }
            if round.is_multiple_of(8) {
                self.watch(number);
            }
            self.look_for_outage(number);
            self.leftovers(number);
        }
        for index in (0..self.tasks.len()).rev() {
            self.step_task(index);
        }
    }

    /// Whether every partition has reached the end of its log, or its owner says why not.
    fn is_done(&mut self) -> bool {
        !self.is_busy() && (0..self.kafka.partitions()).all(|partition| self.is_at_rest(partition))
    }

    fn is_at_rest(&mut self, partition: usize) -> bool {
        let name = Partition::try_from(partition).unwrap_or(0);
        let halt = match self.held(self.owners[partition], name) {
            Some(held) => self.find_halt(name, held),
            None => self.reason_to_halt(name),
        };
        if halt.is_some() {
            return self.workers[self.owners[partition]].halted[partition];
        }
        let log = self.kafka.log(self.kafka.living(), partition);
        let row = self.database.tables[slot(name)].row.as_ref();
        row.zip(log).is_some_and(|(row, log)| row.next == log.high())
    }
}
