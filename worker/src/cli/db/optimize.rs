//! `ledgerline db optimize`: the database looked after, beside running workers. What may be done, and how without standing in
//! anybody's way, is in the store.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use clap::Args;
use indicatif::HumanBytes;
use ledgerline_schema::store::{Bloated, Upkeep, UpkeepStep, UpkeepWatch};
use serde_json::{Value, json};

use super::super::Ending;
use super::super::operator::{connect, print_line, tell};
use super::progress::Progress;
use crate::clock::ticks;
use crate::config::Config;
use crate::sync::lock;

/// How often the server is asked how far it has come.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `db optimize`.
#[derive(Debug, Args)]
pub struct OptimizeArgs {
    /// Only say what would be done. What is bloated is judged again after the tables were vacuumed.
    #[arg(long)]
    dry_run: bool,
    /// Of SQLite: also write the file anew without its free pages. Workers wait meanwhile.
    #[arg(long)]
    vacuum: bool,
    /// Rebuild indexes of which at least this share would not be needed, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=99))]
    bloated_percent: u8,
    /// And at least so many MiB.
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    bloated_mib: u32,
    /// Print one JSON object per step.
    #[arg(long)]
    json: bool,
}

/// Runs the command. A step that could not be done stops no other; the ending tells.
///
/// # Errors
/// The database did not answer, the role may not, or somebody else is at it. Nothing was changed.
pub async fn optimize(config: &Config, args: OptimizeArgs) -> anyhow::Result<Ending> {
    connect(config).await?; // a schema of another program is not looked after
    let mut upkeep = Upkeep::open(&config.database).await?;
    let ended = look_after(&mut upkeep, config, &args).await;
    upkeep.end().await;
    ended
}

async fn look_after(upkeep: &mut Upkeep, config: &Config, args: &OptimizeArgs) -> anyhow::Result<Ending> {
    upkeep.check_rights().await?;
    let bloated =
        Bloated { from_percent: args.bloated_percent, from_bytes: i64::from(args.bloated_mib) << 20 };
    let first = upkeep.first_steps(args.vacuum).await?;
    if args.dry_run {
        let rebuilds = upkeep.rebuilds(bloated).await?;
        for step in first.iter().chain(&rebuilds) {
            planned(step, args.json)?;
        }
        return Ok(Ending::Done);
    }
    let mut watch = upkeep.watch(&config.database).await;
    let mut failed = all(upkeep, watch.as_mut(), &first, args.json).await?;
    let rebuilds = upkeep.rebuilds(bloated).await?;
    failed += all(upkeep, watch.as_mut(), &rebuilds, args.json).await?;
    if failed > 0 {
        tell(format_args!(
            "{failed} steps could not be done; what was there is there, and the next run tries again"
        ));
        return Ok(Ending::Failed);
    }
    Ok(Ending::Done)
}

/// Does them one after the other; answers how many could not be done.
async fn all(
    upkeep: &mut Upkeep,
    mut watch: Option<&mut UpkeepWatch>,
    steps: &[UpkeepStep],
    as_json: bool,
) -> anyhow::Result<usize> {
    let mut failed = 0;
    for (number, step) in steps.iter().enumerate() {
        let mut progress = Progress::new();
        let told = || format!("{} of {}: {}", number + 1, steps.len(), Said(step));
        let seen = Mutex::new(String::new());
        let work = async {
            tokio::select! {
                done = upkeep.run(step) => done,
                never = follow(watch.as_deref_mut(), &seen) => match never {},
            }
        };
        let done = progress.watched(work, told, || lock(&seen).clone()).await;
        drop(progress);
        let (seconds, problem) = match &done {
            Ok(took) => (Some(took.as_secs_f64()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        failed += usize::from(problem.is_some());
        if as_json {
            let mut object = as_object(step);
            object["done"] = json!(problem.is_none());
            object["seconds"] = json!(seconds);
            object["error"] = json!(problem);
            print_line(object)?;
            continue;
        }
        match (seconds, problem) {
            (Some(seconds), _) => print_line(format_args!("{}: {seconds:.1} s", Said(step)))?,
            (None, problem) => {
                print_line(format_args!("{}: not done: {}", Said(step), problem.unwrap_or_default()))?
            }
        }
    }
    Ok(failed)
}

/// Keeps what is seen of the step under way; it stays empty where nothing can be seen.
async fn follow(watch: Option<&mut UpkeepWatch>, seen: &Mutex<String>) -> Infallible {
    let Some(watch) = watch else { return pending().await };
    let mut ticks = ticks(LOOKS_EVERY);
    loop {
        ticks.tick().await;
        let phase = watch.look().await;
        *lock(seen) = phase.map_or_else(String::new, |phase| format!(", {phase}"));
    }
}

fn planned(step: &UpkeepStep, as_json: bool) -> anyhow::Result<()> {
    if as_json { print_line(as_object(step)) } else { print_line(format_args!("would {}", Said(step))) }
}

/// A step in words.
struct Said<'s>(&'s UpkeepStep);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            UpkeepStep::DropLeftover { index } => write!(f, "drop index {index}, left by a failed rebuild"),
            UpkeepStep::VacuumTable { table } => write!(f, "vacuum and analyze {table}"),
            UpkeepStep::Reindex { index, bytes, wasted_bytes } => {
                let size = |bytes: i64| HumanBytes(u64::try_from(bytes).unwrap_or(0));
                write!(f, "rebuild index {index}, {} of {} wasted", size(*wasted_bytes), size(*bytes))
            }
            UpkeepStep::RefreshStatistics => f.write_str("refresh statistics"),
            UpkeepStep::VacuumFile => f.write_str("write the file anew"),
            UpkeepStep::Checkpoint => f.write_str("empty the write-ahead log"),
        }
    }
}

fn as_object(step: &UpkeepStep) -> Value {
    match step {
        UpkeepStep::DropLeftover { index } => json!({"step": "drop_leftover", "index": index}),
        UpkeepStep::VacuumTable { table } => json!({"step": "vacuum_table", "table": table}),
        UpkeepStep::Reindex { index, bytes, wasted_bytes } => {
            json!({"step": "reindex", "index": index, "bytes": bytes, "wasted_bytes": wasted_bytes})
        }
        UpkeepStep::RefreshStatistics => json!({"step": "refresh_statistics"}),
        UpkeepStep::VacuumFile => json!({"step": "vacuum_file"}),
        UpkeepStep::Checkpoint => json!({"step": "checkpoint"}),
    }
}
