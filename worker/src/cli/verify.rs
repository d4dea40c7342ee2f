//! `ledgerline verify`: proves the ledger from the database alone; with `--kafka` it also reads every topic again with a plain
//! reader of its own and looks for what each record must have left behind. Exit code 3 where something is wrong.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::ProgressBar;
use ledgerline_schema::batch::Batch;
use ledgerline_schema::events::{EventKind, RawRecord};
use ledgerline_schema::store::{LedgerSegment, PartitionState, RecordCheck, Store, Verification};
use ledgerline_schema::time::UtcMicros;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use super::Ending;
use super::ranges::{Range, ranges};
use crate::config::Config;
use crate::kafka::{QUESTION_TIMEOUT, base_config, without_value};
use crate::source::Log;
use crate::source::kafka::KafkaLog;

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Only this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Read the topics again up to the stored positions and compare. Not for compacted topics: Kafka itself drops their
    /// records.
    #[arg(long)]
    kafka: bool,
    /// Fewer quotes than were inserted (compacted, deleted) is a violation too.
    #[arg(long)]
    strict: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Records compared with the database at a time.
const COMPARED: usize = 5_000;
/// Their bytes: a record may have 1 MiB.
const COMPARED_BYTES: usize = 8 << 20;
/// Longest silence of the brokers while re-reading.
const SILENCE: Duration = Duration::from_secs(30);

/// Runs the command.
///
/// # Errors
/// The database or the brokers did not answer: nothing is proved.
pub async fn verify(config: &Config, args: VerifyArgs) -> anyhow::Result<Ending> {
    let store = Store::connect(&config.database).await?;
    let found = store.verify(args.topic.as_deref()).await?;
    let Reread { mut missing, mut notes } =
        if args.kafka { reread(config, &store, args.topic.as_deref()).await? } else { Reread::default() };
    let fewer = found.fewer_rows.iter().map(|line| format!("{line} (compacted or deleted)"));
    if args.strict {
        missing.extend(fewer)
    } else {
        notes.extend(fewer)
    }
    let ok = found.ok() && missing.is_empty();
    if args.json {
        print_json(&found, &missing, &notes, ok);
    } else {
        print_text(&found, &missing, &notes, ok);
    }
    Ok(if ok { Ending::Done } else { Ending::Violation })
}

fn print_json(found: &Verification, missing: &[String], notes: &[String], ok: bool) {
    let object = json!({
        "partitions": found.partitions,
        "records": found.records,
        "lost": found.lost,
        "gaps": found.gaps.len(),
        "overlaps": found.overlaps.len(),
        "bad_sums": found.bad_sums.len(),
        "double_applied": found.double_applied.len(),
        "fewer_rows": found.fewer_rows.len(),
        "missing": missing.len(),
        "orphan_selections": found.orphan_quotes,
        "violations": violations(found, missing),
        "notes": notes,
        "ok": ok,
    });
    println!("{object}");
}

fn print_text(found: &Verification, missing: &[String], notes: &[String], ok: bool) {
    for line in violations(found, missing) {
        println!("{line}");
    }
    for line in notes {
        println!("note: {line}");
    }
    if found.lost > 0 {
        println!("note: {} offsets were given up by operators (lost)", found.lost);
    }
    let verdict = if ok { "clean" } else { "VIOLATED" };
    println!("{verdict}: {} records on {} partitions accounted for", found.records, found.partitions);
}

fn violations(found: &Verification, missing: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(found.gaps.iter().map(|gap| format!("gap: {gap}")));
    lines.extend(found.overlaps.iter().map(|overlap| format!("overlap: {overlap}")));
    lines.extend(found.bad_sums.iter().map(|sum| format!("sum: {sum}")));
    lines.extend(found.double_applied.iter().map(|lineage| format!("applied twice: {lineage}")));
    lines.extend(missing.iter().map(|record| format!("missing: {record}")));
    if found.orphan_quotes > 0 {
        lines.push(format!("orphans: {} quotes of selections that do not exist", found.orphan_quotes));
    }
    lines
}

/// What re-reading the topics found.
#[derive(Default)]
struct Reread {
    /// What is wrong.
    missing: Vec<String>,
    /// What could not be compared.
    notes: Vec<String>,
}

