//! A segment: one batch as bytes, with its records as they came and no rows. What an outage's spool keeps, and what is written
//! into the database after it, decoded anew: only there can be decided what a record is worth beside all others.
//!
//! What must stay true: a segment made into a batch again says the same of every offset as the batch that it came of, and so does
//! each part of it that starts later; damaged bytes are an error, never other records.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use thiserror::Error;

use super::{Batch, RecordIndex, take_prefixed};
use crate::events::{EventKind, RawHeader, RawRecord};
use crate::time::UtcMicros;

/// How segments are written now: a number that is kept beside each.
pub const SEGMENT_FORMAT: i32 = 1;

const TOMBSTONE: u8 = 0;
const RECORD: u8 = 1;
/// No length is that long: there is nothing at all, not even an empty text.
const NULL: u64 = u64::MAX;

/// Why bytes are no segment.
#[derive(Debug, Error)]
pub enum SegmentError {
    /// They are of another program.
    #[error("a segment of format {0}, which this program does not know")]
    Format(i32),
    /// They are not what was written.
    #[error("a damaged segment: {0}")]
    Damaged(String),
}

impl Batch {
    /// The batch as bytes: compressed, with a checksum; made once. It takes milliseconds: not for a thread that others wait for. A batch of
    /// live consumption passes over nothing, so what a filter passed over is not kept.
    #[must_use]
    pub fn segment(&self) -> &[u8] {
        self.packed.get_or_init(|| self.to_segment())
    }

    fn to_segment(&self) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::with_capacity(self.records.bytes.len() / 4), Compression::fast());
        self.write_entries(&mut out).and_then(|()| out.finish()).expect("memory takes what is written")
    }

    fn write_entries(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut tombstones = self.tombstones.iter().peekable();
        for record in &self.records.index {
            while let Some(offset) = tombstones.next_if(|offset| **offset < record.offset) {
                write_tombstone(out, *offset)?;
            }
            self.write_record(out, record)?;
        }
        tombstones.try_for_each(|offset| write_tombstone(out, *offset))
    }

    fn write_record(&self, out: &mut impl Write, record: &RecordIndex) -> std::io::Result<()> {
        let bytes = &self.records.bytes;
        out.write_all(&[RECORD])?;
        out.write_all(&record.offset.to_le_bytes())?;
        let timestamp = record.timestamp.map_or(i64::MIN, |timestamp| timestamp.0);
        out.write_all(&timestamp.to_le_bytes())?;
        write_prefixed(out, record.key.clone().map(|key| &bytes[key]))?;
        write_prefixed(out, Some(&bytes[record.value.clone()]))?;
        out.write_all(&(record.header_count as u64).to_le_bytes())?;
        out.write_all(&bytes[record.headers.clone()])
    }

    /// The part of a segment that starts at `from`, as a batch that ends at `to`.
    ///
    /// # Errors
    /// The bytes are not a segment of this format.
    pub fn from_segment(
        kind: EventKind,
        format: i32,
        segment: &[u8],
        from: i64,
        to: i64,
    ) -> Result<Self, SegmentError> {
        if format != SEGMENT_FORMAT {
            return Err(SegmentError::Format(format));
        }
        let mut entries = Vec::new();
        GzDecoder::new(segment)
            .read_to_end(&mut entries)
            .map_err(|error| SegmentError::Damaged(error.to_string()))?;
        let mut batch = Self::new(kind.rows(), from);
        let mut rest = entries.as_slice();
        while !rest.is_empty() {
            let cut_short =
                || SegmentError::Damaged(format!("it ends in the middle of an entry, in [{from}, {to})"));
            read_entry(&mut rest, &mut batch, to).ok_or_else(cut_short)?;
        }
        batch.advance(to);
        Ok(batch)
    }
}

/// Adds one entry, unless it lies before the batch. Null where there is no whole entry that fits.
fn read_entry(rest: &mut &[u8], batch: &mut Batch, end: i64) -> Option<()> {
    let (tag, tail) = rest.split_first()?;
    *rest = tail;
    let offset = take_i64(rest)?;
    let wanted = offset >= batch.from;
    if wanted && !(batch.to..end).contains(&offset) {
        return None;
    }
    match *tag {
        TOMBSTONE if wanted => batch.push_tombstone(offset),
        TOMBSTONE => {}
        RECORD => {
            let timestamp = take_i64(rest)?;
            let timestamp = (timestamp != i64::MIN).then_some(UtcMicros(timestamp));
            let key = take_prefixed(rest);
            let value = take_prefixed(rest)?;
            let header_count = usize::try_from(take_i64(rest)?).ok()?;
            let mut headers = Vec::new();
            for _ in 0..header_count {
                headers.push(RawHeader { name: take_prefixed(rest)?, value: take_prefixed(rest) });
            }
            if wanted {
                batch.push(offset, key, &RawRecord { value, headers: &headers, timestamp });
            }
        }
        _ => return None,
    }
    Some(())
}

