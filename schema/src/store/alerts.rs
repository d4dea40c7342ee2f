//! Alerts: keywords of rules that an article holds. Written in the article's own transaction, for every revision that the batch
//! brings, in order: so what is stored does not depend on where batches begin and end.
//!
//! What must stay true: an alert is one per article, rule and keyword; a revision that no longer holds the keyword withdraws it
//! and a later one may renew it; a rule that is no longer in force withdraws nothing.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::sqlite_rows::{blocking, insert_alerts};
use super::{Conn, with_conn};
use crate::events::article::ArticleRow;
use crate::keywords::{Hit, Matcher};
use crate::schema::alerts;
use crate::time::UtcMicros;

/// One revision of an article, in the order in which the batch brings them.
pub(super) struct Revision<'a> {
    pub(super) number: i32,
    pub(super) row: &'a ArticleRow,
    pub(super) record_offset: i64,
}

/// An article that the batch has changed.
pub(super) struct Changed<'a> {
    pub(super) article_id: i64,
    /// Whether it was there before the batch, and so may have alerts.
    pub(super) was_stored: bool,
    pub(super) revisions: Vec<Revision<'a>>,
}

/// Rule and keyword.
type Key = (i64, String);

/// An alert while the revisions are folded over it.
#[derive(Debug, Clone, PartialEq)]
struct Alert {
    /// None until it is stored.
    id: Option<i64>,
    field: String,
    excerpt: String,
    revision: i32,
    at: UtcMicros,
    withdrawn_at: Option<UtcMicros>,
    record_offset: i64,
    /// Whether it has to be written.
    changed: bool,
}

/// Looks for keywords in what the batch has changed and writes what comes of it. `changed` is in the order that all writers keep.
pub(super) async fn write(
    conn: &mut Conn<'_>,
    lineage_id: i32,
    matcher: &Matcher,
    changed: &[Changed<'_>],
) -> QueryResult<()> {
    if matcher.is_empty() || changed.is_empty() {
        return Ok(());
    }
    let mut stored = load(conn, changed).await?;
    let mut new = Vec::new();
    for Changed { article_id, revisions, .. } in changed {
        let mut alerts = stored.remove(article_id).unwrap_or_default();
        for revision in revisions {
            let hits = matcher.hits(&revision.row.title, &revision.row.body);
            revise(&mut alerts, hits, |rule_id| matcher.has(rule_id), revision);
        }
        for ((rule_id, keyword), alert) in alerts.into_iter().filter(|(_, alert)| alert.changed) {
            match alert.id {
                Some(id) => update(conn, lineage_id, id, &alert).await?,
                None => new.push(NewAlert::of((*article_id, rule_id, keyword), lineage_id, alert)),
            }
        }
    }
    insert(conn, new).await
}

/// What a revision makes of the alerts of its article.
fn revise(
    alerts: &mut BTreeMap<Key, Alert>,
    hits: Vec<Hit>,
    in_force: impl Fn(i64) -> bool,
    revision: &Revision<'_>,
) {
    let at = revision.row.observed_at;
    let mut hits: BTreeMap<Key, Hit> =
        hits.into_iter().map(|hit| ((hit.rule_id, hit.keyword.clone()), hit)).collect();
    for (key, alert) in alerts.iter_mut() {
        let hit = hits.remove(key);
        match (alert.withdrawn_at, hit) {
            (None, None) if in_force(key.0) => {
                (alert.withdrawn_at, alert.changed) = (Some(at), true);
            }
            (Some(_), Some(hit)) => *alert = Alert { id: alert.id, ..Alert::of(hit, revision) },
            (None | Some(_), None) | (None, Some(_)) => {}
        }
    }
    alerts.extend(hits.into_iter().map(|(key, hit)| (key, Alert::of(hit, revision))));
}

impl Alert {
    fn of(hit: Hit, revision: &Revision<'_>) -> Self {
        Self {
            id: None,
            field: hit.field.name().to_owned(),
            excerpt: hit.excerpt,
            revision: revision.number,
            at: revision.row.observed_at,
            withdrawn_at: None,
            record_offset: revision.record_offset,
            changed: true,
        }
    }
}

/// What is stored of the articles, by article.
async fn load(
    conn: &mut Conn<'_>,
    changed: &[Changed<'_>],
) -> QueryResult<HashMap<i64, BTreeMap<Key, Alert>>> {
    type Row = (i64, i64, i64, String, String, String, i32, UtcMicros, Option<UtcMicros>, i64);
    let articles: Vec<i64> =
        changed.iter().filter(|changed| changed.was_stored).map(|changed| changed.article_id).collect();
    let mut found: HashMap<i64, BTreeMap<Key, Alert>> = HashMap::new();
    for articles in articles.chunks(5_000) {
        let query = alerts::table.filter(alerts::article_id.eq_any(articles.iter().copied())).select((
            alerts::article_id,
            alerts::id,
            alerts::rule_id,
            alerts::keyword,
            alerts::field,
            alerts::excerpt,
            alerts::revision,
            alerts::at,
            alerts::withdrawn_at,
            alerts::record_offset,
        ));
        let rows: Vec<Row> = with_conn!(conn, c => query.load(c).await)?;
        for (article, id, rule_id, keyword, field, excerpt, revision, at, withdrawn_at, record_offset) in rows
        {
            let id = Some(id);
            let alert =
                Alert { id, field, excerpt, revision, at, withdrawn_at, record_offset, changed: false };
            found.entry(article).or_default().insert((rule_id, keyword), alert);
        }
    }
    Ok(found)
}

async fn update(conn: &mut Conn<'_>, lineage_id: i32, id: i64, alert: &Alert) -> QueryResult<()> {
    let changes = (
        alerts::field.eq(&alert.field),
        alerts::excerpt.eq(&alert.excerpt),
        alerts::revision.eq(alert.revision),
        alerts::at.eq(alert.at),
        alerts::withdrawn_at.eq(alert.withdrawn_at),
        alerts::lineage_id.eq(lineage_id),
        alerts::record_offset.eq(alert.record_offset),
    );
    let update = diesel::update(alerts::table.find(id)).set(changes);
    with_conn!(conn, c => update.execute(c).await)?;
    Ok(())
}

/// Alerts of one statement: 9 parameters each.
const ALERTS_PER_STATEMENT: usize = 1_000;

/// Nobody else inserts alerts of these articles: this transaction holds their rows.
async fn insert(conn: &mut Conn<'_>, new: Vec<NewAlert>) -> QueryResult<()> {
    match conn {
        Conn::Postgres(c) => {
            for new in new.chunks(ALERTS_PER_STATEMENT) {
                diesel::insert_into(alerts::table).values(new).execute(c).await?;
            }
            Ok(())
        }
        Conn::Sqlite(c) => blocking(c, move |c| insert_alerts(c, &new)).await,
    }
}

#[derive(Debug, Insertable)]
#[diesel(table_name = alerts)]
pub(super) struct NewAlert {
    article_id: i64,
    rule_id: i64,
    keyword: String,
    field: String,
    excerpt: String,
    revision: i32,
    at: UtcMicros,
    withdrawn_at: Option<UtcMicros>,
    lineage_id: i32,
    record_offset: i64,
}

impl NewAlert {
    fn of((article_id, rule_id, keyword): (i64, i64, String), lineage_id: i32, alert: Alert) -> Self {
        let Alert { field, excerpt, revision, at, withdrawn_at, record_offset, .. } = alert;
        Self {
            article_id,
            rule_id,
            keyword,
            field,
            excerpt,
            revision,
            at,
            withdrawn_at,
            lineage_id,
            record_offset,
        }
    }
}
