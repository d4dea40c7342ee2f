//! What operators do to positions: every way out of a halt moves the position, fences whoever wrote before, leaves a trace, and
//! `verify` accepts exactly what is written down.

use ledgerline_schema::budget::{Budget, BudgetConfig};
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{
    ClaimAnswer, Halt, Lineage, LogNow, LogRange, Moved, Order, Position, StoreError, Verification,
    WriteError, WriteJob,
};
use ledgerline_schema::time::UtcMicros;

use super::lab::{At, Lab, Line, claim, lineage, now, odds, request};

on_both! {
    a_reset_back_reads_again_and_verifies,
    a_reset_to_the_position_itself_only_fences,
    a_reset_forward_points_to_accept_loss,
    a_reset_outside_of_the_log_is_refused,
    a_reset_of_a_partition_without_position_is_refused,
    a_reset_moves_into_the_log_that_the_brokers_have_now,
    a_group_that_comes_back_to_its_first_log_verifies,
    a_reset_fences_the_claim_before_it,
    a_reset_clears_the_halt,
    several_resets_in_a_row_verify,
    an_accepted_loss_is_in_the_ledger_and_verifies,
    a_loss_needs_something_to_give_up,
    a_loss_in_another_log_is_refused,
    a_resumed_partition_takes_what_its_budget_refused,
    only_the_budget_can_be_resumed,
    a_jump_that_nobody_wrote_down_does_not_verify,
    an_action_of_another_group_explains_nothing,
    every_action_leaves_a_row,
    a_halt_counts_until_the_partition_moves,
    another_record_takes_the_place_of_a_dead_letter,
    a_record_with_another_key_headers_or_time_is_another_one,
    a_loss_of_the_newest_records_is_no_loss_of_older_ones,
    a_halt_by_a_slower_clock_is_shown,
}

const KIND: EventKind = EventKind::Odds;

fn order() -> Order {
    Order {
        group: "group".into(),
        topic: KIND.default_topic().into(),
        partition: 0,
        actor: "an operator".into(),
        reason: "a test".into(),
        now: now(),
    }
}

fn log_of(lineage: Lineage, low: i64, high: i64) -> LogNow {
    LogNow { lineage, range: LogRange { low, high } }
}

fn log(low: i64, high: i64) -> LogNow {
    log_of(lineage(KIND, 0), low, high)
}

/// The same topic, made again.
fn recreated() -> Lineage {
    Lineage { topic_id: "next incarnation".into(), ..lineage(KIND, 0) }
}

/// Offsets 0 to 5 applied.
async fn six(lab: &Lab) -> Line<'_> {
    let mut line = Line::open(&lab.store, KIND).await;
    let events: Vec<_> = (0..6).map(|second| odds("g", second, -110)).collect();
    line.events(&events).await;
    line
}

/// The line under a new claim, at its position.
async fn claimed<'l>(lab: &'l Lab, lineage: Lineage) -> Line<'l> {
    let claim = claim(&lab.store, &request(lineage)).await;
    Line { store: &lab.store, kind: KIND, next: claim.next_offset, claim, hour: now().hour() }
}

async fn reset(lab: &Lab, log: &LogNow, to: i64) -> Moved {
    lab.store.reset(&order(), log, to).await.expect("a reset")
}

async fn verify(lab: &Lab) -> Verification {
    lab.store.verify(None).await.expect("an answer")
}

async fn clean(lab: &Lab) {
    let found = verify(lab).await;
    assert!(found.ok(), "{found:?}");
}

#[track_caller]
fn rejected<T: std::fmt::Debug>(result: Result<T, StoreError>, because: &str) {
    match result {
        Err(StoreError::Rejected(text)) => assert!(text.contains(because), "{text}"),
        other => panic!("{other:?}"),
    }
}

async fn a_reset_back_reads_again_and_verifies(lab: &Lab) {
    let before = six(lab).await.claim;
    let moved = reset(lab, &log(0, 6), 2).await;
    let lineage_id = before.lineage_id;
    let expected = Moved {
        from: 6,
        to: 2,
        epoch: before.epoch + 1,
        lineage_before: lineage_id,
        lineage_after: lineage_id,
        lost: 0,
    };
    assert_eq!(moved, expected);
    clean(lab).await;
    let mut again = claimed(lab, lineage(KIND, 0)).await;
    assert_eq!((again.next, again.claim.epoch), (2, moved.epoch + 1));
    let events: Vec<_> = (2..9).map(|second| odds("g", second, -110)).collect();
    let report = again.events(&events[..3]).await;
    assert_eq!((report.rows.duplicate, report.rows.inserted), (6, 0));
    clean(lab).await;
    again.events(&events[3..]).await;
    clean(lab).await;
    assert_eq!(again.position().await.next_offset, 9);
}

