//! The product's binary as a child process, with a configuration file of its own; killed when the test ends.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use ledgerline_schema::events::EventKind;

use super::eventually;
use super::kafka;

/// What the workers of one test share.
pub struct Setup {
    pub folder: tempfile::TempDir,
    pub brokers: String,
    pub group: String,
    pub database_url: String,
    pub topics: Vec<(&'static str, String)>,
    pub session_timeout_ms: u32,
    pub kafka_settings: String,
    pub database_settings: String,
    pub http_settings: String,
    pub extra: String,
}

impl Setup {
    pub fn new(database_url: &str, topics: &[(&'static str, &str)]) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            brokers: kafka::brokers(),
            group: super::unique("group"),
            database_url: database_url.to_owned(),
            topics: topics.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect(),
            session_timeout_ms: 6_000,
            kafka_settings: String::new(),
            database_settings: String::new(),
            http_settings: String::new(),
            extra: String::new(),
        }
    }

    /// Other brokers than those that all tests share.
    pub fn at(mut self, brokers: &str) -> Self {
        brokers.clone_into(&mut self.brokers);
        self
    }

    /// Further lines in the section `[kafka]`.
    pub fn with_kafka(mut self, settings: &str) -> Self {
        settings.clone_into(&mut self.kafka_settings);
        self
    }

    /// Further lines in the section `[database]`.
    pub fn with_database(mut self, settings: &str) -> Self {
        settings.clone_into(&mut self.database_settings);
        self
    }

    /// Further lines in the section `[http]`.
    pub fn with_http(mut self, settings: &str) -> Self {
        settings.clone_into(&mut self.http_settings);
        self
    }

    /// Further lines at the end of the configuration.
    pub fn with(mut self, extra: &str) -> Self {
        extra.clone_into(&mut self.extra);
        self
    }

    /// The configuration file of a worker; port 0 lets workers live side by side.
    pub fn file(&self) -> PathBuf {
        let path = self.folder.path().join("ledgerline.toml");
        if path.exists() {
            return path; // written once: a worker that starts now must not read half of it
        }
        let mut text = format!(
            "[kafka]\nbrokers = \"{}\"\ngroup = \"{}\"\nsecurity = \"plaintext\"\nsession_timeout_ms = {}\n{}\n\
             [database]\nurl = \"{}\"\n{}\n[http]\nlisten = \"127.0.0.1:0\"\n{}\n[log]\nlevel = \"info\"\n[shutdown]\ndrain_ms = 20000\n",
            self.brokers,
            self.group,
            self.session_timeout_ms,
            self.kafka_settings,
            self.database_url,
            self.database_settings,
            self.http_settings,
        );
        for kind in EventKind::ALL.iter().map(|kind| kind.name()) {
            match self.topics.iter().find(|(name, _)| *name == kind) {
                Some((_, topic)) => text += &format!("[topics.{kind}]\nname = \"{topic}\"\n"),
                None => text += &format!("[topics.{kind}]\nenabled = false\n"),
            }
        }
        std::fs::write(&path, text + &self.extra).expect("the configuration is written");
        path
    }

    /// Starts `ledgerline run`.
    pub fn start(&self) -> Worker {
        start(&self.file())
    }

    /// Runs another command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        command(&self.file()).args(args).output().expect("the command runs")
    }

    /// Runs a command that has to succeed; answers what it printed.
    pub fn must(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{args:?}: {}\n{stdout}\n{stderr}", output.status);
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// The binary with a clean environment.
pub fn command(config: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerline"));
    command.arg("--config").arg(config).stdin(Stdio::null());
    command
}

/// Starts `ledgerline run`; the log goes beside the configuration.
pub fn start(config: &std::path::Path) -> Worker {
    let mut command = command(config);
    command.arg("run");
    spawn(command, config)
}

/// Starts a worker that is called in a way of its own.
pub fn spawn(mut command: Command, config: &std::path::Path) -> Worker {
    let log = config.with_file_name(format!("{}.log", super::unique("worker")));
    let child = command
        .stderr(std::fs::File::create(&log).expect("a log file"))
        .stdout(Stdio::null())
        .spawn()
        .expect("the worker starts");
    Worker { child, log }
}

/// A running worker.
pub struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    /// Sends a signal by name: TERM, KILL, STOP, CONT.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success(), "kill -{name}");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, in KiB.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    }

    pub fn kill(&mut self) {
        self.signal("KILL");
        self.child.wait().expect("the worker is reaped");
    }

    /// Asks it to stop and waits for the end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        let ended = || std::future::ready(self.child.try_wait().expect("its status"));
        eventually("the worker to end", ended).await
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_none()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log")
    }

    /// The address of its HTTP server, from the log.
    pub async fn address(&self) -> String {
        self.logged_value("address").await
    }

    /// The address of its control listener, from the log.
    pub async fn control_address(&self) -> String {
        self.logged_value("control_address").await
    }

    async fn logged_value(&self, field: &str) -> String {
        let start = format!("\"{field}\":\"");
        eventually(field, || async {
            let log = self.log();
            let line = log.lines().find(|line| line.contains(&start))?;
            Some(line.split(&start).nth(1)?.split('"').next()?.to_owned())
        })
        .await
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the worker ---\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
