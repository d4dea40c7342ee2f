//! Switches: what an operator has paused, kept here so that every worker heeds it, now and after a restart. Set by
//! `ledgerline pause|resume`, read by the workers with each claim and every few seconds.
//!
//! What must stay true: a row is there exactly while it holds; each change leaves a row in `operator_actions`, in its transaction, that
//! names no epoch and no offset, because nothing moves; a word that this program does not know is told as such.

use std::fmt;

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::audit::{self, Action};
use super::error::StoreError;
use super::{Conn, Store, in_tx, with_conn};
use crate::schema::{partition_offsets, switches};
use crate::time::UtcMicros;

/// What a switch is about. The whole topic comes first in every order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// Every partition, those that appear later too.
    Topic,
    /// One partition.
    Partition(i32),
}

impl Extent {
    /// As the table has it, where a null could not be in the key.
    const WHOLE_TOPIC: i32 = -1;

    fn number(self) -> i32 {
        match self {
            Self::Topic => Self::WHOLE_TOPIC,
            Self::Partition(partition) => partition,
        }
    }

    fn of(number: i32) -> Self {
        if number == Self::WHOLE_TOPIC { Self::Topic } else { Self::Partition(number) }
    }

    /// Whether it is about that partition.
    #[must_use]
    pub fn covers(self, partition: i32) -> bool {
        self.partition().is_none_or(|one| one == partition)
    }

    /// The partition's number; null for the whole topic.
    #[must_use]
    pub fn partition(self) -> Option<i32> {
        match self {
            Self::Topic => None,
            Self::Partition(partition) => Some(partition),
        }
    }
}

/// How a switch is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchState {
    /// Nothing is written.
    Paused,
    /// A word of a later program.
    Unknown(String),
}

const PAUSED: &str = "paused";

/// One switch that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// What of it.
    pub extent: Extent,
    /// How it is set.
    pub state: SwitchState,
    /// Why.
    pub reason: String,
    /// By whom.
    pub actor: String,
    /// Since when.
    pub at: UtcMicros,
}

/// What it is about, as people write it: `odds`, or `odds[3]`.
impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(&self.topic, self.extent))
    }
}

impl Switch {
    /// The switch that pauses a partition, if one does: its own before that of the whole topic.
    #[must_use]
    pub fn pausing<'s>(switches: &'s [Self], group: &str, topic: &str, partition: i32) -> Option<&'s Self> {
        let set = |extent| {
            switches.iter().find(|switch| {
                switch.extent == extent
                    && switch.state == SwitchState::Paused
                    && switch.group == group
                    && switch.topic == topic
            })
        };
        set(Extent::Partition(partition)).or_else(|| set(Extent::Topic))
    }
}

/// Who orders a switch to be set or taken back, and why.
#[derive(Debug, Clone)]
pub struct SwitchOrder {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// What of it.
    pub extent: Extent,
    /// Who, for the trail.
    pub actor: String,
    /// Why, for the trail.
    pub reason: String,
    /// Now, by the caller's clock.
    pub now: UtcMicros,
}

/// What an order came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switched {
    /// The switch that was set, or taken back.
    pub switch: Switch,
    /// All that is set for the topic now.
    pub set: Vec<Switch>,
}

#[derive(Queryable)]
struct Row {
    group: String,
    topic: String,
    partition: i32,
    state: String,
    reason: String,
    actor: String,
    at: UtcMicros,
}

impl Row {
    fn into_switch(self) -> Switch {
        let Self { group, topic, partition, state, reason, actor, at } = self;
        let state = if state == PAUSED { SwitchState::Paused } else { SwitchState::Unknown(state) };
        Switch { group, topic, extent: Extent::of(partition), state, reason, actor, at }
    }
}

impl Store {
    /// Every switch that is set, in the order of group, topic, extent. `group` and `topic` narrow them.
    ///
    /// # Errors
    /// The database did not answer, or its schema has no switches.
    pub async fn switches(
        &self,
        group: Option<&str>,
        topic: Option<&str>,
    ) -> Result<Vec<Switch>, StoreError> {
        let mut session = self.checkout().await?;
        Ok(load(&mut session.conn(), group, topic).await?)
    }

    /// Pauses a topic or one of its partitions: workers stop to write within seconds, and hold what they have read.
    ///
    /// # Errors
    /// `Rejected`: it is paused already, or the group reads the topic and it has no such partition.
    pub async fn pause(&self, order: &SwitchOrder) -> Result<Switched, StoreError> {
        in_tx!(self, conn => pause_in_tx(conn, order))
    }

    /// Takes a pause back.
    ///
    /// # Errors
    /// `Rejected`: just that is not paused; the text says what is.
    pub async fn unpause(&self, order: &SwitchOrder) -> Result<Switched, StoreError> {
        in_tx!(self, conn => unpause_in_tx(conn, order))
    }
}

