//! What has happened in the schedules, counted: a simulation in which something never happens is blind to it.

/// Declares the kinds once: the enum, and its list.
macro_rules! kinds {
    ($($kind:ident),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Seen { $($kind),+ }

        const KINDS: &[Seen] = &[$(Seen::$kind),+];
    };
}

kinds! {
    Commit,
    CommitWithoutRecord,
    Fence,
    LostCommitAnswer,
    CommitFoundLater,
    CommitOfADeadWorker,
    CommitFailed,
    WriteAfterAnotherClaim,
    LateAnswerIgnored,
    LockWait,
    LockTimeout,
    IdleTransactionKilled,
    GivenUp,
    Refusal,
    Isolation,
    RefusedRecordSetAside,
    RetentionPassed,
    LogTruncated,
    AheadOfLog,
    TopicRecreated,
    OtherCluster,
    OverBudget,
    HaltLeft,
    ResetBack,
    ResetForward,
    LossAccepted,
    Resume,
    Restored,
    Crash,
    Pause,
    Drain,
    Rebalance,
    RevocationNeverTold,
    AssignedTwice,
    DatabaseAway,
    NotTried,
    KafkaAway,
    Retention,
    Truncation,
    Recreation,
    ClusterSwap,
    NewPartition,
    StartAtEnd,
    OffsetsLost,
    ConsumeFailed,
    Overruled,
    Outage,
    Recovered,
    SpoolClaimed,
    SpoolKnowsNothing,
    HaltedInSpool,
    Spooled,
    SpoolFence,
    SpoolFull,
    SegmentDamaged,
    Drained,
    DrainedPart,
    SegmentDropped,
    OutageWhileDraining,
    CrashWithSpool,
    Leftovers,
    LeftoverDrained,
    LeftoversGaveWay,
}

/// How often each kind was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage(Vec<u64>);

impl Default for Coverage {
    fn default() -> Self {
        Self(vec![0; KINDS.len()])
    }
}

impl Coverage {
    pub fn saw(&mut self, kind: Seen) {
        self.0[kind as usize] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, more)| *mine += more);
    }

    pub fn unseen(&self) -> Vec<Seen> {
        KINDS.iter().copied().filter(|kind| self.0[*kind as usize] == 0).collect()
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        KINDS.iter().try_for_each(|kind| writeln!(f, "{:>12}  {kind:?}", self.0[*kind as usize]))
    }
}
