//! The write protocol under deterministic simulation: the real `protocol.rs` in two or three workers, against small models of
//! Kafka and the database, in thousands of orders of events that seeds decide. docs/RELIABILITY.md says what is modelled.
//!
//! What must stay true: the seed alone decides everything; nothing of the product is used but the protocol and its types.

mod check;
mod coverage;
mod database;
mod faults;
mod kafka;
mod schedule;
mod spool;
mod task;
mod trace;
mod transaction;
mod worker;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use coverage::Coverage;
use world::World;

/// Schedules of an ordinary run.
const SCHEDULES: u64 = 10_000;
/// From so many schedules on, everything has to have happened at least once.
const ENOUGH: u64 = 5_000;

#[expect(clippy::disallowed_methods, reason = "how long to search, or what to show, comes from outside")]
fn given(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Runs one schedule. A panic of the protocol is a violation too.
fn run(seed: u64, traced: bool) -> World {
    let mut world = World::new(seed, traced);
    if catch_unwind(AssertUnwindSafe(|| world.run())).is_err() {
        world.check.fail("the protocol panicked".into());
    }
    world
}

/// Everything about one schedule, for people.
fn report(seed: u64) -> String {
    let world = run(seed, true);
    let end = world.check.violation.as_deref().unwrap_or("nothing is violated");
    let again = format!("LEDGERLINE_SIMULATION_SEED={seed} shows this schedule again");
    format!("{}\nseed {seed}: {end}\n{again}", world.trace.text())
}

/// Runs the schedules of all seeds below a number, on every core; answers what was seen, or the lowest seed that failed.
fn search(schedules: u64) -> Result<Coverage, u64> {
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let runner = || {
        let mut coverage = Coverage::default();
        while !failed.load(Relaxed) {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= schedules {
                break;
            }
            let world = run(seed, false);
            if world.check.violation.is_some() {
                failed.store(true, Relaxed);
                return Err(seed);
            }
            coverage.add(&world.coverage);
        }
        Ok(coverage)
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<_> = thread::scope(|scope| {
        let runners: Vec<_> = (0..cores).map(|_| scope.spawn(runner)).collect();
        runners.into_iter().map(|runner| runner.join().expect("a runner does not panic")).collect()
    });
    if let Some(seed) = results.iter().filter_map(|result| result.as_ref().err()).min() {
        return Err(*seed);
    }
    let mut all = Coverage::default();
    results.iter().flatten().for_each(|coverage| all.add(coverage));
    Ok(all)
}

#[test]
fn every_schedule_keeps_what_must_stay_true() {
    if let Some(seed) = given("LEDGERLINE_SIMULATION_SEED") {
        let report = report(seed);
        assert!(report.contains("nothing is violated"), "{report}");
        return println!("{report}");
    }
    let schedules = given("LEDGERLINE_SIMULATION_SCHEDULES").unwrap_or(SCHEDULES);
    let coverage = search(schedules).unwrap_or_else(|seed| panic!("{}", report(seed)));
    println!("{schedules} schedules\n{coverage}");
    let unseen = coverage.unseen();
    assert!(schedules < ENOUGH || unseen.is_empty(), "never happened, so nothing is known of it: {unseen:?}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..20 {
        let (once, again) = (run(seed, true), run(seed, true));
        assert_eq!(once.trace.text(), again.trace.text());
        assert_eq!(once.coverage, again.coverage);
    }
}
