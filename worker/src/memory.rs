//! `[memory]`: one number from which the fetch queues, the buffers and the caches follow. Used by the configuration.
//!
//! What must stay true: the shares together are the budget. Beside it a process needs what it needs while it does nothing, some
//! 20 MiB, and what a transaction takes while it is encoded, about one batch for each writer.

use ledgerline_schema::events::EventKind;
use serde::Deserialize;

/// `[memory]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryConfig {
    /// What fetch queues, buffers and caches may hold together, in MiB.
    pub budget_mib: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { budget_mib: 64 }
    }
}

/// What each part may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Records that the Kafka client has fetched and nobody has taken yet, of this topic: a quarter of the budget for all.
    pub fetch_queue_kib: u64,
    /// Records and rows in buffers and in running transactions, of this topic: half of the budget for all.
    pub buffered_bytes: usize,
    /// Selections whose ids one connection remembers: a quarter of the budget for all.
    pub cached_selections: usize,
}

/// The client counts the bytes of records and not what it needs beside them, some 400 bytes for each.
const QUEUED_TAKES: usize = 2;
/// The client takes no larger number.
const QUEUE_KIB_MOST: usize = 2_097_151;
/// What a remembered selection takes: its names, its place in the table, the rest of an allocation.
const CACHED_SELECTION_BYTES: usize = 256;

/// Odds come by the thousand a second and need as much as all other kinds together.
fn weight(kind: EventKind) -> usize {
    match kind {
        EventKind::Odds => EventKind::ALL.len() - 1,
        EventKind::Game | EventKind::Article | EventKind::Signal | EventKind::Analysis => 1,
    }
}

impl MemoryConfig {
    /// The share of a kind's topic among those that are consumed, and of each connection that writes odds; the pool lends the
    /// one that was used last, so a connection more than there are writers is enough.
    #[must_use]
    pub fn shares(&self, kind: EventKind, consumed: &[EventKind], odds_writers: usize) -> Shares {
        let quarter = (self.budget_mib << 20) / 4;
        let itself = if consumed.contains(&kind) { 0 } else { weight(kind) };
        let all = itself + consumed.iter().copied().map(weight).sum::<usize>();
        let part = |bytes: usize| bytes / all * weight(kind);
        let connections = odds_writers + 1;
        Shares {
            fetch_queue_kib: (part(quarter) / QUEUED_TAKES / 1_024).min(QUEUE_KIB_MOST) as u64,
            buffered_bytes: part(2 * quarter),
            cached_selections: quarter / connections / CACHED_SELECTION_BYTES,
        }
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!((8..=65_536).contains(&self.budget_mib), "memory.budget_mib: must be 8 to 65,536");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_budget() {
        let memory = MemoryConfig { budget_mib: 64 };
        let writers = 7;
        for consumed in [EventKind::ALL, &[EventKind::Odds], &[EventKind::Game, EventKind::Article]] {
            let shares = consumed.iter().map(|kind| memory.shares(*kind, consumed, writers));
            let of_topic = |shares: Shares| {
                QUEUED_TAKES * shares.fetch_queue_kib as usize * 1_024 + shares.buffered_bytes
            };
            let cached = memory.shares(EventKind::Odds, consumed, writers).cached_selections;
            let all = shares.map(of_topic).sum::<usize>() + (writers + 1) * cached * CACHED_SELECTION_BYTES;
            let budget = 64 << 20;
            assert!((budget - 16_384..=budget).contains(&all), "{consumed:?}: {all}");
        }
    }

    #[test]
    fn odds_have_as_much_as_all_others_together() {
        let of = |kind| MemoryConfig { budget_mib: 64 }.shares(kind, EventKind::ALL, 1).buffered_bytes;
        assert_eq!(of(EventKind::Odds), 16 << 20);
        assert_eq!(of(EventKind::Article), 4 << 20);
    }

    #[test]
    fn the_smallest_budget_still_holds_something() {
        for kind in EventKind::ALL {
            let shares = MemoryConfig { budget_mib: 8 }.shares(*kind, EventKind::ALL, 64);
            assert!(shares.fetch_queue_kib >= 32 && shares.cached_selections >= 100, "{kind:?}: {shares:?}");
        }
    }
}
