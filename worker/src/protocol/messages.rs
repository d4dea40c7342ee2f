//! What goes into the protocol and what comes out of it.

use std::collections::BTreeMap;

use ledgerline_schema::store::{Claim, Effort, Halt, Position};

/// A partition's number within the topic.
pub type Partition = i32;
/// Numbers the assignments of this process, so that answers to earlier ones are told apart.
pub type Assignment = u64;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The group gave us a partition.
    Assigned(Partition),
    /// The group took it away.
    Revoked(Partition),
    /// The claim is answered.
    ClaimAnswered(Partition, Assignment, ClaimOutcome),
    /// Offsets [from, to) of the partition are ready to be written.
    BatchReady(Partition, i64, i64),
    /// The transaction has ended.
    WriteEnded(Partition, Assignment, WriteOutcome),
    /// The question for the position is answered; no answer is `Unknown`.
    PositionAnswered(Partition, Assignment, PositionOutcome),
    /// The pause that `RetryLater` asked for is over.
    RetryDue(Partition, Assignment),
    /// The source could not consume the partition.
    ConsumeFailed(Partition),
    /// Kafka no longer has the offsets that we want, on some partition that it does not name.
    OffsetsLost,
    /// The positions that the database has, if it answered: a higher epoch than ours means that somebody has overruled us;
    /// another position or none, although nothing has moved since we looked last, that the database has gone back in time.
    PositionsSeen(Option<BTreeMap<Partition, Position>>),
    /// The segment of the spool that goes on at the claim's position was looked for.
    Fetched(Partition, Assignment, FetchOutcome),
    /// The database has been away for as long as we wait: from now on batches go to the spool.
    Outage,
    /// The database is back: what is in the spool goes there first.
    Recovered,
    /// No more batches: finish what is under way.
    Drain,
}

/// Where batches go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where they belong.
    Database,
    /// Where they wait while the database is away.
    Spool,
}

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The partition is ours from `next_offset`.
    Claimed(Claim),
    /// The partition is ours in the database, and the spool holds what comes next: that goes first.
    Drains(Claim),
    /// An operator has to decide.
    Halted(Halt),
    /// Kafka or the database did not answer.
    Unknown,
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Written and moved.
    Committed,
    /// Somebody else owns the partition.
    Fenced,
    /// It would have gone over the dead-letter budget: nothing is written, and the halt is remembered.
    Halted(Halt),
    /// The database answered and refused. That may be the data.
    Refused,
    /// Nothing has begun: the database was not asked at all.
    NotTried,
    /// Written or not: the database knows.
    Unknown,
}

/// What the database says about the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionOutcome {
    /// The row, if there is one.
    Known(Option<Position>),
    /// The database did not answer.
    Unknown,
}

/// What the spool has at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchOutcome {
    /// A batch that starts there and ends at that offset; the shell has it.
    Segment(i64),
    /// Nothing.
    Nothing,
    /// The partition is paused: nothing is taken out.
    Paused,
    /// The spool does not answer.
    Unknown,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Ask Kafka for lineage and range, then the database for the claim.
    Claim(Partition, Assignment),
    /// Ask Kafka for lineage and range, then the spool for the claim. The offset is the position that the database is known to
    /// have had last: where the spool holds nothing later, spooling begins there.
    ClaimSpool(Partition, Assignment, Option<i64>),
    /// Look for the segment of the spool that goes on at the claim's position; let those go that are stored.
    Fetch(Partition, Assignment, Claim),
    /// Consume from this offset on. Nothing of the partition is buffered yet.
    Consume(Partition, i64),
    /// Write the partition's ready batch under this claim.
    Write(Partition, Assignment, Place, Claim, Effort),
    /// Ask for the position.
    AskPosition(Partition, Assignment, Place, Claim),
    /// Come back with `RetryDue` after a pause that grows with the attempt.
    RetryLater(Partition, Assignment, u32),
    /// The batch is in the database: forget it and tell Kafka, for lag tools, that this is the next offset.
    Committed(Partition, i64),
    /// As `Committed`, but the answer of COMMIT was lost and nobody has counted the batch.
    FoundCommitted(Partition, i64),
    /// The batch is in the spool: forget it. Nobody is told: the database does not have it.
    Spooled(Partition, i64),
    /// Stop consuming the partition and forget what is buffered.
    Drop(Partition),
    /// Say that an operator has to decide about this partition.
    Halt(Partition, Halt),
}
