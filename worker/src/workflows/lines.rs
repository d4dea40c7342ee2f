//! The lines of a plan, one after the other: each goes on from the positions that are stored, or from its beginning in a dry run. Called
//! by `take_up`, and by the commands for a dry run.
//!
//! What must stay true: a line begins where its positions stand, whoever left them there; a dry run stores nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use ledgerline_schema::workflow::{Backfill, FILE_CLUSTER, Parameters, Part, Plan, Replay};

use super::{LineEnd, Work, line, plan};
use crate::blocking::blocking;
use crate::buffer::Observed;
use crate::claim::Claimant;
use crate::clock;
use crate::config::{Start, Topic};
use crate::dry_run::DryRun;
use crate::formats::events::scan;
use crate::metrics::{self, Mode};
use crate::pace::{self, Pace, Terms, Yielding};
use crate::progress::Progress;
use crate::source::Log;
use crate::source::file::{FileLog, FilePart, FileSource};
use crate::source::kafka::{KafkaLog, group_of};
use crate::source::replay::ReplaySource;

/// How far behind live consumption may be while a replay works, in records.
const MAX_LAG_RECORDS: i64 = 10_000;

impl Work {
    /// Runs the lines of a plan, one after the other.
    pub(super) async fn run_lines(
        &self,
        plan: &Plan,
        parameters: &Parameters,
        begun: bool,
    ) -> anyhow::Result<LineEnd> {
        self.status.planned(plan);
        for parts in lines(plan) {
            let [first, ..] = parts else { continue };
            let starts: Vec<_> = parts.iter().map(|part| (part.lineage(), part.from)).collect();
            self.store.start(&first.group, &starts, clock::now()).await?;
            let at: BTreeMap<i32, i64> = self
                .store
                .positions(&first.group, &first.topic)
                .await?
                .into_iter()
                .map(|(partition, at)| (partition, at.next_offset))
                .collect();
            let rest: Vec<Part> = parts.iter().map(|part| from(part, &at)).collect();
            if begun {
                self.tell_resumed(parts, &rest);
            }
            let rest: Vec<Part> = rest.into_iter().filter(|part| part.from < part.to).collect();
            if rest.is_empty() {
                continue;
            }
            match self.run_line(&rest, parameters, None).await? {
                LineEnd::Complete => {}
                other => return Ok(other),
            }
        }
        Ok(LineEnd::Complete)
    }

    /// Runs a plan without changing anything.
    ///
    /// # Errors
    /// A source died.
    pub async fn rehearse(&self, plan: &Plan, parameters: &Parameters) -> anyhow::Result<LineEnd> {
        self.status.planned(plan);
        for parts in lines(plan) {
            let dry_run = Arc::new(DryRun::of(parts));
            match self.run_line(parts, parameters, Some(dry_run)).await? {
                LineEnd::Complete => {}
                other => return Ok(other),
            }
        }
        Ok(LineEnd::Complete)
    }

    fn tell_resumed(&self, parts: &[Part], rest: &[Part]) {
        for (part, rest) in parts.iter().zip(rest) {
            let key = match part.cluster_id.as_str() {
                FILE_CLUSTER => format!("{} of {}", part.topic, part.group),
                _ => part.partition.to_string(),
            };
            self.status.resumed(key, rest.from, rest.from - part.from);
        }
    }

    /// One line: the parts of one topic and group.
    async fn run_line(
        &self,
        parts: &[Part],
        parameters: &Parameters,
        dry_run: Option<Arc<DryRun>>,
    ) -> anyhow::Result<LineEnd> {
        match parameters {
            Parameters::Replay(replay) => self.run_replay(parts, replay, dry_run).await,
            Parameters::Backfill(backfill) => self.run_backfill(parts, backfill, dry_run).await,
        }
    }

