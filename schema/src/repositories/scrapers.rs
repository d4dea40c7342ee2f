//! Which versions of which scrapers were seen, in the order of kind, source and version.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use serde::{Deserialize, Serialize};

use super::Page;
use super::statement::{Statement, Value};
use crate::sql_types::UtcTimestamp;
use crate::store::{Store, StoreError};
use crate::time::UtcMicros;

/// One version of one scraper.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct ScraperVersion {
    /// The kind of its events.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// The scraper.
    #[diesel(sql_type = Text)]
    pub source: String,
    /// Its version; empty where it tells none, `…` for those that there was no room for.
    #[diesel(sql_type = Text)]
    pub version: String,
    /// The earliest `time` of an event.
    #[diesel(sql_type = UtcTimestamp)]
    pub first_seen: UtcMicros,
    /// The latest.
    #[diesel(sql_type = UtcTimestamp)]
    pub last_seen: UtcMicros,
    /// Events; what is read twice counts twice.
    #[diesel(sql_type = BigInt)]
    pub records: i64,
}

/// A place in the list of scraper versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScraperKey {
    /// As in [`ScraperVersion`].
    pub kind: String,
    /// As in [`ScraperVersion`].
    pub source: String,
    /// As in [`ScraperVersion`].
    pub version: String,
}

impl Store {
    /// The first `limit` versions of all scrapers, or of one, after a place in the list.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn scraper_versions(
        &self,
        source: Option<&String>,
        after: Option<ScraperKey>,
        limit: usize,
    ) -> Result<Page<ScraperVersion, ScraperKey>, StoreError> {
        let mut statement = Statement::new(
            "select kind, source, version, first_seen, last_seen, records from scraper_versions where true",
        );
        statement.and_text("source = ?", source);
        if let Some(ScraperKey { kind, source, version }) = after {
            let place = [kind, source, version].map(Value::Text);
            statement.push("and (kind, source, version) > (?, ?, ?)", place);
        }
        statement.push(&format!("order by kind, source, version limit {}", limit + 1), []);
        let mut session = self.checkout().await?;
        let rows: Vec<ScraperVersion> = statement.load(&mut session.conn()).await?;
        Ok(Page::cut(rows, limit, |row| ScraperKey {
            kind: row.kind.clone(),
            source: row.source.clone(),
            version: row.version.clone(),
        }))
    }
}
