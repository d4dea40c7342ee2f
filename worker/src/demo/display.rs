//! What the demo shows while it runs, on standard error: a bar on a terminal, a line every two seconds elsewhere. Only looks.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::feed::Tally;
use super::stored;
use crate::cli::operator::tell;
use crate::progress::Progress;

/// How often the bar is drawn, and how often a line is written.
const BAR_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Shows the state again and again, until dropped.
pub async fn show(tally: Arc<Tally>, pipelines: Arc<[Arc<Progress>]>, length: Duration) {
    let terminal = std::io::stderr().is_terminal();
    let bar = Cleared(if terminal { bar(length) } else { ProgressBar::hidden() });
    let mut ticks = tokio::time::interval(if terminal { BAR_EVERY } else { LINE_EVERY });
    ticks.tick().await; // the first one comes at once
    let started = Instant::now();
    let (mut before, mut at) = (0, started);
    let mut rate = 0.0;
    loop {
        ticks.tick().await;
        let records = stored(&pipelines);
        // A batch is many records, so the rate of one tick jumps: it is smoothed.
        let now = records.saturating_sub(before) as f64 / at.elapsed().as_secs_f64();
        rate = if rate == 0.0 || !terminal { now } else { 0.9 * rate + 0.1 * now };
        (before, at) = (records, Instant::now());
        let seconds = started.elapsed().as_secs_f64().round() as u64;
        let behind = tally.records().saturating_sub(records);
        let line =
            format!("{} stored, {} a second, {} behind", count(records), count(rate as u64), count(behind));
        if terminal {
            bar.0.set_position(seconds.min(length.as_secs()));
            bar.0.set_message(line);
        } else {
            tell(format_args!("{seconds:>3} s  {line}"));
        }
    }
}

fn bar(length: Duration) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {bar:20} {pos:>2}/{len} s  {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▉▊▋▌▍▎▏ ");
    ProgressBar::new(length.as_secs()).with_style(style)
}

/// Leaves no bar behind when the display is told to end.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn count(number: u64) -> HumanCount {
    HumanCount(number)
}
