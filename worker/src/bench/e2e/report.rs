//! The figures of `bench e2e`, for machines and for people.
//!
//! What must stay true: the drain that is shown is one that happened: the one of the median throughput, whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::drain::Drain;
use super::fill::Filled;
use super::latency::Latency;
use super::{Options, Scene};
use crate::bench::figures::{median, rounded};

/// Everything that was measured.
pub struct Report {
    pub settings: Settings,
    /// Quotes per second, written alone.
    pub writes: Vec<f64>,
    pub drains: Vec<Drain>,
    /// Microseconds to decode an event.
    pub decode_us: f64,
    pub latency: Latency,
}

/// What the figures depend on.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// What the names of its topics and groups start with.
    run: String,
    events: u64,
    quotes: u64,
    payload_mib: f64,
    partitions: usize,
    writers: u32,
    batch_rows: usize,
    batch_age_ms: u64,
    memory_mib: Option<u64>,
    rate: u64,
    seconds: u64,
    runs: u64,
    cores: Option<usize>,
    server: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Of this run.
    ///
    /// # Errors
    /// The server does not tell its own.
    pub async fn new(scene: &Scene<'_>, options: &Options, filled: &Filled) -> anyhow::Result<Self> {
        Ok(Self {
            run: scene.name.clone(),
            events: filled.events,
            quotes: filled.quotes,
            payload_mib: rounded(filled.bytes as f64 / f64::from(1 << 20), 1),
            partitions: scene.partitions,
            writers: scene.writers,
            batch_rows: scene.batch.rows,
            batch_age_ms: scene.batch.age_ms,
            memory_mib: scene.memory_mib,
            rate: options.rate,
            seconds: options.seconds,
            runs: options.runs,
            cores: std::thread::available_parallelism().ok().map(Into::into),
            server: scene.trial.server_settings().await?.into_iter().collect(),
        })
    }
}

#[derive(Serialize)]
struct Document<'a> {
    settings: &'a Settings,
    drain: DrainFigures,
    write_alone: WriteFigures,
    latency: LatencyFigures,
    ratios: BTreeMap<String, f64>,
}

#[derive(Serialize)]
struct DrainFigures {
    events_per_second: f64,
    quotes_per_second: f64,
    seconds: f64,
    /// Every drain, in the order in which they happened.
    quotes_per_second_of_runs: Vec<f64>,
    cpu_us_per_event: CpuFigures,
    peak_memory_mib: f64,
    memory_mib: f64,
}

/// Microseconds of a processor for one event.
#[derive(Serialize)]
struct CpuFigures {
    /// librdkafka: network, decompression, checksums.
    client: f64,
    /// The pipeline's thread: the next two.
    pipeline: f64,
    /// From bytes to rows, measured by itself.
    decode: f64,
    /// The rest of the thread: taking records over, deciding, handing batches on.
    protocol: f64,
    /// The worker's half of the database: ids, columns, the wire.
    database_client: f64,
    /// The server's half.
    database_server: Option<f64>,
}

#[derive(Serialize)]
struct WriteFigures {
    quotes_per_second: f64,
    quotes_per_second_of_runs: Vec<f64>,
}

#[derive(Serialize)]
struct LatencyFigures {
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    empty_commit_p50_ms: f64,
    empty_commit_p99_ms: f64,
    sent_late_ms: f64,
    peak_memory_mib: f64,
    memory_mib: f64,
}

impl Report {
    /// What is compared with recorded figures: only ratios, which hold on other machines too.
    pub fn ratios(&self) -> BTreeMap<String, f64> {
        let latency = self.latency();
        let floor = self.settings.batch_age_ms as f64 + latency.empty_commit_p99_ms;
        let to_write = middle(&self.quotes_per_second()) / middle(&self.writes);
        BTreeMap::from([
            ("e2e_to_write".to_owned(), rounded(to_write, 3)),
            ("latency_to_flush_and_commit".to_owned(), rounded(latency.p99_ms / floor, 3)),
        ])
    }

    /// One JSON document.
    ///
    /// # Errors
    /// A figure that is no number.
    pub fn json(&self) -> anyhow::Result<String> {
        serde_json::to_string_pretty(&self.document()).context("cannot write the figures")
    }

