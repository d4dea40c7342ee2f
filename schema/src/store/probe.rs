//! Does the database take rows at all, right now? Asked by `isolate.rs` before it blames a record: rows that no record asked for
//! go the very way of the record's own, new ones and newer versions of them, as large and more, together with the record's
//! dead letter; and are taken back.
//!
//! What must stay true: the rows are those of a record of the same batch that the database has just accepted, moved to keys of
//! their own; only where there is none are they made up.

use diesel::QueryResult;
use diesel::result::{DatabaseErrorKind as Kind, Error};
use diesel_async::SimpleAsyncConnection;

use super::error::{StoreError, WriteError};
use super::intern::{Known, intern};
use super::rows::{Look, WriteJob};
use super::write::write_rows;
use super::{Conn, insert, with_conn};
use crate::batch::DeadRecord;
use crate::events::article::{ArticleRow, ArticleRows};
use crate::events::betting_analysis::{
    Analysis, AnalysisRow, AnalysisRows, BetResult, Recommendation, VigMethod,
};
use crate::events::game::{GameRow, GameRows, GameState, Version};
use crate::events::odds::{Market, OddsRows, Period, Quote, Selection, SelectionKey, Side};
use crate::events::sharp_signal::{Severity, Signal, SignalRow, SignalRows, SignalType};
use crate::events::{Reason, Rejection, Rows};
use crate::sql_types::Json;
use crate::time::UtcMicros;

/// Quotes of a probe: more than the free room of a page, so that a full disk shows.
const QUOTES: i64 = 500;
/// Signals or analyses of a probe.
const FACTS: i64 = 64;
/// Games or articles of a probe.
const STATES: usize = 16;
/// The system, and the prefix of every key, of made-up rows.
const PROBE: &str = "ledgerline-probe";

/// Fails with the database's own words where it does not take the rows. `accepted` is a record that it has taken.
pub(super) async fn probe(
    conn: &mut Conn<'_>,
    job: &WriteJob<'_>,
    record: u32,
    accepted: Option<u32>,
) -> Result<(), WriteError> {
    execute(conn, "savepoint ledgerline_probe").await?;
    write_probe(conn, job, record, accepted).await?;
    Ok(execute(conn, "rollback to savepoint ledgerline_probe; release savepoint ledgerline_probe").await?)
}

async fn write_probe(
    conn: &mut Conn<'_>,
    job: &WriteJob<'_>,
    record: u32,
    accepted: Option<u32>,
) -> Result<(), WriteError> {
    let rejection = Rejection::new(Reason::Refused, "probe");
    insert::dead_letters(conn.wire(), job, &[DeadRecord { record, rejection }]).await?;
    for version in 0..2 {
        match write_version(conn, job, record, accepted, version).await {
            // Nothing but made-up rows to go by, and a rule of this database forbids them: it answers, that is all.
            Err(WriteError::Store(error)) if accepted.is_none() && forbids_made_up_rows(&error) => {
                return Ok(());
            }
            written => written?,
        }
    }
    Ok(())
}

async fn write_version(
    conn: &mut Conn<'_>,
    job: &WriteJob<'_>,
    record: u32,
    accepted: Option<u32>,
    version: i64,
) -> Result<(), WriteError> {
    let rows = rows_of(&job.batch.rows, record, accepted, version);
    let interned = intern(conn, &mut Known::nothing(), &rows).await?;
    write_rows(conn, job, &rows, &interned, Look::First).await.map(drop)
}

/// A named rule may know that no such book or system exists. A column that must not be null is one that we do not write.
fn forbids_made_up_rows(error: &StoreError) -> bool {
    let StoreError::Query(Error::DatabaseError(kind, information)) = error else { return false };
    let of_values =
        matches!(kind, Kind::CheckViolation | Kind::ForeignKeyViolation | Kind::ExclusionViolation);
    of_values && information.constraint_name().is_some()
}

