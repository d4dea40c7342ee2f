//! The benchmark of the whole line on the real services, small: the figures are there, and what it made is gone. How fast it is
//! is not asserted: a busy day would fail it.

use std::process::Output;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use crate::support::postgres::connect;
use crate::support::worker::Setup;
use crate::support::{PATIENCE, eventually, kafka, service, unique};

/// A server role of a test's own: a database that were left behind would keep it from being dropped.
struct Role {
    name: String,
    url: String,
}

impl Role {
    async fn new() -> Self {
        let server = service("LEDGERLINE_TEST_POSTGRES");
        let name = unique("bench").replace('-', "_");
        let create = format!("create role {name} superuser login password 'bench'");
        connect(&server).await.batch_execute(&create).await.expect("a role");
        let mut url = url::Url::parse(&server).expect("the server's address is a URL");
        url.set_username(&name).expect("a name");
        url.set_password(Some("bench")).expect("a password");
        url.set_query(Some("sslmode=disable"));
        Self { name, url: url.into() }
    }

    fn bench(&self, args: &[&str]) -> Output {
        let setup = Setup::new("sqlite:unused.db", &[]);
        let mut all = vec!["bench", "e2e", "--database-url", &self.url, "--json", "--runs", "1"];
        all.extend(["--seconds", "1", "--rate", "200"]);
        all.extend(args);
        setup.run(&all)
    }

    async fn leave(self) {
        let server = service("LEDGERLINE_TEST_POSTGRES");
        let drop = format!("drop role {}", self.name);
        connect(&server).await.batch_execute(&drop).await.expect("its database is gone");
    }
}

fn document(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}

/// Whether a topic of that run is still there; a deleted one may show for a moment.
fn is_gone(run: &str) -> bool {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", kafka::brokers()).create().expect("a client");
    let found = client.fetch_metadata(None, PATIENCE).expect("Kafka answers");
    !found.topics().iter().any(|topic| topic.name().starts_with(run))
}

#[tokio::test]
async fn the_whole_line_is_measured_and_nothing_is_left_behind() {
    let role = Role::new().await;
    let output = role.bench(&["--events", "2000", "--partitions", "3", "--writers", "2"]);
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let found = document(&output);
    let number = |pointer: &str| {
        let value = found.pointer(pointer).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("{pointer} in {found}"))
    };
    assert_eq!(number("/settings/events"), 2_000.0, "{found}");
    assert_eq!(number("/settings/partitions"), 3.0, "{found}");
    assert!(number("/settings/quotes") >= 2_000.0, "{found}");
    for figure in [
        "/drain/events_per_second",
        "/drain/quotes_per_second",
        "/drain/peak_memory_mib",
        "/write_alone/quotes_per_second",
        "/latency/p50_ms",
        "/latency/p99_ms",
        "/latency/empty_commit_p99_ms",
        "/ratios/e2e_to_write",
        "/ratios/latency_to_flush_and_commit",
    ] {
        assert!(number(figure) > 0.0, "{figure} in {found}");
    }
    role.leave().await;
    let run = found["settings"]["run"].as_str().expect("its name").to_owned();
    eventually("the topics to be gone", async || is_gone(&run).then_some(())).await;
}

#[tokio::test]
async fn a_ratio_that_is_worse_than_the_recorded_one_fails_the_command_and_says_so() {
    let role = Role::new().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let gate = folder.path().join("gate.json");
    std::fs::write(&gate, r#"{"tolerance": 0.1, "ratios": {"e2e_to_write": 1e9, "write_to_copy": 1e9}}"#)
        .expect("the gate is written");
    let output = role.bench(&["--events", "500", "--gate", gate.to_str().expect("UTF-8")]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("e2e_to_write: recorded 1000000000.000, found"), "{stderr}");
    assert!(!stderr.contains("write_to_copy"), "what was not measured says nothing: {stderr}");
    assert!(document(&output).get("ratios").is_some());
    role.leave().await;
}

#[test]
fn sqlite_is_refused_before_anything_is_made() {
    let output = Setup::new("sqlite:unused.db", &[]).run(&["bench", "e2e"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("only PostgreSQL can be measured"), "{stderr}");
}
