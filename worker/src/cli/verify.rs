//! `ledgerline verify`: proves the ledger from the database alone; with `--kafka` it also reads every topic again with a plain
//! reader of its own and looks for what each record must have left behind. Exit code 3 where something is wrong, 1 where nothing
//! could be proved.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use ledgerline_schema::batch::Batch;
use ledgerline_schema::events::{EventKind, RawRecord};
use ledgerline_schema::store::{LedgerSegment, PartitionState, Store};
use ledgerline_schema::time::UtcMicros;
use ledgerline_schema::workflow::{FILE_CLUSTER, is_of_a_workflow};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use self::report::{Verdict, as_json, in_lines};
use super::Ending;
use super::operator::{connect, print, print_line};
use super::ranges::{Range, ranges};
use crate::blocking::blocking;
use crate::config::Config;
use crate::kafka::{QUESTION_TIMEOUT, base_config, without_value};
use crate::source::Log;
use crate::source::kafka::{KafkaLog, group_of};

mod report;

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
    /// Fewer quotes than were inserted, apart from what compaction and retention removed, is a violation too.
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
/// What is said of a record that left nothing behind.
const MISSING: &str = "neither its rows nor a dead letter is stored";
/// What is said of a record that disagrees with what is stored.
const DIFFERING: &str = "another price or line is stored, and no dead letter";
/// What is said where everything would be right of a database that nobody ever wrote to, such as a wrong one.
const NOTHING: &str = "nothing to prove: no group has a position in this database";
/// Longest silence of the brokers while re-reading.
const SILENCE: Duration = Duration::from_secs(30);

/// Runs the command.
///
/// # Errors
/// The database or the brokers did not answer: nothing is proved.
pub async fn verify(config: &Config, args: VerifyArgs) -> anyhow::Result<Ending> {
    let store = connect(config).await?;
    let topic = args.topic.as_deref();
    if let Some(topic) = topic {
        ensure_known(&store, topic).await?;
    }
    let found = store.verify(topic).await?;
    let reread = if args.kafka { Some(reread(config, &store, topic).await?) } else { None };
    let compared = reread.as_ref().map(|reread| (reread.compared, reread.unjudged));
    let unproved = reread.as_ref().is_some_and(|reread| reread.ranges > 0 && reread.compared == 0);
    let Reread { mut missing, mut notes, .. } = reread.unwrap_or_default();
    let fewer = found.fewer_rows.iter().map(|line| format!("{line} (deleted)"));
    if args.strict {
        missing.extend(fewer)
    } else {
        notes.extend(fewer)
    }
    let nothing = is_empty(&store).await?;
    notes.extend(nothing.then(|| NOTHING.to_owned()));
    let verdict = match (found.ok() && missing.is_empty(), nothing, unproved) {
        (false, _, _) => Verdict::Violated,
        (true, true, _) => Verdict::Nothing,
        (true, false, true) => Verdict::Unproved,
        (true, false, false) => Verdict::Clean,
    };
    let lists = (missing.as_slice(), notes.as_slice());
    let printed = if args.json {
        print_line(as_json(&found, lists, compared, verdict))
    } else {
        print(in_lines(&found, lists, compared, verdict).as_bytes())
    };
    // Who reads no further (`verify | head`) still gets the code.
    match verdict {
        Verdict::Clean => printed.map(|()| Ending::Done),
        Verdict::Violated => Ok(Ending::Violation),
        Verdict::Nothing => bail!(NOTHING),
        Verdict::Unproved => bail!("none of the ranges could be compared with Kafka; the notes say why"),
    }
}

/// A topic that nobody ever read would verify whatever its name is: a slip must not look like a proof.
async fn ensure_known(store: &Store, topic: &str) -> anyhow::Result<()> {
    let known = !store.partitions(Some(topic)).await?.is_empty()
        || !store.ledger_segments(Some(topic)).await?.is_empty();
    ensure!(known, "no group has a position on topic {topic:?}, and the ledger does not name it");
    Ok(())
}

/// Whether nobody has ever written to it.
async fn is_empty(store: &Store) -> anyhow::Result<bool> {
    Ok(store.partitions(None).await?.is_empty() && store.ledger_segments(None).await?.is_empty())
}

/// What re-reading the topics found.
#[derive(Default)]
struct Reread {
    /// What is wrong.
    missing: Vec<String>,
    /// What could not be compared.
    notes: Vec<String>,
    /// Ranges that the ledger accounts for.
    ranges: usize,
    /// Those of them that were compared, at least in part.
    compared: usize,
    /// Records with a quote that may have been rightly removed.
    unjudged: usize,
}

