//! The status page of a real worker: complete without a script, small, harmless, and moving with one.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::kafka;
use crate::support::matchday::{HOSTILE_TEAM, broken, games, poll};
use crate::support::postgres::Database;
use crate::support::scenes::{get, stored};
use crate::support::worker::{Setup, Worker};
use crate::support::{PATIENCE, eventually};

/// A worker that has stored a day of games.
struct Scene {
    database: Database,
    worker: Worker,
    address: String,
    odds: String,
    games: String,
    /// Its folder outlives the worker, whose log is there.
    _setup: Setup,
}

impl Scene {
    async fn new(polls: usize) -> Self {
        let database = Database::postgres().await;
        let (odds, games_topic) = (kafka::topic("odds", 2).await, kafka::topic("games", 1).await);
        let setup = Setup::new(&database.url, &[("odds", &odds), ("games", &games_topic)]);
        setup.must(&["migrate", "up"]);
        let worker = setup.start();
        let address = worker.address().await;
        let scene = Self { database, worker, address, odds, games: games_topic, _setup: setup };
        kafka::produced(&scene.games, games()).await;
        kafka::produced(&scene.odds, (0..polls).flat_map(poll).chain(broken(0)).collect()).await;
        scene.stored().await;
        scene
    }

    async fn stored(&self) {
        stored(&self.database, &self.games, 1).await;
        stored(&self.database, &self.odds, 2).await;
    }

    async fn get(&self, path: &str) -> String {
        get(&self.address, path).await
    }

    /// Waits until the page says all of it: the database is asked every few seconds only.
    async fn says(&self, path: &str, words: &[&str]) -> String {
        eventually("the page to say it all", || async {
            let page = self.get(path).await;
            words.iter().all(|words| page.contains(words)).then_some(page)
        })
        .await
    }

    async fn end(mut self) {
        assert!(self.worker.stop().await.success());
        self.database.drop_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_complete_small_and_harmless_without_a_script() {
    let scene = Scene::new(60).await;
    let page = scene
        .says(
            "/",
            &[
                "malformed_json",
                "invalid_field",
                "draftkings",
                "St. Louis Cardinals",
                "this worker",
                "<path class=\"movement\"",
            ],
        )
        .await;
    let (head, body) = page.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    for part in [
        "<caption>",
        "scope=\"col\"",
        "scope=\"row\"",
        "<main id=\"main\"",
        "class=\"skip\"",
        "role=\"status\"",
    ] {
        assert!(body.contains(part), "{part}");
    }
    assert_eq!(body.matches("<script").count(), 1, "the page's own");
    assert!(!body.contains("<img") && !body.contains('\u{202e}') && !body.contains(HOSTILE_TEAM));
    assert!(body.contains("&lt;script&gt;alert('team')&lt;/script&gt;"), "the name is shown as it is");

    let mut all = body.len();
    for asset in ["/page.css", "/page.js", "/page.svg"] {
        let answer = scene.get(asset).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{asset}: {answer}");
        all += answer.len();
    }
    assert!(all < 200_000, "{all} bytes");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_of_a_chosen_game_is_drawn_and_a_strange_choice_does_no_harm() {
    let scene = Scene::new(60).await;
    let sql = "select r.id from game_refs r where external_id = 'game-1'";
    let game = scene.database.number(sql).await;
    let path = format!("/?game={game}&book=fanduel&market=spread~full_game~~away~");
    let page = scene
        .says(&path, &["spread · away at fanduel: St. Louis Cardinals at Chicago Cubs", "in points"])
        .await;
    let blocks = page.matches("<rect class=\"block\"").count();
    assert!(blocks > 5, "{blocks} blocks");
    assert!(page.contains("<title id=\"chart-title\">") && page.contains("<desc id=\"chart-words\">"));
    assert!(page.contains("Blocks of equal quotes, newest first"));
    for strange in [
        "/?game=999999999",
        "/?game=x&book=%00%3Cscript%3E&market=%22%3E%3Cimg%20src=x%3E",
        "/?game=1&game=2",
        "/?game=%ff",
        "/movement?game=-1",
    ] {
        let answer = scene.get(strange).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{strange}: {answer}");
        assert!(!answer.contains("<img") && answer.matches("<script").count() <= 1, "{strange}");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_is_told_what_moves() {
    let scene = Scene::new(5).await;
    let mut stream = tokio::net::TcpStream::connect(&scene.address).await.expect("a connection");
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("asked");
    let mut heard = String::new();
    hear(&mut stream, &mut heard, |heard| heard.contains("\"letters\":")).await;
    assert!(heard.contains("text/event-stream"), "{heard}");
    let before = heard.len();
    kafka::produced(&scene.odds, (5..25).flat_map(poll).collect()).await;
    scene.stored().await;
    hear(&mut stream, &mut heard, |heard| {
        heard[before..].contains("\"batches\":") && heard[before..].contains("\"now\":")
    })
    .await;
    scene.end().await;
}

/// Reads on until what was heard is enough.
async fn hear(stream: &mut tokio::net::TcpStream, heard: &mut String, enough: impl Fn(&str) -> bool) {
    let hearing = async {
        let mut bytes = vec![0; 64 << 10];
        while !enough(heard) {
            let read = stream.read(&mut bytes).await.expect("the stream goes on");
            assert!(read > 0, "the stream ended: {heard}");
            heard.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    };
    tokio::time::timeout(PATIENCE, hearing).await.expect("enough in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_when_every_place_is_taken_is_told_so_and_the_line_flows_on() {
    let scene = Scene::new(5).await;
    let mut lookers = Vec::new();
    for _ in 0..32 {
        let mut stream = tokio::net::TcpStream::connect(&scene.address).await.expect("a connection");
        stream.write_all(b"GET /events HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("asked");
        let mut heard = String::new();
        hear(&mut stream, &mut heard, |heard| heard.contains("data:")).await;
        lookers.push(stream);
    }
    let answer = scene.get("/events").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after"), "{answer}");
    assert!(scene.get("/").await.starts_with("HTTP/1.1 200"));
    kafka::produced(&scene.odds, (5..10).flat_map(poll).collect()).await;
    scene.stored().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_the_page_says_so_and_shows_what_the_worker_knows() {
    let mut scene = Scene::new(5).await;
    scene.says("/", &["fanduel"]).await;
    scene.database.drop_now().await;
    let page = scene.says("/", &["class=\"trouble\"", " ago: "]).await;
    assert!(page.contains("fanduel") && page.contains("The last transactions of this worker"));
    assert!(!page.contains("postgres://"), "nothing of the address");
    scene.worker.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_can_be_switched_off() {
    let database = Database::postgres().await;
    let odds = kafka::topic("odds", 1).await;
    let setup = Setup::new(&database.url, &[("odds", &odds)]).with_http("page = false");
    setup.must(&["migrate", "up"]);
    let mut worker = setup.start();
    let address = worker.address().await;
    assert!(get(&address, "/").await.starts_with("HTTP/1.1 404"));
    assert!(get(&address, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(worker.stop().await.success());
    database.drop_now().await;
}
