//! Measuring: how close the line comes to the limit of the database, always as ratios of things measured side by side in one
//! run. Called by `cli::bench`; nothing here takes part in the line.
//!
//! What must stay true: every run has a database (and a topic) of its own, created before and dropped after, so that nothing of
//! a user's is touched; what is compared is measured in turns, and the median counts.

mod arguments;
mod cpu;
pub mod e2e;
mod figures;
pub mod gate;
pub mod growth;
mod line;
pub mod page;
mod place;
mod quotes;
pub mod write;
