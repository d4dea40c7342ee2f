//! `Pace`: when a line may start a batch. The live line always may; a replay gives way while live consumption of the same topic is
//! behind. Asked by the pipeline before each batch; told by `watch`, which measures.
//!
//! What must stay true: no batch starts unless the newest measurement is at most a second old and not above the limit; where
//! nothing can be measured, nothing starts. What was decided is counted, so that it can be shown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ledgerline_schema::store::{LogRange, Store, Switch};
use serde::Serialize;

use crate::blocking::blocking;
use crate::buffer::Observed;
use crate::clock;
use crate::metrics;
use crate::source::SourceError;
use crate::source::kafka::KafkaLog;
use crate::sync::lock;

/// How old a measurement may be that a batch starts on.
const FRESH: Duration = Duration::from_secs(1);
/// How often it is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(250);

/// What a line of a replay keeps to; the live one to nothing.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// When a batch may start.
    pub pace: Pace,
    /// Which records it is about.
    pub observed: Option<Observed>,
}

/// When a line may start a batch.
#[derive(Debug, Clone, Default)]
pub enum Pace {
    /// Always.
    #[default]
    Free,
    /// While live consumption is not too far behind.
    Yielding(Arc<Yielding>),
}

impl Pace {
    /// Whether a batch may start now. A yes counts as a start.
    #[must_use]
    pub fn may_start(&self, now: Instant) -> bool {
        match self {
            Self::Free => true,
            Self::Yielding(yielding) => yielding.may_start(now),
        }
    }

    /// Whether the last answer was no: there is no hurry to ask again.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        match self {
            Self::Free => false,
            Self::Yielding(yielding) => yielding.decisions().holding,
        }
    }
}

/// How far live consumption was behind, and when that was asked.
#[derive(Debug, Clone, Copy)]
struct Sample {
    lag: i64,
    at: Instant,
}

/// What was decided so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Decisions {
    /// Batches that started.
    pub started: u64,
    /// The largest lag that one started on.
    pub highest_lag: i64,
    /// The oldest measurement that one started on, in ms.
    pub oldest_sample_ms: u64,
    /// How often it began to give way.
    pub held: u64,
    /// Whether it gives way now.
    pub holding: bool,
    /// The lag that was measured last; -1 before the first time.
    pub lag: i64,
}

/// A limit, and what is known of live consumption.
#[derive(Debug)]
pub struct Yielding {
    max_lag: i64,
    seen: Mutex<(Option<Sample>, Decisions)>,
}

impl Yielding {
    /// Gives way above that many records.
    #[must_use]
    pub fn new(max_lag: i64) -> Self {
        Self { max_lag, seen: Mutex::new((None, Decisions { lag: -1, ..Decisions::default() })) }
    }

    /// What was decided so far.
    #[must_use]
    pub fn decisions(&self) -> Decisions {
        self.seen().1
    }

    fn may_start(&self, now: Instant) -> bool {
        let (sample, decisions) = &mut *self.seen();
        let good =
            sample.filter(|sample| now.duration_since(sample.at) <= FRESH && sample.lag <= self.max_lag);
        match good {
            Some(Sample { lag, at }) => {
                let age_ms = u64::try_from(now.duration_since(at).as_millis()).unwrap_or(u64::MAX);
                decisions.started += 1;
                decisions.highest_lag = decisions.highest_lag.max(lag);
                decisions.oldest_sample_ms = decisions.oldest_sample_ms.max(age_ms);
                decisions.holding = false;
            }
            None => {
                decisions.held += u64::from(!decisions.holding);
                decisions.holding = true;
            }
        }
        good.is_some()
    }

    fn measured(&self, lag: i64, at: Instant) {
        let (sample, decisions) = &mut *self.seen();
        *sample = Some(Sample { lag, at });
        decisions.lag = lag;
    }

    fn seen(&self) -> MutexGuard<'_, (Option<Sample>, Decisions)> {
        lock(&self.seen)
    }
}

/// Measures until it is aborted. Where the database or Kafka does not answer, what was measured grows old.
pub async fn watch(yielding: Arc<Yielding>, store: Store, group: String, log: Arc<KafkaLog>) {
    let mut ticks = clock::ticks(MEASURE_EVERY);
    loop {
        ticks.tick().await;
        let at = Instant::now(); // before the questions: the answers may be as old as that
        if let Some(lag) = live_lag(&store, &group, &log).await {
            yielding.measured(lag, at);
        }
        metrics::yielding(yielding.decisions().holding);
    }
}

/// Records between the group's positions in the database and the ends of the log; 0 where there is no such group.
async fn live_lag(store: &Store, group: &str, log: &Arc<KafkaLog>) -> Option<i64> {
    let positions = store.positions(group, log.topic()).await.ok()?;
    if positions.is_empty() {
        return Some(0);
    }
    // A pause is no reason to wait for: it may last for days. Where the switches cannot be read, all counts.
    let set = store.switches(Some(group), Some(log.topic())).await.unwrap_or_default();
    let next: BTreeMap<i32, i64> =
        positions.into_iter().map(|(partition, at)| (partition, at.next_offset)).collect();
    let (log, topic) = (Arc::clone(log), log.topic().to_owned());
    let ranges = blocking(move || -> Result<Vec<_>, SourceError> {
        let partitions = log.partitions()?;
        partitions.into_iter().map(|partition| Ok((partition, log.range(partition)?))).collect()
    });
    let ranges = ranges.await.ok()?;
    let behind = |(partition, range): (i32, LogRange)| {
        let next = next.get(&partition).copied().unwrap_or(range.low);
        (range.high - next).max(0)
    };
    let flows = |(partition, _): &(i32, LogRange)| Switch::pausing(&set, group, &topic, *partition).is_none();
    Some(ranges.into_iter().filter(flows).map(behind).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_only_on_a_fresh_measurement_below_the_limit() {
        let now = Instant::now();
        let yielding = Arc::new(Yielding::new(10));
        let pace = Pace::Yielding(Arc::clone(&yielding));
        assert!(!pace.may_start(now), "nothing was measured yet");
        for (lag, age_ms, may) in [
            (10, 0, true),
            (11, 0, false),
            (11, 0, false),
            (0, 1_000, true),
            (0, 1_001, false),
            (9, 500, true),
        ] {
            yielding.measured(lag, now);
            assert_eq!(pace.may_start(now + Duration::from_millis(age_ms)), may, "{lag} {age_ms}");
            assert_eq!(pace.is_holding(), !may);
        }
        let found = yielding.decisions();
        assert_eq!((found.started, found.held, found.highest_lag, found.oldest_sample_ms), (3, 3, 10, 1_000));
        assert!(Pace::Free.may_start(now) && !Pace::Free.is_holding());
    }
}
