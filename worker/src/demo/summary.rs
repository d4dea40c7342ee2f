//! What the demo found: the numbers, for people and as JSON, and whether they add up. Called by `cli::demo`.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use indicatif::HumanCount;
use ledgerline_schema::batch::Dispositions;
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{Store, TableCount, Verification};
use serde::Serialize;

use super::featured::Featured;
use super::simulate::Fixture;
use crate::observe::per_second;
use crate::progress::Totals;

/// The numbers of one run. `published` = `applied` + `dead` + `tombstone` + `skipped`, in records of all topics; `quotes` =
/// `inserted` + `duplicate` + `dead`, because each broken record that the demo plants holds one quote.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Numbers {
    /// Records that the broker acknowledged.
    pub published: u64,
    /// Quotes in them.
    pub quotes: u64,
    /// Records whose rows are stored.
    pub applied: u64,
    /// Records kept as dead letters.
    pub dead: u64,
    /// Records without a value.
    pub tombstone: u64,
    /// Records passed over by a filter.
    pub skipped: u64,
    /// Quotes stored.
    pub inserted: u64,
    /// Quotes that were stored already.
    pub duplicate: u64,
    /// Records that somebody else published while the demo ran.
    pub foreign: u64,
    /// Transactions.
    pub batches: u64,
    /// Stored records per second.
    pub records_per_second: u64,
    /// Stored quotes per second.
    pub quotes_per_second: u64,
    /// From the first record sent to the last one stored.
    pub seconds: f64,
}

impl Numbers {
    /// Adds up what the pipelines did.
    pub fn new(
        published: u64,
        quotes: u64,
        totals: impl IntoIterator<Item = (EventKind, Totals)>,
        seconds: f64,
    ) -> Self {
        let mut numbers =
            Self { published, quotes, seconds: (seconds * 100.0).round() / 100.0, ..Self::default() };
        let (mut sum, mut rows) = (Dispositions::default(), 0);
        for (kind, totals) in totals {
            sum.add(&totals.dispositions);
            numbers.batches += totals.batches;
            if kind == EventKind::Odds {
                (numbers.inserted, numbers.duplicate) =
                    (count(totals.rows.inserted), count(totals.rows.duplicate));
                rows = numbers.inserted + numbers.duplicate;
            }
        }
        (numbers.applied, numbers.dead) = (count(sum.applied), count(sum.dead));
        (numbers.tombstone, numbers.skipped) = (count(sum.tombstone), count(sum.skipped));
        numbers.foreign = numbers.stored().saturating_sub(published);
        numbers.records_per_second = per_second(numbers.stored(), seconds);
        numbers.quotes_per_second = per_second(rows, seconds);
        numbers
    }

    fn stored(&self) -> u64 {
        self.applied + self.dead + self.tombstone + self.skipped
    }

    /// Whether every record and every quote is accounted for. With records of others only the records can be compared.
    fn check(&self) -> anyhow::Result<()> {
        let (published, stored) = (self.published + self.foreign, self.stored());
        ensure!(published == stored, "{published} records published and {stored} accounted for");
        let quotes = self.inserted + self.duplicate + self.dead;
        ensure!(
            self.foreign > 0 || self.quotes == quotes,
            "{} quotes published and {quotes} accounted for",
            self.quotes
        );
        Ok(())
    }
}

/// Everything that is told at the end.
#[derive(Debug)]
pub struct Summary {
    /// The numbers.
    pub numbers: Numbers,
    /// What the ledger proves.
    pub verification: Verification,
    /// Where the database is, if it is kept and not a server's.
    pub database: Option<PathBuf>,
    store: &'static str,
    tables: Vec<TableCount>,
    featured: Option<Featured>,
}

impl Summary {
    /// Asks the database for what is told beside the numbers.
    ///
    /// # Errors
    /// It did not answer.
    pub async fn collect(store: &Store, numbers: Numbers, fixtures: &[Fixture]) -> anyhow::Result<Self> {
        let verification = store.verify(None).await.context("cannot verify")?;
        let tables = store.table_counts().await.context("cannot count the tables' rows")?;
        let featured = Featured::find(store, fixtures).await?;
        Ok(Self { numbers, verification, database: None, store: store.name(), tables, featured })
    }

