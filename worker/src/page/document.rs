//! The whole document, complete without a script: landmarks, headings, every table, the chart. The script only keeps it moving.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart;
use super::movement::{Choice, Movement};
use super::sections::SECTIONS;
use super::text::{age, clock, count, moment, name, plain, sentence};
use super::view::View;
use ledgerline_schema::store::RecentGame;
use ledgerline_schema::time::UtcMicros;

/// Blocks in the table; the chart shows more.
const ROWS: usize = 40;

/// The sign of the house: a ledger's page with its margin.
const LOGO: &str = r#"<svg class="logo" viewBox="0 0 24 24" aria-hidden="true"><path class="sheet" d="M3 2h18v20H3z"/><path class="margin" d="M8 2v20"/><path class="entry" d="M10 7h9M10 11h6M10 15h8"/><path class="sum" d="M10 18.5h9M10 20.5h9"/></svg>"#;

/// What the head of the page says about the process.
#[derive(Debug)]
pub(super) struct Process {
    /// The prefix of its consumer groups.
    pub group: String,
    /// The database in a word.
    pub database: &'static str,
    /// When it started.
    pub started: UtcMicros,
    /// Distinguishes the style sheet and the script of this program from those of another.
    pub assets: String,
}

pub(super) fn render(process: &Process, view: &View, choice: &Choice, movement: &Movement) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { "Ledgerline · " (plain(&process.group)) }
                link rel="icon" type="image/svg+xml" href={ "/page.svg?" (process.assets) };
                link rel="stylesheet" href={ "/page.css?" (process.assets) };
                script defer src={ "/page.js?" (process.assets) } {}
            }
            body {
                a.skip href="#main" { "Skip to the figures" }
                (header(process, view))
                main id="main" tabindex="-1" {
                    @for section in &SECTIONS {
                        section id=(section.id) aria-labelledby={ (section.id) "-title" } {
                            h2 id={ (section.id) "-title" } { (section.title) }
                            div data-live=(section.id) { ((section.content)(view)) }
                        }
                    }
                    section id="movement" aria-labelledby="movement-title" {
                        h2 id="movement-title" { "Line movement" }
                        (form(view, choice, movement))
                        div data-movement { (figure(view, movement)) }
                    }
                }
                (footer(process))
            }
        }
    }
}

fn header(process: &Process, view: &View) -> Markup {
    html! {
        header.page {
            div.name { (PreEscaped(LOGO)) h1 { "Ledgerline" } }
            p.about {
                "group " b { (name(&process.group)) } " into " b { (process.database) }
                ", up for " (age(view.now, process.started))
            }
            // Announced when it changes, which is seldom: the clock beside it is not part of it.
            p.link { span id="link" role="status" { "Still: reload for newer figures" } " " span id="clock" { "as of " (clock(view.now)) " UTC" } }
            nav aria-label="Sections" {
                ul {
                    @for section in &SECTIONS { li { a href={ "#" (section.id) } { (section.title) } } }
                    li { a href="#movement" { "Line movement" } }
                }
            }
        }
    }
}

fn footer(process: &Process) -> Markup {
    html! {
        footer.page {
            p {
                "Ledgerline " (env!("CARGO_PKG_VERSION")) ", started " (moment(process.started)) " UTC. "
                "This page only looks. " a href="/metrics" { "Metrics" } " · " a href="/readyz" { "Readiness" } " · "
                a href="/livez" { "Liveness" }
            }
        }
    }
}

