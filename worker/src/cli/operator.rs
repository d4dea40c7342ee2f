//! What the commands share: who acts, how times and ages are written, a database that has the schema, and how they
//! print.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use ledgerline_schema::store::{SCHEMA_VERSION, SchemaState, Store};
use ledgerline_schema::time::UtcMicros;
use thiserror::Error;

use crate::config::{Config, os_user};
use crate::http::KnownTopic;

/// The database, if its schema is the one that these commands know.
pub(super) async fn connect(config: &Config) -> anyhow::Result<Store> {
    let store = Store::connect(&config.database).await?;
    match store.schema_state().await? {
        SchemaState::Ready => Ok(store),
        SchemaState::Older { found } => {
            bail!(
                "the schema is of version {found}, and {SCHEMA_VERSION} is needed: run `ledgerline migrate up`"
            )
        }
        SchemaState::Newer { found } => {
            bail!("the schema is of version {found} and no longer fits this program; a newer one is needed")
        }
    }
}

/// Refuses a database file that is not there. An empty one in its place would answer every question, and wrongly; most often the
/// configuration was forgotten.
pub(super) fn database_is_there(config: &Config, file: Option<&Path>) -> anyhow::Result<()> {
    let missing = config.database.missing_file();
    let forgotten = file.is_none() && missing == Config::default().database.missing_file();
    let hint = if forgotten {
        " (the default; no configuration was named: --config or LEDGERLINE_CONFIG)"
    } else {
        ""
    };
    ensure!(missing.is_none(), "{} does not exist{hint}", missing.unwrap_or_default());
    Ok(())
}

/// What a command may end with that is no failure of its work. `mod.rs` gives each its exit code.
#[derive(Debug, Error)]
pub(super) enum Ended {
    /// Nobody reads what it prints any more (`dlq ls | head`).
    #[error("nobody reads on")]
    Unread,
    /// What it was given cannot be used.
    #[error("{0}")]
    BadArguments(String),
}

/// Writes to standard output. `println!` would panic where the reader has seen enough.
pub(crate) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Ended::Unread.into()),
        written => written.context("cannot write to standard output"),
    }
}

/// A line on standard output.
pub(crate) fn print_line(line: impl Display) -> anyhow::Result<()> {
    print(format!("{line}\n").as_bytes())
}

/// A line on standard error. That nobody reads it must not stop what is under way.
pub(crate) fn tell(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// An error with its causes, each said once: many a library repeats the cause in the text above it.
pub(super) fn in_words(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

/// The topic of that name, consumed or not.
pub(super) fn known_topic(config: &Config, name: &str) -> anyhow::Result<KnownTopic> {
    let known = KnownTopic::all(config);
    let found = known.iter().find(|topic| topic.name == name).cloned();
    Ok(found.ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|topic| topic.name.as_str()).collect();
        let text = format!("no topic {name} in the configuration, which has {}", names.join(", "));
        Ended::BadArguments(text)
    })?)
}

/// The name that goes into the trail.
pub(super) fn actor(given: Option<String>) -> String {
    given.unwrap_or_else(os_user)
}

/// A time on the command line.
pub(super) fn time(text: &str) -> Result<UtcMicros, String> {
    UtcMicros::parse(text)
}

/// A text that has to say something.
pub(super) fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("must say why".into()),
        reason => Ok(reason.to_owned()),
    }
}

/// An age on the command line, `90s`, `15m`, `12h` or `30d`, in microseconds.
pub(super) fn age(text: &str) -> Result<i64, String> {
    let wrong = || "not an age such as 90s, 15m, 12h or 30d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    i64::from(count).checked_mul(seconds * UtcMicros::SECOND).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("database: {0}")]
        struct Refused(#[source] std::io::Error);
        let denied = || Refused(std::io::Error::other("permission denied for table odds"));
        let error = anyhow::Error::from(denied()).context("cannot count");
        assert_eq!(in_words(&error), "cannot count: database: permission denied for table odds");
        assert_eq!(in_words(&anyhow::anyhow!("alone")), "alone");
    }

    #[test]
    fn ages_have_a_unit() {
        assert_eq!(age("90s"), Ok(90 * UtcMicros::SECOND));
        assert_eq!(age("30d"), Ok(30 * 24 * UtcMicros::HOUR));
        for wrong in ["", "d", "30", "-1d", "1.5h", "3ä"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
