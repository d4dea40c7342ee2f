//! Labels that are closed sets: which kind of source feeds a line, what became of a batch or of a sweep, what a rebalance brought.

/// Which kind of source feeds the line; a label of every metric of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A consumer group.
    Live,
    /// A part of a topic, read again.
    Replay,
    /// A file.
    Backfill,
    /// A spool whose partitions this process does not consume.
    Drain,
    /// A consumer group beside the live one, whose transactions are taken back.
    Shadow,
}

impl Mode {
    /// The label's value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Replay => "replay",
            Self::Backfill => "backfill",
            Self::Drain => "drain",
            Self::Shadow => "shadow",
        }
    }

    /// Whether what it does says where live consumption stands: its lag, its latency, its partitions.
    pub(crate) fn is_live(self) -> bool {
        match self {
            Self::Live => true,
            Self::Replay | Self::Backfill | Self::Drain | Self::Shadow => false,
        }
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchOutcome {
    Committed,
    /// Without an answer, or rolled back.
    Failed,
    /// The database answered and took none of it.
    Refused,
    /// Given up: it would have gone over the dead-letter budget.
    Halted,
    /// Another worker has claimed the partition.
    Fenced,
}

impl BatchOutcome {
    pub(crate) const ALL: [Self; 5] =
        [Self::Committed, Self::Failed, Self::Refused, Self::Halted, Self::Fenced];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Halted => "halted",
            Self::Fenced => "fenced",
        }
    }
}

/// What became of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SweepOutcome {
    Completed,
    /// Another worker sweeps, or has just done so.
    Skipped,
    /// Another worker began in the middle of it.
    Interrupted,
    Failed,
}

impl SweepOutcome {
    pub(crate) const ALL: [Self; 4] = [Self::Completed, Self::Skipped, Self::Interrupted, Self::Failed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Skipped => "skipped",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}

/// A change of the assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rebalance {
    /// Partitions came.
    Assigned,
    /// Partitions went.
    Revoked,
}

impl Rebalance {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Revoked => "revoked",
        }
    }
}
