//! `ledgerline freshness`: the age of the newest odds per sport, league and book: which scraper has stopped. Only looks.

use clap::Args;
use ledgerline_schema::store::Freshness;
use ledgerline_schema::time::UtcMicros;
use serde_json::{Value, json};

use super::operator::{connect, print, print_line};
use super::table::{aligned, excerpt, row};
use crate::clock;
use crate::config::Config;

/// Characters of a name in the table.
const NAME: usize = 40;

/// Arguments of `freshness`.
#[derive(Debug, Args)]
pub struct FreshnessArgs {
    /// Only this sport.
    #[arg(long)]
    sport: Option<String>,
    /// Only this book.
    #[arg(long)]
    book: Option<String>,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The database did not answer.
pub async fn freshness(config: &Config, args: FreshnessArgs) -> anyhow::Result<()> {
    let store = connect(config).await?;
    let now = clock::now();
    let mut report = store.freshness(now).await?;
    report.books.retain(|book| {
        args.sport.as_ref().is_none_or(|sport| book.sport == *sport)
            && args.book.as_ref().is_none_or(|name| book.sportsbook == *name)
    });
    if args.json {
        let objects = report.books.iter().map(|book| as_json(book, now)).collect();
        return print_line(Value::Array(objects));
    }
    let mut rows = vec![row(["SPORT", "LEAGUE", "BOOK", "NEWEST", "SECONDS", "GAMES", "SELECTIONS"])];
    rows.extend(report.books.iter().map(|book| as_line(book, now)));
    print(aligned(&rows).as_bytes())?;
    if !report.complete {
        print_line("There are more selections than are looked at: a book may be fresher than it seems.")?;
    }
    Ok(())
}

fn seconds(book: &Freshness, now: UtcMicros) -> Option<i64> {
    book.newest.map(|newest| (now.0 - newest.0).max(0) / UtcMicros::SECOND)
}

fn as_json(book: &Freshness, now: UtcMicros) -> Value {
    let told = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "sport": told(&book.sport),
        "league": told(&book.league),
        "sportsbook": book.sportsbook,
        "newest": book.newest.map(|at| at.to_string()),
        "age_seconds": seconds(book, now),
        "games": book.games,
        "selections": book.selections,
    })
}

fn as_line(book: &Freshness, now: UtcMicros) -> Vec<String> {
    let name = |text: &str| if text.is_empty() { "-".to_owned() } else { excerpt(text.as_bytes(), NAME) };
    vec![
        name(&book.sport),
        name(&book.league),
        name(&book.sportsbook),
        book.newest.map_or("-".to_owned(), |at| at.to_string()),
        seconds(book, now).map_or("-".to_owned(), |seconds| seconds.to_string()),
        book.games.to_string(),
        book.selections.to_string(),
    ]
}