    async fn run_replay(
        &self,
        parts: &[Part],
        replay: &Replay,
        dry_run: Option<Arc<DryRun>>,
    ) -> anyhow::Result<LineEnd> {
        let topic = self.topic(&replay.topic)?;
        let kafka = &self.config.kafka_for(topic.kind);
        let ends = parts.iter().map(|part| (part.partition, part.to)).collect();
        let source = ReplaySource::open(kafka, &replay.topic, ends, replay.rate_per_second)?;
        let log = Arc::new(KafkaLog::new(kafka, &replay.topic)?);
        let yielding = Arc::new(Yielding::new(replay.max_lag_records.unwrap_or(MAX_LAG_RECORDS)));
        let group = group_of(kafka, &replay.topic);
        let (to, asked) = (Arc::clone(&yielding), Arc::new(KafkaLog::new(kafka, &replay.topic)?));
        let watch = tokio::spawn(pace::watch(to, self.store.clone(), group, asked));
        let observed = Observed { from: replay.observed_from, to: replay.observed_to };
        let any = observed.from.is_some() || observed.to.is_some();
        let terms = Terms { pace: Pace::Yielding(yielding), observed: any.then_some(observed) };
        let progress = Arc::new(Progress::new(&topic.name, Mode::Replay));
        let claimant = self.claimant(parts, log, dry_run);
        let ended = line::run(source, claimant, (topic, terms), parts, &progress, &self.status).await;
        watch.abort();
        metrics::yielding(false);
        ended
    }

    async fn run_backfill(
        &self,
        parts: &[Part],
        backfill: &Backfill,
        dry_run: Option<Arc<DryRun>>,
    ) -> anyhow::Result<LineEnd> {
        let [part] = parts else { return Err(anyhow!("a file has one partition")) };
        let number = part.group.rsplit(':').next().and_then(|number| number.parse::<usize>().ok());
        let file = number.and_then(|number| backfill.files.get(number.checked_sub(1)?));
        let path = plan::resolve(&file.context("the plan names no file")?.path, self.folder.as_deref())?;
        let format = plan::format_of(backfill)?;
        let scanned = path.clone();
        let contents = blocking(move || scan(&scanned, format)).await?;
        anyhow::ensure!(
            contents.sha256 == part.topic_id,
            "{} has changed since it was planned",
            path.display()
        );
        let topic = self.topic(&part.topic)?;
        let strays = contents.strays == Some(topic.kind);
        let source = FileSource::new(FilePart { path, format, kind: topic.kind, strays, end: part.to });
        let log = Arc::new(FileLog { lineage: part.lineage(), end: part.to });
        let progress = Arc::new(Progress::new(&topic.name, Mode::Backfill));
        let claimant = self.claimant(parts, log, dry_run);
        line::run(source, claimant, (topic, Terms::default()), parts, &progress, &self.status).await
    }

    fn topic(&self, name: &str) -> anyhow::Result<Topic> {
        let kind = self.config.kind_of(name);
        let kind =
            kind.with_context(|| format!("the configuration does not say which kind {name} carries"))?;
        Ok(Topic { name: name.to_owned(), ..self.config.topic(kind) })
    }

    fn claimant(&self, parts: &[Part], log: Arc<dyn Log>, dry_run: Option<Arc<DryRun>>) -> Claimant {
        Claimant {
            group: parts.first().map_or("", |part| &part.group).into(),
            owner: self.owner.clone(),
            start: Start::Earliest, // never asked: every part has its position
            store: self.store.clone(),
            log,
            deadline: self.config.database.deadline(),
            breaker: Arc::clone(&self.breaker),
            dry_run,
            spool: None,
            switches: Arc::default(),
        }
    }
}

/// The part from where its position stands.
fn from(part: &Part, at: &BTreeMap<i32, i64>) -> Part {
    let from = at.get(&part.partition).map_or(part.from, |next| (*next).max(part.from));
    Part { from, ..part.clone() }
}

/// The parts that make one line each.
fn lines(plan: &Plan) -> impl Iterator<Item = &[Part]> {
    plan.parts.chunk_by(|a, b| a.group == b.group && a.topic == b.topic)
}
