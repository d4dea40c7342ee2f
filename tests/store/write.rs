//! One transaction per batch: the position moves with the rows, and nobody else's batch gets in.

use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::WriteError;

use super::lab::{At, Lab, Line, batch, lineage, now, odds};

on_both! {
    a_write_moves_the_position_and_stores_the_rows,
    a_write_under_a_stale_epoch_is_fenced_and_changes_nothing,
    a_write_to_another_log_is_fenced_and_changes_nothing,
    a_write_at_a_wrong_offset_is_fenced_and_changes_nothing,
    the_same_batch_written_twice_is_fenced_the_second_time,
    a_write_to_a_partition_without_position_is_fenced,
    of_two_writers_with_one_claim_exactly_one_commits,
    a_claim_goes_on_where_the_last_write_ended,
    partitions_of_one_topic_are_written_side_by_side,
}

const KIND: EventKind = EventKind::Odds;

fn two_quotes() -> [At; 1] {
    [At::Event(odds("g", 1, -110))]
}

async fn a_write_moves_the_position_and_stores_the_rows(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    assert_eq!(line.position().await.next_offset, 0);
    let report = line.write(&two_quotes()).await;
    assert_eq!((report.dispositions.applied, report.dispositions.sum()), (1, 1));
    assert_eq!(report.rows.inserted, 2);
    assert!(report.dead.is_empty());
    let position = line.position().await;
    assert_eq!((position.next_offset, position.epoch), (1, line.claim.epoch));
    let rows = "select cast(count(*) as text) || ' ' || min(record_offset) as line from odds";
    assert_eq!(lab.database.line(rows).await, "2 0");
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}

async fn a_write_under_a_stale_epoch_is_fenced_and_changes_nothing(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&two_quotes()).await;
    line.claim_again().await;
    let before = lab.database.contents().await;
    let late = line.try_write(&line.batch(&[At::Event(odds("g", 2, 120)), At::Bytes("{")])).await;
    assert!(matches!(late, Err(WriteError::Fenced)), "{late:?}");
    assert_eq!(lab.database.contents().await, before);
}

/// After a restore an epoch may come again, by then on a row that an operator has moved to another log.
async fn a_write_to_another_log_is_fenced_and_changes_nothing(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&two_quotes()).await;
    let elsewhere = [(lineage(KIND, 7), 0)];
    lab.store.start("another group", &elsewhere, now()).await.expect("a start");
    let moved =
        "update partition_offsets set lineage_id = (select max(id) from lineages) where partition = 0";
    lab.database.change(moved).await;
    let before = lab.database.contents().await;
    let late = line.try_write(&line.batch(&[At::Event(odds("g", 2, 120)), At::Bytes("{")])).await;
    assert!(matches!(late, Err(WriteError::Fenced)), "{late:?}");
    assert_eq!(lab.database.contents().await, before);
}

async fn a_write_at_a_wrong_offset_is_fenced_and_changes_nothing(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&two_quotes()).await;
    line.write(&[At::Hole]).await;
    let before = lab.database.contents().await;
    for from in [0, 1, 3, 100] {
        let elsewhere = line.try_write(&batch(KIND, from, &[At::Event(odds("g", 2, 120))])).await;
        assert!(matches!(elsewhere, Err(WriteError::Fenced)), "{from}: {elsewhere:?}");
    }
    assert_eq!(lab.database.contents().await, before);
}

async fn the_same_batch_written_twice_is_fenced_the_second_time(lab: &Lab) {
    let line = Line::open(&lab.store, KIND).await;
    let batch = line.batch(&two_quotes());
    line.try_write(&batch).await.expect("written");
    let before = lab.database.contents().await;
    let again = line.try_write(&batch).await;
    assert!(matches!(again, Err(WriteError::Fenced)), "{again:?}");
    assert_eq!(lab.database.contents().await, before);
    // This is how a lost answer is resolved: the position says `to`, so the batch is written.
    assert_eq!(line.position().await.next_offset, batch.to);
}

async fn a_write_to_a_partition_without_position_is_fenced(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.claim.partition = 1;
    let nowhere = line.try_write(&line.batch(&two_quotes())).await;
    assert!(matches!(nowhere, Err(WriteError::Fenced)), "{nowhere:?}");
    assert_eq!(lab.store.position(&line.claim).await.expect("an answer"), None);
}

async fn of_two_writers_with_one_claim_exactly_one_commits(lab: &Lab) {
    let other_store = lab.database.store().await;
    let mut line = Line::open(&lab.store, KIND).await;
    for second in 0..10 {
        let batch = line.batch(&[At::Event(odds("g", second, -110)), At::Bytes("{")]);
        let job = line.job(&batch);
        let (mine, theirs) = tokio::join!(line.try_write(&batch), other_store.write(&job));
        let fenced = [&mine, &theirs].map(|result| matches!(result, Err(WriteError::Fenced)));
        assert!(mine.is_ok() != theirs.is_ok() && fenced[0] != fenced[1], "{mine:?} {theirs:?}");
        line.next = batch.to;
    }
    let verified = lab.store.verify(None).await.expect("an answer");
    assert!(verified.ok() && verified.fewer_rows.is_empty(), "{verified:?}");
    assert_eq!(line.position().await.next_offset, 20);
}

async fn a_claim_goes_on_where_the_last_write_ended(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&two_quotes()).await;
    let mut next = Line { claim: line.claim_again().await, ..line };
    assert_eq!(next.claim.next_offset, 1);
    next.write(&[At::Event(odds("g", 2, -110))]).await;
    assert_eq!(lab.store.ledger_segments(None).await.expect("segments").len(), 2);
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}

async fn partitions_of_one_topic_are_written_side_by_side(lab: &Lab) {
    let mut first = Line::open(&lab.store, KIND).await;
    let mut second = Line::of_partition(&lab.store, KIND, 1).await;
    for at in 0..5 {
        let (a, b) = (odds("a", at, -110), odds("b", at, -110));
        let (a, b) = ([a], [b]);
        let (left, right) = tokio::join!(first.events(&a), second.events(&b));
        assert_eq!((left.rows.inserted, right.rows.inserted), (2, 2));
    }
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}
