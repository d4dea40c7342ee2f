//! The gate: ratios of this run beside recorded ones, in `docs/benchmarks.json`. Used by the benchmarks' `--gate`.
//!
//! What must stay true: a ratio that is recorded and was not measured here says nothing; one that was and is worse by more than
//! the tolerance is an error with both numbers.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// How much worse is still noise, where the file does not say.
pub const TOLERANCE: f64 = 0.15;
/// Of these less is better; of all others more is.
const LESS_IS_BETTER: [&str; 2] = ["latency_to_flush_and_commit", "wal_bytes_per_row_last_to_first"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    #[serde(default = "default_tolerance")]
    tolerance: f64,
    ratios: BTreeMap<String, f64>,
}

fn default_tolerance() -> f64 {
    TOLERANCE
}

/// The ratios of what a benchmark printed; one that is not known is none.
#[must_use]
pub fn ratios(document: &Value) -> BTreeMap<String, f64> {
    let ratios = document.get("ratios").and_then(Value::as_object);
    let known = |(name, value): (&String, &Value)| Some((name.clone(), value.as_f64()?));
    ratios.into_iter().flatten().filter_map(known).collect()
}

/// Compares what was found with what the file records.
///
/// # Errors
/// A ratio is worse, or the file cannot be used.
pub fn check(file: &Path, found: &BTreeMap<String, f64>) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let recorded: Recorded =
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", file.display()))?;
    let range = 0.0..1.0;
    ensure!(range.contains(&recorded.tolerance), "{}: tolerance must be 0 to 1", file.display());
    let worse = worse(&recorded, found);
    if worse.is_empty() {
        return Ok(());
    }
    bail!("slower than recorded in {}:\n{}", file.display(), worse.join("\n"))
}

fn worse(recorded: &Recorded, found: &BTreeMap<String, f64>) -> Vec<String> {
    let mut worse = Vec::new();
    for (name, recorded_at) in &recorded.ratios {
        let Some(now) = found.get(name) else { continue };
        let less_is_better = LESS_IS_BETTER.contains(&name.as_str());
        let (limit, holds) = if less_is_better {
            let limit = recorded_at * (1.0 + recorded.tolerance);
            (limit, *now <= limit)
        } else {
            let limit = recorded_at * (1.0 - recorded.tolerance);
            (limit, *now >= limit)
        };
        if !holds {
            let side = if less_is_better { "most" } else { "least" };
            worse.push(format!("  {name}: recorded {recorded_at:.3}, found {now:.3}, at {side} {limit:.3}"));
        }
    }
    worse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(recorded: &str, found: &[(&str, f64)]) -> Result<(), String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), recorded).unwrap();
        let found = found.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        check(file.path(), &found).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn what_is_worse_than_the_tolerance_is_an_error_with_both_numbers() {
        let recorded = r#"{"tolerance": 0.1, "ratios": {"e2e_to_write": 0.8, "other": 1}}"#;
        checked(recorded, &[("e2e_to_write", 0.721)]).unwrap();
        checked(recorded, &[("e2e_to_write", 2.0), ("unknown", 0.0)]).unwrap();
        let error = checked(recorded, &[("e2e_to_write", 0.719)]).unwrap_err();
        assert!(error.contains("e2e_to_write: recorded 0.800, found 0.719, at least 0.720"), "{error}");
    }

    #[test]
    fn of_a_latency_more_is_worse() {
        let recorded = r#"{"ratios": {"latency_to_flush_and_commit": 1.0}}"#;
        checked(recorded, &[("latency_to_flush_and_commit", 1.14)]).unwrap();
        checked(recorded, &[("latency_to_flush_and_commit", 0.2)]).unwrap();
        let error = checked(recorded, &[("latency_to_flush_and_commit", 1.16)]).unwrap_err();
        assert!(error.contains("at most 1.150"), "{error}");
    }

    #[test]
    fn a_ratio_that_is_no_number_is_worse() {
        let recorded = r#"{"ratios": {"e2e_to_write": 0.8}}"#;
        assert!(checked(recorded, &[("e2e_to_write", f64::NAN)]).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_error() {
        assert!(check(Path::new("nowhere.json"), &BTreeMap::new()).is_err());
        assert!(checked(r#"{"ratio": {}}"#, &[]).is_err());
        assert!(checked(r#"{"tolerance": 7, "ratios": {}}"#, &[]).is_err());
    }
}