    /// Whether everything adds up and the ledger is clean.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> anyhow::Result<()> {
        self.numbers.check()?;
        ensure!(self.verification.ok(), "verify found violations: {:?}", self.verification);
        Ok(())
    }

    /// One JSON object.
    ///
    /// # Errors
    /// None that can happen.
    pub fn json(&self) -> anyhow::Result<String> {
        #[derive(Serialize)]
        struct Object<'a> {
            #[serde(flatten)]
            numbers: &'a Numbers,
            gaps: usize,
            overlaps: usize,
            double_applied: usize,
            ok: bool,
        }
        let found = &self.verification;
        let object = Object {
            numbers: &self.numbers,
            gaps: found.gaps.len(),
            overlaps: found.overlaps.len(),
            double_applied: found.double_applied.len(),
            ok: self.check().is_ok(),
        };
        Ok(serde_json::to_string(&object)?)
    }

    /// The same for people, at most 80 columns wide.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.accounts();
        let runs = if self.database.is_some() { ", all runs together" } else { "" };
        let _ = writeln!(text, "Rows per table ({}{runs})", self.store);
        for TableCount { name, rows } in &self.tables {
            let _ = writeln!(text, "  {name:<14}{:>11}", HumanCount(count(*rows)).to_string());
        }
        if let Some(featured) = &self.featured {
            let _ = write!(text, "\n{}", featured.text());
        }
        text += &self.verdict();
        text
    }

    fn accounts(&self) -> String {
        let numbers = &self.numbers;
        let rate = |rate: u64| HumanCount(rate).to_string();
        let mut text = format!(
            "\nA simulated odds day, from Kafka into {}, each record exactly once\n\
             {} records/s, {} quotes/s, for {:.1} s, in {} transactions\n\n",
            self.store,
            rate(numbers.records_per_second),
            rate(numbers.quotes_per_second),
            numbers.seconds,
            rate(numbers.batches)
        );
        line(&mut text, "published", numbers.published, "records that the broker acknowledged");
        if numbers.foreign > 0 {
            line(&mut text, "+ foreign", numbers.foreign, "published by somebody else meanwhile");
        }
        line(&mut text, "= applied", numbers.applied, "their rows are stored");
        line(&mut text, "+ dead", numbers.dead, "broken, planted on purpose: kept, with the reason");
        line(&mut text, "+ tombstone", numbers.tombstone, "without a value: counted");
        line(&mut text, "+ skipped", numbers.skipped, "passed over by a filter");
        text.push('\n');
        line(&mut text, "quotes", numbers.quotes, "in those records");
        line(&mut text, "= inserted", numbers.inserted, "stored");
        line(&mut text, "+ duplicate", numbers.duplicate, "sent twice: stored once");
        line(&mut text, "+ dead", numbers.dead, "in the broken records");
        text.push('\n');
        text
    }

    fn verdict(&self) -> String {
        let found = &self.verification;
        let mut text = format!(
            "verify: {} gaps, {} overlaps, {} applied twice; {} records on {} partitions accounted for\n",
            found.gaps.len(),
            found.overlaps.len(),
            found.double_applied.len(),
            HumanCount(count(found.records)),
            found.partitions
        );
        match &self.database {
            Some(path) => {
                let path = path.display();
                let _ = write!(
                    text,
                    "database: {path}\n  to verify it again: LEDGERLINE_DATABASE__URL=sqlite:{path} ledgerline verify\n"
                );
            }
            None if self.store == "sqlite" => text += "database: thrown away (--data-dir DIR keeps it)\n",
            None => {}
        }
        text
    }
}

/// One account: name, number, and what it is.
fn line(text: &mut String, name: &str, number: u64, what: &str) {
    let _ = writeln!(text, "  {name:<14}{:>11}   {what}", HumanCount(number).to_string());
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use ledgerline_schema::batch::RowCounts;

    use super::*;

    fn totals(applied: i64, dead: i64, inserted: i64, duplicate: i64) -> Totals {
        Totals {
            batches: 1,
            dispositions: Dispositions { applied, dead, ..Dispositions::default() },
            rows: RowCounts { inserted, duplicate, ..RowCounts::default() },
            bytes: 0,
        }
    }

    #[test]
    fn only_odds_have_quotes() {
        let totals = [(EventKind::Odds, totals(5, 1, 8, 2)), (EventKind::Game, totals(3, 0, 3, 7))];
        let numbers = Numbers::new(9, 11, totals, 2.0);
        assert_eq!((numbers.applied, numbers.dead, numbers.inserted, numbers.duplicate), (8, 1, 8, 2));
        assert_eq!((numbers.records_per_second, numbers.quotes_per_second, numbers.foreign), (4, 5, 0));
        numbers.check().unwrap();
        assert!(Numbers { published: 10, ..numbers.clone() }.check().is_err());
        assert!(Numbers { quotes: 10, ..numbers.clone() }.check().is_err());
    }

    #[test]
    fn the_json_has_the_promised_keys() {
        let summary = Summary {
            numbers: Numbers::default(),
            verification: Verification::default(),
            database: None,
            store: "sqlite",
            tables: Vec::new(),
            featured: None,
        };
        let json = summary.json().unwrap();
        assert!(json.contains(r#""gaps":0,"overlaps":0"#), "{json}");
        let object: serde_json::Value = serde_json::from_str(&json).unwrap();
        for key in [
            "published",
            "quotes",
            "applied",
            "dead",
            "tombstone",
            "skipped",
            "inserted",
            "duplicate",
            "records_per_second",
            "seconds",
            "gaps",
            "overlaps",
        ] {
            assert!(object[key].is_number(), "{key}");
        }
    }
}
