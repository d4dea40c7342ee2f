//! What a database holds, counted in one moment: rows of every table of ours, and every position. A backup writes it down, a
//! restored database is held against it. Called by `backup/`, and by nobody in the line.
//!
//! What must stay true: `TABLES` names every table that migrations make, those that others refer to first; `tests/store/backup.rs`
//! holds it against the migrated databases.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::{Conn, with_conn};

/// Every table, in an order in which they can be filled.
pub const TABLES: [&str; 22] = [
    "schema_version",
    "lineages",
    "partition_offsets",
    "offset_ledger",
    "dead_letters",
    "operator_actions",
    "switches",
    "games",
    "game_refs",
    "game_conflicts",
    "selections",
    "odds",
    "articles",
    "removals",
    "sharp_signals",
    "betting_analyses",
    "alert_rules",
    "alert_rule_set",
    "alerts",
    "scraper_versions",
    "workflows",
    "workflow_history",
];

/// Every view.
pub const VIEWS: [&str; 5] =
    ["readable_odds", "readable_games", "readable_articles", "readable_signals", "readable_analyses"];

/// Where diesel keeps which migrations ran.
pub(super) const MIGRATIONS: &str = "__diesel_schema_migrations";

/// Rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRows {
    /// The table.
    pub name: String,
    /// Its rows.
    pub rows: i64,
}

/// Where a group stood in a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, QueryableByName)]
#[serde(deny_unknown_fields)]
pub struct SavedPosition {
    /// The consumer group.
    #[diesel(sql_type = Text)]
    pub group: String,
    /// The topic.
    #[diesel(sql_type = Text)]
    pub topic: String,
    /// The partition.
    #[diesel(sql_type = Integer)]
    pub partition: i32,
    /// The interned lineage.
    #[diesel(sql_type = Integer)]
    pub lineage_id: i32,
    /// The cluster.
    #[diesel(sql_type = Text)]
    pub cluster_id: String,
    /// The incarnation of the topic; empty where the broker did not tell.
    #[diesel(sql_type = Text)]
    pub topic_id: String,
    /// The next offset to apply.
    #[diesel(sql_type = BigInt)]
    pub next_offset: i64,
    /// The epoch that may write.
    #[diesel(sql_type = BigInt)]
    pub epoch: i64,
}

/// What a database holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Census {
    /// The version of its schema.
    pub schema: i32,
    /// Our tables that this version has, in the order of `TABLES`.
    pub tables: Vec<TableRows>,
    /// Every position, in the order of group, topic, partition.
    pub positions: Vec<SavedPosition>,
}

impl Census {
    /// Rows of all tables.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// What differs in `found`, in words; nothing where they are equal.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        if self.schema != found.schema {
            differences.push(format!("schema: version {}, and {} is there", self.schema, found.schema));
        }
        differences.extend(different_rows(&self.tables, &found.tables));
        differences.extend(different_positions(&self.positions, &found.positions));
        differences
    }
}

fn different_rows(saved: &[TableRows], found: &[TableRows]) -> Vec<String> {
    let by_name = |tables: &[TableRows]| -> BTreeMap<String, i64> {
        tables.iter().map(|table| (table.name.clone(), table.rows)).collect()
    };
    let (saved, found) = (by_name(saved), by_name(found));
    let names: BTreeSet<&String> = saved.keys().chain(found.keys()).collect();
    let rows = |rows: Option<&i64>| rows.map_or("no table".to_owned(), |rows| format!("{rows} rows"));
    let differing = names.into_iter().filter(|name| saved.get(*name) != found.get(*name));
    let told = differing
        .map(|name| format!("{name}: {}, and {} are there", rows(saved.get(name)), rows(found.get(name))));
    told.collect()
}

