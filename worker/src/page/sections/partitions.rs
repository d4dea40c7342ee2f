//! Each partition of our groups: where it stands, who has it, and why it is halted. Halted ones first.

use maud::{Markup, html};

use super::super::text::{ago, count, name, or_unknown, plain, sentence, unknown};
use super::super::view::{PartitionView, View};
use super::{head, table, trouble};

/// Partitions that are shown; `ledgerline lag` shows all.
const SHOWN: usize = 48;

pub(super) fn content(view: &View) -> Markup {
    let partitions = view.partitions();
    let columns =
        ["Topic", "#Partition", "State", "#Position", "#End of log", "#Behind", "#Epoch", "Owner", "#Moved"];
    let rows = html! {
        (head(columns))
        tbody {
            @for row in partitions.iter().take(SHOWN) { (one(row, view)) }
            @if partitions.is_empty() { tr { td colspan="9" { "None is assigned, and the database knows none." } } }
        }
    };
    html! {
        (table("Partitions of this worker's consumer groups", &rows))
        @if partitions.len() > SHOWN {
            p.note { (count((partitions.len() - SHOWN).try_into().unwrap_or(0))) " more: " code { "ledgerline lag" } }
        }
        @for row in partitions.iter().take(SHOWN) {
            @if let Some((halt, Some(detail))) = row.halted {
                p.trouble { (name(row.topic)) "[" (row.partition) "] " (halt) ": " (sentence(detail)) }
            }
        }
        (trouble(&view.seen.partitions, view))
    }
}

fn one(row: &PartitionView<'_>, view: &View) -> Markup {
    html! {
        tr {
            th scope="row" { (name(row.topic)) }
            td.number { (row.partition) }
            td { (state(row)) }
            td.number { (or_unknown(row.next_offset)) }
            td.number { (or_unknown(row.log_end)) }
            td.number { (or_unknown(row.lag)) }
            td.number { (or_unknown(row.epoch)) }
            td {
                @match row.owner {
                    Some("") | None => (unknown()),
                    Some(owner) => (name(owner)),
                }
                @if row.ours { " " span.tag { "this worker" } }
            }
            td.number { (ago(view.now, row.updated_at)) }
        }
    }
}

/// Colour, sign and word say the same.
fn state(row: &PartitionView<'_>) -> Markup {
    if row.halted.is_none() && row.paused {
        return html! { span.state.warn { span aria-hidden="true" { "‖ " } "paused by an operator" } };
    }
    match (row.halted, row.ours, row.next_offset) {
        (Some((halt, _)), _, _) => {
            html! { span.state.bad { span aria-hidden="true" { "■ " } "halted: " (plain(halt)) } }
        }
        (None, true, None) => html! { span.state.warn { span aria-hidden="true" { "◌ " } "being claimed" } },
        (None, true, Some(_)) => html! { span.state.good { span aria-hidden="true" { "● " } "flowing" } },
        (None, false, _) => html! { span.state { span aria-hidden="true" { "○ " } "elsewhere" } },
    }
}
