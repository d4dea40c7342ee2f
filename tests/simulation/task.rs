//! Questions and transactions on their way: the client's half, which ends with its process, and the server's half, which does
//! not. A transaction holds the row's lock from its first statement until it is committed or rolled back.

use std::rc::Rc;

use ledgerline_schema::store::{Claim, Halt};
use ledgerline_worker::protocol::{
    Assignment, ClaimOutcome, Event, Partition, PositionOutcome, WriteOutcome,
};

use crate::coverage::Seen;
use crate::database::{Batch, Verdict, slot};
use crate::kafka::Kafka;
use crate::schedule::Fault;
use crate::world::World;

/// What the log looked like when a claim asked.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    pub incarnation: usize,
    low: i64,
    high: i64,
}

#[derive(Debug, Clone)]
pub enum Work {
    Timer,
    Watch,
    Claim {
        log: Option<Described>,
        again: bool,
    },
    Ask,
    Write {
        claim: Claim,
        batch: Rc<Batch>,
        isolate: bool,
    },
    /// The second transaction of a batch that was over the budget.
    Mark {
        claim: Claim,
        from: i64,
        halt: Halt,
    },
}

/// What a COMMIT does when the server carries it out.
#[derive(Debug, Clone)]
pub enum Effect {
    Claim,
    Remember(Halt),
    Write { dead: Vec<bool>, run: u32 },
    Mark,
}

#[derive(Debug, Clone)]
pub enum Stage {
    /// The client has not spoken to the database yet.
    New,
    /// The server keeps it waiting for the row's lock.
    Waiting,
    /// The lock is held; the client has to go on.
    Open,
    /// COMMIT is on its way to the server.
    Sent(Effect),
    /// The answer is on its way to the client; the last one says whether it may be lost.
    Answer(Event, bool),
}

#[derive(Debug)]
pub struct Task {
    pub id: u64,
    pub worker: usize,
    pub partition: Partition,
    pub assignment: Assignment,
    pub work: Work,
    pub stage: Stage,
    /// Nobody waits for the answer: the process died, or gave up.
    pub orphan: bool,
}

impl Task {
    /// The answer that says nothing.
    pub fn unknown(&self) -> Event {
        let (partition, assignment) = (self.partition, self.assignment);
        match self.work {
            Work::Timer => Event::RetryDue(partition, assignment),
            Work::Watch => Event::PositionsSeen(None),
            Work::Claim { .. } => Event::ClaimAnswered(partition, assignment, ClaimOutcome::Unknown),
            Work::Ask => Event::PositionAnswered(partition, assignment, PositionOutcome::Unknown),
            Work::Write { .. } | Work::Mark { .. } => {
                Event::WriteEnded(partition, assignment, WriteOutcome::Unknown)
            }
        }
    }

    fn wrote(&self, outcome: WriteOutcome) -> Stage {
        Stage::Answer(Event::WriteEnded(self.partition, self.assignment, outcome), true)
    }

    fn claimed(&self, outcome: ClaimOutcome) -> Stage {
        Stage::Answer(Event::ClaimAnswered(self.partition, self.assignment, outcome), true)
    }

    fn nothing(&self) -> Stage {
        Stage::Answer(self.unknown(), false)
    }
}

impl World {
    /// One step of one task. It is taken out of the list and put back unless it is over.
    pub fn step_task(&mut self, index: usize) {
        let frozen = self.workers[self.tasks[index].worker].paused;
        let mut task = self.tasks.swap_remove(index);
        let client = !task.orphan && !frozen;
        let next = match (task.stage.clone(), client) {
            (Stage::New, true) => self.begin(&mut task),
            (Stage::Waiting, _) => self.wait(&task),
            (Stage::Open, true) => self.go_on(&mut task),
            (Stage::Open, false) => self.left_alone(&task),
            (Stage::Sent(effect), _) => Some(self.commit(&mut task, &effect)),
            (Stage::Answer(event, may_be_lost), true) => return self.answer(&task, event, may_be_lost),
            (stage @ (Stage::New | Stage::Answer(..)), false) => Some(stage),
        };
        let Some(stage) = next else { return };
        if !matches!(stage, Stage::Open | Stage::Sent(_)) {
            self.unlock(&task);
        }
        if task.orphan && matches!(stage, Stage::New | Stage::Answer(..)) {
            return;
        }
        task.stage = stage;
        self.tasks.push(task);
    }

