//! A file as a log: its events in order, each with a number that it has whenever the file is read. Used by the file source.
//!
//! What must stay true: equal bytes give equal events with equal numbers, per kind growing; a line that cannot be used is an event
//! too, one that is refused.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use ledgerline_schema::events::envelope::Envelope;
use ledgerline_schema::events::{EventKind, Rejection};
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use super::Format;
use super::files::Lines;

/// One event of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEvent {
    /// Its kind; null where the line names none.
    pub kind: Option<EventKind>,
    /// Its number: that of its line, or where a line makes several events the running number among those of its kind.
    pub offset: i64,
    /// The event, or the line that could not be made into one.
    pub value: Vec<u8>,
    /// Why it could not.
    pub refused: Option<Rejection>,
}

/// The events of one file.
pub struct FileEvents {
    lines: Lines,
    format: Format,
    line: i64,
    numbers: BTreeMap<EventKind, i64>,
    pending: VecDeque<FileEvent>,
}

impl FileEvents {
    /// Opens a file, plain or gzip.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, format: Format) -> anyhow::Result<Self> {
        let lines = Lines::open(path)?;
        Ok(Self { lines, format, line: 0, numbers: BTreeMap::new(), pending: VecDeque::new() })
    }

    /// The next event; null at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read on, with the place.
    pub fn next_event(&mut self) -> anyhow::Result<Option<FileEvent>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            let Some(line) = self.lines.next_line()? else { return Ok(None) };
            let line = line.to_vec();
            self.line = i64::try_from(self.lines.number()).unwrap_or(i64::MAX);
            match self.format {
                Format::Cloudevents => {
                    let kind = kind_of(&line);
                    return Ok(Some(FileEvent { kind, offset: self.line, value: line, refused: None }));
                }
                Format::TheOddsApi => self.convert(line),
            }
        }
    }

    /// A line that becomes no event is accounted for among the odds, which are what the format is about.
    fn convert(&mut self, line: Vec<u8>) {
        match self.format.convert(&line) {
            Ok(converted) => {
                for record in converted.records {
                    self.push(record.kind, record.value, None);
                }
            }
            Err(rejection) => self.push(EventKind::Odds, line, Some(rejection)),
        }
    }

    fn push(&mut self, kind: EventKind, value: Vec<u8>, refused: Option<Rejection>) {
        let number = self.numbers.entry(kind).or_default();
        *number += 1;
        self.pending.push_back(FileEvent { kind: Some(kind), offset: *number, value, refused });
    }
}

/// The kind that the line's `type` names, whatever else is wrong with it.
fn kind_of(line: &[u8]) -> Option<EventKind> {
    let envelope: Envelope<'_, IgnoredAny> = serde_json::from_slice(line).ok()?;
    EventKind::of_type(envelope.event_type.as_deref()?)
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The hash of its bytes, in hex.
    pub sha256: String,
    /// The kinds that it holds, each with one past its last number.
    pub ends: BTreeMap<EventKind, i64>,
    /// The kind that takes the lines that name none.
    pub strays: Option<EventKind>,
}

/// Reads a file through once.
///
/// # Errors
/// It cannot be read to its end.
pub fn scan(path: &Path, format: Format) -> anyhow::Result<Contents> {
    let sha256 = sha256(path)?;
    let mut events = FileEvents::open(path, format)?;
    let (mut ends, mut has_strays) = (BTreeMap::<EventKind, i64>::new(), false);
    while let Some(event) = events.next_event()? {
        match event.kind {
            Some(kind) => drop(ends.insert(kind, event.offset + 1)),
            None => has_strays = true,
        }
    }
    let strays = has_strays.then(|| ends.keys().copied().next().unwrap_or(EventKind::Odds));
    if let Some(kind) = strays {
        ends.insert(kind, events.line + 1);
    }
    Ok(Contents { sha256, ends, strays })
}

/// The hash of a file's bytes, in hex.
///
/// # Errors
/// It cannot be read.
pub fn sha256(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 128 << 10]);
    loop {
        match file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(lines: &[&str]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.join("\n").as_bytes()).unwrap();
        file
    }

    #[test]
    fn lines_are_numbered_and_bad_ones_have_a_place() {
        let sample = |kind: EventKind| kind.samples()[0].to_string();
        let (odds, game) = (sample(EventKind::Odds), sample(EventKind::Game));
        let file = file(&[&odds, "", "{", &game, &odds, "{\"type\":\"other.v1\"}"]);
        let contents = scan(file.path(), Format::Cloudevents).unwrap();
        assert_eq!(contents.ends, BTreeMap::from([(EventKind::Game, 7), (EventKind::Odds, 6)]));
        assert_eq!(contents.strays, Some(EventKind::Game));
        assert_eq!(contents, scan(file.path(), Format::Cloudevents).unwrap());
    }

    #[test]
    fn a_file_of_nothing_but_bad_lines_is_one_of_odds() {
        let contents = scan(file(&["{", "}"]).path(), Format::Cloudevents).unwrap();
        assert_eq!(
            (contents.ends, contents.strays),
            (BTreeMap::from([(EventKind::Odds, 3)]), Some(EventKind::Odds))
        );
        let contents = scan(file(&["{", "}"]).path(), Format::TheOddsApi).unwrap();
        assert_eq!((contents.ends, contents.strays), (BTreeMap::from([(EventKind::Odds, 3)]), None));
        let empty = scan(file(&[]).path(), Format::Cloudevents).unwrap();
        assert!(empty.ends.is_empty());
    }
}