/// Reads every range that the ledger accounts for, and notes what lies beyond the positions.
async fn reread(config: &Config, store: &Store, topic: Option<&str>) -> anyhow::Result<Reread> {
    let positions = store.partitions(topic).await?;
    let ranges = ranges(store.ledger_segments(topic).await?, &positions);
    let mut reread = Reread { ranges: ranges.len(), ..Reread::default() };
    let progress = progress_bar(&ranges);
    for Range { segment, whole } in ranges {
        let name = format!("{}[{}] {} to {}", segment.topic, segment.partition, segment.from, segment.to);
        let Some(kind) = config.kind_of(&segment.topic) else {
            reread
                .notes
                .push(format!("{name}: the configuration does not say which kind it carries; not re-read"));
            continue;
        };
        if !is_same_log(config, &segment).await? {
            reread.notes.push(format!(
                "{name}: of a file, another cluster or an earlier topic of that name; not re-read"
            ));
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
        if reader.low >= segment.to {
            continue;
        }
        reread.compared += 1;
        let (wrong, unjudged) = reader.compare(store, (&segment, whole), kind, &progress).await?;
        reread.missing.extend(wrong);
        reread.unjudged += unjudged;
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
    let mut positions = store.partitions(Some(topic)).await?;
    positions.retain(|row| !is_of_a_workflow(&row.group)); // they end where they were asked to
    for PartitionState { group, partition, next_offset: next, .. } in &positions {
        let (partition, next) = (*partition, *next);
        let question = Arc::clone(&log);
        match blocking(move || question.range(partition)).await {
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
    if segment.cluster_id == FILE_CLUSTER {
        return Ok(false); // a file is no log of the brokers
    }
    let log = KafkaLog::new(&config.kafka, &segment.topic)?;
    let partition = segment.partition;
    let (now, _) = blocking(move || log.describe(partition)).await?;
    Ok(segment.lineage().is_same_log(&now))
}

/// A plain reader of one range: no group, no protocol, nothing of the line but the contracts.
struct Reader {
    consumer: BaseConsumer,
    /// The oldest offset that Kafka keeps.
    low: i64,
    /// One past the newest.
    high: i64,
}

impl Reader {
    /// A reader of the segment's offsets.
    fn open(config: &Config, segment: &LedgerSegment) -> anyhow::Result<Self> {
        let mut client = base_config(&config.kafka)?;
        // Nothing is committed and no group joined; the line's own group needs no right that it does not have.
        let live = group_of(&config.kafka, &segment.topic);
        let group = if is_of_a_workflow(&segment.group) { &live } else { &segment.group };
        client.set("group.id", group).set("enable.auto.commit", "false");
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

    /// Reads the range and says, a line each, what is wrong with it, and how many records cannot be judged.
    async fn compare(
        &self,
        store: &Store,
        (segment, whole): (&LedgerSegment, bool),
        kind: EventKind,
        progress: &ProgressBar,
    ) -> anyhow::Result<(Vec<String>, usize)> {
        let name = format!("{} {}[{}]", segment.group, segment.topic, segment.partition);
        let from = segment.from.max(self.low);
        let (mut wrong, mut absent, mut unjudged) = (Vec::new(), Vec::new(), 0);
        let (mut records, mut tombstones) = (0, 0);
        let mut batch = Batch::new(kind.rows(), from);
        loop {
            let next = self.next(&mut batch, segment.to)?;
            let full = batch.records.len() >= COMPARED || batch.records.byte_len() >= COMPARED_BYTES;
            if full || !next {
                let check = store.check_records(segment.lineage_id, &batch).await?;
                let line = |offset: &i64, what| format!("{name} offset {offset}: {what}");
                absent.extend(check.missing.iter().map(|offset| line(offset, MISSING)));
                wrong.extend(check.differing.iter().map(|offset| line(offset, DIFFERING)));
                unjudged += check.unjudged.len();
                records += batch.records.len() as i64;
                tombstones += batch.tombstones.len() as i64;
                progress.inc(u64::try_from(batch.span()).unwrap_or(0));
                batch = Batch::new(kind.rows(), batch.to);
            }
            if !next {
                break;
            }
        }
        // Which records a filter passed over nobody knows any more, only how many.
        if absent.len() as i64 <= segment.skipped {
            unjudged += absent.len();
        } else {
            wrong.extend(absent);
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
        Ok((wrong, unjudged))
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
