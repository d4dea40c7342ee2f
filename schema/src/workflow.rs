//! Workflows as data: what a replay or a backfill is asked for, what it covers, and which states it goes through. Pure; kept by
//! `store/workflows.rs`, run by the worker, shown and changed by commands and the API.
//!
//! What must stay true: a state changes only as `State::may_become` says; the plan is captured once, so that a workflow that is
//! taken up again covers what it covered before.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::store::Lineage;

mod parameters;

pub use parameters::{Backfill, BadParameter, FORMATS, InputFile, OffsetRange, Parameters, Replay};

/// What positions of replays are kept under: this, and the workflow's id.
pub const REPLAY_GROUP: &str = "replay:";
/// What positions of backfills are kept under: this, the workflow's id, and the number of the file.
pub const BACKFILL_GROUP: &str = "backfill:";
/// The cluster of a file's lineage.
pub const FILE_CLUSTER: &str = "file";

/// Whether a group belongs to a workflow: it follows no log to its end.
#[must_use]
pub fn is_of_a_workflow(group: &str) -> bool {
    group.starts_with(REPLAY_GROUP) || group.starts_with(BACKFILL_GROUP)
}

/// What a workflow does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkflowKind {
    /// Reads a part of a topic again.
    Replay,
    /// Reads files.
    Backfill,
}

impl WorkflowKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Replay, Self::Backfill];

    /// The name in the database, in metrics and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Backfill => "backfill",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where a workflow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Somebody has to take it up.
    Queued,
    /// Somebody has; or had, and its lease has run out.
    Running,
    /// It did all that it was asked.
    Succeeded,
    /// It could not, and says why.
    Failed,
    /// Somebody called it off.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The name in the database, in metrics and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nobody has to do anything any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }

    /// The only changes there are. Running becomes running where somebody else takes it up.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Running | Self::Cancelled),
            Self::Running => matches!(next, Self::Running | Self::Succeeded | Self::Failed | Self::Cancelled),
            // What it has done stays done: taken up again it goes on from there.
            Self::Failed | Self::Cancelled => next == Self::Queued,
            Self::Succeeded => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a workflow covers, captured at its first start: no log twice under one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its parts, in the order in which they are run; those of one group and topic together.
    pub parts: Vec<Part>,
}

/// Offsets [from, to) of one log, under a group of the workflow's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The group that its positions and accounts are kept under.
    pub group: String,
    /// The cluster.
    pub cluster_id: String,
    /// The incarnation of the topic; of a file the hash of its bytes.
    pub topic_id: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// One past the last offset.
    pub to: i64,
}

impl Part {
    /// The log.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        Lineage::new(&self.cluster_id, &self.topic_id, &self.topic, self.partition)
    }
}

impl Plan {
    /// Offsets of all parts together.
    #[must_use]
    pub fn offsets(&self) -> i64 {
        self.parts.iter().map(|part| part.to - part.from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Whatever is asked for, in whatever order: what is over stays over but for a retry, and nothing ends without having
        /// been taken up or called off.
        #[test]
        fn states_change_as_they_may(asked in proptest::collection::vec(0usize..5, 0..40)) {
            let (mut state, mut was_running) = (State::Queued, false);
            for next in asked.into_iter().map(|number| State::ALL[number]) {
                if !state.may_become(next) {
                    continue;
                }
                proptest::prop_assert!(state != State::Succeeded);
                proptest::prop_assert!(!state.is_final() || next == State::Queued);
                proptest::prop_assert!(!matches!(next, State::Succeeded | State::Failed) || state == State::Running);
                was_running |= next == State::Running;
                proptest::prop_assert!(!matches!(next, State::Succeeded | State::Failed) || was_running);
                state = next;
            }
        }
    }
}
