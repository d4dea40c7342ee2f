//! What `bench growth` prints.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Plan, SHAPE, Window};
use crate::bench::figures::{known_median, ratio, rounded};
use crate::cli::table::{aligned, row};

/// Most windows at either end whose medians are compared.
const COMPARED: usize = 5;

/// All figures and what they were measured on.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    settings: Vec<(&'static str, String)>,
    cores: usize,
    windows: Vec<Figures>,
}

/// One window per row.
#[derive(Debug, Clone, Copy)]
struct Figures {
    rows: usize,
    rows_per_second: f64,
    rows_per_server_cpu_second: Option<f64>,
    wal_bytes_per_row: f64,
    table_bytes_per_row: f64,
    index_bytes_per_row: f64,
}

impl Report {
    /// The figures of these windows.
    pub fn new(plan: Plan, settings: Vec<(&'static str, String)>, windows: Vec<Window>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let windows = windows.into_iter().map(|window| figures(plan, window)).collect();
        Self { plan, settings, cores, windows }
    }

    /// Windows at either end that are compared: those of one end are never those of the other.
    fn compared(&self) -> usize {
        (self.windows.len() / 2).clamp(1, COMPARED)
    }

    /// The median of the last windows in multiples of that of the first.
    fn last_to_first(&self, of: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        let compared = self.compared();
        let last = known_median(self.windows.iter().rev().take(compared).map(&of));
        let first = known_median(self.windows.iter().take(compared).map(&of));
        ratio(last?, first?)
    }

    fn ratios(&self) -> [(&'static str, Option<f64>); 3] {
        [
            ("rows_per_second_last_to_first", self.last_to_first(|of| Some(of.rows_per_second))),
            (
                "rows_per_server_cpu_second_last_to_first",
                self.last_to_first(|of| of.rows_per_server_cpu_second),
            ),
            ("wal_bytes_per_row_last_to_first", self.last_to_first(|of| Some(of.wal_bytes_per_row))),
        ]
    }

    /// One JSON document.
    pub fn json(&self) -> Value {
        let mut settings = json!({
            "cores": self.cores,
            "rows": self.plan.windows * self.plan.rows_per_window(),
            "window": self.plan.rows_per_window(),
            "batch_rows": self.plan.batch_rows,
            "selections_at_once": SHAPE.selections(),
            "windows_compared": self.compared(),
            "cpu_ticks_per_second": 100,
        });
        for (name, value) in &self.settings {
            settings[*name] = json!(value);
        }
        let round = |value: Option<f64>| value.map(|value| rounded(value, 3));
        let ratios: serde_json::Map<String, Value> =
            self.ratios().into_iter().map(|(name, value)| (name.to_owned(), json!(round(value)))).collect();
        let windows: Vec<Value> = self.windows.iter().map(Figures::json).collect();
        json!({ "settings": settings, "windows": windows, "ratios": ratios })
    }

    /// A table and what it means, for people.
    pub fn text(&self) -> String {
        let head = ["rows", "rows/s", "rows/server cpu s", "wal B/row", "table B/row", "index B/row"];
        let mut rows = vec![row(head)];
        rows.extend(self.windows.iter().map(Figures::cells));
        let mut text = aligned(&rows);
        let settings: Vec<String> =
            self.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let compared = self.compared();
        let times = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let [speed, cpu, wal] = self.ratios().map(|(_, value)| times(value));
        let _ = writeln!(
            text,
            "\nBatches of {}, {} selections at once, {} cores; {}.\n\
             Only the writing is on the clock; the log is that of the whole server; - is not known.\n\
             The last windows to the first, medians of {compared}: rows/s {speed}, rows/server cpu s {cpu}, \
             wal B/row {wal}.",
            self.plan.batch_rows,
            SHAPE.selections(),
            self.cores,
            settings.join(", "),
        ); // a String takes everything
        text
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52 rows and bytes")]
fn figures(plan: Plan, window: Window) -> Figures {
    let (rows, all) = (plan.rows_per_window() as f64, window.rows as f64);
    Figures {
        rows: window.rows,
        rows_per_second: rows / window.seconds,
        rows_per_server_cpu_second: window.server_seconds.and_then(|seconds| ratio(rows, seconds)),
        wal_bytes_per_row: window.wal_bytes as f64 / rows,
        table_bytes_per_row: window.storage.table_bytes as f64 / all,
        index_bytes_per_row: window.storage.index_bytes as f64 / all,
    }
}

impl Figures {
    fn json(&self) -> Value {
        json!({
            "rows": self.rows,
            "rows_per_second": rounded(self.rows_per_second, 1),
            "rows_per_server_cpu_second": self.rows_per_server_cpu_second.map(|value| rounded(value, 1)),
            "wal_bytes_per_row": rounded(self.wal_bytes_per_row, 1),
            "table_bytes_per_row": rounded(self.table_bytes_per_row, 1),
            "index_bytes_per_row": rounded(self.index_bytes_per_row, 1),
        })
    }

    fn cells(&self) -> Vec<String> {
        let cpu = self.rows_per_server_cpu_second;
        vec![
            self.rows.to_string(),
            format!("{:.0}", self.rows_per_second),
            cpu.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}")),
            format!("{:.0}", self.wal_bytes_per_row),
            format!("{:.1}", self.table_bytes_per_row),
            format!("{:.1}", self.index_bytes_per_row),
        ]
    }
}

#[cfg(test)]
mod tests {
    use ledgerline_schema::store::Storage;

    use super::*;

    #[test]
    fn the_ends_are_compared_and_share_no_window() {
        let plan = Plan { batch_rows: 100, batches_per_window: 10, windows: 3 };
        let storage = Storage { wal_bytes: 0, table_bytes: 60_000, index_bytes: 30_000 };
        let window =
            |rows, seconds| Window { rows, seconds, server_seconds: None, wal_bytes: 200_000, storage };
        let windows = vec![window(1_000, 1.0), window(2_000, 9.0), window(3_000, 2.0)];
        let found = Report::new(plan, Vec::new(), windows).json();
        assert_eq!(found["settings"]["windows_compared"], 1);
        assert_eq!(found["ratios"]["rows_per_second_last_to_first"], 0.5);
        assert_eq!(found["ratios"]["rows_per_server_cpu_second_last_to_first"], Value::Null);
        assert_eq!(found["windows"][2]["table_bytes_per_row"], 20.0);
        assert_eq!(found["windows"][0]["wal_bytes_per_row"], 200.0);
    }
}
