//! Alerts for people: the latest, of a rule, of an article.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use super::signals::Cursor;
use super::statement::{Statement, Value};
use super::{Page, older};
use crate::sql_types::UtcTimestamp;
use crate::store::{Store, StoreError};
use crate::time::UtcMicros;

/// Which alerts; what is not set matches all.
#[derive(Debug, Clone, Default)]
pub struct AlertFilter {
    /// Of this rule.
    pub rule_id: Option<i64>,
    /// Of this article.
    pub article_id: Option<i64>,
    /// Raised by a reading of this time or later.
    pub since: Option<UtcMicros>,
    /// Those that were withdrawn, too.
    pub with_withdrawn: bool,
}

/// An alert with its rule and its article.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct FoundAlert {
    /// Its number.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// The rule.
    #[diesel(sql_type = BigInt)]
    pub rule_id: i64,
    /// What the rule is called; none where it was deleted.
    #[diesel(sql_type = Nullable<Text>)]
    pub rule: Option<String>,
    /// The article.
    #[diesel(sql_type = BigInt)]
    pub article_id: i64,
    /// Where the article is.
    #[diesel(sql_type = Text)]
    pub url: String,
    /// What it is called now.
    #[diesel(sql_type = Text)]
    pub title: String,
    /// What was found.
    #[diesel(sql_type = Text)]
    pub keyword: String,
    /// `title` or `body`.
    #[diesel(sql_type = Text)]
    pub field: String,
    /// The text around it.
    #[diesel(sql_type = Text)]
    pub excerpt: String,
    /// In which revision it was found.
    #[diesel(sql_type = Integer)]
    pub revision: i32,
    /// When that was read.
    #[diesel(sql_type = UtcTimestamp)]
    pub at: UtcMicros,
    /// When a later revision no longer held it.
    #[diesel(sql_type = Nullable<UtcTimestamp>)]
    pub withdrawn_at: Option<UtcMicros>,
}

impl Store {
    /// The first `limit` alerts that match, the newest first, behind a place in the list.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn alerts(
        &self,
        filter: &AlertFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<FoundAlert, Cursor>, StoreError> {
        let mut statement = Statement::new(
            "select a.id, a.rule_id, r.name as rule, a.article_id, p.canonical_url as url, p.title, a.keyword, a.field, \
                    a.excerpt, a.revision, a.at, a.withdrawn_at \
             from alerts a join articles p on p.id = a.article_id left join alert_rules r on r.id = a.rule_id where true",
        );
        statement.and("a.rule_id = ?", filter.rule_id.map(Value::BigInt));
        statement.and("a.article_id = ?", filter.article_id.map(Value::BigInt));
        statement.and_time("a.at >= ?", filter.since);
        if !filter.with_withdrawn {
            statement.push("and a.withdrawn_at is null", []);
        }
        older(&mut statement, "a.at", "a.id", after);
        statement.push(&format!("order by a.at desc, a.id desc limit {}", limit + 1), []);
        let mut session = self.checkout().await?;
        let rows: Vec<FoundAlert> = statement.load(&mut session.conn()).await?;
        Ok(Page::cut(rows, limit, |alert| Cursor { at: alert.at, id: alert.id }))
    }
}