    fn unlock(&mut self, task: &Task) {
        let lock = &mut self.database.table(task.partition).lock;
        if *lock == Some(task.id) {
            *lock = None;
        }
    }

    fn begin(&mut self, task: &mut Task) -> Option<Stage> {
        if let Work::Timer = task.work {
            return Some(Stage::Answer(task.unknown(), false));
        }
        if let Work::Claim { log: log @ None, .. } = &mut task.work {
            *log = describe(&self.kafka, self.workers[task.worker].cluster, task.partition);
            return Some(if log.is_some() { Stage::New } else { task.nothing() });
        }
        if !self.database.up {
            return Some(task.nothing());
        }
        if let Work::Watch = task.work {
            return Some(Stage::Answer(Event::PositionsSeen(Some(self.database.positions())), false));
        }
        let stage = self.lock(task);
        if matches!(stage, Stage::Waiting) {
            self.saw(Seen::LockWait);
        }
        Some(stage)
    }

    fn lock(&mut self, task: &Task) -> Stage {
        let lock = &mut self.database.table(task.partition).lock;
        if lock.is_some() {
            return Stage::Waiting;
        }
        *lock = Some(task.id);
        Stage::Open
    }

    fn wait(&mut self, task: &Task) -> Option<Stage> {
        let stage = self.lock(task);
        if matches!(stage, Stage::Waiting) && self.fault(Fault::Answers, 20) {
            self.saw(Seen::LockTimeout);
            return Some(task.nothing());
        }
        Some(stage)
    }

    /// A transaction whose client says nothing more: sooner or later the server ends it.
    fn left_alone(&mut self, task: &Task) -> Option<Stage> {
        if !self.healed && !self.dice.percent(30) {
            return Some(Stage::Open);
        }
        self.saw(Seen::IdleTransactionKilled);
        Some(task.nothing())
    }

    /// The client's next statements, and COMMIT.
    fn go_on(&mut self, task: &mut Task) -> Option<Stage> {
        if self.fault(Fault::Answers, 4) {
            return Some(task.nothing());
        }
        let position = self.database.position(task.partition);
        match task.work.clone() {
            Work::Ask => {
                let known = PositionOutcome::Known(position);
                Some(Stage::Answer(Event::PositionAnswered(task.partition, task.assignment, known), true))
            }
            Work::Claim { log, .. } => Some(self.judge_claim(task, log?)),
            Work::Write { claim, batch, isolate } => Some(self.judge_write(task, &claim, &batch, isolate)),
            Work::Mark { .. } => Some(Stage::Sent(Effect::Mark)),
            Work::Timer | Work::Watch => None,
        }
    }

    fn judge_claim(&mut self, task: &Task, log: Described) -> Stage {
        if self.database.table(task.partition).row.is_none() {
            self.start_group(log, task.partition);
            return Stage::New;
        }
        match self.find_halt(task.partition, log) {
            Some(halt) => Stage::Sent(Effect::Remember(halt)),
            None => Stage::Sent(Effect::Claim),
        }
    }

    /// The first start gives positions to all partitions; one that appears later starts at its beginning.
    fn start_group(&mut self, described: Described, partition: Partition) {
        let first = self.database.tables.iter().all(|table| table.row.is_none());
        if !first {
            self.database.table(partition).start(described.incarnation, described.low);
            return;
        }
        let logs = &self.kafka.incarnations[described.incarnation].logs;
        for (log, table) in logs.iter().zip(&mut self.database.tables) {
            table.start(described.incarnation, if self.plan.latest { log.high() } else { log.low });
        }
        if self.plan.latest {
            self.saw(Seen::StartAtEnd);
        }
    }

