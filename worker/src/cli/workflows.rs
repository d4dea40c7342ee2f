//! `ledgerline workflows ls|show|cancel|retry`: replays and backfills, how far they are, and what was done with them.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use ledgerline_schema::store::{HistoryRow, Workflow, WorkflowFilter};
use ledgerline_schema::workflow::{State, WorkflowKind};
use serde_json::{Value, json};

use super::operator::{actor, connect, print, print_line, reason};
use super::table::{aligned, row};
use crate::config::Config;

/// Most changes of its state that are shown of one.
const CHANGES: usize = 1_000;

/// Arguments of `workflows`.
#[derive(Debug, Args)]
pub struct WorkflowsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List workflows, the newest first.
    Ls {
        /// Only of this kind: replay, backfill.
        #[arg(long, value_parser = kind)]
        kind: Option<WorkflowKind>,
        /// Only in this state: queued, running, succeeded, failed, cancelled.
        #[arg(long, value_parser = state)]
        state: Option<State>,
        /// Most rows.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
        /// Go on behind this id, where an earlier list ended.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Show everything about one, with every change of its state.
    Show {
        /// Its id.
        id: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Call one off. What it did stays done.
    Cancel(ChangeArgs),
    /// Put one that failed or was called off back in line; it goes on where it stopped.
    Retry(ChangeArgs),
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// Its id.
    id: String,
    /// Why, for its history.
    #[arg(long, value_parser = reason, default_value = "by an operator")]
    reason: String,
    /// Who, for its history. Without it: the user of the operating system.
    #[arg(long)]
    actor: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// There is no such workflow, its state does not allow it, or the database did not answer.
pub async fn workflows(config: &Config, args: WorkflowsArgs) -> anyhow::Result<()> {
    let store = connect(config).await?;
    match args.action {
        Action::Ls { kind, state, limit, after, json } => {
            let found =
                store.workflows(&WorkflowFilter { kind, state }, after.as_deref(), limit.into()).await?.rows;
            if json {
                return print_line(Value::Array(found.iter().map(as_json).collect()));
            }
            let mut lines = vec![row(["ID", "KIND", "STATE", "DONE", "CREATED", "BY", "WHAT"])];
            lines.extend(found.iter().map(as_line));
            print(aligned(&lines).as_bytes())
        }
        Action::Show { id, json } => {
            let Some(found) = store.workflow(&id).await? else { bail!("there is no workflow {id}") };
            show(&found, &store.workflow_history(&id, None, CHANGES).await?.rows, json)
        }
        Action::Cancel(args) => {
            let by = actor(args.actor);
            changed(&store.cancel_workflow(&args.id, &by, &args.reason).await?, args.json)
        }
        Action::Retry(args) => {
            let by = actor(args.actor);
            changed(&store.retry_workflow(&args.id, &by, &args.reason).await?, args.json)
        }
    }
}

fn kind(text: &str) -> Result<WorkflowKind, String> {
    WorkflowKind::of_name(text).ok_or_else(|| "none of replay, backfill".into())
}

fn state(text: &str) -> Result<State, String> {
    State::of_name(text).ok_or_else(|| "none of queued, running, succeeded, failed, cancelled".into())
}

fn changed(workflow: &Workflow, json: bool) -> anyhow::Result<()> {
    if json {
        return print_line(as_json(workflow));
    }
    print_line(format_args!("{} is {}", workflow.id, workflow.state))
}

fn show(workflow: &Workflow, history: &[HistoryRow], json: bool) -> anyhow::Result<()> {
    let mut object = as_json(workflow);
    let changes = history.iter().map(|change| {
        json!({
            "at": change.at, "from": change.from_state, "to": change.to_state, "actor": change.actor,
            "detail": change.detail,
        })
    });
    object["plan"] = serde_json::to_value(&workflow.plan).context("the plan")?;
    object["history"] = changes.collect();
    if json {
        return print_line(object);
    }
    print_line(serde_json::to_string_pretty(&object)?)
}

fn as_line(workflow: &Workflow) -> Vec<String> {
    let progress = |key: &str| workflow.progress.as_ref().and_then(|progress| progress[key].as_i64());
    let done = match progress("done").zip(progress("offsets")) {
        Some((done, offsets)) => format!("{done}/{offsets}"),
        None => "-".to_owned(),
    };
    vec![
        workflow.id.clone(),
        workflow.kind.name().to_owned(),
        workflow.state.name().to_owned(),
        done,
        workflow.created_at.to_string(),
        workflow.requested_by.clone(),
        serde_json::to_string(&workflow.parameters).unwrap_or_default(),
    ]
}

fn as_json(workflow: &Workflow) -> Value {
    json!({
        "id": workflow.id,
        "kind": workflow.kind.name(),
        "state": workflow.state.name(),
        "parameters": workflow.parameters,
        "progress": workflow.progress,
        "error": workflow.error,
        "requested_by": workflow.requested_by,
        "attended": workflow.attended,
        "lease_owner": workflow.lease_owner,
        "lease_until": workflow.lease_until,
        "attempt": workflow.attempt,
        "created_at": workflow.created_at,
        "started_at": workflow.started_at,
        "ended_at": workflow.ended_at,
        "updated_at": workflow.updated_at,
    })
}
