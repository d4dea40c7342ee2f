//! The model of the database: per partition a position row, the rows that were written, and the ledger, which records every
//! move of the position. What a transaction does is decided under the row's lock (`task.rs` holds it) and takes effect whole.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ledgerline_worker::protocol::Partition;

use ledgerline_schema::store::{Claim, Halt, Position};

use crate::kafka::{Content, Kind};
use crate::schedule::PARTITIONS;

/// The position row of one partition.
#[derive(Debug, Clone)]
pub struct Row {
    pub next: i64,
    pub epoch: i64,
    /// The incarnation of the topic that `next` counts in.
    pub lineage: usize,
    pub halted: Option<Halt>,
    pub exempt_to: i64,
}

impl Row {
    /// A halt that stays overrules the owner.
    pub fn halt(&mut self, halt: &Halt) {
        let stays = match halt {
            Halt::DeadLetterBudget { .. } | Halt::LogTruncated { .. } | Halt::AheadOfLog { .. } => true,
            Halt::RetentionPassed { .. }
            | Halt::SpoolGap { .. }
            | Halt::TopicRecreated
            | Halt::OtherCluster => false,
        };
        if stays && self.halted.as_ref() != Some(halt) {
            self.epoch += 1;
        }
        self.halted = Some(halt.clone());
    }
}

/// A record's row, or its dead letter.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    pub offset: i64,
    pub content: Content,
    pub dead: bool,
}

/// One move of the position.
#[derive(Debug, Clone, Copy)]
pub enum Segment {
    Batch {
        lineage: usize,
        from: i64,
        to: i64,
        stored: usize,
    },
    /// An operator's action, or the start: from any place to any place, on the record.
    Audit {
        from: Option<(usize, i64)>,
        to: (usize, i64),
    },
}

/// A batch on its way; what it was read from goes with it.
#[derive(Debug)]
pub struct Batch {
    pub incarnation: usize,
    pub from: i64,
    pub to: i64,
    pub records: Vec<(i64, Content)>,
    /// Whether a transaction has committed it.
    pub committed: Cell<bool>,
    /// Dead letters in a row up to now, for the budget; the writer counts.
    pub run: Rc<Cell<u32>>,
}

/// All that is stored of one partition.
#[derive(Debug, Default)]
pub struct Table {
    pub row: Option<Row>,
    pub stored: Vec<Stored>,
    pub ledger: Vec<Segment>,
    /// Who holds the row's lock.
    pub lock: Option<u64>,
}

/// A backup: rows and ledgers only grow, so their lengths are enough.
type Backup = Vec<(Option<Row>, usize, usize)>;

#[derive(Debug)]
pub struct Database {
    pub up: bool,
    pub tables: Vec<Table>,
    backup: Option<Backup>,
}

/// What a transaction would do, as far as it is known before COMMIT.
pub enum Verdict {
    Ours { dead: Vec<bool>, run: u32 },
    Fenced,
    Refused,
    OverBudget(Halt),
}

impl Database {
    pub fn new() -> Self {
        Self { up: true, tables: (0..PARTITIONS).map(|_| Table::default()).collect(), backup: None }
    }

    pub fn table(&mut self, partition: Partition) -> &mut Table {
        &mut self.tables[slot(partition)]
    }

    pub fn position(&self, partition: Partition) -> Option<Position> {
        let row = self.tables[slot(partition)].row.as_ref()?;
        Some(Position { next_offset: row.next, epoch: row.epoch })
    }

    pub fn positions(&self) -> BTreeMap<Partition, Position> {
        let all = Partition::try_from(PARTITIONS).unwrap_or(0);
        (0..all).filter_map(|partition| Some((partition, self.position(partition)?))).collect()
    }

    pub fn back_up(&mut self) {
        let lengths = |table: &Table| (table.row.clone(), table.stored.len(), table.ledger.len());
        self.backup = Some(self.tables.iter().map(lengths).collect());
    }

    /// Goes back in time, all tables together. Answers whether there was a backup.
    pub fn restore(&mut self) -> bool {
        let Some(backup) = self.backup.clone() else { return false };
        for (table, (row, stored, ledger)) in self.tables.iter_mut().zip(backup) {
            table.row = row;
            table.stored.truncate(stored);
            table.ledger.truncate(ledger);
        }
        true
    }
}

pub fn slot(partition: Partition) -> usize {
    usize::try_from(partition).unwrap_or(usize::MAX)
}

impl Table {
    /// What becomes of a batch, as the transaction finds it under the lock.
    pub fn judge(&self, claim: &Claim, batch: &Batch, isolate: bool, budget: u32) -> Verdict {
        let ours = self.row.as_ref().is_some_and(|row| row.next == batch.from && row.epoch == claim.epoch);
        if !ours {
            return Verdict::Fenced;
        }
        if !isolate && batch.records.iter().any(|(_, content)| content.kind == Kind::Refused) {
            return Verdict::Refused;
        }
        let (mut run, mut longest, mut dead) = (batch.run.get(), 0, Vec::with_capacity(batch.records.len()));
        for (_, content) in &batch.records {
            let is_dead = matches!(content.kind, Kind::Poison | Kind::Refused);
            run = if is_dead { run + 1 } else { 0 };
            longest = longest.max(run);
            dead.push(is_dead);
        }
        if longest > budget && batch.from >= claim.exempt_to {
            return Verdict::OverBudget(Halt::DeadLetterBudget { detail: format!("{longest} in a row") });
        }
        Verdict::Ours { dead, run }
    }

    /// The COMMIT of a batch. Answers false where the last statement did not hit its row.
    pub fn write(&mut self, claim: &Claim, batch: &Batch, dead: &[bool]) -> bool {
        let Some(row) = &mut self.row else { return false };
        let lineage = usize::try_from(claim.lineage_id).unwrap_or(usize::MAX);
        if row.next != batch.from || row.epoch != claim.epoch || row.lineage != lineage {
            return false;
        }
        let records = batch.records.iter().zip(dead);
        let records = records.filter(|((_, content), _)| content.kind != Kind::Tombstone);
        let before = self.stored.len();
        self.stored.extend(records.map(|((offset, content), dead)| Stored {
            offset: *offset,
            content: *content,
            dead: *dead,
        }));
        let (lineage, stored) = (row.lineage, self.stored.len() - before);
        self.ledger.push(Segment::Batch { lineage, from: batch.from, to: batch.to, stored });
        row.next = batch.to;
        true
    }

    /// Marks the partition as halted, if position and epoch are still these.
    pub fn mark(&mut self, next: i64, epoch: i64, halt: &Halt) -> bool {
        let Some(row) = self.row.as_mut().filter(|row| row.next == next && row.epoch == epoch) else {
            return false;
        };
        row.halt(halt);
        true
    }

    /// The first position.
    pub fn start(&mut self, lineage: usize, next: i64) {
        if self.row.is_none() {
            self.row = Some(Row { next, epoch: 0, lineage, halted: None, exempt_to: 0 });
            self.ledger.push(Segment::Audit { from: None, to: (lineage, next) });
        }
    }

    /// An operator's action: audited, and it overrules everybody.
    pub fn overrule(&mut self, lineage: usize, next: i64, exempt_to: i64) {
        let Some(row) = &mut self.row else { return };
        self.ledger.push(Segment::Audit { from: Some((row.lineage, row.next)), to: (lineage, next) });
        row.epoch += 1;
        row.lineage = lineage;
        row.next = next;
        row.halted = None;
        row.exempt_to = exempt_to;
    }
}
