//! Which versions of which scrapers were seen. Added to from time to time by the worker, outside of every batch's transaction, so
//! that no row of it is hot.
//!
//! What must stay true: rows are taken in the order of their key, so that two workers never wait for each other in a circle.

use diesel::QueryResult;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::error::StoreError;
use super::{Conn, Store, in_tx, with_conn};
use crate::events::EventKind;
use crate::scrapers::{Scraper, ScraperTally, Sightings};
use crate::sql_types::UtcTimestamp;

/// The earlier and the later of two times, as either database says it.
const ADD: &str = "insert into scraper_versions (kind, source, version, first_seen, last_seen, records) \
    values ($1, $2, $3, $4, $5, $6) on conflict (kind, source, version) do update set \
    first_seen = case when excluded.first_seen < scraper_versions.first_seen \
                      then excluded.first_seen else scraper_versions.first_seen end, \
    last_seen = case when excluded.last_seen > scraper_versions.last_seen \
                     then excluded.last_seen else scraper_versions.last_seen end, \
    records = scraper_versions.records + excluded.records";

impl Store {
    /// Adds what was counted of one kind, all or nothing.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn add_scrapers(&self, kind: EventKind, tally: &ScraperTally) -> Result<(), StoreError> {
        let mut counts: Vec<(&Scraper, &Sightings)> = tally.counts().collect();
        if counts.is_empty() {
            return Ok(());
        }
        counts.sort_unstable_by_key(|(scraper, _)| *scraper);
        let added = in_tx!(self, conn => add(conn, kind, &counts));
        Ok(added?)
    }
}

async fn add(conn: &mut Conn<'_>, kind: EventKind, counts: &[(&Scraper, &Sightings)]) -> QueryResult<()> {
    for (scraper, sightings) in counts {
        let add = diesel::sql_query(ADD)
            .bind::<Text, _>(kind.name())
            .bind::<Text, _>(&scraper.source)
            .bind::<Text, _>(&scraper.version)
            .bind::<UtcTimestamp, _>(sightings.first)
            .bind::<UtcTimestamp, _>(sightings.last)
            .bind::<BigInt, _>(sightings.records);
        with_conn!(conn, c => add.execute(c).await)?;
    }
    Ok(())
}
