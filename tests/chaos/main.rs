//! `make chaos`: the whole product on real Kafka and real PostgreSQL while both, and the workers, and the ways between them, fail
//! in an order that one seed decides; and then the question whether every record is stored exactly once. `make test` runs five
//! short seeds of it. It knows the product from outside: its binary, its tables, its logs.
//!
//! What must stay true: nothing of the product's code is used here, or the checker would share its mistakes.

mod check;
mod database_faults;
mod dice;
mod driver;
mod events;
mod faults;
mod fleet;
mod logs;
mod member_faults;
mod producers;
mod proxy;
mod report;
#[path = "../support/servers.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod servers;
mod spool_faults;
mod sql;
mod truth;
mod witness;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use events::PARTITIONS;
use producers::Producers;
use report::Outcome;
use world::{Servers, World};

/// What `make test` runs. These draw nearly all faults between them in that time; the first four begin with one that concerns spools,
/// each with another, and the workers of the last have none.
const SHORT: [u64; 5] = [646, 590, 45, 619, 3556];
const SHORT_SECONDS: u64 = 25;
/// Records per second, all producers together; two slow cores keep up with it.
const PER_SECOND: u32 = 800;
/// How long the workers may take to have no lag after the last fault.
const RECOVERY: Duration = Duration::from_secs(120);

/// Waits for a time: when a fault begins and ends is what this test decides.
async fn pass(span: Duration) {
    let _ = tokio::time::timeout(span, std::future::pending::<()>()).await;
}

/// Waits until the condition holds. False if it does not within the bound.
async fn within<F: Future<Output = bool>>(bound: Duration, mut condition: impl FnMut() -> F) -> bool {
    let (start, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_millis(50)));
    loop {
        if condition().await {
            return true;
        }
        if start.elapsed() > bound {
            return false;
        }
        ticks.tick().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "what to run comes from `make chaos`")]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(format!("LEDGERLINE_CHAOS_{name}")).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, and is {text:?}")))
}