fn take_i64(rest: &mut &[u8]) -> Option<i64> {
    let (bytes, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(i64::from_le_bytes(*bytes))
}

fn write_tombstone(out: &mut impl Write, offset: i64) -> std::io::Result<()> {
    out.write_all(&[TOMBSTONE])?;
    out.write_all(&offset.to_le_bytes())
}

/// Length, then bytes: as [`take_prefixed`] reads them.
fn write_prefixed(out: &mut impl Write, bytes: Option<&[u8]>) -> std::io::Result<()> {
    let Some(bytes) = bytes else { return out.write_all(&NULL.to_le_bytes()) };
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One offset: nothing, no value, or a record.
    type Entry = (u8, Option<Vec<u8>>, Vec<u8>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    fn entry() -> impl Strategy<Value = Entry> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..12);
        let headers = proptest::collection::vec((bytes(), proptest::option::of(bytes())), 0..3);
        (0u8..4, proptest::option::of(bytes()), bytes(), headers)
    }

    /// The batch of these entries from the one with that number on.
    fn batch(entries: &[Entry], first: i64, from: i64) -> Batch {
        let mut batch = Batch::new(EventKind::Odds.rows(), from);
        for (offset, (what, key, value, headers)) in
            (first..).zip(entries).filter(|(offset, _)| *offset >= from)
        {
            let headers: Vec<RawHeader<'_>> =
                headers.iter().map(|(name, value)| RawHeader { name, value: value.as_deref() }).collect();
            let timestamp = (value.len() % 2 == 0).then_some(UtcMicros(offset));
            match what {
                0 => {}
                1 => batch.push_tombstone(offset),
                _ => {
                    batch.push(offset, key.as_deref(), &RawRecord { value, headers: &headers, timestamp });
                }
            }
        }
        batch.advance(first + entries.len() as i64);
        batch
    }

    proptest! {
        #[test]
        fn a_segment_and_each_later_part_of_it_say_what_the_batch_said(
            entries in proptest::collection::vec(entry(), 1..20), first in 0i64..1_000, cut in 0usize..20
        ) {
            let cut = first + (cut % entries.len()) as i64;
            let segment = batch(&entries, first, first).to_segment();
            let to = first + entries.len() as i64;
            for from in [first, cut] {
                let wanted = batch(&entries, first, from);
                let got = Batch::from_segment(EventKind::Odds, SEGMENT_FORMAT, &segment, from, to).unwrap();
                prop_assert_eq!(got.dispositions(got.dead.len()), wanted.dispositions(wanted.dead.len()));
                prop_assert_eq!((&got.dead, &got.tombstones), (&wanted.dead, &wanted.tombstones));
                for dead in &wanted.dead {
                    prop_assert_eq!(got.dead_letter(dead), wanted.dead_letter(dead));
                }
            }
        }

        #[test]
        fn damaged_bytes_are_an_error_or_say_the_same(
            entries in proptest::collection::vec(entry(), 1..20), at in any::<prop::sample::Index>()
        ) {
            let batch = batch(&entries, 5, 5);
            let (whole, to) = (batch.to_segment(), batch.to);
            let number = at.index(whole.len());
            let mut changed = whole.clone();
            changed[number] ^= 0x20;
            let read = |bytes: &[u8]| Batch::from_segment(EventKind::Odds, SEGMENT_FORMAT, bytes, 5, to);
            // Some bits of the container nobody reads.
            if let Ok(same) = read(&changed) {
                prop_assert_eq!(&same.records.bytes, &batch.records.bytes);
                prop_assert_eq!((&same.dead, &same.tombstones), (&batch.dead, &batch.tombstones));
            }
            prop_assert!(read(&whole[..number]).is_err());
        }
    }

    #[test]
    fn another_format_is_named() {
        let error = Batch::from_segment(EventKind::Odds, 7, &[], 0, 0).unwrap_err();
        assert_eq!(error.to_string(), "a segment of format 7, which this program does not know");
    }
}
