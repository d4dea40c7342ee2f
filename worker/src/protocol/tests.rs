//! Each rule of the protocol, event by event, and one random walk that checks what must stay true.

use ledgerline_schema::store::{Claim, Effort, Halt};

use super::entry::HALTED_ATTEMPT;
use super::*;

fn claim(epoch: i64, next_offset: i64) -> Claim {
    Claim {
        group: "g.odds".into(),
        topic: "odds".into(),
        partition: 0,
        lineage_id: 1,
        epoch,
        next_offset,
        exempt_to: 0,
    }
}

/// A protocol whose partition 0 is consumed from offset 10 under epoch 1.
fn consuming() -> Protocol {
    let mut protocol = Protocol::default();
    assert_eq!(protocol.on(Event::Assigned(0)), [Command::Claim(0, 1)]);
    let claimed = Event::ClaimAnswered(0, 1, ClaimOutcome::Claimed(claim(1, 10)));
    assert_eq!(protocol.on(claimed), [Command::Consume(0, 10)]);
    protocol
}

/// As `consuming`, with the transaction of [10, 20) under way.
fn writing() -> Protocol {
    let mut protocol = consuming();
    assert_eq!(
        protocol.on(Event::BatchReady(0, 10, 20)),
        [Command::Write(0, 1, Place::Database, claim(1, 10), Effort::Whole)]
    );
    protocol
}

/// As `writing`, with the COMMIT's answer lost and the position asked for.
fn asking() -> Protocol {
    let mut protocol = writing();
    let lost = Event::WriteEnded(0, 1, WriteOutcome::Unknown);
    assert_eq!(protocol.on(lost), [Command::RetryLater(0, 1, 0)]);
    assert_eq!(
        protocol.on(Event::RetryDue(0, 1)),
        [Command::AskPosition(0, 1, Place::Database, claim(1, 10))]
    );
    protocol
}

fn known(epoch: i64, next_offset: i64) -> Event {
    Event::PositionAnswered(0, 1, PositionOutcome::Known(Some(Position { next_offset, epoch })))
}

fn seen(partition: Partition, epoch: i64, next_offset: i64) -> Event {
    Event::PositionsSeen(Some([(partition, Position { next_offset, epoch })].into()))
}

#[test]
fn a_committed_batch_moves_the_position() {
    let mut protocol = writing();
    assert!(!protocol.can_write(0));
    let committed = Event::WriteEnded(0, 1, WriteOutcome::Committed);
    assert_eq!(protocol.on(committed), [Command::Committed(0, 20)]);
    assert_eq!(
        protocol.on(Event::BatchReady(0, 20, 30)),
        [Command::Write(0, 1, Place::Database, claim(1, 20), Effort::Whole)]
    );
}

#[test]
fn a_lost_answer_of_a_commit_that_happened_is_not_written_again() {
    let mut protocol = asking();
    assert_eq!(protocol.on(known(1, 20)), [Command::FoundCommitted(0, 20)]);
}

#[test]
fn a_lost_answer_of_a_commit_that_did_not_happen_is_written_again() {
    let mut protocol = asking();
    assert_eq!(protocol.on(known(1, 10)), [Command::RetryLater(0, 1, 1)]);
    assert_eq!(
        protocol.on(Event::RetryDue(0, 1)),
        [Command::Write(0, 1, Place::Database, claim(1, 10), Effort::Whole)]
    );
}

#[test]
fn another_epoch_or_position_is_a_fence() {
    for event in [
        known(2, 20),
        known(2, 10),
        known(1, 15),
        Event::PositionAnswered(0, 1, PositionOutcome::Known(None)),
    ] {
        let mut protocol = asking();
        assert_eq!(protocol.on(event), [Command::Drop(0), Command::RetryLater(0, 1, 1)]);
        assert!(!protocol.is_consuming(0));
        assert_eq!(protocol.on(Event::RetryDue(0, 1)), [Command::Claim(0, 1)]);
    }
}

#[test]
fn a_silent_database_is_asked_again_and_again() {
    let mut protocol = asking();
    for attempt in 1..4 {
        let silent = Event::PositionAnswered(0, 1, PositionOutcome::Unknown);
        assert_eq!(protocol.on(silent), [Command::RetryLater(0, 1, attempt)]);
        assert_eq!(
            protocol.on(Event::RetryDue(0, 1)),
            [Command::AskPosition(0, 1, Place::Database, claim(1, 10))]
        );
    }
}

