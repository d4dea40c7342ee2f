//! Articles, the one seen last first. A list has no bodies: one alone has.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use super::signals::Cursor;
use super::statement::{Statement, Value};
use super::{Page, older};
use crate::sql_types::{Json, JsonText, UtcTimestamp};
use crate::store::{Store, StoreError};
use crate::time::UtcMicros;

/// A reading of an article.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct Article {
    /// The number in this database.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// As it was published.
    #[diesel(sql_type = Text)]
    pub url: String,
    /// What tells articles apart.
    #[diesel(sql_type = Text)]
    pub canonical_url: String,
    /// Title.
    #[diesel(sql_type = Text)]
    pub title: String,
    /// Summary.
    #[diesel(sql_type = Text)]
    pub summary: String,
    /// Text; null in a list.
    #[diesel(sql_type = Nullable<Text>)]
    pub body: Option<String>,
    /// Who published it.
    #[diesel(sql_type = Nullable<Text>)]
    pub source_name: Option<String>,
    /// Language tag.
    #[diesel(sql_type = Nullable<Text>)]
    pub language: Option<String>,
    /// A list of names.
    #[diesel(sql_type = JsonText)]
    pub authors: Json,
    /// A list of tags.
    #[diesel(sql_type = JsonText)]
    pub tags: Json,
    /// When it was published.
    #[diesel(sql_type = Nullable<UtcTimestamp>)]
    pub published_at: Option<UtcMicros>,
    /// How often its content has changed.
    #[diesel(sql_type = Integer)]
    pub revision: i32,
    /// The scraper.
    #[diesel(sql_type = Text)]
    pub source: String,
    /// When the scraper saw it so.
    #[diesel(sql_type = UtcTimestamp)]
    pub source_time: UtcMicros,
}

/// Which articles; what is not set matches all.
#[derive(Debug, Clone, Default)]
pub struct ArticleFilter {
    /// Seen at this time or later.
    pub from: Option<UtcMicros>,
    /// Seen before this time.
    pub until: Option<UtcMicros>,
    /// In this language.
    pub language: Option<String>,
    /// From this scraper.
    pub source: Option<String>,
}

fn select(body: &str, condition: &str) -> Statement {
    Statement::new(format!(
        "select a.id, a.url, a.canonical_url, a.title, a.summary, {body} as body, a.source_name, a.language, a.authors, \
                a.tags, a.published_at, a.revision, a.source, a.source_time \
         from articles a where {condition}"
    ))
}

impl Store {
    /// The first `limit` articles that match, the one seen last first, behind a place in the list.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn articles(
        &self,
        filter: &ArticleFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<Article, Cursor>, StoreError> {
        let mut statement = select("cast(null as text)", "true");
        statement.and_time("a.source_time >= ?", filter.from);
        statement.and_time("a.source_time < ?", filter.until);
        statement.and_text("a.language = ?", filter.language.as_ref());
        statement.and_text("a.source = ?", filter.source.as_ref());
        older(&mut statement, "a.source_time", "a.id", after);
        statement.push(&format!("order by a.source_time desc, a.id desc limit {}", limit + 1), []);
        let mut session = self.checkout().await?;
        let rows = statement.load(&mut session.conn()).await?;
        Ok(Page::cut(rows, limit, |article: &Article| Cursor { at: article.source_time, id: article.id }))
    }

    /// One article with its body, if there is such a one.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn article(&self, id: i64) -> Result<Option<Article>, StoreError> {
        let mut statement = select("a.body", "true");
        statement.and("a.id = ?", Some(Value::BigInt(id)));
        let mut session = self.checkout().await?;
        Ok(statement.load(&mut session.conn()).await?.pop())
    }
}
