//! The game that the summary shows: of some of the simulated ones the one whose line moved most. Reads the database through the
//! store's queries; called by the demo's summary.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context;
use ledgerline_schema::events::odds::american_from_decimal;
use ledgerline_schema::repositories::{Latest, Run, Selection, SelectionFilter};
use ledgerline_schema::store::{GameName, Store};

use super::chart::{self, Span};
use super::simulate::{Fixture, SYSTEM};

/// One game of so many is looked at: fifty of them.
const ONE_OF: usize = 6;

/// More than the simulated books offer of one game.
const SELECTIONS: usize = 1_000;
/// Newest quotes of the line that is drawn; a simulated day has fewer.
const QUOTES: i64 = 10_000;

/// The columns of the table of latest odds: market, side, width.
const COLUMNS: [(&str, &str, usize); 6] = [
    ("moneyline", "home", 7),
    ("moneyline", "away", 7),
    ("spread", "home", 12),
    ("spread", "away", 12),
    ("total", "over", 12),
    ("total", "under", 12),
];

/// A game with what is stored about it.
#[derive(Debug)]
pub struct Featured {
    fixture: Fixture,
    latest: Vec<Latest>,
    moved: Latest,
    movement: Vec<Run>,
}

impl Featured {
    /// Finds the game; none where no quote is stored.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn find(store: &Store, fixtures: &[Fixture]) -> anyhow::Result<Option<Self>> {
        let mut found: Option<(usize, Self)> = None;
        for fixture in fixtures.iter().step_by(ONE_OF) {
            let game = GameName { system: SYSTEM.into(), id: fixture.id.clone() };
            let page = store.latest(&game, &SelectionFilter::default(), None, SELECTIONS).await;
            let latest = page.context("cannot read the latest odds")?.map_or_else(Vec::new, |page| page.rows);
            // One side tells the line of both; one book that of most.
            let Some(moved) =
                latest.iter().find(|quote| quote.selection.side == "over").or(latest.first()).cloned()
            else {
                continue;
            };
            let movement = store
                .recent_movement(moved.selection.selection_id, QUOTES)
                .await
                .context("cannot read a line's movement")?;
            let worth = worth_seeing(&movement);
            if found.as_ref().is_none_or(|(most, _)| worth > *most) {
                found = Some((worth, Self { fixture: fixture.clone(), latest, moved, movement }));
            }
        }
        Ok(found.map(|(_, featured)| featured))
    }

    /// The latest quotes, one line per book, and the movement.
    pub fn text(&self) -> String {
        let Fixture { teams, sport, commence, .. } = &self.fixture;
        let start = commence.to_string();
        let (day, time) = (&start[..10], &start[11..16]);
        let mut text =
            format!("Latest odds: {teams}\n  {}, starts {day} {time} UTC\n\n", sport.replace('_', " "));
        text += &self.latest_table();
        let spans: Vec<Span> = self.movement.iter().filter_map(span).collect();
        let (from, to) =
            (spans.first().map_or(0.0, |span| span.value), spans.last().map_or(0.0, |span| span.value));
        let Selection { sportsbook, market, .. } = &self.moved.selection;
        let _ = writeln!(
            text,
            "\nLine movement: {market} points at {sportsbook} from {from} to {to}, time of day in UTC\n\n{}",
            chart::draw(&spans)
        );
        text
    }

    fn latest_table(&self) -> String {
        let mut books: BTreeMap<&str, BTreeMap<(&str, &str), String>> = BTreeMap::new();
        for quote in &self.latest {
            let cell = cell(quote);
            let Selection { sportsbook, market, side, .. } = &quote.selection;
            books.entry(sportsbook).or_default().insert((market, side), cell);
        }
        let mut text = format!("  {:<10}  {:<14}{:<24}total\n", "", "moneyline", "spread");
        let sides: String = COLUMNS.iter().map(|(_, side, width)| format!("{side:<width$}")).collect();
        let _ = writeln!(text, "  {:<10}  {}", "book", sides.trim_end());
        for (book, cells) in books {
            let mut row = format!("  {book:<10}  ");
            for (market, side, width) in COLUMNS {
                let cell = cells.get(&(market, side)).map_or("-", String::as_str);
                let _ = write!(row, "{cell:<width$}");
            }
            let _ = writeln!(text, "{}", row.trim_end());
        }
        text
    }
}

/// How often the line moved, and over how many values.
fn worth_seeing(movement: &[Run]) -> usize {
    let moves = movement.windows(2).filter(|pair| pair[0].line != pair[1].line).count();
    let mut values: Vec<u32> = movement.iter().filter_map(|block| block.line).map(f32::to_bits).collect();
    values.sort_unstable();
    values.dedup();
    moves + 2 * values.len()
}

/// Line and American price: `-2.5 -110`.
fn cell(quote: &Latest) -> String {
    let price = quote.price.map_or("off".to_owned(), |price| format!("{:+}", american_from_decimal(price)));
    match (quote.line, quote.selection.market.as_str()) {
        (None, _) => price,
        (Some(line), "spread") => format!("{line:+} {price}"),
        (Some(line), _) => format!("{line} {price}"),
    }
}

fn span(run: &Run) -> Option<Span> {
    Some(Span { from: run.from, to: run.to, value: run.line? })
}
