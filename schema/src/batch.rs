//! `Batch`: what one transaction writes. Filled by the worker's buffer, written by `Store::write`.
//!
//! What must stay true: a batch covers one half-open range [from, to) of one partition; every offset in it has exactly one
//! disposition; the original bytes of every record are kept until the batch is committed.

use std::sync::OnceLock;

use crate::dead_letter::DeadLetter;
use crate::events::envelope::Origin;
use crate::events::{RawHeader, RawRecord, Rejection, Rows};
use crate::scrapers::ScraperTally;
use crate::time::UtcMicros;

mod segment;

pub use segment::{SEGMENT_FORMAT, SegmentError};

/// What became of the offsets of a range. Their sum is the length of the range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dispositions {
    /// Records whose rows are stored (or were already, equally).
    pub applied: i64,
    /// Records kept as dead letters.
    pub dead: i64,
    /// Records without a value; without effect.
    pub tombstone: i64,
    /// Records that a filter passed over.
    pub skipped: i64,
    /// Offsets without a record: transaction markers, aborted records, compaction.
    pub hole: i64,
}

impl Dispositions {
    /// All offsets accounted for.
    #[must_use]
    pub fn sum(&self) -> i64 {
        self.applied + self.dead + self.tombstone + self.skipped + self.hole
    }

    /// Adds those of another range.
    pub fn add(&mut self, other: &Self) {
        self.applied += other.applied;
        self.dead += other.dead;
        self.tombstone += other.tombstone;
        self.skipped += other.skipped;
        self.hole += other.hole;
    }
}

/// What became of the rows of the applied records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// New rows.
    pub inserted: i64,
    /// Rows that a newer version replaced.
    pub updated: i64,
    /// Rows equal to what was stored already.
    pub duplicate: i64,
    /// Rows older than what was stored already.
    pub stale: i64,
}

impl RowCounts {
    /// Adds those of another batch.
    pub fn add(&mut self, other: &Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.duplicate += other.duplicate;
        self.stale += other.stale;
    }
}

/// Where a record's original bytes lie within [`Records::bytes`].
#[derive(Debug, Clone)]
struct RecordIndex {
    offset: i64,
    timestamp: Option<UtcMicros>,
    key: Option<std::ops::Range<usize>>,
    value: std::ops::Range<usize>,
    headers: std::ops::Range<usize>,
    header_count: usize,
}

/// The records of a batch, byte for byte, in one allocation: a dead letter found at write time needs them.
#[derive(Debug, Clone, Default)]
pub struct Records {
    bytes: Vec<u8>,
    index: Vec<RecordIndex>,
}

impl Records {
    /// How many records are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes held, for the buffer's bound.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Offset of the record with that number.
    #[must_use]
    pub fn offset(&self, record: u32) -> i64 {
        self.index[record as usize].offset
    }

    /// Timestamp of the newest record that has one.
    #[must_use]
    pub fn newest_timestamp(&self) -> Option<UtcMicros> {
        self.index.iter().filter_map(|record| record.timestamp).max()
    }

    /// Timestamp of the oldest record that has one.
    #[must_use]
    pub fn oldest_timestamp(&self) -> Option<UtcMicros> {
        self.index.iter().filter_map(|record| record.timestamp).min()
    }

    fn push(&mut self, offset: i64, key: Option<&[u8]>, raw: &RawRecord<'_>) -> u32 {
        let number = u32::try_from(self.index.len()).expect("a batch is bounded far below 2^32 records");
        let key = key.map(|key| self.append(key));
        let value = self.append(raw.value);
        let start = self.bytes.len();
        for header in raw.headers {
            self.append_header(header);
        }
        let headers = start..self.bytes.len();
        let header_count = raw.headers.len();
        self.index.push(RecordIndex { offset, timestamp: raw.timestamp, key, value, headers, header_count });
        number
    }

