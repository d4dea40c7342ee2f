//! Writing signals: append-only, by their natural key. `append.rs` decides, this file asks and inserts.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::append::{Key, Keyed, ROWS_PER_STATEMENT, Standing, interned, questions, settle};
use super::error::WriteError;
use super::rows::{Applied, RefKey};
use super::sqlite_rows::{blocking, insert_signals};
use super::{Conn, with_conn};
use crate::batch::Records;
use crate::events::sharp_signal::SignalRow;
use crate::schema::sharp_signals::{self as signals, table};
use crate::sql_types::Json;
use crate::time::UtcMicros;

pub(super) async fn write(
    conn: &mut Conn<'_>,
    lineage_id: i32,
    rows: &[SignalRow],
    records: &Records,
    refs: &HashMap<RefKey, i64>,
) -> Result<Applied, WriteError> {
    let keyed = interned(rows, refs)?;
    let standing = standing(conn, &keyed).await?;
    let settled = settle(keyed, standing);
    let new = settled.new.iter().map(|row| NewSignal::of(row, lineage_id, records.offset(row.row.record)));
    let inserted = insert(conn, new.collect()).await?;
    settled.applied(inserted)
}

/// What is stored under the keys of these rows.
pub(super) async fn standing(conn: &mut Conn<'_>, rows: &[Keyed<'_, SignalRow>]) -> QueryResult<Standing> {
    type Names = (String, String, String, String, String, String, String);
    let mut standing = Standing::new();
    for (refs, minutes) in questions(rows) {
        let names = (
            signals::detector,
            signals::detector_version,
            signals::signal_type,
            signals::market,
            signals::period,
            signals::participant,
            signals::side,
        );
        let query = table
            .filter(signals::game_ref_id.eq_any(refs))
            .filter(signals::window_minute.eq_any(minutes))
            .select((signals::game_ref_id, signals::window_minute, names, signals::content_hash));
        let stored: Vec<(i64, UtcMicros, Names, Vec<u8>)> = with_conn!(conn, c => query.load(c).await)?;
        for (game_ref_id, minute, (a, b, c, d, e, f, g), content_hash) in stored {
            let key: Key = (game_ref_id, minute, vec![a, b, c, d, e, f, g]);
            standing.insert(key, content_hash);
        }
    }
    Ok(standing)
}

async fn insert(conn: &mut Conn<'_>, rows: Vec<NewSignal>) -> QueryResult<usize> {
    match conn {
        Conn::Postgres(c) => {
            let mut inserted = 0;
            for rows in rows.chunks(ROWS_PER_STATEMENT) {
                let insert = diesel::insert_into(table).values(rows);
                inserted += insert.on_conflict_do_nothing().execute(c).await?;
            }
            Ok(inserted)
        }
        Conn::Sqlite(c) => blocking(c, move |c| insert_signals(c, &rows)).await,
    }
}

#[derive(Insertable)]
#[diesel(table_name = signals)]
pub(super) struct NewSignal {
    game_ref_id: i64,
    window_minute: UtcMicros,
    detector: String,
    detector_version: String,
    signal_type: &'static str,
    market: &'static str,
    period: &'static str,
    participant: String,
    side: &'static str,
    line: Option<f32>,
    detected_at: UtcMicros,
    window_start: UtcMicros,
    window_end: UtcMicros,
    line_from: Option<f32>,
    line_to: Option<f32>,
    price_from: Option<i32>,
    price_to: Option<i32>,
    tickets_pct: Option<f64>,
    money_pct: Option<f64>,
    magnitude: Option<f64>,
    magnitude_unit: Option<&'static str>,
    confidence: Option<f64>,
    severity: &'static str,
    expires_at: Option<UtcMicros>,
    evidence: Json,
    signal_id: Option<String>,
    content_hash: Vec<u8>,
    source: String,
    observed_at: UtcMicros,
    lineage_id: i32,
    record_offset: i64,
}

impl NewSignal {
    fn of(Keyed { key, row }: &Keyed<'_, SignalRow>, lineage_id: i32, record_offset: i64) -> Self {
        let signal = row.signal.clone();
        Self {
            game_ref_id: key.0,
            window_minute: key.1,
            detector: signal.detector,
            detector_version: signal.detector_version,
            signal_type: signal.signal_type,
            market: signal.market,
            period: signal.period,
            participant: signal.participant,
            side: signal.side,
            line: signal.line,
            detected_at: signal.detected_at,
            window_start: signal.window_start,
            window_end: signal.window_end,
            line_from: signal.line_from,
            line_to: signal.line_to,
            price_from: signal.price_from,
            price_to: signal.price_to,
            tickets_pct: signal.tickets_pct,
            money_pct: signal.money_pct,
            magnitude: signal.magnitude,
            magnitude_unit: signal.magnitude_unit,
            confidence: signal.confidence,
            severity: signal.severity,
            expires_at: signal.expires_at,
            evidence: row.evidence(),
            signal_id: row.signal_id.clone(),
            content_hash: row.content_hash.clone(),
            source: row.source.clone(),
            observed_at: row.observed_at,
            lineage_id,
            record_offset,
        }
    }
}
