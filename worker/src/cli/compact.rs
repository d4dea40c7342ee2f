//! `ledgerline compact` and `ledgerline retention`: the database is made smaller, chunk by chunk, beside running workers. What
//! may be removed is decided in the store; `docs/OPERATIONS.md` says when to use which.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use indicatif::ProgressBar;
use ledgerline_schema::store::Removal;
use ledgerline_schema::time::UtcMicros;
use serde_json::json;

use super::operator::{age, connect, print_line, tell};
use super::signals::StopSignals;
use crate::clock;
use crate::config::Config;
use crate::maintenance::{Step, Walk};

/// Arguments of `compact`.
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// Only quotes that were observed longer ago than this, at least an hour: 90m, 12h, 30d. An event that comes later than that
    /// may find its neighbours gone.
    #[arg(long, value_name = "AGE", value_parser = at_least_an_hour, default_value = "24h")]
    older_than: i64,
    #[command(flatten)]
    how: HowArgs,
}

/// Arguments of `retention`.
#[derive(Debug, Args)]
pub struct RetentionArgs {
    /// Quotes that were observed longer ago than this, at least a day: 36h, 90d.
    #[arg(long, value_name = "AGE", value_parser = at_least_a_day)]
    older_than: i64,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
struct HowArgs {
    /// Only count, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

/// As the configuration demands it: what is still coming in finds its neighbours.
fn at_least_an_hour(text: &str) -> Result<i64, String> {
    age(text).and_then(|age| if age < UtcMicros::HOUR { Err("at least 1h".into()) } else { Ok(age) })
}

/// A slip of the unit must not empty the table.
fn at_least_a_day(text: &str) -> Result<i64, String> {
    age(text).and_then(|age| if age < 24 * UtcMicros::HOUR { Err("at least 1d".into()) } else { Ok(age) })
}

/// Runs `compact`.
///
/// # Errors
/// The database did not answer, the role may not, or somebody else is at it. What was removed until then is, and accounted for.
pub async fn compact(config: &Config, args: CompactArgs) -> anyhow::Result<()> {
    sweep(config, Removal::Compacted, args.older_than, args.how).await
}

/// Runs `retention`.
///
/// # Errors
/// As [`compact`].
pub async fn retention(config: &Config, args: RetentionArgs) -> anyhow::Result<()> {
    sweep(config, Removal::Expired, args.older_than, args.how).await
}

async fn sweep(config: &Config, removal: Removal, older_than: i64, how: HowArgs) -> anyhow::Result<()> {
    let horizon = clock::now().plus(-older_than);
    let mut walk = Walk::new(connect(config).await?, removal, horizon, how.dry_run);
    let start = Instant::now();
    let ended = walk_on(&mut walk).await;
    // What was removed before it stopped is removed: it is told in any case.
    let seconds = start.elapsed().as_secs_f64();
    let told = summary(&walk, (removal, horizon), &how, (matches!(ended, Ok(Step::Done)), seconds));
    match ended? {
        Step::Done => told,
        Step::More => bail!("interrupted; what was done is done, and the next one takes the rest"),
        Step::Interrupted => {
            bail!("another compaction or retention came between and holds on; what was done is done")
        }
        Step::Busy => bail!("another compaction or retention is at work on this database"),
    }
}

/// How often it says how far it is where there is no terminal to draw on.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Goes on to the end, or to the end of the chunk in which somebody asked it to end.
async fn walk_on(walk: &mut Walk) -> anyhow::Result<Step> {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, mut signals) = (Arc::clone(&stop), StopSignals::new()?);
    let listener = tokio::spawn(async move {
        signals.received().await;
        stopped.store(true, Relaxed);
    });
    let on_terminal = std::io::stderr().is_terminal();
    let bar = if on_terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let mut told = Instant::now();
    let ended = loop {
        let step = walk.step().await;
        if !matches!(step, Ok(Step::More)) || stop.load(Relaxed) {
            break step;
        }
        bar.set_message(format!("{} quotes looked at, {} removed", walk.scanned, walk.removed));
        bar.tick();
        if !on_terminal && told.elapsed() >= TOLD_EVERY {
            tell(format_args!("{} quotes looked at, {} removed", walk.scanned, walk.removed));
            told = Instant::now();
        }
    };
    bar.finish_and_clear();
    listener.abort();
    Ok(ended?)
}

fn summary(
    walk: &Walk,
    (removal, horizon): (Removal, UtcMicros),
    how: &HowArgs,
    (finished, seconds): (bool, f64),
) -> anyhow::Result<()> {
    let Walk { scanned, removed, selections, .. } = walk;
    let kept = scanned - removed;
    if how.json {
        return print_line(json!({
            "reason": removal.name(), "older_than": horizon.to_string(), "scanned": scanned, "removed": removed,
            "kept": kept, "selections": selections, "seconds": seconds, "dry_run": how.dry_run, "finished": finished,
        }));
    }
    let what = match (removal, how.dry_run) {
        (Removal::Compacted, false) => "compacted away",
        (Removal::Compacted, true) => "would be compacted away",
        (Removal::Expired, false) => "deleted",
        (Removal::Expired, true) => "would be deleted",
    };
    print_line(format_args!(
        "{removed} of {scanned} quotes of {selections} selections older than {horizon} {what}, {kept} kept, in {seconds:.1} s"
    ))
}
