//! `article.v1`: an article as a scraper read it. Identified by its canonical URL, revised when its content changes; an
//! older reading never overwrites a newer one.

use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::Url;

use super::envelope::parse_time;
use super::rejection::{Rejection, ensure};
use super::text::Text;
use super::{Attributes, Contract, Flag, Flags};
use crate::sql_types::Json;
use crate::time::UtcMicros;

/// `data` of `article.v1`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ArticleData<'a> {
    /// Absolute http or https URL, at most 2,048 bytes.
    #[serde(borrow)]
    pub url: Text<'a>,
    /// 1 to 1,000 characters.
    #[serde(borrow)]
    pub title: Text<'a>,
    /// At most 10,000 characters. Summary or body must not be empty.
    #[serde(borrow, default)]
    pub summary: Option<Text<'a>>,
    /// At most 900,000 characters.
    #[serde(borrow, default)]
    pub body: Option<Text<'a>>,
    /// The outlet.
    #[serde(borrow, default)]
    pub source_name: Option<Text<'a>>,
    /// BCP 47.
    #[serde(borrow, default)]
    pub language: Option<Text<'a>>,
    /// Names of the authors; at most 100.
    #[serde(borrow, default)]
    pub authors: Vec<Text<'a>>,
    /// Free tags; at most 100.
    #[serde(borrow, default)]
    pub tags: Vec<Text<'a>>,
    /// The article's own date; more than 24 hours after `time` it is taken as unknown, and flagged.
    #[serde(borrow, default)]
    pub published_at: Option<Text<'a>>,
}

/// One accepted reading of an article.
#[derive(Debug, Clone, PartialEq)]
pub struct ArticleRow {
    /// Number of the record within the batch.
    pub record: u32,
    /// SHA-256 of the canonical URL: the key.
    pub url_hash: Vec<u8>,
    /// The URL as it came.
    pub url: String,
    /// The URL without tracking and other noise.
    pub canonical_url: String,
    /// Trimmed.
    pub title: String,
    /// May be empty.
    pub summary: String,
    /// May be empty.
    pub body: String,
    /// The outlet.
    pub source_name: Option<String>,
    /// BCP 47.
    pub language: Option<String>,
    /// JSON array of names.
    pub authors: Json,
    /// JSON array of tags.
    pub tags: Json,
    /// The article's own date.
    pub published_at: Option<UtcMicros>,
    /// SHA-256 of title, summary and body.
    pub content_hash: Vec<u8>,
    /// The scraper.
    pub source: String,
    /// When the scraper read it.
    pub observed_at: UtcMicros,
}

/// The article events of one batch, in the order of their records.
#[derive(Debug, Clone, Default)]
pub struct ArticleRows(pub Vec<ArticleRow>);

impl Contract for ArticleRows {
    const TYPE: &'static str = "article.v1";
    const TOPIC: &'static str = "articles";
    type Data<'a> = ArticleData<'a>;

