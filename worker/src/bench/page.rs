//! `bench report`: the JSON of the other benchmarks on one page, `docs/BENCHMARKS.md`, and their ratios in one file for
//! `--gate`.
//!
//! What must stay true: what stands below the marker on the page is written by people and kept; a figure that a document does
//! not hold is shown as not measured, never left out. No name of a machine and no path gets on the page.

mod machine;
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::gate;
use crate::cli::operator::print;
use crate::clock;

/// What people write is below this line.
const MARKER: &str = "<!-- Written by hand from here on: `bench report` keeps it. -->";
/// What a new page has there: figures of data that is not ours to publish, which `make bench` cannot measure.
const BY_HAND: &str = "

## Real data

| figure | required | found |
|---|---|---|
| a week of NFL odds after compaction: rows kept ÷ quotes stored | at most 0.10 | not measured |
";

/// Arguments of `bench report`.
#[derive(Debug, Args)]
pub struct Options {
    /// What `bench write --json` printed.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// What `bench e2e --json` printed.
    #[arg(long, value_name = "FILE")]
    e2e: Option<PathBuf>,
    /// What `bench growth --json` printed.
    #[arg(long, value_name = "FILE")]
    growth: Option<PathBuf>,
    /// Write the page into this file instead of printing it, and keep what is below its marker.
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// Record the ratios in this file, for `--gate`.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// What the benchmarks printed; null where one was not run.
#[derive(Debug, Default)]
struct Documents {
    write: Value,
    e2e: Value,
    growth: Value,
}

/// Puts the page together.
///
/// # Errors
/// A file cannot be read or written.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let documents = Documents {
        write: read(options.write.as_deref())?,
        e2e: read(options.e2e.as_deref())?,
        growth: read(options.growth.as_deref())?,
    };
    if let Some(file) = &options.record {
        let text = serde_json::to_string_pretty(&recorded(&documents)).context("cannot write the ratios")?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let Some(file) = &options.page else {
        return print(page(&documents, None).as_bytes());
    };
    let before = std::fs::read_to_string(file).unwrap_or_default();
    let by_hand = before.split_once(MARKER).map(|(_, by_hand)| by_hand);
    std::fs::write(file, page(&documents, by_hand))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn read(file: Option<&Path>) -> anyhow::Result<Value> {
    let Some(file) = file else { return Ok(Value::Null) };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read {}", file.display()))
}

fn recorded(documents: &Documents) -> Value {
    let of = [&documents.write, &documents.e2e, &documents.growth].map(gate::ratios);
    let ratios: BTreeMap<String, f64> = of.into_iter().flatten().collect();
    json!({ "tolerance": gate::TOLERANCE, "ratios": ratios })
}

fn page(documents: &Documents, by_hand: Option<&str>) -> String {
    let day = clock::now().to_string()[..10].to_owned();
    let mut text = format!(
        "# Benchmarks\n\nWritten by `make bench` on {day}, on {}. Ratios are of things that were measured in turns in one \
         run on one machine: they hold elsewhere, the absolute figures do not.\n\n",
        machine::describe()
    );
    text += &tables::required(documents);
    text += &tables::write(&documents.write);
    text += &tables::e2e(&documents.e2e);
    text += &tables::growth(&documents.growth);
    text += &tables::settings(documents);
    text + MARKER + by_hand.unwrap_or(BY_HAND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Documents {
        Documents {
            write: json!({
                "settings": {"fsync": "on", "rows": 10},
                "methods": [{"method": "copy", "rows_per_second": 200_000.4, "ratio_to_copy": 1, "server_us_per_row": null}],
                "ratios": {"write_to_copy": 0.7, "write_to_values": 2.0, "pooling_saves": null},
            }),
            e2e: json!({"ratios": {"e2e_to_write": 0.8}, "drain": {"peak_memory_mib": 60.5}}),
            growth: Value::Null,
        }
    }

    #[test]
    fn each_required_figure_has_a_line_with_its_bound_and_what_was_found() {
        let page = page(&documents(), None);
        for line in [
            "| our write ÷ COPY into the same table | at least 0.65 | 0.70 | yes |",
            "| our write ÷ one INSERT with a list of VALUES | at least 2.50 | 2.00 | **no** |",
            "| quotes/s from Kafka to the commit ÷ our write alone | at least 0.70 | 0.80 | yes |",
            "| throughput at the end of growth ÷ at its beginning | at least 0.85 | not measured | |",
            "| `copy` | 200,000 | 1 | - |",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }

    #[test]
    fn what_people_wrote_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.md");
        let options =
            Options { write: None, e2e: None, growth: None, page: Some(file.clone()), record: None };
        std::fs::write(&file, format!("old\n{MARKER}\n\n## By hand\n")).unwrap();
        for _ in 0..2 {
            run(&options).unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("# Benchmarks\n"), "{text}");
            assert!(text.ends_with(&format!("{MARKER}\n\n## By hand\n")), "{text}");
            assert_eq!(text.matches(MARKER).count(), 1);
        }
    }

    #[test]
    fn what_is_recorded_is_what_the_gate_reads() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("recorded.json");
        std::fs::write(&file, recorded(&documents()).to_string()).unwrap();
        let found = |ratio| BTreeMap::from([("e2e_to_write".to_owned(), ratio)]);
        gate::check(&file, &found(0.75)).unwrap();
        gate::check(&file, &found(0.5)).unwrap_err();
    }
}