fn different_positions(saved: &[SavedPosition], found: &[SavedPosition]) -> Vec<String> {
    let (saved, found): (BTreeSet<_>, BTreeSet<_>) = (saved.iter().collect(), found.iter().collect());
    let say = |what: &str, at: &SavedPosition| {
        let SavedPosition { group, topic, partition, next_offset, epoch, .. } = at;
        format!("{what}: group {group}, {topic}[{partition}] at {next_offset}, epoch {epoch}")
    };
    let missing = saved.difference(&found).map(|at| say("position that is not there", at));
    let unknown = found.difference(&saved).map(|at| say("position that was not saved", at));
    missing.chain(unknown).collect()
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Integer)]
    version: i32,
}

/// Tables and views of the place where our tables lie, whoever made them.
pub(super) async fn names(conn: &mut Conn<'_>) -> QueryResult<BTreeSet<String>> {
    let query = diesel::sql_query(match conn {
        Conn::Postgres(_) => {
            "select relname::text as name from pg_class \
             where relnamespace = (select oid from pg_namespace where nspname = current_schema()) \
               and relkind in ('r', 'p', 'v', 'm', 'f')"
        }
        Conn::Sqlite(_) => "select name from sqlite_master where type in ('table', 'view')",
    });
    let names: Vec<Name> = with_conn!(conn, c => query.load(c).await)?;
    Ok(names.into_iter().map(|row| row.name).collect())
}

/// Those of ours among them, in the order of `TABLES`.
pub(super) async fn our_tables(conn: &mut Conn<'_>) -> QueryResult<Vec<&'static str>> {
    let names = names(conn).await?;
    Ok(TABLES.into_iter().filter(|table| names.contains(*table)).collect())
}

/// Rows of a table of ours.
pub(super) async fn count(conn: &mut Conn<'_>, table: &str) -> QueryResult<i64> {
    let query = diesel::sql_query(format!("select count(*) as count from {table}"));
    let row: Count = with_conn!(conn, c => query.get_result(c).await)?;
    Ok(row.count)
}

/// Counts. The caller holds the moment fast, in a transaction or by being alone with a file.
pub(super) async fn take(conn: &mut Conn<'_>) -> Result<Census, StoreError> {
    let ours = our_tables(conn).await?;
    if !ours.contains(&"schema_version") {
        return Err(StoreError::Rejected("there is no schema of ledgerline in this database".into()));
    }
    let query = diesel::sql_query("select version from schema_version");
    let version: Version = with_conn!(conn, c => query.get_result(c).await)?;
    let mut tables = Vec::new();
    for table in ours {
        tables.push(TableRows { name: table.to_owned(), rows: count(conn, table).await? });
    }
    Ok(Census { schema: version.version, tables, positions: positions(conn).await? })
}

/// Of the columns that every version of the schema has.
async fn positions(conn: &mut Conn<'_>) -> QueryResult<Vec<SavedPosition>> {
    let query = diesel::sql_query(
        "select p.consumer_group as \"group\", p.topic, p.partition, p.lineage_id, l.cluster_id, l.topic_id, \
                p.next_offset, p.epoch \
         from partition_offsets p join lineages l on l.id = p.lineage_id",
    );
    let mut positions: Vec<SavedPosition> = with_conn!(conn, c => query.load(c).await)?;
    positions.sort();
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census() -> Census {
        let position = SavedPosition {
            group: "g".into(),
            topic: "odds".into(),
            partition: 0,
            lineage_id: 1,
            cluster_id: "c".into(),
            topic_id: String::new(),
            next_offset: 7,
            epoch: 2,
        };
        let tables = vec![TableRows { name: "odds".into(), rows: 3 }];
        Census { schema: 6, tables, positions: vec![position] }
    }

    #[test]
    fn every_difference_is_named() {
        assert_eq!(census().differences(&census()), Vec::<String>::new());
        let mut other = census();
        other.schema = 5;
        other.tables[0].rows = 4;
        other.tables.push(TableRows { name: "games".into(), rows: 0 });
        other.positions[0].next_offset = 8;
        assert_eq!(
            census().differences(&other),
            [
                "schema: version 6, and 5 is there",
                "games: no table, and 0 rows are there",
                "odds: 3 rows, and 4 rows are there",
                "position that is not there: group g, odds[0] at 7, epoch 2",
                "position that was not saved: group g, odds[0] at 8, epoch 2",
            ]
        );
    }
}
