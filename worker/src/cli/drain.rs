//! `ledgerline drain`: moves what waits in a spool into the database, without Kafka: for a spool whose worker does not run any more. A
//! running worker does it by itself and lets nobody else at its file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use ledgerline_schema::store::Held;
use serde_json::{Value, json};

use super::Ending;
use super::attended;
use super::operator::{connect, print, print_line, tell};
use super::signals::StopSignals;
use super::table::{aligned, row};
use crate::config::{Config, OnOutage};
use crate::drain::{self, Standing, Stored};
use crate::stand_in::StandIn;

/// Arguments of `drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Only show what waits, and how it stands to the database.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The spool is not there, or it or the database cannot be had, or the database stays away meanwhile. What was moved until then is.
pub async fn drain(config: &Config, args: DrainArgs) -> anyhow::Result<Ending> {
    let file = &config.store.spool_file;
    let place = std::path::absolute(file).unwrap_or_else(|_| file.clone());
    ensure!(file.exists(), "there is no spool {}: store.spool_file says where it is", place.display());
    let store = connect(config).await?;
    let mut config = config.clone();
    config.store.on_outage = OnOutage::Spool; // it was, when the file was filled
    let stand_in = StandIn::open(&config).await?.context("the spool is not open")?;
    if args.dry_run {
        show(&drain::look(&stand_in, &store, Stored::Kept).await?, args.json)?;
        return Ok(Ending::Done);
    }
    attended::log(&config)?;
    let found = drain::look(&stand_in, &store, Stored::Dropped).await?;
    let mut stop = StopSignals::new()?;
    let told = Arc::new(AtomicBool::new(false));
    let until_told = async {
        stop.received().await;
        told.store(true, Relaxed);
        std::future::pending().await
    };
    let not_moved = tokio::select! {
        not_moved = drain::drain(&config, &stand_in, &store, &found, &told) => not_moved?,
        () = until_told => Vec::new(),
        () = tell_progress(&stand_in, args.json) => Vec::new(),
        () = stand_in.outage.watch(|| {}) => Vec::new(),
    };
    not_moved.iter().for_each(|problem| tell(format_args!("not moved: {problem}")));
    let mut left = drain::look(&stand_in, &store, Stored::Dropped).await?;
    left.retain(|(_, standing)| *standing != Standing::Stored);
    show(&left, args.json)?;
    Ok(if not_moved.is_empty() && left.is_empty() { Ending::Done } else { Ending::Failed })
}

/// Says from time to time how much waits. For ever.
async fn tell_progress(stand_in: &StandIn, quiet: bool) {
    let mut ticks = tokio::time::interval(Duration::from_secs(2));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if let Ok(held) = stand_in.spool.held().await
            && !quiet
        {
            let (segments, records) =
                held.iter().fold((0, 0), |(s, r), held| (s + held.segments, r + held.records));
            tell(format_args!("{records} records in {segments} segments wait"));
        }
    }
}

fn show(found: &[(Held, Standing)], json: bool) -> anyhow::Result<()> {
    if json {
        return print_line(Value::Array(found.iter().map(as_json).collect()));
    }
    if found.is_empty() {
        return print_line("Nothing waits: the database has everything.");
    }
    let mut rows = vec![row(["TOPIC", "PARTITION", "OFFSETS", "SEGMENTS", "RECORDS", "STANDING"])];
    rows.extend(found.iter().map(|(held, standing)| {
        row([
            &held.lineage.topic,
            &held.lineage.partition.to_string(),
            &format!("{} to {}", held.from, held.to),
            &held.segments.to_string(),
            &held.records.to_string(),
            &standing.to_string(),
        ])
    }));
    print(aligned(&rows).as_bytes())
}

fn as_json((held, standing): &(Held, Standing)) -> Value {
    json!({
        "group": held.group,
        "topic": held.lineage.topic,
        "partition": held.lineage.partition,
        "from": held.from,
        "to": held.to,
        "segments": held.segments,
        "records": held.records,
        "standing": standing.name(),
    })
}
