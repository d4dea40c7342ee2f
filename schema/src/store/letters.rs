//! Dead letters for people: which there are, and how many. Called by `ledgerline dlq`; reads only. `redrive.rs` and `settle.rs`
//! change them.

use std::fmt;
use std::str::FromStr;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::error::StoreError;
use super::{Store, with_conn};
use crate::events::Reason;
use crate::schema::dead_letters as letters;
use crate::sql_types::Json;
use crate::time::UtcMicros;

/// Which letter: `LINEAGE:OFFSET`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    /// The interned lineage.
    pub lineage_id: i32,
    /// The record's offset.
    pub offset: i64,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.lineage_id, self.offset)
    }
}

impl FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':');
        let id = parts.and_then(|(lineage, offset)| {
            Some(Self { lineage_id: lineage.parse().ok()?, offset: offset.parse().ok()? })
        });
        id.ok_or_else(|| "not LINEAGE:OFFSET, as `dlq ls` prints it".to_owned())
    }
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterStatus {
    /// Nobody has settled it.
    Dead,
    /// Its rows are stored after all.
    Redriven,
    /// An operator gave it up.
    Discarded,
}

impl LetterStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Dead, Self::Redriven, Self::Discarded];

    /// The name in the database and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Redriven => "redriven",
            Self::Discarded => "discarded",
        }
    }
}

/// Which letters; what is not set matches all.
#[derive(Debug, Clone, Default)]
pub struct LetterFilter {
    /// Of this topic.
    pub topic: Option<String>,
    /// Of this partition.
    pub partition: Option<i32>,
    /// Refused for this reason.
    pub reason: Option<Reason>,
    /// Stored at this time or later.
    pub since: Option<UtcMicros>,
    /// Stored before this time.
    pub until: Option<UtcMicros>,
    /// Of this status.
    pub status: Option<LetterStatus>,
}

/// A stored dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Letter {
    /// The interned lineage.
    pub lineage_id: i32,
    /// The record's offset.
    pub offset: i64,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Kafka's timestamp of the record.
    pub timestamp: Option<UtcMicros>,
    /// Its key; null and empty are different.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Vec<u8>,
    /// Its headers, as `dead_letter::headers_to_json` writes them.
    pub headers: Json,
    /// Why it was refused last.
    pub reason: String,
    /// What is wrong where.
    pub detail: String,
    /// The scraper's poll.
    pub correlation_id: Option<String>,
    /// The trace that published it.
    pub trace_parent: Option<String>,
    /// When it was stored.
    pub created_at: UtcMicros,
    /// What became of it.
    pub status: String,
    /// How often it was redriven.
    pub attempts: i32,
    /// When it was redriven last.
    pub attempted_at: Option<UtcMicros>,
    /// When it was settled.
    pub resolved_at: Option<UtcMicros>,
    /// When its bytes were forgotten.
    pub pruned_at: Option<UtcMicros>,
}

impl Letter {
    /// Its name for people.
    #[must_use]
    pub fn id(&self) -> LetterId {
        LetterId { lineage_id: self.lineage_id, offset: self.offset }
    }
}

/// Letters that have topic, reason and status in common.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct LetterGroup {
    /// The topic.
    pub topic: String,
    /// Why they were refused.
    pub reason: String,
    /// What became of them.
    pub status: String,
    /// How many.
    pub letters: i64,
    /// When the first one was stored.
    pub oldest: Option<UtcMicros>,
    /// When the last one was stored.
    pub newest: Option<UtcMicros>,
    /// How often they were redriven, all together.
    pub attempts: Option<i64>,
}

/// The letters that match, as a condition on either database: an unset part is a true constant.
macro_rules! matching {
    ($filter:expr) => {{
        use diesel::sql_types::Bool;
        use $crate::events::Reason;
        use $crate::schema::dead_letters as letters;
        use $crate::store::letters::{LetterFilter, LetterStatus};
        let f: &LetterFilter = $filter;
        let unset = |is_none: bool| is_none.into_sql::<Bool>();
        let topic = f.topic.clone().unwrap_or_default();
        letters::topic
            .eq(topic)
            .or(unset(f.topic.is_none()))
            .and(letters::partition.eq(f.partition.unwrap_or(0)).or(unset(f.partition.is_none())))
            .and(letters::reason.eq(f.reason.map_or("", Reason::name)).or(unset(f.reason.is_none())))
            .and(letters::created_at.ge(f.since.unwrap_or_default()).or(unset(f.since.is_none())))
            .and(letters::created_at.lt(f.until.unwrap_or_default()).or(unset(f.until.is_none())))
            .and(letters::status.eq(f.status.map_or("", LetterStatus::name)).or(unset(f.status.is_none())))
    }};
}
pub(super) use matching;

/// The letters after (`>`) or up to (`<=`) one of them. As one row value, which the primary key's index answers: a page costs
/// the same wherever it starts.
macro_rules! beyond {
    ($op:literal, $id:expr) => {{
        use diesel::dsl::sql;
        use diesel::sql_types::{BigInt, Bool, Integer};
        let id: $crate::store::letters::LetterId = $id;
        sql::<Bool>(concat!("(lineage_id, record_offset) ", $op, " ("))
            .bind::<Integer, _>(id.lineage_id)
            .sql(", ")
            .bind::<BigInt, _>(id.offset)
            .sql(")")
    }};
}
pub(super) use beyond;

impl Store {
    /// The first `limit` letters that match, after one of them, in the order of lineage and offset.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn letters(
        &self,
        filter: &LetterFilter,
        after: Option<LetterId>,
        limit: i64,
    ) -> Result<Vec<Letter>, StoreError> {
        let query = letters::table
            .filter(beyond!(">", after.unwrap_or_default()))
            .filter(matching!(filter))
            .order((letters::lineage_id, letters::record_offset))
            .limit(limit);
        let mut session = self.checkout().await?;
        Ok(with_conn!(&mut session.conn(), c => query.load(c).await)?)
    }

    /// One letter, if there is such a one.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn letter(&self, id: LetterId) -> Result<Option<Letter>, StoreError> {
        let query = letters::table.find((id.lineage_id, id.offset));
        let mut session = self.checkout().await?;
        let rows: Vec<Letter> = with_conn!(&mut session.conn(), c => query.load(c).await)?;
        Ok(rows.into_iter().next())
    }

    /// Counts per topic, reason and status.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn letter_groups(&self, filter: &LetterFilter) -> Result<Vec<LetterGroup>, StoreError> {
        use diesel::dsl::{count_star, max, min, sum};
        let query = letters::table
            .filter(matching!(filter))
            .group_by((letters::topic, letters::reason, letters::status))
            .order((letters::topic, letters::reason, letters::status))
            .select((
                letters::topic,
                letters::reason,
                letters::status,
                count_star(),
                min(letters::created_at),
                max(letters::created_at),
                sum(letters::attempts),
            ));
        let mut session = self.checkout().await?;
        Ok(with_conn!(&mut session.conn(), c => query.load(c).await)?)
    }
}
