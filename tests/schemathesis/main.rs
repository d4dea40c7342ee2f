//! A caller that knows the API from its document alone: schemathesis calls every operation with thousands of inputs, good and bad, and
//! fails on a server error, a status, a content type or a shape that the document does not have. `make api-test` runs it;
//! EXAMPLES=50 inputs for each operation.

#[path = "../support/mod.rs"]
mod support;

use std::process::Command;

use ledgerline_schema::events::EventKind;

use support::kafka;
use support::postgres::Database;
use support::scenes::records;
use support::worker::Setup;
use support::{eventually, optional, service};

const TOKEN: &str = "a-token-of-a-test-0123456789";

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,unsupported_method";

#[tokio::test(flavor = "multi_thread")]
async fn postgres_answers_as_the_document_says() {
    answers_as_the_document_says(Database::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_answers_as_the_document_says() {
    answers_as_the_document_says(Database::sqlite()).await;
}

/// A worker with a few rows of each kind, and a dead letter.
async fn answers_as_the_document_says(database: Database) {
    drop(database.migrated().await);
    let mut topics = Vec::new();
    for kind in EventKind::ALL {
        topics.push((kind.name(), kafka::topic(kind.name(), 1).await));
    }
    let named: Vec<(&'static str, &str)> =
        topics.iter().map(|(kind, topic)| (*kind, topic.as_str())).collect();
    let control = format!("control_listen = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"");
    let setup = Setup::new(&database.url, &named).with_http(&control);
    let file = setup.folder.path().join("samples.ndjson");
    let samples: String =
        EventKind::ALL.iter().map(|kind| setup.must(&["schema", "samples", kind.name()])).collect();
    std::fs::write(&file, samples).expect("written");
    setup.must(&["publish", &file.display().to_string()]);
    let bad = kafka::Record::of("bad", "{");
    kafka::produced(&topics[0].1, [records(2, 50), vec![bad]].concat()).await;
    let mut worker = setup.start();
    let address = worker.control_address().await;
    let store = database.store().await;
    eventually("every record to be stored", || async {
        let positions = store.partition_page(None, None, None, 10).await.ok()?.rows;
        let is_stored = |topic: &str| {
            positions.iter().any(|row| row.topic == topic && row.next_offset == kafka::end(topic, 0))
        };
        topics.iter().all(|(_, topic)| is_stored(topic)).then_some(())
    })
    .await;
    let folder = setup.folder.path().to_owned();
    let tried = tokio::task::spawn_blocking(move || {
        Command::new(service("LEDGERLINE_TEST_SCHEMATHESIS"))
            .args(["run", &format!("http://{address}/api/v1/openapi.json"), "--no-color"])
            .args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--checks", CHECKS])
            .args(["--phases", "examples,coverage,fuzzing,stateful", "--generation-database", ":memory:"])
            .args(["--max-examples", optional("EXAMPLES").as_deref().unwrap_or("50")])
            .current_dir(folder)
            .output()
    });
    let tried = tried.await.expect("tried").expect("schemathesis starts");
    let (told, log) = (String::from_utf8_lossy(&tried.stdout), worker.log());
    println!("{told}");
    assert!(tried.status.success(), "{told}\n{}\n{log}", String::from_utf8_lossy(&tried.stderr));
    assert!(worker.stop().await.success());
    database.drop_now().await;
}
