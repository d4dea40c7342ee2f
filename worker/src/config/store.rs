//! `[store]`: what becomes of batches while the database is away.

use std::path::PathBuf;

use serde::Deserialize;

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `wait`: Kafka keeps the records until the database is back. `spool`: after a while they go into a local file, and from there
    /// into the database when it is back; for where Kafka deletes them too soon.
    pub on_outage: OnOutage,
    /// The file, on a disk that outlives the process. Each process needs its own.
    pub spool_file: PathBuf,
    /// The database has to be away for so long before the file is used.
    pub spool_after_ms: u64,
    /// The file does not grow over this; when it is full, Kafka keeps the records.
    pub spool_mib: u64,
}

/// What becomes of batches while the database is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOutage {
    /// Kafka keeps the records.
    Wait,
    /// They go to a local file.
    Spool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            on_outage: OnOutage::Wait,
            spool_file: "ledgerline-spool.db".into(),
            spool_after_ms: 10_000,
            spool_mib: 4_096,
        }
    }
}

impl StoreConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// The key and what is wrong with it.
    pub fn check(&self, embedded: bool) -> Result<(), String> {
        let spools = self.on_outage == OnOutage::Spool;
        let ranges = [
            (
                !(spools && embedded),
                "store.on_outage: a spool stands in for a server; database.url names an embedded store",
            ),
            (self.spool_after_ms <= 3_600_000, "store.spool_after_ms: must be at most 3,600,000"),
            ((1..=1_048_576).contains(&self.spool_mib), "store.spool_mib: must be 1 to 1,048,576"),
            (!self.spool_file.as_os_str().is_empty(), "store.spool_file: must not be empty"),
        ];
        match ranges.into_iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err(problem.to_owned()),
            None => Ok(()),
        }
    }
}
