//! The one place that reads the wall clock. Everything else takes time as an argument. And how work that repeats is paced.

use std::time::Duration;

use ledgerline_schema::time::UtcMicros;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Now, in microseconds since 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the replacement that the ban names")]
pub fn now() -> UtcMicros {
    UtcMicros(jiff::Timestamp::now().as_microsecond())
}

/// Ticks that far from each other, the first one at once. After work that took longer nothing is made up for.
#[must_use]
pub fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
