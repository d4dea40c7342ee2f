//! The parts of the line by themselves: the same quotes through `Store::write` with nothing before it, and the decoding of the
//! same bytes with nothing after it. Used by `e2e`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ledgerline_schema::batch::Batch;
use ledgerline_schema::store::Store;

use super::Scene;
use super::cpu;
use super::events::{Batches, Event, events};
use super::fill::Filled;
use crate::bench::line::Line;

/// Batches that are made before the clock runs: enough to keep the making off it, few enough for the memory.
const BATCHES_AT_ONCE: usize = 64;
/// Events that are decoded to measure the decoding: a few batches.
const DECODED: u64 = 10_000;
/// How often: about a second, because processor time is told in hundredths.
const DECODINGS: u64 = 40;

/// Writes the quotes of the backlog on one connection; answers quotes per second.
///
/// # Errors
/// The database refused or did not answer.
pub async fn write(scene: &Scene<'_>, filled: &Filled, number: u64) -> anyhow::Result<f64> {
    scene.trial.empty_odds().await?;
    let mut database = scene.config.database.clone();
    database.pool.size = 1;
    let store = Store::connect(&database).await?;
    let group = format!("{}-alone-{number}", scene.name);
    let mut lines = Vec::with_capacity(scene.partitions);
    for partition in 0..scene.partitions {
        lines.push(Line::open(&store, &group, i32::try_from(partition)?).await?);
    }
    let mut batches = Batches::new(events(&scene.name, scene.events), scene.partitions, scene.batch.rows);
    let (mut rows, mut took) = (0, Duration::ZERO);
    loop {
        let ready: Vec<(usize, Batch)> = batches.by_ref().take(BATCHES_AT_ONCE).collect();
        if ready.is_empty() {
            break;
        }
        let start = Instant::now();
        for (lane, batch) in &ready {
            rows += lines[*lane].write(batch).await?.rows.inserted;
        }
        took += start.elapsed();
    }
    ensure!(u64::try_from(rows) == Ok(filled.quotes), "{} quotes published, {rows} stored", filled.quotes);
    Ok(filled.quotes as f64 / took.as_secs_f64())
}

/// Decodes events as the pipeline's thread does, without the rest of what it does; microseconds of a processor for an event.
/// Time on the wall would count what else the machine does.
///
/// # Errors
/// The thread panicked.
pub async fn decode(scene: &Scene<'_>) -> anyhow::Result<f64> {
    let (run, count) = (scene.name.clone(), scene.events.min(DECODED));
    let (partitions, rows) = (scene.partitions, scene.batch.rows);
    let decoding = tokio::task::spawn_blocking(move || {
        let sample: Vec<Event> = events(&run, count).collect();
        let (before, start) = (cpu::of_this_thread(), Instant::now());
        for _ in 0..DECODINGS {
            Batches::new(sample.iter(), partitions, rows).for_each(|batch| drop(black_box(batch)));
        }
        let on_the_wall = start.elapsed().as_secs_f64() * 1e6;
        let used = cpu::of_this_thread().zip(before).map(|(after, before)| (after - before) as f64);
        used.unwrap_or(on_the_wall) / (DECODINGS * count) as f64
    });
    decoding.await.context("the decoding thread panicked")
}
