//! The newest workflows: replays and backfills, with how far each has come.

use ledgerline_schema::store::Workflow;
use ledgerline_schema::workflow::{Parameters, State};
use maud::{Markup, html};

use super::super::text::{ago, count, name};
use super::super::view::View;
use super::{head, table, trouble};

pub(super) fn content(view: &View) -> Markup {
    let empty = Vec::new();
    let workflows = view.seen.workflows.value.as_deref().unwrap_or(&empty);
    let rows = html! {
        (head(["Workflow", "Kind", "Of", "State", "#Offsets done", "#Changed"]))
        tbody {
            @for workflow in workflows {
                tr {
                    th scope="row" { code { (name(&workflow.id)) } }
                    td { (workflow.kind.name()) }
                    td { (of(&workflow.parameters)) }
                    td { (state(workflow)) }
                    td.number { (done(workflow)) }
                    td.number { (ago(view.now, Some(workflow.updated_at))) }
                }
            }
            @if workflows.is_empty() && view.seen.workflows.at.is_some() { tr { td colspan="6" { "None yet." } } }
        }
    };
    html! {
        (table("The newest replays and backfills", &rows))
        p.note { "Look: " code { "ledgerline workflows ls" } }
        (trouble(&view.seen.workflows, view))
    }
}

/// What it reads.
fn of(parameters: &Parameters) -> Markup {
    match parameters {
        Parameters::Replay(replay) => name(&replay.topic),
        Parameters::Backfill(backfill) => match backfill.files.as_slice() {
            [file] => name(&file.path),
            files => html! { (count(i64::try_from(files.len()).unwrap_or(i64::MAX))) " files" },
        },
    }
}

/// Its state in a word, and what is wrong where it failed.
fn state(workflow: &Workflow) -> Markup {
    html! {
        (workflow.state.name())
        @if let (State::Failed, Some(error)) = (workflow.state, &workflow.error) { ": " (name(error)) }
    }
}

/// Offsets done of all, as its owner last said.
fn done(workflow: &Workflow) -> Markup {
    let told = |key: &str| workflow.progress.as_ref().and_then(|progress| progress[key].as_i64());
    match (told("done"), told("offsets")) {
        (Some(done), Some(all)) => html! { (count(done)) " of " (count(all)) },
        (None, _) | (_, None) => html! { "–" },
    }
}
