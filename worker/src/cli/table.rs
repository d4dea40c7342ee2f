//! Text for people: columns that line up, and bytes of records that cannot disturb a terminal. Used by the operators' commands
//! and by the status page.

use std::fmt::Write as _;

use ledgerline_schema::events::rejection::is_plain;

/// No column is wider; a longer cell moves the rest of its row. The formatter takes no width beyond 65,535.
const WIDEST: usize = 500;

/// Rows as lines, each column as wide as its widest cell; the first row is the head. The last cell of a row is not padded and
/// widens nothing: it may be a whole record.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| column + 1 < row.len()).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).min(WIDEST)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let width = if column + 1 < row.len() { *width } else { 0 };
            let _ = write!(line, "{cell:<width$}  "); // a String takes everything
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A row of a table.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// At most `limit` characters of the bytes on one line: what is not UTF-8, and every control character, is escaped.
pub(crate) fn excerpt(bytes: &[u8], limit: usize) -> String {
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

/// What a terminal does not show as what it is goes out as its escape.
fn push(line: &mut String, c: char) {
    if is_plain(c) {
        line.push(c);
    } else {
        line.extend(c.escape_default());
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
    fn a_cell_may_be_as_large_as_a_record() {
        let record = "x".repeat(1 << 20);
        let rows = [row(["payload", &record]), row(["id", "1"]), row([&record, "last"])];
        let text = aligned(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].len(), WIDEST + 2 + record.len());
        assert_eq!((lines[1].len(), lines[2].len()), (WIDEST + 3, record.len() + 6));
    }

    #[test]
    fn an_excerpt_is_one_harmless_line() {
        assert_eq!(excerpt(b"a\n\x1b[31m\xff\x00", 80), "a\\n\\u{1b}[31m\\xff\\u{0}");
        assert_eq!(excerpt("ä".repeat(90).as_bytes(), 3), "äää…");
        assert_eq!(excerpt("\u{202e}x".as_bytes(), 9), "\\u{202e}x");
        assert_eq!(excerpt("\u{2028}x".as_bytes(), 9), "\\u{2028}x", "an end of a line to some");
        assert_eq!(excerpt(b"abc", 3), "abc");
    }
}
