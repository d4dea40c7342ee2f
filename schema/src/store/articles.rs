//! Writing articles: one row per canonical URL, folded over the batch in order like games. A newer content is a revision, an
//! equal one a duplicate, an older one stale.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::alerts::{self, Changed, Revision};
use super::error::{StoreError, WriteError};
use super::rows::Applied;
use super::version::{Step, step};
use super::{Conn, with_conn};
use crate::batch::{Records, RowCounts};
use crate::events::article::ArticleRow;
use crate::events::game::Version;
use crate::keywords::Matcher;
use crate::schema::articles;
use crate::time::UtcMicros;

/// One article while the batch is folded over it.
struct Article<'a> {
    /// Its number, if it is stored.
    id: Option<i64>,
    revision: i32,
    version: Version,
    newest: Option<&'a ArticleRow>,
    /// Every content that the batch gives it, with the number of the revision.
    revisions: Vec<(i32, &'a ArticleRow)>,
}

pub(super) async fn write<'a>(
    conn: &mut Conn<'_>,
    lineage_id: i32,
    rows: &'a [ArticleRow],
    records: &Records,
    matcher: &Matcher,
) -> Result<Applied, WriteError> {
    let mut articles = load(conn, rows).await?;
    let mut counts = RowCounts::default();
    for row in rows {
        take(&mut articles, row, &mut counts);
    }
    let mut changed: Vec<_> =
        articles.into_values().filter_map(|article| article.newest.map(|row| (article, row))).collect();
    changed.sort_unstable_by_key(|(_, row)| &row.url_hash); // one order for all writers: no deadlock
    let mut revised = Vec::new();
    for (article, row) in changed {
        let article_id = save(conn, lineage_id, records, &article, row).await?;
        let revision = |(number, row): (i32, &'a ArticleRow)| Revision {
            number,
            row,
            record_offset: records.offset(row.record),
        };
        let revisions: Vec<_> = article.revisions.into_iter().map(revision).collect();
        if !revisions.is_empty() {
            revised.push(Changed { article_id, was_stored: article.id.is_some(), revisions });
        }
    }
    alerts::write(conn, lineage_id, matcher, &revised).await?;
    Ok(Applied { rows: counts, ..Applied::default() })
}

fn take<'a>(articles: &mut HashMap<&'a [u8], Article<'a>>, row: &'a ArticleRow, counts: &mut RowCounts) {
    let version = Version { time: row.observed_at, sequence: 0, content_hash: row.content_hash.clone() };
    let Some(article) = articles.get_mut(row.url_hash.as_slice()) else {
        counts.inserted += 1;
        let article =
            Article { id: None, revision: 1, version, newest: Some(row), revisions: vec![(1, row)] };
        articles.insert(&row.url_hash, article);
        return;
    };
    let step = step(&article.version, &version);
    step.count(counts);
    if step == Step::Updated {
        article.revision += 1;
        article.revisions.push((article.revision, row));
    }
    if step.moves() {
        article.version = version;
        article.newest = Some(row);
    }
}

/// A stored article: id, hash of its URL, revision, source time, hash of its content.
type Stored = (i64, Vec<u8>, i32, UtcMicros, Vec<u8>);

/// Locks and loads the stored articles of a batch in the order of their keys.
async fn load<'a>(
    conn: &mut Conn<'_>,
    rows: &'a [ArticleRow],
) -> QueryResult<HashMap<&'a [u8], Article<'a>>> {
    let mut keys: Vec<&[u8]> = rows.iter().map(|row| row.url_hash.as_slice()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut found = HashMap::new();
    for keys in keys.chunks(5_000) {
        let query = articles::table
            .filter(articles::url_hash.eq_any(keys.iter().copied()))
            .order(articles::url_hash)
            .select((
                articles::id,
                articles::url_hash,
                articles::revision,
                articles::source_time,
                articles::content_hash,
            ));
        let stored: Vec<Stored> = match conn {
            Conn::Postgres(c) => query.for_update().load(c).await?,
            Conn::Sqlite(c) => query.load(c).await?,
        };
        for (id, url_hash, revision, time, content_hash) in stored {
            let version = Version { time, sequence: 0, content_hash };
            let key = keys.binary_search(&url_hash.as_slice()).map(|index| keys[index]);
            let key = key.map_err(|_| diesel::result::Error::NotFound)?;
            let article = Article { id: Some(id), revision, version, newest: None, revisions: Vec::new() };
            found.insert(key, article);
        }
    }
    Ok(found)
}

/// Inserts or updates the article. Answers its number.
async fn save(
    conn: &mut Conn<'_>,
    lineage_id: i32,
    records: &Records,
    article: &Article<'_>,
    row: &ArticleRow,
) -> Result<i64, WriteError> {
    let values = (
        (
            articles::url_hash.eq(&row.url_hash),
            articles::url.eq(&row.url),
            articles::canonical_url.eq(&row.canonical_url),
            articles::title.eq(&row.title),
            articles::summary.eq(&row.summary),
            articles::body.eq(&row.body),
            articles::source_name.eq(&row.source_name),
            articles::language.eq(&row.language),
            articles::authors.eq(&row.authors),
            articles::tags.eq(&row.tags),
        ),
        (
            articles::published_at.eq(row.published_at),
            articles::revision.eq(article.revision),
            articles::content_hash.eq(&row.content_hash),
            articles::source.eq(&row.source),
            articles::source_time.eq(row.observed_at),
            articles::lineage_id.eq(lineage_id),
            articles::record_offset.eq(records.offset(row.record)),
        ),
    );
    let saved: Vec<i64> = match article.id {
        Some(id) => {
            let update = diesel::update(articles::table.find(id)).set(values).returning(articles::id);
            with_conn!(conn, c => update.load(c).await)?
        }
        None => {
            let insert = diesel::insert_into(articles::table).values(values).on_conflict_do_nothing();
            let insert = insert.returning(articles::id);
            with_conn!(conn, c => insert.load(c).await)?
        }
    };
    // Nothing changed: another writer stored the same article since we looked.
    saved.into_iter().next().ok_or(StoreError::Race.into())
}
