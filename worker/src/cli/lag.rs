//! `ledgerline lag`: how far every partition is behind, in records and in time: the position in the database, which decides, beside
//! what the group told Kafka and the end of the log. Only looks.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use ledgerline_schema::store::{PartitionState, Switch};
use ledgerline_schema::time::UtcMicros;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Ending;
use super::operator::{connect, in_words, print, print_line, tell};
use super::pause;
use super::table::{aligned, row};
use crate::blocking::blocking;
use crate::clock;
use crate::config::Config;
use crate::source::kafka::group_of;
use crate::source::survey::Survey;

/// Arguments of `lag`.
#[derive(Debug, Args)]
pub struct LagArgs {
    /// Only this topic. Without it: every topic of the configuration.
    #[arg(long)]
    topic: Option<String>,
    /// This consumer group instead of the configured one, `<kafka.group>.<topic>`.
    #[arg(long)]
    group: Option<String>,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

/// How long all questions to Kafka about one topic may take together.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);
/// How long records are looked at for their age.
const LOOK_TIMEOUT: Duration = Duration::from_secs(4);

/// What Kafka knows about one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Log {
    low: Option<i64>,
    end: Option<i64>,
    committed: Option<i64>,
    /// When the first record was written that is not stored.
    waiting_since: Option<UtcMicros>,
}

/// One partition of one group.
#[derive(Debug)]
struct Line {
    group: String,
    topic: String,
    partition: i32,
    stored: Option<PartitionState>,
    log: Log,
    paused: Option<Switch>,
}

/// Runs the command.
///
/// # Errors
/// The database did not answer, or the topic is none of the configuration.
pub async fn lag(config: &Config, args: LagArgs) -> anyhow::Result<Ending> {
    let store = connect(config).await?;
    let topics = match args.topic {
        Some(topic) => vec![topic],
        None => config.enabled_topics().into_iter().map(|topic| topic.name).collect(),
    };
    let (mut lines, mut all_known) = (Vec::new(), true);
    for topic in topics {
        let group = args.group.clone().unwrap_or_else(|| group_of(&config.kafka, &topic));
        let mut stored = store.partitions(Some(&topic)).await.context("cannot read the positions")?;
        stored.retain(|row| row.group == group);
        let logs = match ask(config, &topic, &group, &stored).await {
            Ok(logs) => logs,
            Err(error) => {
                tell(format_args!("{topic}: {}", in_words(&error)));
                all_known = false;
                BTreeMap::new()
            }
        };
        let set = store.switches(Some(&group), Some(&topic)).await.context("cannot read the switches")?;
        lines.extend(join((&group, &topic), stored, logs, &set));
    }
    let now = clock::now();
    if args.json {
        print_line(Value::Array(lines.iter().map(|line| line.as_json(now)).collect()))?;
    } else {
        print_table(&lines, now)?;
    }
    Ok(if all_known { Ending::Done } else { Ending::Failed })
}

/// What Kafka knows about the topic's partitions, in time.
async fn ask(
    config: &Config,
    topic: &str,
    group: &str,
    stored: &[PartitionState],
) -> anyhow::Result<BTreeMap<i32, Log>> {
    let survey = Survey::new(&config.kafka, topic, group)?;
    let positions: BTreeMap<i32, i64> = stored.iter().map(|row| (row.partition, row.next_offset)).collect();
    let questions = blocking(move || look(&survey, &positions));
    let answered = timeout(KAFKA_TIMEOUT, questions).await.context("Kafka did not answer in time")?;
    answered.context("cannot ask Kafka")
}

fn look(survey: &Survey, positions: &BTreeMap<i32, i64>) -> anyhow::Result<BTreeMap<i32, Log>> {
    let (_, placements) = survey.placements()?;
    anyhow::ensure!(!placements.is_empty(), "the topic does not exist");
    let partitions: Vec<i32> = placements.iter().map(|placement| placement.partition).collect();
    let committed = survey.committed(&partitions)?;
    let (mut logs, mut behind) = (BTreeMap::new(), BTreeMap::new());
    for partition in partitions {
        let (low, end) = survey.range(partition)?;
        let committed = committed.get(&partition).copied();
        logs.insert(partition, Log { low: Some(low), end: Some(end), committed, waiting_since: None });
        if let Some(position) = positions.get(&partition).filter(|position| (low..end).contains(*position)) {
            behind.insert(partition, *position);
        }
    }
    for (partition, at) in survey.timestamps(&behind, LOOK_TIMEOUT)? {
        logs.entry(partition).and_modify(|log| log.waiting_since = Some(at));
    }
    Ok(logs)
}

/// Every partition that either side knows.
fn join(
    (group, topic): (&str, &str),
    stored: Vec<PartitionState>,
    mut logs: BTreeMap<i32, Log>,
    set: &[Switch],
) -> Vec<Line> {
    let line = |partition, stored, log| Line {
        group: group.to_owned(),
        topic: topic.to_owned(),
        partition,
        stored,
        log,
        paused: Switch::pausing(set, group, topic, partition).cloned(),
    };
    let mut lines: Vec<Line> = Vec::new();
    for row in stored {
        let log = logs.remove(&row.partition).unwrap_or_default();
        lines.push(line(row.partition, Some(row), log));
    }
    lines.extend(logs.into_iter().map(|(partition, log)| line(partition, None, log)));
    lines.sort_by_key(|line| line.partition);
    lines
}

