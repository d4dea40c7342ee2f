//! What the world does to the workers: Kafka's log, the group, outages, crashes, and the operator.

use ledgerline_schema::store::Halt;
use ledgerline_worker::protocol::{Event, Partition};

use crate::coverage::Seen;
use crate::database::slot;
use crate::kafka::Kind;
use crate::schedule::{Fault, PARTITIONS};
use crate::task::{Stage, Work};
use crate::worker::Worker;
use crate::world::World;

impl World {
    /// A few records at the end of a log.
    pub fn append(&mut self) {
        let partition = self.dice.below(self.kafka.partitions());
        let poisoned = self.dice.percent(6);
        for _ in 0..=self.dice.below(5) {
            let refused = if self.plan.has(Fault::Refusals) { 8 } else { 0 };
            let kind = match self.dice.below(100) {
                _ if poisoned => Kind::Poison,
                dice if dice < refused => Kind::Refused,
                dice if dice < 14 => Kind::Poison,
                dice if dice < 19 => Kind::Tombstone,
                dice if dice < 33 => Kind::Hole,
                _ => Kind::Good,
            };
            self.kafka.append(partition, kind);
        }
    }

    /// One of the schedule's faults, or its end.
    pub fn disturb(&mut self) {
        let number = self.dice.below(self.workers.len());
        match self.dice.below(36) {
            0 | 1 if self.plan.has(Fault::Crash) => self.crash(number),
            2..=4 if self.plan.has(Fault::Pause) => self.pause(number),
            5 if self.plan.has(Fault::Drain) => self.drain(number),
            6..=9 if self.plan.has(Fault::Rebalance) => self.rebalance(),
            10..=12 if self.plan.has(Fault::GiveUp) && !self.tasks.is_empty() => {
                let index = self.dice.below(self.tasks.len());
                self.give_up(index);
            }
            13 | 14 if self.plan.has(Fault::DatabaseAway) || !self.database.up => self.switch_database(),
            15 | 16 if self.plan.has(Fault::KafkaAway) || !self.kafka.up => self.switch_kafka(),
            17 | 18 if self.plan.has(Fault::Retention) => self.delete_old(),
            19..=21 if self.plan.has(Fault::Operator) => self.operate(),
            22 if self.plan.has(Fault::Truncation) => self.truncate(),
            23 if self.plan.has(Fault::Recreation) => self.recreate(),
            24 if self.plan.has(Fault::ClusterSwap) => self.swap_cluster(),
            25 if self.plan.has(Fault::NewPartition) => self.add_partition(),
            26..=29 if self.plan.has(Fault::Restore) => self.restore(),
            30..=32 if !self.workers[number].alive => self.restart(number),
            33..=35 => self.workers[number].paused = false,
            _ => {}
        }
    }

    fn crash(&mut self, number: usize) {
        if self.workers[number].alive {
            self.trace.say(|| format!("worker {number}  CRASH"));
            self.saw(Seen::Crash);
            let disk = self.workers[number].disk;
            if (0..Partition::try_from(PARTITIONS).unwrap_or(0))
                .any(|partition| self.disks[disk].holds(partition))
            {
                self.saw(Seen::CrashWithSpool);
            }
            self.kill(number);
        }
    }

    fn pause(&mut self, number: usize) {
        if self.workers[number].alive {
            self.trace.say(|| format!("worker {number}  STOPPED"));
            self.saw(Seen::Pause);
            self.workers[number].paused = true;
        }
    }

    fn drain(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        if worker.alive && !worker.paused && !worker.draining {
            worker.draining = true;
            self.saw(Seen::Drain);
            self.feed(number, Event::Drain, 0);
        }
    }

    /// The group gives a partition to another worker. The old owner may never hear of it.
    fn rebalance(&mut self) {
        let partition = self.dice.below(self.kafka.partitions());
        let (old, new) = (self.owners[partition], self.dice.below(self.plan.workers));
        self.owners[partition] = new;
        let name = Partition::try_from(partition).unwrap_or(0);
        let untold = self.fault(Fault::Zombie, 30);
        self.saw(if untold { Seen::RevocationNeverTold } else { Seen::Rebalance });
        self.trace
            .say(|| format!("group     partition {name}: from {old} to {new}, old one told: {}", !untold));
        if !untold && self.workers[old].alive {
            self.workers[old].membership.push_back(Event::Revoked(name));
        }
        if self.workers[new].alive {
            self.workers[new].membership.push_back(Event::Assigned(name));
        }
    }

    /// All sessions end. Of the COMMITs under way some have happened.
    fn end_sessions(&mut self) {
        for index in (0..self.tasks.len()).rev() {
            if matches!(self.tasks[index].stage, Stage::Sent(_)) && self.dice.percent(50) {
                self.step_task(index);
            }
        }
        for task in &mut self.tasks {
            if matches!(task.stage, Stage::Waiting | Stage::Open | Stage::Sent(_)) {
                task.stage = Stage::Answer(task.unknown(), false);
            }
        }
        self.tasks.retain(|task| !task.orphan);
        self.database.tables.iter_mut().for_each(|table| table.lock = None);
    }

    fn switch_database(&mut self) {
        self.database.up = !self.database.up;
        self.trace.say(|| format!("database  up: {}", self.database.up));
        if !self.database.up {
            self.saw(Seen::DatabaseAway);
            self.end_sessions();
        }
    }

