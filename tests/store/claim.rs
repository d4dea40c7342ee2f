//! Claims: who may write a partition and from where, and the named states in which nobody may.

use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{ClaimAnswer, ClaimRequest, Halt, LogRange};

use super::lab::{Lab, Line, claim, lineage, now, request};

on_both! {
    a_partition_without_position_is_answered_so,
    a_new_partition_of_a_known_topic_is_told_apart,
    a_start_keeps_a_position_that_exists,
    every_claim_has_a_higher_epoch,
    groups_do_not_share_positions,
    retention_that_passed_the_position_halts,
    a_position_beyond_the_log_halts,
    a_truncated_log_that_grows_again_stays_halted,
    a_halt_that_stays_overrules_the_owner,
    a_position_at_either_end_of_the_log_is_claimed,
    a_topic_made_again_halts,
    another_cluster_halts,
    a_halted_claim_leaves_the_owner_in_place,
}

const KIND: EventKind = EventKind::Odds;

async fn answer(lab: &Lab, request: &ClaimRequest) -> ClaimAnswer {
    lab.store.claim(request, now()).await.expect("an answer")
}

/// A partition at offset 5.
async fn started(lab: &Lab) {
    lab.store.start("group", &[(lineage(KIND, 0), 5)], now()).await.expect("a start");
}

fn of_log(low: i64, high: i64) -> ClaimRequest {
    ClaimRequest { log: LogRange { low, high }, ..request(lineage(KIND, 0)) }
}

async fn a_partition_without_position_is_answered_so(lab: &Lab) {
    let found = answer(lab, &request(lineage(KIND, 0))).await;
    assert_eq!(found, ClaimAnswer::NoPosition { known_topic: false });
}

async fn a_new_partition_of_a_known_topic_is_told_apart(lab: &Lab) {
    started(lab).await;
    assert_eq!(answer(lab, &request(lineage(KIND, 1))).await, ClaimAnswer::NoPosition { known_topic: true });
    let other_topic = request(lineage(EventKind::Game, 0));
    assert_eq!(answer(lab, &other_topic).await, ClaimAnswer::NoPosition { known_topic: false });
}

async fn a_start_keeps_a_position_that_exists(lab: &Lab) {
    started(lab).await;
    let both = [(lineage(KIND, 0), 99), (lineage(KIND, 1), 7)];
    lab.store.start("group", &both, now()).await.expect("a start");
    assert_eq!(claim(&lab.store, &request(lineage(KIND, 0))).await.next_offset, 5);
    assert_eq!(claim(&lab.store, &request(lineage(KIND, 1))).await.next_offset, 7);
}

async fn every_claim_has_a_higher_epoch(lab: &Lab) {
    let line = Line::open(&lab.store, KIND).await;
    let again = line.claim_again().await;
    assert_eq!(again.epoch, line.claim.epoch + 1);
    assert_eq!((again.lineage_id, again.next_offset), (line.claim.lineage_id, line.claim.next_offset));
}

async fn groups_do_not_share_positions(lab: &Lab) {
    started(lab).await;
    let other = ClaimRequest { group: "other".into(), ..request(lineage(KIND, 0)) };
    assert_eq!(answer(lab, &other).await, ClaimAnswer::NoPosition { known_topic: false });
}

async fn retention_that_passed_the_position_halts(lab: &Lab) {
    started(lab).await;
    let halt = Halt::RetentionPassed { next: 5, low: 6 };
    assert_eq!(answer(lab, &of_log(6, 10)).await, ClaimAnswer::Halted(halt));
}

async fn a_position_beyond_the_log_halts(lab: &Lab) {
    started(lab).await;
    let detail = "position 5 lies beyond the end of the log, 4".to_owned();
    let halt = Halt::LogTruncated { detail: detail.clone() };
    assert_eq!(answer(lab, &of_log(0, 4)).await, ClaimAnswer::Halted(halt));
    let mut untold = of_log(0, 4); // perhaps another topic of that name
    untold.lineage.topic_id = String::new();
    assert_eq!(answer(lab, &untold).await, ClaimAnswer::Halted(Halt::AheadOfLog { detail }));
    assert_eq!(claim(&lab.store, &of_log(0, 9)).await.next_offset, 5, "the end was only read too early");
}

/// Producers write on: the records that took the place of the lost ones must not be passed over.
async fn a_truncated_log_that_grows_again_stays_halted(lab: &Lab) {
    started(lab).await;
    let seen_twice = ClaimRequest { second_look: true, ..of_log(0, 4) };
    let halted = answer(lab, &seen_twice).await;
    assert!(matches!(halted, ClaimAnswer::Halted(Halt::LogTruncated { .. })), "{halted:?}");
    assert_eq!(answer(lab, &of_log(0, 9)).await, halted);
    assert_eq!(answer(lab, &of_log(6, 9)).await, halted, "nothing hides it");
}

/// Whoever still holds a claim has read from the log as it was, or as it is: nobody can tell.
async fn a_halt_that_stays_overrules_the_owner(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&vec![super::lab::At::Hole; 5]).await;
    answer(lab, &ClaimRequest { second_look: true, ..of_log(0, 4) }).await;
    let before = lab.database.contents().await;
    let written = line.try_write(&line.batch(&[super::lab::At::Hole])).await;
    assert!(matches!(written, Err(ledgerline_schema::store::WriteError::Fenced)), "{written:?}");
    assert_eq!(lab.database.contents().await, before);
}

async fn a_position_at_either_end_of_the_log_is_claimed(lab: &Lab) {
    started(lab).await;
    assert_eq!(claim(&lab.store, &of_log(5, 9)).await.next_offset, 5);
    assert_eq!(claim(&lab.store, &of_log(0, 5)).await.next_offset, 5);
}

async fn a_topic_made_again_halts(lab: &Lab) {
    started(lab).await;
    let mut again = request(lineage(KIND, 0));
    again.lineage.topic_id = "next incarnation".into();
    assert_eq!(answer(lab, &again).await, ClaimAnswer::Halted(Halt::TopicRecreated));
}

async fn another_cluster_halts(lab: &Lab) {
    started(lab).await;
    let mut elsewhere = request(lineage(KIND, 0));
    elsewhere.lineage.cluster_id = "another".into();
    assert_eq!(answer(lab, &elsewhere).await, ClaimAnswer::Halted(Halt::OtherCluster));
}

async fn a_halted_claim_leaves_the_owner_in_place(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&[super::lab::At::Hole]).await;
    let owned = "select owner || ' ' || epoch || ' ' || next_offset as line from partition_offsets";
    let halted = "select coalesce(halted, '') as line from partition_offsets";
    let before = lab.database.line(owned).await;
    let answered = answer(lab, &of_log(2, 10)).await;
    assert!(matches!(answered, ClaimAnswer::Halted(_)), "{answered:?}");
    assert_eq!(lab.database.line(owned).await, before);
    assert_eq!(lab.database.line(halted).await, "retention_passed");
    line.write(&[super::lab::At::Hole]).await;
    claim(&lab.store, &of_log(0, 10)).await;
    assert_eq!(lab.database.line(halted).await, "", "a claim that succeeds forgets the halt");
}
