//! Migrations: who may run them, what they leave, and what a program makes of a schema of another version.

use ledgerline_schema::store::{SCHEMA_VERSION, SchemaState, Store};

use super::lab::Lab;
use crate::support::postgres::Database;

on_both! {
    down_and_up_again_leaves_the_same_catalog,
    two_migrators_together_apply_once,
    up_twice_runs_nothing_the_second_time,
    a_database_of_a_newer_program_is_refused_by_name,
    the_schema_of_a_newer_program_that_still_fits_is_left_alone,
    the_status_names_every_migration,
    the_schema_version_decides_who_may_run,
}

async fn down_and_up_again_leaves_the_same_catalog(lab: &Lab) {
    let before = lab.database.catalog_text().await;
    assert!(before.len() > 40, "{before:?}");
    while !lab.store.migrate_down().await.expect("down").is_empty() {}
    assert_eq!(lab.database.tables().await, ["__diesel_schema_migrations"]);
    lab.store.migrate_up().await.expect("up again");
    assert_eq!(lab.database.catalog_text().await, before);
}

async fn two_migrators_together_apply_once(lab: &Lab) {
    for _ in 0..3 {
        let database = if lab.database.is_sqlite() { Database::sqlite() } else { Database::postgres().await };
        let migrator = |store: Store| tokio::spawn(async move { store.migrate_up().await });
        let both = [database.store().await, database.store().await].map(migrator);
        let mut ran = Vec::new();
        for migrator in both {
            ran.push(migrator.await.expect("no panic").expect("migrated").len());
        }
        ran.sort_unstable();
        let known = lab.store.migration_status().await.expect("an answer").len();
        assert_eq!(ran, [0, known]);
        database.drop_now().await;
    }
}

async fn up_twice_runs_nothing_the_second_time(lab: &Lab) {
    assert!(lab.store.migrate_up().await.expect("up").is_empty());
}

async fn a_database_of_a_newer_program_is_refused_by_name(lab: &Lab) {
    lab.database.change("insert into __diesel_schema_migrations (version) values ('20991231000001')").await;
    let before = lab.database.catalog_text().await;
    for refused in [lab.store.migrate_up().await, lab.store.migrate_down().await] {
        let error = refused.expect_err("a newer database").to_string();
        assert!(error.contains("20991231000001") && error.contains("newer"), "{error}");
    }
    assert_eq!(lab.database.catalog_text().await, before);
}

/// A rollback starts the older program's migration again.
async fn the_schema_of_a_newer_program_that_still_fits_is_left_alone(lab: &Lab) {
    lab.database.change("insert into __diesel_schema_migrations (version) values ('20991231000001')").await;
    lab.database.change(&format!("update schema_version set version = {}", SCHEMA_VERSION + 1)).await;
    let before = lab.database.catalog_text().await;
    assert!(lab.store.migrate_up().await.expect("nothing to do").is_empty());
    lab.store.migrate_down().await.expect_err("only the newer program knows the way back");
    assert_eq!(lab.database.catalog_text().await, before);
    lab.database.change(&format!("update schema_version set compatible_from = {}", SCHEMA_VERSION + 1)).await;
    lab.store.migrate_up().await.expect_err("it fits no more");
}

async fn the_status_names_every_migration(lab: &Lab) {
    let status = lab.store.migration_status().await.expect("an answer");
    assert!(!status.is_empty() && status.iter().all(|migration| migration.applied), "{status:?}");
    lab.store.migrate_down().await.expect("down");
    let after = lab.store.migration_status().await.expect("an answer");
    assert!(!after.last().expect("a migration").applied, "{after:?}");
    assert_eq!(after.len(), status.len());
}

async fn the_schema_version_decides_who_may_run(lab: &Lab) {
    let state = async || lab.store.schema_state().await.expect("an answer");
    assert_eq!(state().await, SchemaState::Ready);
    let now = SCHEMA_VERSION;
    for (version, compatible_from, expected) in [
        (now + 1, now, SchemaState::Ready), // expanded, and this program still fits
        (now + 1, now + 1, SchemaState::Newer { found: now + 1 }),
        (now - 1, now - 1, SchemaState::Older { found: now - 1 }),
    ] {
        let set =
            format!("update schema_version set version = {version}, compatible_from = {compatible_from}");
        lab.database.change(&set).await;
        assert_eq!(state().await, expected);
    }
    lab.database.change("update schema_version set compatible_from = 1").await;
    while !lab.store.migrate_down().await.expect("down").is_empty() {}
    assert_eq!(state().await, SchemaState::Older { found: 0 });
}
