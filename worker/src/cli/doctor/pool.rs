//! What `doctor` finds out about the pool: whether it is as large as the line wants it, and how long a burst of callers waits until each
//! has a connection. A worker's own figures are in its metrics and in `GET /api/v1/health/db`; a pool that was made a moment ago has none.

use std::time::Duration;

use ledgerline_schema::store::{Burst, DatabaseConfig, PoolConfig, PoolState, SetUpFailure, Store};

use super::Probe;
use crate::config::Config;
use crate::pool_report::{remedy, too_small};

pub(super) const POOL: &str = "pool";

/// Connections of the server that a burst leaves alone: somebody else may need one just now.
const LEFT: i64 = 3;

/// Tries as many connections at once as a worker may open, if the server has so many left.
pub(super) async fn probe(config: &Config, free: i64) -> Probe {
    let (size, wanted) = (config.database.pool.size, config.wanted_connections());
    let count = match to_try(free, size) {
        Ok(count) => count,
        Err(probe) => return probe,
    };
    let tried = DatabaseConfig {
        pool: PoolConfig { size: count, ..config.database.pool.clone() },
        ..config.database.clone()
    };
    match Store::connect(&tried).await {
        Ok(store) => {
            let burst = store.burst(count).await;
            judge(&config.database.pool, wanted, &burst, &store.pool_state())
        }
        Err(error) => Probe::fail(POOL, error.to_string(), "see the probe of the database"),
    }
}

/// How many connections may be tried. That there are none is what a worker would meet, too.
fn to_try(free: i64, size: u32) -> Result<u32, Probe> {
    if free <= LEFT {
        let found =
            format!("not tried: {} connections are left, and the last {LEFT} are for others", free.max(0));
        return Err(Probe::warn(POOL, found, remedy(SetUpFailure::Full)));
    }
    Ok(u32::try_from(free - LEFT).unwrap_or(u32::MAX).min(size))
}

fn judge(pool: &PoolConfig, wanted: u32, burst: &Burst, state: &PoolState) -> Probe {
    let Burst { asked, had, longest } = *burst;
    let found = format!(
        "{had} of {asked} connections at once within {} ms; size {}, the line wants {wanted}, kept open {}",
        longest.as_millis(),
        pool.size,
        pool.min_idle
    );
    let worst = state.failures().filter(|(_, count)| *count > 0).max_by_key(|(_, count)| *count);
    if let Some((why, count)) = worst {
        let found = format!("{found}; {count} could not be set up ({})", why.name());
        return Probe::warn(POOL, found, remedy(why));
    }
    if had < asked {
        return Probe::warn(
            POOL,
            found,
            "the others waited in vain: raise database.pool.checkout_timeout_ms",
        );
    }
    if pool.size < wanted {
        return Probe::warn(
            POOL,
            format!("{found}: {}", too_small(pool.size, wanted)),
            "raise database.pool.size to what the line wants: its callers would wait for each other",
        );
    }
    if longest > Duration::from_millis(pool.connect_timeout_ms) / 2 {
        let advice = "setting up takes more than half of database.pool.connect_timeout_ms: look at the way there and at the server's load";
        return Probe::warn(POOL, found, advice);
    }
    Probe::ok(POOL, found)
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn judged(size: u32, burst: Burst, state: &PoolState) -> Probe {
        let pool = PoolConfig { size, ..PoolConfig::default() };
        judge(&pool, 7, &burst, state)
    }

    fn burst(had: u32, longest_ms: u64) -> Burst {
        Burst { asked: 8, had, longest: Duration::from_millis(longest_ms) }
    }

    #[test]
    fn a_burst_that_is_served_is_good() {
        let found = judged(8, burst(8, 40), &PoolState::default());
        assert_eq!(found.status, Status::Ok, "{found:?}");
        assert!(found.found.contains("8 of 8") && found.found.contains("within 40 ms"), "{found:?}");
    }

    #[test]
    fn a_server_that_is_full_is_a_warning_and_not_left_out() {
        for (free, left) in [(LEFT, "3 connections are left"), (0, "0 connections"), (-2, "0 connections")] {
            let probe = to_try(free, 8).expect_err("nothing to try with");
            assert!(probe.status == Status::Warn && probe.found.contains(left), "{probe:?}");
            assert!(probe.advice.is_some_and(|text| text.contains("max_connections")), "{probe:?}");
        }
        assert_eq!([to_try(LEFT + 1, 8), to_try(LEFT + 9, 8)], [Ok(1), Ok(8)]);
    }

    #[test]
    fn what_is_wrong_has_its_advice() {
        let full = PoolState { set_up_failures: [0, 0, 0, 0, 5, 0, 0, 1], ..PoolState::default() };
        for (probe, advice) in [
            (judged(8, burst(3, 5_000), &full), "max_connections"),
            (judged(8, burst(7, 5_000), &PoolState::default()), "checkout_timeout_ms"),
            (judged(6, burst(8, 40), &PoolState::default()), "database.pool.size"),
            (judged(8, burst(8, 2_001), &PoolState::default()), "connect_timeout_ms"),
        ] {
            assert_eq!(probe.status, Status::Warn, "{probe:?}");
            assert!(probe.advice.is_some_and(|text| text.contains(advice)), "{advice}: {probe:?}");
        }
    }
}
