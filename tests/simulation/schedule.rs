//! What a seed decides: the dice, and the plan of a schedule (its size, and which kinds of faults it has at all). Nothing else
//! in the simulation is random.

/// Partitions that a schedule may end up with.
pub const PARTITIONS: usize = 4;

/// splitmix64: small, the same on every machine and in every year.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in 0..bound.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    /// An offset in low..high; low where that is empty.
    pub fn offset(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.below(usize::try_from(high - low).unwrap_or(1))).unwrap_or(0)
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// What can go wrong, and who can step in. A schedule has some of them: few faults reach deep, many reach wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Crash,
    Pause,
    Drain,
    Rebalance,
    Zombie,
    Answers,
    GiveUp,
    DatabaseAway,
    KafkaAway,
    Refusals,
    Retention,
    Operator,
    BadDisk,
    Truncation,
    Recreation,
    ClusterSwap,
    NewPartition,
    Restore,
}

const USUAL: [Fault; 13] = [
    Fault::Crash,
    Fault::Pause,
    Fault::Drain,
    Fault::Rebalance,
    Fault::Zombie,
    Fault::Answers,
    Fault::GiveUp,
    Fault::DatabaseAway,
    Fault::KafkaAway,
    Fault::Refusals,
    Fault::Retention,
    Fault::Operator,
    Fault::BadDisk,
];
const RARE: [Fault; 5] =
    [Fault::Truncation, Fault::Recreation, Fault::ClusterSwap, Fault::NewPartition, Fault::Restore];

/// The size of one schedule and its faults.
pub struct Plan {
    pub partitions: usize,
    pub workers: usize,
    pub steps: usize,
    /// Records of a full batch.
    pub batch: usize,
    /// Dead letters in a row that the budget allows.
    pub budget: u32,
    /// Whether a group starts at the end of a log that it meets for the first time.
    pub latest: bool,
    /// Whether workers have a spool.
    pub spool: bool,
    /// Whether the brokers tell topic ids.
    pub topic_ids: bool,
    faults: u32,
}

impl Plan {
    pub fn roll(dice: &mut Dice) -> Self {
        let mut faults = 0;
        for fault in USUAL {
            faults |= u32::from(dice.percent(50)) << fault as u32;
        }
        for fault in RARE {
            faults |= u32::from(dice.percent(20)) << fault as u32;
        }
        Self {
            partitions: 1 + dice.below(3),
            workers: 2 + dice.below(2),
            steps: 150 + dice.below(700),
            batch: 1 + dice.below(6),
            budget: 2 + u32::try_from(dice.below(5)).unwrap_or(0),
            latest: dice.percent(15),
            spool: dice.percent(60),
            topic_ids: dice.percent(85),
            faults,
        }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.faults & (1 << fault as u32) != 0
    }
}