    fn find_halt(&mut self, partition: Partition, log: Described) -> Option<Halt> {
        let row = self.database.table(partition).row.as_ref()?;
        let Described { incarnation, low, high } = log;
        let next = row.next;
        let cluster = |incarnation: usize| self.kafka.incarnations[incarnation].cluster;
        if cluster(row.lineage) != cluster(incarnation) {
            return Some(Halt::OtherCluster);
        }
        if row.lineage != incarnation {
            return Some(Halt::TopicRecreated);
        }
        if next < low {
            return Some(Halt::RetentionPassed { next, low });
        }
        if next > high && self.plan.topic_ids {
            return Some(Halt::LogTruncated { next, high });
        }
        if next > high {
            return Some(Halt::AheadOfLog { next, high });
        }
        row.halted.clone().filter(|halt| matches!(halt, Halt::DeadLetterBudget { .. }))
    }

    /// Why a partition has to be halted, as somebody on the newest cluster sees it.
    pub fn reason_to_halt(&mut self, partition: Partition) -> Option<Halt> {
        let described = describe(&self.kafka, self.kafka.newest_cluster(), partition)?;
        self.find_halt(partition, described)
    }

    fn judge_write(&mut self, task: &mut Task, claim: &Claim, batch: &Batch, isolate: bool) -> Stage {
        if isolate {
            self.saw(Seen::Isolation);
        }
        let budget = self.plan.budget;
        match self.database.table(task.partition).judge(claim, batch, isolate, budget) {
            Verdict::Fenced => {
                let overtaken =
                    self.database.position(task.partition).is_some_and(|at| at.epoch > claim.epoch);
                self.saw(if overtaken { Seen::WriteAfterAnotherClaim } else { Seen::Fence });
                task.wrote(WriteOutcome::Fenced)
            }
            Verdict::Refused => {
                self.saw(Seen::Refusal);
                task.wrote(WriteOutcome::Refused)
            }
            // A refusal that has nothing to do with a record.
            Verdict::Ours { .. } if self.fault(Fault::Refusals, 2) => task.wrote(WriteOutcome::Refused),
            Verdict::OverBudget(halt) => {
                task.work = Work::Mark { claim: claim.clone(), from: batch.from, halt };
                Stage::New
            }
            Verdict::Ours { dead, run } => Stage::Sent(Effect::Write { dead, run }),
        }
    }

    /// The server carries a COMMIT out, or fails to.
    fn commit(&mut self, task: &mut Task, effect: &Effect) -> Stage {
        if self.fault(Fault::Answers, 5) {
            self.saw(Seen::CommitFailed);
            return task.nothing();
        }
        let partition = task.partition;
        match (effect, task.work.clone()) {
            (Effect::Claim, Work::Claim { .. }) => self.commit_claim(task),
            (Effect::Remember(halt), Work::Claim { again, .. }) => self.remember(task, halt, again),
            (Effect::Write { dead, run }, Work::Write { claim, batch, .. }) => {
                self.commit_write(task, &claim, &batch, dead, *run)
            }
            (_, Work::Mark { claim, from, halt }) => {
                let marked = self.database.table(partition).mark(from, claim.epoch, &halt);
                self.saw(if marked { Seen::OverBudget } else { Seen::Fence });
                task.wrote(if marked { WriteOutcome::Halted(halt) } else { WriteOutcome::Fenced })
            }
            _ => unreachable!("only these transactions commit"),
        }
    }