/// A choice of three, sent as the address of the page: it works without a script, and can be kept as a bookmark.
fn form(view: &View, choice: &Choice, movement: &Movement) -> Markup {
    let empty = Vec::new();
    let games = view.seen.games.value.as_deref().unwrap_or(&empty);
    let elsewhere = movement.game.filter(|game| games.iter().all(|known| known.id != *game));
    html! {
        form.choice method="get" action="/#movement" {
            label for="game" { "Game" }
            select id="game" name="game" {
                @for game in games { option value=(game.id) selected[movement.game == Some(game.id)] { (title(game)) } }
                @if let Some(game) = elsewhere { option value=(game) selected { "Game " (game) } }
            }
            label for="book" { "Book" }
            select id="book" name="book" {
                @for book in &movement.books { option value=(book) selected[*book == movement.book] { (plain(book)) } }
            }
            label for="market" { "Market" }
            select id="market" name="market" {
                @for market in &movement.markets { option value=(market.key) selected[market.key == movement.market] { (plain(&market.label)) } }
            }
            button type="submit" { "Show" }
            @if choice.game.is_some() { a href="/#movement" { "Start over" } }
        }
    }
}

/// Who plays, and when; what a system calls the game where nobody told more.
fn title(game: &RecentGame) -> String {
    let start = game.commence_time.map(|at| format!(", {}", &moment(at)[..16])).unwrap_or_default();
    let league = game.league.as_ref().map(|league| format!(" ({})", plain(&league.to_uppercase())));
    match (&game.away_team, &game.home_team) {
        (Some(away), Some(home)) => {
            format!("{} at {}{}{start}", plain(away), plain(home), league.unwrap_or_default())
        }
        (None, _) | (_, None) => format!("{} {}{start}", plain(&game.system), plain(&game.external_id)),
    }
}

/// The chart, and the same as a table.
pub(super) fn figure(view: &View, movement: &Movement) -> Markup {
    if let Some(problem) = &movement.problem {
        return html! { p.note { (sentence(problem)) } };
    }
    let games = view.seen.games.value.iter().flat_map(|games| games.iter());
    let game = games.into_iter().find(|game| movement.game == Some(game.id)).map(title);
    let unit = if movement.of_points { "points" } else { "decimal price" };
    let heading = format!("{} at {}", plain(movement.label()), plain(&movement.book));
    let caption = game.map_or(heading.clone(), |game| format!("{heading}: {game}"));
    html! {
        figure {
            figcaption { (caption) ", as high as its " (unit) }
            div.scroll role="region" aria-label="Chart" tabindex="0" {
                (chart::draw(&movement.blocks, &format!("{caption}, in {unit}"), &words(movement, unit)))
            }
        }
        (blocks(movement, &heading))
    }
}

/// The chart in a sentence.
fn words(movement: &Movement, unit: &str) -> String {
    let values = || movement.blocks.iter().filter_map(|block| block.value);
    let (Some(first), Some(last)) = (values().next(), values().next_back()) else {
        return "Nothing was offered.".into();
    };
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    format!(
        "From {} to {} {unit}, between {} and {}, in {} blocks. The table below has the newest of them.",
        chart::tidy(first),
        chart::tidy(last),
        chart::tidy(low),
        chart::tidy(high),
        movement.blocks.len()
    )
}

fn blocks(movement: &Movement, heading: &str) -> Markup {
    let all = movement.blocks.len() + movement.left_out;
    html! {
        div.scroll role="region" aria-label={ "Blocks of " (heading) } tabindex="0" {
            table {
                caption { "Blocks of equal quotes, newest first" }
                thead { tr {
                    th scope="col" { "Quote" } th.number scope="col" { "Decimal or points" } th scope="col" { "First seen, UTC" }
                    th scope="col" { "Last seen, UTC" } th.number scope="col" { "Stood for" }
                } }
                tbody {
                    @for block in movement.blocks.iter().rev().take(ROWS) {
                        tr {
                            th scope="row" { (block.quote) }
                            td.number { @if let Some(value) = block.value { (chart::tidy(value)) } @else { "off" } }
                            td { time datetime=(block.from) { (moment(block.from)) } }
                            td { time datetime=(block.to) { (moment(block.to)) } }
                            td.number { (age(block.to, block.from)) }
                        }
                    }
                }
            }
        }
        @if all > ROWS { p.note { (count((all - ROWS).try_into().unwrap_or(0))) " older blocks are not in the table." } }
    }
}
