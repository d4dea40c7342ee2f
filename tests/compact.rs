//! `ledgerline compact` and `retention` as an operator runs them, and the schedule of `run`: real binary, and for the schedule
//! real Kafka and PostgreSQL. What may be removed is in `store/compact.rs`.

use std::process::Stdio;

use ledgerline_schema::store::Removal;
use ledgerline_worker::clock::now;
use ledgerline_worker::maintenance::{Step, Walk};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::kafka;
use crate::support::postgres::{Database, connect};
use crate::support::scenes::{clean, get, records, stored};
use crate::support::worker::{Setup, command};

/// A SQLite database with one selection: five equal quotes of two years ago, one of two hours ago, all accounted for.
async fn quiet_database() -> (Database, Setup) {
    let database = Database::sqlite();
    let setup = Setup::new(&database.url, &[]);
    setup.must(&["migrate", "up"]);
    let quote = |at: &str| format!("insert into odds values (1, {at}, 1, 2.0, 1, null);");
    let old = (1..=5).map(|second| quote(&format!("'2024-11-09T18:20:0{second}.000000Z'")));
    let young = quote("strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-2 hours')");
    database.change(&(old.collect::<String>() + &young)).await;
    (database, setup)
}

fn json_of(setup: &Setup, args: &[&str]) -> Value {
    serde_json::from_str(&setup.must(&[args, &["--json"]].concat())).expect("JSON")
}

