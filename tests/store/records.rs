//! `check_records`: what a record that is read again must have left behind.

use ledgerline_schema::batch::Batch;
use ledgerline_schema::events::EventKind;
use serde_json::json;

use super::lab::{At, Lab, Line, article, batch, game, odds};

on_both! {
    records_that_were_written_are_all_found,
    a_record_that_was_never_written_is_missing,
    a_record_whose_quote_was_deleted_is_missing,
    a_record_whose_price_differs_says_so,
    a_dead_letter_accounts_for_its_record,
    a_refused_record_without_dead_letter_is_missing,
    a_dead_letter_of_another_log_accounts_for_nothing,
    a_game_event_without_its_game_is_missing,
    an_older_version_of_a_game_is_accounted_for,
    an_article_that_was_deleted_is_missing,
}

const KIND: EventKind = EventKind::Odds;

async fn missing(line: &Line<'_>, batch: &Batch) -> Vec<i64> {
    line.store.check_records(line.claim.lineage_id, batch).await.expect("an answer").missing
}

async fn differing(line: &Line<'_>, batch: &Batch) -> Vec<i64> {
    line.store.check_records(line.claim.lineage_id, batch).await.expect("an answer").differing
}

/// Offsets 0 to 4: quotes, a bad record, a contradiction, quotes, a tombstone.
fn log() -> [At; 5] {
    let [first, other, next] = [odds("g", 1, -110), odds("g", 1, 120), odds("g", 2, -110)];
    [At::Event(first), At::Bytes("{"), At::Event(other), At::Event(next), At::Tombstone]
}

async fn written(lab: &Lab) -> (Line<'_>, Batch) {
    let mut line = Line::open(&lab.store, KIND).await;
    let report = line.write(&log()).await;
    assert_eq!(report.dispositions.dead, 2);
    (line, batch(KIND, 0, &log()))
}

async fn records_that_were_written_are_all_found(lab: &Lab) {
    let (line, again) = written(lab).await;
    assert!(missing(&line, &again).await.is_empty());
    assert!(missing(&line, &batch(KIND, 7, &[])).await.is_empty());
}

async fn a_record_that_was_never_written_is_missing(lab: &Lab) {
    let (line, _) = written(lab).await;
    let unknown = [At::Event(odds("g", 3, -110)), At::Event(odds("new", 1, -110)), At::Tombstone];
    assert_eq!(missing(&line, &batch(KIND, 5, &unknown)).await, [5, 6]);
}

async fn a_record_whose_quote_was_deleted_is_missing(lab: &Lab) {
    let (line, again) = written(lab).await;
    lab.database.change("delete from odds where record_offset = 3 and line < 0").await;
    assert_eq!(missing(&line, &again).await, [3]);
}

async fn a_record_whose_price_differs_says_so(lab: &Lab) {
    let (line, again) = written(lab).await;
    lab.database.change("update odds set price = 9.5 where record_offset = 0 and line < 0").await;
    assert_eq!(differing(&line, &again).await, [0]);
    lab.database.change("update odds set price = null where record_offset = 3 and line < 0").await;
    assert_eq!(differing(&line, &again).await, [0, 3]);
    assert!(missing(&line, &again).await.is_empty());
    lab.database.change("delete from odds where record_offset = 3 and line > 0").await;
    assert_eq!((missing(&line, &again).await, differing(&line, &again).await), (vec![3], vec![0]));
}

async fn a_dead_letter_accounts_for_its_record(lab: &Lab) {
    let (line, _) = written(lab).await;
    assert!(
        missing(&line, &batch(KIND, 1, &[At::Bytes("{"), At::Event(odds("g", 1, 120))])).await.is_empty()
    );
}

async fn a_refused_record_without_dead_letter_is_missing(lab: &Lab) {
    let (line, again) = written(lab).await;
    lab.database.change("delete from dead_letters").await;
    assert_eq!((missing(&line, &again).await, differing(&line, &again).await), (vec![1], vec![2]));
}

async fn a_dead_letter_of_another_log_accounts_for_nothing(lab: &Lab) {
    written(lab).await;
    let other = Line::of_partition(&lab.store, KIND, 1).await;
    assert_eq!(missing(&other, &batch(KIND, 1, &[At::Bytes("{")])).await, [1]);
}

async fn a_game_event_without_its_game_is_missing(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Game).await;
    let log = [At::Event(game("g", 1, json!({})))];
    line.write(&log).await;
    let again = batch(EventKind::Game, 0, &log);
    assert!(missing(&line, &again).await.is_empty());
    // Odds name games too: a name alone is no trace of a game event.
    lab.database.change("update game_refs set game_id = null; delete from games").await;
    assert_eq!(missing(&line, &again).await, [0]);
}

async fn an_older_version_of_a_game_is_accounted_for(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Game).await;
    let log = [At::Event(game("g", 2, json!({"state": 2}))), At::Event(game("g", 1, json!({"state": 1})))];
    line.write(&log).await;
    assert!(missing(&line, &batch(EventKind::Game, 0, &log)).await.is_empty());
}

async fn an_article_that_was_deleted_is_missing(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Article).await;
    let log = ["a", "b"].map(|page| At::Event(article(&format!("https://example.com/{page}"), 1, "text")));
    line.write(&log).await;
    let again = batch(EventKind::Article, 0, &log);
    assert!(missing(&line, &again).await.is_empty());
    lab.database.change("delete from articles where record_offset = 1").await;
    assert_eq!(missing(&line, &again).await, [1]);
}
