//! `ledgerline dlq ls|show|stats|redrive|discard|prune`: the arguments, and which function each goes to. What is printed is in
//! `letters.rs`; how a letter is applied again, in `redrive.rs` of the worker.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use ledgerline_schema::events::Reason;
use ledgerline_schema::store::{Letter, LetterFilter, LetterId, LetterStatus, Resolved, Selected, Store};
use ledgerline_schema::time::UtcMicros;
use sha2::{Digest, Sha256};

use super::letters;
use super::operator::{Ended, actor, age, connect, reason, tell, time};
use crate::clock;
use crate::config::Config;
use crate::redrive::{Redriver, Summary};

/// Arguments of `dlq`.
#[derive(Debug, Args)]
pub struct DlqArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List dead letters.
    Ls(LsArgs),
    /// Show one dead letter, or write its exact bytes.
    Show {
        /// LINEAGE:OFFSET, as `ls` prints it.
        id: LetterId,
        /// Print one JSON object.
        #[arg(long, conflicts_with = "raw")]
        json: bool,
        /// Write these bytes to standard output, and nothing else.
        #[arg(long, value_enum)]
        raw: Option<Raw>,
    },
    /// Count them per topic, reason and status.
    Stats {
        #[command(flatten)]
        filter: FilterArgs,
        /// Only of this status.
        #[arg(long, value_parser = status)]
        status: Option<LetterStatus>,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Decode them again and apply those that are good now.
    Redrive(RedriveArgs),
    /// Give them up for good.
    Discard(DiscardArgs),
    /// Forget the bytes of letters that were redriven or discarded long ago; their rows stay.
    Prune(PruneArgs),
}

/// Which bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Raw {
    /// Its value.
    Payload,
    /// Its key.
    Key,
}

#[derive(Debug, Args)]
struct LsArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// dead, redriven or discarded.
    #[arg(long, value_parser = status, default_value = "dead")]
    status: LetterStatus,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=100_000))]
    limit: i64,
    /// Only those after this one: the last of an earlier list.
    #[arg(long, value_name = "LINEAGE:OFFSET")]
    after: Option<LetterId>,
    /// Print one JSON object per line, with the exact bytes.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RedriveArgs {
    /// LINEAGE:OFFSET, as `ls` prints it. Without any: all that match.
    #[arg(conflicts_with_all = ["topic", "partition", "reason", "since", "until"])]
    ids: Vec<LetterId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Do everything, take it back, and say what would have happened.
    #[arg(long)]
    dry_run: bool,
    /// A JSON Patch (RFC 6902) that is applied to each record before it is decoded; the stored bytes stay as they are.
    #[arg(long, value_name = "FILE")]
    patch: Option<PathBuf>,
    /// Who, for the trail. Without it: the user of the operating system.
    #[arg(long)]
    actor: Option<String>,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DiscardArgs {
    /// LINEAGE:OFFSET, as `ls` prints it.
    #[arg(conflicts_with_all = ["topic", "partition", "reason", "since", "until", "all"])]
    ids: Vec<LetterId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// All that are still dead.
    #[arg(long)]
    all: bool,
    /// Why, for the trail of the operators.
    #[arg(long, value_parser = reason)]
    reason_text: String,
    /// Who, for the trail. Without it: the user of the operating system.
    #[arg(long)]
    actor: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PruneArgs {
    /// Letters that were settled longer ago than this: 90s, 15m, 12h, 30d.
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: i64,
    /// Only say how many it would be.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the trail of the operators.
    #[arg(long, value_parser = reason, default_value = "older than the age that is kept")]
    reason_text: String,
    /// Who, for the trail. Without it: the user of the operating system.
    #[arg(long)]
    actor: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Which letters.
#[derive(Debug, Args)]
struct FilterArgs {
    /// Only of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only of this partition.
    #[arg(long)]
    partition: Option<i32>,
    /// Only refused for this reason.
    #[arg(long, value_parser = refusal)]
    reason: Option<Reason>,
    /// Only stored at this time or later (RFC 3339).
    #[arg(long, value_parser = time)]
    since: Option<UtcMicros>,
    /// Only stored before this time (RFC 3339).
    #[arg(long, value_parser = time)]
    until: Option<UtcMicros>,
}

impl FilterArgs {
    fn is_empty(&self) -> bool {
        let Self { topic, partition, reason, since, until } = self;
        topic.is_none() && partition.is_none() && reason.is_none() && since.is_none() && until.is_none()
    }

    fn of_status(self, status: Option<LetterStatus>) -> LetterFilter {
        let Self { topic, partition, reason, since, until } = self;
        LetterFilter { topic, partition, reason, since, until, status }
    }
}

fn refusal(text: &str) -> Result<Reason, String> {
    let found = Reason::ALL.into_iter().find(|reason| reason.name() == text);
    found.ok_or_else(|| format!("there are {}", Reason::ALL.map(Reason::name).join(", ")))
}

fn status(text: &str) -> Result<LetterStatus, String> {
    let found = LetterStatus::ALL.into_iter().find(|status| status.name() == text);
    found.ok_or_else(|| format!("there are {}", LetterStatus::ALL.map(LetterStatus::name).join(", ")))
}

/// Letters read at a time: a record may have 1 MiB.
const PAGE: i64 = 100;

/// Runs the command.
///
/// # Errors
/// The database did not answer, an id names no letter, or the patch cannot be read.
pub async fn dlq(config: &Config, args: DlqArgs) -> anyhow::Result<()> {
    let store = connect(config).await?;
    match args.action {
        Action::Ls(args) => ls(&store, args).await,
        Action::Show { id, json, raw } => letters::show(&letter(&store, id).await?, json, raw),
        Action::Stats { filter, status, json } => {
            letters::stats(&store.letter_groups(&filter.of_status(status)).await?, json)
        }
        Action::Redrive(args) => redrive(config, store, args).await,
        Action::Discard(args) => discard(&store, args).await,
        Action::Prune(args) => prune(&store, args).await,
    }
}

async fn letter(store: &Store, id: LetterId) -> anyhow::Result<Letter> {
    store.letter(id).await?.with_context(|| format!("there is no dead letter {id}"))
}

async fn ls(store: &Store, args: LsArgs) -> anyhow::Result<()> {
    let filter = args.filter.of_status(Some(args.status));
    let mut list = letters::List::new(args.json);
    let (mut after, mut left) = (args.after, args.limit);
    while left > 0 {
        let page = store.letters(&filter, after, left.min(PAGE)).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id());
        left -= page.len() as i64;
        page.iter().try_for_each(|letter| list.add(letter))?;
    }
    list.end()?;
    if left == 0
        && let Some(last) = after
    {
        tell(format_args!("there may be more: --after {last}"));
    }
    Ok(())
}

async fn redrive(config: &Config, store: Store, args: RedriveArgs) -> anyhow::Result<()> {
    let (patch, reason) = match args.patch.as_deref().map(read_patch).transpose()? {
        Some((patch, reason)) => (Some(patch), reason),
        None => (None, "redrive".to_owned()),
    };
    let by = Resolved { actor: actor(args.actor), reason, now: clock::now(), dry_run: args.dry_run };
    let redriver = Redriver::new(config, store.clone(), patch, by);
    let mut summary = Summary::default();
    let done = if args.ids.is_empty() {
        let filter = args.filter.of_status(Some(LetterStatus::Dead));
        redrive_matching(&redriver, &store, &filter, &mut summary).await
    } else {
        redrive_ids(&redriver, &store, &args.ids, &mut summary).await
    };
    // What was done before an outage is done: it is told in any case.
    let told = letters::redriven(&summary, args.dry_run, args.json);
    done?;
    let not_tried = summary.not_tried;
    ensure!(not_tried == 0, "{not_tried} dead letters could not be tried; each is named above");
    told
}

async fn redrive_ids(
    redriver: &Redriver,
    store: &Store,
    ids: &[LetterId],
    summary: &mut Summary,
) -> anyhow::Result<()> {
    for id in ids {
        let letter = letter(store, *id).await?;
        ensure!(letter.status == LetterStatus::Dead.name(), "dead letter {id} is {} already", letter.status);
    }
    for id in ids {
        redrive_one(redriver, &letter(store, *id).await?, summary).await?;
    }
    Ok(())
}

async fn redrive_matching(
    redriver: &Redriver,
    store: &Store,
    filter: &LetterFilter,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = store.letters(filter, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id());
        for letter in &page {
            redrive_one(redriver, letter, summary).await?;
        }
    }
}

