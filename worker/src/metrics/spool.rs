//! The metrics of the spool: whether it is used, what goes in, and what waits in it.

use ledgerline_schema::batch::Batch;
use metrics::{counter, gauge};

use super::table::*;

/// Makes them exist at 0 for a topic.
pub(super) fn touch(topic: &str) {
    for outcome in ["kept", "failed"] {
        counter!(SPOOL_BATCHES, "topic" => topic.to_owned(), "outcome" => outcome).increment(0);
    }
    counter!(SPOOLED, "topic" => topic.to_owned()).increment(0);
    spool_holds(topic, 0, 0);
}

pub(crate) fn outage(on: bool) {
    gauge!(SPOOLING).set(f64::from(u8::from(on)));
}

pub(crate) fn spooled(topic: &str, batch: &Batch) {
    counter!(SPOOL_BATCHES, "topic" => topic.to_owned(), "outcome" => "kept").increment(1);
    counter!(SPOOLED, "topic" => topic.to_owned()).increment(batch.records.len() as u64);
}

pub(crate) fn spool_failed(topic: &str) {
    counter!(SPOOL_BATCHES, "topic" => topic.to_owned(), "outcome" => "failed").increment(1);
}

pub(crate) fn spool_holds(topic: &str, segments: i64, records: i64) {
    gauge!(SPOOL_SEGMENTS, "topic" => topic.to_owned()).set(segments as f64);
    gauge!(SPOOL_RECORDS, "topic" => topic.to_owned()).set(records as f64);
}

pub(crate) fn spool_size(bytes: u64, bytes_max: u64) {
    gauge!(SPOOL_BYTES).set(bytes as f64);
    gauge!(SPOOL_BYTES_MAX).set(bytes_max as f64);
}
