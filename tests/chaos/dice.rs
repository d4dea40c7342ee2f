//! The run's luck: one seed, and everything that is random follows from it. Written out here, so that a seed of last year
//! still means the same, whatever became of a library.

/// SplitMix64.
pub struct Dice(u64);

impl Dice {
    /// `salt` tells apart the users of one seed.
    pub fn new(seed: u64, salt: u64) -> Self {
        Self(mix(seed, salt))
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low + 1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).expect("it fits")
    }

    /// A duration of that many milliseconds.
    pub fn millis(&mut self, low: u64, high: u64) -> std::time::Duration {
        std::time::Duration::from_millis(self.between(low, high))
    }

    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}

/// One number out of two, without memory.
pub fn mix(a: u64, b: u64) -> u64 {
    Dice(a ^ b.wrapping_mul(0xd6e8_feb8_6659_fd93)).roll()
}
