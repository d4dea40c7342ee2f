//! What a workflow covers, as numbers: times become offsets, files become logs. Asked once, at its first start.
//!
//! What must stay true: a plan names every log by its lineage and ends where the log ended when it was asked; equal files make equal
//! plans.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ledgerline_schema::store::{Lineage, LogRange};
use ledgerline_schema::workflow::{
    BACKFILL_GROUP, Backfill, FILE_CLUSTER, OffsetRange, Parameters, Part, Plan, REPLAY_GROUP, Replay,
};

use crate::config::{Config, Start};
use crate::formats::Format;
use crate::formats::events::scan;
use crate::source::Log;
use crate::source::file::PARTITION;
use crate::source::kafka::KafkaLog;

/// Captures the plan. Blocks: Kafka is asked, files are read through.
///
/// # Errors
/// Kafka does not answer, a range lies outside of what the log holds, or a file cannot be read.
pub fn capture(
    config: &Config,
    parameters: &Parameters,
    id: &str,
    folder: Option<&Path>,
) -> anyhow::Result<Plan> {
    match parameters {
        Parameters::Replay(replay) => of_replay(config, replay, id),
        Parameters::Backfill(backfill) => of_backfill(config, backfill, id, folder),
    }
}

fn of_replay(config: &Config, replay: &Replay, id: &str) -> anyhow::Result<Plan> {
    let topic = &replay.topic;
    config
        .kind_of(topic)
        .with_context(|| format!("topic: the configuration does not say which kind {topic} carries"))?;
    let log = KafkaLog::new(&config.kafka, topic)?;
    ensure!(log.exists().context("cannot ask Kafka for the topic")?, "topic: there is no topic {topic}");
    let ranges = if replay.offsets.is_empty() { by_time(&log, replay)? } else { by_offsets(&log, replay)? };
    let parts = ranges.into_iter().filter(|(_, from, to)| from < to);
    let part = |(lineage, from, to): (Lineage, i64, i64)| Part {
        group: format!("{REPLAY_GROUP}{id}"),
        cluster_id: lineage.cluster_id,
        topic_id: lineage.topic_id,
        topic: lineage.topic,
        partition: lineage.partition,
        from,
        to,
    };
    Ok(Plan { parts: parts.map(part).collect() })
}

/// Kafka's record times as offsets; a partition without a record of a time or later ends there.
fn by_time(log: &KafkaLog, replay: &Replay) -> anyhow::Result<Vec<(Lineage, i64, i64)>> {
    let ask = |start: Start| log.starts(start).context("cannot ask Kafka for the offsets of a time");
    let from = ask(Start::At(replay.from.context("from: is missing")?))?;
    let to = ask(replay.to.map_or(Start::Latest, Start::At))?;
    let known: Vec<i32> = from.iter().map(|(lineage, _)| lineage.partition).collect();
    for partition in &replay.partitions {
        ensure!(known.contains(partition), "partitions: the topic has no partition {partition}");
    }
    let wanted = |partition: i32| replay.partitions.is_empty() || replay.partitions.contains(&partition);
    let pairs = from.into_iter().filter_map(|(lineage, from)| {
        let end = to.iter().find(|(other, _)| other.partition == lineage.partition)?.1;
        wanted(lineage.partition).then_some((lineage, from, end))
    });
    Ok(pairs.collect())
}

fn by_offsets(log: &KafkaLog, replay: &Replay) -> anyhow::Result<Vec<(Lineage, i64, i64)>> {
    let mut ranges = Vec::new();
    for OffsetRange { partition, from, to } in &replay.offsets {
        let described = log.describe(*partition);
        let (lineage, LogRange { low, high }) =
            described.with_context(|| format!("cannot ask Kafka for partition {partition}"))?;
        ensure!(
            *from >= low && *to <= high,
            "offsets: {partition}:{from}-{to} lies outside of what the log holds now, {low} to {high}"
        );
        ranges.push((lineage, *from, *to));
    }
    Ok(ranges)
}

/// One part for each kind in each file, in order.
fn of_backfill(
    config: &Config,
    backfill: &Backfill,
    id: &str,
    folder: Option<&Path>,
) -> anyhow::Result<Plan> {
    let format = format_of(backfill)?;
    let mut plan = Plan::default();
    for (number, file) in backfill.files.iter().enumerate() {
        let path = resolve(&file.path, folder)?;
        let contents = scan(&path, format).context("files")?;
        if let Some(expected) = &file.sha256 {
            ensure!(*expected == contents.sha256, "files: {} is not the file that was meant", file.path);
        }
        for (kind, end) in contents.ends {
            plan.parts.push(Part {
                group: format!("{BACKFILL_GROUP}{id}:{}", number + 1),
                cluster_id: FILE_CLUSTER.to_owned(),
                topic_id: contents.sha256.clone(),
                topic: config.topic(kind).name,
                partition: PARTITION,
                from: 1,
                to: end,
            });
        }
    }
    Ok(plan)
}

/// The format of that name.
pub(super) fn format_of(backfill: &Backfill) -> anyhow::Result<Format> {
    let name = &backfill.format;
    <Format as clap::ValueEnum>::from_str(name, false)
        .map_err(|_| anyhow::anyhow!("format: {name:?} is none of cloudevents, the-odds-api"))
}

/// Where a file lies. A worker reads nothing outside of its folder, whatever it is asked for.
pub(super) fn resolve(path: &str, folder: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(folder) = folder else { return Ok(PathBuf::from(path)) };
    let folder =
        folder.canonicalize().with_context(|| format!("workflows.files_dir: {}", folder.display()))?;
    let found = folder.join(path).canonicalize().with_context(|| format!("files: cannot open {path}"))?;
    if !found.starts_with(&folder) {
        bail!("files: {path} lies outside of workflows.files_dir");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_reads_nothing_outside_of_its_folder() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        std::fs::write(folder.path().join("a.jsonl"), "").unwrap();
        assert!(resolve("a.jsonl", Some(folder.path())).is_ok());
        for outside in ["/etc/passwd", "../../etc/passwd", &other.path().display().to_string()] {
            assert!(resolve(outside, Some(folder.path())).is_err(), "{outside}");
        }
        std::os::unix::fs::symlink(other.path(), folder.path().join("link")).unwrap();
        assert!(resolve("link", Some(folder.path())).is_err());
    }
}
