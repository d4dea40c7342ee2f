//! `Room`: what the lanes of one topic may hold in memory together. Asked by the pipeline; pure.
//!
//! What must stay true: a lane that holds less than its fair part always takes more, so one that is stuck never stops the
//! others; and as long as lanes take only while they may, all together hold no more than the bound.

/// The room of one topic.
#[derive(Debug)]
pub struct Room {
    /// From here on each lane keeps to its fair part. Half of the bound: the other half is for lanes that hold little so far.
    tight_bytes: usize,
    /// What a lane may hold while it is tight.
    fair_bytes: usize,
    is_tight: bool,
}

impl Room {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bound_bytes: usize) -> Self {
        Self { tight_bytes: bound_bytes / 2, fair_bytes: bound_bytes / 2, is_tight: false }
    }

    /// Takes note of what each lane holds. Tight lasts until a quarter is free again, or lanes would be held back and let go
    /// with every batch.
    pub fn look(&mut self, held_bytes: impl Iterator<Item = usize>) {
        let (mut lanes, mut all) = (0, 0);
        for held in held_bytes {
            lanes += 1;
            all += held;
        }
        let limit = if self.is_tight { self.tight_bytes / 4 * 3 } else { self.tight_bytes };
        self.is_tight = all >= limit;
        self.fair_bytes = self.tight_bytes / lanes.max(1);
    }

    /// Whether the lanes hold so much that some should write early.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.is_tight
    }

    /// Whether a lane that holds so much may take more.
    #[must_use]
    pub fn is_left_for(&self, held_bytes: usize) -> bool {
        !self.is_tight || held_bytes < self.fair_bytes
    }

    /// What a lane may hold while memory is tight.
    #[must_use]
    pub fn fair_bytes(&self) -> usize {
        self.fair_bytes
    }

    /// What may be taken before looking again.
    #[must_use]
    pub fn bytes_per_turn(&self) -> usize {
        self.tight_bytes / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// Lanes of any number take and never write: they stop at the bound, but for what one turn adds.
        #[test]
        fn the_bound_holds(takes in proptest::collection::vec((0usize..20, 1usize..2_000), 1..2_000)) {
            let mut room = Room::new(100_000);
            let mut held = [0usize; 20];
            for (lane, bytes) in takes {
                room.look(held.iter().copied());
                if room.is_left_for(held[lane]) {
                    held[lane] += bytes;
                }
            }
            proptest::prop_assert!(held.iter().sum::<usize>() <= 100_000 + 20 * 2_000);
        }
    }

    #[test]
    fn one_stuck_lane_leaves_room_for_the_others() {
        let mut room = Room::new(100_000);
        room.look([90_000, 0, 24_999].into_iter());
        assert!(room.is_tight());
        assert!(!room.is_left_for(90_000));
        assert!(room.is_left_for(0) && room.is_left_for(16_000));
        assert!(!room.is_left_for(16_666));
    }

    #[test]
    fn tight_lasts_until_a_quarter_is_free() {
        let mut room = Room::new(100_000);
        for (held, tight) in
            [(49_999, false), (50_000, true), (40_000, true), (37_499, false), (40_000, false)]
        {
            room.look([held].into_iter());
            assert_eq!(room.is_tight(), tight, "{held}");
        }
    }
}
