//! Filling a topic. Used by `e2e`.

use std::time::Duration;

use super::Scene;
use super::events::events;
use crate::blocking::blocking;
use crate::publisher::Publisher;

/// How long no acknowledgement at all may come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What is in the topic.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filled {
    /// Records, each acknowledged.
    pub events: u64,
    /// Quotes in them.
    pub quotes: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// Publishes the backlog.
///
/// # Errors
/// A record that was not acknowledged.
pub async fn fill(scene: &Scene<'_>) -> anyhow::Result<Filled> {
    let (kafka, topic) = (scene.config.kafka.clone(), scene.backlog.clone());
    let (run, count) = (scene.name.clone(), scene.events);
    blocking(move || {
        let mut publisher = Publisher::new(&kafka)?;
        let mut filled = Filled::default();
        for event in events(&run, count) {
            publisher.send(&topic, Some(event.key.as_bytes()), Some(&event.value), None)?;
            filled.quotes += event.quotes;
            filled.bytes += (event.key.len() + event.value.len()) as u64;
        }
        filled.events = publisher.flush(PATIENCE)?;
        anyhow::Ok(filled)
    })
    .await
}