/// scanned, removed, kept, selections.
fn counts(summary: &Value) -> [i64; 4] {
    ["scanned", "removed", "kept", "selections"].map(|key| summary[key].as_i64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_compact_then_does() {
    let (database, setup) = quiet_database().await;
    let would = json_of(&setup, &["compact", "--dry-run"]);
    assert_eq!((counts(&would), &would["dry_run"]), ([5, 3, 2, 1], &json!(true)), "{would}");
    assert!(setup.must(&["compact", "--dry-run"]).starts_with("3 of 5 quotes of 1 selections older than "));
    assert_eq!(database.number_of("odds").await, 6);
    let did = json_of(&setup, &["compact"]);
    assert_eq!(
        (counts(&did), &did["dry_run"], &did["finished"]),
        ([5, 3, 2, 1], &json!(false), &json!(true))
    );
    assert_eq!(counts(&json_of(&setup, &["compact"])), [2, 0, 2, 1], "twice changes nothing");
    // The newest old one is inside of a run now that the young one is old enough.
    assert_eq!(counts(&json_of(&setup, &["compact", "--older-than", "1h"])), [3, 1, 2, 1]);
    assert_eq!(
        database.line("select reason || ' ' || rows as line from removals where rows > 0").await,
        "compacted 4"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_age_has_a_least() {
    let (database, setup) = quiet_database().await;
    for args in [
        &["retention"][..],
        &["retention", "--older-than", "23h"],
        &["compact", "--older-than", "7"],
        &["compact", "--older-than", "59m"],
    ] {
        assert_eq!(setup.run(args).status.code(), Some(2), "{args:?}");
    }
    assert!(setup.must(&["retention", "--older-than", "90d", "--dry-run"]).starts_with("5 of 5 quotes"));
    assert_eq!(database.number_of("odds").await, 6);
    assert_eq!(counts(&json_of(&setup, &["retention", "--older-than", "90d"])), [5, 5, 0, 1]);
    assert_eq!(database.number_of("odds").await, 1);
    assert_eq!(
        database.line("select reason || ' ' || rows as line from removals where rows > 0").await,
        "expired 5"
    );
}

/// Equal quotes of two years ago, more than a chunk takes.
const MANY: &str = "insert into odds (lineage_id, selection_id, observed_at, record_offset, price) \
                    select 1, 1, timestamptz '2024-11-09T18:20:00Z' + n * interval '1 second', n, 2.0 \
                    from generate_series(1, 30000) n";

/// Busy is an answer to the first chunk only: a walk that has begun waits for the other one's chunk.
#[tokio::test(flavor = "multi_thread")]
async fn a_walk_that_has_begun_waits_for_another_ones_chunk() {
    let database = Database::postgres().await;
    let store = database.migrated().await;
    let other = connect(&database.url).await;
    other.batch_execute(MANY).await.expect("inserted");
    let lock = "begin; select pg_advisory_xact_lock(hashtext('ledgerline removals'))";
    let mut walk = Walk::new(store, Removal::Compacted, now(), false);
    other.batch_execute(lock).await.expect("the lock");
    assert_eq!(walk.step().await.expect("an answer"), Step::Busy);
    other.batch_execute("commit").await.expect("an answer");
    assert_eq!(walk.step().await.expect("an answer"), Step::More);
    other.batch_execute(lock).await.expect("the lock");
    let (step, held) = tokio::join!(walk.step(), other.batch_execute("select pg_sleep(0.5); commit"));
    held.expect("an answer");
    assert_eq!((step.expect("an answer"), walk.removed), (Step::Done, 29_998));
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_is_told_to_end_says_what_it_did() {
    let database = Database::postgres().await;
    let setup = Setup::new(&database.url, &[]);
    setup.must(&["migrate", "up"]);
    let other = connect(&database.url).await;
    other.batch_execute(MANY).await.expect("inserted");
    for signal in ["INT", "TERM"] {
        other.batch_execute("begin; lock table odds in access exclusive mode").await.expect("the lock");
        let mut command = command(&setup.file());
        command.args(["compact", "--dry-run"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let compaction = command.spawn().expect("it runs");
        let waiting = "select count(*) from pg_locks where not granted and relation = 'odds'::regclass";
        eventually("the compaction to wait", async || (database.number(waiting).await > 0).then_some(()))
            .await;
        let pid = compaction.id().to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
        other.batch_execute("commit").await.expect("an answer");
        let output = compaction.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && said.contains("interrupted; what was done is done"),
            "{signal}: {}: {said}",
            output.status
        );
        assert!(String::from_utf8_lossy(&output.stdout).contains("of 20000 quotes"), "{output:?}");
    }
    database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_compacts_on_a_schedule_and_everything_stays_proved() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 2).await;
    let extra = "[compaction]\nenabled = true\nevery_ms = 1000\n[retention]\nolder_than_days = 30000\n";
    let setup = Setup::new(&database.url, &[("odds", &topic)]).with(extra);
    setup.must(&["migrate", "up"]);
    kafka::produced(&topic, records(3, 60)).await;
    let mut worker = setup.start();
    stored(&database, &topic, 2).await;
    // Of each game 60 quotes of the away side are one run; the home side's moves with every second.
    let left = 3 * (60 + 2);
    let rows = "select count(*) from odds";
    eventually("the sweep", async || (database.number(rows).await == left).then_some(())).await;
    let address = worker.address().await;
    let removed = format!("ledgerline_quotes_removed_total{{reason=\"compacted\"}} {}", 3 * 58);
    let metrics = eventually("the metrics of a sweep", async || {
        let metrics = get(&address, "/metrics").await;
        let completed = "ledgerline_sweeps_total{reason=\"compacted\",outcome=\"completed\"} ";
        let done = !metrics.contains(&format!("{completed}0\n"));
        (done && metrics.contains(&removed)).then_some(metrics)
    })
    .await;
    assert!(metrics.contains("ledgerline_quotes_removed_total{reason=\"expired\"} 0"), "{metrics}");
    assert!(
        metrics.contains("ledgerline_sweeps_total{reason=\"expired\",outcome=\"failed\"} 0"),
        "{metrics}"
    );
    assert!(worker.stop().await.success());
    clean(&setup);
    assert!(setup.must(&["verify"]).contains("174 quotes were removed by compaction and retention"));
    database.drop_now().await;
}
