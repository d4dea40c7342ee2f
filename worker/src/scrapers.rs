//! Stores which versions of which scrapers were seen: every ten seconds, and at the end. Runs beside the line.
//!
//! What must stay true: the line never waits for it; what could not be stored is counted on and stored the next time. It is a
//! hint for people and no account: what is read twice counts twice, and what a killed process had not stored is forgotten.

use std::sync::Arc;
use std::time::Duration;

use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::Store;
use tokio::time::timeout;

use crate::clock;
use crate::progress::Progress;

/// How often it is stored.
const EVERY: Duration = Duration::from_secs(10);
/// How long the end of a process waits for it.
const LAST: Duration = Duration::from_secs(1);

/// The pipelines, each with the kind of its topic.
pub type Counted = Vec<(EventKind, Arc<Progress>)>;

/// Stores again and again, until dropped.
pub async fn keep(store: Store, counted: Counted) {
    let mut ticks = clock::ticks(EVERY);
    loop {
        ticks.tick().await;
        flush(&store, &counted).await;
    }
}

/// Stores what is left, if the database takes it at once.
pub async fn finish(store: &Store, counted: &Counted) {
    if timeout(LAST, flush(store, counted)).await.is_err() {
        tracing::warn!("the database does not answer: which scrapers were seen last is not stored");
    }
}

async fn flush(store: &Store, counted: &Counted) {
    for (kind, progress) in counted {
        let tally = progress.take_scrapers();
        if let Err(error) = store.add_scrapers(*kind, &tally).await {
            tracing::debug!(kafka.topic = progress.topic(), %error, "cannot store which scrapers were seen, trying again");
            progress.count_scrapers(&tally);
        }
    }
}
