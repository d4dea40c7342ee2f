//! The ledger proves what it claims: it is clean after any honest history, and `verify` sees every dishonest change.

use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::Verification;
use ledgerline_schema::time::UtcMicros;
use serde_json::json;

use super::lab::{At, Lab, Line, odds};

on_both! {
    hours_chain_and_epochs_chain,
    a_row_of_the_ledger_grows_within_its_hour,
    a_topic_that_is_not_asked_for_is_not_looked_at,
    a_deleted_row_between_others_is_a_gap,
    a_deleted_last_row_is_a_gap_before_the_position,
    a_ledger_that_is_gone_does_not_verify,
    a_row_that_does_not_sum_up_is_refused_by_the_database,
    a_widened_row_is_an_overlap,
    a_position_that_vanished_is_a_gap,
    a_move_into_another_log_that_nobody_wrote_down_is_a_gap,
    a_quote_too_many_is_applied_twice,
    a_quote_of_a_log_that_nobody_read_does_not_verify,
    a_quote_without_selection_is_an_orphan,
    a_deleted_quote_is_noted_and_is_no_violation,
    deleting_all_quotes_is_noted_too,
    games_of_a_topic_that_was_made_again_are_no_missing_quotes,
    a_ledger_that_does_not_end_where_the_batch_begins_refuses_it,
}

const KIND: EventKind = EventKind::Odds;

async fn verify(lab: &Lab) -> Verification {
    lab.store.verify(None).await.expect("an answer")
}

/// Three hours of two batches each: 2 quotes, a dead letter, a hole in each batch.
async fn three_hours(lab: &Lab) -> Line<'_> {
    let mut line = Line::open(&lab.store, KIND).await;
    for second in 0..6 {
        line.write(&[At::Event(odds("g", second, -110)), At::Bytes("{"), At::Hole]).await;
        if second % 2 == 1 {
            line.hour = line.hour.plus(UtcMicros::HOUR);
        }
    }
    let verified = verify(lab).await;
    assert!(verified.ok() && verified.fewer_rows.is_empty(), "{verified:?}");
    assert_eq!((verified.partitions, verified.records), (1, 12));
    line
}

async fn ranges(lab: &Lab) -> Vec<(i64, i64)> {
    let segments = lab.store.ledger_segments(None).await.expect("segments");
    segments.iter().map(|segment| (segment.from, segment.to)).collect()
}

async fn hours_chain_and_epochs_chain(lab: &Lab) {
    let line = three_hours(lab).await;
    assert_eq!(ranges(lab).await, [(0, 6), (6, 12), (12, 18)]);
    let mut next = Line { claim: line.claim_again().await, ..line };
    next.write(&[At::Tombstone]).await;
    next.write(&[At::Hole]).await;
    assert_eq!(ranges(lab).await, [(0, 6), (6, 12), (12, 18), (18, 20)]);
    assert!(verify(lab).await.ok());
}

async fn a_row_of_the_ledger_grows_within_its_hour(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    for to in 1..4 {
        line.write(&[At::Event(odds("g", 1, -110))]).await;
        assert_eq!(ranges(lab).await, [(0, to)]);
    }
    let sums = "select applied || ' ' || inserted || ' ' || duplicate as line from offset_ledger";
    assert_eq!(lab.database.line(sums).await, "3 2 4");
}

async fn a_topic_that_is_not_asked_for_is_not_looked_at(lab: &Lab) {
    three_hours(lab).await;
    lab.database.change("delete from offset_ledger where from_offset = 6").await;
    assert!(!lab.store.verify(Some("odds")).await.expect("an answer").ok());
    let games = lab.store.verify(Some("games")).await.expect("an answer");
    assert!(games.ok() && games.partitions == 0, "{games:?}");
    assert!(lab.store.ledger_segments(Some("games")).await.expect("segments").is_empty());
}

async fn a_deleted_row_between_others_is_a_gap(lab: &Lab) {
    three_hours(lab).await;
    lab.database.change("delete from offset_ledger where from_offset = 6").await;
    let found = verify(lab).await;
    assert_eq!(found.gaps.len(), 1, "{found:?}");
    assert!(found.gaps[0].contains("6 to 12"), "{found:?}");
    assert!(!found.ok());
}

async fn a_deleted_last_row_is_a_gap_before_the_position(lab: &Lab) {
    three_hours(lab).await;
    lab.database.change("delete from offset_ledger where from_offset = 12").await;
    let found = verify(lab).await;
    assert_eq!(found.gaps.len(), 1, "{found:?}");
    assert!(found.gaps[0].contains("12 to 18"), "{found:?}");
}

async fn a_ledger_that_is_gone_does_not_verify(lab: &Lab) {
    three_hours(lab).await;
    lab.database.change("delete from offset_ledger").await;
    let found = verify(lab).await;
    assert!(!found.ok(), "12 quotes are stored and nobody accounts for them: {found:?}");
}

async fn a_row_that_does_not_sum_up_is_refused_by_the_database(lab: &Lab) {
    three_hours(lab).await;
    for change in ["to_offset = to_offset + 1", "applied = applied - 1", "hole = hole + 1", "lost = 1"] {
        let refused = lab
            .database
            .try_change(&format!("update offset_ledger set {change} where from_offset = 6"))
            .await;
        assert!(refused.expect_err(change).to_lowercase().contains("check"), "{change}");
    }
}