async fn a_reset_to_the_position_itself_only_fences(lab: &Lab) {
    let line = six(lab).await;
    let moved = reset(lab, &log(0, 6), 6).await;
    assert_eq!((moved.from, moved.to), (6, 6));
    let late = line.batch(&[At::Hole]);
    assert!(matches!(line.try_write(&late).await, Err(WriteError::Fenced)));
    clean(lab).await;
}

async fn a_reset_forward_points_to_accept_loss(lab: &Lab) {
    six(lab).await;
    let before = lab.database.contents().await;
    rejected(lab.store.reset(&order(), &log(0, 9), 7).await, "accept-loss --to 7");
    assert_eq!(lab.database.contents().await, before);
}

async fn a_reset_outside_of_the_log_is_refused(lab: &Lab) {
    six(lab).await;
    let before = lab.database.contents().await;
    rejected(lab.store.reset(&order(), &log(3, 6), 2).await, "3 to 6");
    rejected(lab.store.reset(&order(), &log(0, 4), 5).await, "0 to 4");
    rejected(lab.store.reset(&order(), &log(0, 4), -1).await, "0 to 4");
    rejected(lab.store.reset(&order(), &log_of(recreated(), 0, 4), 5).await, "0 to 4");
    assert_eq!(lab.database.contents().await, before);
}

async fn a_reset_of_a_partition_without_position_is_refused(lab: &Lab) {
    six(lab).await;
    let elsewhere = Order { partition: 1, ..order() };
    rejected(lab.store.reset(&elsewhere, &log(0, 9), 0).await, "no position on odds[1]");
    let other = Order { group: "other".into(), ..order() };
    rejected(lab.store.reset(&other, &log(0, 9), 0).await, "group other");
}

async fn a_reset_moves_into_the_log_that_the_brokers_have_now(lab: &Lab) {
    six(lab).await;
    let again = request(recreated());
    let halted = lab.store.claim(&again, now()).await.expect("an answer");
    assert_eq!(halted, ClaimAnswer::Halted(Halt::TopicRecreated));
    let moved = reset(lab, &log_of(recreated(), 0, 20), 10).await; // ahead of the old position: another log
    assert_ne!(moved.lineage_before, moved.lineage_after);
    assert_eq!((moved.from, moved.to, moved.lost), (6, 10, 0));
    clean(lab).await;
    let mut line = claimed(lab, recreated()).await;
    assert_eq!((line.next, line.claim.lineage_id), (10, moved.lineage_after));
    line.events(&[odds("g", 1, -110), odds("g", 99, -110)]).await;
    clean(lab).await;
    lab.database.change("delete from offset_ledger where from_offset = 10").await;
    assert_eq!(verify(lab).await.gaps.len(), 1, "the start in the new log is known");
}

async fn a_group_that_comes_back_to_its_first_log_verifies(lab: &Lab) {
    six(lab).await;
    reset(lab, &log_of(recreated(), 0, 20), 10).await;
    claimed(lab, recreated()).await.write(&[At::Hole, At::Hole, At::Hole]).await;
    reset(lab, &log(0, 6), 4).await;
    clean(lab).await;
    let mut back = claimed(lab, lineage(KIND, 0)).await;
    assert_eq!(back.next, 4);
    back.events(&[odds("g", 4, -110), odds("g", 5, -110), odds("g", 6, -110)]).await;
    clean(lab).await;
}

async fn a_reset_fences_the_claim_before_it(lab: &Lab) {
    let line = six(lab).await;
    reset(lab, &log(0, 9), 3).await;
    let before = lab.database.contents().await;
    let late = line.batch(&[At::Event(odds("g", 7, -110))]);
    assert!(matches!(line.try_write(&late).await, Err(WriteError::Fenced)));
    assert_eq!(lab.database.contents().await, before);
    let positions = lab.store.positions("group", "odds").await.expect("positions");
    assert_eq!(positions, [(0, Position { next_offset: 3, epoch: line.claim.epoch + 1 })]);
}

