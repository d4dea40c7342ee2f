//! Three descriptions of one schema: the two migration trees, and `schema.rs` that the queries are compiled against. They agree.

use std::collections::BTreeSet;

use super::lab::{Lab, on_postgres, on_sqlite};
use crate::support::postgres::Database;

/// The catalogs of both stores in one form.
async fn both(look: impl AsyncFn(&Database) -> Vec<String>) -> (Vec<String>, Vec<String>) {
    let found = std::cell::RefCell::new(Vec::new());
    let case = async |lab: &Lab| {
        let lines = look(&lab.database).await;
        found.borrow_mut().push(lines);
    };
    on_postgres(&case).await;
    on_sqlite(&case).await;
    let mut found = found.into_inner();
    let sqlite = found.pop().expect("SQLite");
    (found.pop().expect("PostgreSQL"), sqlite)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_migration_trees_make_the_same_tables_views_and_keys() {
    let (postgres, sqlite) = both(async |database| {
        [database.columns().await, database.view_columns().await, database.keys().await].concat()
    })
    .await;
    let postgres: BTreeSet<String> = postgres.into_iter().collect();
    let sqlite: BTreeSet<String> = sqlite.into_iter().collect();
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
    // There is no index into a JSON document in SQLite.
    assert_eq!(
        (only(&postgres, &sqlite), only(&sqlite, &postgres)),
        (vec!["games index (details)".to_owned()], vec![])
    );
    assert!(postgres.iter().any(|line| line == "selections unique (game_ref_id, sportsbook, market, period, participant, side, alternate, line)"), "{postgres:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_unique_key_holds_a_nullable_column() {
    let (postgres, _) =
        both(async |database| [database.columns().await, database.keys().await].concat()).await;
    let nullable: Vec<&str> = postgres.iter().filter_map(|line| line.strip_suffix(" null")).collect();
    assert!(nullable.contains(&"odds.price"), "{nullable:?}");
    for key in postgres.iter().filter(|line| line.contains(" primary (") || line.contains(" unique (")) {
        let (table, columns) = key.split_once(' ').expect("a table");
        let columns = columns.split_once('(').expect("columns").1.trim_end_matches(')');
        for column in columns.split(", ") {
            let name = format!("{table}.{column}");
            assert!(
                !nullable.contains(&name.as_str()),
                "{key}: a null is unequal to every other, so it would store duplicates"
            );
        }
    }
}

/// Older versions know it of the column alone. From 18 on it is a constraint, which can be named, dropped and found invalid by itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_null_is_a_constraint_where_postgresql_keeps_one() {
    on_postgres(async |lab| {
        let version = lab.database.number("select current_setting('server_version_num')::int8").await;
        let mut never_null = lab.database.columns().await;
        never_null.retain(|line| version >= 180_000 && line.ends_with(" not null"));
        assert_eq!(lab.database.not_null_constraints().await, never_null);
    })
    .await;
}

/// One table of `schema.rs`.
struct Declared {
    name: String,
    key: String,
    columns: Vec<(String, String)>,
}

/// The `table!` blocks of `schema.rs`: `name (key) {`, then `column -> Type,`.
fn declared() -> Vec<Declared> {
    let text =
        concat!(include_str!("../../schema/src/schema.rs"), include_str!("../../schema/src/schema/aside.rs"));
    let blocks = text.split("diesel::table! {").skip(1);
    let table = |block: &str| {
        let mut lines =
            block.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("use "));
        let head = lines.next().expect("a head").trim_end_matches(" {");
        let (name, key) = head.split_once(' ').expect("a key");
        let columns = lines.map_while(|line| line.strip_suffix(',')?.split_once(" -> "));
        let columns = columns.map(|(column, kind)| (column.to_owned(), kind.to_owned())).collect();
        Declared { name: name.to_owned(), key: key.to_owned(), columns }
    };
    blocks.map(table).collect()
}

/// The types that a declared type stands for: on PostgreSQL, on SQLite.
fn stored_as(declared: &str) -> (&'static str, &'static str) {
    match declared {
        "Integer" => ("int4", "integer"),
        "BigInt" => ("int8", "integer"),
        "Text" => ("text", "text"),
        "Bool" => ("bool", "boolean"),
        "Float" => ("float4", "float"),
        "Double" => ("float8", "double"),
        "Binary" => ("bytea", "blob"),
        "UtcTimestamp" => ("timestamptz", "text"),
        "JsonText" => ("jsonb", "text"),
        other => panic!("{other}: add to this test what the type is called on either store"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_rs_lists_exactly_the_tables_and_columns_of_the_catalogs() {
    let (mut postgres, mut sqlite, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for table in declared() {
        keys.push(format!("{} primary {}", table.name, table.key));
        for (column, kind) in table.columns {
            let (inner, null) = match kind.strip_prefix("Nullable<").and_then(|kind| kind.strip_suffix('>')) {
                Some(inner) => (inner, "null"),
                None => (kind.as_str(), "not null"),
            };
            let (on_postgres, on_sqlite) = stored_as(inner);
            postgres.push(format!("{}.{column} {on_postgres} {null}", table.name));
            sqlite.push(format!("{}.{column} {on_sqlite} {null}", table.name));
        }
    }
    for lines in [&mut postgres, &mut sqlite, &mut keys] {
        lines.sort();
    }
    let (found_postgres, found_sqlite) = both(async |database| database.typed_columns().await).await;
    assert_eq!(found_postgres, postgres);
    assert_eq!(found_sqlite, sqlite);
    let (mut found_keys, _) = both(async |database| database.keys().await).await;
    found_keys.retain(|line| line.contains(" primary ("));
    assert_eq!(found_keys, keys);
}
