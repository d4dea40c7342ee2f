//! `drain`: what waits in a spool goes into the database, by a line of its own, without Kafka. For the command of that name, and for
//! partitions that a worker has spooled and lost to another one. (The partitions that it consumes are drained by its own line.)
//!
//! What must stay true: a partition is claimed only where a segment goes on at the database's position; what does not go on is kept,
//! and said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use ledgerline_schema::store::{Held, Lineage, PartitionState, Store};
use ledgerline_schema::workflow::Part;
use tokio::time::{MissedTickBehavior, interval};

use crate::claim::Claimant;
use crate::config::{Config, Start, Topic};
use crate::metrics::Mode;
use crate::pace::Terms;
use crate::progress::Progress;
use crate::source::spooled::{Spooled, SpooledLog};
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
    /// The database follows another log by now: the topic was made again, or the cluster changed.
    OtherLog,
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
            Self::OtherLog => "other_log",
        }
    }
}

/// Drops what the database has, and says of the rest how it stands.
///
/// # Errors
/// The database or the spool did not answer.
pub async fn look(stand_in: &StandIn, store: &Store) -> anyhow::Result<Vec<(Held, Standing)>> {
    let spool = &stand_in.spool;
    let mut found = Vec::new();
    let positions = store.partitions(None).await.context("cannot ask the database for its positions")?;
    for held in spool.held().await.context("cannot read the spool")? {
        spool.drop_stored(store, &held.group, &held.lineage).await.context("cannot drop what is stored")?;
        let standing = standing(stand_in, &held, &positions).await?;
        found.push((held, standing));
    }
    Ok(found)
}

async fn standing(stand_in: &StandIn, held: &Held, positions: &[PartitionState]) -> anyhow::Result<Standing> {
    let lineage = &held.lineage;
    let ranges = stand_in.spool.ranges(&held.group, lineage).await.context("cannot read the spool")?;
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return Ok(Standing::Stored) };
    let ours = |row: &&PartitionState| {
        (&row.group, &row.topic, row.partition) == (&held.group, &lineage.topic, lineage.partition)
    };
    // A group that the database does not know starts where the spool does.
    let Some(row) = positions.iter().find(ours) else {
        return Ok(Standing::GoesOn { at: first.0, reach: reach(&ranges, first.0) });
    };
    if (&row.cluster_id, &row.topic_id) != (&lineage.cluster_id, &lineage.topic_id) {
        return Ok(Standing::OtherLog);
    }
    let at = row.next_offset;
    let reach = reach(&ranges, at);
    Ok(match () {
        () if reach > at => Standing::GoesOn { at, reach },
        () if last.1 > at => Standing::Gap { at },
        () => Standing::PassedOver { at },
    })
}

/// How far the segments, in order, go on from an offset without a gap.
fn reach(ranges: &[(i64, i64)], at: i64) -> i64 {
    ranges.iter().fold(at, |at, (from, to)| if *from <= at { at.max(*to) } else { at })
}

/// Moves, from time to time, what this process has spooled and does not consume any more: the group gave the partition to another
/// worker, which cannot see this spool. That one may read the same records from Kafka, and then they are only dropped here; where the
/// database stands still, Kafka may not have them any more, and they are written. For ever.
pub async fn leftovers(config: Config, stand_in: StandIn, store: Store, lines: Arc<[Arc<Progress>]>) {
    let mut stood: BTreeMap<(String, Lineage), i64> = BTreeMap::new();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let waits = stand_in.spool.held().await.is_ok_and(|held| !held.is_empty());
        if stand_in.outage.is_on() || !waits {
            continue;
        }
        let moved = move_leftovers(&config, &stand_in, &store, &lines, &mut stood).await;
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
    stood: &mut BTreeMap<(String, Lineage), i64>,
) -> anyhow::Result<()> {
    let consumed = |held: &Held| {
        let line = lines.iter().find(|line| line.topic() == held.lineage.topic);
        line.is_some_and(|line| line.partitions().contains_key(&held.lineage.partition))
    };
    let mut stands_still = |held: &Held, standing: &Standing| match standing {
        Standing::GoesOn { at, .. } => {
            stood.insert((held.group.clone(), held.lineage.clone()), *at) == Some(*at)
        }
        Standing::Stored | Standing::Gap { .. } | Standing::PassedOver { .. } | Standing::OtherLog => false,
    };
    let mut found = look(stand_in, store).await?;
    found.retain(|(held, standing)| !consumed(held) && stands_still(held, standing));
    drain(config, stand_in, store, &found, &Arc::default()).await?;
    Ok(())
}

/// Moves what goes on into the database, topic by topic, until it is told to stop. Where somebody else claims one of the partitions
/// meanwhile, it stops too. Answers whether all of it was moved.
///
/// # Errors
/// The configuration does not know a topic, or the line died.
pub async fn drain(
    config: &Config,
    stand_in: &StandIn,
    store: &Store,
    found: &[(Held, Standing)],
    told: &Arc<AtomicBool>,
) -> anyhow::Result<bool> {
    let mut lines: BTreeMap<(String, String), Vec<Part>> = BTreeMap::new();
    for (held, standing) in found {
        if let Standing::GoesOn { at, reach } = *standing {
            let key = (held.group.clone(), held.lineage.topic.clone());
            lines.entry(key).or_default().push(part(held, at, reach));
        }
    }
    for ((group, topic), parts) in lines {
        let held = found.iter().map(|(held, _)| held);
        let of_line = held.filter(|held| held.group == group && held.lineage.topic == topic);
        let log = Arc::new(SpooledLog(of_line.cloned().collect()));
        let group: Arc<str> = group.into();
        let claimant = Claimant {
            spool: Some(Arc::new(stand_in.of_topic(&group, &topic).giving_way(told))),
            group,
            owner: workflows::owner(),
            start: Start::Earliest, // never asked: the spool says where it starts
            store: store.clone(),
            log,
            deadline: config.database.deadline(),
            breaker: Arc::clone(&stand_in.breaker),
            dry_run: None,
            switches: Arc::default(),
        };
        let kind = config.kind_of(&topic);
        let kind =
            kind.with_context(|| format!("the configuration does not say which kind {topic} carries"))?;
        let progress = Arc::new(Progress::new(&topic, Mode::Drain));
        let source = Spooled::new(parts.iter().map(|part| part.partition).collect());
        let topic = Topic { name: topic, ..config.topic(kind) };
        let status = Status::under(Arc::clone(told));
        match line::run(source, claimant, (topic, Terms::default()), &parts, &progress, &status).await? {
            LineEnd::Complete => {}
            LineEnd::Stopped | LineEnd::Halted(..) => return Ok(false),
        }
    }
    Ok(true)
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
