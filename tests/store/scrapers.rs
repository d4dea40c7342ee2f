//! Which versions of which scrapers were seen: added up over batches, workers and restarts.

use ledgerline_schema::events::EventKind;
use ledgerline_schema::scrapers::ScraperTally;
use serde_json::{Value, json};

use super::lab::{At, Lab, batch, odds};

on_both! {
    what_was_counted_adds_up,
    two_workers_that_store_together_lose_nothing,
    hostile_versions_are_counted_together,
}

const LINES: &str =
    "select kind || ' ' || source || ' ' || version || ' ' || records as line from scraper_versions";

fn of(source: &str, version: Value, second: u32) -> At {
    let mut event = odds("g", second, -110);
    event["source"] = json!(source);
    event["scraperversion"] = version;
    At::Event(event)
}

fn tally(log: &[At]) -> ScraperTally {
    batch(EventKind::Odds, 0, log).scrapers
}

async fn what_was_counted_adds_up(lab: &Lab) {
    let mut refused = odds("g", 9, 50); // refused for its price: the scraper was seen all the same
    (refused["source"], refused["scraperversion"]) = (json!("a"), json!("1"));
    let log = [
        of("a", json!("1"), 5),
        of("a", json!("1"), 3),
        of("b", json!(null), 4),
        At::Event(refused),
        At::Bytes("{"),
    ];
    lab.store.add_scrapers(EventKind::Odds, &tally(&log)).await.expect("stored");
    lab.store.add_scrapers(EventKind::Odds, &tally(&[of("a", json!("1"), 1)])).await.expect("stored");
    lab.store.add_scrapers(EventKind::Game, &tally(&[of("a", json!("1"), 1)])).await.expect("stored");
    lab.store.add_scrapers(EventKind::Odds, &ScraperTally::default()).await.expect("nothing to do");
    assert_eq!(lab.database.lines(LINES).await, ["games a 1 1", "odds a 1 4", "odds b  1"]);
    let found = lab.store.scraper_versions(Some(&"a".to_owned()), None, 10).await.expect("an answer").rows;
    let times: Vec<_> = found
        .iter()
        .map(|found| (&*found.kind, found.first_seen.to_string(), found.last_seen.to_string()))
        .collect();
    let at = |second: u32| format!("2025-11-09T18:00:0{second}.000000Z");
    assert_eq!(times, [("games", at(1), at(1)), ("odds", at(1), at(9))]);
    let first = lab.store.scraper_versions(None, None, 2).await.expect("an answer");
    let rest = lab.store.scraper_versions(None, first.next.clone(), 2).await.expect("an answer");
    assert_eq!((first.rows.len(), rest.rows.len(), rest.next), (2, 1, None));
}

async fn two_workers_that_store_together_lose_nothing(lab: &Lab) {
    let log: Vec<At> = (0..20).map(|number| of(&format!("s{number}"), json!("1"), 1)).collect();
    let tally = tally(&log);
    let worker = || {
        let (store, tally) = (lab.store.clone(), tally.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                store.add_scrapers(EventKind::Odds, &tally).await.expect("stored");
            }
        })
    };
    for worker in [worker(), worker()] {
        worker.await.expect("no panic");
    }
    let sum = "select cast(sum(records) as text) as line from scraper_versions";
    assert_eq!(lab.database.line(sum).await, "400");
}

async fn hostile_versions_are_counted_together(lab: &Lab) {
    let log = [of("a", json!("\u{1b}[2J"), 1), of("a", json!("x".repeat(65)), 1), of("a", json!("…"), 1)];
    lab.store.add_scrapers(EventKind::Odds, &tally(&log)).await.expect("stored");
    assert_eq!(lab.database.lines(LINES).await, ["odds a … 3"]);
}