#[test]
fn a_fenced_write_drops_the_buffer_and_claims_again() {
    let mut protocol = writing();
    let fenced = Event::WriteEnded(0, 1, WriteOutcome::Fenced);
    assert_eq!(protocol.on(fenced), [Command::Drop(0), Command::RetryLater(0, 1, 1)]);
}

#[test]
fn an_answer_after_a_revocation_is_ignored() {
    let mut protocol = writing();
    assert_eq!(protocol.on(Event::Revoked(0)), [Command::Drop(0)]);
    assert_eq!(protocol.on(Event::WriteEnded(0, 1, WriteOutcome::Committed)), []);
    assert_eq!(protocol.on(Event::Assigned(0)), [Command::Claim(0, 2)]);
    assert_eq!(protocol.on(Event::WriteEnded(0, 1, WriteOutcome::Committed)), []);
    assert_eq!(protocol.on(Event::ClaimAnswered(0, 1, ClaimOutcome::Claimed(claim(1, 10)))), []);
}

#[test]
fn a_failed_claim_is_tried_again_with_growing_pauses() {
    let mut protocol = Protocol::default();
    let _ = protocol.on(Event::Assigned(0));
    for attempt in 1..4 {
        let failed = Event::ClaimAnswered(0, 1, ClaimOutcome::Unknown);
        assert_eq!(protocol.on(failed), [Command::RetryLater(0, 1, attempt)]);
        assert_eq!(protocol.on(Event::RetryDue(0, 1)), [Command::Claim(0, 1)]);
    }
}

#[test]
fn a_halted_partition_stays_halted() {
    let mut protocol = Protocol::default();
    let _ = protocol.on(Event::Assigned(0));
    let halted = Event::ClaimAnswered(0, 1, ClaimOutcome::Halted(Halt::TopicRecreated));
    let recheck = Command::RetryLater(0, 1, HALTED_ATTEMPT);
    assert_eq!(protocol.on(halted.clone()), [Command::Halt(0, Halt::TopicRecreated), recheck.clone()]);
    assert_eq!(protocol.on(Event::BatchReady(0, 10, 20)), []);
    // Nothing has changed, the database is silent, another reason, and then an operator has decided.
    assert_eq!(protocol.on(Event::RetryDue(0, 1)), [Command::Claim(0, 1)]);
    assert_eq!(protocol.on(halted), std::slice::from_ref(&recheck));
    assert_eq!(protocol.on(Event::RetryDue(0, 1)), [Command::Claim(0, 1)]);
    let silent = Event::ClaimAnswered(0, 1, ClaimOutcome::Unknown);
    assert_eq!(protocol.on(silent), std::slice::from_ref(&recheck));
    assert_eq!(protocol.on(Event::RetryDue(0, 1)), [Command::Claim(0, 1)]);
    let other = Event::ClaimAnswered(0, 1, ClaimOutcome::Halted(Halt::OtherCluster));
    assert_eq!(protocol.on(other), [Command::Halt(0, Halt::OtherCluster), recheck]);
    assert!(!protocol.is_consuming(0));
    assert_eq!(protocol.on(Event::RetryDue(0, 1)), [Command::Claim(0, 1)]);
    let claimed = Event::ClaimAnswered(0, 1, ClaimOutcome::Claimed(claim(2, 30)));
    assert_eq!(protocol.on(claimed), [Command::Consume(0, 30)]);
}

#[test]
fn a_batch_refused_twice_is_searched_for_the_bad_record() {
    let mut protocol = writing();
    for effort in [Effort::Whole, Effort::Isolate, Effort::Isolate] {
        let _ = protocol.on(Event::WriteEnded(0, 1, WriteOutcome::Refused));
        assert_eq!(
            protocol.on(Event::RetryDue(0, 1)),
            [Command::AskPosition(0, 1, Place::Database, claim(1, 10))]
        );
        let _ = protocol.on(known(1, 10));
        assert_eq!(
            protocol.on(Event::RetryDue(0, 1)),
            [Command::Write(0, 1, Place::Database, claim(1, 10), effort)]
        );
    }
}