    /// A table.
    pub fn text(&self) -> String {
        let Document { settings, drain, write_alone, latency, ratios } = self.document();
        let cpu = &drain.cpu_us_per_event;
        let server = cpu.database_server.map_or("unknown".to_owned(), |us| format!("{us:.1}"));
        let lines = [
            (
                "backlog",
                format!(
                    "{} events, {} quotes, {} MiB",
                    settings.events, settings.quotes, settings.payload_mib
                ),
            ),
            (
                "drained",
                format!("{:.0} events/s, {:.0} quotes/s", drain.events_per_second, drain.quotes_per_second),
            ),
            ("written alone", format!("{:.0} quotes/s", write_alone.quotes_per_second)),
            (
                "CPU per event, µs",
                format!(
                    "client {:.1}, decode {:.1}, protocol {:.1}, database {:.1} here and {server} in the server",
                    cpu.client, cpu.decode, cpu.protocol, cpu.database_client
                ),
            ),
            ("memory", format!("{:.0} MiB at most", drain.peak_memory_mib)),
            (
                "latency, ms",
                format!(
                    "p50 {:.1}, p99 {:.1}, max {:.1} at {} events/s; an empty commit: p99 {:.1}",
                    latency.p50_ms,
                    latency.p99_ms,
                    latency.max_ms,
                    settings.rate,
                    latency.empty_commit_p99_ms
                ),
            ),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            let _ = writeln!(text, "{name:<20} {value}");
        }
        for (name, value) in ratios {
            let _ = writeln!(text, "{name:<28} {value:.2}");
        }
        text.trim_end().to_owned()
    }

    fn document(&self) -> Document<'_> {
        Document {
            settings: &self.settings,
            drain: self.drain(),
            write_alone: WriteFigures {
                quotes_per_second: middle(&self.writes).round(),
                quotes_per_second_of_runs: self.writes.iter().map(|rate| rate.round()).collect(),
            },
            latency: self.latency(),
            ratios: self.ratios(),
        }
    }

    fn quotes_per_second(&self) -> Vec<f64> {
        self.drains.iter().map(|drain| drain.quotes / drain.seconds).collect()
    }

    fn drain(&self) -> DrainFigures {
        let rates = self.quotes_per_second();
        let mut drains = self.drains.clone();
        drains.sort_by(|a, b| (a.quotes / a.seconds).total_cmp(&(b.quotes / b.seconds)));
        let drain = drains.get(drains.len() / 2).copied().unwrap_or_default();
        let events = drain.events as f64;
        let per_event = |us: u64| rounded(us as f64 / events, 2);
        let peaks = self.drains.iter().map(|drain| drain.memory.peak_mib);
        DrainFigures {
            events_per_second: (events / drain.seconds).round(),
            quotes_per_second: middle(&rates).round(),
            seconds: rounded(drain.seconds, 3),
            quotes_per_second_of_runs: rates.iter().map(|rate| rate.round()).collect(),
            cpu_us_per_event: CpuFigures {
                client: per_event(drain.worker.client_us),
                pipeline: per_event(drain.worker.pipeline_us),
                decode: rounded(self.decode_us, 2),
                protocol: rounded((per_event(drain.worker.pipeline_us) - self.decode_us).max(0.0), 2),
                database_client: per_event(drain.worker.database_us),
                database_server: drain.server_us.map(per_event),
            },
            peak_memory_mib: rounded(peaks.fold(0.0, f64::max), 1),
            memory_mib: rounded(drain.memory.now_mib, 1),
        }
    }

    fn latency(&self) -> LatencyFigures {
        let Latency { records, commits, behind, memory } = &self.latency;
        LatencyFigures {
            p50_ms: percentile_ms(records, 50),
            p99_ms: percentile_ms(records, 99),
            max_ms: percentile_ms(records, 100),
            empty_commit_p50_ms: percentile_ms(commits, 50),
            empty_commit_p99_ms: percentile_ms(commits, 99),
            sent_late_ms: ms(*behind),
            peak_memory_mib: rounded(memory.peak_mib, 1),
            memory_mib: rounded(memory.now_mib, 1),
        }
    }
}

fn middle(values: &[f64]) -> f64 {
    median(values).unwrap_or_default()
}

fn ms(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1_000.0, 2)
}

/// The smallest value that so many per cent are not above; of sorted values.
fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().map(ms).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile_ms(&sorted, percent)), [100.0, 198.0, 200.0]);
        assert_eq!(percentile_ms(&sorted[..1], 99), 1.0);
        assert_eq!(percentile_ms(&[], 99), 0.0);
    }
}
