//! A part of a topic is read again, on real Kafka and real PostgreSQL, while live consumption goes on: the rows come back, live
//! positions stay, and it gives way where live consumption is behind.

use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::kafka::{self, Load, Record};
use crate::support::postgres::Database;
use crate::support::scenes::{odds, records};
use crate::support::worker::{Setup, command};
use crate::support::{eventually, unique};

/// Partitions of every topic here.
const PARTITIONS: i32 = 3;
/// Games of the day that is stored first; others are of live consumption meanwhile.
const GAMES: usize = 10;
/// Seconds of that day, an event for each game in each.
const SECONDS: usize = 300;

/// A day that is stored, and what replays it.
struct Day {
    database: Database,
    topic: String,
    setup: Setup,
}

impl Day {
    /// Events with their own times as Kafka's, stored by a live worker that has ended.
    async fn stored(extra: &str) -> Self {
        let database = Database::postgres().await;
        let topic = kafka::topic("odds", PARTITIONS).await;
        let setup = Setup::new(&database.url, &[("odds", &topic)]).with(extra);
        setup.must(&["migrate", "up"]);
        let events: Vec<String> = (0..SECONDS)
            .flat_map(|second| (0..GAMES).map(move |game| odds(game, second).to_string()))
            .collect();
        let file = setup.folder.path().join("day.jsonl");
        std::fs::write(&file, events.join("\n")).expect("written");
        setup.must(&["publish", "--event-time", &file.display().to_string()]);
        let day = Self { database, topic, setup };
        let mut worker = day.setup.start();
        day.caught_up().await;
        assert!(worker.stop().await.success());
        day.database
            .change(
                "create view day as select * from readable_odds where length(external_id) = length('game-0')",
            )
            .await;
        day
    }

    fn live_group(&self) -> String {
        format!("{}.{}", self.setup.group, self.topic)
    }

    /// Waits until live consumption has come to the ends.
    async fn caught_up(&self) {
        let ends: i64 = (0..PARTITIONS).map(|partition| kafka::end(&self.topic, partition)).sum();
        let sql = format!(
            "select coalesce(sum(next_offset), 0) from partition_offsets where consumer_group = '{}'",
            self.live_group()
        );
        eventually("live consumption to catch up", async || {
            (self.database.number(&sql).await >= ends).then_some(())
        })
        .await;
    }

    /// One minute of the day is gone. Answers how many quotes.
    async fn lose_a_minute(&self) -> i64 {
        let minute = "observed_at >= '2025-11-09T00:01:00Z' and observed_at < '2025-11-09T00:02:00Z'";
        let quotes = self.database.number(&format!("select count(*) from odds where {minute}")).await;
        self.database.change(&format!("delete from odds where {minute}")).await;
        assert_eq!(quotes, 60 * GAMES as i64 * 2);
        quotes
    }