/// Rows of the kind of `all`, as large as those of `record`.
fn rows_of(all: &Rows, record: u32, accepted: Option<u32>, version: i64) -> Rows {
    match all {
        Rows::Odds(rows) => {
            let sample = rows.quotes.iter().find(|quote| Some(quote.record) == accepted);
            let selection = sample.map(|quote| rows.selections[quote.selection as usize].clone());
            Rows::Odds(quotes(record, sample, selection.unwrap_or_else(made_up_selection), version))
        }
        Rows::Game(rows) => {
            let find = |number| rows.0.iter().find(|row| Some(row.record) == number);
            let size = find(Some(record)).map_or(0, |row| row.state.details.0.len());
            let state = find(accepted).map_or_else(made_up_state, |row| row.state.clone());
            Rows::Game(games(record, &state, size, version))
        }
        Rows::Article(rows) => {
            let find = |number| rows.0.iter().find(|row| Some(row.record) == number);
            let size = find(Some(record)).map_or(0, |row| row.body.len());
            let sample = find(accepted).cloned().unwrap_or_else(made_up_article);
            Rows::Article(articles(record, &sample, size, version))
        }
        Rows::Signal(rows) => {
            let sample = rows.0.iter().find(|row| Some(row.record) == accepted);
            Rows::Signal(signals(record, &sample.cloned().unwrap_or_else(made_up_signal), version))
        }
        Rows::Analysis(rows) => {
            let find = |number| rows.0.iter().find(|row| Some(row.record) == number);
            let size = find(Some(record)).map_or(0, |row| row.analysis.rationale.len());
            let sample = find(accepted).cloned().unwrap_or_else(made_up_analysis);
            Rows::Analysis(analyses(record, &sample, size, version))
        }
    }
}

/// Quotes of one selection in the first moments of 1970, where no scraper has been.
fn quotes(record: u32, sample: Option<&Quote>, selection: Selection, version: i64) -> OddsRows {
    let mut rows = OddsRows::default();
    rows.selections.insert(selection);
    let (price, line) = sample.map_or((Some(2.0), None), |quote| (quote.price, quote.line));
    let at = |number| UtcMicros(version * QUOTES + number);
    rows.quotes = (0..QUOTES)
        .map(|number| Quote { selection: 0, record, observed_at: at(number), price, line })
        .collect();
    rows
}

/// First games that are new, then a newer version of each that also names its neighbour: an update and a conflict.
fn games(record: u32, state: &GameState, size: usize, version: i64) -> GameRows {
    let key = |number: usize| (PROBE.to_owned(), format!("{PROBE}-{number}"));
    let game = |number| {
        let mut state = state.clone();
        state.version = Version { time: UtcMicros(version), sequence: version, content_hash: vec![0; 32] };
        if state.details.0.len() < size {
            state.details = Json(format!("{{\"probe\":\"{}\"}}", "x".repeat(size)));
        }
        let linked = if version == 0 { Vec::new() } else { vec![key((number + 1) % STATES)] };
        GameRow { record, key: key(number), linked, state }
    };
    GameRows((0..STATES).map(game).collect())
}

fn articles(record: u32, sample: &ArticleRow, size: usize, version: i64) -> ArticleRows {
    let article = |number: usize| {
        let url = format!("{}#{PROBE}-{number}", sample.canonical_url);
        let body = if sample.body.len() < size { "x".repeat(size) } else { sample.body.clone() };
        let (mut url_hash, mut content_hash) = (vec![0; 32], vec![0; 32]);
        url_hash[..8].copy_from_slice(&number.to_le_bytes());
        content_hash[0] = u8::try_from(version).unwrap_or(u8::MAX);
        let observed_at = UtcMicros(version);
        ArticleRow { record, url_hash, canonical_url: url, body, content_hash, observed_at, ..sample.clone() }
    };
    ArticleRows((0..STATES).map(article).collect())
}

/// Signals of windows in the first minutes of 1970.
fn signals(record: u32, sample: &SignalRow, version: i64) -> SignalRows {
    let signal = |number: i64| {
        let mut row = SignalRow { record, ..sample.clone() };
        row.signal.window_end = UtcMicros((version * FACTS + number) * 60 * UtcMicros::SECOND);
        row
    };
    SignalRows((0..FACTS).map(signal).collect())
}

