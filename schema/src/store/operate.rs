//! What an operator may do to a position: reset it, give offsets up, let a partition go on over its dead-letter budget. Called by
//! `ledgerline offsets`.
//!
//! What must stay true: each is one transaction that locks the position row, bumps the epoch (so every running worker is
//! fenced and claims again), clears the halt, and leaves a row in `operator_actions`; no offset leaves the accounts: a jump is
//! explained by that row, what is skipped is in the ledger as lost.

use std::sync::Arc;

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::audit::{self, Action};
use super::claim::{intern_lineage, lock_position};
use super::error::StoreError;
use super::halt::{BUDGET, Halt, SPOOL_GAP};
use super::{Claim, Conn, Lineage, LogRange, PartitionState, Store, in_tx, ledger, positions, with_conn};
use crate::schema::partition_offsets;
use crate::time::UtcMicros;

/// Who orders something for which partition, and why.
#[derive(Debug, Clone)]
pub struct Order {
    /// The consumer group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// Who, for the trail.
    pub actor: String,
    /// Why, for the trail.
    pub reason: String,
    /// Now, by the caller's clock.
    pub now: UtcMicros,
}

/// The log as the brokers describe it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogNow {
    /// Which log it is.
    pub lineage: Lineage,
    /// What it holds.
    pub range: LogRange,
}

/// What an order changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The position before.
    pub from: i64,
    /// The position after; for `resume` the end of the exemption.
    pub to: i64,
    /// The epoch from now on.
    pub epoch: i64,
    /// The log that the position was in.
    pub lineage_before: i32,
    /// The log that it is in now.
    pub lineage_after: i32,
    /// Offsets given up.
    pub lost: i64,
}

/// What is ordered.
#[derive(Debug, Clone, Copy)]
enum Change {
    Reset { to: i64 },
    AcceptLoss { to: Option<i64> },
    Resume { until: i64 },
}

impl Store {
    /// Moves the position back, or into another log: the one that the brokers have now.
    ///
    /// # Errors
    /// `Rejected`: there is no such position, the target lies outside the log, or ahead of the position of the same log; or the
    /// log lost its newest records, and the target is not older than the position.
    pub async fn reset(&self, order: &Order, log: &LogNow, to: i64) -> Result<Moved, StoreError> {
        self.change(order, log, Change::Reset { to }).await
    }

    /// Gives up the offsets from the position to `to`, or to the oldest one that Kafka keeps: they are in the ledger as lost.
    ///
    /// # Errors
    /// `Rejected`: there is no such position, nothing to give up, the log is another one, or it lost its newest records.
    pub async fn accept_loss(
        &self,
        order: &Order,
        log: &LogNow,
        to: Option<i64>,
    ) -> Result<Moved, StoreError> {
        self.change(order, log, Change::AcceptLoss { to }).await
    }

    /// Lets a partition go on that its dead-letter budget halted: what starts before `until` is not held against it.
    ///
    /// # Errors
    /// `Rejected`: there is no such position, it is not halted for that, or `until` is not ahead of it.
    pub async fn resume(&self, order: &Order, log: &LogNow, until: i64) -> Result<Moved, StoreError> {
        self.change(order, log, Change::Resume { until }).await
    }

    async fn change(&self, order: &Order, log: &LogNow, change: Change) -> Result<Moved, StoreError> {
        in_tx!(self, conn => change_in_tx(conn, order, log, change))
    }
}

async fn change_in_tx(
    conn: &mut Conn<'_>,
    order: &Order,
    log: &LogNow,
    change: Change,
) -> Result<Moved, StoreError> {
    let mut claim = Claim {
        group: Arc::clone(&order.group),
        topic: Arc::clone(&order.topic),
        partition: order.partition,
        lineage_id: 0,
        epoch: 0,
        next_offset: 0,
        exempt_to: 0,
    };
    let locked = lock_position(conn.wire(), &claim).await?;
    let state = positions::one(conn, &order.group, &order.topic, order.partition).await?;
    let (Some(_), Some(state)) = (locked, state) else {
        let Order { group, topic, partition, .. } = order;
        return Err(StoreError::Rejected(format!("group {group} has no position on {topic}[{partition}]")));
    };
    claim.lineage_id = state.lineage_id;
    claim.epoch = state.epoch + 1;
    claim.exempt_to = state.budget_exempt_to;
    let (mut start, from) = (state.start_offset, state.next_offset);
    let (action, next, to, lost) = match change {
        Change::Reset { to } => {
            if is_other_log(&state, &log.lineage) {
                claim.lineage_id = intern_lineage(conn, &log.lineage).await?;
                claim.exempt_to = 0; // it counted in the other log
                start = to;
            } else {
                not_forward(from, to)?;
                reads_replaced(&state, log.range.low, to)?;
            }
            within(to, log.range)?;
            (audit::RESET, to, to, 0)
        }
        Change::AcceptLoss { to } => {
            let to = given_up_to(&state, log, to)?;
            can_be_given_up(&state, log, to)?;
            ledger::give_up(conn, &claim, order.now.hour(), from, to).await?;
            ("accept_loss", to, to, to - from)
        }
        Change::Resume { until } => {
            can_resume(&state, until)?;
            claim.exempt_to = until;
            ("resume", from, until, 0)
        }
    };
    claim.next_offset = next;
    store(conn, &claim, start, order.now).await?;
    audit_row(conn, order, (&state, &claim), action, to).await?;
    let (lineage_before, lineage_after) = (state.lineage_id, claim.lineage_id);
    Ok(Moved { from, to, epoch: claim.epoch, lineage_before, lineage_after, lost })
}