/// Reads every range that the ledger accounts for, and notes what lies beyond the positions.
async fn reread(config: &Config, store: &Store, topic: Option<&str>) -> anyhow::Result<Reread> {
    let mut reread = Reread::default();
    let positions = store.partitions(topic).await?;
    let ranges = ranges(store.ledger_segments(topic).await?, &positions);
    let progress = progress_bar(&ranges);
    for Range { segment, whole } in ranges {
        let name = format!("{}[{}] {} to {}", segment.topic, segment.partition, segment.from, segment.to);
        let kind = EventKind::ALL.iter().copied().find(|kind| config.topic(*kind).name == segment.topic);
        let Some(kind) = kind else {
            reread
                .notes
                .push(format!("{name}: the configuration does not say which kind it carries; not re-read"));
            continue;
        };
        if !is_same_log(config, &segment).await? {
            reread
                .notes
                .push(format!("{name}: of another cluster or an earlier topic of that name; not re-read"));
            continue;
        }
        let reader = Reader::open(config, &segment)?;
        if reader.low > segment.from {
            reread.notes.push(format!("{name}: Kafka has nothing left below {}; not compared", reader.low));
        }
        if reader.high < segment.from {
            reread.missing.push(format!("{name}: the log ends at {} now", reader.high));
            continue;
        }
        reread.missing.extend(reader.compare(store, (&segment, whole), kind, &progress).await?);
    }
    progress.finish_and_clear();
    for kind in EventKind::ALL {
        let name = config.topic(*kind).name;
        if topic.is_none_or(|topic| topic == name) {
            reread.notes.extend(beyond_positions(config, store, &name).await?);
        }
    }
    Ok(reread)
}

/// What the topic holds that nobody has stored yet.
async fn beyond_positions(config: &Config, store: &Store, topic: &str) -> anyhow::Result<Vec<String>> {
    let mut notes = Vec::new();
    let log = Arc::new(KafkaLog::new(&config.kafka, topic)?);
    let positions = store.partitions(Some(topic)).await?;
    for PartitionState { group, partition, next_offset: next, .. } in &positions {
        let (partition, next) = (*partition, *next);
        let question = Arc::clone(&log);
        match tokio::task::spawn_blocking(move || question.range(partition)).await? {
            Ok(range) if range.high > next => {
                notes.push(format!(
                    "{group} {topic}[{partition}]: {next} to {} are not stored yet",
                    range.high
                ));
            }
            Ok(_) => {}
            Err(error) => notes.push(format!("{group} {topic}[{partition}]: {error}")),
        }
    }
    if positions.is_empty() {
        notes.push(format!("{topic}: no group has a position on it"));
    }
    Ok(notes)
}

/// Offsets read again, on a terminal.
fn progress_bar(ranges: &[Range]) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let offsets: i64 = ranges.iter().map(|range| range.segment.to - range.segment.from).sum();
    ProgressBar::new(u64::try_from(offsets).unwrap_or(0)).with_message("reading the topics again")
}

/// Whether the segment's offsets count in the log that the brokers have now.
async fn is_same_log(config: &Config, segment: &LedgerSegment) -> anyhow::Result<bool> {
    let log = KafkaLog::new(&config.kafka, &segment.topic)?;
    let partition = segment.partition;
    let (now, _) = tokio::task::spawn_blocking(move || log.describe(partition)).await??;
    let both_known = !now.topic_id.is_empty() && !segment.topic_id.is_empty();
    Ok(now.cluster_id == segment.cluster_id && (!both_known || now.topic_id == segment.topic_id))
}

/// A plain reader of one range: no group, no protocol, nothing of the line but the contracts.
struct Reader {
    consumer: BaseConsumer,
    low: i64,
    high: i64,
}

