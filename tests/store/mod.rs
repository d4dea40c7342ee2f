//! The store suite: one list of cases, run against both stores. A case sees a migrated database of its own.
//!
//! What must stay true: whatever the product promises about a batch holds on PostgreSQL and on SQLite alike; a case that only one
//! of them can run says so in the name of its file.

/// Makes a test of each case for each store.
macro_rules! on_both {
    ($($case:ident,)+) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                crate::store::lab::on_postgres(super::$case).await;
            })+
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                crate::store::lab::on_sqlite(super::$case).await;
            })+
        }
    };
}

mod lab;

mod alerts;
mod articles;
mod backup;
mod boundaries;
mod catalog;
mod claim;
mod compact;
mod dispositions;
mod games;
mod isolate;
mod ledger;
mod letters;
mod looks;
mod merge;
mod migrate;
mod odds;
mod operate;
mod plans;
mod pool;
mod postgres;
mod read;
mod records;
mod rehearse;
mod repositories;
mod scrapers;
mod signals;
mod spool;
mod switches;
mod upkeep;
mod workflows;
mod write;
