//! Pauses between attempts: exponential with full jitter, so that workers that failed together do not come back together.

use std::time::Duration;

use rand::Rng;

/// Longest pause of the first attempt, in ms.
const BASE_MS: u64 = 50;
/// Longest pause at all, in ms: how late, at most, the end of an outage is noticed.
const CAP_MS: u64 = 5_000;

/// No pause is longer.
pub const LONGEST: Duration = Duration::from_millis(CAP_MS);

/// A random pause for the given attempt, counted from 0.
#[must_use]
pub fn pause(attempt: u32) -> Duration {
    Duration::from_millis(rand::rng().random_range(BASE_MS / 2..=longest_ms(attempt)))
}

fn longest_ms(attempt: u32) -> u64 {
    BASE_MS.saturating_mul(1 << attempt.min(16)).min(CAP_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        assert_eq!(longest_ms(0), BASE_MS);
        assert!(longest_ms(3) > longest_ms(2));
        assert_eq!(longest_ms(u32::MAX), CAP_MS);
        assert!(pause(1_000) <= Duration::from_millis(CAP_MS));
    }
}