async fn a_reset_clears_the_halt(lab: &Lab) {
    six(lab).await;
    let mut truncated = request(lineage(KIND, 0));
    truncated.second_look = true;
    truncated.log = LogRange { low: 0, high: 4 };
    let halted = lab.store.claim(&truncated, now()).await.expect("an answer");
    assert!(matches!(halted, ClaimAnswer::Halted(Halt::LogTruncated { .. })), "{halted:?}");
    assert_eq!(lab.store.partitions(None).await.expect("rows")[0].halt(), Some(("log_truncated", now())));
    reset(lab, &log(0, 4), 4).await;
    let row = &lab.store.partitions(None).await.expect("rows")[0];
    assert_eq!((row.halt(), &row.halted, &row.halted_detail), (None, &None, &None));
    assert_eq!(claim(&lab.store, &truncated).await.next_offset, 4);
}

async fn several_resets_in_a_row_verify(lab: &Lab) {
    six(lab).await;
    for to in [5, 1, 0] {
        reset(lab, &log(0, 6), to).await;
    }
    clean(lab).await;
    claimed(lab, lineage(KIND, 0)).await.events(&[odds("g", 0, -110)]).await;
    reset(lab, &log(0, 6), 0).await;
    clean(lab).await;
}

async fn an_accepted_loss_is_in_the_ledger_and_verifies(lab: &Lab) {
    six(lab).await;
    let moved = lab.store.accept_loss(&order(), &log(10, 20), None).await.expect("a loss");
    assert_eq!((moved.from, moved.to, moved.lost), (6, 10, 4));
    let lost = "select from_offset || ' ' || to_offset || ' ' || lost || ' ' || epoch as line \
                from offset_ledger where lost > 0";
    assert_eq!(lab.database.line(lost).await, format!("6 10 4 {}", moved.epoch));
    let moved = lab.store.accept_loss(&order(), &log(10, 20), Some(12)).await.expect("a loss");
    assert_eq!((moved.from, moved.to, moved.lost), (10, 12, 2));
    let mut line = claimed(lab, lineage(KIND, 0)).await;
    assert_eq!(line.next, 12);
    line.events(&[odds("g", 12, -110)]).await;
    let found = verify(lab).await;
    assert!(found.ok() && found.lost == 6 && found.records == 7, "{found:?}");
}

async fn a_loss_needs_something_to_give_up(lab: &Lab) {
    six(lab).await;
    let before = lab.database.contents().await;
    rejected(lab.store.accept_loss(&order(), &log(0, 9), None).await, "nothing to give up");
    rejected(lab.store.accept_loss(&order(), &log(0, 9), Some(6)).await, "nothing to give up");
    rejected(lab.store.accept_loss(&order(), &log(0, 9), Some(10)).await, "outside");
    assert_eq!(lab.database.contents().await, before);
}

async fn a_loss_in_another_log_is_refused(lab: &Lab) {
    six(lab).await;
    rejected(lab.store.accept_loss(&order(), &log_of(recreated(), 8, 9), None).await, "offsets reset");
}

/// A partition whose budget of two dead letters in a row was too small for the three at offset 6.
async fn halted_by_budget(lab: &Lab) -> (Line<'_>, Budget) {
    let line = six(lab).await;
    let budget = Budget::new(BudgetConfig { max_consecutive: 2, ..BudgetConfig::default() });
    let bad = line.batch(&[At::Bytes("{"), At::Bytes("{"), At::Bytes("{")]);
    let job = WriteJob { budget, ..line.job(&bad) };
    assert!(matches!(lab.store.write(&job).await, Err(WriteError::Halted(_))));
    (line, budget)
}

