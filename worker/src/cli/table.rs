//! Text for people: columns that line up, and bytes of records that cannot disturb a terminal. Used by `offsets` and `dlq`.

use std::fmt::Write as _;

/// Rows as lines, each column as wide as its widest cell; the first row is the head.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A row of a table.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// At most `limit` characters of the bytes on one line: what is not UTF-8, and every control character, is escaped.
pub(super) fn excerpt(bytes: &[u8], limit: usize) -> String {
    let mut line = String::new();
    let mut length = 0;
    // A character has at most four bytes, so this is enough of a large record.
    let head = &bytes[..bytes.len().min(limit.saturating_mul(4))];
    for chunk in head.utf8_chunks() {
        for c in chunk.valid().chars() {
            if length >= limit {
                return line + "…";
            }
            length += 1;
            push(&mut line, c);
        }
        for byte in chunk.invalid() {
            if length >= limit {
                return line + "…";
            }
            length += 1;
            let _ = write!(line, "\\x{byte:02x}"); // a String takes everything
        }
    }
    if head.len() < bytes.len() { line + "…" } else { line }
}

/// Control characters, and those that turn the direction of a line, as their escapes.
fn push(line: &mut String, c: char) {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns {
        line.extend(c.escape_default());
    } else {
        line.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [row(["a", "bb"]), row(["ccc", "d"])];
        assert_eq!(aligned(&rows), "a    bb\nccc  d\n");
    }

    #[test]
    fn an_excerpt_is_one_harmless_line() {
        assert_eq!(excerpt(b"a\n\x1b[31m\xff\x00", 80), "a\\n\\u{1b}[31m\\xff\\u{0}");
        assert_eq!(excerpt("ä".repeat(90).as_bytes(), 3), "äää…");
        assert_eq!(excerpt("\u{202e}x".as_bytes(), 9), "\\u{202e}x");
        assert_eq!(excerpt(b"abc", 3), "abc");
    }
}
