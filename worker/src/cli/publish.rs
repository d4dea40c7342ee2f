//! `ledgerline publish`: sends the events of files to Kafka. Every line is checked whole against the
//! contracts before any record of it is sent, and the command succeeds only if every record was acknowledged.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use ledgerline_schema::events::EventKind;
use serde::Serialize;

use super::operator::print_line;
use crate::blocking::blocking;
use crate::config::Config;
use crate::formats::files::{Lines, total_bytes};
use crate::formats::{Converted, Format, Outgoing};
use crate::observe::per_second;
use crate::publisher::Publisher;

/// How long no acknowledgement at all may come at the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// `ledgerline publish`
#[derive(Debug, Clone, clap::Args)]
pub struct PublishArgs {
    /// Files of one JSON value per line, plain or gzip; `-` is standard input.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// What the lines are.
    #[arg(long, value_enum, default_value_t = Format::Cloudevents)]
    pub format: Format,
    /// Send everything to this topic, instead of to the topic of each kind; for input of one kind.
    #[arg(long)]
    pub topic: Option<String>,
    /// Give the records the time of their events, instead of now.
    #[arg(long)]
    pub event_time: bool,
    /// Brokers, instead of those of the configuration.
    #[arg(long)]
    pub brokers: Option<String>,
    /// Leave out lines that are refused, and count them, instead of stopping.
    #[arg(long)]
    pub skip_invalid: bool,
    /// Print the summary as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What was published; printed at the end.
#[derive(Debug, Clone, Default, Serialize)]
struct Summary {
    files: u64,
    lines: u64,
    /// Lines left out because of `--skip-invalid`.
    skipped: u64,
    /// Acknowledged records.
    records: u64,
    quotes: u64,
    games: u64,
    articles: u64,
    signals: u64,
    analyses: u64,
    /// Market keys without a rule, and how often each was met.
    unknown_markets: BTreeMap<String, u64>,
    seconds: f64,
}

/// Publishes the files and prints what was done.
///
/// # Errors
/// Files that cannot be read, the first refused line as `file:line` (unless they are skipped), and any record
/// that was not acknowledged.
pub async fn publish(config: &Config, args: PublishArgs) -> anyhow::Result<()> {
    let json = args.json;
    let config = config.clone();
    let summary = blocking(move || run(config, args)).await?;
    if json { print_line(serde_json::to_string(&summary)?) } else { print_line(summary.text()) }
}

fn run(mut config: Config, args: PublishArgs) -> anyhow::Result<Summary> {
    ensure!(
        args.topic.is_none() || args.format == Format::Cloudevents,
        "--topic: a snapshot becomes games and odds, and one topic carries one kind; \
         name the topics in [topics] instead"
    );
    let started = Instant::now();
    let bar = progress_bar(total_bytes(&args.files)?);
    if let Some(brokers) = &args.brokers {
        config.kafka.brokers.clone_from(brokers);
    }
    let publisher = Publisher::new(&config.kafka)?;
    let mut publication =
        Publication { config, args, publisher, bar, only_kind: None, summary: Summary::default() };
    let sent = publication.send_files();
    let acked = publication.publisher.flush(PATIENCE)?;
    publication.bar.finish_and_clear();
    sent.with_context(|| match acked {
        0 => "stopped before any record was sent".to_owned(),
        _ => format!("stopped after {acked} records, which are all acknowledged"),
    })?;
    Ok(Summary { records: acked, seconds: started.elapsed().as_secs_f64(), ..publication.summary })
}

/// Bytes of the files and the rate of records, on a terminal only.
fn progress_bar(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() || total == 0 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {msg}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A run of the command, on its own thread.
struct Publication {
    config: Config,
    args: PublishArgs,
    publisher: Publisher,
    bar: ProgressBar,
    /// With `--topic`: the kind of the first record.
    only_kind: Option<EventKind>,
    summary: Summary,
}

impl Publication {
    fn send_files(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut before = 0;
        for path in self.args.files.clone() {
            let mut lines = Lines::open(&path)?;
            while let Some(line) = lines.next_line()? {
                match self.args.format.convert(line) {
                    Ok(converted) => self.send(converted).with_context(|| lines.place())?,
                    Err(rejection) if self.args.skip_invalid => {
                        tracing::warn!("{}: left out: {rejection}", lines.place());
                        self.summary.skipped += 1;
                    }
                    Err(rejection) => return Err(rejection).with_context(|| lines.place()),
                }
                self.summary.lines += 1;
                self.bar.set_position(before + lines.consumed());
                let rate = per_second(self.publisher.sent(), started.elapsed().as_secs_f64());
                self.bar.set_message(format!("{rate} records/s"));
            }
            before += lines.consumed();
            self.summary.files += 1;
        }
        Ok(())
    }

    fn send(&mut self, converted: Converted) -> anyhow::Result<()> {
        for record in &converted.records {
            let topic = self.topic(record.kind)?;
            let timestamp_ms = self.args.event_time.then(|| record.observed_at.0.div_euclid(1_000));
            self.publisher.send(&topic, Some(record.key.as_bytes()), Some(&record.value), timestamp_ms)?;
            self.summary.count(record);
        }
        for key in converted.unknown_markets {
            *self.summary.unknown_markets.entry(key).or_default() += 1;
        }
        Ok(())
    }

    fn topic(&mut self, kind: EventKind) -> anyhow::Result<String> {
        let Some(topic) = &self.args.topic else { return Ok(self.config.topic(kind).name) };
        let only = *self.only_kind.get_or_insert(kind);
        ensure!(
            only == kind,
            "{} after {}: --topic {topic} takes one kind of event, as every topic does",
            kind.event_type(),
            only.event_type()
        );
        Ok(topic.clone())
    }
}

impl Summary {
    fn count(&mut self, record: &Outgoing) {
        match record.kind {
            EventKind::Odds => self.quotes += record.quotes as u64,
            EventKind::Game => self.games += 1,
            EventKind::Article => self.articles += 1,
            EventKind::Signal => self.signals += 1,
            EventKind::Analysis => self.analyses += 1,
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "published {} records ({} quotes, {} games, {} articles, {} signals, {} analyses) of {} lines in {} files, \
             in {:.1} s, {} records/s",
            self.records,
            self.quotes,
            self.games,
            self.articles,
            self.signals,
            self.analyses,
            self.lines - self.skipped,
            self.files,
            self.seconds,
            per_second(self.records, self.seconds)
        );
        if self.skipped > 0 {
            text += &format!("; left out {} refused lines", self.skipped);
        }
        if !self.unknown_markets.is_empty() {
            let keys: Vec<_> = self.unknown_markets.iter().map(|(key, n)| format!("{key} ({n})")).collect();
            text += &format!("; kept as market \"other\": {}", keys.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::config::Security;

    fn file(lines: &[String]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.join("\n").as_bytes()).unwrap();
        file
    }

    fn args(file: &tempfile::NamedTempFile) -> PublishArgs {
        PublishArgs {
            files: vec![file.path().to_owned()],
            format: Format::Cloudevents,
            topic: None,
            event_time: true,
            brokers: None,
            skip_invalid: false,
            json: false,
        }
    }

    fn samples() -> Vec<String> {
        EventKind::ALL.iter().flat_map(|kind| kind.samples()).map(|sample| sample.to_string()).collect()
    }

    /// A cluster with the topic of each kind, and the configuration for it.
    fn cluster() -> (MockCluster<'static, rdkafka::producer::DefaultProducerContext>, Config) {
        let cluster = MockCluster::new(1).unwrap();
        for kind in EventKind::ALL {
            cluster.create_topic(kind.default_topic(), 1, 1).unwrap();
        }
        let mut config = Config::default();
        config.kafka.brokers = cluster.bootstrap_servers();
        config.kafka.security = Security::Plaintext;
        (cluster, config)
    }

    #[test]
    fn samples_go_to_their_topics() {
        let (_cluster, config) = cluster();
        let summary = run(config, args(&file(&samples()))).unwrap();
        let counts = (summary.records, summary.quotes, summary.games, summary.articles);
        assert_eq!(counts, (11, 9, 2, 1));
        assert_eq!((summary.signals, summary.analyses), (2, 2));
    }

    #[test]
    fn a_bad_line_stops_or_is_left_out() {
        let (_cluster, config) = cluster();
        let mut lines = samples();
        lines.insert(2, "{}".into());
        let file = file(&lines);
        let error = format!("{:#}", run(config.clone(), args(&file)).unwrap_err());
        let place = format!("{}:3: not_cloudevent: type: missing", file.path().display());
        assert_eq!(error, format!("stopped after 2 records, which are all acknowledged: {place}"));
        let summary = run(config, PublishArgs { skip_invalid: true, ..args(&file) }).unwrap();
        assert_eq!((summary.records, summary.skipped, summary.lines), (11, 1, 12));
    }

    #[test]
    fn one_topic_takes_one_kind() {
        let (_cluster, config) = cluster();
        let to_odds = PublishArgs { topic: Some("odds".into()), ..args(&file(&samples())) };
        let error = format!("{:#}", run(config.clone(), to_odds.clone()).unwrap_err());
        assert!(error.contains("cannot open"), "{error}");
        let file = file(&samples());
        let to_odds = PublishArgs { files: vec![file.path().to_owned()], ..to_odds };
        let error = format!("{:#}", run(config.clone(), to_odds.clone()).unwrap_err());
        assert!(error.contains("odds.v1 after game.v1"), "{error}");
        let snapshots = PublishArgs { format: Format::TheOddsApi, ..to_odds };
        assert!(run(config, snapshots).unwrap_err().to_string().starts_with("--topic"));
    }
}
