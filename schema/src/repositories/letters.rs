//! Dead letters as a list without their bytes, which may be a megabyte each; one alone has them (`Store::letter`).

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use super::Page;
use super::statement::{Statement, Value};
use crate::events::Reason;
use crate::sql_types::UtcTimestamp;
use crate::store::{LetterFilter, LetterId, LetterStatus, Store, StoreError};
use crate::time::UtcMicros;

/// A dead letter without its record.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct LetterHead {
    /// The interned lineage.
    #[diesel(sql_type = Integer)]
    pub lineage_id: i32,
    /// The record's offset.
    #[diesel(sql_type = BigInt)]
    pub record_offset: i64,
    /// The topic.
    #[diesel(sql_type = Text)]
    pub topic: String,
    /// The partition.
    #[diesel(sql_type = Integer)]
    pub partition: i32,
    /// Kafka's timestamp of the record.
    #[diesel(sql_type = Nullable<UtcTimestamp>)]
    pub record_timestamp: Option<UtcMicros>,
    /// Bytes of its value.
    #[diesel(sql_type = Integer)]
    pub payload_bytes: i32,
    /// Why it was refused last.
    #[diesel(sql_type = Text)]
    pub reason: String,
    /// What is wrong where.
    #[diesel(sql_type = Text)]
    pub detail: String,
    /// The scraper's poll.
    #[diesel(sql_type = Nullable<Text>)]
    pub correlation_id: Option<String>,
    /// When it was stored.
    #[diesel(sql_type = UtcTimestamp)]
    pub created_at: UtcMicros,
    /// What became of it.
    #[diesel(sql_type = Text)]
    pub status: String,
    /// How often it was redriven.
    #[diesel(sql_type = Integer)]
    pub attempts: i32,
}

impl LetterHead {
    /// Its name for people.
    #[must_use]
    pub fn id(&self) -> LetterId {
        LetterId { lineage_id: self.lineage_id, offset: self.record_offset }
    }
}

impl Store {
    /// The first `limit` letters that match, after one of them, in the order of lineage and offset, without their records.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn letter_heads(
        &self,
        filter: &LetterFilter,
        after: Option<LetterId>,
        limit: usize,
    ) -> Result<Page<LetterHead, LetterId>, StoreError> {
        let mut statement = Statement::new(
            "select l.lineage_id, l.record_offset, l.topic, l.partition, l.record_timestamp, \
                    length(l.payload) as payload_bytes, l.reason, l.detail, l.correlation_id, l.created_at, l.status, \
                    l.attempts \
             from dead_letters l where true",
        );
        statement.and_text("l.topic = ?", filter.topic.as_ref());
        statement.and("l.partition = ?", filter.partition.map(Value::Int));
        let text = |name: &'static str| Value::Text(name.to_owned());
        statement.and("l.reason = ?", filter.reason.map(Reason::name).map(text));
        statement.and_time("l.created_at >= ?", filter.since);
        statement.and_time("l.created_at < ?", filter.until);
        statement.and("l.status = ?", filter.status.map(LetterStatus::name).map(text));
        if let Some(LetterId { lineage_id, offset }) = after {
            let place = [Value::Int(lineage_id), Value::BigInt(offset)];
            statement.push("and (l.lineage_id, l.record_offset) > (?, ?)", place);
        }
        statement.push(&format!("order by l.lineage_id, l.record_offset limit {}", limit + 1), []);
        let mut session = self.checkout().await?;
        let rows = statement.load(&mut session.conn()).await?;
        Ok(Page::cut(rows, limit, LetterHead::id))
    }
}
