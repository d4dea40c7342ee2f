//! `[topics.<kind>]`, and what comes of it: one kind with its settings resolved, and with its share of the memory.

use ledgerline_schema::budget::BudgetConfig;
use ledgerline_schema::events::EventKind;
use serde::Deserialize;

use super::{Config, KafkaConfig};
use crate::maintenance::Schedule;
use crate::memory::Shares;

/// `[topics.<kind>]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopicConfig {
    /// The topic; each kind has its own default.
    pub name: Option<String>,
    /// Whether `run` consumes it.
    pub enabled: Option<bool>,
    /// Connections that write its batches at the same time; its partitions are spread over them.
    pub writers: Option<usize>,
    /// When a batch is written.
    pub batch: BatchConfig,
    /// When too many dead letters halt a partition.
    pub dead_letters: BudgetConfig,
}

/// `[topics.<kind>.batch]`: a batch is written when the first of these is reached.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Rows.
    pub rows: usize,
    /// Bytes of the original records.
    pub bytes: usize,
    /// Age of its first record, in ms.
    pub age_ms: u64,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { rows: 5_000, bytes: 8 << 20, age_ms: 200 }
    }
}

/// One kind with its settings resolved.
#[derive(Debug, Clone)]
pub struct Topic {
    /// What the topic carries.
    pub kind: EventKind,
    /// Its name in Kafka.
    pub name: String,
    /// Connections that write at the same time.
    pub writers: usize,
    /// When a batch is written.
    pub batch: BatchConfig,
    /// When too many dead letters halt a partition.
    pub dead_letters: BudgetConfig,
    /// Most bytes that its partitions hold in buffers and in batches that are being written.
    pub buffered_bytes: usize,
}

impl Config {
    pub(super) fn shares(&self, kind: EventKind) -> Shares {
        let enabled = EventKind::ALL.iter().copied().filter(|kind| self.is_enabled(*kind));
        // A workflow reads one topic beside them, and it may be the largest.
        let consumed: Vec<EventKind> =
            enabled.chain(self.workflows.enabled.then_some(EventKind::Odds)).collect();
        self.memory.shares(kind, &consumed, self.writers(EventKind::Odds))
    }

    /// The settings of the client that reads the topic of a kind: its queue has its share of the budget, unless it has a bound
    /// of its own.
    #[must_use]
    pub fn kafka_for(&self, kind: EventKind) -> KafkaConfig {
        let share = || self.shares(kind).fetch_queue_kib;
        let fetch_queue_kib = Some(self.kafka.fetch_queue_kib.unwrap_or_else(share));
        KafkaConfig { fetch_queue_kib, ..self.kafka.clone() }
    }

    /// The kind that the topic carries. The default name of a kind that is switched off may be the topic of one that is not.
    #[must_use]
    pub fn kind_of(&self, topic: &str) -> Option<EventKind> {
        let enabled = self.enabled_topics().into_iter().find(|enabled| enabled.name == topic);
        let any = || EventKind::ALL.iter().copied().find(|kind| self.topic(*kind).name == topic);
        enabled.map(|enabled| enabled.kind).or_else(any)
    }
}

impl Config {
    /// Connections that the pool should have: each writer holds one, claims and other questions take two, sweeps and workflows
    /// theirs. With one less it runs, and callers wait for each other.
    #[must_use]
    pub fn wanted_connections(&self) -> u32 {
        let wanted = self.all_writers() + 2 + self.sweepers() + self.workflows.connections();
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }

    pub(super) fn all_writers(&self) -> usize {
        self.enabled_topics().iter().map(|topic| topic.writers).sum()
    }

    /// Connections that sweeps take; none where their schedule cannot be used, which is said elsewhere.
    pub(super) fn sweepers(&self) -> usize {
        Schedule::new(&self.compaction, &self.retention).map_or(0, |schedule| schedule.connections())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_read_comes_before_the_default_of_one_that_is_not() {
        let mut config = Config::default();
        let [game, odds] = [EventKind::Game, EventKind::Odds];
        let off = TopicConfig { enabled: Some(false), ..TopicConfig::default() };
        let named = |name: &str| TopicConfig { name: Some(name.into()), ..TopicConfig::default() };
        for (read, unread) in [(game, odds), (odds, game)] {
            config.topics.insert(unread.name().into(), off.clone());
            config.topics.insert(read.name().into(), named(unread.default_topic()));
            assert_eq!(config.kind_of(unread.default_topic()), Some(read));
        }
        assert_eq!(config.kind_of("unknown"), None);
    }
}
