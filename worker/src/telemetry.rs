//! Logs: one JSON object per line for machines, or readable lines for people. Installed once, by the commands.
//!
//! What must stay true: no level shows a record or a secret.

use anyhow::Context;
use ledgerline_schema::store::LOG_LIMITS;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::FormatTime;

use crate::clock;
use crate::config::{LogConfig, LogFormat};

/// UTC with microseconds, like every other time we write.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(w, "{}", clock::now())
    }
}

/// Starts logging to standard error, which leaves standard output to the commands' answers.
///
/// # Errors
/// `log.level` is not a filter, or logging was started before.
pub fn install(log: &LogConfig) -> anyhow::Result<()> {
    let mut filter = EnvFilter::builder().parse(&log.level).context("log.level: not a level or a filter")?;
    for directive in LOG_LIMITS {
        filter = filter.add_directive(directive.parse().context("log.level: a directive of our own")?);
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(Utc)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    let started = match log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
