//! The buffer of one partition: a batch while it fills, with the three bounds that make it due. Owned by the pipeline.

use std::time::{Duration, Instant};

use ledgerline_schema::batch::Batch;
use ledgerline_schema::events::{EventKind, Flags, RawRecord, envelope};
use ledgerline_schema::time::UtcMicros;

use crate::config::BatchConfig;
use crate::source::Message;

/// A batch that fills.
#[derive(Debug)]
pub struct Buffer {
    kind: EventKind,
    limits: BatchConfig,
    batch: Batch,
    /// A batch that was written, whose memory is used again.
    spare: Option<Batch>,
    /// When the first thing came in that moves the position; none while there is nothing to write.
    since: Option<Instant>,
    observed: Option<Observed>,
}

/// Which records a replay is about, by the time when the scraper saw what they say. What is not set is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// At this time or later.
    pub from: Option<UtcMicros>,
    /// Before this time.
    pub to: Option<UtcMicros>,
}

impl Observed {
    /// Whether the record is passed over. One whose time cannot be read is not: it is judged like any other.
    fn leaves_out(self, record: &RawRecord<'_>) -> bool {
        let time = envelope::time_of(record);
        time.is_some_and(|time| {
            self.from.is_some_and(|from| time < from) || self.to.is_some_and(|to| time >= to)
        })
    }
}

/// Why a batch was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// It has its rows.
    Rows,
    /// It has its bytes.
    Bytes,
    /// Its first record is old enough.
    Age,
    /// All buffers together hold what they may.
    Memory,
}

impl Trigger {
    /// The name in metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Age => "age",
            Self::Memory => "memory",
        }
    }
}

impl Buffer {
    /// An empty buffer whose first record is at `from` or later.
    #[must_use]
    pub fn new(kind: EventKind, limits: BatchConfig, from: i64) -> Self {
        Self { kind, limits, batch: Batch::new(kind.rows(), from), spare: None, since: None, observed: None }
    }

    /// Passes over what was not observed then.
    #[must_use]
    pub fn only(self, observed: Option<Observed>) -> Self {
        Self { observed, ..self }
    }

    /// Decodes one message into the batch.
    pub fn take(&mut self, message: &Message<'_>, now: Instant) -> Flags {
        self.since.get_or_insert(now);
        let Some(value) = message.value else {
            self.batch.push_tombstone(message.offset);
            return Flags::default();
        };
        let raw = RawRecord { value, headers: message.headers, timestamp: message.timestamp };
        if let Some(why) = message.refused {
            self.batch.push_refused(message.offset, message.key, &raw, why);
            return Flags::default();
        }
        if self.observed.is_some_and(|observed| observed.leaves_out(&raw)) {
            self.batch.push_skipped(message.offset);
            return Flags::default();
        }
        self.batch.push(message.offset, message.key, &raw)
    }

    /// Moves over offsets that hold no record: the consumer stands at `position` and there is nothing before it.
    pub fn advance(&mut self, position: i64, now: Instant) {
        if position > self.batch.to {
            self.since.get_or_insert(now);
            self.batch.advance(position);
        }
    }

    /// Whether it may not take another message.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bound().is_some()
    }

    /// Why it is due, if it is.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Trigger> {
        let old = |since: Instant| now.duration_since(since) >= Duration::from_millis(self.limits.age_ms);
        self.bound().or_else(|| self.since.is_some_and(old).then_some(Trigger::Age))
    }

    /// How long until it is due by age; none while it is empty.
    #[must_use]
    pub fn due_in(&self, now: Instant) -> Option<Duration> {
        let age = Duration::from_millis(self.limits.age_ms);
        self.since.map(|since| (since + age).saturating_duration_since(now))
    }

    /// Takes the batch out; the buffer goes on where it ends.
    pub fn split_off(&mut self) -> Batch {
        self.since = None;
        let from = self.batch.to;
        let next = match self.spare.take() {
            Some(mut spare) => {
                spare.reuse(from);
                spare
            }
            None => Batch::new(self.kind.rows(), from),
        };
        std::mem::replace(&mut self.batch, next)
    }

    /// Keeps a batch that was written, for its memory.
    pub fn keep(&mut self, written: Batch) {
        self.spare = Some(written);
    }

    /// The batch so far.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    fn bound(&self) -> Option<Trigger> {
        // Records count as well as rows: a batch of nothing but dead letters and tombstones is bounded too.
        let rows = self.batch.rows.len().max(self.batch.records.len());
        let rows = rows.max(self.batch.tombstones.len());
        if rows >= self.limits.rows {
            return Some(Trigger::Rows);
        }
        (self.batch.records.byte_len() >= self.limits.bytes).then_some(Trigger::Bytes)
    }
}

