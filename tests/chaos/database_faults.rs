//! Faults of the database, of the ways to it, and of those who work on it.

use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::events::PARTITIONS;
use crate::faults::{Fault, seconds};
use crate::fleet::WORKERS;
use crate::member_faults::positions;
use crate::proxy::Mode;
use crate::sql::Sql;
use crate::world::World;
use crate::{pass, within};

/// Sessions of the workers, in any database of this server.
const TERMINATE: &str = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'worker'";

pub async fn stop(world: &World, dice: &mut Dice, (low, high): (u64, u64)) -> Option<String> {
    let span = dice.millis(low, high);
    let mut postgres = world.servers.postgres.lock().await;
    postgres.stop_immediate().await;
    pass(span).await;
    postgres.start_again().await;
    Some(format!("away for {} and its recovery", seconds(span)))
}

pub async fn terminate(world: &World, dice: &mut Dice) -> Option<String> {
    let (span, every) = (dice.millis(2_000, 4_000), dice.millis(50, 300));
    let victim = "select pg_terminate_backend(pid) from \
                  (select pid from pg_stat_activity where usename = 'worker' order by random() limit 1) one";
    let mut sql = world.sql();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < span {
        count += sql.rows(victim).await.map_or(0, |rows| rows.len());
        pass(every).await;
    }
    Some(format!("{count} within {}", seconds(span)))
}

/// Every worker's way is armed, so that it is one with work that is hit; all are disarmed as soon as one has had its share.
pub async fn cut(world: &World, dice: &mut Dice, fault: Fault) -> Option<String> {
    let count = u32::try_from(dice.between(1, 4)).ok()?;
    let mode = match fault {
        Fault::CutBeforeCommit => Mode::CutBeforeCommit,
        Fault::CutAfterCommit => Mode::CutAfterCommit,
        _ => Mode::CutAnswer,
    };
    let proxies = &world.fleet.proxies;
    proxies.iter().for_each(|proxy| proxy.cut(mode, count));
    let spent = || std::future::ready(proxies.iter().any(|proxy| proxy.cuts_left() == 0));
    within(Duration::from_secs(4), spent).await;
    proxies.iter().for_each(|proxy| proxy.switch(Mode::Open));
    let cuts: Vec<u32> = proxies.iter().map(|proxy| count - proxy.cuts_left()).collect();
    cuts.iter().any(|cuts| *cuts > 0).then(|| format!("{cuts:?} times, by worker"))
}

pub async fn hole(world: &World, dice: &mut Dice) -> Option<String> {
    let (worker, span) = (dice.below(WORKERS), dice.millis(2_000, 4_500));
    on_the_way(world, worker, Mode::Hole, span).await
}

pub async fn refuse(world: &World, dice: &mut Dice) -> Option<String> {
    let (worker, span) = (dice.below(WORKERS), dice.millis(1_000, 3_500));
    on_the_way(world, worker, Mode::Refuse, span).await
}

async fn on_the_way(world: &World, worker: usize, mode: Mode, span: Duration) -> Option<String> {
    let proxy = &world.fleet.proxies[worker];
    proxy.switch(mode);
    pass(span).await;
    proxy.switch(Mode::Open);
    Some(format!("to worker {worker} for {}", seconds(span)))
}

pub async fn slow(world: &World, dice: &mut Dice) -> Option<String> {
    let (span, latency) = (dice.millis(2_000, 5_000), dice.millis(100, 200));
    let proxies = &world.fleet.proxies;
    proxies.iter().for_each(|proxy| proxy.switch(Mode::Slow(latency)));
    pass(span).await;
    proxies.iter().for_each(|proxy| proxy.switch(Mode::Open));
    Some(format!("{} ms each way for {}", latency.as_millis(), seconds(span)))
}

/// The workers' role may hold one connection, and loses those that it has.
pub async fn no_slots(world: &World, dice: &mut Dice) -> Option<String> {
    let span = dice.millis(2_000, 4_500);
    let limit = dice.between(0, 2);
    set(world, &format!("alter role worker connection limit {limit}")).await;
    set(world, TERMINATE).await;
    pass(span).await;
    set(world, "alter role worker connection limit -1").await;
    Some(format!("{limit} for all workers for {}", seconds(span)))
}

/// As after a failover to a replica: every session ends, and the new ones may only read.
pub async fn read_only(world: &World, dice: &mut Dice) -> Option<String> {
    let span = dice.millis(1_500, 4_000);
    let alter = format!("alter database {} set default_transaction_read_only", world.database);
    set(world, &format!("{alter} = on")).await;
    set(world, TERMINATE).await;
    pass(span).await;
    set(world, &format!("{alter} = off")).await;
    set(world, TERMINATE).await;
    Some(format!("for {}", seconds(span)))
}

/// Runs a statement until it succeeds: the database may be the victim of something else.
async fn set(world: &World, statement: &str) {
    let mut sql = Sql::new(world.servers.url("postgres"));
    for _ in 0..100 {
        match sql.rows(statement).await {
            Ok(_) => return,
            Err(error) => world.tell(&format!("again: {error}")),
        }
        pass(Duration::from_millis(200)).await;
    }
    panic!("the database never took: {statement}");
}

pub async fn row_lock(world: &World, dice: &mut Dice) -> Option<String> {
    let (span, partition) = (dice.millis(3_000, 5_000), dice.below(PARTITIONS as usize));
    let mut sql = world.sql();
    let lock = format!(
        "begin; select 1 from partition_offsets where topic = '{}' and partition = {partition} for update",
        world.topic
    );
    sql.rows(&lock).await.ok()?;
    pass(span).await;
    let _ = sql.rows("rollback").await;
    Some(format!("partition {partition} for {}", seconds(span)))
}

/// An operator sets a position back, with the command that is there for it.
pub async fn operator_reset(world: &World, dice: &mut Dice) -> Option<String> {
    let (partition, back) = (dice.below(PARTITIONS as usize), dice.between(1, 400));
    if !world.has_reset {
        return None;
    }
    let positions = positions(world, &mut world.sql()).await.ok()?;
    let (_, next) = positions.get(partition)?;
    let to = u64::try_from(*next).ok()?.checked_sub(back)?.to_string();
    let output = world.cli(&[
        "offsets",
        "reset",
        "--topic",
        &world.topic,
        "--partition",
        &partition.to_string(),
        "--to",
        &to,
        "--reason",
        "chaos",
    ]);
    let ok = output.status.success();
    if !ok {
        world.tell(&format!("the reset was refused: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    ok.then(|| format!("partition {partition} from about {next} to {to}"))
}
