//! One at a time per database: a lock that a session holds by its name. Taken by an upkeep and by a restore.
//!
//! What must stay true: whoever has ended is never taken for somebody at work. A command gives its turn back before it ends; of one
//! that was killed the server hears late, so that the next one waits a little.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How long a server under load takes to notice that a process is gone, and rather more.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// How long a command waits at its end for a server that does not answer any more.
const GOODBYE: Duration = Duration::from_secs(2);

/// All that the session holds; for [`given_back`].
pub(super) const GIVE_BACK: &str = "select pg_advisory_unlock_all()";

/// Lets the next one in. Where the server does not answer, it does so by itself when it misses the connection.
pub(super) async fn given_back(asked: impl Future) {
    let _ = timeout(GOODBYE, asked).await;
}

/// Asks for the turn until it is there; `false`: somebody else is at work. A lock that waits on the server will not do: its
/// statement has a snapshot, the rebuild of an index waits for all snapshots, and each would wait for the other.
pub(super) async fn taken<E>(mut try_lock: impl AsyncFnMut() -> Result<bool, E>) -> Result<bool, E> {
    let end = Instant::now() + PATIENCE;
    let mut tries = interval(BETWEEN_TRIES);
    tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tries.tick().await;
        if try_lock().await? {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
    }
}
