//! `Rate`: how many records a second a source hands out. Pure: told the time.
//!
//! What must stay true: over any stretch of time no more than the rate allows for it, and a burst of a tenth of a second.

use std::time::{Duration, Instant};

/// A bound on records a second.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    per_second: f64,
    /// Records that may be handed out at once.
    tokens: f64,
    at: Instant,
}

impl Rate {
    /// That many a second.
    #[must_use]
    pub fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, tokens: 1.0, at: now }
    }

    /// How long until the next record may be handed out; null where it may now.
    pub fn wait(&mut self, now: Instant) -> Option<Duration> {
        let burst = (self.per_second / 10.0).max(1.0);
        let earned = now.duration_since(self.at).as_secs_f64() * self.per_second;
        (self.tokens, self.at) = ((self.tokens + earned).min(burst), now);
        (self.tokens < 1.0).then(|| Duration::from_secs_f64((1.0 - self.tokens) / self.per_second))
    }

    /// A record was handed out.
    pub fn took_one(&mut self) {
        self.tokens -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Somebody asks at any times and takes whatever he may.
        #[test]
        fn no_more_than_the_rate_and_a_burst(
            per_second in 1u32..5_000, pauses_ms in proptest::collection::vec(0u64..300, 1..60)
        ) {
            let start = Instant::now();
            let (mut rate, mut now, mut taken) = (Rate::new(per_second, start), start, 0u32);
            for pause_ms in pauses_ms {
                now += Duration::from_millis(pause_ms);
                while rate.wait(now).is_none() {
                    rate.took_one();
                    taken += 1;
                }
                let allowed = now.duration_since(start).as_secs_f64() * f64::from(per_second);
                let burst = (f64::from(per_second) / 10.0).max(1.0);
                proptest::prop_assert!(f64::from(taken) <= allowed + burst + 1.0, "{taken} of {allowed}");
            }
        }
    }

    #[test]
    fn who_waits_as_long_as_he_was_told_may_go_on() {
        let mut now = Instant::now();
        let mut rate = Rate::new(4, now);
        for _ in 0..20 {
            while let Some(wait) = rate.wait(now) {
                now += wait.max(Duration::from_micros(1));
            }
            rate.took_one();
        }
    }
}
