//! `drain`: what waits in a spool goes into the database, by a line of its own, without Kafka. For the command of that name, and for
//! partitions that a worker has spooled and lost to another one. (The partitions that it consumes are drained by its own line.)
//!
//! What must stay true: a partition is claimed only where a segment goes on at the database's position; what does not go on is kept,
//! and said.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use ledgerline_schema::store::{Held, Lineage, Spool, Store, Switch, Trouble};
use ledgerline_schema::workflow::Part;
use tokio::time::interval;

use crate::claim::Claimant;
use crate::clock;
use crate::config::{Config, Start, Topic};
use crate::metrics::Mode;
use crate::pace::Terms;
use crate::progress::Progress;
use crate::source::kafka::group_of;
use crate::source::spooled::{Spooled, SpooledLog};
use crate::spool::Emptying;
use crate::stand_in::StandIn;
use crate::workflows::line::{self, LineEnd};
use crate::workflows::{self, Status};

/// How often it is looked at what is left, and how long the database has to stand still.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How what is held of one partition stands to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The database has all of it; it is dropped.
    Stored,
    /// A segment goes on where the database stands; the next ones follow each other up to an offset.
    GoesOn {
        /// Where the database stands.
        at: i64,
        /// One past the last offset that follows without a gap.
        reach: i64,
    },
    /// The database stands before it, and what is between is not here.
    Gap {
        /// Where the database stands.
        at: i64,
    },
    /// The database stands behind some of it and does not account for it: an operator moved the position over it.
    PassedOver {
        /// Where the database stands.
        at: i64,
    },
    /// The partition is halted, and an operator has to decide.
    Halted {
        /// Where the database stands.
        at: i64,
    },
    /// An operator has paused the partition.
    Paused {
        /// Where the database stands.
        at: i64,
    },
    /// None of it can be read.
    Unreadable,
    /// The database follows another log by now: the topic was made again, or the cluster changed.
    OtherLog,
    /// The database does not know the group: it is another one, or was made anew. A worker decides where it starts.
    NoPosition,
}

/// As people read it.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => f.write_str("the database has all of it"),
            Self::GoesOn { at, .. } => write!(f, "goes on at the database's {at}"),
            Self::Gap { at } => write!(f, "the database stands at {at}, what is between is not here"),
            Self::PassedOver { at } => write!(f, "an operator moved the database to {at}, over what is here"),
            Self::Halted { at } => write!(f, "the partition is halted at {at}, an operator has to decide"),
            Self::Paused { at } => write!(f, "paused by an operator, the database stands at {at}"),
            Self::Unreadable => f.write_str("it cannot be read, see the log"),
            Self::OtherLog => f.write_str("the database follows another log by now"),
            Self::NoPosition => {
                f.write_str("the database does not know the group; a worker decides where it starts")
            }
        }
    }
}

impl Standing {
    /// In a word, for people and machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::GoesOn { .. } => "goes_on",
            Self::Gap { .. } => "spool_gap",
            Self::PassedOver { .. } => "passed_over",
            Self::Halted { .. } => "halted",
            Self::Paused { .. } => "paused",
            Self::Unreadable => "unreadable",
            Self::OtherLog => "other_log",
            Self::NoPosition => "no_position",
        }
    }
}

/// What becomes of what the database has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is dropped.
    Dropped,
    /// It stays: somebody only looks.
    Kept,
}

/// Says how what waits stands to the database.
///
/// # Errors
/// The database or the spool did not answer.
pub async fn look(
    stand_in: &StandIn,
    store: &Store,
    stored: Stored,
) -> anyhow::Result<Vec<(Held, Standing)>> {
    let spool = &stand_in.spool;
    match stored {
        Stored::Dropped => drop_stored(spool, store).await?,
        Stored::Kept => {}
    }
    let mut found = Vec::new();
    for held in spool.held().await.context("cannot read the spool")? {
        let standing = standing(spool, store, &held).await?;
        found.push((held, standing));
    }
    Ok(found)
}

async fn drop_stored(spool: &Spool, store: &Store) -> anyhow::Result<()> {
    for held in spool.held().await.context("cannot read the spool")? {
        let (group, lineage) = (&held.group, &held.lineage);
        let stored = stored_of(store, &held).await?;
        let drop_some = || spool.drop_stored(group, lineage, i64::MAX, &stored);
        while drop_some().await.context("cannot drop what is stored")? > 0 {}
    }
    Ok(())
}

