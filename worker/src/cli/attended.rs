//! What `replay` and `backfill` share: the workflow of the same work is found or made, taken up, run by this process and shown until
//! it ends. A dry run is the same without a workflow.
//!
//! What must stay true: the same command goes on where an interrupted one stopped, and never runs beside another process that has
//! the work; progress goes to standard error, the one answer to standard output.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use ledgerline_schema::store::{Claimable, NewWorkflow, Store, Workflow, WorkflowError};
use ledgerline_schema::workflow::{Parameters, State};
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use super::Ending;
use super::operator::{Ended as Bad, actor, connect, print_line, tell};
use super::signals::StopSignals;
use crate::breaker::Breaker;
use crate::config::{Config, LogConfig, LogFormat};
use crate::telemetry;
use crate::workflows::{self, Ended, LineEnd, Report, Work};

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How often a workflow is looked at that another process has.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How the command was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) dry_run: bool,
    pub(super) json: bool,
    /// Nobody else can do it: the files are here.
    pub(super) attended: bool,
}

/// Does the work, and says what came of it.
///
/// # Errors
/// Parameters that cannot be used, and work that could not be done.
pub(super) async fn carry_out(
    config: &Config,
    parameters: Parameters,
    manner: Manner,
) -> anyhow::Result<Ending> {
    parameters.check().map_err(|bad| Bad::BadArguments(bad.to_string()))?;
    log(config)?;
    let work = Work {
        config: config.clone(),
        store: connect(config).await?,
        breaker: Arc::new(Breaker::default()),
        owner: workflows::owner(),
        folder: None,
        status: Arc::default(),
    };
    let (mut stop, status) = (StopSignals::new()?, Arc::clone(&work.status));
    tokio::spawn(async move {
        stop.received().await;
        status.stop();
    });
    if manner.dry_run {
        return dry_run(&work, &parameters, manner).await;
    }
    let workflow = asked_for(&work.store, &parameters, manner).await?;
    let Some(workflow) = taken_up(&work, &workflow.id).await? else {
        return told(&work, &workflow.id, &Ended::Stopped, manner).await;
    };
    let display = tokio::spawn(show(work.clone(), workflow.id.clone()));
    let ended = work.take_up(&workflow, &parameters).await;
    display.abort();
    told(&work, &workflow.id, &ended?, manner).await
}

/// Logs are for who reads a file; on a terminal they would tear the progress bar.
pub(super) fn log(config: &Config) -> anyhow::Result<()> {
    if !std::io::stderr().is_terminal() {
        return telemetry::install(&config.log);
    }
    let quiet = LogConfig { format: LogFormat::Text, level: "error".into(), ..config.log.clone() };
    telemetry::install(&quiet)
}

/// The unfinished workflow of the same work, or a new one. One that failed is put back in line.
async fn asked_for(store: &Store, parameters: &Parameters, manner: Manner) -> anyhow::Result<Workflow> {
    let by = actor(None);
    match store.newest_workflow(parameters).await? {
        Some(found) if !found.state.is_final() => return Ok(found),
        Some(found) if found.state == State::Failed => {
            return Ok(store.retry_workflow(&found.id, &by, "the same command again").await?);
        }
        Some(_) | None => {}
    }
    let new = NewWorkflow { parameters, requested_by: &by, attended: manner.attended };
    match store.create_workflow(&new).await {
        // The same command at the same time.
        Err(WorkflowError::Unfinished(id)) => match store.workflow(&id).await? {
            Some(found) => Ok(found),
            None => bail!("workflow {id} is gone"),
        },
        created => Ok(created?),
    }
}

/// Takes the workflow up; while another process has it, waits until it is over or given up. Null where there is nothing left to do.
async fn taken_up(work: &Work, id: &str) -> anyhow::Result<Option<Workflow>> {
    let (mut ticks, mut said) = (interval(LOOK_EVERY), false);
    loop {
        ticks.tick().await;
        if let Some(workflow) = work.store.claim_workflow(Claimable::Id(id), &work.owner).await? {
            return Ok(Some(workflow));
        }
        let found = work.store.workflow(id).await?;
        if work.status.is_stopping() || found.as_ref().is_none_or(|found| found.state.is_final()) {
            return Ok(None);
        }
        if !std::mem::replace(&mut said, true) {
            let owner = found.and_then(|found| found.lease_owner).unwrap_or_default();
            tell(format_args!("workflow {id} belongs to {owner:?}; waiting until it ends, or its lease"));
        }
    }
}

