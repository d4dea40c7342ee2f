//! Backfill: the events of one kind in one file, as a log of one partition. Its lineage is the hash of the file's bytes; an offset is
//! an event's number (`formats/events.rs`). Events of other kinds are holes.
//!
//! What must stay true: a file that is read again hands out the same events at the same offsets.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{Lineage, LogRange};

use super::{Log, Message, Source, SourceError, SourceEvent};
use crate::config::Start;
use crate::formats::Format;
use crate::formats::events::{FileEvent, FileEvents};
use crate::protocol::Partition;

/// The only partition of a file.
pub const PARTITION: Partition = 0;
/// Events of other kinds that are passed over before the line looks around again.
const PASSED_PER_POLL: usize = 256;

/// What is read of a file.
#[derive(Debug, Clone)]
pub struct FilePart {
    /// Where it lies.
    pub path: PathBuf,
    /// What its lines are.
    pub format: Format,
    /// The kind that is read.
    pub kind: EventKind,
    /// Whether lines that name no kind are read as of this one.
    pub strays: bool,
    /// One past the last offset.
    pub end: i64,
}

/// A reader of one kind in one file.
pub struct FileSource {
    part: FilePart,
    /// Open while it is consumed, with the first offset that is wanted.
    events: Option<(FileEvents, i64)>,
    held: bool,
    noted: VecDeque<SourceEvent>,
}

impl FileSource {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(part: FilePart) -> Self {
        let noted = VecDeque::from([SourceEvent::Assigned(vec![PARTITION])]);
        Self { part, events: None, held: false, noted }
    }

    /// The next event that is ours, if it is near.
    fn next_of_ours(&mut self) -> anyhow::Result<Next> {
        let Some((events, from)) = &mut self.events else { return Ok(Next::Nothing) };
        for _ in 0..PASSED_PER_POLL {
            let Some(event) = events.next_event()? else { return Ok(Next::End) };
            let ours = event.kind.map_or(self.part.strays, |kind| kind == self.part.kind);
            if ours && event.offset >= *from {
                // A file that has grown since it was looked through ends where it ended then.
                return Ok(if event.offset < self.part.end { Next::Event(event) } else { Next::End });
            }
        }
        Ok(Next::Nothing)
    }
}

enum Next {
    Event(FileEvent),
    Nothing,
    End,
}

impl Source for FileSource {
    fn poll(
        &mut self,
        timeout: Duration,
        take: &mut dyn FnMut(&Message<'_>),
    ) -> Result<Option<SourceEvent>, SourceError> {
        if let Some(event) = self.noted.pop_front() {
            return Ok(Some(event));
        }
        if self.held || self.events.is_none() {
            std::thread::park_timeout(timeout); // nobody wakes it: there is nothing to hand out
            return Ok(None);
        }
        match self.next_of_ours().map_err(|error| SourceError::Unreadable(format!("{error:#}")))? {
            Next::Event(event) => take(&Message {
                partition: PARTITION,
                offset: event.offset,
                key: None,
                value: Some(&event.value),
                headers: &[],
                timestamp: None,
                refused: event.refused.as_ref(),
            }),
            Next::End => {
                self.events = None;
                return Ok(Some(SourceEvent::End { partition: PARTITION, position: self.part.end }));
            }
            Next::Nothing => {}
        }
        Ok(None)
    }

    fn consume(&mut self, _partition: Partition, offset: i64) -> Result<(), SourceError> {
        if offset < self.part.end {
            let events = FileEvents::open(&self.part.path, self.part.format);
            let events = events.map_err(|error| SourceError::Unreadable(format!("{error:#}")))?;
            self.events = Some((events, offset));
        }
        Ok(())
    }

    fn stop(&mut self, _partition: Partition) {
        (self.events, self.held) = (None, false);
    }

    fn hold(&mut self, _partition: Partition, held: bool) {
        self.held = held;
    }

    /// Nobody outside is told: a file has no group.
    fn commit(&mut self, _partition: Partition, _next_offset: i64) {}
}

/// A file that holds what it holds.
pub struct FileLog {
    /// Its lineage.
    pub lineage: Lineage,
    /// One past its last offset.
    pub end: i64,
}

impl Log for FileLog {
    fn describe(&self, _partition: Partition) -> Result<(Lineage, LogRange), SourceError> {
        Ok((self.lineage.clone(), LogRange { low: 0, high: self.end }))
    }

    fn starts(&self, _start: Start) -> Result<Vec<(Lineage, i64)>, SourceError> {
        Ok(vec![(self.lineage.clone(), 0)])
    }
}
