//! Outages that the workers' spools bridge, and what may happen in the middle of them: a kill, another outage, another member, a
//! spool that is full.
//!
//! What must stay true: each counts as done only where a worker was seen in the state that it is about.

use std::cell::Cell;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::MutexGuard;

use crate::dice::Dice;
use crate::events::PARTITIONS;
use crate::faults::seconds;
use crate::fleet::{Spools, WORKERS};
use crate::member_faults::positions;
use crate::proxy::Mode;
use crate::servers::Postgres;
use crate::world::World;
use crate::{pass, within};

/// How long it may take until a worker is seen in a state: the broker, too, may be away meanwhile.
const SEEN: Duration = Duration::from_secs(25);

pub async fn kill_while_spooling(world: &World, dice: &mut Dice) -> Option<String> {
    let span = dice.millis(500, 3_000);
    let mut postgres = stopped(world).await?;
    let worker = seen(world, Spool::is_written).await;
    let killed = worker.filter(|worker| world.fleet.signal(*worker, "KILL"));
    pass(span).await; // its successor spools on
    postgres.start_again().await;
    Some(format!("worker {}, {} before PostgreSQL was back", killed?, seconds(span)))
}

pub async fn kill_while_draining(world: &World, dice: &mut Dice) -> Option<String> {
    let mut postgres = stopped(world).await?;
    let worker = drains(world, dice, &mut postgres).await;
    let killed = worker.filter(|worker| world.fleet.signal(*worker, "KILL"));
    ways(world, Mode::Open);
    Some(format!("worker {}", killed?))
}

pub async fn away_while_draining(world: &World, dice: &mut Dice) -> Option<String> {
    let span = dice.millis(500, 3_000);
    let mut postgres = stopped(world).await?;
    let worker = drains(world, dice, &mut postgres).await;
    if worker.is_some() {
        postgres.stop_immediate().await;
        pass(span).await;
        postgres.start_again().await;
    }
    ways(world, Mode::Open);
    Some(format!("for {}, while worker {} drained", seconds(span), worker?))
}

/// A worker leaves and comes again: its partitions go to others, which spool on.
pub async fn rebalance_while_spooling(world: &World, dice: &mut Dice) -> Option<String> {
    let span = dice.millis(1_500, 4_000);
    let mut postgres = stopped(world).await?;
    let worker = seen(world, Spool::is_written).await;
    let left = worker.filter(|worker| world.fleet.signal(*worker, "TERM"));
    pass(span).await;
    postgres.start_again().await;
    Some(format!("worker {} left, {} before PostgreSQL was back", left?, seconds(span)))
}

/// The spools have little room left when the outage begins.
pub async fn full(world: &World) -> Option<String> {
    if world.spools != Some(Spools::Small) {
        return None;
    }
    for worker in 0..WORKERS {
        world.fleet.want(worker, false);
        within(SEEN, || std::future::ready(world.fleet.pid(worker).is_none())).await;
        world.fleet.fill_spool(worker);
        world.fleet.want(worker, true);
    }
    let mut postgres = stopped(world).await?;
    let worker = seen(world, Spool::refuses).await;
    postgres.start_again().await;
    Some(format!("of worker {}", worker?))
}

/// Takes PostgreSQL away, not before every partition has come forward: a spool goes on where it was. Nothing where no worker of this
/// seed has one.
async fn stopped(world: &World) -> Option<MutexGuard<'_, Postgres>> {
    world.spools?;
    let begun = || async {
        let positions = positions(world, &mut world.sql()).await.unwrap_or_default();
        positions.iter().filter(|(_, next)| *next > 0).count() == PARTITIONS as usize
    };
    within(SEEN, begun).await;
    let mut postgres = world.servers.postgres.lock().await;
    postgres.stop_immediate().await;
    Some(postgres)
}

/// Lets something come into a spool, brings PostgreSQL back over ways that are a little slow, and waits until the worker
/// says that the outage is over: then it empties its spool.
async fn drains(world: &World, dice: &mut Dice, postgres: &mut Postgres) -> Option<usize> {
    let span = dice.millis(2_000, 4_000);
    let written = seen(world, Spool::is_written).await;
    pass(span).await;
    ways(world, Mode::Slow(Duration::from_millis(8)));
    postgres.start_again().await;
    let worker = written?;
    let over = || async { Spool::of(world, worker).await.is_some_and(|spool| !spool.in_use) };
    within(SEEN, over).await.then_some(worker)
}

fn ways(world: &World, mode: Mode) {
    world.fleet.proxies.iter().for_each(|proxy| proxy.switch(mode));
}

/// A worker that is seen in that state.
async fn seen(world: &World, state: fn(&Spool) -> bool) -> Option<usize> {
    let found = Cell::new(None);
    let look = || async {
        for worker in 0..WORKERS {
            if Spool::of(world, worker).await.is_some_and(|spool| state(&spool)) {
                found.set(Some(worker));
            }
        }
        found.get().is_some()
    };
    within(SEEN, look).await;
    found.get()
}

/// What a worker's metrics say of its spool.
struct Spool {
    in_use: bool,
    records: f64,
    refused_batches: f64,
}

impl Spool {
    async fn of(world: &World, worker: usize) -> Option<Self> {
        let metrics = metrics(&world.fleet.address(worker)?).await?;
        let sum = |series: &str| -> f64 {
            let values = metrics.lines().filter(|line| line.starts_with(series));
            values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let batches = metrics.lines().filter(|line| line.contains("outcome=\"failed\""));
        let refused = batches.filter_map(|line| line.strip_prefix("ledgerline_spool_batches_total{"));
        Some(Self {
            in_use: sum("ledgerline_spooling ") > 0.0,
            records: sum("ledgerline_spool_records{"),
            refused_batches: refused.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum(),
        })
    }

    fn is_written(&self) -> bool {
        self.in_use && self.records > 0.0
    }

    fn refuses(&self) -> bool {
        self.in_use && self.refused_batches > 0.0
    }
}

async fn metrics(address: &str) -> Option<String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(Duration::from_secs(1), ask).await.ok()?
}