/// Analyses of the first moments of 1970.
fn analyses(record: u32, sample: &AnalysisRow, size: usize, version: i64) -> AnalysisRows {
    let analysis = |number: i64| {
        let mut row = AnalysisRow { record, ..sample.clone() };
        row.analysis.as_of = UtcMicros(version * FACTS + number);
        if row.analysis.rationale.len() < size {
            row.analysis.rationale = "x".repeat(size);
        }
        row
    };
    AnalysisRows((0..FACTS).map(analysis).collect())
}

fn made_up_selection() -> Selection {
    let key = SelectionKey {
        system: PROBE,
        game: PROBE,
        sportsbook: PROBE,
        participant: "",
        market: Market::Moneyline,
        period: Period::FullGame,
        side: Side::Home,
        alternate: false,
        line_bits: 0,
    };
    key.into()
}

fn made_up_state() -> GameState {
    let text = || Some(PROBE.to_owned());
    GameState {
        sport: text(),
        league: text(),
        home_team: text(),
        away_team: text(),
        commence_time: Some(UtcMicros::default()),
        status: "unknown",
        home_score: Some(0),
        away_score: Some(0),
        details: Json("{}".into()),
        source: PROBE.into(),
        version: Version { time: UtcMicros::default(), sequence: 0, content_hash: vec![0; 32] },
    }
}

fn made_up_article() -> ArticleRow {
    let text = || PROBE.to_owned();
    ArticleRow {
        record: 0,
        url_hash: vec![0; 32],
        url: text(),
        canonical_url: text(),
        title: text(),
        summary: text(),
        body: text(),
        source_name: Some(text()),
        language: Some("en".into()),
        authors: Json("[]".into()),
        tags: Json("[]".into()),
        published_at: Some(UtcMicros::default()),
        content_hash: vec![0; 32],
        source: text(),
        observed_at: UtcMicros::default(),
    }
}

fn made_up_signal() -> SignalRow {
    let at = UtcMicros::default();
    let signal = Signal {
        detector: PROBE.into(),
        detector_version: PROBE.into(),
        signal_type: SignalType::Other.name(),
        market: Market::Moneyline.name(),
        period: Period::FullGame.name(),
        participant: String::new(),
        side: Side::Home.name(),
        line: None,
        detected_at: at,
        window_start: at,
        window_end: at,
        line_from: None,
        line_to: None,
        price_from: None,
        price_to: None,
        tickets_pct: None,
        money_pct: None,
        magnitude: None,
        magnitude_unit: None,
        confidence: None,
        severity: Severity::Low.name(),
        expires_at: None,
        evidence: serde_json::json!({}),
    };
    SignalRow {
        record: 0,
        game: (PROBE.into(), PROBE.into()),
        signal_id: None,
        source: PROBE.into(),
        observed_at: at,
        content_hash: vec![0; 32],
        signal,
    }
}

fn made_up_analysis() -> AnalysisRow {
    let analysis = Analysis {
        model: PROBE.into(),
        model_version: PROBE.into(),
        market: Market::Moneyline.name(),
        period: Period::FullGame.name(),
        participant: String::new(),
        side: Side::Home.name(),
        line: None,
        as_of: UtcMicros::default(),
        fair_probability: 0.5,
        fair_price_american: None,
        sportsbook: None,
        offered_price_american: None,
        vig_method: VigMethod::None.name(),
        edge: None,
        kelly_fraction: None,
        stake_units: None,
        recommendation: Recommendation::Pass.name(),
        confidence: 0.5,
        rationale: String::new(),
        inputs: serde_json::json!({}),
        result: BetResult::Pending.name(),
        settled_at: None,
    };
    AnalysisRow {
        record: 0,
        game: (PROBE.into(), PROBE.into()),
        analysis_id: None,
        source: PROBE.into(),
        observed_at: UtcMicros::default(),
        content_hash: vec![0; 32],
        analysis,
    }
}

pub(super) async fn execute(conn: &mut Conn<'_>, sql: &str) -> QueryResult<()> {
    with_conn!(conn, c => c.batch_execute(sql).await)
}
