//! `Halt`: the named states of one partition in which going on would lose or mix records. Found by `claim.rs` and `write.rs`,
//! kept in the position row, left by an operator's command.

use std::fmt;

/// A state of one partition in which going on would lose or mix records. An operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// Kafka deleted records that were never read.
    RetentionPassed {
        /// Where we would go on.
        next: i64,
        /// Oldest offset that is kept.
        low: i64,
    },
    /// As `RetentionPassed`, and the worker's spool holds records, but only later ones: they are kept.
    SpoolGap {
        /// Where we would go on.
        next: i64,
        /// Oldest offset that Kafka keeps.
        low: i64,
        /// First offset that the spool holds.
        spooled: i64,
    },
    /// Our position lies beyond the end of the same topic: the brokers lost its newest records.
    LogTruncated {
        /// Where we would go on, and where the log ended when it was seen.
        detail: String,
    },
    /// Our position lies beyond the end, and the brokers do not tell whether the topic is still the same one.
    AheadOfLog {
        /// Where we would go on, and where the log ended when it was seen.
        detail: String,
    },
    /// The topic was deleted and made again.
    TopicRecreated,
    /// The brokers belong to another cluster.
    OtherCluster,
    /// Going on would turn too many records into dead letters.
    DeadLetterBudget {
        /// How many of how many.
        detail: String,
    },
}

/// The halt that is left by giving up what is not in the spool either.
pub(super) const SPOOL_GAP: &str = "spool_gap";
/// The halt that `offsets resume` is for.
pub(super) const BUDGET: &str = "dead_letter_budget";

impl Halt {
    /// The name in metrics and in the database.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RetentionPassed { .. } => "retention_passed",
            Self::SpoolGap { .. } => SPOOL_GAP,
            Self::LogTruncated { .. } => "log_truncated",
            Self::AheadOfLog { .. } => "ahead_of_log",
            Self::TopicRecreated => "topic_recreated",
            Self::OtherCluster => "other_cluster",
            Self::DeadLetterBudget { .. } => BUDGET,
        }
    }

    /// Whether it stays until an operator's command takes it away, although nothing may be seen of it any more: producers write
    /// on, and the log grows over the position again.
    pub(super) fn stays(&self) -> bool {
        match self {
            Self::LogTruncated { .. } | Self::AheadOfLog { .. } | Self::DeadLetterBudget { .. } => true,
            Self::RetentionPassed { .. }
            | Self::SpoolGap { .. }
            | Self::TopicRecreated
            | Self::OtherCluster => false,
        }
    }

    /// The halt that stays, by its name in the position row.
    pub(super) fn remembered(name: &str, detail: String) -> Option<Self> {
        let all = [
            Self::DeadLetterBudget { detail: detail.clone() },
            Self::LogTruncated { detail: detail.clone() },
            Self::AheadOfLog { detail },
        ];
        all.into_iter().find(|halt| halt.name() == name)
    }

    /// Every name, so that a gauge exists for each.
    pub const NAMES: [&'static str; 7] = [
        "retention_passed",
        SPOOL_GAP,
        "log_truncated",
        "ahead_of_log",
        "topic_recreated",
        "other_cluster",
        "dead_letter_budget",
    ];
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RetentionPassed { next, low } => {
                write!(f, "offsets {next} to {low} were deleted by retention before they were read")
            }
            Self::SpoolGap { next, low, spooled } => write!(
                f,
                "offsets {next} to {low} were deleted by retention before they were stored, and this worker's spool, which is kept, \
                 starts at {spooled}"
            ),
            Self::LogTruncated { detail } | Self::AheadOfLog { detail } => f.write_str(detail),
            Self::TopicRecreated => f.write_str("the topic was deleted and made again"),
            Self::OtherCluster => {
                f.write_str("the brokers belong to another cluster than the stored position")
            }
            Self::DeadLetterBudget { detail } => f.write_str(detail),
        }
    }
}
