//! `ScraperTally`: which versions of which scrapers were seen, how often, and from when to when. Counted beside the rows of a
//! batch, added up when the batch is in the database, and stored from time to time outside of its transaction.
//!
//! What must stay true: an event of the scraper that was counted last costs two comparisons and no allocation; the table is
//! bounded, whatever the records claim.

use foldhash::fast::RandomState;
use indexmap::{Equivalent, IndexMap};

use crate::events::Attributes;
use crate::events::rejection::is_plain;
use crate::time::UtcMicros;

/// Most scrapers with their versions; what is over is counted under the version [`OTHERS`].
const PAIRS: usize = 1_000;
/// Most lines of the table but one: beside them each scraper may have a line for its other versions.
const MOST: usize = 2 * PAIRS;
/// Longest version that is kept as it is, in bytes.
const VERSION_BYTES: usize = 64;
/// The version of those that there is no room for, and of texts that are no version.
pub const OTHERS: &str = "…";

/// A scraper in one version; no version is an empty one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scraper {
    /// CloudEvents `source`.
    pub source: String,
    /// CloudEvents extension `scraperversion`.
    pub version: String,
}

/// A scraper, borrowed from an event. Hashes as [`Scraper`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ScraperKey<'a> {
    source: &'a str,
    version: &'a str,
}

impl Equivalent<Scraper> for ScraperKey<'_> {
    fn equivalent(&self, other: &Scraper) -> bool {
        self.source == other.source && self.version == other.version
    }
}

/// How often a scraper was seen, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sightings {
    /// Events.
    pub records: i64,
    /// The earliest `time` of one.
    pub first: UtcMicros,
    /// The latest.
    pub last: UtcMicros,
}

impl Sightings {
    const NONE: Self = Self { records: 0, first: UtcMicros::LATEST, last: UtcMicros::EARLIEST };

    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// The scrapers that were seen.
#[derive(Debug, Clone, Default)]
pub struct ScraperTally {
    seen: IndexMap<Scraper, Sightings, RandomState>,
    /// Number of the one that was counted last.
    last: usize,
    text_bytes: usize,
}

impl ScraperTally {
    /// Counts one event.
    pub fn count(&mut self, attributes: &Attributes<'_>) {
        let version = attributes.scraper_version.as_deref().unwrap_or("");
        let once = Sightings { records: 1, first: attributes.observed_at, last: attributes.observed_at };
        let key = ScraperKey { source: &attributes.source, version };
        let is_last = |(scraper, _): &(&Scraper, &mut Sightings)| key.equivalent(*scraper);
        if let Some((_, sightings)) = self.seen.get_index_mut(self.last).filter(is_last) {
            return sightings.add(&once);
        }
        self.add(ScraperKey { version: kept(version), ..key }, &once);
    }

    /// Adds what another tally has counted.
    pub fn merge(&mut self, other: &Self) {
        for (scraper, sightings) in other.counts() {
            self.add(ScraperKey { source: &scraper.source, version: &scraper.version }, sightings);
        }
    }

    /// Every scraper that was seen, in no order.
    pub fn counts(&self) -> impl Iterator<Item = (&Scraper, &Sightings)> {
        self.seen.iter().filter(|(_, sightings)| sightings.records > 0)
    }

    /// Begins anew, and keeps the names: the next batch comes from the same scrapers.
    pub fn restart(&mut self) {
        if self.seen.len() > PAIRS / 10 {
            (self.text_bytes, self.last) = (0, 0);
            return self.seen.clear();
        }
        self.seen.values_mut().for_each(|sightings| *sightings = Sightings::NONE);
    }

    /// What it takes in memory, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.text_bytes + self.seen.len() * size_of::<(Scraper, Sightings, usize)>()
    }

    fn add(&mut self, key: ScraperKey<'_>, sightings: &Sightings) {
        let known = self.seen.get_index_of(&key).or_else(|| {
            let key = self.with_room(key);
            let known = self.seen.get_index_of(&key);
            known.or_else(|| Some(self.insert(key)))
        });
        self.last = known.unwrap_or_default();
        self.seen[self.last].add(sightings);
    }

