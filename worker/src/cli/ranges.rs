//! Which offsets `verify --kafka` reads again, and what it may demand of them: of segments that account for the same offsets
//! (an operator moved the position back) the latest one counts. Pure; called by `verify.rs`.

use std::collections::BTreeMap;

use ledgerline_schema::store::{LedgerSegment, PartitionState, REDRIVE_GROUP};

/// Offsets to read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    /// The segment, its ends cut to the offsets that it still stands for.
    pub(super) segment: LedgerSegment,
    /// Nothing was cut off: the segment's counts are those of the range.
    pub(super) whole: bool,
}

/// The ranges, in the order of group, lineage and offset; those that go on where one ends as one, to be read by one reader.
///
/// Not in them: what operators gave up, what redrives account for (their letters are looked for under the group that met
/// them), and what lies ahead of a position that was moved back.
pub(super) fn ranges(segments: Vec<LedgerSegment>, positions: &[PartitionState]) -> Vec<Range> {
    let mut tracks: BTreeMap<(String, i32), Vec<LedgerSegment>> = BTreeMap::new();
    for segment in segments.into_iter().filter(|segment| segment.group != REDRIVE_GROUP) {
        tracks.entry((segment.group.clone(), segment.lineage_id)).or_default().push(segment);
    }
    let mut ranges: Vec<Range> = Vec::new();
    for ((group, lineage_id), segments) in tracks {
        let position = positions.iter().find(|row| row.group == group && row.lineage_id == lineage_id);
        for range in latest(segments, position.map_or(i64::MAX, |row| row.next_offset)) {
            match ranges.last_mut().and_then(|last| Some((last.joined(&range)?, last))) {
                Some((joined, last)) => *last = joined,
                None => ranges.push(range),
            }
        }
    }
    ranges
}

impl Range {
    fn joined(&self, next: &Self) -> Option<Self> {
        let segment = self.segment.joined(&next.segment).filter(|_| self.whole == next.whole)?;
        Some(Self { segment, whole: self.whole })
    }
}

/// The parts of one group's segments in one log that no later segment accounts for, below `end`, in order.
fn latest(mut segments: Vec<LedgerSegment>, end: i64) -> Vec<Range> {
    segments.sort_by_key(|segment| (segment.epoch, segment.from));
    let mut taken: Vec<(i64, i64)> = Vec::new();
    let mut found = Vec::new();
    for segment in segments.into_iter().rev() {
        if segment.lost == 0 {
            for (from, to) in free(&taken, segment.from, segment.to.min(end)) {
                let whole = (from, to) == (segment.from, segment.to);
                found.push(Range { segment: LedgerSegment { from, to, ..segment.clone() }, whole });
            }
        }
        take(&mut taken, segment.from, segment.to);
    }
    found.sort_by_key(|range| range.segment.from);
    found
}

/// The parts of [from, to) that are not taken.
fn free(taken: &[(i64, i64)], from: i64, to: i64) -> Vec<(i64, i64)> {
    let mut parts = Vec::new();
    let mut next = from;
    for (start, end) in taken.iter().filter(|(start, end)| *end > from && *start < to) {
        if *start > next {
            parts.push((next, *start));
        }
        next = next.max(*end);
    }
    if next < to {
        parts.push((next, to));
    }
    parts
}

/// Adds [from, to); what touches becomes one.
fn take(taken: &mut Vec<(i64, i64)>, mut from: i64, mut to: i64) {
    taken.retain(|(start, end)| {
        let apart = *end < from || *start > to;
        if !apart {
            from = from.min(*start);
            to = to.max(*end);
        }
        apart
    });
    let place = taken.partition_point(|(start, _)| *start < from);
    taken.insert(place, (from, to));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(epoch: i64, from: i64, to: i64) -> LedgerSegment {
        LedgerSegment {
            group: "g".into(),
            lineage_id: 1,
            topic: "odds".into(),
            partition: 0,
            cluster_id: "c".into(),
            topic_id: "t".into(),
            epoch,
            from,
            to,
            applied: to - from,
            dead: 0,
            tombstone: 0,
            skipped: 0,
            hole: 0,
            lost: 0,
            inserted: 0,
        }
    }

    fn parts(segments: Vec<LedgerSegment>) -> Vec<(i64, i64, bool)> {
        let ranges = ranges(segments, &[]);
        ranges.iter().map(|range| (range.segment.from, range.segment.to, range.whole)).collect()
    }

    #[test]
    fn segments_that_chain_are_one_range() {
        assert_eq!(parts(vec![segment(1, 0, 5), segment(1, 5, 9), segment(2, 9, 12)]), [(0, 12, true)]);
    }

    #[test]
    fn the_latest_segment_counts() {
        let back = vec![segment(1, 0, 10), segment(3, 4, 7), segment(4, 7, 8)];
        assert_eq!(parts(back), [(0, 4, false), (4, 8, true), (8, 10, false)]);
        assert_eq!(parts(vec![segment(1, 3, 10), segment(3, 0, 10)]), [(0, 10, true)]);
    }

    #[test]
    fn nothing_is_demanded_of_what_was_given_up_or_redriven() {
        let lost = LedgerSegment { lost: 10, applied: 0, ..segment(2, 5, 15) };
        let redriven = LedgerSegment { group: REDRIVE_GROUP.into(), ..segment(3, 3, 4) };
        let segments = vec![segment(1, 0, 5), lost, segment(3, 15, 20), redriven];
        assert_eq!(parts(segments), [(0, 5, true), (15, 20, true)]);
    }

    proptest::proptest! {
        #[test]
        fn every_offset_is_in_at_most_one_range(
            bounds in proptest::collection::vec((0i64..30, 1i64..15), 0..12)
        ) {
            let segments: Vec<LedgerSegment> = bounds.iter().zip(1..)
                .map(|((from, length), epoch)| segment(epoch, *from, from + length)).collect();
            let parts = parts(segments);
            for offset in 0..50 {
                let accounted = bounds.iter().any(|(from, length)| (*from..from + length).contains(&offset));
                let times = parts.iter().filter(|(from, to, _)| (*from..*to).contains(&offset)).count();
                proptest::prop_assert_eq!(times, usize::from(accounted));
            }
        }
    }
}