/// Seeds and seconds: what was asked for; new luck where only their number was; else the same as always.
fn plan() -> (Vec<u64>, u64) {
    let (seed, count, seconds) = (setting("SEED"), setting("SEEDS"), setting("SECONDS"));
    let seconds = seconds.unwrap_or(SHORT_SECONDS);
    let first = match (seed, count) {
        (None, None) => return (SHORT.to_vec(), seconds),
        (Some(seed), _) => seed,
        (None, Some(_)) => u64::from(uuid::Uuid::new_v4().as_fields().0),
    };
    ((first..first + count.unwrap_or(1)).collect(), seconds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_record_is_stored_exactly_once_whatever_fails() {
    let (seeds, seconds) = plan();
    let servers = Arc::new(Servers::start().await);
    let mut outcomes = Vec::new();
    for seed in seeds {
        let outcome = run(&servers, seed, Duration::from_secs(seconds)).await;
        println!("{}\n", outcome.text());
        outcomes.push(outcome);
    }
    let table = report::table(&outcomes, seconds);
    println!("{table}\nwritten to {}", report::write(&table).display());
    let violated: Vec<u64> = outcomes
        .iter()
        .filter(|outcome| !outcome.violations.is_empty())
        .map(|outcome| outcome.seed)
        .collect();
    assert!(
        violated.is_empty(),
        "violated by the seeds {violated:?}; one of them again: make chaos SEED=n SECONDS={seconds}"
    );
}

/// The fault that the seed is there for, where it could not be done. In seeds of luck the broker may be in its way.
fn left_out(world: &World) -> Option<String> {
    let first = driver::first(world).filter(|_| SHORT.contains(&world.seed))?;
    let done = world.done.lock().expect("the tally").contains_key(&first);
    (!done).then(|| format!("nothing was seen of {first:?}, which this seed begins with"))
}

/// One seed, from an empty database to the verdict.
async fn run(servers: &Arc<Servers>, seed: u64, span: Duration) -> Outcome {
    let world = World::start(servers, seed).await;
    let producers = Producers::start(seed, &servers.brokers, &world.topic, PER_SECOND);
    let done = Arc::new(AtomicBool::new(false));
    let watching = witness::watch(&world, Arc::clone(&producers.ends), Arc::clone(&done));
    let acting = async {
        let answer = act(&world, producers, span).await;
        done.store(true, Ordering::Relaxed);
        answer
    };
    let (sights, (ledgers, recovery)) = tokio::join!(watching, acting);
    for (partition, (span, end)) in sights.stalls.iter().enumerate() {
        world.tell(&format!(
            "partition {partition} stood still for {:.1} s until {end:.1} s",
            span.as_secs_f64()
        ));
    }
    let mut violations = std::mem::take(&mut *world.fleet.unasked.lock().expect("the ends"));
    violations.extend(left_out(&world));
    if recovery.is_none() {
        violations
            .push(format!("I10: still behind {RECOVERY:?} after the last fault: {}", standing(&world).await));
    }
    violations.extend(world.fleet.stop().await);
    if world.spools.is_some() {
        violations.extend(world.fleet.left_in_spools());
    }
    violations.extend(logs::check(&world.folder));

    let (brokers, topic) = (servers.brokers.clone(), world.topic.clone());
    let truth = tokio::task::spawn_blocking(move || truth::read(&brokers, &topic)).await.expect("a reader");
    let truth = truth.expect("the topic is read");
    let stored = check::Stored::read(&mut world.sql(), &world.topic).await;
    violations.extend(check::check(&world, &truth, &ledgers, &stored, &sights).0);
    violations.extend(cross_check(&world));
    let outcome = Outcome {
        seed,
        faults: world.done.lock().expect("the tally").clone(),
        events: truth.records.len(),
        quotes: stored.quotes(),
        dead_letters: stored.dead_letters(),
        resets: stored.resets(),
        snapshots: sights.snapshots.len(),
        stalls: sights.stalls.iter().map(|(span, _)| *span).collect(),
        recovery,
        peak_mib: world.fleet.peak_mib(),
        connections: sights.connections,
        idle_in_transaction: sights.idle_in_transaction,
        violations,
    };
    leave(&world, &outcome, &stored).await;
    outcome
}

/// Faults, healing, and the wait for the workers to catch up. Answers the producers' ledgers and how long that took.
async fn act(
    world: &World,
    producers: Producers,
    span: Duration,
) -> (Vec<producers::Ledger>, Option<Duration>) {
    world.tell("all is well");
    pass(Duration::from_secs(1)).await;
    driver::run(world, span).await;
    world.fleet.heal();
    world.tell("all is healed");
    let healed = Instant::now();
    let ledgers = tokio::task::spawn_blocking(move || producers.stop()).await.expect("the producers end");
    let mut sql = world.sql();
    let caught_up = loop {
        if no_lag(world, &mut sql).await {
            break Some(healed.elapsed());
        }
        if healed.elapsed() > RECOVERY {
            break None;
        }
        pass(Duration::from_millis(100)).await;
    };
    world.tell(&format!("no lag: {caught_up:?}"));
    (ledgers, caught_up)
}

/// Whether every position is at its partition's end, over trailing markers too.
async fn no_lag(world: &World, sql: &mut sql::Sql) -> bool {
    let (brokers, topic) = (world.servers.brokers.clone(), world.topic.clone());
    let ends = tokio::task::spawn_blocking(move || truth::ends(&brokers, &topic)).await.expect("a reader");
    let positions = member_faults::positions(world, sql).await;
    match (ends, positions) {
        (Some(ends), Ok(positions)) => {
            positions.len() == PARTITIONS as usize && positions.into_iter().eq(ends)
        }
        _ => false,
    }
}

/// Where a run stands that does not get on.
async fn standing(world: &World) -> String {
    let ends = truth::ends(&world.servers.brokers, &world.topic);
    let rows = world
        .sql()
        .rows("select partition, next_offset, epoch, owner from partition_offsets order by 1")
        .await;
    format!("log {ends:?}, database {rows:?}")
}

/// What the product says about itself. No substitute for the checks above.
fn cross_check(world: &World) -> Option<String> {
    let output = world.cli(&["verify", "--kafka", "--strict", "--json"]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (!output.status.success())
        .then(|| format!("verify ({}): {} {}", output.status, text(&output.stdout), text(&output.stderr)))
}

/// A clean run leaves nothing behind; a violated one, or one that was asked for by its seed, everything.
async fn leave(world: &World, outcome: &Outcome, stored: &check::Stored) {
    if outcome.violations.is_empty() && setting("SEED").is_none() {
        let _ = std::fs::remove_dir_all(&world.folder);
        let mut admin = sql::Sql::new(world.servers.url("postgres"));
        let _ = admin.rows(&format!("drop database if exists {} with (force)", world.database)).await;
        return;
    }
    println!("logs, timeline and tables are in {}", world.folder.display());
    let write = |name: &str, text: String| drop(std::fs::write(world.folder.join(name), text));
    write("timeline.txt", world.timeline());
    write("verdict.txt", outcome.text());
    write("tables.txt", stored.text());
}
