//! Alerts for people: the latest, of a rule, of an article. Reads only.

use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;

use super::{Page, one_more};
use crate::schema::{alert_rules as rules, alerts, articles};
use crate::store::{Store, StoreError, with_conn};
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
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct FoundAlert {
    /// Its number; alerts are listed from the newest number on.
    pub id: i64,
    /// The rule.
    pub rule_id: i64,
    /// What the rule is called; none where it was deleted.
    pub rule: Option<String>,
    /// The article.
    pub article_id: i64,
    /// Where the article is.
    pub url: String,
    /// What it is called now.
    pub title: String,
    /// What was found.
    pub keyword: String,
    /// `title` or `body`.
    pub field: String,
    /// The text around it.
    pub excerpt: String,
    /// In which revision it was found.
    pub revision: i32,
    /// When that was read.
    pub at: UtcMicros,
    /// When a later revision no longer held it.
    pub withdrawn_at: Option<UtcMicros>,
}

impl Store {
    /// The alerts that match, newest first, at most `limit`, before one of them.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn alerts(
        &self,
        filter: &AlertFilter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page<FoundAlert, i64>, StoreError> {
        let unset = |is_none: bool| is_none.into_sql::<Bool>();
        let query = alerts::table
            .inner_join(articles::table)
            .left_join(rules::table)
            .filter(alerts::id.lt(before.unwrap_or(i64::MAX)))
            .filter(alerts::rule_id.eq(filter.rule_id.unwrap_or(0)).or(unset(filter.rule_id.is_none())))
            .filter(
                alerts::article_id.eq(filter.article_id.unwrap_or(0)).or(unset(filter.article_id.is_none())),
            )
            .filter(alerts::at.ge(filter.since.unwrap_or(UtcMicros::EARLIEST)))
            .filter(alerts::withdrawn_at.is_null().or(unset(filter.with_withdrawn)))
            .order(alerts::id.desc())
            .limit(one_more(limit))
            .select((
                alerts::id,
                alerts::rule_id,
                rules::name.nullable(),
                alerts::article_id,
                articles::canonical_url,
                articles::title,
                alerts::keyword,
                alerts::field,
                alerts::excerpt,
                alerts::revision,
                alerts::at,
                alerts::withdrawn_at,
            ));
        let mut session = self.checkout().await?;
        let rows: Vec<FoundAlert> = with_conn!(&mut session.conn(), c => query.load(c).await)?;
        Ok(Page::cut(rows, limit, |alert| alert.id))
    }
}
