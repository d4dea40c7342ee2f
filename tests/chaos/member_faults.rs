//! Faults of the members of the group, and of the broker.

use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::faults::{Fault, seconds};
use crate::fleet::WORKERS;
use crate::proxy::Mode;
use crate::sql::{Sql, number, text};
use crate::world::World;
use crate::{pass, within};

/// How long a worker may take to end after SIGTERM: what it is configured to, and some time for a slow machine.
const DRAIN: Duration = Duration::from_secs(40);
/// A member that is silent for longer than this is put out of its group.
const SESSION: Duration = Duration::from_secs(6);

pub async fn kill(world: &World, dice: &mut Dice) -> Option<String> {
    let worker = dice.below(WORKERS);
    world.fleet.signal(worker, "KILL").then(|| format!("worker {worker}"))
}

pub async fn pause(world: &World, dice: &mut Dice, (low, high): (u64, u64)) -> Option<String> {
    let (worker, span) = (dice.below(WORKERS), dice.millis(low, high));
    if !world.fleet.signal(worker, "STOP") {
        return None;
    }
    pass(span).await;
    world.fleet.signal(worker, "CONT");
    Some(format!("worker {worker} for {}", seconds(span)))
}

/// Slows the ways to the database, so that workers are inside transactions most of the time; stops one there; and looks whether
/// the server sees a transaction that nobody goes on with. Without that it counts as a plain stop.
pub async fn pause_in_transaction(world: &World, dice: &mut Dice) -> Option<(Fault, String)> {
    let (first, span) = (dice.below(WORKERS), dice.millis(2_500, 8_500));
    let ways = &world.fleet.proxies[..WORKERS];
    ways.iter().for_each(|proxy| proxy.switch(Mode::Slow(Duration::from_millis(40))));
    let (worker, inside) = stop_inside(world, first).await;
    ways.iter().for_each(|proxy| proxy.switch(Mode::Open));
    if !inside && !world.fleet.signal(worker, "STOP") {
        return None;
    }
    pass(span).await;
    world.fleet.signal(worker, "CONT");
    let (fault, place) = match inside {
        true => (Fault::WorkerPauseInTransaction, "inside its transaction"),
        false if span > SESSION => (Fault::WorkerPauseLong, "not caught inside a transaction"),
        false => (Fault::WorkerPauseShort, "not caught inside a transaction"),
    };
    Some((fault, format!("worker {worker} for {}, {place}", seconds(span))))
}

/// Stops one worker after the other, beginning with `first`, until one is caught inside a transaction; only that one stays
/// stopped.
async fn stop_inside(world: &World, first: usize) -> (usize, bool) {
    let mut sql = world.sql();
    let start = Instant::now();
    for worker in (first..first + WORKERS).map(|index| index % WORKERS).cycle() {
        if start.elapsed() > Duration::from_secs(3) {
            break;
        }
        pass(Duration::from_millis(10)).await;
        let proxy = &world.fleet.proxies[worker];
        let working = "state in ('active', 'idle in transaction')";
        if !in_transaction(&mut sql, &proxy.outgoing(), working).await || !world.fleet.signal(worker, "STOP")
        {
            continue;
        }
        pass(Duration::from_millis(120)).await; // what is under way arrives
        if in_transaction(&mut sql, &proxy.outgoing(), "state = 'idle in transaction'").await {
            return (worker, true);
        }
        world.fleet.signal(worker, "CONT");
    }
    (first, false)
}

/// Whether one of the sessions from these ports has a transaction in that state.
async fn in_transaction(sql: &mut Sql, ports: &[u16], state: &str) -> bool {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    if ports.is_empty() {
        return false;
    }
    let ask = format!(
        "select 1 from pg_stat_activity where {state} and xact_start is not null and client_port in ({})",
        ports.join(", ")
    );
    sql.rows(&ask).await.is_ok_and(|rows| !rows.is_empty())
}

pub async fn rolling_restart(world: &World) -> Option<String> {
    let mut ends = Vec::new();
    for worker in 0..WORKERS {
        let Some(pid) = world.fleet.pid(worker) else { continue };
        let start = Instant::now();
        world.fleet.signal(worker, "TERM");
        if !world.fleet.gone(worker, pid, DRAIN).await {
            world
                .fleet
                .unasked
                .lock()
                .expect("the ends")
                .push(format!("worker {worker} outlived SIGTERM by {DRAIN:?}"));
            world.fleet.signal(worker, "KILL");
        }
        ends.push(seconds(start.elapsed()));
        within(Duration::from_secs(5), || std::future::ready(world.fleet.pid(worker).is_some())).await;
    }
    Some(format!("ended within {}", ends.join(", ")))
}

pub async fn rebalance_storm(world: &World, dice: &mut Dice) -> Option<String> {
    let rounds = dice.between(2, 3);
    for _ in 0..rounds {
        world.fleet.want(WORKERS, true);
        pass(Duration::from_secs(2)).await;
        world.fleet.want(WORKERS, false);
        pass(dice.millis(500, 1_500)).await;
    }
    Some(format!("one more worker came and went {rounds} times"))
}

pub async fn broker_kill(world: &World, dice: &mut Dice) -> Option<String> {
    let span = dice.millis(0, 2_000);
    let mut kafka = world.servers.kafka.lock().await;
    kafka.kill().await;
    pass(span).await;
    kafka.start_again().await;
    Some(format!("away for {} and its start", seconds(span)))
}

pub async fn broker_restart(world: &World) -> Option<String> {
    let start = Instant::now();
    let mut kafka = world.servers.kafka.lock().await;
    kafka.stop().await;
    kafka.start_again().await;
    Some(format!("back after {}", seconds(start.elapsed())))
}

/// The positions as the database has them: partition, next offset.
pub async fn positions(world: &World, sql: &mut Sql) -> Result<Vec<(i32, i64)>, String> {
    let rows = sql
        .rows(&format!(
            "select partition, next_offset from partition_offsets where topic = '{}' order by 1",
            world.topic
        ))
        .await?;
    Ok(rows.iter().map(|row| (text(row, 0).parse().unwrap_or(-1), number(row, 1))).collect())
}