    fn append(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Length-prefixed name, then length-prefixed value; `u64::MAX` stands for a null value.
    fn append_header(&mut self, header: &RawHeader<'_>) {
        self.bytes.extend_from_slice(&(header.name.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(header.name);
        let length = header.value.map_or(u64::MAX, |value| value.len() as u64);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(header.value.unwrap_or_default());
    }

    fn headers(&self, record: &RecordIndex) -> Vec<RawHeader<'_>> {
        let mut rest = &self.bytes[record.headers.clone()];
        let mut headers = Vec::with_capacity(record.header_count);
        for _ in 0..record.header_count {
            let name = take_prefixed(&mut rest).unwrap_or_default();
            let value = take_prefixed(&mut rest);
            headers.push(RawHeader { name, value });
        }
        headers
    }
}

fn take_prefixed<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (prefix, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    let length = usize::try_from(u64::from_le_bytes(*prefix)).ok()?;
    let (bytes, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(bytes)
}

/// A record of the batch that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRecord {
    /// Number of the record within the batch.
    pub record: u32,
    /// Why.
    pub rejection: Rejection,
}

/// The records of [from, to) of one partition, decoded.
#[derive(Debug, Clone)]
pub struct Batch {
    /// First offset of the range.
    pub from: i64,
    /// One past the last offset of the range: the position after the batch.
    pub to: i64,
    /// Rows of the good records.
    pub rows: Rows,
    /// Records refused when decoded.
    pub dead: Vec<DeadRecord>,
    /// The original bytes of all records but tombstones.
    pub records: Records,
    /// Offsets of the records without a value.
    pub tombstones: Vec<i64>,
    /// Records that a filter passed over.
    pub skipped: i64,
    /// Which scrapers the records are of.
    pub scrapers: ScraperTally,
    /// It as a segment, once somebody wanted that.
    packed: OnceLock<Vec<u8>>,
}

impl Batch {
    /// An empty batch at `from`.
    #[must_use]
    pub fn new(rows: Rows, from: i64) -> Self {
        Self {
            from,
            to: from,
            rows,
            dead: Vec::new(),
            records: Records::default(),
            tombstones: Vec::new(),
            skipped: 0,
            scrapers: ScraperTally::default(),
            packed: OnceLock::new(),
        }
    }

    /// Keeps the record's bytes, decodes it into rows or into a dead record, and moves the end past it. Returns the flags
    /// of an accepted record.
    ///
    /// # Panics
    /// If `offset` lies before the end of the batch: order within a partition is a promise.
    pub fn push(&mut self, offset: i64, key: Option<&[u8]>, raw: &RawRecord<'_>) -> crate::events::Flags {
        self.advance(offset + 1);
        let number = self.records.push(offset, key, raw);
        let scrapers = &mut self.scrapers;
        match self.rows.decode_noting(number, raw, |attributes| scrapers.count(attributes)) {
            Ok(flags) => flags,
            Err(rejection) => {
                self.dead.push(DeadRecord { record: number, rejection });
                crate::events::Flags::default()
            }
        }
    }

    /// Keeps the bytes of a record that its source refuses, as a dead record, and moves the end past it.
    ///
    /// # Panics
    /// If `offset` lies before the end of the batch.
    pub fn push_refused(&mut self, offset: i64, key: Option<&[u8]>, raw: &RawRecord<'_>, why: &Rejection) {
        self.advance(offset + 1);
        let record = self.records.push(offset, key, raw);
        self.dead.push(DeadRecord { record, rejection: why.clone() });
    }

    /// Counts a record that a filter passes over.
    ///
    /// # Panics
    /// If `offset` lies before the end of the batch.
    pub fn push_skipped(&mut self, offset: i64) {
        self.advance(offset + 1);
        self.skipped += 1;
    }

    /// Counts a record without a value.
    ///
    /// # Panics
    /// If `offset` lies before the end of the batch.
    pub fn push_tombstone(&mut self, offset: i64) {
        self.advance(offset + 1);
        self.tombstones.push(offset);
    }

    /// Moves the end over offsets that hold no record.
    ///
    /// # Panics
    /// If `to` lies before the end of the batch.
    pub fn advance(&mut self, to: i64) {
        assert!(to >= self.to, "offset {to} comes after {}: order within a partition is broken", self.to);
        self.to = to;
    }

    /// Whether there is nothing to write, not even a position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to == self.from
    }

    /// Offsets in the range.
    #[must_use]
    pub fn span(&self) -> i64 {
        self.to - self.from
    }

    /// What it takes in memory, in bytes: the records, what is known of each, and their rows. An estimate for the bound on all
    /// buffers, on the high side: rows of articles repeat what the records hold.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let records = self.records.bytes.len() + self.records.index.len() * size_of::<RecordIndex>();
        records + self.rows.held_bytes(self.records.bytes.len()) + self.scrapers.held_bytes()
    }

    /// Empties the batch and begins anew at `from`, with the memory that it has: each new one would grow by doubling.
    pub fn reuse(&mut self, from: i64) {
        self.rows.clear();
        self.dead.clear();
        self.records.bytes.clear();
        self.records.index.clear();
        self.scrapers.restart();
        self.tombstones.clear();
        self.packed = OnceLock::new();
        (self.from, self.to, self.skipped) = (from, from, 0);
    }

    /// The dispositions of the range when `dead` of its records are dead letters.
    #[must_use]
    pub fn dispositions(&self, dead: usize) -> Dispositions {
        let records = self.records.len() as i64;
        let dead = dead as i64;
        let tombstone = self.tombstones.len() as i64;
        Dispositions {
            applied: records - dead,
            dead,
            tombstone,
            skipped: self.skipped,
            hole: self.span() - records - tombstone - self.skipped,
        }
    }

    /// The dead letter of one record, byte for byte.
    #[must_use]
    pub fn dead_letter(&self, dead: &DeadRecord) -> DeadLetter {
        let record = &self.records.index[dead.record as usize];
        let bytes = &self.records.bytes;
        let headers = self.records.headers(record);
        let value = &bytes[record.value.clone()];
        let raw = RawRecord { value, headers: &headers, timestamp: record.timestamp };
        DeadLetter {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.clone().map(|key| bytes[key].to_vec()),
            payload: value.to_vec(),
            headers: crate::dead_letter::headers_to_json(&headers),
            origin: Origin::of(&raw),
            reason: dead.rejection.reason,
            detail: dead.rejection.detail.clone(),
        }
    }
}
