//! The tests of the whole product, in one binary. `make test` starts the services that they need.

mod support;

mod api;
mod backfill;
mod backup;
mod bench;
mod bench_e2e;
mod compact;
mod config;
mod contracts;
mod database;
mod demo;
mod faults;
mod helm;
mod line;
mod looks;
mod manual;
mod memory;
mod operator;
mod page;
mod poison;
mod replay;
mod roles;
mod secrets;
mod shadow;
mod spool;
mod store;
mod switches;
mod tidy;
mod tls;
mod watching;
mod workflows;