    fn push(
        &mut self,
        record: u32,
        attributes: Attributes<'_>,
        data: ArticleData<'_>,
    ) -> Result<Flags, Rejection> {
        check(&data)?;
        let canonical_url = canonical_url(&data.url)?;
        let (published_at, flags) = published_at(&data, attributes.observed_at)?;
        let title = data.title.trim().to_owned();
        let summary = data.summary.map_or_else(String::new, Text::into_string);
        let body = data.body.map_or_else(String::new, Text::into_string);
        self.0.push(ArticleRow {
            record,
            url_hash: Sha256::digest(&canonical_url).to_vec(),
            url: data.url.into_string(),
            canonical_url,
            content_hash: content_hash(&[&title, &summary, &body]),
            title,
            summary,
            body,
            source_name: data.source_name.map(Text::into_string),
            language: data.language.map(Text::into_string),
            authors: array("authors", &data.authors)?,
            tags: array("tags", &data.tags)?,
            published_at,
            source: attributes.source.into_string(),
            observed_at: attributes.observed_at,
        });
        Ok(flags)
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn count(&self) -> usize {
        self.0.len()
    }

    fn of_records(&self, records: Range<u32>) -> Self {
        Self(self.0.iter().filter(|row| records.contains(&row.record)).cloned().collect())
    }

    fn samples() -> Vec<serde_json::Value> {
        super::samples::articles()
    }
}

fn check(data: &ArticleData<'_>) -> Result<(), Rejection> {
    ensure(data.url.len() <= 2_048, "url", "more than 2,048 bytes")?;
    let title = data.title.trim().chars().count();
    ensure((1..=1_000).contains(&title), "title", "must have 1 to 1,000 characters")?;
    let summary = data.summary.as_deref().unwrap_or("");
    let body = data.body.as_deref().unwrap_or("");
    ensure(summary.chars().count() <= 10_000, "summary", "more than 10,000 characters")?;
    ensure(body.chars().count() <= 900_000, "body", "more than 900,000 characters")?;
    let empty = summary.trim().is_empty() && body.trim().is_empty();
    ensure(!empty, "body", "summary and body are both empty")?;
    ensure(data.authors.len() <= 100, "authors", "more than 100")?;
    ensure(data.tags.len() <= 100, "tags", "more than 100")
}

fn published_at(
    data: &ArticleData<'_>,
    observed_at: UtcMicros,
) -> Result<(Option<UtcMicros>, Flags), Rejection> {
    let mut flags = Flags::default();
    let Some(text) = &data.published_at else { return Ok((None, flags)) };
    let published_at = parse_time("published_at", text)?;
    let future = published_at > observed_at.plus(24 * UtcMicros::HOUR);
    flags.raise_if(future, Flag::FutureArticle);
    Ok(((!future).then_some(published_at), flags))
}

fn array(field: &str, texts: &[Text<'_>]) -> Result<Json, Rejection> {
    serde_json::to_string(texts).map(Json).map_err(|error| Rejection::field(field, error))
}

/// SHA-256 over length-prefixed parts.
fn content_hash(parts: &[&str]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().to_vec()
}

/// The URL without what does not change the page: lower-case host, no fragment, no tracking parameters, no AMP suffix, no
/// doubled slash, query sorted.
///
/// # Errors
/// `InvalidField` for anything but an absolute http or https URL.
pub fn canonical_url(url: &str) -> Result<String, Rejection> {
    let mut url = Url::parse(url.trim()).map_err(|error| Rejection::field("url", error))?;
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    ensure(web, "url", "not an absolute http or https URL")?;
    url.set_fragment(None);
    let mut query: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| !is_tracking(name))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    query.sort();
    url.set_query(None);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let path = canonical_path(url.path());
    url.set_path(&path);
    Ok(url.into())
}

fn is_tracking(name: &str) -> bool {
    name.starts_with("utm_") || matches!(name, "fbclid" | "gclid" | "amp")
}

fn canonical_path(path: &str) -> String {
    let mut canonical = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !canonical.ends_with('/') {
            canonical.push(c);
        }
    }
    let without_amp = canonical.strip_suffix("/amp").or_else(|| canonical.strip_suffix("/amp/"));
    without_amp.unwrap_or(&canonical).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_of_one_page_share_a_canonical_url() {
        let canonical = canonical_url("https://example.com/a/b?x=1&y=2").unwrap();
        for twin in [
            "HTTPS://Example.COM/a/b?y=2&x=1",
            "https://example.com/a//b?utm_source=z&x=1&y=2#top",
            "https://example.com/a/b/amp?x=1&y=2&fbclid=q",
        ] {
            assert_eq!(canonical_url(twin).unwrap(), canonical);
        }
        assert!(canonical_url("ftp://example.com/a").is_err());
        assert!(canonical_url("/relative").is_err());
    }

    proptest::proptest! {
        #[test]
        fn canonical_is_a_fixed_point(path in "[a-z/]{0,20}", query in "[a-z=&]{0,20}") {
            let once = canonical_url(&format!("https://example.com/{path}?{query}")).unwrap();
            proptest::prop_assert_eq!(canonical_url(&once).unwrap(), once);
        }
    }
}