/// Whether the brokers' log is another one than that of the position.
fn is_other_log(state: &PartitionState, now: &Lineage) -> bool {
    !state.lineage().is_same_log(now)
}

fn within(to: i64, LogRange { low, high }: LogRange) -> Result<(), StoreError> {
    if (low..=high).contains(&to) {
        return Ok(());
    }
    Err(StoreError::Rejected(format!("offset {to} lies outside of what the log holds now, {low} to {high}")))
}

fn not_forward(from: i64, to: i64) -> Result<(), StoreError> {
    if to <= from {
        return Ok(());
    }
    Err(StoreError::Rejected(format!(
        "offset {to} lies ahead of the position {from}: the {} offsets in between would never be applied. \
         To give them up, use `ledgerline offsets accept-loss --to {to}`",
        to - from
    )))
}

/// A log that lost its newest records went on with others in their place, below the position: only a position further back
/// reads those, and clearing the halt without it would skip them unseen. Where Kafka keeps nothing older, nothing is left to
/// read again.
fn reads_replaced(state: &PartitionState, low: i64, to: i64) -> Result<(), StoreError> {
    let halted = state.halted.as_deref().unwrap_or_default();
    let lost_newest = Halt::remembered(halted, String::new()).is_some() && halted != BUDGET;
    let next = state.next_offset;
    if !lost_newest || to < next || next <= low {
        return Ok(());
    }
    Err(StoreError::Rejected(format!(
        "the partition is {halted}: other records took the place of lost ones before the position {next}, and were never \
         read. Use `ledgerline offsets reset --to` an older offset, or a time before the loss"
    )))
}

/// Where nothing else is said, what Kafka has deleted is given up; not where a spool may hold some of it.
fn given_up_to(state: &PartitionState, log: &LogNow, to: Option<i64>) -> Result<i64, StoreError> {
    if state.halted.as_deref() == Some(SPOOL_GAP) && to.is_none() {
        let detail = state.halted_detail.as_deref().unwrap_or_default();
        return Err(StoreError::Rejected(format!(
            "the partition is {SPOOL_GAP}: {detail}. Use `ledgerline offsets accept-loss --to` the first offset that the \
             spool holds: what lies between that and Kafka's oldest would be lost without need"
        )));
    }
    Ok(to.unwrap_or(log.range.low))
}

fn can_be_given_up(state: &PartitionState, log: &LogNow, to: i64) -> Result<(), StoreError> {
    if is_other_log(state, &log.lineage) {
        return Err(StoreError::Rejected(
            "the log is another one than that of the position: offsets of one say nothing about the other. \
             Use `ledgerline offsets reset`"
                .into(),
        ));
    }
    // Where Kafka has nothing any more some worker's spool may go on, whether the one that halted knows or not.
    within(to, LogRange { low: state.next_offset.min(log.range.low), ..log.range })?;
    reads_replaced(state, log.range.low, to)?;
    if to > state.next_offset {
        return Ok(());
    }
    Err(StoreError::Rejected(format!(
        "nothing to give up: the position is {}, the target {to}",
        state.next_offset
    )))
}

fn can_resume(state: &PartitionState, until: i64) -> Result<(), StoreError> {
    if state.halted.as_deref() != Some(BUDGET) {
        let why = state.halted.as_deref().unwrap_or("not halted");
        return Err(StoreError::Rejected(format!(
            "the partition is {why}: `resume` is for {BUDGET}, and `ledgerline offsets ls` names the state"
        )));
    }
    if until > state.next_offset {
        return Ok(());
    }
    let next = state.next_offset;
    Err(StoreError::Rejected(format!(
        "offset {until} is not ahead of the position {next}: it would halt again"
    )))
}

/// The claim's epoch is nobody's: whoever owns the partition is fenced, and claims again.
async fn store(conn: &mut Conn<'_>, claim: &Claim, start: i64, now: UtcMicros) -> QueryResult<()> {
    let row = partition_offsets::table.find((&*claim.group, &*claim.topic, claim.partition));
    let changes = (
        partition_offsets::lineage_id.eq(claim.lineage_id),
        partition_offsets::start_offset.eq(start),
        partition_offsets::next_offset.eq(claim.next_offset),
        partition_offsets::epoch.eq(claim.epoch),
        partition_offsets::updated_at.eq(now),
        partition_offsets::halted.eq(None::<String>),
        partition_offsets::halted_detail.eq(None::<String>),
        partition_offsets::halted_at.eq(None::<UtcMicros>),
        partition_offsets::budget_exempt_to.eq(claim.exempt_to),
    );
    let changed = with_conn!(conn, c => diesel::update(row).set(changes).execute(c).await)?;
    if changed == 1 { Ok(()) } else { Err(diesel::result::Error::NotFound) }
}

async fn audit_row(
    conn: &mut Conn<'_>,
    order: &Order,
    (before, after): (&PartitionState, &Claim),
    action: &'static str,
    to: i64,
) -> QueryResult<()> {
    let row = Action {
        consumer_group: &order.group,
        topic: &order.topic,
        partition: order.partition,
        lineage_before: Some(before.lineage_id),
        lineage_after: Some(after.lineage_id),
        epoch: Some(after.epoch),
        from_offset: Some(before.next_offset),
        to_offset: Some(to),
        ..Action::by(&order.actor, action, &order.reason, order.now)
    };
    audit::write(conn, &row).await
}
