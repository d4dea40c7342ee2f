//! `View`: one look at everything that the page shows and that moves: what this process did, from memory, and what the database
//! said last. Taken once for a page, and once a second for all who look on.

use std::collections::BTreeMap;
use std::sync::Arc;

use ledgerline_schema::store::PartitionState;
use ledgerline_schema::time::UtcMicros;

use super::database::Seen;
use crate::progress::{PartitionProgress, Progress, Totals};
use crate::protocol::Partition;
use crate::recent::Recent;

/// One look.
pub(super) struct View {
    /// When.
    pub now: UtcMicros,
    /// The pipelines of this process.
    pub topics: Vec<TopicView>,
    /// What the database said last.
    pub seen: Seen,
}

/// What one pipeline of this process did.
pub(super) struct TopicView {
    pub name: String,
    /// Its consumer group.
    pub group: String,
    pub totals: Totals,
    pub recent: Recent,
    pub partitions: BTreeMap<Partition, PartitionProgress>,
}

/// One partition, as this process and the database know it.
pub(super) struct PartitionView<'v> {
    pub topic: &'v str,
    pub partition: Partition,
    /// Whether this process reads it.
    pub ours: bool,
    pub next_offset: Option<i64>,
    pub log_end: Option<i64>,
    pub lag: Option<i64>,
    /// Why it is halted, and what that means here.
    pub halted: Option<(&'v str, Option<&'v str>)>,
    /// Whether an operator has paused it, as far as this process knows.
    pub paused: bool,
    pub epoch: Option<i64>,
    pub owner: Option<&'v str>,
    pub updated_at: Option<UtcMicros>,
}

impl View {
    pub(super) fn take(
        pipelines: &[Arc<Progress>],
        group_of: impl Fn(&str) -> String,
        seen: Seen,
        now: UtcMicros,
    ) -> Self {
        let topic = |progress: &Arc<Progress>| TopicView {
            name: progress.topic().to_owned(),
            group: group_of(progress.topic()),
            totals: progress.totals(),
            recent: progress.recent(),
            partitions: progress.partitions(),
        };
        Self { now, topics: pipelines.iter().map(topic).collect(), seen }
    }

    /// Every partition of our groups: halted ones first, then those that are behind most.
    pub(super) fn partitions(&self) -> Vec<PartitionView<'_>> {
        let mut found: Vec<PartitionView<'_>> = Vec::new();
        for topic in &self.topics {
            let mut rows: BTreeMap<Partition, Option<&PartitionState>> =
                topic.partitions.keys().map(|partition| (*partition, None)).collect();
            let stored = self.seen.partitions.value.iter().flat_map(|rows| rows.iter());
            let stored = stored.filter(|row| row.group == topic.group && row.topic == topic.name);
            rows.extend(stored.map(|row| (row.partition, Some(row))));
            found.extend(rows.into_iter().map(|(partition, row)| topic.partition(partition, row)));
        }
        found.sort_by_key(|row| {
            (row.halted.is_none(), std::cmp::Reverse(row.lag.unwrap_or(0)), row.topic, row.partition)
        });
        found
    }

    /// The newest record that is stored, of all topics.
    pub(super) fn newest_record(&self) -> Option<UtcMicros> {
        self.topics.iter().filter_map(|topic| topic.recent.newest_record).max()
    }

    /// Records that this process is behind; none where it has no partition whose end is known.
    pub(super) fn lag(&self) -> Option<i64> {
        self.topics.iter().filter_map(TopicView::lag).reduce(i64::saturating_add)
    }
}

impl TopicView {
    /// As [`View::lag`], of the topic.
    pub(super) fn lag(&self) -> Option<i64> {
        self.partitions.values().filter_map(PartitionProgress::lag).reduce(i64::saturating_add)
    }

    /// What this process knows is newer; what only the database knows is added.
    fn partition<'v>(&'v self, partition: Partition, row: Option<&'v PartitionState>) -> PartitionView<'v> {
        let here = self.partitions.get(&partition);
        let stored_halt =
            row.and_then(|row| row.halt().map(|(halt, _)| (halt, row.halted_detail.as_deref())));
        let halted = match here.and_then(|here| here.halted) {
            Some(halt) => Some((halt, stored_halt.and_then(|(_, detail)| detail))),
            None => stored_halt.filter(|_| here.is_none_or(|here| here.next_offset.is_none())),
        };
        PartitionView {
            topic: &self.name,
            partition,
            ours: here.is_some(),
            next_offset: here.and_then(|here| here.next_offset).or(row.map(|row| row.next_offset)),
            log_end: here.and_then(|here| here.log_end),
            lag: here.and_then(PartitionProgress::lag),
            halted,
            paused: here.is_some_and(|here| here.paused),
            epoch: row.map(|row| row.epoch),
            owner: row.map(|row| row.owner.as_str()),
            updated_at: row.map(|row| row.updated_at),
        }
    }
}