async fn a_resumed_partition_takes_what_its_budget_refused(lab: &Lab) {
    let (_, budget) = halted_by_budget(lab).await;
    let halted = lab.store.claim(&request(lineage(KIND, 0)), now()).await.expect("an answer");
    assert!(matches!(halted, ClaimAnswer::Halted(Halt::DeadLetterBudget { .. })), "{halted:?}");
    rejected(lab.store.resume(&order(), &log(0, 9), 6).await, "not ahead");
    let moved = lab.store.resume(&order(), &log(0, 9), 9).await.expect("resumed");
    assert_eq!((moved.from, moved.to), (6, 9));
    let line = claimed(lab, lineage(KIND, 0)).await;
    assert_eq!((line.claim.next_offset, line.claim.exempt_to), (6, 9));
    let bad = line.batch(&[At::Bytes("{"), At::Bytes("{"), At::Bytes("{")]);
    let report = lab.store.write(&WriteJob { budget, ..line.job(&bad) }).await.expect("written");
    assert_eq!(report.dispositions.dead, 3);
    let beyond = Line { next: 9, ..line };
    let bad = beyond.batch(&[At::Bytes("{"), At::Bytes("{"), At::Bytes("{")]);
    let beyond = lab.store.write(&WriteJob { budget, ..beyond.job(&bad) }).await;
    assert!(matches!(beyond, Err(WriteError::Halted(_))), "the exemption ends");
    clean(lab).await;
}

async fn only_the_budget_can_be_resumed(lab: &Lab) {
    six(lab).await;
    rejected(lab.store.resume(&order(), &log(0, 9), 9).await, "not halted");
    let mut truncated = request(lineage(KIND, 0));
    truncated.second_look = true;
    truncated.log = LogRange { low: 0, high: 4 };
    lab.store.claim(&truncated, now()).await.expect("an answer");
    rejected(lab.store.resume(&order(), &log(0, 4), 9).await, "log_truncated");
}

async fn a_jump_that_nobody_wrote_down_does_not_verify(lab: &Lab) {
    six(lab).await;
    reset(lab, &log(0, 6), 2).await;
    claimed(lab, lineage(KIND, 0)).await.events(&[odds("g", 2, -110)]).await;
    clean(lab).await;
    let written = "select actor as line from operator_actions";
    assert_eq!(lab.database.line(written).await, "an operator");
    for forged in ["to_offset = 1", "from_offset = 5", "epoch = epoch + 9", "action = 'resume'"] {
        lab.database.change(&format!("update operator_actions set {forged}")).await;
        assert!(!verify(lab).await.ok(), "{forged}");
        let back = "update operator_actions set to_offset = 2, from_offset = 6, epoch = 2, action = 'reset'";
        lab.database.change(back).await;
        clean(lab).await;
    }
    lab.database.change("delete from operator_actions").await;
    let found = verify(lab).await;
    assert_eq!(found.overlaps.len(), 1, "{found:?}");
    assert!(found.overlaps[0].contains("2 to 6"), "{found:?}");
}

async fn an_action_of_another_group_explains_nothing(lab: &Lab) {
    six(lab).await;
    reset(lab, &log(0, 6), 2).await;
    lab.database.change("update operator_actions set consumer_group = 'other'").await;
    assert!(!verify(lab).await.ok());
}

async fn every_action_leaves_a_row(lab: &Lab) {
    halted_by_budget(lab).await;
    lab.store.resume(&order(), &log(0, 9), 9).await.expect("resumed");
    reset(lab, &log(0, 9), 1).await;
    lab.store.accept_loss(&order(), &log(3, 9), None).await.expect("a loss");
    let trail = "select action || ' ' || consumer_group || ' ' || topic || ' ' || partition || ' ' || epoch || ' ' || \
                 from_offset || ' ' || to_offset || ' ' || actor || ': ' || reason as line from operator_actions";
    let expected = [
        "accept_loss group odds 0 5 1 3 an operator: a test",
        "reset group odds 0 4 6 1 an operator: a test",
        "resume group odds 0 3 6 9 an operator: a test",
    ];
    assert_eq!(lab.database.lines(trail).await, expected);
}

async fn a_halt_counts_until_the_partition_moves(lab: &Lab) {
    let line = six(lab).await;
    let mut passed = request(lineage(KIND, 0));
    passed.log = LogRange { low: 8, high: 20 };
    lab.store.claim(&passed, now().plus(UtcMicros::SECOND)).await.expect("an answer");
    assert!(lab.store.partitions(None).await.expect("rows")[0].halt().is_some());
    // The old owner still has what Kafka has deleted meanwhile.
    let batch = line.batch(&[At::Hole]);
    let later = WriteJob { now: now().plus(2 * UtcMicros::SECOND), ..line.job(&batch) };
    lab.store.write(&later).await.expect("written");
    let row = &lab.store.partitions(None).await.expect("rows")[0];
    assert_eq!((row.halt(), row.halted.is_some()), (None, true));
}

