//! A sparkline: how much in each step of the last minutes, drawn on the server as SVG. Pure.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::text::count;

/// Units of the drawing; the style sheet gives it its size.
const WIDTH: usize = 300;
const HEIGHT: usize = 40;

/// Draws the steps as an area with a line on top. `what` is said to whoever cannot see it.
pub(super) fn draw(steps: &[u64], what: &str, class: &str) -> Markup {
    let most = steps.iter().copied().max().unwrap_or(0);
    let last = steps.last().copied().unwrap_or(0);
    let words = format!(
        "{what}: {} in the last step, {} at most",
        count(last.cast_signed()),
        count(most.cast_signed())
    );
    let line = line(steps, most);
    html! {
        svg.spark.(class) viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(words) {
            @if !steps.is_empty() {
                path.area d={ (line) "L" (WIDTH) " " (HEIGHT) "L0 " (HEIGHT) "Z" } {}
                path.line d=(line) {}
            }
        }
    }
}

/// The line through the middle of no step but along its top: what was stored in a step is a block, not a point.
fn line(steps: &[u64], most: u64) -> String {
    let mut path = String::new();
    let mut before = None;
    for (index, step) in steps.iter().enumerate() {
        let y = height(*step, most);
        if before == Some(y) {
            continue;
        }
        let x = WIDTH as f64 * index as f64 / steps.len() as f64;
        // A String takes everything.
        let _ = match before {
            None => write!(path, "M0 {y:.1}"),
            Some(_) => write!(path, "H{x:.1}V{y:.1}"),
        };
        before = Some(y);
    }
    let _ = write!(path, "H{WIDTH}");
    path
}

/// One unit stays free at either end, for the width of the line.
fn height(step: u64, most: u64) -> f64 {
    let share = if most == 0 { 0.0 } else { step as f64 / most as f64 };
    let y = (HEIGHT - 1) as f64 - share * (HEIGHT - 2) as f64;
    (y * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_blocks_and_equal_ones_are_one() {
        assert_eq!(line(&[0, 0, 10, 5], 10), "M0 39.0H150.0V1.0H225.0V20.0H300");
        assert_eq!(line(&[0, 0], 0), "M0 39.0H300");
    }

    #[test]
    fn it_is_said_in_words_too() {
        let drawn = draw(&[1, 2_000, 3], "records", "wide").into_string();
        assert!(drawn.contains(r#"aria-label="records: 3 in the last step, 2,000 at most""#), "{drawn}");
        assert!(!draw(&[], "records", "wide").into_string().contains("<path"));
    }
}
