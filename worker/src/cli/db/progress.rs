//! How far long work has come: a line that moves on a terminal, a line every ten seconds elsewhere. Standard error alone.

use std::io::IsTerminal;
use std::pin::pin;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tokio::time::interval;

use super::super::operator::tell;

/// How often it says how far it is where there is no terminal to draw on.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How often it moves.
const MOVES_EVERY: Duration = Duration::from_millis(200);

/// What is told while somebody waits.
pub(super) struct Progress {
    bar: ProgressBar,
    on_terminal: bool,
    moved: Instant,
    told: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let bar = if on_terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        Self { bar, on_terminal, moved: Instant::now(), told: Instant::now() }
    }

    /// Begins another part of the work: shown at once on a terminal.
    pub(super) fn begin(&mut self, text: &str) {
        self.bar.set_message(text.to_owned());
        self.bar.tick();
        self.moved = Instant::now();
    }

    /// May be called as often as one likes.
    pub(super) fn say(&mut self, text: impl FnOnce() -> String) {
        if self.on_terminal && self.moved.elapsed() >= MOVES_EVERY {
            self.begin(&text());
        } else if !self.on_terminal && self.told.elapsed() >= TOLD_EVERY {
            tell(text());
            self.told = Instant::now();
        }
    }

    /// Waits for work that says nothing of itself, and tells what `text` says and for how long meanwhile.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>, text: impl Fn() -> String) -> T {
        self.watched(work, text, String::new).await
    }

    /// The same, with what somebody else says of the work behind it.
    pub(super) async fn watched<T>(
        &mut self,
        work: impl Future<Output = T>,
        text: impl Fn() -> String,
        seen: impl Fn() -> String,
    ) -> T {
        self.begin(&text());
        let (start, mut ticks) = (Instant::now(), interval(MOVES_EVERY));
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => {
                    self.say(|| format!("{}, {:.0} s{}", text(), start.elapsed().as_secs_f64(), seen()));
                }
            }
        }
    }

    /// Takes the line away; what is printed next stands alone.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
