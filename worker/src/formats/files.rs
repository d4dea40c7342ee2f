//! Reads files line by line, plain or gzip (also of several members), with numbers for error messages and
//! byte counts for progress. `-` is standard input. Called by `publish`.
//!
//! What must stay true: memory is bounded by the longest line allowed, whatever the file holds.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail, ensure};
use flate2::bufread::MultiGzDecoder;

/// Longest line that is read: a whole league's snapshot has 0.3 MB, and an article at most 1 MiB.
pub const LINE_BYTES: usize = 16 << 20;
/// Size of each read buffer.
const BUFFER_BYTES: usize = 128 << 10;

/// The lines of one file.
pub struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    consumed: Arc<AtomicU64>,
    number: u64,
    line: Vec<u8>,
}

impl Lines {
    /// Opens a file, `-` for standard input; whether it is gzip is seen from its first bytes.
    ///
    /// # Errors
    /// A file that cannot be opened or read, by its name.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let input: Box<dyn Read + Send> = if name == "-" {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(path).with_context(|| format!("cannot open {name}"))?)
        };
        Self::from_reader(&name, input).with_context(|| format!("cannot read {name}"))
    }

    fn from_reader(name: &str, input: Box<dyn Read + Send>) -> io::Result<Self> {
        let consumed = Arc::new(AtomicU64::new(0));
        let counted = Counted { input, consumed: Arc::clone(&consumed) };
        let mut raw = BufReader::with_capacity(BUFFER_BYTES, counted);
        let gzip = raw.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead + Send> = if gzip {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(raw)))
        } else {
            Box::new(raw)
        };
        Ok(Self { name: name.to_owned(), reader, consumed, number: 0, line: Vec::new() })
    }

    /// The next line that is not blank, without its line end; null at the end of the file.
    ///
    /// # Errors
    /// A read that fails (a gzip file cut short, too) or a line above [`LINE_BYTES`], with `file:line`.
    pub fn next_line(&mut self) -> anyhow::Result<Option<&[u8]>> {
        loop {
            self.line.clear();
            self.number += 1;
            let mut bounded = (&mut self.reader).take(LINE_BYTES as u64 + 1);
            let read = bounded.read_until(b'\n', &mut self.line);
            match read.with_context(|| format!("{}: cannot read", self.place()))? {
                0 => return Ok(None),
                n if n > LINE_BYTES => bail!("{}: line longer than {LINE_BYTES} bytes", self.place()),
                _ if self.line.trim_ascii().is_empty() => {}
                _ => return Ok(Some(self.line.trim_ascii_end())),
            }
        }
    }

    /// `file:line` of the line that was read last.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.name, self.number)
    }

    /// The number of the line that was read last, from 1; blank ones count.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes read of the file itself, compressed or not; runs ahead of the lines by the buffers.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }
}

/// Sum of the sizes of the files in bytes, for progress; standard input counts as 0.
///
/// # Errors
/// The first that is missing or is not a file.
pub fn total_bytes<P: AsRef<Path>>(paths: &[P]) -> anyhow::Result<u64> {
    let mut total = 0;
    for path in paths.iter().map(AsRef::as_ref).filter(|path| *path != Path::new("-")) {
        let metadata = path.metadata().with_context(|| format!("cannot open {}", path.display()))?;
        ensure!(!metadata.is_dir(), "{} is a directory, not a file", path.display());
        total += metadata.len();
    }
    Ok(total)
}

/// Counts what is read through it.
struct Counted {
    input: Box<dyn Read + Send>,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.consumed.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn lines(bytes: Vec<u8>) -> Lines {
        Lines::from_reader("test.jsonl", Box::new(Cursor::new(bytes))).unwrap()
    }

    fn all(mut lines: Lines) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            let line = line.to_vec();
            found.push((lines.place(), line));
        }
        found
    }

    #[test]
    fn blank_lines_count_but_do_not_come() {
        let found = all(lines(b"a\r\n\n  \nb".to_vec()));
        assert_eq!(found, [("test.jsonl:1".into(), b"a".to_vec()), ("test.jsonl:4".into(), b"b".to_vec())]);
        assert!(all(lines(Vec::new())).is_empty());
    }

    #[test]
    fn gzip_may_have_several_members() {
        let mut bytes = gzip(b"a\nb");
        bytes.extend(gzip(b"c\nd\n"));
        let size = bytes.len() as u64;
        let mut lines = lines(bytes);
        assert_eq!(lines.next_line().unwrap(), Some(b"a".as_slice()));
        assert_eq!(lines.next_line().unwrap(), Some(b"bc".as_slice()));
        assert_eq!(lines.next_line().unwrap(), Some(b"d".as_slice()));
        assert_eq!(lines.next_line().unwrap(), None);
        assert_eq!(lines.consumed(), size);
    }

    #[test]
    fn a_cut_gzip_file_is_an_error_with_its_line() {
        let mut bytes = gzip(b"a\nb\n");
        bytes.truncate(bytes.len() - 9);
        let mut lines = lines(bytes);
        let error = loop {
            match lines.next_line() {
                Ok(line) => assert!(line.is_some(), "the cut was not noticed"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.starts_with("test.jsonl:"), "{error}");
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut bytes = vec![b'x'; LINE_BYTES];
        bytes.push(b'\n');
        assert!(lines(bytes).next_line().is_err());
        assert!(lines(vec![b'x'; LINE_BYTES - 1]).next_line().is_ok());
    }

    proptest::proptest! {
        #[test]
        fn plain_and_gzip_read_the_same(text in "[a-c\n]{0,60}") {
            let plain = all(lines(text.clone().into_bytes()));
            proptest::prop_assert_eq!(plain, all(lines(gzip(text.as_bytes()))));
        }
    }
}
