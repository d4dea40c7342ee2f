//! `ledgerline doctor`: asks everything that a worker will need, and says what to do about what it will not get. Only looks.
//! docs/OPERATIONS.md explains each line.

mod database;
mod kafka;
mod pool;

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::Ending;
use super::operator::{print, print_line};
use super::table::aligned;
use crate::config::{Config, Security};
use ledgerline_schema::store::Tls;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// As it should be.
    Ok,
    /// A worker runs with it, and somebody should know.
    Warn,
    /// A worker does not run with it, or not rightly.
    Fail,
    /// Not asked: it does not apply, or what it needs failed.
    Skipped,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Probe {
    name: &'static str,
    status: Status,
    found: String,
    /// What to do, where something is to be done.
    advice: Option<&'static str>,
}

impl Probe {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), advice: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: &'static str) -> Self {
        Self { name, status: Status::Warn, found: found.into(), advice: Some(advice) }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: &'static str) -> Self {
        Self { name, status: Status::Fail, found: found.into(), advice: Some(advice) }
    }

    fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, status: Status::Skipped, found: why.into(), advice: None }
    }
}

/// Runs the command. Code 1 where a probe failed.
///
/// # Errors
/// Nobody reads what it prints.
pub async fn doctor(config: &Config, file: Option<&Path>, args: DoctorArgs) -> anyhow::Result<Ending> {
    let mut probes = vec![configuration(config, file), encryption(config)];
    let (asked_kafka, asked_database) = tokio::join!(kafka::probes(config), database::probes(config, file));
    probes.extend(asked_kafka);
    probes.extend(asked_database);
    let failed = probes.iter().filter(|probe| probe.status == Status::Fail).count();
    if args.json {
        print_line(as_json(&probes, failed == 0))?;
    } else {
        print_table(&probes, failed)?;
    }
    Ok(if failed == 0 { Ending::Done } else { Ending::Failed })
}

/// What is wrong with it ends the program before any command, with code 2; here it is only said where it is from.
fn configuration(config: &Config, file: Option<&Path>) -> Probe {
    let from = file.map_or("the environment and defaults".to_owned(), |file| file.display().to_string());
    let topics = config.enabled_topics();
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    match names.as_slice() {
        [] => Probe::fail(
            "configuration",
            format!("from {from}: every kind is disabled"),
            "enable a kind: topics.<kind>.enabled",
        ),
        _ => Probe::ok(
            "configuration",
            format!("from {from}; group {}, topics {}", config.kafka.group, names.join(", ")),
        ),
    }
}

/// Plaintext is allowed where it was asked for; on the way to another machine it should not be.
fn encryption(config: &Config) -> Probe {
    let open = [
        (config.kafka.security == Security::Plaintext).then_some("Kafka by kafka.security"),
        (config.database.tls == Tls::Disable).then_some("the database by database.tls"),
    ];
    let open: Vec<&str> = open.into_iter().flatten().collect();
    if open.is_empty() {
        return Probe::ok("encryption", "TLS is on, unless the database's URL says sslmode=disable");
    }
    let found = format!("none to {}", open.join(" and "));
    Probe::warn(
        "encryption",
        found,
        "fine on one machine; else kafka.security = \"tls\", database.tls = \"verify\"",
    )
}

fn as_json(probes: &[Probe], ok: bool) -> serde_json::Value {
    let probe = |probe: &Probe| json!({"name": probe.name, "status": probe.status.name(), "found": probe.found, "advice": probe.advice});
    json!({"ok": ok, "probes": probes.iter().map(probe).collect::<Vec<_>>()})
}

fn print_table(probes: &[Probe], failed: usize) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for probe in probes {
        rows.push(vec![probe.status.name().to_owned(), probe.name.to_owned(), probe.found.clone()]);
        if let Some(advice) = probe.advice {
            rows.push(vec![String::new(), String::new(), format!("-> {advice}")]);
        }
    }
    print(aligned(&rows).as_bytes())?;
    let warned = probes.iter().filter(|probe| probe.status == Status::Warn).count();
    print_line(format_args!("{} probes, {failed} failed, {warned} to look at", probes.len()))
}
