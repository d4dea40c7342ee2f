//! Dead letters back into the line: each is decoded again as the line decoded it (same contract, the record's own timestamp and
//! headers) and written by the store in a transaction of its own. Called by `ledgerline dlq redrive`.
//!
//! What must stay true: without a patch the decision depends on the record, the contracts and what is stored, never on when or by
//! whom it is redriven; the stored bytes of a letter are never changed.

use std::collections::BTreeMap;

use ledgerline_schema::batch::{Batch, RowCounts};
use ledgerline_schema::dead_letter::headers_from_json;
use ledgerline_schema::events::{EventKind, RawHeader, RawRecord};
use ledgerline_schema::store::{Letter, Redrive, Redriven, Resolved, Store, StoreError, Trouble};
use serde::Serialize;

use crate::backoff;
use crate::config::Config;

/// How often a letter is tried again that the store had an error on: few enough that a refusal that stays costs a second.
const TRIES: u32 = 4;

/// Redrives letters, one after the other.
pub struct Redriver {
    store: Store,
    kinds: BTreeMap<String, EventKind>,
    patch: Option<json_patch::Patch>,
    by: Resolved,
}

/// What became of one letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The store's answer.
    Tried(Redriven),
    /// The patch cannot be applied to it: nothing was tried, nothing counted.
    Unpatched(String),
    /// Something about it alone is in the way, which is no word on the record: nothing was changed, the others go on.
    NotTried(String),
}

/// What became of them all.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// Letters whose rows are stored now.
    pub redriven: u64,
    /// Letters that were refused again, by reason.
    pub still_dead: BTreeMap<&'static str, u64>,
    /// Letters that the patch did not fit.
    pub unpatched: u64,
    /// Letters that could not be tried.
    pub not_tried: u64,
    /// Letters that somebody else settled or tried at the same time.
    pub overtaken: u64,
    /// New rows.
    pub inserted: i64,
    /// Rows that a newer version replaced.
    pub updated: i64,
    /// Rows equal to what was stored already.
    pub duplicate: i64,
    /// Rows older than what was stored already.
    pub stale: i64,
}

impl Redriver {
    /// Nothing is read yet. The configuration says which kind a topic carries.
    #[must_use]
    pub fn new(config: &Config, store: Store, patch: Option<json_patch::Patch>, by: Resolved) -> Self {
        let mut kinds: BTreeMap<String, EventKind> =
            EventKind::ALL.iter().map(|kind| (config.topic(*kind).name, *kind)).collect();
        // The default name of a kind that is switched off may be the topic of one that is not.
        kinds.extend(config.enabled_topics().into_iter().map(|topic| (topic.name, topic.kind)));
        Self { store, kinds, patch, by }
    }

    /// Redrives one letter as it was read.
    ///
    /// # Errors
    /// The environment is in trouble, so no other letter would fare better; nothing was changed, unless the answer to a COMMIT
    /// was lost: then the letter itself says what became of it.
    pub async fn redrive(&self, letter: &Letter) -> Result<Outcome, StoreError> {
        let value = match self.patched(&letter.payload) {
            Ok(value) => value,
            Err(problem) => return Ok(Outcome::Unpatched(problem)),
        };
        let batch = match self.decode(letter, &value) {
            Ok(batch) => batch,
            Err(problem) => return Ok(Outcome::NotTried(problem)),
        };
        for attempt in 0.. {
            let redrive = Redrive { letter, batch: &batch, by: &self.by };
            match self.store.redrive(&redrive).await {
                Ok(redriven) => return Ok(Outcome::Tried(redriven)),
                Err(error) if attempt < TRIES && may_pass(&error) => {
                    tokio::time::sleep(backoff::pause(attempt)).await;
                }
                Err(error) if error.trouble() == Trouble::Environment => return Err(error),
                Err(error) => return Ok(Outcome::NotTried(error.to_string())),
            }
        }
        unreachable!("the last try ends the loop")
    }

    /// The value to decode: the record's own, or with the patch applied. A record in binary mode is its `data` alone.
    fn patched(&self, payload: &[u8]) -> Result<Vec<u8>, String> {
        let Some(patch) = &self.patch else { return Ok(payload.to_vec()) };
        let mut document: serde_json::Value =
            serde_json::from_slice(payload).map_err(|error| format!("the record is not JSON: {error}"))?;
        json_patch::patch(&mut document, patch).map_err(|error| error.to_string())?;
        Ok(document.to_string().into_bytes())
    }

    /// The letter's record as a batch of its own, at its own offset.
    fn decode(&self, letter: &Letter, value: &[u8]) -> Result<Batch, String> {
        let topic = &letter.topic;
        let kind = self.kinds.get(topic);
        let kind =
            kind.ok_or_else(|| format!("the configuration does not say which kind topic {topic} carries"))?;
        let headers = headers_from_json(&letter.headers);
        let headers = headers.ok_or("its stored headers cannot be read")?;
        let headers: Vec<RawHeader<'_>> =
            headers.iter().map(|(name, value)| RawHeader { name, value: value.as_deref() }).collect();
        let mut batch = Batch::new(kind.rows(), letter.offset);
        let raw = RawRecord { value, headers: &headers, timestamp: letter.timestamp };
        batch.push(letter.offset, letter.key.as_deref(), &raw);
        Ok(batch)
    }
}

/// What other writers cause (a lock timeout, a deadlock, SQLite's busy, a race) passes, and cannot be told from other refusals
/// with certainty. Where the server is away, and where we are set up wrongly, another try in a moment is in vain.
fn may_pass(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unavailable(_) | StoreError::Config(_) | StoreError::Schema(_))
}

impl Summary {
    /// Counts one letter.
    pub fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Tried(Redriven::Applied(RowCounts { inserted, updated, duplicate, stale })) => {
                self.redriven += 1;
                self.inserted += inserted;
                self.updated += updated;
                self.duplicate += duplicate;
                self.stale += stale;
            }
            Outcome::Tried(Redriven::StillDead(rejection)) => {
                *self.still_dead.entry(rejection.reason.name()).or_default() += 1;
            }
            Outcome::Tried(Redriven::Overtaken) => self.overtaken += 1,
            Outcome::Unpatched(_) => self.unpatched += 1,
            Outcome::NotTried(_) => self.not_tried += 1,
        }
    }
}
