//! PostgreSQL's own programs, `pg_dump` and `pg_restore`, as child processes. They get the connection in their environment, never
//! in arguments, and none of ours that would lead them elsewhere.
//!
//! What must stay true: of what such a program says only its own lines are passed on; details and contexts hold row values.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use indicatif::HumanBytes;
use ledgerline_schema::store::Libpq;
use tokio::process::Command;

use super::progress::Progress;

/// From this version on `pg_restore` sets `transaction_timeout`, and a server knows it. The same version of `pg_dump` began to write
/// an archive that no `pg_restore` before it reads.
const TRANSACTION_TIMEOUT: u32 = 17;
/// Most lines that are passed on.
const MOST_LINES: usize = 5;

/// A program that is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tool {
    name: &'static str,
    /// Its major version.
    pub(super) major: u32,
}

impl Tool {
    /// Looks for it; none where it is not installed.
    pub(super) async fn find(name: &'static str) -> anyhow::Result<Option<Self>> {
        let output = match Command::new(name).arg("--version").stdin(Stdio::null()).output().await {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot start {name}")),
        };
        let said = String::from_utf8_lossy(&output.stdout);
        match major(&said) {
            Some(major) if output.status.success() => Ok(Some(Self { name, major })),
            _ => bail!("{name} does not tell its version"),
        }
    }

    /// Whether it checks a server's certificate as the store does.
    pub(super) fn can_reach(self, libpq: &Libpq) -> bool {
        !libpq.needs_public_authorities || self.major >= 16
    }

    /// Why what it dumps of that server could not be restored there; nothing where it can.
    pub(super) fn dump_problem(self, server: u32) -> Option<String> {
        if self.major < server {
            return Some(format!("{} is of version {}, and the server of {server}", self.name, self.major));
        }
        self.restore_problem(server)
    }

    /// Why that server would refuse what it sends; nothing where it takes it.
    pub(super) fn restore_problem(self, server: u32) -> Option<String> {
        let unknown = self.major >= TRANSACTION_TIMEOUT && server < TRANSACTION_TIMEOUT;
        unknown.then(|| {
            format!(
                "{} is of version {}, and the server of {server}, which does not know the transaction_timeout that \
                 pg_restore sets from {TRANSACTION_TIMEOUT} on",
                self.name, self.major
            )
        })
    }

    /// Runs it to its end. `written` is a file that grows meanwhile, where there is one.
    pub(super) async fn run(
        self,
        libpq: &Libpq,
        args: &[String],
        written: Option<&Path>,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let mut command = Command::new(self.name);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        for name in libpq.inherited() {
            command.env_remove(name);
        }
        command.envs(libpq.variables().iter().map(|(name, value)| (name, value)));
        command.kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        let output = progress
            .during(child.wait_with_output(), || at_work(self.name, written))
            .await
            .with_context(|| format!("cannot wait for {}", self.name))?;
        if output.status.success() {
            return Ok(());
        }
        bail!("{} failed ({}): {}", self.name, output.status, own_lines(self.name, &output.stderr))
    }
}

/// For how long is told beside it.
fn at_work(name: &str, written: Option<&Path>) -> String {
    match written {
        Some(file) => {
            let bytes = file.metadata().map_or(0, |file| file.len());
            format!("{name} is at work, {} written", HumanBytes(bytes))
        }
        None => format!("{name} is at work"),
    }
}

/// The 15 of `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn major(said: &str) -> Option<u32> {
    let version = said.split("(PostgreSQL) ").nth(1)?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The lines in which a program speaks of itself; not those in which it repeats the server's details.
fn own_lines(name: &str, said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let of_itself = |line: &&str| {
        let rest = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": "));
        rest.is_some_and(|rest| !rest.starts_with("detail:"))
    };
    let lines: Vec<&str> = said.lines().filter(of_itself).take(MOST_LINES).collect();
    if lines.is_empty() { "it did not say why".to_owned() } else { lines.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_it_prints() {
        assert_eq!(major("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("pg_restore (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("pg_dump: error: no cluster\n"), None);
    }

    #[test]
    fn a_dump_is_made_only_where_it_can_be_restored() {
        let fits = |major: u32, server: u32| {
            let tool = Tool { name: "pg_dump", major };
            (tool.dump_problem(server).is_none(), tool.restore_problem(server).is_none())
        };
        for (major, server) in [(15, 15), (16, 15), (16, 16), (17, 17), (18, 17), (18, 18), (99, 17)] {
            assert_eq!(fits(major, server), (true, true), "{major} on {server}");
        }
        for (major, server) in [(17, 15), (17, 16), (18, 16)] {
            assert_eq!(fits(major, server), (false, false), "{major} on {server}");
        }
        for (major, server) in [(15, 16), (16, 17), (17, 18)] {
            assert_eq!(
                fits(major, server),
                (false, true),
                "{major} on {server}: older, it sends what is known"
            );
        }
    }

    #[test]
    fn only_a_file_that_grows_is_told() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, "1234").expect("written");
        assert_eq!(at_work("pg_dump", Some(file.path())), "pg_dump is at work, 4 B written");
        assert_eq!(at_work("pg_restore", None), "pg_restore is at work");
    }

    #[test]
    fn row_values_are_not_passed_on() {
        let said = b"pg_restore: error: COPY failed for table \"odds\": ERROR:  duplicate key\n\
                     DETAIL:  Key (selection_id)=(secret) already exists.\nCONTEXT:  COPY odds, line 1: \"secret\"\n\
                     pg_restore: detail: secret\npg_restore: warning: errors ignored on restore: 1\n";
        let told = own_lines("pg_restore", said);
        assert!(
            told.contains("duplicate key") && told.contains("warning") && !told.contains("secret"),
            "{told}"
        );
        assert_eq!(own_lines("pg_restore", b"DETAIL: x"), "it did not say why");
    }
}