async fn load(conn: &mut Conn<'_>, group: Option<&str>, topic: Option<&str>) -> QueryResult<Vec<Switch>> {
    // Few rows: people make them one by one.
    let query =
        switches::table.order((switches::consumer_group, switches::topic, switches::partition)).select((
            switches::consumer_group,
            switches::topic,
            switches::partition,
            switches::state,
            switches::reason,
            switches::actor,
            switches::at,
        ));
    let rows: Vec<Row> = with_conn!(conn, c => query.load(c).await)?;
    let is_asked = |asked: Option<&str>, name: &str| asked.is_none_or(|asked| asked == name);
    let rows = rows.into_iter().filter(|row| is_asked(group, &row.group) && is_asked(topic, &row.topic));
    Ok(rows.map(Row::into_switch).collect())
}

async fn pause_in_tx(conn: &mut Conn<'_>, order: &SwitchOrder) -> Result<Switched, StoreError> {
    let SwitchOrder { group, topic, extent, actor, reason, now } = order;
    has_partition(conn, order).await?;
    let row = (
        switches::consumer_group.eq(group),
        switches::topic.eq(topic),
        switches::partition.eq(extent.number()),
        switches::state.eq(PAUSED),
        switches::reason.eq(reason),
        switches::actor.eq(actor),
        switches::at.eq(now),
    );
    let insert = diesel::insert_into(switches::table).values(row).on_conflict_do_nothing();
    let inserted = with_conn!(conn, c => insert.execute(c).await)?;
    let set = load(conn, Some(group), Some(topic)).await?;
    let Some(switch) = set.iter().find(|switch| switch.extent == *extent).cloned() else {
        return Err(StoreError::Race); // somebody took it back in this very moment
    };
    if inserted == 0 {
        return Err(StoreError::Rejected(format!("{switch} is paused already, {}", since(&switch))));
    }
    audit_row(conn, order, "pause").await?;
    Ok(Switched { switch, set })
}

async fn unpause_in_tx(conn: &mut Conn<'_>, order: &SwitchOrder) -> Result<Switched, StoreError> {
    let SwitchOrder { group, topic, extent, .. } = order;
    let mut set = load(conn, Some(group), Some(topic)).await?;
    let delete = diesel::delete(switches::table.find((group.as_str(), topic.as_str(), extent.number())));
    let deleted = with_conn!(conn, c => delete.execute(c).await)?;
    let place = set.iter().position(|switch| switch.extent == *extent);
    match place.filter(|_| deleted == 1) {
        Some(place) => {
            let switch = set.remove(place);
            audit_row(conn, order, "unpause").await?;
            Ok(Switched { switch, set })
        }
        None => Err(StoreError::Rejected(not_paused(order, &set))),
    }
}

fn name(topic: &str, extent: Extent) -> String {
    match extent {
        Extent::Topic => topic.to_owned(),
        Extent::Partition(partition) => format!("{topic}[{partition}]"),
    }
}

fn since(switch: &Switch) -> String {
    format!("since {} by {}: {}", switch.at, switch.actor, switch.reason)
}

/// Says what is paused instead.
fn not_paused(order: &SwitchOrder, set: &[Switch]) -> String {
    let name = name(&order.topic, order.extent);
    match (order.extent, set) {
        (_, []) => format!("{name} is not paused"),
        (Extent::Partition(_), [whole, ..]) if whole.extent == Extent::Topic => format!(
            "{name} has no pause of its own: the whole topic is paused, {}. Resume the topic; to keep other partitions paused, \
             pause each of them first",
            since(whole)
        ),
        (_, others) => {
            let others: Vec<String> = others.iter().map(ToString::to_string).collect();
            format!("{name} is not paused; what is paused: {}", others.join(", "))
        }
    }
}

/// A number that the topic does not have would be a pause without effect. Where the group has not begun nobody knows.
async fn has_partition(conn: &mut Conn<'_>, order: &SwitchOrder) -> Result<(), StoreError> {
    let Extent::Partition(partition) = order.extent else { return Ok(()) };
    let query = partition_offsets::table
        .filter(partition_offsets::consumer_group.eq(&order.group))
        .filter(partition_offsets::topic.eq(&order.topic))
        .order(partition_offsets::partition)
        .select(partition_offsets::partition);
    let known: Vec<i32> = with_conn!(conn, c => query.load(c).await)?;
    let known = known.as_slice(); // diesel has a `first` of its own
    match (known.first(), known.last()) {
        (Some(first), Some(last)) if !known.contains(&partition) => Err(StoreError::Rejected(format!(
            "group {} has no partition {partition} of topic {}; it has {first} to {last}",
            order.group, order.topic
        ))),
        _ => Ok(()),
    }
}

async fn audit_row(conn: &mut Conn<'_>, order: &SwitchOrder, action: &'static str) -> QueryResult<()> {
    let row = Action {
        consumer_group: &order.group,
        topic: &order.topic,
        partition: order.extent.number(),
        ..Action::by(&order.actor, action, &order.reason, order.now)
    };
    audit::write(conn, &row).await
}
