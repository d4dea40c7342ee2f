//! The benchmarks on a real server, small: every figure is there, every method stored what it should, and the databases that
//! they made are gone. How fast they are is not asserted: a busy day would fail it.

use serde_json::Value;

use crate::support::postgres::connect;
use crate::support::worker::Setup;
use crate::support::{service, unique};

/// A name that no other test's role has.
fn role() -> String {
    unique("bench").replace('-', "_")
}

/// Runs a benchmark on a server role of its own, whose databases are then easy to tell; answers its JSON.
async fn bench(args: &[&str]) -> Value {
    let server = service("LEDGERLINE_TEST_POSTGRES");
    let role = role();
    let admin = connect(&server).await;
    admin
        .batch_execute(&format!("create role {role} superuser login password 'bench'"))
        .await
        .expect("a role");
    let mut url = url::Url::parse(&server).expect("the server's address is a URL");
    url.set_username(&role).expect("a name");
    url.set_password(Some("bench")).expect("a password");
    url.set_query(Some("sslmode=disable"));
    let setup = Setup::new("sqlite:unused.db", &[]);
    let mut all = args.to_vec();
    all.extend(["--json", "--database-url", url.as_str()]);
    let printed = setup.must(&all);
    // A role that owns a database cannot be dropped.
    admin.batch_execute(&format!("drop role {role}")).await.expect("its database is gone");
    serde_json::from_str(&printed).expect("JSON")
}

#[tokio::test]
async fn seven_ways_to_write_store_the_same_and_leave_nothing_behind() {
    let found = bench(&["bench", "write", "--rows", "2000", "--runs", "1"]).await;
    let methods: Vec<&Value> = found["methods"].as_array().expect("methods").iter().collect();
    let names: Vec<&str> = methods.iter().filter_map(|of| of["method"].as_str()).collect();
    assert_eq!(
        names,
        [
            "copy",
            "ledgerline",
            "values",
            "rows_one_transaction",
            "rows_own_transaction",
            "rows_own_connection",
            "ledgerline_duplicates",
        ]
    );
    for of in &methods {
        assert!(of["rows_per_second"].as_f64().is_some_and(|speed| speed > 0.0), "{of}");
        assert!(of["ratio_to_copy"].as_f64().is_some_and(|ratio| ratio > 0.0), "{of}");
        for figure in ["client_us_per_row", "server_us_per_row"] {
            assert!(of.get(figure).is_some_and(|value| value.is_null() || value.is_number()), "{of}");
        }
    }
    let rows: Vec<i64> = methods.iter().filter_map(|of| of["rows"].as_i64()).collect();
    assert_eq!(rows, [2_000, 2_000, 2_000, 200, 40, 8, 2_000]);
    for ratio in [
        "write_to_copy",
        "write_to_values",
        "duplicates_to_write",
        "pooling_saves",
        "batching_gains",
        "batching_gains_within_a_transaction",
    ] {
        assert!(found["ratios"][ratio].is_number(), "{ratio} in {found}");
    }
    for setting in
        ["server_version", "fsync", "synchronous_commit", "shared_buffers", "max_wal_size", "cores"]
    {
        assert!(!found["settings"][setting].is_null(), "{setting} in {found}");
    }
}

#[tokio::test]
async fn a_growing_table_has_figures_for_each_window() {
    let args = ["bench", "growth", "--rows", "4000", "--window", "2000", "--batch-rows", "1000"];
    let found = bench(&args).await;
    let windows = found["windows"].as_array().expect("windows");
    let rows: Vec<i64> = windows.iter().filter_map(|of| of["rows"].as_i64()).collect();
    assert_eq!(rows, [2_000, 4_000], "{found}");
    for figure in ["rows_per_second", "wal_bytes_per_row", "table_bytes_per_row", "index_bytes_per_row"] {
        let known = |of: &Value| of[figure].as_f64().is_some_and(|value| value > 0.0);
        assert!(windows.iter().all(known), "{figure} in {found}");
    }
    assert!(found["ratios"]["rows_per_second_last_to_first"].is_number(), "{found}");
}

#[tokio::test]
async fn the_embedded_database_is_refused_before_a_file_is_made() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("none.db");
    let setup = Setup::new(&format!("sqlite:{}", file.display()), &[]);
    let output = setup.run(&["bench", "write"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("only PostgreSQL can be measured"), "{stderr}");
    assert!(!file.exists());
}

#[tokio::test]
async fn a_role_that_may_not_make_databases_hears_what_it_lacks() {
    let server = service("LEDGERLINE_TEST_POSTGRES");
    let admin = connect(&server).await;
    let role = role();
    admin.batch_execute(&format!("create role {role} login password 'bench'")).await.expect("a role");
    let mut url = url::Url::parse(&server).expect("the server's address is a URL");
    url.set_username(&role).expect("a name");
    url.set_password(Some("bench")).expect("a password");
    url.set_query(Some("sslmode=disable"));
    let output = Setup::new(url.as_str(), &[]).run(&["bench", "growth"]);
    admin.batch_execute(&format!("drop role {role}")).await.expect("nothing hangs on it");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("CREATEDB"), "{stderr}");
}
