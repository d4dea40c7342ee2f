//! Labels that are closed sets: which kind of source feeds a line, and what a rebalance brought.

/// Which kind of source feeds the line; a label of every metric of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A consumer group.
    Live,
    /// A part of a topic, read again.
    Replay,
    /// A file.
    Backfill,
    /// Dead letters.
    Redrive,
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
            Self::Redrive => "redrive",
            Self::Drain => "drain",
            Self::Shadow => "shadow",
        }
    }

    /// Whether what it does says where live consumption stands: its lag, its latency, its partitions.
    pub(crate) fn is_live(self) -> bool {
        match self {
            Self::Live => true,
            Self::Replay | Self::Backfill | Self::Redrive | Self::Drain | Self::Shadow => false,
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
