//! How long an event takes from the producer's hands to the commit, at a steady rate; beside it, how long a commit takes that
//! does nothing. Used by `e2e`.
//!
//! What must stay true: the rate is kept by the clock and not by what the line can take; each record is found again by the
//! partition and offset that the broker acknowledged.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ledgerline_schema::store::{Ruler, Store};

use super::Scene;
use super::drain::{self, committed_in};
use super::events::{Event, events};
use super::fill::PATIENCE;
use super::process::{Memory, Worker};
use crate::blocking::blocking;
use crate::clock;
use crate::publisher::{Place, Publisher};

/// Records that go first, so that everything is connected and assigned.
const FIRST: u64 = 256;
/// How much time one slice of the rate covers.
const SLICE: Duration = Duration::from_millis(5);
/// How often the positions are looked at: what the figures are blurred by.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How often a commit is tried that does nothing.
const COMMIT_EVERY: Duration = Duration::from_millis(20);

/// What the records and the commits took.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    /// From sending to the commit, in order.
    pub records: Vec<Duration>,
    /// Empty transactions, in order.
    pub commits: Vec<Duration>,
    /// How late the last record was sent: the rate was not kept where this is long.
    pub behind: Duration,
    /// The worker's memory at the end.
    pub memory: Memory,
}

/// A partition had moved when it was looked at.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    next: i64,
}

type Sightings = BTreeMap<i32, Vec<Seen>>;

/// Publishes at the rate to a worker that has nothing else to do.
///
/// # Errors
/// The worker stands still or ends, or a record is not acknowledged.
pub async fn measure(scene: &Scene<'_>, rate: u64, seconds: u64) -> anyhow::Result<Latency> {
    let count = rate * seconds;
    let all: Vec<Event> = events(&format!("{}-live", scene.name), FIRST + count).collect();
    let store = Store::connect(&scene.config.database).await?;
    let (mut looking, mut committing) = (store.ruler().await?, store.ruler().await?);
    let group = format!("{}-live", scene.name);
    let mut worker = Worker::start(scene, &group, &scene.live)?;
    let mut watch = Watch {
        ruler: &mut looking,
        group: format!("{group}.{}", scene.live),
        topic: scene.live.clone(),
        worker: &mut worker,
    };

    let (kafka, topic) = (scene.config.kafka.clone(), scene.live.clone());
    let first = blocking(move || {
        let mut publisher = Publisher::remembering(&kafka)?;
        send(&mut publisher, &topic, &all[..FIRST as usize])?;
        publisher.flush(PATIENCE)?;
        anyhow::Ok((publisher, topic, all))
    });
    let (publisher, topic, all) = first.await?;
    watch.until(FIRST).await?;

    let sending = tokio::task::spawn_blocking(move || pace(publisher, &topic, &all[FIRST as usize..], rate));
    let mut commits = Vec::new();
    let (sent, seen) = tokio::select! {
        seen = watch.until(FIRST + count) => (sending.await.context("the publishing thread panicked")??, seen?),
        ended = commit_again_and_again(&mut committing, &mut commits) => match ended? {},
    };
    let memory = worker.memory()?;
    worker.end().await?;
    commits.sort_unstable();
    let behind = sent.behind;
    Ok(Latency { records: taken(&sent, &seen)?, commits, behind, memory })
}

/// What was sent when, and where it went.
struct Sent {
    at: Vec<Instant>,
    places: Vec<Place>,
    behind: Duration,
}

fn send(publisher: &mut Publisher, topic: &str, events: &[Event]) -> anyhow::Result<()> {
    for event in events {
        publisher.send(topic, Some(event.key.as_bytes()), Some(&event.value), None)?;
    }
    Ok(())
}

/// Sends slice by slice what the clock demands by now. Runs on a thread that may block.
fn pace(mut publisher: Publisher, topic: &str, events: &[Event], rate: u64) -> anyhow::Result<Sent> {
    let start = Instant::now();
    let mut at = Vec::with_capacity(events.len());
    while at.len() < events.len() {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as usize;
        for event in &events[at.len()..due.min(events.len())] {
            at.push(Instant::now());
            send(&mut publisher, topic, std::slice::from_ref(event))?;
        }
        park_timeout(SLICE);
    }
    let planned = Duration::from_secs_f64(events.len() as f64 / rate as f64);
    let behind = start.elapsed().saturating_sub(planned);
    publisher.flush(PATIENCE)?;
    Ok(Sent { at, places: publisher.places(), behind })
}

struct Watch<'a> {
    ruler: &'a mut Ruler,
    group: String,
    topic: String,
    worker: &'a mut Worker,
}

impl Watch<'_> {
    /// Looks until so many records are committed; answers every move that was seen.
    async fn until(&mut self, total: u64) -> anyhow::Result<Sightings> {
        let mut seen = Sightings::new();
        let mut ticks = clock::ticks(LOOK_EVERY);
        let mut moved_at = Instant::now();
        loop {
            ticks.tick().await;
            let positions = self.ruler.positions(&self.group, &self.topic).await?;
            let at = Instant::now();
            for (partition, next) in &positions {
                let moves = seen.entry(*partition).or_default();
                if moves.last().is_none_or(|last| last.next < *next) {
                    moves.push(Seen { at, next: *next });
                    moved_at = at;
                }
            }
            let committed = committed_in(&positions);
            if committed >= total {
                return Ok(seen);
            }
            self.worker.check()?;
            if moved_at.elapsed() > drain::PATIENCE {
                let log = self.worker.log();
                bail!("{committed} of {total} records are stored and no more come; the worker's log:\n{log}");
            }
        }
    }
}

async fn commit_again_and_again(ruler: &mut Ruler, took: &mut Vec<Duration>) -> anyhow::Result<Infallible> {
    let mut ticks = tokio::time::interval(COMMIT_EVERY);
    loop {
        ticks.tick().await;
        took.push(ruler.empty_commit().await?);
    }
}

/// For each record the time until the first look that found it committed; in order.
fn taken(sent: &Sent, seen: &Sightings) -> anyhow::Result<Vec<Duration>> {
    let mut taken = Vec::with_capacity(sent.at.len());
    for place in &sent.places {
        let Some(number) = place.number.checked_sub(FIRST as usize) else { continue };
        let moves = seen.get(&place.partition).context("a record went to a partition that nobody reads")?;
        let found = moves.partition_point(|seen| seen.next <= place.offset);
        let seen = moves.get(found).context("a record is not stored")?;
        let start = sent.at.get(number).context("a record was acknowledged that was not sent")?;
        taken.push(seen.at.saturating_duration_since(*start));
    }
    ensure!(taken.len() == sent.at.len(), "{} records sent, {} found again", sent.at.len(), taken.len());
    taken.sort_unstable();
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_as_stored_when_the_position_is_past_it() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let first = FIRST as usize;
        let place = |number, offset| Place { number: first + number, partition: 0, offset };
        let sent = Sent {
            at: vec![after(0), after(10)],
            places: vec![place(1, 6), Place { number: 0, partition: 0, offset: 0 }, place(0, 5)],
            behind: Duration::ZERO,
        };
        let moves = vec![Seen { at: after(5), next: 5 }, Seen { at: after(20), next: 6 }];
        let mut seen = Sightings::from([(0, moves)]);
        assert!(taken(&sent, &seen).is_err(), "the second record is not past the position");
        seen.entry(0).or_default().push(Seen { at: after(50), next: 7 });
        assert_eq!(taken(&sent, &seen).unwrap(), [20, 40].map(Duration::from_millis));
    }
}