async fn redrive_one(redriver: &Redriver, letter: &Letter, summary: &mut Summary) -> anyhow::Result<()> {
    let outcome = redriver.redrive(letter).await;
    let outcome = outcome.with_context(|| format!("stopped before dead letter {}", letter.id()))?;
    summary.count(&outcome);
    letters::tell_refusal(letter, &outcome);
    Ok(())
}

/// The patch, and what the trail says of it: a file may change after it, so its text is named too.
fn read_patch(file: &Path) -> Result<(json_patch::Patch, String), Ended> {
    let name = file.display();
    let text = std::fs::read(file)
        .map_err(|error| Ended::BadArguments(format!("--patch: cannot read {name}: {error}")))?;
    let patch = serde_json::from_slice(&text).map_err(|error| {
        Ended::BadArguments(format!("--patch: {name} is no JSON Patch (RFC 6902): {error}"))
    })?;
    Ok((patch, format!("redrive with {name}, SHA-256 {:x}", Sha256::digest(&text))))
}

async fn discard(store: &Store, args: DiscardArgs) -> anyhow::Result<()> {
    let named = !args.ids.is_empty() || !args.filter.is_empty() || args.all;
    if !named {
        let how = "name the dead letters to discard: by id, by a filter, or --all";
        return Err(Ended::BadArguments(how.into()).into());
    }
    let selected = match args.ids.is_empty() {
        true => Selected::Matching(args.filter.of_status(Some(LetterStatus::Dead))),
        false => Selected::Ids(args.ids),
    };
    let by =
        Resolved { actor: actor(args.actor), reason: args.reason_text, now: clock::now(), dry_run: false };
    letters::settled("discarded", store.discard(&selected, &by).await?, false, args.json)
}

async fn prune(store: &Store, args: PruneArgs) -> anyhow::Result<()> {
    let now = clock::now();
    let by = Resolved { actor: actor(args.actor), reason: args.reason_text, now, dry_run: args.dry_run };
    let pruned = store.prune(now.plus(-args.older_than), &by).await?;
    letters::settled("pruned", pruned, args.dry_run, args.json)
}
