//! The movement of a line as SVG: one block for each stretch of equal quotes, as wide as it stood and as high as its value. Drawn
//! on the server, so that it needs no script. Pure.

use std::fmt::Write as _;

use ledgerline_schema::time::UtcMicros;
use maud::{Markup, html};

use super::text::moment;

/// Units of the drawing; the style sheet scales it to the width of the page.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 280.0;
/// Where the blocks stand: room for values on the left, times below, the newest value on the right.
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 64.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = HEIGHT - 32.0;
/// Lines across, at round values.
const ROWS: f64 = 5.0;
/// Times below.
const COLUMNS: i64 = 5;
const DAY: i64 = 24 * UtcMicros::HOUR;

/// A stretch of equal quotes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Block {
    /// First seen.
    pub from: UtcMicros,
    /// Last seen.
    pub to: UtcMicros,
    /// How high; none where nothing was offered.
    pub value: Option<f64>,
    /// What was quoted, in words.
    pub quote: String,
}

/// From time and value to places in the drawing.
struct Scale {
    from: i64,
    to: i64,
    low: f64,
    high: f64,
    /// Between two lines across.
    step: f64,
}

impl Scale {
    /// Room for all of it, with a little air above and below. A single instant is drawn as a minute.
    fn of(blocks: &[Block]) -> Option<Self> {
        let (first, last) = (blocks.first()?, blocks.last()?);
        let to = last.to.0.max(first.from.0 + 60 * UtcMicros::SECOND);
        let values = || blocks.iter().filter_map(|block| block.value);
        let (low, high) =
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let (low, high) = if low.is_finite() { (low, high) } else { (0.0, 1.0) };
        let step = round_step((high - low) / ROWS);
        let scale = Self { from: first.from.0, to, low: low - step, high: high + step / 2.0, step };
        Some(scale)
    }

    fn x(&self, at: UtcMicros) -> f64 {
        LEFT + (RIGHT - LEFT) * (at.0 - self.from) as f64 / (self.to - self.from) as f64
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * (value - self.low) / (self.high - self.low)
    }

    /// The round values that lie within.
    fn rows(&self) -> Vec<f64> {
        let first = (self.low / self.step).ceil() as i64;
        let last = (self.high / self.step).floor() as i64;
        (first..=last).map(|n| n as f64 * self.step).collect()
    }
}

/// The smallest of 0.01, 0.02, 0.05, 0.1, … 0.5, 1, … that is not smaller.
fn round_step(least: f64) -> f64 {
    let mut decade = 0.01;
    while decade < 1e9 {
        for step in [1.0, 2.0, 5.0].map(|n| n * decade) {
            if step >= least {
                return step;
            }
        }
        decade *= 10.0;
    }
    decade
}

/// Draws the blocks, which are in the order of time. `title` and `description` are for whoever cannot see them.
pub(super) fn draw(blocks: &[Block], title: &str, description: &str) -> Markup {
    let Some(scale) = Scale::of(blocks) else { return html! {} };
    let ends = blocks.iter().skip(1).map(|next| next.from).chain([UtcMicros(scale.to)]);
    html! {
        svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-labelledby="chart-title chart-words" {
            title id="chart-title" { (title) }
            desc id="chart-words" { (description) }
            defs {
                pattern id="off" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    line.hatch x1="0" y1="0" x2="0" y2="8" {}
                }
            }
            g.axis aria-hidden="true" { (rows(&scale)) (columns(&scale)) }
            g.blocks { @for (block, end) in blocks.iter().zip(ends) { (one(&scale, block, end)) } }
            path.movement d=(path(&scale, blocks)) {}
            (newest(&scale, blocks))
        }
    }
}

/// One block. It stands until the next one was seen; where nothing was offered it is hatched from top to bottom.
fn one(scale: &Scale, block: &Block, end: UtcMicros) -> Markup {
    let (x, right) = (scale.x(block.from), scale.x(end));
    let width = (right - x).max(0.5);
    let (class, y) = match block.value {
        Some(value) => ("block", scale.y(value)),
        None => ("block off", TOP),
    };
    html! {
        rect class=(class) x=(place(x)) y=(place(y)) width=(place(width)) height=(place(BOTTOM - y)) {
            title { (block.quote) ", " (moment(block.from)) " to " (moment(block.to)) }
        }
    }
}

/// The line along the tops, interrupted where nothing was offered.
fn path(scale: &Scale, blocks: &[Block]) -> String {
    let mut path = String::new();
    let mut drawing = false;
    let ends = blocks.iter().skip(1).map(|next| next.from).chain([UtcMicros(scale.to)]);
    for (block, end) in blocks.iter().zip(ends) {
        let Some(value) = block.value else {
            drawing = false;
            continue;
        };
        let (x, y, right) = (place(scale.x(block.from)), place(scale.y(value)), place(scale.x(end)));
        // A String takes everything.
        let _ = if drawing { write!(path, "V{y}H{right}") } else { write!(path, "M{x} {y}H{right}") };
        drawing = true;
    }
    path
}

