//! `ledgerline offsets ls|reset|accept-loss|resume`: where every partition stands, and the ways out of the halted states.
//! docs/OPERATIONS.md says which one is for which state. Running workers notice by themselves.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use ledgerline_schema::store::{LogNow, Moved, Order, PartitionState, Switch};
use ledgerline_schema::time::UtcMicros;
use ledgerline_schema::workflow::is_of_a_workflow;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::operator::{actor, connect, print, print_line, reason};
use super::pause;
use super::table::{aligned, row};
use crate::blocking::blocking;
use crate::clock;
use crate::config::{Config, Start};
use crate::source::Log;
use crate::source::kafka::{KafkaLog, group_of};
use crate::sync::lock;

/// Arguments of `offsets`.
#[derive(Debug, Args)]
pub struct OffsetsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List every partition: position, lag, owner, and why it is halted.
    Ls(LsArgs),
    /// Move a position back, or into the log that the brokers have now.
    Reset {
        #[command(flatten)]
        target: TargetArgs,
        /// An offset, `earliest`, `latest`, or an RFC 3339 time.
        #[arg(long, value_name = "OFFSET|earliest|latest|TIME", allow_hyphen_values = true)]
        to: Place,
    },
    /// Give up the offsets from the position on: they are accounted for as lost.
    AcceptLoss {
        #[command(flatten)]
        target: TargetArgs,
        /// The first offset that is not given up. Without it: the oldest one that Kafka keeps.
        #[arg(long, value_name = "OFFSET")]
        to: Option<i64>,
    },
    /// Let a partition go on that its dead-letter budget halted.
    Resume {
        #[command(flatten)]
        target: TargetArgs,
        /// Batches that start before this offset are not held against the budget. Without it: the end of the log.
        #[arg(long, value_name = "OFFSET")]
        until: Option<i64>,
    },
}

#[derive(Debug, Args)]
struct LsArgs {
    /// Only this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only this consumer group; those of replays and backfills (`replay:ID`) are shown only so.
    #[arg(long)]
    group: Option<String>,
    /// Do not ask Kafka for the ends of the logs.
    #[arg(long)]
    no_kafka: bool,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

/// Which partition, by whom and why.
#[derive(Debug, Args)]
struct TargetArgs {
    /// The topic.
    #[arg(long)]
    topic: String,
    /// The partition.
    #[arg(long)]
    partition: i32,
    /// The consumer group. Without it: the configured one of the topic.
    #[arg(long)]
    group: Option<String>,
    /// Why, for the trail of the operators.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Who, for the trail. Without it: the user of the operating system.
    #[arg(long)]
    actor: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Offset(i64),
    Start(Start),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(offset) => Ok(Self::Offset(offset)),
            Err(_) => {
                let start = Start::try_from(text.to_owned());
                start.map(Self::Start).map_err(|problem| format!("no offset, {problem}"))
            }
        }
    }
}

/// How long the questions about the ends of the logs may take together.
const ENDS_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the command.
///
/// # Errors
/// Kafka or the database did not answer, or what was asked for does not fit what is stored.
pub async fn offsets(config: &Config, args: OffsetsArgs) -> anyhow::Result<()> {
    match args.action {
        Action::Ls(args) => ls(config, args).await,
        Action::Reset { target, to } => {
            let (store, order, log) = prepare(config, &target).await?;
            let offset = match to {
                Place::Offset(offset) => offset,
                Place::Start(Start::Earliest) => log.range.low,
                Place::Start(Start::Latest) => log.range.high,
                Place::Start(Start::At(time)) => offset_at(config, &target, time).await?,
            };
            report(&target, &order, &store.reset(&order, &log, offset).await?, "position")
        }
        Action::AcceptLoss { target, to } => {
            let (store, order, log) = prepare(config, &target).await?;
            report(&target, &order, &store.accept_loss(&order, &log, to).await?, "position")
        }
        Action::Resume { target, until } => {
            let (store, order, log) = prepare(config, &target).await?;
            let until = until.unwrap_or(log.range.high);
            report(&target, &order, &store.resume(&order, &log, until).await?, "budget exempt")
        }
    }
}

/// The order, and the log as the brokers describe it now.
async fn prepare(
    config: &Config,
    target: &TargetArgs,
) -> anyhow::Result<(ledgerline_schema::store::Store, Order, LogNow)> {
    let store = connect(config).await?;
    let log = KafkaLog::new(&config.kafka, &target.topic)?;
    let partition = target.partition;
    let described = blocking(move || log.describe(partition)).await;
    let (lineage, range) = described.context("cannot ask Kafka what the log holds now")?;
    let group = target.group.clone().unwrap_or_else(|| group_of(&config.kafka, &target.topic));
    let order = Order {
        group: group.into(),
        topic: target.topic.as_str().into(),
        partition,
        actor: actor(target.actor.clone()),
        reason: target.reason.clone(),
        now: clock::now(),
    };
    Ok((store, order, LogNow { lineage, range }))
}

/// The first offset of that time or later; the end of the log where there is none.
async fn offset_at(config: &Config, target: &TargetArgs, time: UtcMicros) -> anyhow::Result<i64> {
    let log = KafkaLog::new(&config.kafka, &target.topic)?;
    let starts = blocking(move || log.starts(Start::At(time))).await;
    let starts = starts.context("cannot ask Kafka for the offsets of that time")?;
    let found = starts.iter().find(|(lineage, _)| lineage.partition == target.partition);
    found.map(|(_, offset)| *offset).context("the topic has no such partition")
}