async fn dry_run(work: &Work, parameters: &Parameters, manner: Manner) -> anyhow::Result<Ending> {
    let id = format!("dry-run-{}", uuid::Uuid::new_v4().simple());
    let plan = work.plan(parameters, &id).await?;
    let display = tokio::spawn(show(work.clone(), "dry run".into()));
    let end = work.rehearse(&plan, parameters).await;
    display.abort();
    let (ending, state) = match end? {
        LineEnd::Complete => (Ending::Done, "succeeded"),
        LineEnd::Stopped => (Ending::Failed, "stopped"),
        LineEnd::Halted(partition, reason) => bail!("partition {partition} cannot be read: {reason}"),
    };
    print_summary(&work.status.report(), &json!({"dry_run": true, "state": state}), manner)?;
    Ok(ending)
}

/// The answer, and what the command ends with.
async fn told(work: &Work, id: &str, ended: &Ended, manner: Manner) -> anyhow::Result<Ending> {
    let found = work.store.workflow(id).await?;
    let state = found.as_ref().map_or("unknown", |found| found.state.name());
    let error = found.as_ref().and_then(|found| found.error.clone());
    let head = json!({"workflow": id, "state": state, "error": error});
    print_summary(&work.report().await, &head, manner)?;
    match (ended, found.map(|found| found.state)) {
        (_, Some(State::Succeeded)) => Ok(Ending::Done),
        (Ended::Failed(error), _) => bail!("workflow {id} failed: {error}"),
        (Ended::Stopped, Some(State::Running)) => {
            bail!("workflow {id} was stopped; the same command goes on where it stopped")
        }
        (Ended::Succeeded | Ended::Stopped | Ended::Lost(_), state) => {
            let state = state.map_or("gone", State::name);
            bail!("workflow {id} is {state}; this process did not bring it to its end")
        }
    }
}

fn print_summary(report: &Report, head: &Value, manner: Manner) -> anyhow::Result<()> {
    let mut object = report.json();
    if let (Some(into), Some(from)) = (object.as_object_mut(), head.as_object()) {
        into.extend(
            from.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), value.clone())),
        );
    }
    if manner.json {
        return print_line(object);
    }
    let counts = report.counts;
    let (would, did) = if manner.dry_run { ("would be ", "dry run") } else { ("", "done") };
    print_line(format_args!("{did}: {} of {} offsets", report.done, report.offsets))?;
    if let Some(from) = &report.resumed_from {
        let places: Vec<String> = from.iter().map(|(key, next)| format!("{key} at {next}")).collect();
        print_line(format_args!("  resumed from: {}", places.join(", ")))?;
    }
    print_line(format_args!(
        "  rows: {} {would}inserted, {} {would}updated, {} unchanged",
        counts.inserted, counts.updated, counts.unchanged
    ))?;
    print_line(format_args!(
        "  records: {} {would}applied, {} {would}dead, {} tombstones, {} passed over; {} offsets without a record",
        counts.applied, counts.dead, counts.tombstone, counts.skipped, counts.hole
    ))
}

/// A bar with rate and time left on a terminal, JSON lines otherwise, until it is aborted.
async fn show(work: Work, name: String) {
    let (mut ticks, start) = (interval(SHOW_EVERY), Instant::now());
    let bar = bar();
    let mut first = None;
    loop {
        ticks.tick().await;
        let report = work.status.report();
        if report.offsets == 0 {
            continue; // it is not planned yet
        }
        let begun = *first.get_or_insert(report.done);
        let rate = (report.done - begun) as f64 / start.elapsed().as_secs_f64().max(0.001);
        let eta_s = (rate > 0.0).then(|| ((report.offsets - report.done) as f64 / rate).ceil());
        let Some(bar) = &bar else {
            let mut line = report.json();
            line["workflow"] = json!(name);
            line["offsets_per_second"] = json!(rate.round());
            line["eta_s"] = json!(eta_s);
            tell(line);
            continue;
        };
        bar.set_length(u64::try_from(report.offsets).unwrap_or(0));
        bar.set_position(u64::try_from(report.done).unwrap_or(0));
        bar.set_message(match report.pace {
            Some(pace) if pace.holding => {
                format!("giving way to live consumption, {} records behind", pace.lag)
            }
            Some(_) | None => {
                format!("{rate:.0}/s, {} s left", eta_s.map_or("?".into(), |eta| eta.to_string()))
            }
        });
    }
}

fn bar() -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} {msg}");
    Some(ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
}
