//! What Ledgerline knows about events and databases: the event contracts (`events`), the batch that a transaction
//! writes (`batch`), the tables (`schema`), the one door to either database (`store`) and what people read there (`repositories`).
//!
//! Read `events::odds` first, then `batch`, then `store::write`. Only `store` opens connections; `events` does no I/O and
//! reads no clock. The worker crate reads Kafka, runs the protocol and has the commands.

pub mod batch;
pub mod budget;
pub mod compatibility;
pub mod dead_letter;
pub mod events;
pub mod keywords;
pub mod repositories;
pub mod schema;
pub mod scrapers;
pub mod sql_types;
pub mod store;
pub mod time;
pub mod workflow;
