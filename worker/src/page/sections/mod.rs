//! The sections of the page that move: THE list of them, in the order of the page. Each is a file with one function from a view to
//! its content; the page holds it from the start, and the events bring it anew when it has changed.
//!
//! A section is one file and one line here.

mod batches;
mod books;
mod figures;
mod letters;
mod partitions;
mod topics;
mod workflows;

use maud::{Markup, html};

use super::database::Answer;
use super::text::{age, moment, sentence};
use super::view::View;

/// A part of the page that moves.
pub(super) struct Section {
    /// Its place in the document, and its name in the events.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// Its content now.
    pub content: fn(&View) -> Markup,
}

/// Every section.
pub(super) const SECTIONS: [Section; 7] = [
    Section { id: "now", title: "Now", content: figures::content },
    Section { id: "topics", title: "Topics", content: topics::content },
    Section { id: "partitions", title: "Partitions", content: partitions::content },
    Section { id: "books", title: "Freshness of odds", content: books::content },
    Section { id: "letters", title: "Dead letters", content: letters::content },
    Section { id: "workflows", title: "Workflows", content: workflows::content },
    Section { id: "batches", title: "Recent batches", content: batches::content },
];

/// A table that scrolls by itself where the page is too narrow for it; by the keyboard, too.
fn table(caption: &str, content: &Markup) -> Markup {
    html! {
        div.scroll role="region" aria-label=(caption) tabindex="0" {
            table { caption { (caption) } (content) }
        }
    }
}

/// The heads of the columns. A name that starts with `#` is that of numbers.
fn head<const N: usize>(columns: [&str; N]) -> Markup {
    html! {
        thead { tr {
            @for column in columns {
                @match column.strip_prefix('#') {
                    Some(column) => th.number scope="col" { (column) },
                    None => th scope="col" { (column) },
                }
            }
        } }
    }
}

/// What is wrong with an answer of the database, and how old it is therefore.
fn trouble<T>(answer: &Answer<T>, view: &View) -> Markup {
    match (&answer.problem, answer.at) {
        (None, _) => html! {},
        (Some(problem), None) => html! { p.trouble { "Not known: " (sentence(problem)) } },
        (Some(problem), Some(at)) => html! {
            p.trouble { "From " (moment(at)) " UTC, " (age(view.now, at)) " ago: " (sentence(problem)) }
        },
    }
}