impl Reader {
    fn open(config: &Config, segment: &LedgerSegment) -> anyhow::Result<Self> {
        let mut client = base_config(&config.kafka)?;
        // Nothing is committed and no group joined; the line's own group needs no right that it does not have.
        client.set("group.id", &segment.group).set("enable.auto.commit", "false");
        client.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
        client.set("isolation.level", "read_committed").set("check.crcs", "true");
        let consumer: BaseConsumer =
            client.create().map_err(without_value).context("cannot create a Kafka consumer")?;
        let (topic, partition) = (&segment.topic, segment.partition);
        let watermarks = consumer.fetch_watermarks(topic, partition, QUESTION_TIMEOUT);
        let (low, high) =
            watermarks.with_context(|| format!("cannot ask for the range of {topic}[{partition}]"))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(segment.from.max(low)))?;
        consumer.assign(&list)?;
        Ok(Self { consumer, low, high })
    }

    async fn compare(
        &self,
        store: &Store,
        (segment, whole): (&LedgerSegment, bool),
        kind: EventKind,
        progress: &ProgressBar,
    ) -> anyhow::Result<Vec<String>> {
        let name = format!("{} {}[{}]", segment.group, segment.topic, segment.partition);
        let from = segment.from.max(self.low);
        let mut wrong = Vec::new();
        let (mut records, mut tombstones) = (0, 0);
        let mut batch = Batch::new(kind.rows(), from);
        loop {
            let next = self.next(&mut batch, segment.to)?;
            let full = batch.records.len() >= COMPARED || batch.records.byte_len() >= COMPARED_BYTES;
            if full || !next {
                let check = store.check_records(segment.lineage_id, &batch).await?;
                wrong.extend(said(&name, &check));
                records += batch.records.len() as i64;
                tombstones += batch.tombstones;
                progress.inc(u64::try_from(batch.span()).unwrap_or(0));
                batch = Batch::new(kind.rows(), batch.to);
            }
            if !next {
                break;
            }
        }
        // Below the low watermark Kafka has nothing left to compare with; of a part of a segment nobody knows the counts.
        if whole
            && from == segment.from
            && (records, tombstones) != (segment.applied + segment.dead + segment.skipped, segment.tombstone)
        {
            wrong.push(format!(
                "{name} {} to {}: Kafka has {records} records and {tombstones} tombstones, the ledger {} and {}",
                segment.from,
                segment.to,
                segment.applied + segment.dead + segment.skipped,
                segment.tombstone
            ));
        }
        Ok(wrong)
    }

    /// The next message; none at the end of the log.
    ///
    /// What the client recovers from by itself (a broker that restarts, a connection that broke) does not end a re-read of
    /// hours: only silence does.
    fn poll(&self) -> anyhow::Result<Option<BorrowedMessage<'_>>> {
        let start = Instant::now();
        let mut last = None;
        while let Some(rest) = SILENCE.checked_sub(start.elapsed()) {
            match self.consumer.poll(rest) {
                Some(Ok(message)) => return Ok(Some(message)),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(error)) if is_final(&error) => {
                    return Err(error).context("cannot read the topic again");
                }
                Some(Err(error)) => last = Some(error),
                None => {}
            }
        }
        let silence = format!("the brokers were silent for {} s", SILENCE.as_secs());
        Err(match last {
            Some(error) => anyhow!(error).context(silence),
            None => anyhow!(silence),
        })
    }

    /// Takes one message of the range into the batch. False at the end of the range.
    fn next(&self, batch: &mut Batch, to: i64) -> anyhow::Result<bool> {
        let Some(message) = self.poll()? else { return Ok(false) };
        if message.offset() >= to {
            return Ok(false);
        }
        match message.payload() {
            None => batch.push_tombstone(message.offset()),
            Some(value) => {
                let headers = crate::source::kafka::raw_headers(&message);
                let timestamp = message.timestamp().to_millis().and_then(UtcMicros::from_millis);
                let raw = RawRecord { value, headers: &headers, timestamp };
                batch.push(message.offset(), message.key(), &raw);
            }
        }
        Ok(true)
    }
}

/// Whether reading on cannot help.
fn is_final(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::MessageConsumptionFatal(_)
            | KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange
            )
    )
}

/// What is wrong with records, a line each.
fn said(name: &str, check: &RecordCheck) -> Vec<String> {
    let line = |offset: &i64, what| format!("{name} offset {offset}: {what}");
    let missing = check.missing.iter();
    let missing = missing.map(|offset| line(offset, "neither its rows nor a dead letter is stored"));
    let differing = check.differing.iter().map(|offset| line(offset, "another price or line is stored"));
    missing.chain(differing).collect()
}