#[test]
fn an_outage_in_between_starts_the_count_of_refusals_anew() {
    let mut protocol = writing();
    for outcome in [WriteOutcome::Refused, WriteOutcome::Unknown, WriteOutcome::Refused] {
        let _ = protocol.on(Event::WriteEnded(0, 1, outcome));
        let _ = protocol.on(Event::RetryDue(0, 1));
        let _ = protocol.on(known(1, 10));
        assert_eq!(
            protocol.on(Event::RetryDue(0, 1)),
            [Command::Write(0, 1, Place::Database, claim(1, 10), Effort::Whole)]
        );
    }
}

#[test]
fn what_was_not_tried_is_tried_later_and_forgets_no_refusal() {
    let mut protocol = writing();
    let _ = protocol.on(Event::WriteEnded(0, 1, WriteOutcome::Refused));
    let _ = protocol.on(Event::RetryDue(0, 1));
    let _ = protocol.on(known(1, 10));
    let _ = protocol.on(Event::RetryDue(0, 1));
    let not_tried = Event::WriteEnded(0, 1, WriteOutcome::NotTried);
    assert_eq!(protocol.on(not_tried), [Command::RetryLater(0, 1, 2)]);
    assert_eq!(
        protocol.on(Event::RetryDue(0, 1)),
        [Command::Write(0, 1, Place::Database, claim(1, 10), Effort::Whole)]
    );
    let _ = protocol.on(Event::WriteEnded(0, 1, WriteOutcome::Refused));
    let _ = protocol.on(Event::RetryDue(0, 1));
    let _ = protocol.on(known(1, 10));
    assert_eq!(
        protocol.on(Event::RetryDue(0, 1)),
        [Command::Write(0, 1, Place::Database, claim(1, 10), Effort::Isolate)]
    );
}

#[test]
fn a_batch_over_the_budget_halts_the_partition_and_is_dropped() {
    let mut protocol = writing();
    let halt = Halt::DeadLetterBudget { detail: "all of them".into() };
    assert_eq!(
        protocol.on(Event::WriteEnded(0, 1, WriteOutcome::Halted(halt.clone()))),
        [Command::Drop(0), Command::Halt(0, halt), Command::RetryLater(0, 1, HALTED_ATTEMPT)]
    );
    assert!(!protocol.is_consuming(0));
    assert!(protocol.is_settled());
}

#[test]
fn a_quiet_partition_notices_a_higher_epoch_and_a_busy_one_finds_out_itself() {
    let mut protocol = consuming();
    for not_higher in [seen(0, 1, 10), Event::PositionsSeen(None), Event::PositionsSeen(None)] {
        assert_eq!(protocol.on(not_higher), []);
    }
    assert_eq!(protocol.on(seen(0, 2, 10)), [Command::Drop(0), Command::RetryLater(0, 2, 1)]);
    assert_eq!(writing().on(seen(0, 2, 10)), []);
}

#[test]
fn a_quiet_partition_notices_that_the_database_went_back_in_time() {
    for back in [seen(0, 1, 5), seen(0, 0, 10), seen(0, 0, 5), Event::PositionsSeen(Some([].into()))] {
        let mut protocol = consuming();
        assert_eq!(protocol.on(back.clone()), [], "it may have been read before our claim");
        assert_eq!(protocol.on(back), [Command::Drop(0), Command::RetryLater(0, 2, 1)]);
    }
}

#[test]
fn a_position_that_was_seen_before_a_commit_says_nothing() {
    let mut protocol = consuming();
    for (from, to) in [(10, 20), (20, 30), (30, 40)] {
        assert_eq!(protocol.on(seen(0, 1, from)), []);
        let _ = protocol.on(Event::BatchReady(0, from, to));
        let _ = protocol.on(Event::WriteEnded(0, 1, WriteOutcome::Committed));
        assert_eq!(protocol.on(seen(0, 1, from)), []);
        assert_eq!(protocol.on(seen(0, 1, to)), []);
    }
}

#[test]
fn lost_offsets_claim_again_and_leave_the_transaction_alone() {
    for mut protocol in [consuming(), writing()] {
        assert_eq!(protocol.on(Event::OffsetsLost), [Command::Drop(0), Command::RetryLater(0, 2, 1)]);
        assert_eq!(protocol.on(Event::WriteEnded(0, 1, WriteOutcome::Committed)), []);
        assert_eq!(protocol.on(Event::RetryDue(0, 2)), [Command::Claim(0, 2)]);
    }
}