    fn switch_kafka(&mut self) {
        self.kafka.up = !self.kafka.up;
        self.trace.say(|| format!("kafka     up: {}", self.kafka.up));
        if !self.kafka.up {
            self.saw(Seen::KafkaAway);
        }
    }

    fn delete_old(&mut self) {
        let partition = self.dice.below(self.kafka.partitions());
        let Some(log) = self.kafka.log_mut(partition) else { return };
        log.low = self.dice.offset(log.low, log.high() + 1);
        let low = log.low;
        self.trace.say(|| format!("kafka     partition {partition} now begins at {low}"));
        self.saw(Seen::Retention);
    }

    fn truncate(&mut self) {
        let partition = self.dice.below(self.kafka.partitions());
        let Some(log) = self.kafka.log_mut(partition) else { return };
        log.truncate(self.dice.offset(log.low.max(log.high() - 12), log.high() + 1));
        let high = log.high();
        self.trace.say(|| format!("kafka     partition {partition} now ends at {high}"));
        self.saw(Seen::Truncation);
    }

    fn recreate(&mut self) {
        if self.plan.topic_ids {
            self.kafka.recreate();
            self.trace.say(|| "kafka     the topic is deleted and made again".into());
            self.saw(Seen::Recreation);
        }
    }

    fn swap_cluster(&mut self) {
        self.kafka.swap_cluster();
        self.trace.say(|| "kafka     new processes reach another cluster".into());
        self.saw(Seen::ClusterSwap);
    }

    fn add_partition(&mut self) {
        let partition = self.kafka.partitions();
        if partition == PARTITIONS {
            return;
        }
        self.kafka.add_partition();
        self.saw(Seen::NewPartition);
        let owner = self.dice.below(self.plan.workers);
        self.owners[partition] = owner;
        if self.workers[owner].alive {
            let name = Partition::try_from(partition).unwrap_or(0);
            self.workers[owner].membership.push_back(Event::Assigned(name));
        }
    }

    /// Makes a backup, or goes back to the one there is.
    fn restore(&mut self) {
        if self.dice.percent(60) {
            self.trace.say(|| "database  backed up".into());
            return self.database.back_up();
        }
        self.end_sessions();
        self.check.tables(&self.database, &self.kafka);
        if self.database.restore() {
            self.trace.say(|| "database  GOES BACK IN TIME".into());
            self.check.restored();
            self.saw(Seen::Restored);
        }
    }

    /// The operator acts on a partition: leaves a halted state, or moves the position because he wants to.
    fn operate(&mut self) {
        let partition = Partition::try_from(self.dice.below(self.kafka.partitions())).unwrap_or(0);
        let up = self.database.up;
        let table = self.database.table(partition);
        let Some(row) = table.row.clone().filter(|_| up && table.lock.is_none()) else { return };
        let halt = self.reason_to_halt(partition);
        let living = self.kafka.living();
        let Some(log) = self.kafka.log(living, slot(partition)) else { return };
        let (low, high) = (log.low, log.high());
        let (lineage, next, seen) = match halt {
            Some(Halt::DeadLetterBudget { .. }) => (row.lineage, row.next, Seen::Resume),
            Some(Halt::RetentionPassed { .. } | Halt::SpoolGap { .. }) => (living, low, Seen::LossAccepted),
            Some(Halt::LogTruncated { .. } | Halt::AheadOfLog { .. }) => (living, high, Seen::LossAccepted),
            Some(Halt::TopicRecreated | Halt::OtherCluster) => (living, low, Seen::LossAccepted),
            None if self.dice.percent(60) => (living, self.dice.offset(low, row.next + 1), Seen::ResetBack),
            None => (living, self.dice.offset(row.next, high + 1), Seen::ResetForward),
        };
        let exempt_to = if seen == Seen::Resume { high } else { row.exempt_to };
        self.database.table(partition).overrule(lineage, next, exempt_to);
        self.check.moved_by_operator(partition);
        self.trace.say(|| format!("operator  partition {partition}: {seen:?} to {next} of log {lineage}"));
        self.saw(seen);
    }

    /// All faults end: everybody runs, every partition has one owner who knows it, and nobody else holds it to be his.
    pub fn heal(&mut self) {
        self.trace.say(|| "ALL FAULTS END".into());
        self.healed = true;
        self.database.up = true;
        self.kafka.up = true;
        for number in 0..self.workers.len() {
            self.workers[number].paused = false;
            let Worker { alive, draining, cluster, .. } = self.workers[number];
            if !alive || draining || cluster != self.kafka.newest_cluster() {
                self.kill(number);
                self.restart(number);
            }
            while !self.workers[number].membership.is_empty() {
                self.hear(number);
            }
            self.tell_the_truth(number);
        }
    }

    fn tell_the_truth(&mut self, number: usize) {
        for partition in 0..self.kafka.partitions() {
            let name = Partition::try_from(partition).unwrap_or(0);
            let (believes, owns) =
                (self.workers[number].believes[partition], self.owners[partition] == number);
            let event = match (believes, owns) {
                (true, false) => Event::Revoked(name),
                (false, true) => Event::Assigned(name),
                (true, true) | (false, false) => continue,
            };
            self.workers[number].membership.push_back(event);
            self.hear(number);
        }
    }

    /// Whether a transaction of a batch is under way, or a question about one.
    pub fn is_busy(&self) -> bool {
        self.tasks.iter().any(|task| !matches!(task.work, Work::Watch | Work::Timer | Work::Claim { .. }))
    }
}
