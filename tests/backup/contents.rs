//! What is in a backup comes back as it was, and what machines read of one stays as it is.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{filled, json_of, methods, number, on, place, refused};
use crate::support::postgres::{Database, connect};
use crate::support::worker::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn every_value_and_every_number_comes_back() {
    for sqlite in [false, true] {
        let new = async || if sqlite { Database::sqlite() } else { Database::postgres().await };
        let database = new().await;
        let setup = filled(&database).await;
        let rows: Vec<Vec<&str>> = match methods(&setup, &database).await {
            [] => vec![vec![]],
            methods => methods.iter().map(|method| vec!["--method", *method]).collect(),
        };
        for method in rows {
            let (_folder, backup) = place();
            setup.must(&[&["db", "backup", &backup], &method[..]].concat());
            let restored = new().await;
            on(&setup, &restored).must(&["db", "restore", &backup]);
            let contents = async |database: &Database| {
                let mut contents = database.contents().await;
                contents.retain(|line| !line.starts_with("__diesel")); // when each migration ran
                contents
            };
            assert_eq!(contents(&restored).await, contents(&database).await, "{method:?}");
            assert_eq!(restored.catalog_text().await, database.catalog_text().await, "{method:?}");
            if !restored.is_sqlite() {
                let known = "select count(*) from pg_class where relname in ('odds', 'alert_rules') and reltuples > 0";
                assert_eq!(restored.number(known).await, 2, "{method:?}: the planner guesses");
            }
            // A number that was given out once, for a rule that is gone, is not given to another one.
            let next = "insert into alert_rules (name, keywords, field, enabled, created_at, updated_at) \
                        select 'new', keywords, field, enabled, created_at, updated_at from alert_rules";
            restored.change(next).await;
            let expected = if database.is_sqlite() { 2 } else { 3 };
            assert_eq!(number(&restored, "(select max(id) from alert_rules)").await, expected, "{method:?}");
            restored.drop_now().await;
        }
        database.drop_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_schema_comes_back_as_it_was_and_is_migrated_then() {
    let any = Database::postgres().await;
    let setup = Setup::new(&any.url, &[]);
    setup.must(&["migrate", "up"]);
    for methods in [methods(&setup, &any).await, &["sqlite"]] {
        for method in methods {
            let sqlite = *method == "sqlite";
            let new = async || if sqlite { Database::sqlite() } else { Database::postgres().await };
            let (database, restored, (_folder, backup)) = (new().await, new().await, place());
            let setup = Setup::new(&database.url, &[]);
            setup.must(&["migrate", "up"]);
            let newest = database.catalog_text().await;
            setup.must(&["migrate", "down"]);
            let how = if sqlite { vec![] } else { vec!["--method", *method] };
            setup.must(&[&["db", "backup", &backup], &how[..]].concat());
            let again = on(&setup, &restored);
            assert!(again.must(&["db", "restore", &backup]).contains("migrate up"), "{method}");
            assert_eq!(restored.catalog_text().await, database.catalog_text().await, "{method}");
            again.must(&["migrate", "up"]);
            assert_eq!(restored.catalog_text().await, newest, "{method}");
            restored.drop_now().await;
            database.drop_now().await;
        }
    }
    any.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_every_column_of_every_version() {
    let (database, (folder, _)) = (Database::postgres().await, place());
    let setup = Setup::new(&database.url, &[]);
    setup.must(&["migrate", "up"]);
    let mut version = number(&database, "(select version from schema_version)").await;
    loop {
        let backup = folder.path().join(version.to_string()).display().to_string();
        let made = setup.run(&["db", "backup", &backup, "--method", "copy"]);
        refused(&made, 0, "");
        let told = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(!told.contains("not in this backup"), "columns.rs: version {version}: {told}");
        let manifest = std::fs::read_to_string(Path::new(&backup).join("manifest.json")).expect("read");
        let mut copied = Vec::new();
        for table in json_of(&manifest)["copied"].as_array().expect("tables") {
            let columns = table["columns"].as_array().expect("columns").iter();
            let names = columns.map(|column| column.as_str().expect("a name"));
            copied.extend(names.map(|name| format!("{}.{name}", table["name"].as_str().expect("a name"))));
        }
        let mut there = database.columns().await;
        there.iter_mut().for_each(|line| line.truncate(line.find(' ').expect("a column")));
        copied.sort();
        there.sort();
        assert_eq!(copied, there, "columns.rs: version {version}");
        if version == 1 {
            break;
        }
        setup.must(&["migrate", "down"]);
        version -= 1;
    }
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_added_to_our_tables_is_left_out_of_a_copy_and_told() {
    let (database, restored) = (Database::postgres().await, Database::postgres().await);
    let setup = filled(&database).await;
    let rules = "select id || ' ' || name as line from alert_rules";
    let before = (database.view("odds").await, database.lines(rules).await);
    database
        .change(
            "alter table odds add column mine text not null default 'x', \
                 add column twice float8 generated always as (price * 2) stored; \
             alter table alert_rules add column \"My Number\" int8 generated always as identity",
        )
        .await;
    let (_folder, backup) = place();
    let made = setup.run(&["db", "backup", &backup, "--method", "copy"]);
    for told in ["odds: not in this backup", "mine, twice", "alert_rules: not in this backup", "My Number"] {
        refused(&made, 0, told);
    }
    on(&setup, &restored).must(&["db", "restore", &backup]);
    assert_eq!((restored.view("odds").await, restored.lines(rules).await), before);
    restored.drop_now().await;
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_file_may_be_read_by_whom_a_new_one_may_be() {
    let database = Database::sqlite();
    let setup = filled(&database).await;
    let (_folder, backup) = place();
    setup.must(&["db", "backup", &backup]);
    let file = |database: &Database| PathBuf::from(database.url.strip_prefix("sqlite:").expect("a file"));
    let mode = |database: &Database| file(database).metadata().expect("a file").permissions().mode() & 0o777;
    let restored = Database::sqlite();
    on(&setup, &restored).must(&["db", "restore", &backup]);
    assert_eq!(mode(&restored), mode(&database), "as the product makes it");
    for made in [0o600, 0o662] {
        let chosen = Database::sqlite();
        let empty = std::fs::File::create(file(&chosen)).expect("a file");
        empty.set_permissions(Permissions::from_mode(made)).expect("somebody's choice");
        on(&setup, &chosen).must(&["db", "restore", &backup]);
        assert_eq!(mode(&chosen), made, "as somebody made it, whatever the umask");
    }
}

/// Paths of all fields, each once.
fn fields(value: &Value, path: &str, found: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            fields(value, &format!("{path}{dot}{key}"), found);
        }),
        Value::Array(values) => values.iter().for_each(|value| fields(value, &format!("{path}[]"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            found.insert(path.to_owned());
        }
    }
}

fn listed(value: &Value) -> String {
    let mut found = std::collections::BTreeSet::new();
    fields(value, "", &mut found);
    found.into_iter().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_machines_read_stays_as_it_is() {
    let database = Database::postgres().await;
    let setup = filled(&database).await;
    let position = "insert into partition_offsets (consumer_group, topic, partition, lineage_id, start_offset, next_offset) \
                    values ('g', 'odds', 0, 1, 0, 2)";
    connect(&database.url).await.batch_execute(position).await.expect("a position");
    let (_folder, backup) = place();
    let told = json_of(&setup.must(&["db", "backup", &backup, "--json", "--method", "copy"]));
    let at = "positions[].cluster_id positions[].epoch positions[].group positions[].lineage_id positions[].next_offset \
              positions[].partition positions[].topic positions[].topic_id";
    assert_eq!(
        listed(&told),
        format!("bytes files folder method {at} rows schema seconds server store tables taken_at")
    );
    assert_eq!((&told["rows"], &told["tables"], &told["files"]), (&json!(8), &json!(22), &json!(22)));
    let manifest = json_of(&std::fs::read_to_string(Path::new(&backup).join("manifest.json")).expect("read"));
    let held = at.replace("positions", "holds.positions");
    assert_eq!(
        listed(&manifest),
        format!(
            "copied[].columns[] copied[].name copied[].numbered[] files[].bytes files[].name files[].sha256 format {held} \
             holds.schema holds.tables[].name holds.tables[].rows method product server store taken_at"
        )
    );
    let restored = Database::postgres().await;
    let told = json_of(&on(&setup, &restored).must(&["db", "restore", &backup, "--json"]));
    assert_eq!(listed(&told), format!("folder method migrate {at} rows schema seconds tables taken_at"));
    restored.drop_now().await;
    database.drop_now().await;
}