#[test]
fn a_partition_that_cannot_be_consumed_is_claimed_again() {
    assert_eq!(consuming().on(Event::ConsumeFailed(0)), [Command::Drop(0), Command::RetryLater(0, 2, 1)]);
    assert_eq!(consuming().on(Event::ConsumeFailed(7)), []);
}

#[test]
fn draining_finishes_and_starts_nothing() {
    let mut protocol = writing();
    assert_eq!(protocol.on(Event::Drain), []);
    assert!(!protocol.is_settled());
    assert_eq!(protocol.on(Event::WriteEnded(0, 1, WriteOutcome::Committed)), [Command::Committed(0, 20)]);
    assert!(protocol.is_settled());
    assert!(!protocol.can_write(0));
    assert_eq!(protocol.on(Event::BatchReady(0, 20, 30)), []);
}

/// As `consuming`, with the database away for so long that the spool has taken over: consumed from 10 again.
fn spooling() -> Protocol {
    let mut protocol = consuming();
    assert_eq!(protocol.on(Event::Outage), [Command::Drop(0), Command::ClaimSpool(0, 2, Some(10))]);
    let claimed = Event::ClaimAnswered(0, 2, ClaimOutcome::Claimed(claim(7, 10)));
    assert_eq!(protocol.on(claimed), [Command::Consume(0, 10)]);
    protocol
}

/// As `spooling`, with the database back: claimed at 10, and the spool has [10, 20).
fn draining() -> Protocol {
    let mut protocol = spooling();
    assert_eq!(protocol.on(Event::Recovered), [Command::Drop(0), Command::Claim(0, 3)]);
    let drains = Event::ClaimAnswered(0, 3, ClaimOutcome::Drains(claim(2, 10)));
    assert_eq!(protocol.on(drains), [Command::Fetch(0, 3, claim(2, 10))]);
    protocol
}

#[test]
fn in_an_outage_batches_go_to_the_spool_and_nobody_is_told() {
    let mut protocol = spooling();
    assert!(protocol.can_write(0) && protocol.is_consuming(0));
    let write = Command::Write(0, 2, Place::Spool, claim(7, 10), Effort::Whole);
    assert_eq!(protocol.on(Event::BatchReady(0, 10, 20)), [write]);
    assert_eq!(protocol.on(Event::WriteEnded(0, 2, WriteOutcome::Committed)), [Command::Spooled(0, 20)]);
    assert_eq!(protocol.on(seen(0, 5, 10)), [], "the database's positions say nothing about the spool's");
}

#[test]
fn a_transaction_that_an_outage_overtakes_is_ignored_and_its_batch_spooled_again() {
    let mut protocol = writing();
    assert_eq!(protocol.on(Event::Outage), [Command::Drop(0), Command::ClaimSpool(0, 2, Some(10))]);
    assert_eq!(protocol.on(Event::WriteEnded(0, 1, WriteOutcome::Committed)), []);
    assert_eq!(protocol.on(Event::Outage), [], "it is told again and again");
}

#[test]
fn spooling_starts_at_the_last_position_that_is_known() {
    let mut protocol = writing();
    let _ = protocol.on(Event::WriteEnded(0, 1, WriteOutcome::Committed));
    assert_eq!(protocol.on(Event::Outage), [Command::Drop(0), Command::ClaimSpool(0, 2, Some(20))]);
    assert_eq!(protocol.on(Event::Assigned(1)), [Command::ClaimSpool(1, 3, None)]);
    let unknown = Event::ClaimAnswered(1, 3, ClaimOutcome::Unknown);
    assert_eq!(protocol.on(unknown), [Command::RetryLater(1, 3, 1)]);
    assert_eq!(protocol.on(Event::RetryDue(1, 3)), [Command::ClaimSpool(1, 3, None)]);
}

