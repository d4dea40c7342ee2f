//! Articles: one row per page, revised when its content changes, never by an older reading.

use ledgerline_schema::batch::RowCounts;
use ledgerline_schema::events::EventKind;
use serde_json::json;

use super::lab::{Lab, Line, article};

on_both! {
    new_content_is_a_revision,
    equal_content_is_a_duplicate_within_a_batch_and_across,
    an_older_reading_is_stale,
    equal_content_seen_later_makes_what_lies_between_stale,
    twins_of_one_page_are_one_article,
    text_of_any_script_is_kept,
}

const KIND: EventKind = EventKind::Article;
const PAGE: &str = "https://example.com/a";
const STORED: &str = "select revision || ' ' || body as line from articles";

fn counts(inserted: i64, updated: i64, duplicate: i64, stale: i64) -> RowCounts {
    RowCounts { inserted, updated, duplicate, stale }
}

async fn new_content_is_a_revision(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    assert_eq!(line.events(&[article(PAGE, 1, "one")]).await.rows, counts(1, 0, 0, 0));
    let report = line.events(&[article(PAGE, 2, "two"), article(PAGE, 3, "three")]).await;
    assert_eq!(report.rows, counts(0, 2, 0, 0));
    assert_eq!(lab.database.line(STORED).await, "3 three");
}

async fn equal_content_is_a_duplicate_within_a_batch_and_across(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let twice = [article(PAGE, 1, "one"), article(PAGE, 1, "one")];
    assert_eq!(line.events(&twice).await.rows, counts(1, 0, 1, 0));
    assert_eq!(line.events(&twice).await.rows, counts(0, 0, 2, 0));
    assert_eq!(lab.database.line(STORED).await, "1 one");
}

async fn an_older_reading_is_stale(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[article(PAGE, 5, "new")]).await;
    assert_eq!(line.events(&[article(PAGE, 4, "old")]).await.rows, counts(0, 0, 0, 1));
    assert_eq!(lab.database.line(STORED).await, "1 new");
}

async fn equal_content_seen_later_makes_what_lies_between_stale(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[article(PAGE, 1, "same"), article(PAGE, 9, "same")]).await;
    assert_eq!(line.events(&[article(PAGE, 5, "other")]).await.rows, counts(0, 0, 0, 1));
    assert_eq!(lab.database.line(STORED).await, "1 same");
}

async fn twins_of_one_page_are_one_article(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let twins =
        ["https://EXAMPLE.com//a?utm_source=feed", "https://example.com/a/amp", "https://example.com/a#top"];
    let events = [PAGE, twins[0], twins[1], twins[2]].map(|url| article(url, 1, "one"));
    assert_eq!(line.events(&events).await.rows, counts(1, 0, 3, 0));
    assert_eq!(line.events(&[article("https://example.com/b", 1, "one")]).await.rows, counts(1, 0, 0, 0));
}

async fn text_of_any_script_is_kept(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let mut event = article(PAGE, 1, "Žižek \u{1f3c8} \u{2028} 'quoted' \\ \"twice\" \r\n\t ٣");
    event["data"]["authors"] = json!(["Åsa", "\"Q\""]);
    line.events(&[event.clone()]).await;
    let body = lab.database.line("select body as line from articles").await;
    assert_eq!(body, event["data"]["body"].as_str().expect("text"));
    let authors = lab.database.line("select cast(authors as text) as line from articles").await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&authors).expect("JSON"), event["data"]["authors"]);
}
