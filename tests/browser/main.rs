//! The status page in a real browser, on a real worker: it moves, it is drawn, it can be used by the keyboard, and it says when it
//! is not live any more. `make page-test` runs it and keeps pictures under target/page.

#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use serde_json::json;

use support::chromium::Browser;
use support::kafka::{self, Load, Record};
use support::matchday::{HOSTILE_TEAM, broken, games, poll};
use support::postgres::Database;
use support::scenes::stored;
use support::worker::{Setup, Worker};

/// Where the pictures are kept.
fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/page").join(name)
}

/// The record with that number of an endless day.
fn record(number: usize) -> Record {
    let mut records = poll(60 + number / 30);
    records.swap_remove(number % 30)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_moves_is_drawn_and_can_be_used() {
    let database = Database::postgres().await;
    let (odds, of_games) = (kafka::topic("odds", 2).await, kafka::topic("games", 1).await);
    let setup = Setup::new(&database.url, &[("odds", &odds), ("games", &of_games)]);
    setup.must(&["migrate", "up"]);
    let mut worker = setup.start();
    let address = worker.address().await;
    kafka::produced(&of_games, games()).await;
    kafka::produced(&odds, (0..60).flat_map(poll).chain(broken(0)).chain(broken(1)).collect()).await;
    stored(&database, &odds, 2).await;
    stored(&database, &of_games, 1).await;

    let to = odds.clone();
    let load = tokio::task::spawn_blocking(move || Load::start(&kafka::brokers(), &to, 200, record))
        .await
        .expect("a load");
    let game = database.number("select id from game_refs where external_id = 'game-1'").await;
    let (page, worker_pid) = (format!("http://{address}"), worker.pid());
    let browser =
        tokio::task::spawn_blocking(move || look(&page, game, worker_pid)).await.expect("the browser's part");
    load.stop();
    end(browser, &mut worker).await;
    database.drop_now().await;
}

/// What somebody does who looks at the page.
fn look(page: &str, game: i64, worker_pid: u32) -> Browser {
    let mut browser = Browser::start();
    browser.look_like(1280, 900, "light");
    browser.go(&format!("{page}/"));
    it_moves(&mut browser);
    the_keyboard_is_enough(&mut browser);
    a_game_is_chosen_and_drawn(&mut browser, game);
    hostile_names_are_names(&mut browser);
    it_fits(&mut browser);
    it_says_when_it_is_not_live(&mut browser, worker_pid);
    assert!(browser.complaints.is_empty(), "the page complained: {:#?}", browser.complaints);
    browser
}

fn it_moves(browser: &mut Browser) {
    browser.until("document.getElementById('link').textContent === 'Live'");
    browser.until("Number(document.querySelector('.large').textContent.replaceAll(',', '')) > 0");
    let drawn = browser.evaluate("document.querySelector('.spark.wide .line').getAttribute('d')");
    browser.until(&format!("document.querySelector('.spark.wide .line').getAttribute('d') !== {drawn}"));
    let stored = browser.evaluate("document.querySelector('#topics tfoot td:nth-child(7)').textContent");
    browser
        .until(&format!("document.querySelector('#topics tfoot td:nth-child(7)').textContent !== {stored}"));
}

/// The first Tab shows the link over the navigation, and Enter takes it.
fn the_keyboard_is_enough(browser: &mut Browser) {
    browser.press("Tab");
    browser.until("document.activeElement.className === 'skip'");
    browser.until("document.activeElement.getBoundingClientRect().top >= 0");
    browser.press("Enter");
    browser.until("document.activeElement.id === 'main'");
    let focusable = "[...document.querySelectorAll('main .scroll, main select, main button')]";
    let names = browser.evaluate(&format!(
        "{focusable}.every((e) => e.tagName === 'BUTTON' || e.getAttribute('aria-label') || e.labels?.length)"
    ));
    assert_eq!(names, json!(true), "everything that takes the focus has a name");
}

fn a_game_is_chosen_and_drawn(browser: &mut Browser, game: i64) {
    browser.until(&format!("document.querySelector('#game option[value=\"{game}\"]') !== null"));
    browser.evaluate(&format!("document.getElementById('game').value = '{game}'"));
    browser.evaluate("document.getElementById('book').value = 'fanduel'");
    browser.evaluate("document.querySelector('form.choice button').click()");
    browser.until("location.search.includes('book=fanduel')");
    browser
        .until("document.readyState === 'complete' && document.querySelector('.chart .movement') !== null");
    let caption = browser.evaluate("document.querySelector('figcaption').textContent");
    let caption = caption.as_str().expect("a caption");
    assert!(caption.contains("at fanduel: St. Louis Cardinals at Chicago Cubs"), "{caption}");
    let blocks = browser.evaluate("document.querySelectorAll('.chart .block').length");
    assert!(blocks.as_u64().is_some_and(|blocks| blocks > 5), "{blocks} blocks");
    let last = browser.evaluate("document.querySelector('.chart .movement').getAttribute('d')");
    browser.until(&format!("document.querySelector('.chart .movement').getAttribute('d') !== {last}"));
}

fn hostile_names_are_names(browser: &mut Browser) {
    let shown = browser
        .evaluate("[...document.querySelectorAll('#game option')].map((o) => o.textContent).join('\\n')");
    let name = HOSTILE_TEAM.split('\u{202e}').next().expect("its head");
    assert!(shown.as_str().is_some_and(|shown| shown.contains(name)), "{shown}");
    assert_eq!(browser.evaluate("document.scripts.length"), json!(1), "the page's own");
}

/// Light and dark, wide and narrow; nothing is cut off, and the pictures are kept.
fn it_fits(browser: &mut Browser) {
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (768, "light"), (360, "light"), (360, "dark")] {
        browser.look_like(width, 900, scheme);
        browser.until("document.getElementById('link').textContent === 'Live'");
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert!(wide.as_u64().is_some_and(|wide| wide <= width.into()), "{wide} at {width}");
        browser.picture(&picture(&format!("{width}-{scheme}.png")));
    }
}

fn it_says_when_it_is_not_live(browser: &mut Browser, worker_pid: u32) {
    support::servers::signal(worker_pid, "STOP");
    browser.until("document.getElementById('link').textContent.startsWith('Not live')");
    support::servers::signal(worker_pid, "CONT");
    browser.until("document.getElementById('link').textContent === 'Live'");
}

/// The browser goes first: an open page would complain that the server is gone.
async fn end(browser: Browser, worker: &mut Worker) {
    drop(browser);
    assert!(worker.stop().await.success());
}
