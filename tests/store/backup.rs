//! What backups rest on: every table is known and in an order in which it can be filled, a snapshot is one moment, and what is
//! restored is what was saved.

use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{BackupSource, Census, DatabaseConfig, RestoreTarget, TABLES, VIEWS};

use super::lab::{Lab, Line, odds};
use crate::support::postgres::Database;

on_both! {
    every_table_and_view_is_known,
    a_backup_is_one_moment,
    a_database_without_a_schema_is_no_source,
    what_a_restore_would_touch_makes_a_target_occupied,
}

async fn every_table_and_view_is_known(lab: &Lab) {
    let mut tables: Vec<String> = TABLES.iter().map(|table| (*table).to_owned()).collect();
    tables.push("__diesel_schema_migrations".into());
    tables.sort();
    assert_eq!(tables, lab.database.tables().await, "census.rs: a table that is not listed is not saved");
    let mut views = VIEWS.map(str::to_owned).to_vec();
    views.sort();
    let mut found: Vec<String> = lab.database.view_columns().await;
    found.iter_mut().for_each(|line| line.truncate(line.find('.').expect("a column")));
    found.dedup();
    assert_eq!(views, found, "census.rs: a view that is not listed is not saved");
    for key in lab.database.keys().await {
        let Some((table, other)) = key.split_once(" references ") else { continue };
        let other = other.split_whitespace().next().expect("a table");
        let place = |name: &str| TABLES.iter().position(|table| *table == name);
        assert!(place(other) < place(table), "census.rs: {other} has to be filled before {table}");
    }
}

async fn source(database: &Database) -> BackupSource {
    BackupSource::open(&DatabaseConfig::for_url(&database.url)).await.expect("a source")
}

async fn a_backup_is_one_moment(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    line.events(&[odds("a", 1, -110), odds("b", 1, -120)]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("copy.sqlite");
    let census = match source(&lab.database).await {
        BackupSource::Postgres(mut snapshot) => {
            line.events(&[odds("c", 2, -110)]).await; // after the moment
            snapshot.census().await.expect("counted")
        }
        BackupSource::Sqlite(source) => {
            source.copy_into(&file).await.expect("copied");
            line.events(&[odds("c", 2, -110)]).await;
            source.copy_into(&file).await.expect_err("a file that is there is not written over");
            Census::of_file(&file).await.expect("counted")
        }
    };
    let rows = |name: &str| census.tables.iter().find(|table| table.name == name).map(|table| table.rows);
    assert_eq!((rows("odds"), rows("selections"), rows("offset_ledger")), (Some(4), Some(4), Some(1)));
    let [position] = &census.positions[..] else { panic!("{census:?}") };
    assert_eq!((position.next_offset, &*position.topic, position.epoch), (2, "odds", line.claim.epoch));
    assert_eq!(lab.database.number_of("odds").await, 6);
}

async fn a_database_without_a_schema_is_no_source(lab: &Lab) {
    while !lab.store.migrate_down().await.expect("down").is_empty() {}
    let config = DatabaseConfig::for_url(&lab.database.url);
    let error = match BackupSource::open(&config).await {
        Err(error) => error,
        Ok(BackupSource::Postgres(mut snapshot)) => snapshot.census().await.expect_err("nothing to count"),
        Ok(BackupSource::Sqlite(source)) => panic!("{source:?}"),
    };
    assert!(error.to_string().contains("no schema of ledgerline"), "{error}");
}

/// A schema is made beside other tables; a file is replaced with all that is in it.
async fn what_a_restore_would_touch_makes_a_target_occupied(lab: &Lab) {
    let config = DatabaseConfig::for_url(&lab.database.url);
    let target = RestoreTarget::open(&config).await.expect("a target");
    let found = target.found().await.expect("an answer");
    assert_eq!(found.len(), TABLES.len() + VIEWS.len() + 1, "{found:?}");
    while !lab.store.migrate_down().await.expect("down").is_empty() {}
    assert_eq!(target.found().await.expect("an answer"), Vec::<String>::new());
    lab.database.change("create table somebody_elses (id integer primary key)").await;
    let expected: &[&str] = if lab.database.is_sqlite() { &["somebody_elses"] } else { &[] };
    assert_eq!(target.found().await.expect("an answer"), expected);
}
