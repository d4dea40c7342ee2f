//! The worker that is measured: this very program's `run` as a child process, so that memory and CPU are its own. Used by
//! `e2e`.
//!
//! What must stay true: the child has the configuration of its parent but for the place, the group and the one topic; it ends
//! when the handle is dropped.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use ledgerline_schema::events::EventKind;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::Scene;
use super::cpu::{self, ThreadTimes};

/// Lines of its log that an error shows.
const LOG_LINES: usize = 20;

/// A running worker.
pub struct Worker {
    child: Child,
    pid: u32,
    folder: TempDir,
}

/// Memory of a process, in MiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// The most that it had.
    pub peak_mib: f64,
    /// What it has.
    pub now_mib: f64,
}

impl Worker {
    /// Starts `ledgerline run` on one topic, as that group.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(scene: &Scene<'_>, group: &str, topic: &str) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("ledgerline-bench-").context("cannot create a temporary folder")?;
        let log = std::fs::File::create(folder.path().join("log")).context("cannot create a log file")?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        if let Some(file) = &scene.file {
            command.arg("--config").arg(file);
        }
        command.arg("run").envs(settings(scene, group, topic));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let child = command.spawn().context("cannot start a worker")?;
        let pid = child.id().context("the worker has ended")?;
        Ok(Self { child, pid, folder })
    }

    /// Demands that it still runs.
    ///
    /// # Errors
    /// It has ended, with the end of its log.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().context("cannot look at the worker")? {
            None => Ok(()),
            Some(status) => bail!("the worker ended, {status}; the end of its log:\n{}", self.log()),
        }
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// What its threads have used so far.
    pub fn cpu(&self) -> ThreadTimes {
        cpu::of_threads(self.pid)
    }

    /// Its memory.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let text = std::fs::read_to_string(Path::new("/proc").join(self.pid.to_string()).join("status"))
            .context("cannot read the worker's memory from /proc")?;
        let mib = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            kib.map(|kib| kib / 1_024.0).with_context(|| format!("/proc tells no {name}"))
        };
        Ok(Memory { peak_mib: mib("VmHWM:")?, now_mib: mib("VmRSS:")? })
    }

    /// Ends it at once, as a crash would: nothing that it leaves is needed.
    ///
    /// # Errors
    /// The system refused.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot end the worker")
    }
}

/// What differs from the parent's configuration, as variables, which come over the file.
fn settings(scene: &Scene<'_>, group: &str, topic: &str) -> Vec<(String, String)> {
    let text = str::to_owned;
    let mut settings = vec![
        ("KAFKA__BROKERS", scene.config.kafka.brokers.clone()),
        ("KAFKA__GROUP", text(group)),
        ("KAFKA__START", text("earliest")),
        ("DATABASE__URL", scene.config.database.url.expose_secret().to_owned()),
        ("DATABASE__POOL__SIZE", scene.config.database.pool.size.to_string()),
        ("TOPICS__ODDS__NAME", text(topic)),
        ("TOPICS__ODDS__WRITERS", scene.writers.to_string()),
        ("HTTP__LISTEN", text("127.0.0.1:0")),
        ("LOG__LEVEL", text("warn")),
    ];
    if let Some(mib) = scene.memory_mib {
        settings.push(("MEMORY__BUDGET_MIB", mib.to_string()));
    }
    let enabled = EventKind::ALL.iter().map(|kind| {
        let name = kind.name().replace('-', "_").to_uppercase();
        (format!("TOPICS__{name}__ENABLED"), (*kind == EventKind::Odds).to_string())
    });
    let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(enabled);
    settings.map(|(name, value)| (format!("LEDGERLINE_{name}"), value)).collect()
}
