//! Workflows that workers take up beside their live lines: each once, by one of them, by another where the first is gone.

use ledgerline_schema::store::{NewWorkflow, Store};
use ledgerline_schema::workflow::{Backfill, InputFile, OffsetRange, Parameters, Replay};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::kafka;
use crate::support::postgres::Database;
use crate::support::scenes::{get, odds, records};
use crate::support::worker::{Setup, Worker};

/// Records of the topic.
const RECORDS: i64 = 300;

/// A topic of one partition, its records stored by live consumption, its rows deleted by hand.
struct Emptied {
    database: Database,
    store: Store,
    topic: String,
    setup: Setup,
}

impl Emptied {
    async fn new() -> Self {
        let database = Database::postgres().await;
        let topic = kafka::topic("odds", 1).await;
        let extra = "[topics.odds.batch]\nrows = 10\nage_ms = 20\n[workflows]\nenabled = true\npoll_ms = 100";
        let setup = Setup::new(&database.url, &[("odds", &topic)]).with(extra);
        setup.must(&["migrate", "up"]);
        kafka::produced(&topic, records(1, 300)).await;
        let mut worker = setup.start();
        crate::support::scenes::stored(&database, &topic, 1).await;
        assert!(worker.stop().await.success());
        database.change("delete from odds").await;
        let store = database.store().await;
        Self { database, store, topic, setup }
    }

    /// Asks for all of it again.
    async fn ask(&self, rate_per_second: Option<u32>) -> String {
        let replay = Replay {
            topic: self.topic.clone(),
            offsets: vec![OffsetRange { partition: 0, from: 0, to: RECORDS }],
            rate_per_second,
            ..Replay::default()
        };
        self.ask_for(&Parameters::Replay(replay)).await
    }

    async fn ask_for(&self, parameters: &Parameters) -> String {
        let new = NewWorkflow { parameters, requested_by: "a test", attended: false };
        self.store.create_workflow(&new).await.expect("created").id
    }

    async fn becomes(&self, id: &str, state: &str) {
        eventually(state, async || {
            let found = self.store.workflow(id).await.expect("an answer").expect("a workflow");
            assert!(found.state.name() != "failed" || state == "failed", "{:?}", found.error);
            (found.state.name() == state).then_some(())
        })
        .await;
    }

    /// The process that has it, and how far it has come.
    async fn owner(&self, id: &str) -> Option<u32> {
        let found = self.store.workflow(id).await.expect("an answer").expect("a workflow");
        found.lease_owner?.split_whitespace().nth(1)?.parse().ok()
    }

    async fn replayed(&self, id: &str) -> i64 {
        let sql = format!(
            "select coalesce(sum(next_offset - start_offset), 0) from partition_offsets where consumer_group = 'replay:{id}'"
        );
        self.database.number(&sql).await
    }

    async fn states(&self, id: &str) -> Vec<String> {
        let rows = self.store.workflow_history(id, None, 100).await.expect("an answer").rows;
        rows.into_iter().map(|row| row.to_state).collect()
    }

    fn verified(&self) {
        let verified: Value =
            serde_json::from_str(&self.setup.must(&["verify", "--kafka", "--json"])).expect("JSON");
        assert_eq!(verified["ok"], json!(true), "{verified}");
    }
}

