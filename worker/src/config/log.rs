//! `[log]`: the form of the log, and what is logged.

use anyhow::{Context, ensure};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `json` for machines, `text` for people.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,ledgerline_worker=debug`.
    pub level: String,
    /// How often the throughput line is written, in ms.
    pub throughput_every_ms: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".into(), throughput_every_ms: 5_000 }
    }
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Readable lines.
    Text,
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl LogConfig {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.throughput_every_ms >= 100, "log.throughput_every_ms: must be at least 100");
        // A filter takes any other word for the name of a part of a program, and then not a line is logged.
        let mut wrong = self.level.split(',').filter(|directive| !has_a_level(directive));
        if let Some(directive) = wrong.next() {
            anyhow::bail!(
                "log.level: {directive:?} is no level; there are off, error, warn, info, debug and trace, or a filter such as \
                 info,ledgerline_worker=debug"
            );
        }
        EnvFilter::builder().parse(&self.level).context("log.level: not a level or a filter")?;
        Ok(())
    }
}

/// A level, or a part of a program with its own: `ledgerline_worker=debug`. What ends with a bracket asks for a span, at any level.
fn has_a_level(directive: &str) -> bool {
    let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
    let is_a_level = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
    is_a_level || (directive.contains('=') && directive.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(level: &str) -> anyhow::Result<()> {
        LogConfig { level: level.into(), ..LogConfig::default() }.check()
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_wherever_it_stands() {
        for good in ["off", "WARN", "info,ledgerline_worker=debug", "warn,ledgerline_worker::progress=Error"]
        {
            assert!(checked(good).is_ok(), "{good}");
        }
        for wrong in
            ["warning", "loud", "", "info,", "ledgerline_worker", "info,ledgerline_worker", "info, debug"]
        {
            let error = checked(wrong).expect_err(wrong).to_string();
            assert!(error.starts_with("log.level: ") && error.contains("is no level"), "{wrong}: {error}");
        }
        for wrong in ["ledgerline_worker=loud", "info,ledgerline_worker=", "=warning"] {
            assert!(checked(wrong).is_err(), "{wrong}");
        }
    }
}