async fn stored_of(store: &Store, held: &Held) -> anyhow::Result<Vec<(i64, i64)>> {
    let stored = store.stored_ranges(&held.group, &held.lineage, held.from).await;
    stored.context("cannot ask the database for its ledger")
}

async fn standing(spool: &Spool, store: &Store, held: &Held) -> anyhow::Result<Standing> {
    let lineage = &held.lineage;
    // The position first: what somebody stores meanwhile was not passed over.
    let row = store.partition(&held.group, &lineage.topic, lineage.partition).await;
    let row = row.context("cannot ask the database for its position")?;
    let stored = stored_of(store, held).await?;
    let is_stored = |from, to| stored.iter().any(|(begin, end)| *begin <= from && to <= *end);
    if is_stored(held.from, held.to) {
        return Ok(Standing::Stored);
    }
    let ranges = spool.ranges(&held.group, lineage).await.context("cannot read the spool")?;
    let Some(last) = ranges.iter().rfind(|(from, to)| !is_stored(*from, *to)) else {
        return Ok(Standing::Unreadable);
    };
    let Some(row) = row else { return Ok(Standing::NoPosition) };
    if !row.lineage().is_same_log(lineage) {
        return Ok(Standing::OtherLog);
    }
    let at = row.next_offset;
    let goes_on = ranges.iter().find(|(from, to)| (*from..*to).contains(&at));
    Ok(match goes_on {
        Some(_) if row.waits_for_operator() => Standing::Halted { at },
        Some(_) if is_paused(store, held).await? => Standing::Paused { at },
        Some((_, reach)) => Standing::GoesOn { at, reach: *reach },
        None if last.1 > at => Standing::Gap { at },
        None => Standing::PassedOver { at },
    })
}

/// Whether an operator has paused the partition. As for a worker: switches that the database does not tell pause nothing.
async fn is_paused(store: &Store, held: &Held) -> anyhow::Result<bool> {
    let (group, topic) = (held.group.as_str(), held.lineage.topic.as_str());
    match store.switches(Some(group), Some(topic)).await {
        Ok(set) => Ok(Switch::pausing(&set, group, topic, held.lineage.partition).is_some()),
        Err(error) if error.trouble() == Trouble::Refusal => Ok(false),
        Err(error) => Err(error).context("cannot ask the database for its switches"),
    }
}

/// How what waits stood to the database the last time.
type Before = BTreeMap<(String, Lineage), Standing>;

/// Moves, from time to time, what this process has spooled and does not consume any more: the group has another name by now, or gave
/// the partition to another worker, which cannot see this spool. That one may read the same records from Kafka, and then they are only dropped here; where the
/// database stands still, Kafka may not have them any more, and they are written. For ever.
pub async fn leftovers(config: Config, stand_in: StandIn, store: Store, lines: Arc<[Arc<Progress>]>) {
    let mut before = Before::new();
    let mut ticks = clock::ticks(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let waits = stand_in.spool.held().await.is_ok_and(|held| !held.is_empty());
        if stand_in.outage.is_on() || !waits {
            continue;
        }
        let moved = move_leftovers(&config, &stand_in, &store, &lines, &mut before).await;
        if let Err(error) = moved {
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot move what is left in the spool, trying again"
            );
        }
    }
}

async fn move_leftovers(
    config: &Config,
    stand_in: &StandIn,
    store: &Store,
    lines: &[Arc<Progress>],
    before: &mut Before,
) -> anyhow::Result<()> {
    let consumed = |held: &Held| {
        let line = lines.iter().find(|line| line.topic() == held.lineage.topic);
        let ours = held.group == group_of(&config.kafka, &held.lineage.topic);
        ours && line.is_some_and(|line| line.partitions().contains_key(&held.lineage.partition))
    };
    let mut found = look(stand_in, store, Stored::Dropped).await?;
    let key = |held: &Held| (held.group.clone(), held.lineage.clone());
    let now: Before = found.iter().map(|(held, standing)| (key(held), *standing)).collect();
    let before = std::mem::replace(before, now);
    for (held, standing) in &found {
        if before.get(&key(held)).map(|before| before.name()) != Some(standing.name()) {
            tell_kept(held, *standing);
        }
    }
    found.retain(|(held, standing)| !consumed(held) && before.get(&key(held)) == Some(standing));
    for problem in drain(config, stand_in, store, &found, &Arc::default()).await? {
        tracing::warn!(problem, "something is left in the spool");
    }
    Ok(())
}

