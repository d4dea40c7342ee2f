//! Questions and transactions on their way: the client's half, which ends with its process, and the server's half, which does
//! not. A transaction holds the row's lock from its first statement until it is committed or rolled back. What it does
//! meanwhile is in `transaction.rs`.

use std::rc::Rc;

use ledgerline_schema::store::{Claim, Halt};
use ledgerline_worker::protocol::{
    Assignment, ClaimOutcome, Event, FetchOutcome, Partition, PositionOutcome, WriteOutcome,
};

use crate::coverage::Seen;
use crate::database::{Batch, slot};
use crate::kafka::Kafka;
use crate::schedule::Fault;
use crate::worker::Answer;
use crate::world::World;

/// What the log looked like when a claim asked.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    pub incarnation: usize,
    pub low: i64,
    pub high: i64,
}

#[derive(Debug, Clone)]
pub enum Work {
    Timer,
    Watch,
    Claim {
        log: Option<Described>,
        again: bool,
        /// The spool holds what goes on.
        held: bool,
    },
    ClaimSpool {
        log: Option<Described>,
        known: Option<i64>,
    },
    Keep {
        claim: Claim,
        batch: Rc<Batch>,
    },
    AskSpool,
    Fetch {
        claim: Claim,
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
    /// What came out of the spool.
    pub fetched: Option<Rc<Batch>>,
}

impl Task {
    /// The answer that says nothing.
    pub fn unknown(&self) -> Event {
        let (partition, assignment) = (self.partition, self.assignment);
        match self.work {
            Work::Timer => Event::RetryDue(partition, assignment),
            Work::Watch => Event::PositionsSeen(None),
            Work::Claim { .. } | Work::ClaimSpool { .. } => {
                Event::ClaimAnswered(partition, assignment, ClaimOutcome::Unknown)
            }
            Work::Fetch { .. } => Event::Fetched(partition, assignment, FetchOutcome::Unknown),
            Work::Ask | Work::AskSpool => {
                Event::PositionAnswered(partition, assignment, PositionOutcome::Unknown)
            }
            Work::Write { .. } | Work::Mark { .. } | Work::Keep { .. } => {
                Event::WriteEnded(partition, assignment, WriteOutcome::Unknown)
            }
        }
    }

    pub fn wrote(&self, outcome: WriteOutcome) -> Stage {
        Stage::Answer(Event::WriteEnded(self.partition, self.assignment, outcome), true)
    }

    pub fn claimed(&self, outcome: ClaimOutcome) -> Stage {
        Stage::Answer(Event::ClaimAnswered(self.partition, self.assignment, outcome), true)
    }

    pub fn nothing(&self) -> Stage {
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
        if let Some(stage) = self.begin_locally(task) {
            return Some(stage);
        }
        if let Work::Claim { log: None, again: false, .. } = task.work
            && let Some(log) = self.held(task.worker, task.partition).filter(|_| self.database.up)
        {
            task.work = Work::Claim { log: Some(log), again: false, held: true };
            return Some(Stage::New);
        }
        if let Work::Claim { log: log @ None, .. } = &mut task.work {
            *log = describe(&self.kafka, self.workers[task.worker].cluster, task.partition);
            return Some(if log.is_some() { Stage::New } else { task.nothing() });
        }
        if !self.database.up {
            // The breaker may keep a write from being tried at all.
            let kept = matches!(task.work, Work::Write { .. }) && self.dice.percent(50);
            if kept {
                self.saw(Seen::NotTried);
            }
            return Some(if kept { task.wrote(WriteOutcome::NotTried) } else { task.nothing() });
        }
        if let Work::Watch = task.work {
            self.note_positions(task.worker);
            return Some(Stage::Answer(Event::PositionsSeen(Some(self.database.positions())), false));
        }
        let stage = self.lock(task);
        if matches!(stage, Stage::Waiting) {
            self.saw(Seen::LockWait);
        }
        Some(stage)
    }

    /// What is done on the worker's own disk.
    fn begin_locally(&mut self, task: &mut Task) -> Option<Stage> {
        match &mut task.work {
            Work::ClaimSpool { log: log @ None, .. } => {
                *log = describe(&self.kafka, self.workers[task.worker].cluster, task.partition);
                Some(if log.is_some() { Stage::New } else { task.nothing() })
            }
            Work::ClaimSpool { log: Some(log), known } => {
                let (log, known) = (*log, *known);
                Some(self.claim_spool(task, log, known))
            }
            Work::Keep { claim, batch } => {
                let (claim, batch) = (claim.clone(), Rc::clone(batch));
                Some(self.keep(task, &claim, &batch))
            }
            Work::AskSpool => Some(self.ask_spool(task)),
            Work::Fetch { claim } => {
                let claim = claim.clone();
                Some(self.fetch(task, &claim))
            }
            Work::Timer
            | Work::Watch
            | Work::Claim { .. }
            | Work::Ask
            | Work::Write { .. }
            | Work::Mark { .. } => None,
        }
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
            Work::Claim { log, held, .. } => Some(self.judge_claim(task, log?, held)),
            Work::Write { claim, batch, isolate } => Some(self.judge_write(task, &claim, &batch, isolate)),
            Work::Mark { .. } => Some(Stage::Sent(Effect::Mark)),
            Work::Timer
            | Work::Watch
            | Work::ClaimSpool { .. }
            | Work::Keep { .. }
            | Work::AskSpool
            | Work::Fetch { .. } => None,
        }
    }

    /// The answer reaches the process, or is lost on the way.
    fn answer(&mut self, task: &Task, event: Event, may_be_lost: bool) {
        let lost = may_be_lost && self.fault(Fault::Answers, 12);
        if lost && matches!(event, Event::WriteEnded(_, _, WriteOutcome::Committed)) {
            self.saw(Seen::LostCommitAnswer);
        }
        let event = if lost { task.unknown() } else { event };
        let incarnation = match &task.work {
            Work::Claim { log: Some(log), .. } | Work::ClaimSpool { log: Some(log), .. } => log.incarnation,
            _ => 0,
        };
        if let Event::ClaimAnswered(_, _, ClaimOutcome::Claimed(claim) | ClaimOutcome::Drains(claim)) = &event
            && let Work::Claim { .. } = task.work
        {
            self.note_claim(task, claim);
        }
        let batch = task.fetched.clone().filter(|_| !lost);
        self.workers[task.worker].inbox.push_back(Answer { event, incarnation, batch });
    }

    /// The client waits no longer: what it has asked for may still happen.
    pub fn give_up(&mut self, index: usize) {
        let task = &mut self.tasks[index];
        let under_way = matches!(task.stage, Stage::Waiting | Stage::Open | Stage::Sent(_));
        if task.orphan || !under_way || self.workers[task.worker].paused {
            return;
        }
        task.orphan = true;
        let answer = Answer { event: task.unknown(), incarnation: 0, batch: None };
        self.workers[task.worker].inbox.push_back(answer);
        self.saw(Seen::GivenUp);
    }
}

pub fn describe(kafka: &Kafka, cluster: usize, partition: Partition) -> Option<Described> {
    let incarnation = kafka.seen_by(cluster);
    let log = kafka.up.then(|| kafka.log(incarnation, slot(partition))).flatten()?;
    Some(Described { incarnation, low: log.low, high: log.high() })
}
