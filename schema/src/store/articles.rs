//! Writing articles: one row per canonical URL, folded over the batch in order like games. A newer content is a revision, an
//! equal one a duplicate, an older one stale.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::error::{StoreError, WriteError};
use super::rows::Applied;
use super::version::{Step, step};
use super::{Conn, with_conn};
use crate::batch::{Records, RowCounts};
use crate::events::article::ArticleRow;
use crate::events::game::Version;
use crate::schema::articles;
use crate::time::UtcMicros;

/// One article while the batch is folded over it.
struct Article<'a> {
    stored: bool,
    revision: i32,
    version: Version,
    newest: Option<&'a ArticleRow>,
}

pub(super) async fn write(
    conn: &mut Conn<'_>,
    lineage_id: i32,
    rows: &[ArticleRow],
    records: &Records,
) -> Result<Applied, WriteError> {
    let mut articles = load(conn, rows).await?;
    let mut counts = RowCounts::default();
    for row in rows {
        take(&mut articles, row, &mut counts);
    }
    let mut changed: Vec<_> =
        articles.values().filter_map(|article| Some((article, article.newest?))).collect();
    changed.sort_unstable_by_key(|(_, row)| &row.url_hash); // one order for all writers: no deadlock
    for (article, row) in changed {
        save(conn, lineage_id, records, article, row).await?;
    }
    Ok(Applied { rows: counts, ..Applied::default() })
}

fn take<'a>(articles: &mut HashMap<&'a [u8], Article<'a>>, row: &'a ArticleRow, counts: &mut RowCounts) {
    let version = Version { time: row.observed_at, sequence: 0, content_hash: row.content_hash.clone() };
    let Some(article) = articles.get_mut(row.url_hash.as_slice()) else {
        counts.inserted += 1;
        let article = Article { stored: false, revision: 1, version, newest: Some(row) };
        articles.insert(&row.url_hash, article);
        return;
    };
    let step = step(&article.version, &version);
    step.count(counts);
    if step == Step::Updated {
        article.revision += 1;
    }
    if step.moves() {
        article.version = version;
        article.newest = Some(row);
    }
}

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
            .select((articles::url_hash, articles::revision, articles::source_time, articles::content_hash));
        let stored: Vec<(Vec<u8>, i32, UtcMicros, Vec<u8>)> = match conn {
            Conn::Postgres(c) => query.for_update().load(c).await?,
            Conn::Sqlite(c) => query.load(c).await?,
        };
        for (url_hash, revision, time, content_hash) in stored {
            let version = Version { time, sequence: 0, content_hash };
            let key = keys.binary_search(&url_hash.as_slice()).map(|index| keys[index]);
            let key = key.map_err(|_| diesel::result::Error::NotFound)?;
            found.insert(key, Article { stored: true, revision, version, newest: None });
        }
    }
    Ok(found)
}

async fn save(
    conn: &mut Conn<'_>,
    lineage_id: i32,
    records: &Records,
    article: &Article<'_>,
    row: &ArticleRow,
) -> Result<(), WriteError> {
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
    let changed = if article.stored {
        let update = diesel::update(articles::table.filter(articles::url_hash.eq(&row.url_hash))).set(values);
        with_conn!(conn, c => update.execute(c).await)?
    } else {
        let insert = diesel::insert_into(articles::table).values(values).on_conflict_do_nothing();
        with_conn!(conn, c => insert.execute(c).await)?
    };
    // Nothing changed: another writer stored the same article since we looked.
    if changed == 1 { Ok(()) } else { Err(StoreError::Race.into()) }
}