/// Says, once, why something stays in the spool.
fn tell_kept(held: &Held, standing: Standing) {
    match standing {
        Standing::Stored | Standing::GoesOn { .. } => {}
        Standing::Gap { .. }
        | Standing::PassedOver { .. }
        | Standing::Halted { .. }
        | Standing::Paused { .. }
        | Standing::Unreadable
        | Standing::OtherLog
        | Standing::NoPosition => tracing::warn!(
            kafka.topic = held.lineage.topic,
            kafka.partition = held.lineage.partition,
            from = held.from,
            to = held.to,
            records = held.records,
            "kept in the spool: {standing}"
        ),
    }
}

/// Moves what goes on into the database, one partition after the other, until it is told to stop. One that cannot go on, or that
/// somebody else claims meanwhile, stops none of the others. Answers what was not moved, and why.
///
/// # Errors
/// A line died.
pub async fn drain(
    config: &Config,
    stand_in: &StandIn,
    store: &Store,
    found: &[(Held, Standing)],
    told: &Arc<AtomicBool>,
) -> anyhow::Result<Vec<String>> {
    let mut not_moved = Vec::new();
    for (held, standing) in found {
        let Standing::GoesOn { at, reach } = *standing else { continue };
        if told.load(Relaxed) || stand_in.outage.is_on() {
            break;
        }
        let problem = match config.kind_of(&held.lineage.topic) {
            None => Some("the configuration does not say which kind the topic carries".to_owned()),
            Some(kind) => {
                let topic = Topic { name: held.lineage.topic.clone(), ..config.topic(kind) };
                move_one(config, stand_in, store, (held, at, reach), topic, told).await?
            }
        };
        let name = |problem| format!("{}[{}]: {problem}", held.lineage.topic, held.lineage.partition);
        not_moved.extend(problem.map(name));
    }
    Ok(not_moved)
}

/// Moves what goes on in one partition. Answers why not all of it was.
async fn move_one(
    config: &Config,
    stand_in: &StandIn,
    store: &Store,
    (held, from, to): (&Held, i64, i64),
    topic: Topic,
    told: &AtomicBool,
) -> anyhow::Result<Option<String>> {
    let group: Arc<str> = held.group.as_str().into();
    let emptying = Arc::new(Emptying::default());
    let claimant = Claimant {
        spool: Some(Arc::new(stand_in.of_topic(&group, &topic.name).emptied_by(&emptying))),
        group,
        owner: workflows::owner(),
        start: Start::Earliest, // never asked: the partition has its position
        store: store.clone(),
        log: Arc::new(SpooledLog(held.clone())),
        deadline: config.database.deadline(),
        breaker: Arc::clone(&stand_in.breaker),
        dry_run: None,
        switches: Arc::default(),
    };
    let progress = Arc::new(Progress::new(&topic.name, Mode::Drain));
    let (parts, status) = ([part(held, from, to)], Status::under(Arc::clone(&emptying.over)));
    let source = Spooled::new(vec![held.lineage.partition]);
    let line = line::run(source, claimant, (topic, Terms::default()), &parts, &progress, &status);
    let end = tokio::select! {
        end = line => end?,
        never = pass_on(told, &emptying.over) => match never {},
    };
    Ok(match end {
        LineEnd::Complete => None,
        LineEnd::Halted(_, reason) => Some(format!("halted: {reason}")),
        LineEnd::Stopped => Some(emptying.why().unwrap_or("told to stop").into()),
    })
}

/// Passes the order to stop on to a line. Never ends.
async fn pass_on(told: &AtomicBool, line: &AtomicBool) -> std::convert::Infallible {
    let mut ticks = interval(Duration::from_millis(50));
    loop {
        ticks.tick().await;
        line.fetch_or(told.load(Relaxed), Relaxed);
    }
}

fn part(held: &Held, from: i64, to: i64) -> Part {
    Part {
        group: held.group.clone(),
        cluster_id: held.lineage.cluster_id.clone(),
        topic_id: held.lineage.topic_id.clone(),
        topic: held.lineage.topic.clone(),
        partition: held.lineage.partition,
        from,
        to,
    }
}
