//! Versions: newest wins, whatever the order of arrival. One rule for games and articles.

use crate::batch::RowCounts;
use crate::events::game::Version;

/// How a version stands to the stored one. The same rule for games and articles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Newer, with another content.
    Updated,
    /// Newer, with the same content: counts as a duplicate, but moves the time, so that a late older one stays older.
    Confirmed,
    /// The same, or an older one with the same content.
    Duplicate,
    /// Older.
    Stale,
}

/// Compares by the total order (time, sequence, content).
pub(super) fn step(stored: &Version, new: &Version) -> Step {
    match new.cmp(stored) {
        std::cmp::Ordering::Less if new.content_hash == stored.content_hash => Step::Duplicate,
        std::cmp::Ordering::Less => Step::Stale,
        std::cmp::Ordering::Equal => Step::Duplicate,
        std::cmp::Ordering::Greater if new.content_hash == stored.content_hash => Step::Confirmed,
        std::cmp::Ordering::Greater => Step::Updated,
    }
}

impl Step {
    pub(super) fn count(self, rows: &mut RowCounts) {
        match self {
            Self::Updated => rows.updated += 1,
            Self::Confirmed | Self::Duplicate => rows.duplicate += 1,
            Self::Stale => rows.stale += 1,
        }
    }

    pub(super) fn moves(self) -> bool {
        match self {
            Self::Updated | Self::Confirmed => true,
            Self::Duplicate | Self::Stale => false,
        }
    }
}
