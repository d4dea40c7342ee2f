//! A line that moves, drawn with box characters: points over time. Pure; used by the demo's summary.

use ledgerline_schema::time::UtcMicros;

/// A value that stood from one time to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// First seen.
    pub from: UtcMicros,
    /// Last seen.
    pub to: UtcMicros,
    /// Points.
    pub value: f32,
}

/// Most rows; a line that moves further is drawn in coarser steps.
const ROWS: usize = 12;
/// Columns between the axis and the right margin: 80 with the labels.
const COLUMNS: usize = 64;

/// Draws the spans, which are in the order of time. Nothing where there are none.
pub fn draw(spans: &[Span]) -> String {
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else { return String::new() };
    let low = spans.iter().map(|span| span.value).fold(f32::INFINITY, f32::min);
    let high = spans.iter().map(|span| span.value).fold(f32::NEG_INFINITY, f32::max);
    let step = step(high - low);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to ROWS")]
    let row = |value: f32| ((high - value) / step).round() as usize;
    let path: Vec<usize> = columns(spans, first.from, last.to).into_iter().map(row).collect();
    let mut grid = vec![vec![' '; COLUMNS]; row(low) + 1];
    trace(&mut grid, &path);
    let mut text = String::new();
    for (index, cells) in grid.iter().enumerate() {
        let cells: String = cells.iter().collect();
        text += &format!("{:>8} ┤{}\n", high - step * index as f32, cells.trim_end());
    }
    text + &time_axis(first.from, last.to)
}

/// Half a point a row, or as much as it takes.
fn step(range: f32) -> f32 {
    let mut step = 0.5;
    while range / step > (ROWS - 1) as f32 {
        step *= 2.0;
    }
    step
}

/// The value at each column's time; the first column is the beginning, the last one the end.
fn columns(spans: &[Span], from: UtcMicros, to: UtcMicros) -> Vec<f32> {
    let width = to.0 - from.0;
    let at = |column: usize| from.0 + width * column as i64 / (COLUMNS as i64 - 1);
    let value = |time: i64| {
        let standing = spans.iter().rev().find(|span| span.from.0 <= time).or(spans.first());
        standing.map_or(0.0, |span| span.value)
    };
    (0..COLUMNS).map(|column| value(at(column))).collect()
}

/// Joins the columns' rows to one line. Row 0 is at the top.
fn trace(grid: &mut [Vec<char>], path: &[usize]) {
    for (column, &row) in path.iter().enumerate() {
        let before = path[column.saturating_sub(1)];
        for cells in &mut grid[row.min(before)..=row.max(before)] {
            cells[column] = '│';
        }
        let (left, here) = match row.cmp(&before) {
            std::cmp::Ordering::Equal => ('─', '─'),
            std::cmp::Ordering::Less => ('╯', '╭'),
            std::cmp::Ordering::Greater => ('╮', '╰'),
        };
        grid[before][column] = left;
        grid[row][column] = here;
    }
}

/// The axis with the time of day at both ends and in the middle.
fn time_axis(from: UtcMicros, to: UtcMicros) -> String {
    let clock = |time: UtcMicros| time.to_string()[11..16].to_owned();
    let middle = UtcMicros(from.0.midpoint(to.0));
    let line = "─".repeat(COLUMNS);
    let (left, right) = (COLUMNS.div_ceil(2), COLUMNS / 2);
    let labels = format!("{:<left$}{:>right$}", clock(from), clock(to));
    // The middle's label is centred between the other two.
    let (start, end) = labels.split_at((COLUMNS - 5) / 2);
    let (middle, end) = (clock(middle), &end[5..]);
    format!("{:>8} └{line}\n{:>8}  {start}{middle}{end}\n", "", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(hour: i64, value: f32) -> Span {
        let from = UtcMicros(hour * UtcMicros::HOUR);
        Span { from, to: from.plus(UtcMicros::HOUR), value }
    }

    #[test]
    fn draws_steps() {
        let chart = draw(&[span(7, 44.5), span(9, 45.0), span(12, 46.0), span(14, 45.5)]);
        assert_eq!(
            format!("\n{chart}"),
            "
      46 ┤                                        ╭───────────────╮
    45.5 ┤                                        │               ╰───────
      45 ┤                ╭───────────────────────╯
    44.5 ┤────────────────╯
         └────────────────────────────────────────────────────────────────
          07:00                        11:00                         15:00
"
        );
    }

    #[test]
    fn a_flat_line_and_no_line() {
        assert_eq!(draw(&[span(7, -1.5)]).lines().count(), 3);
        assert_eq!(draw(&[]), "");
    }

    proptest::proptest! {
        #[test]
        fn fits_the_terminal(values in proptest::collection::vec(-500i16..500, 1..40)) {
            let spans: Vec<Span> =
                values.iter().enumerate().map(|(hour, value)| span(hour as i64, f32::from(*value) / 2.0)).collect();
            let chart = draw(&spans);
            proptest::prop_assert!(chart.lines().count() <= ROWS + 2);
            proptest::prop_assert!(chart.lines().all(|line| line.chars().count() <= 80));
        }
    }
}