    /// The key under which a scraper that is new is counted: each may have one more line for all its versions.
    fn with_room<'k>(&self, key: ScraperKey<'k>) -> ScraperKey<'k> {
        match self.seen.len() {
            0..PAIRS => key,
            PAIRS..MOST => ScraperKey { version: OTHERS, ..key },
            _ => ScraperKey { source: OTHERS, version: OTHERS },
        }
    }

    fn insert(&mut self, key: ScraperKey<'_>) -> usize {
        self.text_bytes += key.source.len() + key.version.len();
        let scraper = Scraper { source: key.source.to_owned(), version: key.version.to_owned() };
        self.seen.insert_full(scraper, Sightings::NONE).0
    }
}

/// What is no version is counted as one of the others: it goes into a key, and before people's eyes.
fn kept(version: &str) -> &str {
    if version.len() <= VERSION_BYTES && version.chars().all(is_plain) { version } else { OTHERS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::text::Text;

    fn count(tally: &mut ScraperTally, source: &str, version: Option<&str>, at: i64) {
        let text = |text: &str| Text(text.to_owned().into());
        let (source, scraper_version) = (text(source), version.map(text));
        tally.count(&Attributes { source, observed_at: UtcMicros(at), scraper_version });
    }

    fn found(tally: &ScraperTally) -> Vec<(String, String, i64, i64, i64)> {
        let line = |(scraper, seen): (&Scraper, &Sightings)| {
            (scraper.source.clone(), scraper.version.clone(), seen.records, seen.first.0, seen.last.0)
        };
        let mut lines: Vec<_> = tally.counts().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn each_version_of_each_scraper_is_counted() {
        let mut tally = ScraperTally::default();
        for (source, version, at) in
            [("a", Some("1"), 5), ("a", Some("1"), 3), ("b", Some("1"), 4), ("a", None, 9)]
        {
            count(&mut tally, source, version, at);
        }
        let line = |source: &str, version: &str, records, first, last| {
            (source.to_owned(), version.to_owned(), records, first, last)
        };
        assert_eq!(found(&tally), [line("a", "", 1, 9, 9), line("a", "1", 2, 3, 5), line("b", "1", 1, 4, 4)]);
        tally.restart();
        assert_eq!(found(&tally), []);
        count(&mut tally, "a", Some("1"), 7);
        assert_eq!(found(&tally), [line("a", "1", 1, 7, 7)]);
    }

    #[test]
    fn the_table_is_bounded_and_counts_everything() {
        let mut tally = ScraperTally::default();
        for number in 0..5_000 {
            count(&mut tally, &format!("source-{number}"), Some("\u{1b}[31m"), number);
            count(&mut tally, "one", Some(&number.to_string()), number);
        }
        assert!(tally.seen.len() <= MOST + 1, "{}", tally.seen.len());
        assert_eq!(tally.counts().map(|(_, seen)| seen.records).sum::<i64>(), 10_000);
        assert!(tally.counts().all(|(scraper, _)| !scraper.version.contains('\u{1b}')));
        assert!(tally.held_bytes() < 300_000, "{}", tally.held_bytes());
    }

    proptest::proptest! {
        /// However the events are divided into batches, the sum is the same.
        #[test]
        fn tallies_add_up(events in proptest::collection::vec((0u8..4, 0u8..3, 0i64..100), 0..60), cut in 0usize..60) {
            let mut whole = ScraperTally::default();
            let mut parts = [ScraperTally::default(), ScraperTally::default()];
            for (number, (source, version, at)) in events.iter().enumerate() {
                let (source, version) = (source.to_string(), version.to_string());
                count(&mut whole, &source, Some(&version), *at);
                count(&mut parts[usize::from(number >= cut)], &source, Some(&version), *at);
            }
            let [mut sum, second] = parts;
            sum.merge(&second);
            proptest::prop_assert_eq!(found(&sum), found(&whole));
        }
    }
}
