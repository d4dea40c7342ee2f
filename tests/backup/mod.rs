//! `ledgerline db backup` and `restore` as an operator runs them, on both stores. Here: what the tests share.

mod contents;
mod endings;
mod ingest;
mod programs;
mod refusals;

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::postgres::Database;
use crate::support::worker::{Setup, command};

/// A place for backups, and one of them.
fn place() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let backup = folder.path().join("backup").display().to_string();
    (folder, backup)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The same product on another database.
fn on(setup: &Setup, database: &Database) -> Setup {
    let topics: Vec<(&'static str, &str)> =
        setup.topics.iter().map(|(kind, name)| (*kind, &**name)).collect();
    Setup { group: setup.group.clone(), ..Setup::new(&database.url, &topics) }
}

/// The sum of the positions of a backup.
fn position(backup: &Value) -> i64 {
    let positions = backup["positions"].as_array().expect("positions");
    positions.iter().map(|at| at["next_offset"].as_i64().expect("an offset")).sum()
}

async fn number(database: &Database, expression: &str) -> i64 {
    let sql = format!("select cast({expression} as text) as line");
    database.line(&sql).await.parse().expect("a number")
}

/// Every row of quotes and dead letters, as text.
async fn rows(database: &Database) -> [Vec<String>; 2] {
    let letters =
        "select topic || ' ' || partition || ' ' || record_offset || ' ' || reason as line from dead_letters";
    [database.view("readable_odds").await, database.lines(letters).await]
}

async fn server_major(database: &Database) -> i64 {
    database.number("select current_setting('server_version_num')::int8 / 10000").await
}

/// A program for PATH of the server's version that does this when it is asked for anything else.
async fn fitting(name: &str, database: &Database, script: &str) -> tempfile::TempDir {
    path_with(name, &of_version(name, server_major(database).await, script))
}

fn of_version(name: &str, major: i64, script: &str) -> String {
    format!(
        "PATH=/usr/bin:/bin\nif [ \"$1\" = --version ]; then echo '{name} (PostgreSQL) {major}.1'; exit; fi\n{script}"
    )
}

/// The ways in which this server can be backed up here: an installed `pg_dump` that does not fit the server refuses it.
async fn methods(setup: &Setup, database: &Database) -> &'static [&'static str] {
    if database.is_sqlite() {
        return &[];
    }
    let Some((installed, server)) = database.does_not_fit_pg_dump().await else {
        return &["pg_dump", "copy"];
    };
    let (_folder, backup) = place();
    let because = format!("pg_dump is of version {installed}, and the server of {server}");
    refused(&setup.run(&["db", "backup", &backup, "--method", "pg_dump"]), 1, &because);
    &["copy"]
}

/// A migrated database of either kind with something in every kind of column.
async fn filled(database: &Database) -> Setup {
    let setup = Setup::new(&database.url, &[]);
    setup.must(&["migrate", "up"]);
    let bytes = if database.is_sqlite() { "x'00ff0a095c'" } else { "'\\x00ff0a095c'" };
    let at = "'2025-11-09T18:20:41.000001Z'";
    database
        .change(&format!(
            "insert into lineages (cluster_id, topic_id, topic, partition) values ('c', '', 'odds', 0); \
             insert into odds values (1, {at}, 1, 1.9090909090909092, 1, null), (2, {at}, 1, null, 1, -1.5); \
             insert into dead_letters (lineage_id, record_offset, topic, partition, key, payload, headers, reason, detail) \
             values (1, 1, 'odds', 0, null, {bytes}, '{{}}', 'r', 'a tab\t, a line\n, a \\ and \\N, a quote '' and ä');"
        ))
        .await;
    let rule = |name: &str| {
        format!(
            "insert into alert_rules (name, keywords, field, enabled, created_at, updated_at) \
             values ('{name}', '[]', 'any', true, {at}, {at});"
        )
    };
    database.change(&(rule("stays") + &rule("goes") + "delete from alert_rules where name = 'goes'")).await;
    setup
}

#[track_caller]
fn refused(output: &Output, code: i32, because: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(code) && said.contains(because),
        "{because}: {}: {said}",
        output.status
    );
}

/// A folder for PATH with one program in it.
fn path_with(name: &str, script: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("may be run");
    folder
}

fn run_with(setup: &Setup, path: &Path, args: &[&str]) -> Output {
    let mut command = command(&setup.file());
    command.args(args).env("PATH", path).env("PGSERVICE", "elsewhere").env("PGHOST", "nowhere.invalid");
    command.output().expect("it runs")
}
