//! What every test stands on: real services whose addresses come from the environment (`make test` starts them), a database and
//! topics of its own, and the product's binary as a child process.
//!
//! What must stay true: no test shares a topic or a database with another; nothing waits for a time, only for a condition.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod catalog;
pub mod certificates;
pub mod chart;
pub mod chromium;
pub mod expressions;
pub mod kafka;
pub mod matchday;
pub mod postgres;
pub mod scenes;
pub mod servers;
pub mod tables;
pub mod tls_servers;
pub mod watchers;
pub mod wire;
pub mod worker;

use std::time::{Duration, Instant};

/// Longest wait for a condition, on a busy machine with two slow cores.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The value of a variable that `make test` sets.
#[expect(clippy::disallowed_methods, reason = "the addresses of the test's services come from outside")]
pub fn service(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `make test`, which starts the services that the tests need")
    })
}

/// The value of a variable that a longer run may set.
#[expect(clippy::disallowed_methods, reason = "how long a test takes is decided outside")]
pub fn optional(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

/// A name that no other test has.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

/// Waits until `condition` answers something, and says what was awaited if it never does.
pub async fn eventually<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        ticks.tick().await;
    }
}