fn report(target: &TargetArgs, order: &Order, moved: &Moved, what: &str) -> anyhow::Result<()> {
    let Order { group, topic, partition, actor, .. } = order;
    let Moved { from, to, epoch, lineage_before, lineage_after, lost } = moved;
    if target.json {
        let object = json!({
            "group": &**group, "topic": &**topic, "partition": partition, "from": from, "to": to, "epoch": epoch,
            "lineage_before": lineage_before, "lineage_after": lineage_after, "lost": lost, "actor": actor,
        });
        return print_line(object);
    }
    print_line(format_args!("{group} {topic}[{partition}]: {what} {from} -> {to}, epoch {epoch}"))?;
    if lineage_before != lineage_after {
        let lineages = format_args!("lineage {lineage_before} -> {lineage_after}");
        print_line(format_args!("  in the log that the brokers have now ({lineages})"))?;
    }
    if *lost > 0 {
        print_line(format_args!("  {lost} offsets are accounted for as lost"))?;
    }
    Ok(())
}

async fn ls(config: &Config, args: LsArgs) -> anyhow::Result<()> {
    let store = connect(config).await?;
    let mut rows = store.partitions(args.topic.as_deref()).await?;
    // Those of replays and backfills end where they were asked to; who wants to see them names their group.
    let shown = |group: &str| args.group.as_ref().map_or(!is_of_a_workflow(group), |wanted| group == wanted);
    rows.retain(|row| shown(&row.group));
    let mut set = store.switches(None, args.topic.as_deref()).await?;
    set.retain(|switch| shown(&switch.group));
    let paused = |row: &PartitionState| Switch::pausing(&set, &row.group, &row.topic, row.partition);
    let ends = if args.no_kafka { BTreeMap::new() } else { ends(config, &rows).await };
    let end = |row: &PartitionState| ends.get(&(row.topic.clone(), row.partition)).copied();
    if args.json {
        let objects: Vec<Value> = rows.iter().map(|row| as_json(row, end(row), paused(row))).collect();
        return print_line(Value::Array(objects));
    }
    let head =
        ["GROUP", "TOPIC", "PART", "START", "NEXT", "LAG", "EPOCH", "OWNER", "UPDATED", "PAUSED", "HALTED"];
    let mut lines = vec![row(head)];
    lines.extend(rows.iter().map(|row| as_line(row, end(row), paused(row))));
    print(aligned(&lines).as_bytes())?;
    for row in &rows {
        if let (Some((name, since)), Some(detail)) = (row.halt(), &row.halted_detail) {
            let PartitionState { group, topic, partition, .. } = row;
            print_line(format_args!("{group} {topic}[{partition}]: {name} since {since}: {detail}"))?;
        }
    }
    for switch in &set {
        print_line(format_args!("{} {}", switch.group, pause::in_words(switch)))?;
    }
    Ok(())
}

/// The ends of the logs, as far as Kafka answers in time; a topic that does not answer once is not asked again.
async fn ends(config: &Config, rows: &[PartitionState]) -> BTreeMap<(String, i32), i64> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for row in rows {
        topics.entry(&row.topic).or_default().push(row.partition);
    }
    let mut ends = BTreeMap::new();
    let deadline = Instant::now() + ENDS_TIMEOUT;
    for (topic, mut partitions) in topics {
        partitions.sort_unstable();
        partitions.dedup(); // several groups
        let Ok(log) = KafkaLog::new(&config.kafka, topic) else { continue };
        let found = Arc::new(std::sync::Mutex::new(Vec::new()));
        let into = Arc::clone(&found);
        let questions = tokio::task::spawn_blocking(move || {
            for partition in partitions {
                let Ok(range) = log.range(partition) else { return };
                lock(&into).push((partition, range.high));
            }
        });
        let _ = timeout_at(deadline, questions).await; // what is not there by then is shown as unknown
        let found = lock(&found);
        ends.extend(found.iter().map(|(partition, high)| ((topic.to_owned(), *partition), *high)));
    }
    ends
}

fn as_line(row: &PartitionState, end: Option<i64>, paused: Option<&Switch>) -> Vec<String> {
    vec![
        row.group.clone(),
        row.topic.clone(),
        row.partition.to_string(),
        row.start_offset.to_string(),
        row.next_offset.to_string(),
        end.map_or_else(|| "?".to_owned(), |end| (end - row.next_offset).to_string()),
        row.epoch.to_string(),
        row.owner.clone(),
        row.updated_at.to_string(),
        paused.map_or("-", |_| "paused").to_owned(),
        row.halt().map_or_else(|| "-".to_owned(), |(name, _)| name.to_owned()),
    ]
}

fn as_json(row: &PartitionState, end: Option<i64>, paused: Option<&Switch>) -> Value {
    let halt = row.halt();
    json!({
        "group": row.group,
        "topic": row.topic,
        "partition": row.partition,
        "lineage": row.lineage_id,
        "start": row.start_offset,
        "next": row.next_offset,
        "end": end,
        "lag": end.map(|end| end - row.next_offset),
        "epoch": row.epoch,
        "owner": row.owner,
        "updated_at": row.updated_at.to_string(),
        "paused": pause::as_json(paused),
        "halted": halt.map(|(name, _)| name),
        "halted_detail": halt.and(row.halted_detail.as_deref()),
        "halted_since": halt.map(|(_, since)| since.to_string()),
        "budget_exempt_to": row.budget_exempt_to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_offset_a_word_or_a_time() {
        assert_eq!("17".parse(), Ok(Place::Offset(17)));
        assert_eq!("latest".parse(), Ok(Place::Start(Start::Latest)));
        let time = UtcMicros::parse("2025-11-09T18:20:41Z").expect("a time");
        assert_eq!("2025-11-09T18:20:41Z".parse(), Ok(Place::Start(Start::At(time))));
        assert!("yesterday".parse::<Place>().is_err());
    }
}
