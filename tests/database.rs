//! `ledgerline db stats` and `optimize` as an operator runs them, on both stores. What is measured and done is in `store/upkeep.rs`.

use serde_json::{Value, json};

use crate::support::postgres::{Database, connect};
use crate::support::worker::Setup;

async fn migrated(database: &Database) -> Setup {
    let setup = Setup::new(&database.url, &[]);
    setup.must(&["migrate", "up"]);
    setup
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The names of an object's fields.
fn names(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_figures_are_told_to_people_and_to_machines() {
    let database = Database::postgres().await;
    let setup = migrated(&database).await;
    let quiet = setup.must(&["db", "stats"]);
    assert!(quiet.contains("no long transactions"), "{quiet}");
    let forgotten = connect(&database.url).await;
    forgotten
        .batch_execute("set application_name = 'somebody'; begin; select 'canary-record'")
        .await
        .expect("begun");
    let text = setup.must(&["db", "stats", "--older-than", "0s"]);
    for part in [
        "PostgreSQL ",
        "cache hits",
        "odds_pkey",
        "games_details",
        "never used",
        "somebody",
        "idle in transaction",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("canary-record"), "nobody's statement is shown: {text}");
    let stats: Value =
        serde_json::from_str(&setup.must(&["db", "stats", "--older-than", "0s", "--json"])).expect("JSON");
    assert!(!stats.to_string().contains("canary-record"), "{stats}");
    assert_eq!(names(&stats), ["connections", "database", "indexes", "long_transactions", "store", "tables"]);
    assert_eq!(
        names(&stats["database"]),
        [
            "bytes",
            "cache_hit_ratio",
            "commits",
            "connections_max",
            "deadlocks",
            "name",
            "rollbacks",
            "server",
            "since",
            "temporary_bytes"
        ]
    );
    assert_eq!(
        names(&stats["tables"][0]),
        [
            "analyzed_at",
            "dead_rows",
            "dead_share",
            "index_bytes",
            "name",
            "rows",
            "table_bytes",
            "vacuumed_at"
        ]
    );
    assert_eq!(
        names(&stats["indexes"][0]),
        ["bytes", "name", "scans", "table", "unused", "valid", "wasted_bytes"]
    );
    let long = &stats["long_transactions"][0];
    assert_eq!(names(long), ["application", "pid", "role", "seconds", "state", "waits_for"]);
    assert_eq!(
        (&long["state"], &long["waits_for"]),
        (&json!("idle in transaction"), &json!("Client: ClientRead"))
    );
    assert_eq!(names(&stats["connections"][0]), ["application", "connections", "state"]);
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_files_figures_are_told_to_people_and_to_machines() {
    let database = Database::sqlite();
    let setup = migrated(&database).await;
    let text = setup.must(&["db", "stats"]);
    assert!(text.contains("write-ahead log") && text.contains("workflow_history"), "{text}");
    let stats: Value = serde_json::from_str(&setup.must(&["db", "stats", "--json"])).expect("JSON");
    assert_eq!(
        names(&stats),
        [
            "bytes",
            "free_pages",
            "journal_mode",
            "page_bytes",
            "pages",
            "store",
            "tables",
            "version",
            "wal_bytes"
        ]
    );
    assert_eq!(stats["tables"][0], json!({"name": "schema_version", "rows": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_optimize_then_does_and_changes_nothing() {
    let database = Database::postgres().await;
    let setup = migrated(&database).await;
    let many = "insert into odds select n / 50, now() + n * interval '1 ms', n, 2.0, 1, null \
                from generate_series(1, 100000) n; \
                delete from odds where record_offset % 50 <> 0; analyze odds";
    database.change(many).await;
    let key = "select pg_relation_size('odds_pkey')";
    let before = database.number(key).await;
    let bloated = ["db", "optimize", "--bloated-mib", "1"];
    let planned = lines(&setup.must(&[&bloated[..], &["--dry-run", "--json"]].concat()));
    assert_eq!(planned[0], json!({"step": "vacuum_table", "table": "odds"}), "the largest first");
    let last = planned.last().expect("steps");
    assert_eq!(
        (&last["step"], &last["index"], &last["bytes"]),
        (&json!("reindex"), &json!("odds_pkey"), &json!(before))
    );
    assert_eq!(names(last), ["bytes", "index", "step", "wasted_bytes"]);
    assert!(setup.must(&[&bloated[..], &["--dry-run"]].concat()).contains("would rebuild index odds_pkey, "));
    let vacuumed = "select count(*) from pg_stat_user_tables where last_vacuum is not null";
    assert_eq!((database.number(key).await, database.number(vacuumed).await), (before, 0));

    let done = lines(&setup.must(&[&bloated[..], &["--json"]].concat()));
    let steps = |steps: &[Value]| -> Vec<String> {
        let of = |step: &Value| format!("{} {} {}", step["step"], step["table"], step["index"]);
        steps.iter().map(of).collect()
    };
    assert_eq!(steps(&done), steps(&planned));
    assert!(done.iter().all(|step| step["done"] == json!(true) && step["error"].is_null()), "{done:?}");
    assert!(database.number(key).await * 10 < before);
    let again = setup.must(&bloated);
    assert!(again.contains("vacuum and analyze odds: ") && !again.contains("rebuild"), "{again}");
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_cannot_be_done_stops_no_other_and_the_ending_tells() {
    let database = Database::postgres().await;
    let setup = migrated(&database).await;
    let holder = connect(&database.url).await;
    holder.batch_execute("begin; lock table games in share update exclusive mode").await.expect("held");
    let output = setup.run(&["db", "optimize"]);
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{told}");
    assert!(
        said.contains("vacuum and analyze games: not done: ") && said.contains("vacuum and analyze odds: "),
        "{said}"
    );
    assert!(told.contains("1 steps could not be done"), "{told}");
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_looked_after_too() {
    let database = Database::sqlite();
    let setup = migrated(&database).await;
    let planned = lines(&setup.must(&["db", "optimize", "--vacuum", "--dry-run", "--json"]));
    let steps = [
        json!({"step": "refresh_statistics"}),
        json!({"step": "vacuum_file"}),
        json!({"step": "checkpoint"}),
    ];
    assert_eq!(planned, steps);
    let done = setup.must(&["db", "optimize"]);
    assert!(done.contains("empty the write-ahead log: ") && !done.contains("anew"), "{done}");
    let unmigrated = Database::sqlite();
    std::fs::write(unmigrated.url.trim_start_matches("sqlite:"), "").expect("an empty file");
    let refused = Setup::new(&unmigrated.url, &[]).run(&["db", "optimize"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("migrate up"), "{refused:?}");
}
