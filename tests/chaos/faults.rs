//! The faults: their names, how often each is drawn, and what each does. The driver (`driver.rs`) runs two lanes at a time, one
//! for members and broker, one for the database and the ways to it, so no two faults of one lane ever meet.
//!
//! What must stay true: every fault undoes itself before it returns.

use std::time::Duration;

use crate::dice::Dice;
use crate::world::World;
use crate::{database_faults as database, member_faults as member, spool_faults as spool};

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    WorkerKill,
    WorkerPauseShort,
    WorkerPauseLong,
    WorkerPauseInTransaction,
    RollingRestart,
    RebalanceStorm,
    BrokerKill,
    BrokerRestart,
    PostgresStop,
    PostgresAway,
    KillWhileSpooling,
    KillWhileDraining,
    AwayWhileDraining,
    RebalanceWhileSpooling,
    SpoolFull,
    TerminateSessions,
    CutBeforeCommit,
    CutAfterCommit,
    CutCommitAnswer,
    BlackHole,
    RefuseConnections,
    SlowDatabase,
    SlotsExhausted,
    ReadOnly,
    RowLock,
    OperatorReset,
}

use Fault::{
    AwayWhileDraining, BlackHole, BrokerKill, BrokerRestart, CutAfterCommit, CutBeforeCommit,
    CutCommitAnswer, KillWhileDraining, KillWhileSpooling, OperatorReset, PostgresAway, PostgresStop,
    ReadOnly, RebalanceStorm, RebalanceWhileSpooling, RefuseConnections, RollingRestart, RowLock,
    SlotsExhausted, SlowDatabase, SpoolFull, TerminateSessions, WorkerKill, WorkerPauseInTransaction,
    WorkerPauseLong, WorkerPauseShort,
};

/// Each fault, its name, how many cards of it are in its lane's deck, and about how many seconds it takes.
pub const MEMBERS: [(Fault, &str, usize, u64); 8] = [
    (WorkerKill, "worker killed", 2, 1),
    (WorkerPauseShort, "worker stopped, shorter than its session", 1, 4),
    (WorkerPauseLong, "worker stopped, longer than its session", 1, 9),
    (WorkerPauseInTransaction, "worker stopped inside a transaction", 2, 8),
    (RollingRestart, "rolling restart", 1, 6),
    (RebalanceStorm, "rebalance storm", 1, 7),
    (BrokerKill, "broker killed", 1, 7),
    (BrokerRestart, "broker restarted", 1, 8),
];

/// The same for the database.
pub const DATABASE: [(Fault, &str, usize, u64); 18] = [
    (PostgresStop, "PostgreSQL stopped at once", 1, 4),
    (PostgresAway, "PostgreSQL away, longer than a spool waits", 1, 6),
    (KillWhileSpooling, "worker killed while it spools", 1, 8),
    (KillWhileDraining, "worker killed while it drains", 1, 12),
    (AwayWhileDraining, "PostgreSQL away again while a worker drains", 1, 14),
    (RebalanceWhileSpooling, "rebalance while workers spool", 1, 9),
    (SpoolFull, "spool full", 1, 14),
    (TerminateSessions, "sessions terminated", 1, 4),
    (CutBeforeCommit, "cut before COMMIT", 1, 2),
    (CutAfterCommit, "cut after COMMIT", 2, 2),
    (CutCommitAnswer, "COMMIT's answer dropped", 2, 2),
    (BlackHole, "database silent", 1, 4),
    (RefuseConnections, "database refuses", 1, 3),
    (SlowDatabase, "database slow", 1, 5),
    (SlotsExhausted, "no connection left", 1, 4),
    (ReadOnly, "database read-only", 1, 4),
    (RowLock, "position row locked", 1, 5),
    (OperatorReset, "operator reset", 2, 1),
];

/// The names of all faults, in order.
pub fn names() -> impl Iterator<Item = (Fault, &'static str)> {
    MEMBERS.iter().chain(&DATABASE).map(|(fault, name, ..)| (*fault, *name))
}

impl Fault {
    /// Does it, and undoes it. Answers what was done in the end, with the details for the
    /// timeline, or nothing where it could not be done.
    pub async fn strike(self, world: &World, dice: &mut Dice) -> Option<(Self, String)> {
        let done = match self {
            WorkerKill => member::kill(world, dice).await,
            WorkerPauseShort => member::pause(world, dice, (1_000, 4_000)).await,
            WorkerPauseLong => member::pause(world, dice, (7_000, 9_000)).await,
            WorkerPauseInTransaction => return member::pause_in_transaction(world, dice).await,
            RollingRestart => member::rolling_restart(world).await,
            RebalanceStorm => member::rebalance_storm(world, dice).await,
            BrokerKill => member::broker_kill(world, dice).await,
            BrokerRestart => member::broker_restart(world).await,
            PostgresStop => database::stop(world, dice, (0, 2_500)).await,
            PostgresAway => database::stop(world, dice, (3_000, 7_000)).await,
            KillWhileSpooling => spool::kill_while_spooling(world, dice).await,
            KillWhileDraining => spool::kill_while_draining(world, dice).await,
            AwayWhileDraining => spool::away_while_draining(world, dice).await,
            RebalanceWhileSpooling => spool::rebalance_while_spooling(world, dice).await,
            SpoolFull => spool::full(world).await,
            TerminateSessions => database::terminate(world, dice).await,
            CutBeforeCommit | CutAfterCommit | CutCommitAnswer => database::cut(world, dice, self).await,
            BlackHole => database::hole(world, dice).await,
            RefuseConnections => database::refuse(world, dice).await,
            SlowDatabase => database::slow(world, dice).await,
            SlotsExhausted => database::no_slots(world, dice).await,
            ReadOnly => database::read_only(world, dice).await,
            RowLock => database::row_lock(world, dice).await,
            OperatorReset => database::operator_reset(world, dice).await,
        };
        Some((self, done?))
    }
}

/// Seconds for the timeline.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
