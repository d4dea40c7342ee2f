//! The proof that the ledger's segments chain: each of a group and log starts where the one before in time ends, up to the
//! position, and every jump is an operator's reset that is written down. Called by `verify.rs`; pure.

use std::collections::BTreeMap;

use diesel::Queryable;

use super::positions::PartitionState;
use super::redrive::REDRIVE_GROUP;
use super::verify::{LedgerSegment, Verification};

/// An operator's reset.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub(super) struct Jump {
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) lineage_before: Option<i32>,
    pub(super) lineage_after: Option<i32>,
    pub(super) epoch: Option<i64>,
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
}

impl Jump {
    fn name(&self) -> String {
        format!("{} {}[{}]", self.group, self.topic, self.partition)
    }
}

/// What happened to one group in one log.
enum Step<'a> {
    /// The position left `from`: for another place of the log, or for another log.
    Left { at: i64, jump: &'a Jump },
    /// The position came to `at`.
    Came { at: i64, jump: &'a Jump },
    /// Offsets were accounted for.
    Wrote(&'a LedgerSegment),
}

/// One group in one log, in the order of time.
#[derive(Default)]
struct Track<'a> {
    steps: Vec<((i64, u8, i64), Step<'a>)>,
    position: Option<&'a PartitionState>,
    /// An operator moved the position into this log from another one.
    came_from_elsewhere: bool,
}

/// Walks every group and log.
pub(super) fn check_segments(
    segments: &[LedgerSegment],
    positions: &[PartitionState],
    jumps: &[Jump],
) -> Verification {
    let mut found = Verification { partitions: positions.len(), ..Verification::default() };
    let mut tracks: BTreeMap<(&str, i32), Track<'_>> = BTreeMap::new();
    for segment in segments {
        check_sum(&mut found, segment);
        // A redriven letter is a segment of its own, chained to nothing.
        if segment.group != REDRIVE_GROUP {
            let track = tracks.entry((&segment.group, segment.lineage_id)).or_default();
            track.steps.push(((segment.epoch, 2, segment.from), Step::Wrote(segment)));
        }
    }
    for row in positions {
        tracks.entry((&row.group, row.lineage_id)).or_default().position = Some(row);
    }
    for jump in jumps {
        let (Some(epoch), Some(from), Some(to)) = (jump.epoch, jump.from, jump.to) else { continue };
        if let Some(lineage) = jump.lineage_before {
            let track = tracks.entry((&jump.group, lineage)).or_default();
            track.steps.push(((epoch, 0, from), Step::Left { at: from, jump }));
        }
        if let Some(lineage) = jump.lineage_after {
            let track = tracks.entry((&jump.group, lineage)).or_default();
            track.came_from_elsewhere |= jump.lineage_before != jump.lineage_after;
            track.steps.push(((epoch, 1, to), Step::Came { at: to, jump }));
        }
    }
    for track in tracks.into_values() {
        walk(&mut found, track);
    }
    found
}

fn walk(found: &mut Verification, mut track: Track<'_>) {
    track.steps.sort_by_key(|(order, _)| *order);
    // Where an operator chose the start, or the group has left the log, its first start is not known any more.
    let mut at = track.position.filter(|_| !track.came_from_elsewhere).map(|row| row.start_offset);
    // The name of the partition while something says that the group is in the log.
    let mut inside: Option<String> = None;
    for (_, step) in &track.steps {
        match step {
            Step::Left { at: from, jump } => {
                compare(found, &format!("{} reset", jump.name()), at, *from);
                (at, inside) = (Some(*from), None);
            }
            Step::Came { at: to, jump } => {
                left_in_silence(found, inside.replace(jump.name()), at);
                at = Some(*to);
            }
            Step::Wrote(segment) => {
                let name = format!("{} {}[{}]", segment.group, segment.topic, segment.partition);
                compare(found, &name, at, segment.from);
                (at, inside) = (Some(segment.to), Some(name));
            }
        }
    }
    match track.position {
        Some(row) => {
            let name = format!("{} {}[{}] position", row.group, row.topic, row.partition);
            compare(found, &name, at.or(Some(row.start_offset)), row.next_offset);
        }
        None => left_in_silence(found, inside, at),
    }
}

/// The group is in the log no more, or comes to it a second time, and nothing says that it left.
fn left_in_silence(found: &mut Verification, inside: Option<String>, at: Option<i64>) {
    let (Some(name), Some(at)) = (inside, at) else { return };
    found.gaps.push(format!("{name}: left at {at} without a reset that was written down"));
}

fn check_sum(found: &mut Verification, segment: &LedgerSegment) {
    let records = segment.applied + segment.dead + segment.tombstone + segment.skipped;
    if records + segment.hole + segment.lost != segment.to - segment.from {
        let LedgerSegment { group, topic, partition, from, to, .. } = segment;
        found.bad_sums.push(format!("{group} {topic}[{partition}]: {from} to {to} does not sum up"));
    }
    found.lost += segment.lost;
    if segment.group != REDRIVE_GROUP {
        found.records += records; // a redriven record was counted when it died
    }
}

fn compare(found: &mut Verification, name: &str, end: Option<i64>, from: i64) {
    let Some(end) = end else { return };
    if end < from {
        found.gaps.push(format!("{name}: nobody accounts for {end} to {from}"));
    }
    if end > from {
        found.overlaps.push(format!("{name}: {from} to {end} is accounted for twice"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UtcMicros;

    fn segment(epoch: i64, from: i64, to: i64) -> LedgerSegment {
        LedgerSegment {
            group: "g.odds".into(),
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

    fn position(lineage_id: i32, start_offset: i64, next_offset: i64) -> PartitionState {
        PartitionState {
            group: "g.odds".into(),
            topic: "odds".into(),
            partition: 0,
            lineage_id,
            cluster_id: "c".into(),
            topic_id: "t".into(),
            start_offset,
            next_offset,
            epoch: 1,
            owner: String::new(),
            updated_at: UtcMicros::default(),
            halted: None,
            halted_detail: None,
            halted_at: None,
            budget_exempt_to: 0,
        }
    }

    /// A reset from one (lineage, offset) to another.
    fn jump(epoch: i64, before: (i32, i64), after: (i32, i64)) -> Jump {
        Jump {
            group: "g.odds".into(),
            topic: "odds".into(),
            partition: 0,
            lineage_before: Some(before.0),
            lineage_after: Some(after.0),
            epoch: Some(epoch),
            from: Some(before.1),
            to: Some(after.1),
        }
    }

    fn check(segments: &[LedgerSegment], next: i64) -> Verification {
        check_segments(segments, &[position(1, 0, next)], &[])
    }

    #[test]
    fn sees_gaps_overlaps_and_bad_sums() {
        let segment = |from, to| segment(1, from, to);
        assert!(check(&[segment(0, 5), segment(5, 9)], 9).ok());
        assert_eq!(check(&[segment(0, 5), segment(6, 9)], 9).gaps.len(), 1);
        assert_eq!(check(&[segment(0, 5), segment(4, 9)], 9).overlaps.len(), 1);
        assert_eq!(check(&[segment(0, 5)], 9).gaps.len(), 1);
        assert_eq!(check(&[segment(5, 9)], 9).gaps.len(), 1);
        assert_eq!(check(&[], 9).gaps.len(), 1);
        let wrong = LedgerSegment { applied: 4, ..segment(0, 5) };
        assert_eq!(check(&[wrong], 5).bad_sums.len(), 1);
    }

    #[test]
    fn a_reset_explains_exactly_its_own_jump() {
        let segments = [segment(1, 0, 9), segment(3, 4, 7)];
        let check = |jumps: &[Jump]| check_segments(&segments, &[position(1, 0, 7)], jumps);
        assert!(check(&[jump(2, (1, 9), (1, 4))]).ok());
        assert!(check(&[jump(2, (1, 9), (1, 0)), jump(3, (1, 0), (1, 4))]).ok(), "several chain");
        assert!(!check(&[]).ok());
        for other in [
            jump(2, (1, 8), (1, 4)),
            jump(2, (1, 9), (1, 5)),
            jump(1, (1, 9), (1, 4)),
            jump(4, (1, 9), (1, 4)),
            jump(2, (2, 9), (2, 4)),
            Jump { group: "other".into(), ..jump(2, (1, 9), (1, 4)) },
        ] {
            assert!(!check(std::slice::from_ref(&other)).ok(), "{other:?}");
        }
    }

    #[test]
    fn a_log_that_the_group_left_and_came_back_to_chains() {
        let in_two = LedgerSegment { lineage_id: 2, ..segment(3, 100, 120) };
        let segments = [segment(1, 5, 9), in_two, segment(5, 7, 8)];
        let jumps = [jump(2, (1, 9), (2, 100)), jump(4, (2, 120), (1, 7))];
        assert!(check_segments(&segments, &[position(1, 7, 8)], &jumps).ok());
        let unfinished = [jump(2, (1, 9), (2, 100)), jump(4, (2, 121), (1, 7))];
        assert_eq!(check_segments(&segments, &[position(1, 7, 8)], &unfinished).gaps.len(), 1);
        assert!(check_segments(&segments[..2], &[position(2, 100, 120)], &jumps[..1]).ok());
    }

    #[test]
    fn a_log_that_nobody_left_needs_a_position() {
        let vanished = check_segments(&[segment(1, 0, 9)], &[], &[]);
        assert_eq!((vanished.gaps.len(), vanished.ok()), (1, false), "{vanished:?}");
        let moved = check_segments(&[segment(1, 0, 9)], &[position(2, 100, 100)], &[]);
        assert!(moved.gaps[0].contains("left at 9 without a reset"), "{moved:?}");
        let left = check_segments(&[segment(1, 0, 9)], &[], &[jump(2, (1, 9), (2, 4))]);
        assert_eq!(left.gaps.len(), 1, "it came to the other log and is not there: {left:?}");
        let back = [jump(2, (1, 9), (2, 4)), jump(4, (2, 4), (1, 9))];
        assert!(check_segments(&[segment(1, 0, 9)], &[position(1, 9, 9)], &back).ok());
        assert!(!check_segments(&[segment(1, 0, 9)], &[position(1, 9, 9)], &back[1..]).ok());
    }

    #[test]
    fn redriven_letters_are_chained_to_nothing() {
        let redriven = LedgerSegment { group: REDRIVE_GROUP.into(), ..segment(3, 3, 4) };
        let found = check(&[segment(1, 0, 5), redriven], 5);
        assert!(found.ok() && found.records == 5, "{found:?}");
    }

    /// A history that follows the rules: segments, jumps, and the position in the end.
    #[derive(Default)]
    struct History {
        segments: Vec<LedgerSegment>,
        jumps: Vec<Jump>,
        at: (i32, i64),
        start: i64,
        epoch: i64,
    }

    impl History {
        /// Writes `n` offsets, gives `n` up, goes back by `n`, or moves into log `n`.
        fn step(&mut self, kind: u8, n: i64) {
            let (lineage_id, next) = self.at;
            self.epoch += 1;
            let written = LedgerSegment { lineage_id, ..segment(self.epoch, next, next + n) };
            match kind {
                0 | 1 => self.segments.push(written),
                2 => self.segments.push(LedgerSegment { applied: 0, lost: n, ..written }),
                3 => self.jumps.push(jump(self.epoch, self.at, (lineage_id, (next - n).max(0)))),
                _ if n as i32 % 3 == lineage_id => return, // another log, that is
                _ => {
                    self.jumps.push(jump(self.epoch, self.at, (n as i32 % 3, n)));
                    self.start = n;
                }
            }
            self.at = match kind {
                0..=2 => (lineage_id, next + n),
                _ => self.jumps.last().map_or(self.at, |last| {
                    (last.lineage_after.unwrap_or_default(), last.to.unwrap_or_default())
                }),
            };
        }

        /// Whether the jump left a trace besides itself. Leaving a log in which nothing had happened leaves none.
        fn tells(&self, number: usize, jump: &Jump) -> bool {
            if jump.lineage_before == jump.lineage_after {
                return jump.from != jump.to;
            }
            let wrote = |segment: &LedgerSegment| {
                Some(segment.lineage_id) == jump.lineage_before && Some(segment.epoch) < jump.epoch
            };
            let came = |earlier: &Jump| earlier.lineage_after == jump.lineage_before;
            self.segments.iter().any(wrote) || self.jumps[..number].iter().any(came)
        }

        fn check(&self, jumps: &[Jump]) -> Verification {
            check_segments(&self.segments, &[position(self.at.0, self.start, self.at.1)], jumps)
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_written_down_verifies_and_a_missing_reset_does_not(
            steps in proptest::collection::vec((0u8..5, 1i64..9), 0..25)
        ) {
            let mut history = History::default();
            steps.iter().for_each(|(kind, n)| history.step(*kind, *n));
            let found = history.check(&history.jumps);
            proptest::prop_assert!(found.ok(), "{:?}", found);
            for (number, gone) in history.jumps.iter().enumerate() {
                if history.tells(number, gone) {
                    let mut others = history.jumps.clone();
                    others.remove(number);
                    proptest::prop_assert!(!history.check(&others).ok(), "without {:?}", gone);
                }
            }
        }
    }
}