impl Line {
    fn position(&self) -> Option<i64> {
        Some(self.stored.as_ref()?.next_offset)
    }

    fn lag(&self) -> Option<i64> {
        Some((self.log.end? - self.position()?).max(0))
    }

    /// For how long the first record that is not stored has waited; 0 where none waits.
    fn seconds(&self, now: UtcMicros) -> Option<i64> {
        match (self.lag(), self.log.waiting_since) {
            (Some(0), _) => Some(0),
            (_, Some(since)) => Some((now.0 - since.0).max(0) / UtcMicros::SECOND),
            (_, None) => None,
        }
    }

    fn halted(&self) -> Option<&str> {
        Some(self.stored.as_ref()?.halt()?.0)
    }

    fn as_json(&self, now: UtcMicros) -> Value {
        json!({
            "group": self.group,
            "topic": self.topic,
            "partition": self.partition,
            "position": self.position(),
            "committed": self.log.committed,
            "low": self.log.low,
            "end": self.log.end,
            "lag": self.lag(),
            "lag_seconds": self.seconds(now),
            "epoch": self.stored.as_ref().map(|row| row.epoch),
            "owner": self.stored.as_ref().map(|row| row.owner.as_str()),
            "updated_at": self.stored.as_ref().map(|row| row.updated_at.to_string()),
            "paused": pause::as_json(self.paused.as_ref()),
            "halted": self.halted(),
        })
    }

    fn cells(&self, now: UtcMicros) -> Vec<String> {
        let number = |n: Option<i64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let or_dash = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        vec![
            self.group.clone(),
            self.partition.to_string(),
            or_dash(self.position()),
            or_dash(self.log.committed),
            number(self.log.end),
            number(self.lag()),
            number(self.seconds(now)),
            self.stored.as_ref().map_or("-", |row| row.owner.as_str()).to_owned(),
            self.paused.as_ref().map_or("-", |_| "paused").to_owned(),
            self.halted().unwrap_or("-").to_owned(),
        ]
    }
}

fn print_table(lines: &[Line], now: UtcMicros) -> anyhow::Result<()> {
    let head =
        ["GROUP", "PART", "POSITION", "COMMITTED", "END", "LAG", "SECONDS", "OWNER", "PAUSED", "HALTED"];
    let mut rows = vec![row(head)];
    rows.extend(lines.iter().map(|line| line.cells(now)));
    print(aligned(&rows).as_bytes())?;
    let known = lines.iter().filter_map(Line::lag);
    let halted = lines.iter().filter(|line| line.halted().is_some()).count();
    let paused = lines.iter().filter(|line| line.paused.is_some()).count();
    let unknown = lines.iter().filter(|line| line.lag().is_none()).count();
    print_line(format_args!(
        "{} records behind on {} partitions, {paused} paused, {halted} halted, {unknown} not known",
        known.sum::<i64>(),
        lines.len(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(position: Option<i64>, end: Option<i64>, waiting_since: Option<UtcMicros>) -> Line {
        let stored = position.map(|next_offset| PartitionState {
            group: "g.odds".into(),
            topic: "odds".into(),
            partition: 0,
            lineage_id: 1,
            cluster_id: "c".into(),
            topic_id: String::new(),
            start_offset: 0,
            next_offset,
            epoch: 1,
            owner: "pid 1".into(),
            updated_at: UtcMicros(0),
            halted: None,
            halted_detail: None,
            halted_at: None,
            budget_exempt_to: 0,
        });
        let log = Log { low: Some(0), end, committed: None, waiting_since };
        Line { group: "g.odds".into(), topic: "odds".into(), partition: 0, stored, log, paused: None }
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let now = UtcMicros(90 * UtcMicros::SECOND);
        let lag = |line: Line| (line.lag(), line.seconds(now));
        assert_eq!(lag(line(Some(7), Some(7), None)), (Some(0), Some(0)));
        assert_eq!(lag(line(Some(5), Some(7), Some(UtcMicros(0)))), (Some(2), Some(90)));
        assert_eq!(lag(line(Some(5), Some(7), None)), (Some(2), None));
        assert_eq!(lag(line(Some(5), None, None)), (None, None), "Kafka did not answer");
        assert_eq!(lag(line(None, Some(7), None)), (None, None), "nobody has claimed it yet");
        assert_eq!(lag(line(Some(9), Some(7), None)), (Some(0), Some(0)), "the log was cut; that is a halt");
    }

    #[test]
    fn every_partition_is_listed_that_either_side_knows() {
        let stored = vec![line(Some(5), None, None).stored.expect("a row")];
        let logs = BTreeMap::from([(1, Log { end: Some(3), ..Log::default() })]);
        let lines = join(("g.odds", "odds"), stored, logs, &[]);
        let found: Vec<_> =
            lines.iter().map(|line| (line.partition, line.position(), line.log.end)).collect();
        assert_eq!(found, [(0, Some(5), None), (1, None, Some(3))]);
    }
}
