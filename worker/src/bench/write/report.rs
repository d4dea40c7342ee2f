//! What `bench write` prints.

use std::fmt::Write as _;
use std::time::Duration;

use ledgerline_schema::store::Rival;
use serde_json::{Value, json};

use super::measure::Measured;
use super::plan::{Method, Plan, SHAPE};
use crate::bench::figures::{known_median, median, ratio, rounded};
use crate::cli::table::{aligned, row};

/// The medians of one method.
#[derive(Debug, Clone, Copy)]
struct Figures {
    method: Method,
    rows: usize,
    warm_up_rows: usize,
    rows_per_second: f64,
    ratio_to_copy: Option<f64>,
    client_us_per_row: Option<f64>,
    server_us_per_row: Option<f64>,
}

/// All figures and what they were measured on.
#[derive(Debug)]
pub struct Report {
    plan: Plan,
    settings: Vec<(&'static str, String)>,
    checkpointed: bool,
    cores: usize,
    seconds: f64,
    figures: Vec<Figures>,
}

impl Report {
    /// The medians of all runs.
    pub fn new(
        plan: Plan,
        settings: Vec<(&'static str, String)>,
        checkpointed: bool,
        runs: &[(Method, Measured)],
        took: Duration,
    ) -> Self {
        let of = |method: Method| runs.iter().filter(move |(of, _)| *of == method).map(|(_, found)| *found);
        let mut figures: Vec<Figures> =
            Method::ALL.map(|method| figures(plan, method, of(method).collect())).to_vec();
        figures.sort_by_key(|of| of.method == Method::Duplicates); // no rival: the last line
        let copy = figures[0].rows_per_second;
        for of in &mut figures {
            of.ratio_to_copy = ratio(of.rows_per_second, copy);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { plan, settings, checkpointed, cores, seconds: took.as_secs_f64(), figures }
    }

    /// Rows a second of one method, in multiples of those of another.
    fn times(&self, method: Method, of: Method) -> Option<f64> {
        let speed = |of: Method| self.figures.iter().find(|found| found.method == of);
        ratio(speed(method)?.rows_per_second, speed(of)?.rows_per_second)
    }

    /// The share of a row's time that is gone when the connection stays open.
    fn pooling_saves(&self) -> Option<f64> {
        let slower =
            self.times(Method::Rival(Rival::RowsOwnConnection), Method::Rival(Rival::RowsOwnTransaction))?;
        Some(1.0 - slower)
    }

    /// One JSON document.
    pub fn json(&self) -> Value {
        let mut settings = json!({
            "cores": self.cores,
            "rows": self.plan.batches * self.plan.batch_rows,
            "batch_rows": self.plan.batch_rows,
            "runs": self.plan.runs,
            "selections": SHAPE.selections(),
            "checkpoint_before_each_run": self.checkpointed,
            "cpu_ticks_per_second": 100,
            "seconds": rounded(self.seconds, 1),
        });
        for (name, value) in &self.settings {
            settings[*name] = json!(value);
        }
        let (copy, values) = (Method::Rival(Rival::Copy), Method::Rival(Rival::Values));
        let (one, own) = (Method::Rival(Rival::RowsOneTransaction), Method::Rival(Rival::RowsOwnTransaction));
        let round = |value: Option<f64>| value.map(|value| rounded(value, 3));
        json!({
            "settings": settings,
            "methods": self.figures.iter().map(Figures::json).collect::<Vec<Value>>(),
            "ratios": {
                "write_to_copy": round(self.times(Method::Ledgerline, copy)),
                "write_to_values": round(self.times(Method::Ledgerline, values)),
                "duplicates_to_write": round(self.times(Method::Duplicates, Method::Ledgerline)),
                "pooling_saves": round(self.pooling_saves()),
                "batching_gains": round(self.times(values, own)),
                "batching_gains_within_a_transaction": round(self.times(values, one)),
            },
        })
    }

    /// A table and what it means, for people.
    pub fn text(&self) -> String {
        let head = ["method", "rows", "rows/s", "to copy", "client us/row", "server us/row"];
        let mut rows = vec![row(head)];
        rows.extend(self.figures.iter().map(Figures::cells));
        let mut text = aligned(&rows);
        let Plan { batch_rows, runs, .. } = self.plan;
        let settings: Vec<String> =
            self.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let _ = writeln!(
            text,
            "\nMedian of {runs} runs in turns, batches of {batch_rows}, {} selections, {} cores; {}.",
            SHAPE.selections(),
            self.cores,
            settings.join(", ")
        ); // a String takes everything
        if !self.checkpointed {
            text.push_str(
                "The role may not ask for a checkpoint, so the runs did not start from equal states.\n",
            );
        }
        text.push_str("Processor time is counted in hundredths of a second; - is not known.\n");
        text + &self.sentences()
    }

    fn sentences(&self) -> String {
        let values = Method::Rival(Rival::Values);
        let times = |of| self.times(values, Method::Rival(of)).unwrap_or_default();
        format!(
            "Pooling: a connection that stays open saves {:.0} % of the time of a row stored alone.\n\
             Batching: many rows in one statement are {:.1} times as fast as rows in transactions of their own, \
             and {:.1} times as fast as row by row in one transaction.\n",
            100.0 * self.pooling_saves().unwrap_or_default(),
            times(Rival::RowsOwnTransaction),
            times(Rival::RowsOneTransaction),
        )
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52 rows")]
fn figures(plan: Plan, method: Method, runs: Vec<Measured>) -> Figures {
    let rows = plan.rows(method);
    let us_per_row = |seconds: f64| 1e6 * seconds / rows as f64;
    let speeds: Vec<f64> = runs.iter().map(|run| rows as f64 / run.seconds).collect();
    Figures {
        method,
        rows,
        warm_up_rows: plan.warm_up_rows(method),
        rows_per_second: median(&speeds).unwrap_or_default(),
        ratio_to_copy: None,
        client_us_per_row: known_median(runs.iter().map(|run| run.client_seconds)).map(us_per_row),
        server_us_per_row: known_median(runs.iter().map(|run| run.server_seconds)).map(us_per_row),
    }
}

impl Figures {
    fn json(&self) -> Value {
        let round = |value: Option<f64>, digits| value.map(|value| rounded(value, digits));
        json!({
            "method": self.method.name(),
            "rows_per_second": rounded(self.rows_per_second, 1),
            "ratio_to_copy": round(self.ratio_to_copy, 4),
            "client_us_per_row": round(self.client_us_per_row, 3),
            "server_us_per_row": round(self.server_us_per_row, 3),
            "rows": self.rows,
            "warm_up_rows": self.warm_up_rows,
        })
    }

    fn cells(&self) -> Vec<String> {
        let cell = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        vec![
            self.method.name().to_owned(),
            self.rows.to_string(),
            cell(Some(self.rows_per_second), 0),
            cell(self.ratio_to_copy, 4),
            cell(self.client_us_per_row, 2),
            cell(self.server_us_per_row, 2),
        ]
    }
}
