//! The tests of the whole product, in one binary. `make test` starts the services that they need.

mod support;

mod config;
mod contracts;
mod demo;
mod line;
mod operator;
mod store;
mod tidy;