async fn another_record_takes_the_place_of_a_dead_letter(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&[At::Bytes("{"), At::Bytes("kept")]).await;
    lab.database.change("update dead_letters set status = 'discarded', attempts = 3").await;
    reset(lab, &log(0, 2), 0).await;
    let again = claimed(lab, lineage(KIND, 0)).await.write(&[At::Bytes("["), At::Bytes("kept")]).await;
    assert_eq!(again.dispositions.dead, 2);
    let letters = lab.store.letters(&Default::default(), None, 10).await.expect("letters");
    let found: Vec<_> =
        letters.iter().map(|letter| (&*letter.payload, &*letter.status, letter.attempts)).collect();
    assert_eq!(found, [(b"[".as_slice(), "dead", 0), (b"kept".as_slice(), "discarded", 3)]);
    // A pruned one is known by its timestamp.
    lab.database
        .change("update dead_letters set status = 'discarded', payload = '', pruned_at = created_at")
        .await;
    reset(lab, &log(0, 2), 0).await;
    claimed(lab, lineage(KIND, 0)).await.write(&[At::Bytes("["), At::Bytes("kept")]).await;
    let letters = lab.store.letters(&Default::default(), None, 10).await.expect("letters");
    assert!(
        letters.iter().all(|letter| letter.payload.is_empty() && letter.status == "discarded"),
        "{letters:?}"
    );
    clean(lab).await;
}

async fn a_record_with_another_key_headers_or_time_is_another_one(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&[At::Bytes("{")]).await;
    let other_headers = r#"headers = '[["a", null]]'"#;
    let pruned = "record_timestamp = null, pruned_at = created_at, payload = ''";
    for other in ["payload = 'other'", "key = 'other'", other_headers, "record_timestamp = null", pruned] {
        lab.database.change(&format!("update dead_letters set status = 'discarded', {other}")).await;
        reset(lab, &log(0, 1), 0).await;
        claimed(lab, lineage(KIND, 0)).await.write(&[At::Bytes("{")]).await;
        let letters = lab.store.letters(&Default::default(), None, 10).await.expect("letters");
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!(
            (&*letter.status, &*letter.payload, letter.pruned_at),
            ("dead", &b"{"[..], None),
            "{other}"
        );
        assert_eq!(letter.timestamp, Some(now()), "{other}");
    }
    clean(lab).await;
}

/// Halted because the brokers lost what lies before the position.
async fn truncated(lab: &Lab, at: UtcMicros) {
    let mut request = request(lineage(KIND, 0));
    request.second_look = true;
    request.log = LogRange { low: 0, high: 4 };
    let halted = lab.store.claim(&request, at).await.expect("an answer");
    assert!(matches!(halted, ClaimAnswer::Halted(Halt::LogTruncated { .. })), "{halted:?}");
}

async fn a_loss_of_the_newest_records_is_no_loss_of_older_ones(lab: &Lab) {
    six(lab).await;
    truncated(lab, now()).await;
    let before = lab.database.contents().await;
    // Producers wrote on: offsets 4 and 5 are other records now, and nobody has read them.
    rejected(lab.store.accept_loss(&order(), &log(0, 9), Some(8)).await, "offsets reset --to");
    rejected(lab.store.reset(&order(), &log(0, 9), 6).await, "offsets reset --to");
    assert_eq!(lab.database.contents().await, before);
    reset(lab, &log(0, 9), 4).await;
    clean(lab).await;
    // Nothing older is kept: then there is nothing to read again.
    claimed(lab, lineage(KIND, 0)).await.write(&[At::Hole, At::Hole]).await;
    truncated(lab, now()).await;
    assert_eq!(lab.store.accept_loss(&order(), &log(7, 9), None).await.expect("a loss").lost, 1);
    clean(lab).await;
}

async fn a_halt_by_a_slower_clock_is_shown(lab: &Lab) {
    six(lab).await;
    truncated(lab, now().plus(-UtcMicros::HOUR)).await;
    let row = &lab.store.partitions(None).await.expect("rows")[0];
    assert_eq!(row.halt(), Some(("log_truncated", row.updated_at)));
}
