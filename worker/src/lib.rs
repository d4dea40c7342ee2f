//! The worker: reads Kafka, runs the write protocol, has the commands. The types of events and the database are in
//! `ledgerline_schema`.
//!
//! Read `cli::run`, then `pipeline` (the program), then `protocol` (the pure state machine that decides).

pub mod backoff;
pub mod bench;
mod blocking;
pub mod breaker;
pub mod buffer;
pub mod claim;
pub mod cli;
pub mod clock;
pub mod config;
mod config_error;
pub mod demo;
pub mod drain;
pub mod dry_run;
pub mod formats;
pub mod http;
pub mod kafka;
pub mod lane;
pub mod maintenance;
pub mod memory;
pub mod metrics;
pub mod observe;
pub mod outage;
pub mod pace;
pub mod page;
pub mod pipeline;
mod pool_lately;
mod pool_report;
pub mod progress;
pub mod protocol;
pub mod publisher;
pub mod recent;
pub mod redrive;
pub mod room;
pub mod scrapers;
pub mod shadow;
pub mod source;
pub mod spool;
pub mod stand_in;
pub mod switches;
mod sync;
pub mod telemetry;
pub mod waiting;
pub mod workers;
pub mod workflows;
pub mod writer;