    fn commit_claim(&mut self, task: &Task) -> Stage {
        let partition = task.partition;
        let Some(row) = &mut self.database.table(partition).row else { return task.nothing() };
        let before = row.epoch;
        let left = row.halted.take().is_some();
        row.epoch += 1;
        let claim = Claim {
            group: self.names.0.clone(),
            topic: self.names.1.clone(),
            partition,
            lineage_id: i32::try_from(row.lineage).unwrap_or(0),
            epoch: row.epoch,
            next_offset: row.next,
            exempt_to: row.exempt_to,
        };
        self.check.claimed(before, &claim);
        if left {
            self.saw(Seen::HaltLeft);
        }
        task.claimed(ClaimOutcome::Claimed(claim))
    }

    fn remember(&mut self, task: &mut Task, halt: &Halt, again: bool) -> Stage {
        if let Some(row) = &mut self.database.table(task.partition).row {
            row.halted = Some(halt.clone());
        }
        let ahead = matches!(halt, Halt::AheadOfLog { .. } | Halt::LogTruncated { .. });
        if ahead && !again {
            task.work = Work::Claim { log: None, again: true };
            return Stage::New;
        }
        self.saw(match halt {
            Halt::RetentionPassed { .. } => Seen::RetentionPassed,
            Halt::LogTruncated { .. } => Seen::LogTruncated,
            Halt::AheadOfLog { .. } => Seen::AheadOfLog,
            Halt::TopicRecreated => Seen::TopicRecreated,
            Halt::OtherCluster => Seen::OtherCluster,
            Halt::DeadLetterBudget { .. } => Seen::OverBudget,
        });
        task.claimed(ClaimOutcome::Halted(halt.clone()))
    }

    fn commit_write(&mut self, task: &Task, claim: &Claim, batch: &Batch, dead: &[bool], run: u32) -> Stage {
        let before = self.database.tables[slot(task.partition)].row.clone();
        if !self.database.table(task.partition).write(claim, batch, dead) {
            self.saw(Seen::Fence);
            return task.wrote(WriteOutcome::Fenced);
        }
        self.check.commit(before.as_ref(), claim, batch);
        batch.committed.set(true);
        if !task.orphan {
            batch.run.set(run);
        }
        self.saw(if batch.records.is_empty() { Seen::CommitWithoutRecord } else { Seen::Commit });
        if task.orphan {
            self.saw(Seen::CommitOfADeadWorker);
        }
        if batch.records.iter().any(|(_, content)| content.kind == crate::kafka::Kind::Refused) {
            self.saw(Seen::RefusedRecordSetAside);
        }
        task.wrote(WriteOutcome::Committed)
    }

    /// The answer reaches the process, or is lost on the way.
    fn answer(&mut self, task: &Task, event: Event, may_be_lost: bool) {
        let lost = may_be_lost && self.fault(Fault::Answers, 12);
        if lost && matches!(event, Event::WriteEnded(_, _, WriteOutcome::Committed)) {
            self.saw(Seen::LostCommitAnswer);
        }
        let event = if lost { task.unknown() } else { event };
        let incarnation = match &task.work {
            Work::Claim { log: Some(log), .. } => log.incarnation,
            _ => 0,
        };
        self.workers[task.worker].inbox.push_back((event, incarnation));
    }

    /// The client waits no longer: what it has asked for may still happen.
    pub fn give_up(&mut self, index: usize) {
        let task = &mut self.tasks[index];
        let under_way = matches!(task.stage, Stage::Waiting | Stage::Open | Stage::Sent(_));
        if task.orphan || !under_way || self.workers[task.worker].paused {
            return;
        }
        task.orphan = true;
        let answer = (task.unknown(), 0);
        self.workers[task.worker].inbox.push_back(answer);
        self.saw(Seen::GivenUp);
    }
}

fn describe(kafka: &Kafka, cluster: usize, partition: Partition) -> Option<Described> {
    let incarnation = kafka.seen_by(cluster);
    let log = kafka.up.then(|| kafka.log(incarnation, slot(partition))).flatten()?;
    Some(Described { incarnation, low: log.low, high: log.high() })
}
