//! The API as its callers meet it: a real worker, real services, plain HTTP. Every endpoint answers, every bad parameter is named,
//! pages hold each row once, changing calls need the token, and every error is a Problem.

use std::collections::BTreeSet;

use ledgerline_schema::events::EventKind;
use ledgerline_worker::http::openapi;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::kafka;
use crate::support::postgres::Database;
use crate::support::scenes::{odds, stored};
use crate::support::worker::{Setup, Worker};

const TOKEN: &str = "a-token-of-a-test-0123456789";

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status, if it is a Problem that says so itself.
    #[track_caller]
    fn problem(&self) -> u16 {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        assert_eq!(self.json()["status"], json!(self.status), "{self:?}");
        assert_eq!(self.json()["type"], json!("about:blank"), "{self:?}");
        self.status
    }
}

async fn call(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // A server that refuses a body closes before it has read it all; what it said counts.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// A worker that has stored a few events of each kind.
struct Scene {
    database: Database,
    worker: Worker,
    address: String,
    _setup: Setup,
}

impl Scene {
    async fn with(http: &str) -> Self {
        let database = Database::postgres().await;
        drop(database.migrated().await);
        let mut topics = Vec::new();
        for kind in EventKind::ALL {
            topics.push((kind.name(), kafka::topic(kind.name(), 1).await));
        }
        let named: Vec<(&'static str, &str)> =
            topics.iter().map(|(kind, topic)| (*kind, topic.as_str())).collect();
        let setup = Setup::new(&database.url, &named).with_http(http);
        let file = setup.folder.path().join("events.ndjson");
        let samples =
            ["sharp-signals", "betting-analyses"].map(|kind| setup.must(&["schema", "samples", kind]));
        std::fs::write(&file, events() + &samples.concat()).expect("written");
        setup.must(&["publish", &file.display().to_string()]);
        kafka::produced(&topics[0].1, vec![kafka::Record::of("bad", "{")]).await;
        let worker = setup.start();
        for (_, topic) in &topics {
            stored(&database, topic, 1).await;
        }
        let address = worker.address().await;
        Self { database, worker, address, _setup: setup }
    }

    async fn get(&self, path: &str) -> Answer {
        call(&self.address, "GET", path, &[], "").await
    }

    async fn end(mut self) {
        assert!(self.worker.stop().await.success());
        assert!(!self.worker.log().contains(TOKEN), "the token is in the log");
        self.database.drop_now().await;
    }
}

/// 12 games, odds of one of them, 7 articles.
fn events() -> String {
    let event = |kind: &str, n: usize, data: Value| {
        json!({"specversion": "1.0", "type": kind, "id": n.to_string(), "source": "s", "time": "2025-11-09T18:00:00Z",
               "data": data})
    };
    let game = |n: usize| {
        let details = json!({"venue": {"city": "Boston"}});
        event(
            "game.v1",
            n,
            json!({"game": {"system": "test", "id": format!("game-{n}")}, "home_team": "Mets",
                                   "league": "mlb", "status": "in_progress", "details": details,
                                   "commence_time": "2025-11-09T18:00:00Z"}),
        )
    };
    let article = |n: usize| {
        event("article.v1", n, json!({"url": format!("https://e.com/{n}"), "title": "t", "body": "b"}))
    };
    let all = (0..12).map(game).chain((0..7).map(article)).chain((0..20).map(|second| odds(1, second)));
    all.map(|event| format!("{event}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_answers() {
    let scene = Scene::with("").await;
    let lists = [
        (
            "/api/v1/games?from=2025-11-09T00:00:00Z&until=2025-11-10T00:00:00Z&team=Mets&status=in_progress",
            12,
        ),
        ("/api/v1/games?on=2025-11-09&live=true&league=mlb&details=venue.city:Boston", 12),
        ("/api/v1/games?on=today", 0),
        ("/api/v1/games?system=test&id=game-3", 1),
        ("/api/v1/games/test/game-1/odds/latest?book=draftkings&market=spread", 2),
        ("/api/v1/games/test/game-1/odds/movement?side=away&period=full_game", 1),
        ("/api/v1/articles?source=s", 7),
        ("/api/v1/dead-letters?status=dead", 1),
        ("/api/v1/partitions", 5),
        ("/api/v1/sharp-signals?min_severity=low&since=2025-11-09T00:00:00Z", 2),
        ("/api/v1/sharp-signals?market=total", 0),
        ("/api/v1/betting-analyses?min_confidence=0", 2),
        ("/api/v1/betting-analyses?min_confidence=1", 0),
        ("/api/v1/betting-analyses?system=test&id=nobody", 0),
        ("/api/v1/alerts", 0),
        ("/api/v1/alert-rules", 0),
        ("/api/v1/workflows?state=queued&kind=replay", 0),
    ];
    for (path, rows) in lists {
        let answer = scene.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.json()["items"].as_array().expect("items").len(), rows, "{path}: {answer:?}");
    }
    let game = scene.get("/api/v1/games/test/game-3").await.json();
    assert_eq!(game["details"]["venue"]["city"], json!("Boston"), "{game}");
    let letters = scene.get("/api/v1/dead-letters").await.json();
    let id = letters["items"][0]["id"].as_str().expect("an id").to_owned();
    let letter = scene.get(&format!("/api/v1/dead-letters/{id}")).await.json();
    assert_eq!(letter["payload_base64"], json!("ew=="), "{letter}");
    let articles = scene.get("/api/v1/articles?limit=1").await.json();
    let article = scene.get(&format!("/api/v1/articles/{}", articles["items"][0]["id"])).await.json();
    assert_eq!(article["body"], json!("b"), "{article}");
    let health = scene.get("/api/v1/health/db").await.json();
    assert_eq!(health["writes"]["server"]["role"], json!("primary"), "{health}");
    assert_eq!(health["reads"]["pool"]["max"], json!(4), "{health}");
    let pool = &health["writes"]["pool"];
    assert_eq!(
        (&pool["min"], &pool["max"], &pool["timeouts"]),
        (&json!(0), &json!(8), &json!(0)),
        "{health}"
    );
    assert!(pool["opened"].as_u64() >= Some(1) && pool["waits"].as_u64() >= Some(1), "{health}");
    assert_eq!((&pool["closed"]["failed_check"], &pool["set_up_failures"]["full"]), (&json!(0), &json!(0)));
    assert!(pool["advice"].is_array(), "{health}");
    let document = scene.get("/api/v1/openapi.json").await.json();
    assert_eq!(document["openapi"], json!("3.1.0"));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_a_problem_that_names_the_field() {
    let scene = Scene::with("").await;
    let cases = [
        ("/api/v1/games?limit=0", "limit"),
        ("/api/v1/games?limit=501", "limit"),
        ("/api/v1/games?limit=x", "limit"),
        ("/api/v1/games?after=x", "after"),
        ("/api/v1/games?from=yesterday", "from"),
        ("/api/v1/games?until=2025-11-09T00:00:00", "until"),
        ("/api/v1/games?on=someday", "on"),
        ("/api/v1/games?on=today&from=2025-11-09T00:00:00Z", "on"),
        ("/api/v1/games?status=lost", "status"),
        ("/api/v1/games?live=maybe", "live"),
        ("/api/v1/games?system=test", "id"),
        ("/api/v1/games?id=1", "system"),
        ("/api/v1/games?details=venue", "details"),
        ("/api/v1/games?colour=red", "colour"),
        ("/api/v1/games?team=a&team=b", "team"),
        ("/api/v1/games?team=%00", "team"),
        ("/api/v1/games/test/%00", "id"),
        ("/api/v1/games/test/game-1/odds/latest?limit=0", "limit"),
        ("/api/v1/games/test/game-1/odds/latest?after=e30", "after"),
        ("/api/v1/games/test/game-1/odds/movement?from=x", "from"),
        ("/api/v1/games/test/game-1/odds/movement?until=x", "until"),
        ("/api/v1/articles?from=x", "from"),
        ("/api/v1/articles/x", "id"),
        ("/api/v1/dead-letters?partition=x", "partition"),
        ("/api/v1/dead-letters?reason=x", "reason"),
        ("/api/v1/dead-letters?status=x", "status"),
        ("/api/v1/dead-letters/x", "id"),
        ("/api/v1/partitions?after=%F0", "after"),
        ("/api/v1/sharp-signals?min_severity=huge", "min_severity"),
        ("/api/v1/sharp-signals?market=x", "market"),
        ("/api/v1/sharp-signals?system=test", "id"),
        ("/api/v1/betting-analyses?min_confidence=2", "min_confidence"),
        ("/api/v1/betting-analyses?recommendation=x", "recommendation"),
        ("/api/v1/alerts?rule=x", "rule"),
        ("/api/v1/alerts?withdrawn=maybe", "withdrawn"),
        ("/api/v1/alert-rules/x", "id"),
        ("/api/v1/workflows?state=lost", "state"),
        ("/api/v1/workflows?kind=x", "kind"),
        ("/api/v1/workflows/%00", "id"),
        ("/api/v1/scraper-versions?after=x", "after"),
    ];
    for (path, field) in cases {
        let answer = scene.get(path).await;
        assert_eq!(answer.problem(), 400, "{path}");
        assert_eq!(answer.json()["errors"][0]["field"], json!(field), "{path}: {answer:?}");
    }
    for path in [
        "/nowhere",
        "/api/v1/games/test/nobody",
        "/api/v1/games/test/nobody/odds/latest",
        "/api/v1/games/test/nobody/odds/movement",
        "/api/v1/articles/0",
        "/api/v1/dead-letters/1:99",
        "/api/v1/alert-rules/1",
        "/api/v1/workflows/nobody",
        "/api/v1/workflows/nobody/history",
    ] {
        assert_eq!(scene.get(path).await.problem(), 404, "{path}");
    }
    let wrong = call(&scene.address, "DELETE", "/api/v1/games", &[], "").await;
    assert_eq!(wrong.problem(), 405);
    assert!(wrong.head.contains("allow: "), "{wrong:?}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_every_row_once() {
    let scene = Scene::with("").await;
    for (list, rows) in [
        ("/api/v1/games?", 12),
        ("/api/v1/articles?", 7),
        ("/api/v1/games/test/game-1/odds/latest?", 2),
        ("/api/v1/games/test/game-1/odds/movement?", 21),
        ("/api/v1/partitions?", 5),
        ("/api/v1/sharp-signals?", 2),
        ("/api/v1/betting-analyses?", 2),
    ] {
        let (mut seen, mut items, mut after) = (BTreeSet::new(), 0, String::new());
        loop {
            let page = scene.get(&format!("{list}limit=2{after}")).await.json();
            for item in page["items"].as_array().expect("items") {
                items += 1;
                seen.insert(item.to_string());
            }
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!((items, seen.len()), (rows, rows), "{list}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_calls_need_the_token() {
    let scene = Scene::with(&with_control()).await;
    let control = scene.worker.control_address().await;
    let json_body = ("content-type", "application/json");
    let bearer = format!("Bearer {TOKEN}");
    let token = ("authorization", bearer.as_str());
    let path = "/api/v1/games/merge";
    let name = |id: &str| json!({"system": "test", "id": id});
    let order =
        json!({"keep": name("game-1"), "merge": name("game-2"), "reason": "one game", "actor": "a test"});
    let text = order.to_string();
    for headers in [
        vec![json_body],
        vec![json_body, ("authorization", "Bearer a-token-of-a-test-012345678")],
        vec![json_body, ("authorization", "Basic YTpi")],
        vec![json_body, ("authorization", TOKEN)],
    ] {
        let refused = call(&control, "POST", path, &headers, &text).await;
        assert_eq!(refused.problem(), 401, "{headers:?}");
        assert!(refused.head.contains("www-authenticate: bearer"), "{refused:?}");
    }
    assert_eq!(call(&scene.address, "POST", path, &[json_body, token], &text).await.problem(), 404);
    assert_eq!(call(&control, "POST", path, &[token], &text).await.problem(), 415);
    let large = " ".repeat(100_000);
    assert_eq!(call(&control, "POST", path, &[json_body, token], &large).await.problem(), 413);
    for (body, field) in [
        (json!({"keep": name("game-1")}), "merge"),
        (json!({"keep": {"system": "test"}, "merge": name("x")}), "keep.id"),
        (json!({"keep": name(""), "merge": name("x"), "reason": "r", "actor": "a"}), "keep.id"),
        (json!({"keep": name("game-1"), "merge": name("game-2"), "reason": " ", "actor": "a"}), "reason"),
        (json!({"keep": 1}), "keep"),
        (json!({"colour": 1}), "colour"),
    ] {
        let refused = call(&control, "POST", path, &[json_body, token], &body.to_string()).await;
        assert_eq!(refused.problem(), 400, "{body}");
        assert_eq!(refused.json()["errors"][0]["field"], json!(field), "{refused:?}");
    }
    let merged = call(&control, "POST", path, &[json_body, token], &text).await;
    assert_eq!((merged.status, &merged.json()["names"]), (200, &json!(1)), "{merged:?}");
    assert_eq!(call(&control, "POST", path, &[json_body, token], &text).await.problem(), 409);
    assert_eq!(
        call(&control, "GET", "/api/v1/games", &[], "").await.status,
        200,
        "what is read needs no token"
    );
    let trail = "select count(*) from operator_actions where actor = 'a test' and action = 'merge_games'";
    assert_eq!(scene.database.number(trail).await, 1);
    scene.end().await;
}

/// The control listener of a worker, for a caller who knows the token.
struct Control {
    address: String,
    bearer: String,
}

impl Control {
    async fn of(scene: &Scene) -> Self {
        Self { address: scene.worker.control_address().await, bearer: format!("Bearer {TOKEN}") }
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json"), ("authorization", self.bearer.as_str())];
        call(&self.address, method, path, &headers, &body.to_string()).await
    }

    /// The field that is refused.
    async fn refused(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call(method, path, &body).await;
        assert_eq!(answer.problem(), 400, "{body}");
        answer.json()["errors"][0]["field"].clone()
    }
}

fn with_control() -> String {
    format!("control_listen = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_made_changed_and_deleted() {
    let scene = Scene::with(&with_control()).await;
    let control = Control::of(&scene).await;
    let list = "/api/v1/alert-rules";
    let rule = |name: &str| json!({"name": name, "keywords": ["injury"], "actor": "ops"});
    let made = control.call("POST", list, &rule("injuries")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("{list}/{}", made.json()["id"]);
    assert!(made.head.contains(&format!("location: {path}")), "{made:?}");
    assert_eq!(made.json()["field"], json!("any"), "{made:?}");
    assert_eq!(scene.get(&path).await.json(), made.json());
    assert_eq!(control.call("POST", list, &rule("injuries")).await.problem(), 409);
    let mut other = rule("injuries");
    (other["field"], other["enabled"]) = (json!("title"), json!(false));
    let changed = control.call("PUT", &path, &other).await;
    assert_eq!((changed.status, &changed.json()["enabled"]), (200, &json!(false)), "{changed:?}");
    for (body, field) in [
        (json!({"name": "x", "keywords": [], "actor": "ops"}), "keywords"),
        (json!({"name": "x", "keywords": ["a\u{0}"], "actor": "ops"}), "keywords"),
        (json!({"name": "", "keywords": ["a"], "actor": "ops"}), "name"),
        (json!({"name": "x", "keywords": ["a"], "actor": " "}), "actor"),
        (json!({"name": "x", "keywords": ["a"]}), "actor"),
        (json!({"name": "x", "keywords": ["a"], "actor": "ops", "field": "tail"}), "field"),
    ] {
        assert_eq!(control.refused("POST", list, body.clone()).await, json!(field), "{body}");
    }
    assert_eq!(control.refused("DELETE", &path, json!({})).await, json!("actor"));
    let gone = control.call("DELETE", &format!("{path}?actor=ops"), &json!({})).await;
    assert_eq!((gone.status, gone.json()["name"].clone()), (200, json!("injuries")), "{gone:?}");
    assert_eq!(control.call("PUT", &path, &other).await.problem(), 404);
    let trail = "select string_agg(action, ' ' order by id) from operator_actions where actor = 'ops'";
    assert_eq!(
        scene.database.rows(trail).await[0][0].as_deref(),
        Some("rule_create rule_update rule_delete")
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_are_asked_for_called_off_and_put_back_in_line() {
    let scene = Scene::with(&with_control()).await;
    let control = Control::of(&scene).await;
    let list = "/api/v1/workflows";
    let topic = scene.get("/api/v1/partitions?limit=1").await.json()["items"][0]["topic"].clone();
    let replay = |topic: &Value| json!({"kind": "replay", "topic": topic, "from": "2025-11-09T18:00:00Z"});
    let order = json!({"parameters": replay(&topic), "actor": "ops"});
    let made = control.call("POST", list, &order).await;
    assert_eq!((made.status, made.json()["state"].clone()), (201, json!("queued")), "{made:?}");
    let path = format!("{list}/{}", made.json()["id"].as_str().expect("an id"));
    assert!(made.head.contains(&format!("location: {path}")), "{made:?}");
    assert_eq!(scene.get(&path).await.json(), made.json());
    assert_eq!(scene.get(&format!("{list}?state=queued")).await.json()["items"][0], made.json());
    assert_eq!(control.call("POST", list, &order).await.problem(), 409, "the same is not over yet");
    let change = |action: &str| json!({"action": action, "actor": "ops", "reason": "by a test"});
    assert_eq!(control.call("PUT", &path, &change("retry")).await.problem(), 409, "it is queued already");
    let cancelled = control.call("PUT", &path, &change("cancel")).await;
    assert_eq!(cancelled.json()["state"], json!("cancelled"), "{cancelled:?}");
    let again = control.call("PUT", &path, &change("retry")).await;
    assert_eq!(again.json()["state"], json!("queued"), "{again:?}");
    let history = scene.get(&format!("{path}/history?limit=2")).await.json();
    let states: Vec<&Value> =
        history["items"].as_array().expect("items").iter().map(|row| &row["to"]).collect();
    assert_eq!(states, [&json!("queued"), &json!("cancelled")], "{history}");
    let next = history["next"].as_str().expect("one more");
    let rest = scene.get(&format!("{path}/history?after={next}")).await.json();
    assert_eq!((&rest["items"][0]["actor"], &rest["next"]), (&json!("ops"), &json!(null)), "{rest}");
    let with = |key: &str, value: Value| {
        let mut order = order.clone();
        order["parameters"][key] = value;
        order
    };
    for (body, field) in [
        (json!({"parameters": replay(&json!("nowhere")), "actor": "ops"}), "parameters.topic"),
        (with("to", json!("2025-11-09T17:00:00Z")), "parameters.to"),
        (with("rate_per_second", json!(0)), "parameters.rate_per_second"),
        (with("form", json!(0)), "parameters.form"),
        (
            json!({"parameters": {"kind": "backfill", "files": [], "format": "cloudevents"}, "actor": "ops"}),
            "parameters.files",
        ),
        (json!({"parameters": replay(&topic), "actor": ""}), "actor"),
    ] {
        assert_eq!(control.refused("POST", list, body.clone()).await, json!(field), "{body}");
    }
    assert_eq!(
        control.refused("PUT", &path, json!({"action": "cancel", "actor": "ops"})).await,
        json!("reason")
    );
    assert_eq!(control.call("PUT", &format!("{list}/nobody"), &change("cancel")).await.problem(), 404);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_is_not_served() {
    let scene = Scene::with("api = false\npage = false").await;
    assert_eq!(scene.get("/api/v1/games").await.problem(), 404);
    assert_eq!(scene.get("/").await.problem(), 404);
    assert_eq!(scene.get("/livez").await.status, 200);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_that_changes_is_served() {
    let scene = Scene::with("control_listen = \"127.0.0.1:0\"").await;
    assert!(!scene.worker.log().contains("control calls are served"));
    let refused = call(&scene.address, "POST", "/api/v1/games/merge", &[], "{}").await;
    assert_eq!(refused.problem(), 404);
    scene.end().await;
}

#[test]
fn the_document_is_the_one_of_the_fixtures() {
    let document = openapi::document().expect("a document") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/openapi.json");
    if crate::support::optional("LEDGERLINE_TEST_WRITE_FIXTURES").is_some() {
        std::fs::write(path, &document).expect("written");
    }
    let fixture = std::fs::read_to_string(path).expect("tests/fixtures/openapi.json");
    assert_eq!(
        document, fixture,
        "the API changed: LEDGERLINE_TEST_WRITE_FIXTURES=1 writes the new document"
    );
}