async fn a_widened_row_is_an_overlap(lab: &Lab) {
    three_hours(lab).await;
    let widen = "update offset_ledger set to_offset = to_offset + 1, hole = hole + 1 where from_offset = 6";
    lab.database.change(widen).await;
    let found = verify(lab).await;
    assert_eq!((found.overlaps.len(), found.gaps.len()), (1, 0), "{found:?}");
    assert!(found.overlaps[0].contains("12 to 13"), "{found:?}");
}

async fn a_position_that_vanished_is_a_gap(lab: &Lab) {
    three_hours(lab).await;
    lab.database.change("delete from partition_offsets").await;
    let found = verify(lab).await;
    assert_eq!(found.gaps.len(), 1, "{found:?}");
    assert!(found.gaps[0].contains("left at 18 without a reset"), "{found:?}");
}

async fn a_move_into_another_log_that_nobody_wrote_down_is_a_gap(lab: &Lab) {
    three_hours(lab).await;
    Line::of_partition(&lab.store, KIND, 1).await;
    let moved = "update partition_offsets set lineage_id = (select max(id) from lineages), \
                 start_offset = 0, next_offset = 0 where partition = 0";
    lab.database.change(moved).await;
    let found = verify(lab).await;
    assert_eq!(found.gaps.len(), 1, "{found:?}");
    assert!(found.gaps[0].contains("left at 18 without a reset"), "{found:?}");
}

/// A quote that the product did not write.
fn forged(selection: &str, lineage: &str) -> String {
    format!(
        "insert into odds (selection_id, observed_at, record_offset, price, lineage_id, line) \
         values ({selection}, '2025-12-01T00:00:00.000000Z', 0, 2.0, {lineage}, null)"
    )
}

async fn a_quote_too_many_is_applied_twice(lab: &Lab) {
    three_hours(lab).await;
    let selection = "(select min(id) from selections)";
    lab.database.change(&forged(selection, "(select min(id) from lineages)")).await;
    let found = verify(lab).await;
    assert_eq!(found.double_applied.len(), 1, "{found:?}");
    assert!(found.double_applied[0].contains("13 rows stored, 12 inserted"), "{found:?}");
    assert!(!found.ok());
}

async fn a_quote_of_a_log_that_nobody_read_does_not_verify(lab: &Lab) {
    three_hours(lab).await;
    lab.database.change(&forged("(select min(id) from selections)", "999")).await;
    let found = verify(lab).await;
    assert!(!found.ok(), "a quote of an unknown log is stored: {found:?}");
}

async fn a_quote_without_selection_is_an_orphan(lab: &Lab) {
    three_hours(lab).await;
    lab.database.change(&forged("999", "(select min(id) from lineages)")).await;
    let found = verify(lab).await;
    assert_eq!(found.orphan_quotes, 1, "{found:?}");
    assert!(!found.ok());
}

async fn a_deleted_quote_is_noted_and_is_no_violation(lab: &Lab) {
    three_hours(lab).await;
    lab.database.change("delete from odds where record_offset = 3 and line > 0").await;
    let found = verify(lab).await;
    assert_eq!(found.fewer_rows.len(), 1, "{found:?}");
    assert!(found.ok(), "{found:?}");
}

async fn deleting_all_quotes_is_noted_too(lab: &Lab) {
    let mut games = Line::open(&lab.store, EventKind::Game).await;
    games.events(&[super::lab::game("g", 1, json!({}))]).await;
    three_hours_beside(lab).await;
    lab.database.change("delete from odds").await;
    let found = verify(lab).await;
    assert_eq!(found.fewer_rows.len(), 1, "12 quotes were inserted and none is stored: {found:?}");
    assert!(found.ok(), "{found:?}");
}

/// The games were all updated from the new log: nothing stored names the old one any more, and it never held quotes.
async fn games_of_a_topic_that_was_made_again_are_no_missing_quotes(lab: &Lab) {
    three_hours_beside(lab).await;
    let mut old = Line::open(&lab.store, EventKind::Game).await;
    old.events(&[super::lab::game("g", 1, json!({}))]).await;
    let mut new = Line::of_partition(&lab.store, EventKind::Game, 1).await;
    new.events(&[super::lab::game("g", 2, json!({"state": 2}))]).await;
    let named = "select distinct lineage_id || '' as line from games";
    assert_eq!(lab.database.line(named).await, new.claim.lineage_id.to_string());
    let found = verify(lab).await;
    assert!(found.ok() && found.fewer_rows.is_empty(), "{found:?}");
}

async fn three_hours_beside(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let events: Vec<_> = (0..6).map(|second| odds("g", second, -110)).collect();
    line.events(&events).await;
}

/// Somebody changed the ledger by hand: nothing goes on from there in silence.
async fn a_ledger_that_does_not_end_where_the_batch_begins_refuses_it(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&[At::Event(odds("g", 1, -110)), At::Tombstone]).await;
    lab.database.change("update offset_ledger set to_offset = 1, tombstone = 0").await;
    let before = lab.database.contents().await;
    let batch = line.batch(&[At::Event(odds("g", 2, -110))]);
    let refused = line.try_write(&batch).await;
    assert!(matches!(refused, Err(ledgerline_schema::store::WriteError::Fenced)), "{refused:?}");
    assert_eq!(lab.database.contents().await, before);
}
