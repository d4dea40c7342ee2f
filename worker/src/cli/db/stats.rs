//! `ledgerline db stats`: what a database says about its own health, as tables for people or as one JSON object. Nothing is
//! judged; `docs/OPERATIONS.md` says what to look for.

use clap::Args;
use indicatif::HumanBytes;
use ledgerline_schema::store::{DatabaseStats, PostgresStats, ServerTotals, SqliteStats};
use ledgerline_schema::time::UtcMicros;

use super::super::operator::{age, connect, print, print_line};
use super::super::table::{aligned, excerpt, row};
use crate::config::Config;

/// Characters of what a connection calls itself.
const NAME: usize = 40;

/// Arguments of `db stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Transactions that have been open for longer are listed: 90s, 15m.
    #[arg(long, value_name = "AGE", value_parser = age, default_value = "1m")]
    older_than: i64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The database did not answer.
pub async fn stats(config: &Config, args: StatsArgs) -> anyhow::Result<()> {
    let store = connect(config).await?;
    let stats = store.database_stats(args.older_than as f64 / UtcMicros::SECOND as f64).await?;
    if args.json {
        return print_line(serde_json::to_value(&stats)?);
    }
    let text = match &stats {
        DatabaseStats::Postgres(stats) => of_server(stats),
        DatabaseStats::Sqlite(stats) => of_file(stats),
    };
    print(text.as_bytes())
}

fn bytes(bytes: i64) -> String {
    HumanBytes(u64::try_from(bytes).unwrap_or(0)).to_string()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn time(time: Option<UtcMicros>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| time.to_string())
}

/// What the role may not see is `?`.
fn seen(text: Option<&str>) -> String {
    text.map_or_else(|| "?".to_owned(), str::to_owned)
}

/// A connection names itself as it likes.
fn name(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { excerpt(text.as_bytes(), NAME) }
}

fn of_server(stats: &PostgresStats) -> String {
    let parts =
        [database(&stats.database), tables(stats), indexes(stats), transactions(stats), connections(stats)];
    parts.join("\n")
}

fn database(totals: &ServerTotals) -> String {
    let hits = totals.cache_hit_ratio.map_or_else(|| "-".to_owned(), percent);
    let since = totals.since.map_or_else(|| "it was made".to_owned(), |since| since.to_string());
    aligned(&[
        row([
            "database",
            &format!("{} (PostgreSQL {}), {}", totals.name, totals.server, bytes(totals.bytes)),
        ]),
        row(["cache hits", &hits]),
        row(["transactions", &format!("{} committed, {} rolled back", totals.commits, totals.rollbacks)]),
        row(["deadlocks", &totals.deadlocks.to_string()]),
        row(["temporary files", &bytes(totals.temporary_bytes)]),
        row(["counted since", &since]),
    ])
}

fn tables(stats: &PostgresStats) -> String {
    let mut lines = vec![row(["TABLE", "ROWS", "DEAD", "SHARE", "SIZE", "INDEXES", "VACUUMED", "ANALYZED"])];
    for table in &stats.tables {
        lines.push(vec![
            excerpt(table.name.as_bytes(), usize::MAX),
            table.rows.to_string(),
            table.dead_rows.to_string(),
            percent(table.dead_share),
            bytes(table.table_bytes),
            bytes(table.index_bytes),
            time(table.vacuumed_at),
            time(table.analyzed_at),
        ]);
    }
    aligned(&lines)
}

fn indexes(stats: &PostgresStats) -> String {
    let mut lines = vec![row(["INDEX", "TABLE", "SIZE", "WASTED", "SCANS", ""])];
    for index in &stats.indexes {
        let note = match (index.valid, index.unused) {
            (false, _) => "left by a failed rebuild",
            (true, true) => "never used",
            (true, false) => "",
        };
        lines.push(vec![
            excerpt(index.name.as_bytes(), usize::MAX),
            excerpt(index.table.as_bytes(), usize::MAX),
            bytes(index.bytes),
            index.wasted_bytes.map_or_else(|| "?".to_owned(), bytes),
            index.scans.to_string(),
            note.to_owned(),
        ]);
    }
    aligned(&lines)
}

fn transactions(stats: &PostgresStats) -> String {
    if stats.long_transactions.is_empty() {
        return "no long transactions\n".to_owned();
    }
    let mut lines = vec![row(["LONG TRANSACTION", "PID", "ROLE", "SECONDS", "STATE", "WAITS FOR"])];
    for transaction in &stats.long_transactions {
        lines.push(vec![
            name(&transaction.application),
            transaction.pid.to_string(),
            seen(transaction.role.as_deref()),
            format!("{:.0}", transaction.seconds),
            seen(transaction.state.as_deref()),
            transaction.waits_for.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    aligned(&lines)
}

fn connections(stats: &PostgresStats) -> String {
    let mut lines = vec![row(["CONNECTIONS OF", "STATE", "NUMBER"])];
    let mut all = 0;
    for found in &stats.connections {
        let number = found.connections.to_string();
        lines.push(vec![name(&found.application), seen(found.state.as_deref()), number]);
        all += found.connections;
    }
    let most = format!("{all} of {}", stats.database.connections_max);
    lines.push(row(["all", "", &most]));
    aligned(&lines)
}

fn of_file(stats: &SqliteStats) -> String {
    let free = format!("{} of {} pages of {} bytes", stats.free_pages, stats.pages, stats.page_bytes);
    let file = aligned(&[
        row(["database", &format!("SQLite {}, {}", stats.version, bytes(stats.bytes))]),
        row(["free", &free]),
        row(["journal", &stats.journal_mode]),
        row(["write-ahead log", &bytes(stats.wal_bytes)]),
    ]);
    let mut lines = vec![row(["TABLE", "ROWS"])];
    lines.extend(stats.tables.iter().map(|table| vec![table.name.clone(), table.rows.to_string()]));
    format!("{file}\n{}", aligned(&lines))
}
