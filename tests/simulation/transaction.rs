//! What transactions do under the row's lock, and what their COMMIT changes: claims, batches, and the marks of halts. Called by
//! `task.rs`.

use ledgerline_schema::store::{Claim, Halt};
use ledgerline_worker::protocol::{ClaimOutcome, Partition, WriteOutcome};

use crate::coverage::Seen;
use crate::database::{Batch, Verdict, slot};
use crate::kafka::Kind;
use crate::schedule::Fault;
use crate::task::{Described, Effect, Stage, Task, Work, describe};
use crate::world::World;

impl World {
    pub fn judge_claim(&mut self, task: &mut Task, log: Described, held: bool) -> Stage {
        if self.database.table(task.partition).row.is_none() {
            self.start_group(log, task.partition);
            return Stage::New;
        }
        match self.find_halt(task.partition, log) {
            Some(_) if held => {
                // Kafka is asked instead.
                task.work = Work::Claim {
                    log: describe(&self.kafka, self.workers[task.worker].cluster, task.partition),
                    again: false,
                    held: false,
                };
                if let Work::Claim { log: None, .. } = task.work { task.nothing() } else { Stage::New }
            }
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

    pub fn find_halt(&mut self, partition: Partition, log: Described) -> Option<Halt> {
        let row = self.database.table(partition).row.as_ref()?;
        // What nobody may see any more, because the log has grown over it, is remembered until an operator decides.
        let sticky = |halt: &Halt| match halt {
            Halt::DeadLetterBudget { .. } | Halt::LogTruncated { .. } | Halt::AheadOfLog { .. } => true,
            Halt::RetentionPassed { .. }
            | Halt::SpoolGap { .. }
            | Halt::TopicRecreated
            | Halt::OtherCluster => false,
        };
        if let Some(remembered) = row.halted.clone().filter(sticky) {
            return Some(remembered);
        }
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
        let detail = || format!("{next} beyond {high}");
        (next > high).then(|| match self.plan.topic_ids {
            true => Halt::LogTruncated { detail: detail() },
            false => Halt::AheadOfLog { detail: detail() },
        })
    }

    /// Why a partition has to be halted, as somebody on the newest cluster sees it.
    pub fn reason_to_halt(&mut self, partition: Partition) -> Option<Halt> {
        let described = describe(&self.kafka, self.kafka.newest_cluster(), partition)?;
        self.find_halt(partition, described)
    }

    pub fn judge_write(&mut self, task: &mut Task, claim: &Claim, batch: &Batch, isolate: bool) -> Stage {
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
    pub fn commit(&mut self, task: &mut Task, effect: &Effect) -> Stage {
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
        match task.work {
            Work::Claim { held: true, .. } => task.claimed(ClaimOutcome::Drains(claim)),
            _ => task.claimed(ClaimOutcome::Claimed(claim)),
        }
    }

    fn remember(&mut self, task: &mut Task, halt: &Halt, again: bool) -> Stage {
        let ahead = matches!(halt, Halt::AheadOfLog { .. } | Halt::LogTruncated { .. });
        let row = self.database.table(task.partition).row.as_mut();
        let known = row.as_ref().and_then(|row| row.halted.as_ref()) == Some(halt);
        if ahead && !again && !known {
            task.work = Work::Claim { log: None, again: true, held: false };
            return Stage::New;
        }
        if let Some(row) = row {
            row.halt(halt);
        }
        self.saw(match halt {
            Halt::RetentionPassed { .. } | Halt::SpoolGap { .. } => Seen::RetentionPassed,
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
        if self.workers[task.worker].drainer {
            self.saw(Seen::LeftoverDrained);
        }
        if task.orphan {
            self.saw(Seen::CommitOfADeadWorker);
        }
        if batch.records.iter().any(|(_, content)| content.kind == Kind::Refused) {
            self.saw(Seen::RefusedRecordSetAside);
        }
        task.wrote(WriteOutcome::Committed)
    }
}