    /// The command for that minute.
    fn replay(&self, more: &[&'static str]) -> Vec<String> {
        let args = [
            "replay",
            "--topic",
            &self.topic,
            "--from",
            "2025-11-09T00:01:00Z",
            "--to",
            "2025-11-09T00:02:00Z",
        ];
        args.iter().chain(more).chain(&["--json"]).map(|arg| (*arg).to_owned()).collect()
    }

    fn must(&self, args: &[String]) -> Value {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        serde_json::from_str(&self.setup.must(&args)).expect("JSON")
    }

    /// How far replays have come, in offsets.
    async fn replayed(&self) -> i64 {
        let sql = "select coalesce(sum(next_offset - start_offset), 0) from partition_offsets \
                   where consumer_group like 'replay:%'";
        self.database.number(sql).await
    }

    /// Nothing is lost, doubled or unaccounted for. Quotes that were deleted by hand and came back are a note.
    fn verified(&self) {
        let verified: Value =
            serde_json::from_str(&self.setup.must(&["verify", "--kafka", "--json"])).expect("JSON");
        assert_eq!((&verified["ok"], &verified["missing"]), (&json!(true), &json!(0)), "{verified}");
    }
}

/// A command under way, its progress in a file.
struct Running {
    child: Child,
    stderr: std::path::PathBuf,
}

impl Running {
    fn start(setup: &Setup, args: &[String]) -> Self {
        let stderr = setup.folder.path().join(unique("replay"));
        let child = command(&setup.file())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&stderr).expect("a file"))
            .spawn()
            .expect("it starts");
        Self { child, stderr }
    }

    /// Waits for a line of progress.
    async fn said(&self, what: &str, matches: impl Fn(&Value) -> bool) {
        eventually(what, async || {
            let text = std::fs::read_to_string(&self.stderr).expect("its progress");
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.any(|line| matches(&line)).then_some(())
        })
        .await;
    }

    fn kill(&mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("its end");
    }

    /// Its one answer, after success.
    fn answer(self) -> Value {
        let output = self.child.wait_with_output().expect("its end");
        let stderr = std::fs::read_to_string(&self.stderr).unwrap_or_default();
        assert!(output.status.success(), "{}\n{stderr}", output.status);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

/// What live consumption gets while a replay works.
fn live_record(number: usize) -> Record {
    let game = 1_000 + number % 7;
    Record::of(&format!("test:game-{game}"), odds(game, number).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_minute_comes_back_while_live_consumption_goes_on() {
    let day = Day::stored("").await;
    let original = day.database.digest("day").await;
    let quotes = day.lose_a_minute().await;
    let mut worker = day.setup.start();
    let load = Load::start(&kafka::brokers(), &day.topic, 200, live_record);
    let epochs =
        format!("select sum(epoch) from partition_offsets where consumer_group = '{}'", day.live_group());
    let claimed = async || day.database.number(&epochs).await;
    eventually("live consumption to go on", async || {
        let live = "select count(*) from readable_odds where length(external_id) > length('game-0')";
        (day.database.number(live).await > 100).then_some(())
    })
    .await;
    let epochs_before = claimed().await;

    let summary = day.must(&day.replay(&["--max-lag", "1000"]));
    assert_eq!(summary["state"], "succeeded", "{summary}");
    assert_eq!((&summary["inserted"], &summary["unchanged"]), (&json!(quotes), &json!(0)), "{summary}");
    assert_eq!(summary["offsets"], json!(60 * GAMES), "{summary}");
    assert_eq!(summary["done"], summary["offsets"], "{summary}");
    let pace = &summary["pace"];
    assert!(pace["started"].as_i64() > Some(0), "{summary}");
    assert!(pace["highest_lag"].as_i64() <= Some(1_000), "{summary}");
    assert!(pace["oldest_sample_ms"].as_i64() <= Some(1_000), "{summary}");
    assert!(summary.get("resumed_from").is_none(), "{summary}");

    load.stop();
    day.caught_up().await;
    assert_eq!(claimed().await, epochs_before, "nobody claimed a live partition");
    assert!(worker.stop().await.success());
    assert_eq!(day.database.digest("day").await, original);
    let ledger = "select sum(to_offset - from_offset) from offset_ledger where consumer_group";
    let positions = "select sum(next_offset - start_offset) from partition_offsets where consumer_group";
    let of_live = async |sums: &str| day.database.number(&format!("{sums} = '{}'", day.live_group())).await;
    assert_eq!(of_live(ledger).await, of_live(positions).await, "the live ledger has live consumption alone");
    let committed = kafka::committed(&format!("{}.replay", day.live_group()), &day.topic, 0);
    assert!(committed.is_none_or(|offset| offset < 0), "a replay commits nothing: {committed:?}");
    day.verified();
    day.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gives_way_while_live_consumption_is_behind() {
    let day = Day::stored("").await;
    let original = day.database.digest("day").await;
    day.lose_a_minute().await;
    kafka::produced(&day.topic, (0..500).map(live_record).collect()).await;

    let replay = Running::start(&day.setup, &day.replay(&["--max-lag", "100"]));
    replay
        .said("the replay to give way", |line| {
            line["pace"]["holding"] == json!(true) && line["pace"]["lag"] == json!(500)
        })
        .await;
    assert_eq!(day.replayed().await, 0, "no batch started");
    let mut worker = day.setup.start();
    let summary = replay.answer();
    let pace = &summary["pace"];
    assert!(pace["held"].as_i64() >= Some(1) && pace["started"].as_i64() > Some(0), "{summary}");
    assert!(pace["highest_lag"].as_i64() <= Some(100), "{summary}");
    assert!(pace["oldest_sample_ms"].as_i64() <= Some(1_000), "{summary}");
    day.caught_up().await;
    assert!(worker.stop().await.success());
    assert_eq!(day.database.digest("day").await, original);
    day.verified();
    day.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_the_same_command_goes_on() {
    let day = Day::stored("[topics.odds.batch]\nrows = 20\nage_ms = 20").await;
    let original = day.database.digest("day").await;
    let quotes = day.lose_a_minute().await;
    let mut killed = Running::start(&day.setup, &day.replay(&["--rate", "50/s"]));
    eventually("some of the replay", async || (day.replayed().await > 40).then_some(())).await;
    killed.kill();
    let done = day.replayed().await;
    assert!(done < 60 * GAMES as i64, "killed too late: {done}");

    let summary = day.must(&day.replay(&[])); // as fast as it can: that is no part of what it is about
    let resumed = summary["resumed_from"].as_object().expect("resumed_from");
    assert_eq!(resumed.len(), usize::try_from(PARTITIONS).expect("few"), "{summary}");
    assert_eq!((&summary["state"], &summary["inserted"]), (&json!("succeeded"), &json!(quotes)), "{summary}");
    assert_eq!((&summary["unchanged"], &summary["done"]), (&json!(0), &json!(60 * GAMES)), "{summary}");
    assert_eq!(day.database.number("select count(*) from workflows").await, 1);
    assert_eq!(day.database.number("select max(attempt) from workflows").await, 2);
    assert_eq!(day.database.digest("day").await, original);
    day.verified();

    let again = day.must(&day.replay(&[]));
    assert_eq!((&again["inserted"], &again["unchanged"]), (&json!(0), &json!(quotes)), "{again}");
    assert_ne!(again["workflow"], summary["workflow"], "what is over is no obstacle");
    assert_eq!(day.database.digest("day").await, original);
    day.verified();
    day.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_it_is_given_back_at_once() {
    let day = Day::stored("[topics.odds.batch]\nrows = 20\nage_ms = 20").await;
    let quotes = day.lose_a_minute().await;
    let running = Running::start(&day.setup, &day.replay(&["--rate", "50"]));
    eventually("some of the replay", async || (day.replayed().await > 40).then_some(())).await;
    let pid = running.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    let output = running.child.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(1));
    let row = day.database.rows("select state, lease_owner from workflows").await;
    assert_eq!(row, [[Some("running".to_owned()), None]]);
    let summary = day.must(&day.replay(&[]));
    assert_eq!((&summary["inserted"], &summary["state"]), (&json!(quotes), &json!("succeeded")), "{summary}");
    assert!(summary["resumed_from"].is_object(), "{summary}");
    day.verified();
    day.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_would_change_and_changes_nothing() {
    let day = Day::stored("").await;
    let quotes = day.lose_a_minute().await;
    let everything = async || {
        let names = day.database.digest("selections").await + &day.database.digest("game_refs").await;
        (day.database.contents().await, names)
    };
    let before = everything().await;
    let two_minutes = |more: &[&str]| {
        let args = [
            "replay",
            "--topic",
            &day.topic,
            "--from",
            "2025-11-09T00:01:00Z",
            "--to",
            "2025-11-09T00:03:00Z",
        ];
        args.iter().chain(more).chain(&["--json"]).map(|arg| (*arg).to_owned()).collect::<Vec<_>>()
    };
    let told = day.must(&two_minutes(&["--dry-run"]));
    assert_eq!(everything().await, before);
    assert_eq!((&told["dry_run"], &told["state"]), (&json!(true), &json!("succeeded")), "{told}");
    assert_eq!((&told["inserted"], &told["unchanged"]), (&json!(quotes), &json!(quotes)), "{told}");
    let done = day.must(&two_minutes(&[]));
    for count in ["offsets", "done", "applied", "dead", "inserted", "updated", "unchanged", "skipped", "hole"]
    {
        assert_eq!(told[count], done[count], "{count}: {told} {done}");
    }
    day.verified();
    day.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_and_observed_times_narrow_it() {
    let day = Day::stored("").await;
    let original = day.database.digest("day").await;
    let quotes = day.lose_a_minute().await;
    let ends: Vec<i64> = (0..PARTITIONS).map(|partition| kafka::end(&day.topic, partition)).collect();
    let ranges: Vec<String> =
        ends.iter().enumerate().filter(|(_, end)| **end > 0).map(|(p, end)| format!("{p}:0-{end}")).collect();
    let mut args: Vec<&str> = vec!["replay", "--topic", &day.topic, "--json", "--offsets"];
    args.extend(ranges.iter().map(String::as_str));
    args.extend(["--observed-from", "2025-11-09T00:01:00Z", "--observed-to", "2025-11-09T00:02:00Z"]);
    let summary: Value = serde_json::from_str(&day.setup.must(&args)).expect("JSON");
    assert_eq!(
        (&summary["inserted"], &summary["applied"]),
        (&json!(quotes), &json!(60 * GAMES)),
        "{summary}"
    );
    assert_eq!(summary["skipped"], json!((SECONDS - 60) * GAMES), "{summary}");
    assert_eq!(day.database.digest("day").await, original);
    day.verified();

    let beyond = format!("0:0-{}", ends[0] + 1);
    let refused = day.setup.run(&["replay", "--topic", &day.topic, "--offsets", &beyond]);
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains(&format!("lies outside of what the log holds now, 0 to {}", ends[0])),
        "{stderr}"
    );
    let refused = day.setup.run(&["replay", "--topic", &day.topic, "--offsets", "0:5-5"]);
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    day.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_cannot_go_on_fails_it_and_the_same_command_tries_again() {
    let day = Day::stored("[topics.odds.dead_letters]\nmax_consecutive = 2").await;
    let bad: Vec<Record> = (0..5).map(|_| Record { partition: Some(0), ..Record::of("bad", "{") }).collect();
    let first = kafka::end(&day.topic, 0);
    kafka::produced(&day.topic, bad).await;
    let range = format!("0:{first}-{}", first + 5);
    let args = ["replay", "--topic", &day.topic, "--offsets", &range, "--json"];
    let failed = day.setup.run(&args);
    let stderr = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("partition 0 is halted: dead_letter_budget"), "{stderr}");
    let summary: Value = serde_json::from_slice(&failed.stdout).expect("JSON");
    assert_eq!(summary["state"], "failed", "{summary}");
    let group = format!("replay:{}", summary["workflow"].as_str().expect("an id"));
    let target = ["--topic", &day.topic, "--partition", "0", "--group", &group, "--reason", "they are bad"];
    day.setup.must(&[&["offsets", "resume"], &target[..]].concat());
    let summary: Value = serde_json::from_str(&day.setup.must(&args)).expect("JSON");
    assert_eq!((&summary["state"], &summary["dead"]), (&json!("succeeded"), &json!(5)), "{summary}");
    assert_eq!(day.database.number("select count(*) from dead_letters").await, 5);
    assert_eq!(day.database.number("select count(*) from workflows").await, 1);
    day.database.drop_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_states_of_games_do_not_come_back() {
    let database = Database::postgres().await;
    let topic = kafka::topic("games", 1).await;
    let setup = Setup::new(&database.url, &[("games", &topic)]);
    setup.must(&["migrate", "up"]);
    let state = |second: usize, score: i64| {
        json!({
            "specversion": "1.0", "type": "game.v1", "id": second.to_string(), "source": "test-scraper",
            "time": format!("2025-11-09T00:00:{second:02}Z"),
            "data": {"game": {"system": "test", "id": "g"}, "sport": "baseball", "league": "mlb", "status": "in_progress",
                     "home_score": score, "away_score": 0},
        })
    };
    let states: Vec<Record> = (0..9).map(|n| Record::of("test:g", state(n, n as i64).to_string())).collect();
    kafka::produced(&topic, states).await;
    let mut worker = setup.start();
    crate::support::scenes::stored(&database, &topic, 1).await;
    assert!(worker.stop().await.success());
    let newest = database.digest("readable_games").await;
    let summary: Value =
        serde_json::from_str(&setup.must(&["replay", "--topic", &topic, "--offsets", "0:0-5", "--json"]))
            .expect("JSON");
    assert_eq!(
        (&summary["inserted"], &summary["updated"], &summary["unchanged"]),
        (&json!(0), &json!(0), &json!(5))
    );
    assert_eq!(database.digest("readable_games").await, newest);
    database.drop_now().await;
}

/// Aborted transactions and their markers at the captured end: the replay comes to its end all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_without_a_record_is_an_end() {
    let database = Database::postgres().await;
    let topic = kafka::topic("odds", 1).await;
    let setup = Setup::new(&database.url, &[("odds", &topic)]);
    setup.must(&["migrate", "up"]);
    let to = topic.clone();
    tokio::task::spawn_blocking(move || {
        let all = records(1, 20);
        kafka::produce_in_transaction(&to, &all[..10], true);
        kafka::produce_in_transaction(&to, &all[10..], false);
    })
    .await
    .expect("produced");
    let args = ["replay", "--topic", &topic, "--from", "2020-01-01T00:00:00Z", "--json"];
    let summary: Value = serde_json::from_str(&setup.must(&args)).expect("JSON");
    assert_eq!(
        (&summary["applied"], &summary["hole"], &summary["state"]),
        (&json!(10), &json!(12), &json!("succeeded"))
    );
    database.drop_now().await;
}
