//! `StandIn`: what stands in for the database while it is away: the process's spool, and the outage that decides when it is used.
//! Opened by `run` and by `drain`.
//!
//! What must stay true: a process that starts while the database is away goes on only with partitions whose positions its spool
//! knows; all others wait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::Context;
use ledgerline_schema::store::{Spool, Store};

use crate::breaker::Breaker;
use crate::clock;
use crate::config::{Config, OnOutage};
use crate::http::Health;
use crate::metrics;
use crate::outage::Outage;
use crate::page::one_connection;
use crate::spool::TopicSpool;

/// How often it is looked at what waits in the spool.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the database may take to answer before a process starts without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The spool of a process, and when it is used.
#[derive(Debug, Clone)]
pub struct StandIn {
    /// The file.
    pub spool: Spool,
    /// When it is used.
    pub outage: Arc<Outage>,
    /// Whether the database is to be tried: the line and the outage ask the same one.
    pub breaker: Arc<Breaker>,
    bytes_max: u64,
}

impl StandIn {
    /// Opens the spool; none where the configuration wants none.
    ///
    /// # Errors
    /// The file cannot be had.
    pub async fn open(config: &Config) -> anyhow::Result<Option<Self>> {
        let settings = &config.store;
        match settings.on_outage {
            OnOutage::Wait => return Ok(None),
            OnOutage::Spool => {}
        }
        let spool = Spool::open(&settings.spool_file, settings.spool_mib).await.context(
            "store.spool_file: a file that is damaged has to be moved away; Kafka may have what it holds",
        )?;
        let breaker = Arc::new(Breaker::default());
        let after = Duration::from_millis(settings.spool_after_ms);
        let looks = Store::connect(&one_connection(&config.database)).await?;
        let outage = Arc::new(Outage::new(after, Arc::clone(&breaker), looks));
        Ok(Some(Self { spool, outage, breaker, bytes_max: settings.spool_mib << 20 }))
    }

    /// One topic's part.
    #[must_use]
    pub fn of_topic(&self, group: &Arc<str>, topic: &str) -> TopicSpool {
        TopicSpool::new(self.spool.clone(), Arc::clone(&self.outage), Arc::clone(group), topic)
    }

    /// Waits until it is clear that the process starts without the database: that takes no batches, and the spool knows where
    /// partitions stand. Never ends otherwise.
    pub async fn takes_over(&self, after: Duration) {
        tokio::time::sleep(after).await;
        let mut ticks = clock::ticks(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let takes = self.outage.takes_batches_within(PATIENCE).await;
            let knows = self.spool.store().partitions(None).await.is_ok_and(|rows| !rows.is_empty());
            if !takes && knows {
                return self.outage.begin();
            }
        }
    }

    /// Decides when the spool is used, and shows what waits in it. For ever.
    pub async fn watch(self, topics: Vec<String>, health: Arc<Health>) {
        tokio::join!(self.outage.watch(|| health.database.store(true, Relaxed)), self.show(&topics));
    }

    /// What waits for a topic that is no longer consumed is shown, too.
    async fn show(&self, topics: &[String]) {
        let mut topics: BTreeSet<String> = topics.iter().cloned().collect();
        loop {
            let started = Instant::now();
            let bytes = std::fs::metadata(self.spool.path()).map_or(0, |file| file.len());
            metrics::spool_size(bytes, self.bytes_max);
            let held = self.spool.held().await.unwrap_or_default();
            topics.extend(held.iter().map(|held| held.lineage.topic.clone()));
            for topic in &topics {
                let of_topic = held.iter().filter(|held| held.lineage.topic == *topic);
                let (segments, records) = of_topic.fold((0, 0), |(segments, records), held| {
                    (segments + held.segments, records + held.records)
                });
                metrics::spool_holds(topic, segments, records);
            }
            // Counting takes as long as there is much to count, and the file has one connection.
            tokio::time::sleep(LOOK_EVERY.max(started.elapsed() * 20)).await;
        }
    }
}
