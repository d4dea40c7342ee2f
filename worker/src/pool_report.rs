//! What a pool's figures say, in words: what to change, and why. Asked by the API about the pools of a worker, and by `doctor` about
//! one that it has just tried out. Pure: whoever asks about a worker's holds its counters against earlier ones (`pool_lately`), because
//! what was mended needs no advice any more.

use ledgerline_schema::store::{PoolState, SetUpFailure};

/// Fewer callers than this say nothing about how it usually goes.
const ENOUGH_CALLERS: u64 = 100;
/// One caller of so many may wait before it is worth a word.
const ONE_OF: u64 = 10;
/// So many times its size has to be closed and opened again in ten minutes before it is worth a word.
const CHURN: u64 = 2;

const LATELY: &str = "in the last 10 minutes";

/// What to change, by what was counted in the last ten minutes. `wanted` is what the configuration would need; null for a pool that has
/// no writers.
pub(crate) fn advice(state: &PoolState, wanted: Option<u32>) -> Vec<String> {
    let mut advice = Vec::new();
    let short = wanted.filter(|wanted| state.max < *wanted);
    if let Some(wanted) = short {
        advice.push(too_small(state.max, wanted));
    }
    if state.timeouts > 0 {
        let then = if short.is_some() {
            "raise database.pool.size"
        } else {
            "transactions are long or the database is slow: see ledgerline_batch_write_seconds before the pool is raised"
        };
        advice.push(format!("{} callers waited for a connection in vain {LATELY}: {then}", state.timeouts));
    } else if often_waits(state) {
        let each_ms = state.wait_time.as_secs_f64() * 1e3 / state.waits as f64;
        let then = match short {
            Some(wanted) => format!("raise database.pool.size to {wanted}"),
            None => {
                "no harm while it is short; else database.pool.min_idle keeps connections open for bursts"
                    .into()
            }
        };
        advice.push(format!(
            "{} callers waited for a connection {LATELY}, {each_ms:.0} ms on average: {then}",
            state.waits
        ));
    }
    if state.closed.failed_check > 0 {
        advice.push(format!(
            "{} idle connections were found dead {LATELY} when they were wanted: something ends them; set database.pool.idle_timeout_ms below its limit",
            state.closed.failed_check
        ));
    }
    if state.closed.idle > CHURN * u64::from(state.max) {
        advice.push(format!(
            "{} connections were closed {LATELY} because nobody used them, and opened again: raise database.pool.min_idle",
            state.closed.idle
        ));
    }
    for (why, count) in state.failures().filter(|(_, count)| *count > 0) {
        advice.push(format!("{count} connections could not be set up {LATELY}: {}", remedy(why)));
    }
    advice
}

/// What to say of a pool that is smaller than the configuration wants it.
pub(crate) fn too_small(size: u32, wanted: u32) -> String {
    format!(
        "{size} connections for a line that wants {wanted} (writers + 2, and those of sweeps and workflows): raise database.pool.size to {wanted}"
    )
}

/// What to do about connections that cannot be set up.
pub(crate) fn remedy(why: SetUpFailure) -> &'static str {
    match why {
        SetUpFailure::TimedOut => {
            "it takes longer than database.pool.connect_timeout_ms: look at the way there and at the server's load"
        }
        SetUpFailure::Unreachable => {
            "nobody answers there: check host and port of database.url, and the network's rules"
        }
        SetUpFailure::Tls => {
            "the certificate does not hold: check database.ca_file and the host's name in database.url"
        }
        SetUpFailure::Login => {
            "the server refuses role, password or database: check database.url and pg_hba.conf"
        }
        SetUpFailure::Full => {
            "the server or the role has no connection left: raise max_connections or the role's limit, or lower database.pool.size"
        }
        SetUpFailure::NotReady => {
            "the server starts, ends or only reads: database.url has to lead to the primary"
        }
        SetUpFailure::Settings => {
            "something between swallows settings: a pooler has to keep a session to one client"
        }
        SetUpFailure::Other => "the log has the text",
    }
}

fn often_waits(state: &PoolState) -> bool {
    let callers = state.direct + state.waits;
    callers >= ENOUGH_CALLERS && state.waits * ONE_OF > callers
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ledgerline_schema::store::Closed;

    use super::*;

    fn calm() -> PoolState {
        PoolState { max: 8, direct: 10_000, waits: 900, opened: 8, ..PoolState::default() }
    }

    /// The first words of each piece of advice say what it is about.
    fn told(state: &PoolState, wanted: Option<u32>) -> String {
        advice(state, wanted).join("\n")
    }

    #[test]
    fn a_calm_pool_needs_no_words() {
        assert_eq!(told(&calm(), Some(8)), "");
        assert_eq!(told(&PoolState { waits: 50, ..PoolState::default() }, None), "", "it is young");
    }

    #[test]
    fn waits_without_time_outs_ask_for_the_size_that_the_writers_need() {
        let waits = PoolState { waits: 2_000, wait_time: Duration::from_secs(10), ..calm() };
        let text = told(&waits, Some(12));
        assert!(text.contains("8 connections for a line that wants 12"), "{text}");
        assert!(text.contains("2000 callers waited") && text.contains("5 ms on average"), "{text}");
        assert!(text.contains("raise database.pool.size to 12"), "{text}");
        let enough = told(&waits, Some(8));
        assert!(!enough.contains("pool.size") && enough.contains("min_idle"), "{enough}");
    }

    #[test]
    fn time_outs_of_a_pool_that_is_large_enough_are_the_databases() {
        let vain = PoolState { timeouts: 3, ..calm() };
        assert!(told(&vain, Some(8)).contains("ledgerline_batch_write_seconds"));
        assert!(told(&vain, Some(9)).contains("in vain in the last 10 minutes: raise database.pool.size"));
    }

    #[test]
    fn each_failure_has_its_own_remedy_and_no_secret() {
        let mut texts = Vec::new();
        for (place, why) in SetUpFailure::ALL.into_iter().enumerate() {
            let mut state = calm();
            state.set_up_failures[place] = 2;
            let text = told(&state, None);
            assert_eq!(text, format!("2 connections could not be set up {LATELY}: {}", remedy(why)));
            texts.push(text);
        }
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), SetUpFailure::ALL.len());
    }

    #[test]
    fn stale_connections_name_the_setting() {
        let found = PoolState { closed: Closed { failed_check: 1, ..Closed::default() }, ..calm() };
        assert!(told(&found, None).contains("idle_timeout_ms"));
        let churn = PoolState { closed: Closed { idle: 17, ..Closed::default() }, ..calm() };
        assert!(told(&churn, None).contains("min_idle"));
    }
}
