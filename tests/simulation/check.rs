//! What must stay true, checked after every step: the names I1 to I10 are those of docs/RELIABILITY.md. The first violation
//! ends the schedule.

use ledgerline_schema::store::Claim;
use ledgerline_worker::protocol::Partition;

use crate::database::{Batch, Database, Row, Segment, Stored, Table, slot};
use crate::kafka::{Kafka, Kind, Log};
use crate::schedule::PARTITIONS;

/// How far a table has been compared with the logs.
#[derive(Debug, Clone, Copy, Default)]
struct Walk {
    segments: usize,
    stored: usize,
    at: Option<(usize, i64)>,
}

#[derive(Debug, Default)]
pub struct Check {
    pub violation: Option<String>,
    walks: [Walk; PARTITIONS],
    /// The highest position ever, by lineage.
    highest: [Vec<i64>; PARTITIONS],
    /// Whether an operator moved the position.
    moved: [bool; PARTITIONS],
    restored: bool,
}

impl Check {
    pub fn fail(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }

    fn demand(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        if !holds {
            self.fail(violation());
        }
    }

    /// The database has gone back in time: it is compared anew.
    pub fn restored(&mut self) {
        self.restored = true;
        self.walks = Default::default();
    }

    pub fn moved_by_operator(&mut self, partition: Partition) {
        self.moved[slot(partition)] = true;
    }

    /// A transaction is about to commit a batch.
    pub fn commit(&mut self, row: Option<&Row>, claim: &Claim, batch: &Batch) {
        let Some(row) = row else { return self.fail("I2: a batch is committed without a position".into()) };
        let at = format!("[{}, {}) under epoch {}", batch.from, batch.to, claim.epoch);
        self.demand(row.next == batch.from, || format!("I2: {at} is committed at position {}", row.next));
        self.demand(row.epoch == claim.epoch, || format!("I4: {at} is committed at epoch {}", row.epoch));
        self.demand(row.lineage == batch.incarnation, || {
            format!("I8: {at}, read from log {}, is committed under log {}", batch.incarnation, row.lineage)
        });
        let halted = row.halted.as_ref().is_some_and(|halt| halt.name() == "dead_letter_budget");
        self.demand(self.restored || !halted, || format!("{at} is committed although the budget is used up"));
    }

    /// A claim is answered.
    pub fn claimed(&mut self, epoch_before: i64, claim: &Claim) {
        self.demand(claim.epoch > epoch_before, || {
            format!("I4: a claim leaves the epoch at {epoch_before}, so it fences nobody")
        });
    }

    /// Kafka is told an offset.
    pub fn told(&mut self, database: &Database, partition: Partition, to: i64, batch: &Batch) {
        let highest = self.highest[slot(partition)].get(batch.incarnation).copied().unwrap_or(0);
        self.demand(to <= highest, || {
            format!(
                "I6: partition {partition}: Kafka is told {to}, but the position was never above {highest}"
            )
        });
        let known = batch.committed.get() && to == batch.to;
        self.demand(self.restored || known, || {
            format!("partition {partition}: [{}, {}) counts as committed and never was", batch.from, batch.to)
        });
        let next = database.position(partition).map_or(0, |at| at.next_offset);
        let moved = self.restored || self.moved[slot(partition)];
        self.demand(moved || to <= next, || format!("I6: Kafka is told {to}, the position is {next}"));
    }

    /// Compares what has been added to the tables with the logs.
    pub fn tables(&mut self, database: &Database, kafka: &Kafka) {
        for (number, table) in database.tables.iter().enumerate() {
            let Some(row) = &table.row else { continue };
            let highest = &mut self.highest[number];
            highest.resize(kafka.incarnations.len().max(highest.len()), 0);
            highest[row.lineage] = highest[row.lineage].max(row.next);
            if let Err(violation) = self.walks[number].advance(number, table, row, kafka) {
                self.fail(format!("partition {number}: {violation}"));
            }
        }
    }

    /// At the end: everything once more, from the beginning.
    pub fn all(&mut self, database: &Database, kafka: &Kafka) {
        self.walks = Default::default();
        self.tables(database, kafka);
    }
}

impl Walk {
    fn advance(&mut self, partition: usize, table: &Table, row: &Row, kafka: &Kafka) -> Result<(), String> {
        for segment in &table.ledger[self.segments..] {
            self.segments += 1;
            self.at = match *segment {
                Segment::Audit { from, .. } if from != self.at => {
                    return Err(format!("I2: an operator's action starts at {from:?}, not at {:?}", self.at));
                }
                Segment::Audit { to, .. } => Some(to),
                Segment::Batch { lineage, from, to, stored } => {
                    if self.at != Some((lineage, from)) || to <= from {
                        return Err(format!("I2: [{from}, {to}) of log {lineage} follows {:?}", self.at));
                    }
                    let rows = table.stored.get(self.stored..self.stored + stored).unwrap_or_default();
                    self.stored += stored;
                    let log = kafka.log(lineage, partition).ok_or("I8: a log that never was")?;
                    account(log, from, to, rows)?;
                    Some((lineage, to))
                }
            };
        }
        if table.stored.len() != self.stored {
            return Err("I1: there are rows that the position does not cover".into());
        }
        if self.at != Some((row.lineage, row.next)) {
            let at = (row.lineage, row.next);
            return Err(format!(
                "I1/I3: the position is {at:?}, the rows and the ledger end at {:?}",
                self.at
            ));
        }
        Ok(())
    }
}

/// Every record of [from, to) has its row or its dead letter, once and in order, and nothing else has.
fn account(log: &Log, from: i64, to: i64, rows: &[Stored]) -> Result<(), String> {
    let mut rows = rows.iter().peekable();
    for offset in from..to {
        let Some(row) = rows.next_if(|row| row.offset == offset) else {
            if !log.ever(offset, |content| matches!(content.kind, Kind::Hole | Kind::Tombstone)) {
                return Err(format!("I7: offset {offset} is passed over"));
            }
            continue;
        };
        let right = matches!(
            (row.content.kind, row.dead),
            (Kind::Good, false) | (Kind::Poison | Kind::Refused, true)
        );
        if !right || !log.ever(offset, |content| content == row.content) {
            return Err(format!("I1: offset {offset} is stored as {row:?}"));
        }
    }
    match rows.next() {
        Some(row) => Err(format!("I5: offset {} is stored twice, out of order or out of range", row.offset)),
        None => Ok(()),
    }
}