#[test]
fn what_the_spool_holds_goes_first_and_a_new_claim_comes_after_it() {
    let mut protocol = draining();
    assert!(!protocol.is_consuming(0) && !protocol.can_write(0));
    let write = Command::Write(0, 3, Place::Database, claim(2, 10), Effort::Whole);
    assert_eq!(protocol.on(Event::Fetched(0, 3, FetchOutcome::Segment(20))), [write]);
    assert_eq!(
        protocol.on(Event::WriteEnded(0, 3, WriteOutcome::Committed)),
        [Command::Committed(0, 20), Command::Fetch(0, 3, claim(2, 20))]
    );
    assert_eq!(
        protocol.on(Event::Fetched(0, 3, FetchOutcome::Nothing)),
        [Command::Drop(0), Command::RetryLater(0, 3, 1)]
    );
    assert_eq!(protocol.on(Event::RetryDue(0, 3)), [Command::Claim(0, 3)]);
    let claimed = Event::ClaimAnswered(0, 3, ClaimOutcome::Claimed(claim(3, 20)));
    assert_eq!(protocol.on(claimed), [Command::Consume(0, 20)]);
}

#[test]
fn a_spool_that_cannot_be_read_is_asked_again() {
    let mut protocol = draining();
    assert_eq!(protocol.on(Event::Fetched(0, 3, FetchOutcome::Unknown)), [Command::RetryLater(0, 3, 1)]);
    assert_eq!(protocol.on(Event::RetryDue(0, 3)), [Command::Fetch(0, 3, claim(2, 10))]);
    for attempt in 2..=5 {
        let later = protocol.on(Event::Fetched(0, 3, FetchOutcome::Unknown));
        assert_eq!(later, [Command::RetryLater(0, 3, attempt)]);
        let _ = protocol.on(Event::RetryDue(0, 3));
    }
    let given_up = protocol.on(Event::Fetched(0, 3, FetchOutcome::Unknown));
    assert_eq!(given_up[0], Command::Drop(0), "a new claim asks the log");
    let _ = protocol.on(Event::RetryDue(0, 3));
    assert!(!protocol.is_fetching(0, 3));
}

#[test]
fn a_paused_partition_is_asked_about_again_and_keeps_its_claim() {
    let mut protocol = draining();
    for _ in 0..20 {
        assert_eq!(protocol.on(Event::Fetched(0, 3, FetchOutcome::Paused)), [Command::RetryLater(0, 3, 1)]);
        assert_eq!(protocol.on(Event::RetryDue(0, 3)), [Command::Fetch(0, 3, claim(2, 10))]);
    }
}

#[test]
fn an_outage_in_the_middle_of_draining_spools_on() {
    let mut protocol = draining();
    let _ = protocol.on(Event::Fetched(0, 3, FetchOutcome::Segment(20)));
    assert_eq!(protocol.on(Event::OffsetsLost), [], "nothing of it is read from the log");
    assert_eq!(protocol.on(Event::Outage), [Command::Drop(0), Command::ClaimSpool(0, 4, Some(10))]);
}

#[test]
fn the_end_of_the_process_finishes_one_segment_and_starts_no_other() {
    let mut protocol = draining();
    let _ = protocol.on(Event::Fetched(0, 3, FetchOutcome::Segment(20)));
    assert_eq!(protocol.on(Event::Drain), []);
    assert!(!protocol.is_settled());
    let _ = protocol.on(Event::WriteEnded(0, 3, WriteOutcome::Committed));
    assert!(protocol.is_settled());
    assert_eq!(protocol.on(Event::Fetched(0, 3, FetchOutcome::Segment(30))), []);
    assert_eq!(protocol.on(Event::Recovered), []);
}

#[test]
fn a_halted_partition_stays_halted_in_an_outage() {
    let mut protocol = Protocol::default();
    let _ = protocol.on(Event::Assigned(0));
    let _ = protocol.on(Event::ClaimAnswered(0, 1, ClaimOutcome::Halted(Halt::TopicRecreated)));
    assert_eq!(protocol.on(Event::Outage), []);
    assert_eq!(protocol.on(Event::RetryDue(0, 1)), [Command::Claim(0, 1)]);
}

