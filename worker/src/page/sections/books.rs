//! How old the newest odds are, per league and book: which scraper has stopped.

use ledgerline_schema::store::Freshness;
use maud::{Markup, html};

use super::super::text::{ago, count, name};
use super::super::view::View;
use super::{head, table, trouble};

/// Books that are shown; `ledgerline freshness` shows all.
const SHOWN: usize = 80;

pub(super) fn content(view: &View) -> Markup {
    let empty = Vec::new();
    let report = view.seen.freshness.value.as_deref();
    let books = report.map_or(&empty, |report| &report.books);
    let shown = &books[..books.len().min(SHOWN)];
    let rows = html! {
        (head(["League", "Book", "#Newest quote", "#Games", "#Selections"]))
        @for league in shown.chunk_by(|a, b| (&a.sport, &a.league) == (&b.sport, &b.league)) {
            tbody { @for (index, book) in league.iter().enumerate() { (one(book, (index == 0).then_some(league.len()), view)) } }
        }
        @if shown.is_empty() { tbody { tr { td colspan="5" { "No odds of the games that matter now." } } } }
    };
    html! {
        (table("Age of the newest odds by league and book, by the scrapers' clocks", &rows))
        p.note {
            "Games from two days ago to a week ahead, and those that were named last."
            @if books.len() > SHOWN { " " (count((books.len() - SHOWN).try_into().unwrap_or(0))) " more: " code { "ledgerline freshness" } }
            @if report.is_some_and(|report| !report.complete) { " There are more selections than are looked at: a book may be fresher than it seems." }
        }
        (trouble(&view.seen.freshness, view))
    }
}

/// A row; the first one of a league names it for all of them.
fn one(book: &Freshness, span: Option<usize>, view: &View) -> Markup {
    let league = match (book.sport.as_str(), book.league.as_str()) {
        ("", "") => "game not known yet".to_owned(),
        (sport, "") => sport.replace('_', " "),
        (_, league) => league.to_uppercase(),
    };
    html! {
        tr {
            @if let Some(span) = span { th scope="rowgroup" rowspan=(span) { (name(&league)) } }
            th scope="row" { (name(&book.sportsbook)) }
            td.number { (ago(view.now, book.newest)) }
            td.number { (count(book.games)) }
            td.number { (count(book.selections)) }
        }
    }
}
