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
    /// Our position lies beyond the end of the same topic: the brokers lost its newest records.
    LogTruncated {
        /// Where we would go on.
        next: i64,
        /// End of the log.
        high: i64,
    },
    /// Our position lies beyond the end, and the brokers do not tell whether the topic is still the same one.
    AheadOfLog {
        /// Where we would go on.
        next: i64,
        /// End of the log.
        high: i64,
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

/// The one halt that cannot be seen from the log: it is remembered.
pub(super) const BUDGET: &str = "dead_letter_budget";

impl Halt {
    /// The name in metrics and in the database.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RetentionPassed { .. } => "retention_passed",
            Self::LogTruncated { .. } => "log_truncated",
            Self::AheadOfLog { .. } => "ahead_of_log",
            Self::TopicRecreated => "topic_recreated",
            Self::OtherCluster => "other_cluster",
            Self::DeadLetterBudget { .. } => BUDGET,
        }
    }

    /// Every name, so that a gauge exists for each.
    pub const NAMES: [&'static str; 6] =
        ["retention_passed", "log_truncated", "ahead_of_log", "topic_recreated", "other_cluster", BUDGET];
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RetentionPassed { next, low } => {
                write!(f, "offsets {next} to {low} were deleted by retention before they were read")
            }
            Self::LogTruncated { next, high } => {
                write!(
                    f,
                    "the brokers lost the newest records: position {next} lies beyond the end of the log, {high}"
                )
            }
            Self::AheadOfLog { next, high } => {
                write!(f, "position {next} lies beyond the end of the log, {high}")
            }
            Self::TopicRecreated => f.write_str("the topic was deleted and made again"),
            Self::OtherCluster => {
                f.write_str("the brokers belong to another cluster than the stored position")
            }
            Self::DeadLetterBudget { detail } => f.write_str(detail),
        }
    }
}
