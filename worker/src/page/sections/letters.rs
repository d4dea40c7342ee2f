//! Dead letters that nobody has settled, by topic and reason.

use maud::{Markup, html};

use super::super::database::LETTERS;
use super::super::text::{ago, count, name};
use super::super::view::View;
use super::{head, table, trouble};

/// Groups that are shown; there are as many as topics times reasons.
const SHOWN: usize = 60;

pub(super) fn content(view: &View) -> Markup {
    let empty = Vec::new();
    let groups = view.seen.letters.value.as_deref().unwrap_or(&empty);
    let all: i64 = groups.iter().map(|group| group.letters).sum();
    let rows = html! {
        (head(["Topic", "Reason", "#Letters", "#First", "#Last"]))
        tbody {
            @for group in groups.iter().take(SHOWN) {
                tr {
                    th scope="row" { (name(&group.topic)) }
                    td { code { (name(&group.reason)) } }
                    td.number { (count(group.letters)) }
                    td.number { (ago(view.now, Some(group.oldest))) }
                    td.number { (ago(view.now, Some(group.newest))) }
                }
            }
            @if groups.is_empty() && view.seen.letters.at.is_some() { tr { td colspan="5" { "None. Every record was stored." } } }
        }
        @if !groups.is_empty() {
            tfoot { tr { th scope="row" colspan="2" { "All" } td.number { (count(all)) @if all >= LETTERS { "+" } } td {} td {} } }
        }
    };
    html! {
        (table("Dead letters that wait for somebody", &rows))
        @if !groups.is_empty() { p.note { "Look: " code { "ledgerline dlq ls" } " · apply again: " code { "ledgerline dlq redrive" } } }
        (trouble(&view.seen.letters, view))
    }
}