#[cfg(test)]
mod tests {
    use ledgerline_schema::events::RawHeader;

    use super::*;

    fn message(offset: i64, value: Option<&'static [u8]>) -> Message<'static> {
        Message { partition: 0, offset, key: None, value, headers: &[], timestamp: None, refused: None }
    }

    #[test]
    fn each_bound_makes_it_due() {
        let now = Instant::now();
        let limits = BatchConfig { rows: 2, bytes: 1 << 20, age_ms: 100 };
        let mut buffer = Buffer::new(EventKind::Odds, limits, 5);
        assert_eq!(buffer.due(now + Duration::from_secs(9)), None);
        buffer.take(&message(5, Some(b"{")), now);
        assert_eq!(buffer.due(now), None);
        assert_eq!(buffer.due(now + Duration::from_millis(100)), Some(Trigger::Age));
        buffer.take(&message(6, Some(b"{")), now);
        assert_eq!(buffer.due(now), Some(Trigger::Rows));

        let mut buffer = Buffer::new(EventKind::Odds, BatchConfig { bytes: 1, ..limits }, 5);
        buffer.take(&message(5, Some(b"{")), now);
        assert_eq!(buffer.due(now), Some(Trigger::Bytes));
    }

    #[test]
    fn every_offset_has_one_disposition() {
        let now = Instant::now();
        let mut buffer = Buffer::new(EventKind::Odds, BatchConfig::default(), 5);
        buffer.take(&message(7, Some(b"{")), now); // 5 and 6 are holes
        buffer.take(&message(8, None), now);
        buffer.advance(11, now); // so are 9 and 10
        let batch = buffer.split_off();
        let found = batch.dispositions(batch.dead.len());
        assert_eq!((found.applied, found.dead, found.tombstone, found.hole), (0, 1, 1, 4));
        assert_eq!(found.sum(), batch.span());
        assert_eq!(buffer.batch().from, 11);
    }

    #[test]
    fn what_was_not_observed_then_is_passed_over_and_counted() {
        let at = |text: &str| UtcMicros::parse(text).ok();
        let observed = Observed { from: at("2025-11-09T18:00:00Z"), to: at("2025-11-09T19:00:00Z") };
        let mut buffer = Buffer::new(EventKind::Odds, BatchConfig::default(), 0).only(Some(observed));
        let now = Instant::now();
        for (offset, value) in [
            br#"{"time":"2025-11-09T17:59:59Z"}"#.as_slice(),
            br#"{"time":"2025-11-09T18:00:00Z"}"#,
            br#"{"time":"2025-11-09T19:00:00Z"}"#,
            br#"{"time":"yesterday"}"#,
            b"{",
        ]
        .into_iter()
        .enumerate()
        {
            buffer.take(&message(offset as i64, Some(value)), now);
        }
        let in_binary_mode = [("specversion", "1.0"), ("time", "2025-11-09T17:59:59Z")]
            .map(|(name, value)| (format!("ce_{name}"), value));
        let headers: Vec<RawHeader<'_>> = in_binary_mode
            .iter()
            .map(|(name, value)| RawHeader { name: name.as_bytes(), value: Some(value.as_bytes()) })
            .collect();
        buffer.take(&Message { headers: &headers, ..message(5, Some(b"{}")) }, now);
        let batch = buffer.split_off();
        let found = batch.dispositions(batch.dead.len());
        assert_eq!((found.skipped, found.dead, found.sum()), (3, 3, batch.span()));
    }
}
