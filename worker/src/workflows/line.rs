//! One line with ends: the pipeline of every other topic, on a thread of its own, told to stop when each partition has come to its
//! end.
//!
//! What must stay true: it ends by itself, whatever happens: at the ends, at a halt, when it is told to stop, when its source dies.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use ledgerline_schema::workflow::Part;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{interval, timeout};

use super::status::Status;
use crate::claim::Claimant;
use crate::config::Topic;
use crate::pace::{Pace, Terms};
use crate::pipeline::Pipeline;
use crate::progress::Progress;
use crate::protocol::Partition;
use crate::source::{Source, SourceError};

/// How often it is looked at whether the ends are reached.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a line ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineEnd {
    /// Every partition came to its end.
    Complete,
    /// It was told to stop; the positions say how far it came.
    Stopped,
    /// A partition cannot go on.
    Halted(Partition, &'static str),
}

/// Runs a line over the parts, which are of one topic and group.
///
/// # Errors
/// Its source died, or no thread could be had.
pub async fn run<S: Source + Send + 'static>(
    source: S,
    claimant: Claimant,
    (topic, terms): (Topic, Terms),
    parts: &[Part],
    progress: &Arc<Progress>,
    status: &Status,
) -> anyhow::Result<LineEnd> {
    let yielding = match &terms.pace {
        Pace::Free => None,
        Pace::Yielding(yielding) => Some(Arc::clone(yielding)),
    };
    let (name, deadline) = (format!("workflow {}", topic.name), claimant.deadline);
    let mut pipeline =
        Pipeline::new(topic, source, claimant, Arc::clone(progress), Handle::current()).under(terms);
    status.started(progress, parts, yielding);
    let (report, mut ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| pipeline.run()));
        // Nobody listens only when the process is past waiting.
        let _ = report.send(result.unwrap_or_else(|_| Err(SourceError::Ended("it panicked".into()))));
    });
    thread.context("cannot start a thread")?;
    let ends: BTreeMap<Partition, i64> = parts.iter().map(|part| (part.partition, part.to)).collect();
    let end = tokio::select! {
        end = until_over(progress, &ends, status) => end,
        died = &mut ended => {
            status.ended();
            died.context("the line ended without a word")??;
            return Ok(LineEnd::Stopped);
        }
    };
    progress.stop();
    // A transaction under way has its deadline; what it did is asked the next time.
    if timeout(deadline * 2, &mut ended).await.is_err() {
        progress.give_up();
        let _ = timeout(deadline, ended).await;
    }
    status.ended();
    Ok(end)
}

async fn until_over(progress: &Progress, ends: &BTreeMap<Partition, i64>, status: &Status) -> LineEnd {
    let mut ticks = interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let partitions = progress.partitions();
        if let Some((partition, reason)) =
            partitions.iter().find_map(|(partition, found)| Some((*partition, found.halted?)))
        {
            return LineEnd::Halted(partition, reason);
        }
        let is_over = |partition: &Partition, end: i64| {
            partitions.get(partition).and_then(|found| found.next_offset).is_some_and(|next| next >= end)
        };
        if ends.iter().all(|(partition, end)| is_over(partition, *end)) {
            return LineEnd::Complete;
        }
        if status.is_stopping() {
            return LineEnd::Stopped;
        }
    }
}