async fn stopped(workers: &mut [Worker]) {
    for worker in workers {
        assert!(worker.stop().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_workers_one_takes_it_up_and_it_runs_once() {
    let emptied = Emptied::new().await;
    let mut workers = [emptied.setup.start(), emptied.setup.start()];
    for worker in &workers {
        worker.address().await;
    }
    let id = emptied.ask(None).await;
    emptied.becomes(&id, "succeeded").await;
    assert_eq!(emptied.states(&id).await, ["queued", "running", "succeeded"]);
    let taken: usize = workers.iter().map(|worker| worker.log().matches("workflow taken up").count()).sum();
    assert_eq!(taken, 1);
    assert_eq!(emptied.database.number("select count(*) from odds").await, 2 * RECORDS);
    let sums = format!("select sum(inserted) from offset_ledger where consumer_group = 'replay:{id}'");
    assert_eq!(emptied.database.number(&sums).await, 2 * RECORDS);
    let found = emptied.store.workflow(&id).await.expect("an answer").expect("a workflow");
    assert_eq!(found.progress.expect("progress")["inserted"], json!(2 * RECORDS));
    let mut metrics = String::new();
    for worker in &workers {
        metrics += &get(&worker.address().await, "/metrics").await;
    }
    let done = "ledgerline_workflow_state_changes_total{kind=\"replay\",state=\"succeeded\"} 1";
    assert_eq!(metrics.matches(done).count(), 1, "{metrics}");
    assert!(metrics.contains("mode=\"replay\""), "{metrics}");
    stopped(&mut workers).await;
    emptied.verified();
    emptied.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_began_another_finishes() {
    let emptied = Emptied::new().await;
    let mut workers = [emptied.setup.start(), emptied.setup.start()];
    let id = emptied.ask(Some(40)).await;
    eventually("some of the replay", async || (emptied.replayed(&id).await >= 20).then_some(())).await;
    let owner = emptied.owner(&id).await.expect("an owner");
    let [first, second] = &mut workers;
    let (killed, left) = if first.pid() == owner { (first, second) } else { (second, first) };
    assert_eq!(killed.pid(), owner);
    killed.kill();
    assert!(emptied.replayed(&id).await < RECORDS, "killed too late");
    emptied.becomes(&id, "succeeded").await;
    assert_eq!(emptied.states(&id).await, ["queued", "running", "running", "succeeded"]);
    assert_eq!(emptied.database.number("select count(*) from odds").await, 2 * RECORDS);
    let sums = "select sum(inserted), sum(duplicate) from offset_ledger where consumer_group like 'replay:%'";
    let sums = emptied.database.rows(sums).await;
    assert_eq!(sums, [[Some((2 * RECORDS).to_string()), Some("0".to_owned())]], "nothing was done twice");
    assert!(left.stop().await.success());
    emptied.verified();
    emptied.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn called_off_it_stops_and_put_back_it_goes_on() {
    let emptied = Emptied::new().await;
    let mut worker = emptied.setup.start();
    let id = emptied.ask(Some(30)).await;
    eventually("some of the replay", async || (emptied.replayed(&id).await >= 20).then_some(())).await;
    let text = emptied.setup.must(&["workflows", "cancel", &id, "--reason", "a slip", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON")["state"], "cancelled");
    crate::support::scenes::logged(&worker, "the lease is lost; stopping", 1).await;
    crate::support::scenes::logged(&worker, "workflow ended", 1).await;
    let done = emptied.replayed(&id).await;
    assert!(done < RECORDS, "called off too late");
    assert_eq!(emptied.states(&id).await, ["queued", "running", "cancelled"]);
    let refused = emptied.setup.run(&["workflows", "cancel", &id]);
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(stderr.contains("is cancelled and cannot become cancelled"), "{stderr}");

    emptied.setup.must(&["workflows", "retry", &id, "--reason", "no slip"]);
    emptied.becomes(&id, "succeeded").await;
    assert_eq!(emptied.database.number("select count(*) from odds").await, 2 * RECORDS);
    let text = emptied.setup.must(&["workflows", "show", &id, "--json"]);
    let shown: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(shown["history"].as_array().map(Vec::len), Some(6), "{shown}");
    assert_eq!(shown["history"][2]["detail"], "a slip", "{shown}");
    let text = emptied.setup.must(&["workflows", "ls", "--state", "succeeded", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON")[0]["id"], json!(id));
    assert!(emptied.setup.must(&["workflows", "ls"]).contains("300/300"));
    assert!(worker.stop().await.success());
    emptied.verified();
    emptied.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ends_gives_it_back_at_once() {
    let emptied = Emptied::new().await;
    let mut first = emptied.setup.start();
    let id = emptied.ask(Some(30)).await;
    eventually("some of the replay", async || (emptied.replayed(&id).await >= 20).then_some(())).await;
    assert!(first.stop().await.success());
    let found = emptied.store.workflow(&id).await.expect("an answer").expect("a workflow");
    assert_eq!((found.state.name(), found.lease_owner), ("running", None));
    let mut second = emptied.setup.start();
    emptied.becomes(&id, "succeeded").await;
    assert_eq!(emptied.database.number("select count(*) from odds").await, 2 * RECORDS);
    assert!(second.stop().await.success());
    emptied.verified();
    emptied.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_files_from_its_folder_and_from_nowhere_else() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let extra =
        format!("[workflows]\nenabled = true\npoll_ms = 100\nfiles_dir = \"{}\"", folder.path().display());
    let setup = Setup::new(&database.url, &[("odds", &topic)]).with(&extra);
    setup.must(&["migrate", "up"]);
    let events: Vec<String> = (0..50).map(|n| odds(n % 5, n).to_string()).collect();
    std::fs::write(folder.path().join("events.jsonl"), events.join("\n")).expect("written");
    let emptied = Emptied { store: database.store().await, database, topic, setup };
    let file = |path: &str| {
        let files = vec![InputFile { path: path.into(), sha256: None }];
        Parameters::Backfill(Backfill { files, format: "cloudevents".into() })
    };
    let good = emptied.ask_for(&file("events.jsonl")).await;
    let bad = emptied.ask_for(&file("../../../../../../etc/hostname")).await;
    let mut worker = emptied.setup.start();
    emptied.becomes(&good, "succeeded").await;
    emptied.becomes(&bad, "failed").await;
    let found = emptied.store.workflow(&bad).await.expect("an answer").expect("a workflow");
    assert!(
        found.error.as_deref().unwrap_or_default().contains("lies outside of workflows.files_dir"),
        "{found:?}"
    );
    assert_eq!(emptied.database.number("select count(*) from odds").await, 100);
    assert!(worker.stop().await.success());
    emptied.database.drop_now().await;
}