fn rows(scale: &Scale) -> Markup {
    html! {
        @for value in scale.rows() {
            @let y = place(scale.y(value));
            line.rule x1=(LEFT) x2=(RIGHT) y1=(y) y2=(y) {}
            text.value x=(LEFT - 8.0) y=(y) dy="0.32em" { (tidy(value)) }
        }
    }
}

fn columns(scale: &Scale) -> Markup {
    let width = scale.to - scale.from;
    let ticks = (0..COLUMNS).map(|n| UtcMicros(scale.from + width * n / (COLUMNS - 1)));
    html! {
        @for at in ticks {
            @let x = place(scale.x(at));
            line.tick x1=(x) x2=(x) y1=(BOTTOM) y2=(BOTTOM + 5.0) {}
            text.time x=(x) y=(BOTTOM + 20.0) { (label(at, width)) }
        }
    }
}

/// As much of a time as tells the labels apart.
fn label(at: UtcMicros, width: i64) -> String {
    let text = moment(at);
    match width {
        _ if width > 2 * DAY => text[5..10].to_owned(),
        _ if width > DAY / 2 => text[5..16].to_owned(),
        _ if width > 300 * UtcMicros::SECOND => text[11..16].to_owned(),
        _ => text[11..].to_owned(),
    }
}

/// The value that stands now, beside the end of the line.
fn newest(scale: &Scale, blocks: &[Block]) -> Markup {
    let Some(value) = blocks.last().and_then(|block| block.value) else { return html! {} };
    let y = place(scale.y(value));
    html! {
        circle.newest cx=(RIGHT) cy=(y) r="4" aria-hidden="true" {}
        text.newest x=(RIGHT + 10.0) y=(y) dy="0.32em" aria-hidden="true" { (tidy(value)) }
    }
}

/// A place in the drawing, to a tenth of a unit.
fn place(at: f64) -> f64 {
    (at * 10.0).round() / 10.0
}

/// A value without the dust of binary fractions, at most two places.
pub(super) fn tidy(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(from: i64, to: i64, value: Option<f64>) -> Block {
        let at = |minute: i64| UtcMicros(minute * 60 * UtcMicros::SECOND);
        Block { from: at(from), to: at(to), value, quote: format!("{value:?}") }
    }

    #[test]
    fn a_block_stands_until_the_next_one_is_seen() {
        let blocks = [block(0, 3, Some(44.5)), block(5, 7, Some(45.0)), block(8, 10, Some(44.5))];
        let scale = Scale::of(&blocks).expect("a scale");
        assert_eq!(path(&scale, &blocks), "M56 212.3H476V33.8H728V212.3H896");
        let drawn = draw(&blocks, "title", "words").into_string();
        assert_eq!(drawn.matches("<rect").count(), 3);
        assert!(drawn.contains(r#"<rect class="block" x="476" y="33.8" width="252""#), "{drawn}");
    }

    #[test]
    fn what_was_not_offered_interrupts_the_line() {
        let blocks = [block(0, 1, Some(2.0)), block(2, 3, None), block(4, 5, Some(2.0))];
        let scale = Scale::of(&blocks).expect("a scale");
        assert_eq!(path(&scale, &blocks).matches('M').count(), 2);
        let drawn = draw(&blocks, "t", "w").into_string();
        assert!(drawn.contains(r#"class="block off""#), "{drawn}");
    }

    #[test]
    fn nothing_and_hardly_anything_can_be_drawn() {
        assert_eq!(draw(&[], "t", "w").into_string(), "");
        for blocks in [vec![block(1, 1, Some(-1.5))], vec![block(1, 1, None)]] {
            let drawn = draw(&blocks, "t", "w").into_string();
            assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        }
    }

    #[test]
    fn values_have_no_dust() {
        assert_eq!([tidy(-1.5), tidy(0.1 + 0.2), tidy(-0.0), tidy(230.0)], ["-1.5", "0.3", "0", "230"]);
        assert_eq!(
            [round_step(0.0), round_step(0.03), round_step(0.3), round_step(7.0)],
            [0.01, 0.05, 0.5, 10.0]
        );
    }

    proptest::proptest! {
        #[test]
        fn stays_within_the_drawing(values in proptest::collection::vec(proptest::option::of(-500.0f64..500.0), 1..60)) {
            let blocks: Vec<Block> = values.iter().enumerate().map(|(n, value)| {
                let n = i64::try_from(n).expect("small");
                block(2 * n, 2 * n + 1, *value)
            }).collect();
            let scale = Scale::of(&blocks).expect("a scale");
            for block in &blocks {
                proptest::prop_assert!((LEFT..=RIGHT).contains(&scale.x(block.from)));
                if let Some(value) = block.value {
                    proptest::prop_assert!((TOP..=BOTTOM).contains(&scale.y(value)));
                }
            }
            proptest::prop_assert!(scale.rows().len() <= 9);
        }
    }
}
