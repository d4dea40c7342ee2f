//! What is told of a seed, and of all seeds: one table in Markdown, printed and written beside the build's output.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::faults::{Fault, names};

/// The figures of one seed.
#[derive(Default)]
pub struct Outcome {
    pub seed: u64,
    pub faults: BTreeMap<Fault, u32>,
    pub events: usize,
    pub quotes: usize,
    pub dead_letters: usize,
    pub resets: usize,
    pub snapshots: usize,
    pub stalls: Vec<Duration>,
    /// From the end of the last fault to no lag.
    pub recovery: Option<Duration>,
    pub peak_mib: u64,
    pub connections: i64,
    pub idle_in_transaction: f64,
    pub violations: Vec<String>,
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64())
}

fn listed(durations: &[Duration]) -> String {
    durations.iter().map(|one| seconds(*one)).collect::<Vec<_>>().join(" / ")
}

impl Outcome {
    /// The verdict of one seed.
    pub fn text(&self) -> String {
        let faults: u32 = self.faults.values().sum();
        let recovery = self.recovery.map_or("never".to_owned(), |time| format!("{} s", seconds(time)));
        let mut text = format!(
            "seed {}: {faults} faults, {} events, {} quotes, {} dead letters, {} snapshots; no lag after {recovery}; \
             longest stall per partition {} s; {} MiB, {} connections, {:.1} s idle in transaction at most: {}",
            self.seed,
            self.events,
            self.quotes,
            self.dead_letters,
            self.snapshots,
            listed(&self.stalls),
            self.peak_mib,
            self.connections,
            self.idle_in_transaction,
            if self.violations.is_empty() { "clean" } else { "VIOLATED" },
        );
        for violation in &self.violations {
            let _ = write!(text, "\n  {violation}");
        }
        text
    }
}

/// All seeds in one table.
pub fn table(outcomes: &[Outcome], seconds_each: u64) -> String {
    let all = |figure: fn(&Outcome) -> usize| outcomes.iter().map(figure).sum::<usize>();
    let mut recoveries: Vec<Duration> = outcomes.iter().filter_map(|one| one.recovery).collect();
    recoveries.sort();
    let median = recoveries.get(recoveries.len() / 2).map_or("-".to_owned(), |time| seconds(*time));
    let longest = recoveries.last().map_or("-".to_owned(), |time| seconds(*time));
    let partitions = outcomes.iter().map(|one| one.stalls.len()).max().unwrap_or(0);
    let stall = |index: usize| {
        outcomes.iter().filter_map(|one| one.stalls.get(index)).max().copied().unwrap_or_default()
    };
    let stalls: Vec<Duration> = (0..partitions).map(stall).collect();
    let seeds: Vec<String> = outcomes.iter().map(|one| one.seed.to_string()).collect();
    let mut text = String::from("| chaos | |\n|---|---|\n");
    let mut line = |name: &str, value: String| text += &format!("| {name} | {value} |\n");
    line("seeds", format!("{} ({}), {seconds_each} s of faults each", outcomes.len(), seeds.join(", ")));
    for (fault, name) in names() {
        let count: u32 = outcomes.iter().filter_map(|one| one.faults.get(&fault)).sum();
        line(name, count.to_string());
    }
    line("events", all(|one| one.events).to_string());
    line("quotes stored", all(|one| one.quotes).to_string());
    line("dead letters", all(|one| one.dead_letters).to_string());
    line("operator resets", all(|one| one.resets).to_string());
    line("snapshots checked", all(|one| one.snapshots).to_string());
    line("longest stall per partition, s", listed(&stalls));
    line("no lag after the last fault, median / longest, s", format!("{median} / {longest}"));
    line("largest worker, MiB", outcomes.iter().map(|one| one.peak_mib).max().unwrap_or(0).to_string());
    line("most connections", outcomes.iter().map(|one| one.connections).max().unwrap_or(0).to_string());
    let idle = outcomes.iter().map(|one| one.idle_in_transaction).fold(0.0, f64::max);
    line("longest idle in transaction, s", format!("{idle:.1}"));
    line("violations", all(|one| one.violations.len()).to_string());
    text
}

/// Writes the table where the build writes.
pub fn write(table: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the build's folder");
    let path = target.join("chaos-report.md");
    std::fs::write(&path, table).expect("the report is written");
    path
}
