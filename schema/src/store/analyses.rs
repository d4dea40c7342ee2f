//! Writing analyses: append-only, by their natural key. `append.rs` decides, this file asks and inserts.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::append::{
    Key, Keyed, NO_LINE, ROWS_PER_STATEMENT, Standing, interned, line_name, questions, settle,
};
use super::error::WriteError;
use super::rows::{Applied, RefKey};
use super::sqlite_rows::{blocking, insert_analyses};
use super::{Conn, with_conn};
use crate::batch::Records;
use crate::events::betting_analysis::AnalysisRow;
use crate::schema::betting_analyses::{self as analyses, table};
use crate::sql_types::Json;
use crate::time::UtcMicros;

pub(super) async fn write(
    conn: &mut Conn<'_>,
    lineage_id: i32,
    rows: &[AnalysisRow],
    records: &Records,
    refs: &HashMap<RefKey, i64>,
) -> Result<Applied, WriteError> {
    let keyed = interned(rows, refs)?;
    let standing = standing(conn, &keyed).await?;
    let settled = settle(keyed, standing);
    let new = settled.new.iter().map(|row| NewAnalysis::of(row, lineage_id, records.offset(row.row.record)));
    let inserted = insert(conn, new.collect()).await?;
    settled.applied(inserted)
}

/// What is stored under the keys of these rows.
pub(super) async fn standing(conn: &mut Conn<'_>, rows: &[Keyed<'_, AnalysisRow>]) -> QueryResult<Standing> {
    type Names = (String, String, String, String, String, String, f32);
    let mut standing = Standing::new();
    for (refs, times) in questions(rows) {
        let names = (
            analyses::model,
            analyses::model_version,
            analyses::market,
            analyses::period,
            analyses::participant,
            analyses::side,
            analyses::line_key,
        );
        let query = table
            .filter(analyses::game_ref_id.eq_any(refs))
            .filter(analyses::as_of.eq_any(times))
            .select((analyses::game_ref_id, analyses::as_of, names, analyses::content_hash));
        let stored: Vec<(i64, UtcMicros, Names, Vec<u8>)> = with_conn!(conn, c => query.load(c).await)?;
        for (game_ref_id, as_of, (a, b, c, d, e, f, line), content_hash) in stored {
            let key: Key = (game_ref_id, as_of, vec![a, b, c, d, e, f, line_name(line)]);
            standing.insert(key, content_hash);
        }
    }
    Ok(standing)
}

async fn insert(conn: &mut Conn<'_>, rows: Vec<NewAnalysis>) -> QueryResult<usize> {
    match conn {
        Conn::Postgres(c) => {
            let mut inserted = 0;
            for rows in rows.chunks(ROWS_PER_STATEMENT) {
                let insert = diesel::insert_into(table).values(rows);
                inserted += insert.on_conflict_do_nothing().execute(c).await?;
            }
            Ok(inserted)
        }
        Conn::Sqlite(c) => blocking(c, move |c| insert_analyses(c, &rows)).await,
    }
}

#[derive(Insertable)]
#[diesel(table_name = analyses)]
pub(super) struct NewAnalysis {
    game_ref_id: i64,
    as_of: UtcMicros,
    model: String,
    model_version: String,
    market: &'static str,
    period: &'static str,
    participant: String,
    side: &'static str,
    line_key: f32,
    line: Option<f32>,
    fair_probability: f64,
    fair_price_american: Option<i32>,
    sportsbook: Option<String>,
    offered_price_american: Option<i32>,
    vig_method: &'static str,
    edge: Option<f64>,
    kelly_fraction: Option<f64>,
    stake_units: Option<f64>,
    recommendation: &'static str,
    confidence: f64,
    rationale: String,
    inputs: Json,
    result: &'static str,
    settled_at: Option<UtcMicros>,
    analysis_id: Option<String>,
    content_hash: Vec<u8>,
    source: String,
    observed_at: UtcMicros,
    lineage_id: i32,
    record_offset: i64,
}

impl NewAnalysis {
    fn of(Keyed { key, row }: &Keyed<'_, AnalysisRow>, lineage_id: i32, record_offset: i64) -> Self {
        let analysis = row.analysis.clone();
        Self {
            game_ref_id: key.0,
            as_of: analysis.as_of,
            model: analysis.model,
            model_version: analysis.model_version,
            market: analysis.market,
            period: analysis.period,
            participant: analysis.participant,
            side: analysis.side,
            line_key: analysis.line.unwrap_or(NO_LINE),
            line: analysis.line,
            fair_probability: analysis.fair_probability,
            fair_price_american: analysis.fair_price_american,
            sportsbook: analysis.sportsbook,
            offered_price_american: analysis.offered_price_american,
            vig_method: analysis.vig_method,
            edge: analysis.edge,
            kelly_fraction: analysis.kelly_fraction,
            stake_units: analysis.stake_units,
            recommendation: analysis.recommendation,
            confidence: analysis.confidence,
            rationale: analysis.rationale,
            inputs: row.inputs(),
            result: analysis.result,
            settled_at: analysis.settled_at,
            analysis_id: row.analysis_id.clone(),
            content_hash: row.content_hash.clone(),
            source: row.source.clone(),
            observed_at: row.observed_at,
            lineage_id,
            record_offset,
        }
    }
}
