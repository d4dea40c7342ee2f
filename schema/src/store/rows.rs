//! What the files of the store hand each other: a batch on its way, and rows that are ready for their tables.

use std::collections::HashMap;

use diesel::prelude::*;

use super::claim::Claim;
use crate::batch::{Batch, DeadRecord, RowCounts};
use crate::budget::Budget;
use crate::schema::{dead_letters, selections};
use crate::sql_types::Json;
use crate::time::UtcMicros;

/// What writing the rows of a batch came to, before its dead letters and its position.
pub(super) struct Applied {
    pub(super) rows: RowCounts,
    /// Good records whose rows contradict what is stored, or that the database refuses.
    pub(super) conflicts: Vec<DeadRecord>,
    /// How often rows were written.
    pub(super) attempts: u32,
}

impl Default for Applied {
    fn default() -> Self {
        Self { rows: RowCounts::default(), conflicts: Vec::new(), attempts: 1 }
    }
}

impl Applied {
    /// Adds what the next records came to; the attempts are counted by who makes them.
    pub(super) fn add(&mut self, more: Self) {
        self.rows.add(&more.rows);
        self.conflicts.extend(more.conflicts);
    }
}

/// How a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// In one go: the ordinary way.
    Whole,
    /// In parts, to find the records that the database refuses: after it has refused the whole.
    Isolate,
}

/// What a store keeps of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeps {
    /// The rows of its records, its dead letters and its account.
    Rows,
    /// The batch as it came: a spool.
    Segments,
}

/// Whether the keys of quotes are looked up before they are inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Not before a plain insert was refused: the fast way where nothing is stored yet.
    OnlyIfRefused,
    /// Always: the exact way, and the fast one where much is stored already.
    First,
}

/// One batch on its way into the database.
#[derive(Debug)]
pub struct WriteJob<'a> {
    /// The right to write it.
    pub claim: &'a Claim,
    /// The batch.
    pub batch: &'a Batch,
    /// Now, by the worker's clock.
    pub now: UtcMicros,
    /// The ledger row to extend; never goes back within an epoch.
    pub hour: UtcMicros,
    /// How hard to try.
    pub effort: Effort,
    /// What the partition has left of its dead-letter budget.
    pub budget: Budget,
}

impl WriteJob<'_> {
    /// Whether an operator has allowed whatever becomes of the batch.
    pub(super) fn is_exempt(&self) -> bool {
        self.batch.from < self.claim.exempt_to
    }
}

/// What a system calls a game: (system, id).
pub(super) type RefKey = (String, String);

#[derive(Insertable)]
#[diesel(table_name = selections)]
pub(super) struct NewSelection {
    pub(super) game_ref_id: i64,
    pub(super) sportsbook: String,
    pub(super) market: &'static str,
    pub(super) period: &'static str,
    pub(super) participant: String,
    pub(super) side: &'static str,
    pub(super) alternate: bool,
    pub(super) line: f32,
}

/// The id of a selection that is not stored: ids start at 1.
pub(super) const NO_SELECTION: i64 = 0;

/// One quote with its interned selection, ready to be stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OddsRow {
    pub(super) selection_id: i64,
    pub(super) observed_at: UtcMicros,
    pub(super) value: Value,
    pub(super) record: u32,
}

/// What a quote says: the part that must agree where the key is equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    pub(super) price: Option<f64>,
    pub(super) line: Option<f32>,
}

/// (selection, observed_at): the natural key of a quote.
pub(super) type Key = (i64, UtcMicros);

impl OddsRow {
    pub(super) fn key(&self) -> Key {
        (self.selection_id, self.observed_at)
    }
}

/// What stands under which key.
pub(super) type Standing = HashMap<Key, Value, foldhash::fast::RandomState>;

/// A stored quote: its key, then its value.
pub(super) type StoredRow = (i64, UtcMicros, Option<f64>, Option<f32>);

#[derive(Insertable)]
#[diesel(table_name = dead_letters)]
pub(super) struct DeadLetterRow {
    lineage_id: i32,
    record_offset: i64,
    topic: String,
    partition: i32,
    record_timestamp: Option<UtcMicros>,
    key: Option<Vec<u8>>,
    payload: Vec<u8>,
    headers: Json,
    reason: &'static str,
    detail: String,
    correlation_id: Option<String>,
    trace_parent: Option<String>,
    created_at: UtcMicros,
}

/// The row of one dead record of the job's batch.
pub(super) fn dead_letter_row(job: &WriteJob<'_>, dead: &DeadRecord) -> DeadLetterRow {
    let letter = job.batch.dead_letter(dead);
    DeadLetterRow {
        lineage_id: job.claim.lineage_id,
        record_offset: letter.offset,
        topic: job.claim.topic.to_string(),
        partition: job.claim.partition,
        record_timestamp: letter.timestamp,
        key: letter.key,
        payload: letter.payload,
        headers: letter.headers,
        reason: letter.reason.name(),
        detail: letter.detail,
        correlation_id: letter.origin.correlation_id,
        trace_parent: letter.origin.trace_parent,
        created_at: job.now,
    }
}