#[test]
fn a_partition_that_halted_while_spooling_asks_the_database_when_it_is_back() {
    let mut protocol = spooling();
    assert_eq!(protocol.on(Event::ConsumeFailed(0)), [Command::Drop(0), Command::RetryLater(0, 3, 1)]);
    assert_eq!(protocol.on(Event::RetryDue(0, 3)), [Command::ClaimSpool(0, 3, Some(10))]);
    let halted = Event::ClaimAnswered(0, 3, ClaimOutcome::Halted(Halt::TopicRecreated));
    assert_eq!(
        protocol.on(halted),
        [Command::Halt(0, Halt::TopicRecreated), Command::RetryLater(0, 3, u32::MAX)]
    );
    assert_eq!(protocol.on(Event::Recovered), [Command::Drop(0), Command::Claim(0, 4)]);
    let claimed = Event::ClaimAnswered(0, 4, ClaimOutcome::Claimed(claim(9, 12)));
    assert_eq!(protocol.on(claimed), [Command::Consume(0, 12)]);
}

/// The database of the random walk: one position row.
#[derive(Debug, Clone, Copy)]
struct Row {
    next_offset: i64,
    epoch: i64,
}

proptest::proptest! {
    /// One partition against a row that may lose answers and be claimed by others: every committed range starts where the
    /// row stood, so nothing is written twice or passed over.
    #[test]
    fn every_commit_starts_where_the_row_stands(steps in proptest::collection::vec((0u8..10, 1i64..50), 1..300)) {
        let mut row = Row { next_offset: 0, epoch: 0 };
        let mut protocol = Protocol::default();
        let mut pending = protocol.on(Event::Assigned(0));
        let mut reading = 0i64; // where the consumer would start the next batch
        let mut batch = (0i64, 0i64);
        for (dice, size) in steps {
            if dice == 0 {
                row.epoch += 1; // somebody else claims
                row.next_offset += size; // and writes
            }
            let event = match pending.pop() {
                None if protocol.can_write(0) => {
                    batch = (reading, reading + size);
                    Event::BatchReady(0, batch.0, batch.1)
                }
                None => Event::Drain,
                Some(Command::Claim(_, a)) if dice == 1 => Event::ClaimAnswered(0, a, ClaimOutcome::Unknown),
                Some(Command::Claim(_, a)) => {
                    row.epoch += 1;
                    Event::ClaimAnswered(0, a, ClaimOutcome::Claimed(claim(row.epoch, row.next_offset)))
                }
                Some(Command::Consume(_, offset)) => { reading = offset; continue }
                Some(Command::Committed(_, offset) | Command::FoundCommitted(_, offset)) => { reading = offset; continue }
                Some(Command::Write(_, a, Place::Database, claim, _)) => {
                    let ours = row.next_offset == batch.0 && row.epoch == claim.epoch;
                    let commits = ours && dice != 2;
                    if commits {
                        row.next_offset = batch.1;
                    }
                    let outcome = match (ours, commits, dice) {
                        (false, ..) => WriteOutcome::Fenced,
                        (true, true, 3) | (true, false, _) => WriteOutcome::Unknown,
                        (true, true, _) => WriteOutcome::Committed,
                    };
                    Event::WriteEnded(0, a, outcome)
                }
                Some(Command::AskPosition(_, a, Place::Database, _)) if dice == 4 => {
                    Event::PositionAnswered(0, a, PositionOutcome::Unknown)
                }
                Some(Command::AskPosition(_, a, Place::Database, _)) => {
                    let at = Position { next_offset: row.next_offset, epoch: row.epoch };
                    Event::PositionAnswered(0, a, PositionOutcome::Known(Some(at)))
                }
                Some(Command::RetryLater(_, a, _)) => Event::RetryDue(0, a),
                Some(Command::Drop(_) | Command::Halt(..)) => continue,
                Some(spool @ (
                    Command::ClaimSpool(..)
                    | Command::Fetch(..)
                    | Command::Spooled(..)
                    | Command::Write(_, _, Place::Spool, ..)
                    | Command::AskPosition(_, _, Place::Spool, _)
                )) => unreachable!("nobody spoke of an outage: {spool:?}"),
            };
            if event == Event::Drain {
                proptest::prop_assert!(false, "the protocol is stuck: nothing pending and no batch may be written");
            }
            let mut commands = protocol.on(event);
            for command in &commands {
                if let Command::Committed(_, to) | Command::FoundCommitted(_, to) = command {
                    proptest::prop_assert!(row.next_offset >= *to, "told Kafka about an offset that is not stored");
                }
            }
            commands.reverse(); // popped from the end, in order
            pending.splice(0..0, commands);
        }
    }
}
