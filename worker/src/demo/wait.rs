//! The two waits of the demo: until the groups have their partitions, and until everything published is stored. Each ends with
//! an error that says what is missing, instead of hanging. Used by the demo; only looks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use tokio::time::interval;

use super::stored;
use crate::blocking::blocking;
use crate::progress::Progress;
use crate::protocol::Partition;
use crate::source::kafka::KafkaLog;
use crate::workers::Workers;

/// How long the groups may take to hand out their partitions.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing may be stored at the end.
const STORE_PATIENCE: Duration = Duration::from_secs(30);
/// How often the progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where each partition of each pipeline ends.
type Ends = Vec<Vec<(Partition, i64)>>;

/// Waits until every pipeline has partitions and knows where to start, so that the demo measures the line and not the start of
/// a group.
///
/// # Errors
/// It took too long, or a pipeline ended.
pub async fn until_joined(workers: &mut Workers) -> anyhow::Result<()> {
    let pipelines = Arc::clone(&workers.progress);
    let is_claimed = |pipeline: &Arc<Progress>| {
        let partitions = pipeline.partitions();
        !partitions.is_empty() && partitions.values().all(|partition| partition.next_offset.is_some())
    };
    let all_claimed = async {
        let mut looks = interval(LOOK_EVERY);
        while !pipelines.iter().all(is_claimed) {
            looks.tick().await;
        }
    };
    tokio::select! {
        claimed = tokio::time::timeout(JOIN_PATIENCE, all_claimed) => {
            claimed.map_err(|_| anyhow!("the consumer groups got no partitions within {} s", JOIN_PATIENCE.as_secs()))
        }
        error = workers.ended() => Err(error).context("a pipeline ended"),
    }
}

/// Waits until every record that the topics hold now is stored.
///
/// # Errors
/// Nothing moves any more, a pipeline ended, or Ctrl-C.
pub async fn until_stored(workers: &mut Workers) -> anyhow::Result<()> {
    let (pipelines, logs) = (Arc::clone(&workers.progress), workers.logs.clone());
    let ends = blocking(move || ends(&logs)).await.context("cannot ask where the topics end")?;
    tokio::select! {
        stored = reach(&pipelines, &ends) => stored,
        error = workers.ended() => Err(error).context("a pipeline ended"),
        Ok(()) = tokio::signal::ctrl_c() => bail!("interrupted before everything was stored"),
    }
}

fn ends(logs: &[Arc<KafkaLog>]) -> anyhow::Result<Ends> {
    let mut ends = Vec::with_capacity(logs.len());
    for log in logs {
        let mut partitions = Vec::new();
        for partition in log.partitions()? {
            partitions.push((partition, log.range(partition)?.high));
        }
        ends.push(partitions);
    }
    Ok(ends)
}

async fn reach(pipelines: &[Arc<Progress>], ends: &Ends) -> anyhow::Result<()> {
    let mut looks = interval(LOOK_EVERY);
    let (mut before, mut moved) = (0, Instant::now());
    loop {
        let missing = missing(pipelines, ends);
        if missing.is_empty() {
            return Ok(());
        }
        let now = stored(pipelines);
        if now > before {
            (before, moved) = (now, Instant::now());
        }
        if moved.elapsed() > STORE_PATIENCE {
            bail!(
                "nothing stored for {} s, and still missing: {}",
                STORE_PATIENCE.as_secs(),
                missing.join(", ")
            );
        }
        looks.tick().await;
    }
}

/// What is not stored yet, partition by partition.
fn missing(pipelines: &[Arc<Progress>], ends: &Ends) -> Vec<String> {
    let mut missing = Vec::new();
    for (pipeline, ends) in pipelines.iter().zip(ends) {
        let partitions = pipeline.partitions();
        for (partition, end) in ends {
            let state = partitions.get(partition).cloned().unwrap_or_default();
            let next = state.next_offset.unwrap_or(0);
            if next < *end {
                let halted = state.halted.map_or(String::new(), |reason| format!(" (halted: {reason})"));
                missing.push(format!("{}[{partition}] {next} to {end}{halted}", pipeline.topic()));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Mode;

    #[test]
    fn says_what_is_missing() {
        let progress = Arc::new(Progress::new("odds", Mode::Live));
        progress.assigned(&[0, 1]);
        progress.consuming(0, 0);
        progress.committed(0, 7);
        let ends = vec![vec![(0, 7), (1, 0), (2, 3)]];
        assert_eq!(missing(&[Arc::clone(&progress)], &ends), ["odds[2] 0 to 3"]);
        progress.committed(0, 5);
        assert_eq!(missing(&[progress], &ends), ["odds[0] 5 to 7", "odds[2] 0 to 3"]);
    }
}
