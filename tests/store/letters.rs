//! Dead letters at work: redriven once, refused again, given up, pruned; and `verify` stays clean through all of it.

use ledgerline_schema::batch::{Batch, RowCounts};
use ledgerline_schema::events::{EventKind, RawHeader, RawRecord, Reason};
use ledgerline_schema::store::{
    Letter, LetterFilter, LetterGroup, LetterId, LetterStatus, LogNow, LogRange, Order, Redrive, Redriven,
    Resolved, Selected, StoreError,
};
use ledgerline_schema::time::UtcMicros;
use ledgerline_worker::config::Config;
use ledgerline_worker::redrive::{Outcome, Redriver};
use serde_json::json;

use super::lab::{At, Lab, Line, claim, game, lineage, now, odds, request};

on_both! {
    a_redriven_letter_is_applied_once,
    a_letter_refused_again_stays_dead,
    a_conflict_that_is_gone_is_redriven,
    a_conflict_leaves_no_new_name_behind,
    of_two_redrives_at_once_one_applies,
    a_letter_that_was_tried_since_it_was_read_is_left_alone,
    a_dry_run_changes_nothing,
    a_patch_mends_a_record_and_not_its_letter,
    a_patch_that_does_not_fit_counts_nothing,
    headers_and_timestamp_decide_as_they_did,
    a_game_is_redriven_under_its_version,
    a_record_that_the_database_refuses_stays_dead,
    letters_are_found_by_filter_and_page,
    letters_are_counted_by_topic_reason_and_status,
    discarding_by_id_is_all_or_nothing,
    discarding_by_filter_leaves_a_trail,
    pruning_forgets_bytes_and_keeps_accounts,
    a_letter_redriven_again_after_truncation_is_accounted_for,
    a_redriven_record_that_is_read_again_stays_settled,
    many_letters_are_settled_in_batches,
    a_letter_that_cannot_be_tried_changes_nothing,
    a_refused_redrive_leaves_both_reasons,
}

const KIND: EventKind = EventKind::Odds;

fn by(dry_run: bool) -> Resolved {
    Resolved { actor: "an operator".into(), reason: "a test".into(), now: now(), dry_run }
}

fn redriver(lab: &Lab, patch: Option<serde_json::Value>, dry_run: bool) -> Redriver {
    let patch = patch.map(|patch| serde_json::from_value(patch).expect("a patch"));
    Redriver::new(&Config::default(), lab.store.clone(), patch, by(dry_run))
}

async fn letters(lab: &Lab, filter: &LetterFilter) -> Vec<Letter> {
    lab.store.letters(filter, None, 1_000).await.expect("letters")
}

async fn only(lab: &Lab) -> Letter {
    let mut letters = letters(lab, &LetterFilter::default()).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    letters.remove(0)
}

async fn clean(lab: &Lab) {
    let found = lab.store.verify(None).await.expect("an answer");
    assert!(found.ok() && found.fewer_rows.is_empty(), "{found:?}");
}

/// An event whose price is out of range at offset 1, between two good ones.
async fn one_bad_price(lab: &Lab) -> Line<'_> {
    let mut line = Line::open(&lab.store, KIND).await;
    let report = line.events(&[odds("g", 1, -110), odds("g", 2, 50), odds("g", 3, -110)]).await;
    assert_eq!(report.dispositions.dead, 1);
    line
}

/// The price is mended.
fn mend() -> serde_json::Value {
    json!([{"op": "replace", "path": "/data/outcomes/0/price_american", "value": -120}])
}

/// A quote of offset 1 that contradicts the one of offset 0, which is gone then: an error upstream, taken back by hand.
async fn a_contradiction(lab: &Lab) -> Letter {
    let mut line = Line::open(&lab.store, KIND).await;
    let report = line.events(&[odds("g", 1, -110), odds("g", 1, 120)]).await;
    assert_eq!(report.dispositions.dead, 1);
    only(lab).await
}

const APPLIED: RowCounts = RowCounts { inserted: 2, updated: 0, duplicate: 0, stale: 0 };

fn applied() -> Outcome {
    Outcome::Tried(Redriven::Applied(APPLIED))
}

async fn a_redriven_letter_is_applied_once(lab: &Lab) {
    one_bad_price(lab).await;
    let letter = only(lab).await;
    let redriver = redriver(lab, Some(mend()), false);
    assert_eq!(redriver.redrive(&letter).await.expect("redriven"), applied());
    let settled = only(lab).await;
    assert_eq!((&*settled.status, settled.attempts, settled.resolved_at), ("redriven", 1, Some(now())));
    let row =
        "select lineage_id || ' ' || count(*) as line from odds where record_offset = 1 group by lineage_id";
    assert_eq!(lab.database.line(row).await, format!("{} 2", letter.lineage_id), "rows carry their origin");
    let ledger = "select consumer_group || ' ' || epoch || ' ' || from_offset || ' ' || to_offset || ' ' || applied || ' ' || \
                  inserted as line from offset_ledger where consumer_group = 'redrive'";
    assert_eq!(lab.database.line(ledger).await, "redrive 1 1 2 1 2");
    clean(lab).await;
    let before = lab.database.contents().await;
    for read in [&letter, &settled] {
        let again = redriver.redrive(read).await.expect("an answer");
        assert_eq!(again, Outcome::Tried(Redriven::Overtaken));
    }
    assert_eq!(lab.database.contents().await, before);
}

async fn a_letter_refused_again_stays_dead(lab: &Lab) {
    one_bad_price(lab).await;
    lab.database
        .change("update dead_letters set reason = 'too_large', detail = 'of an older contract'")
        .await;
    let letter = only(lab).await;
    let ledger = "select count(*) || ' ' || sum(to_offset) as line from offset_ledger";
    let before = lab.database.line(ledger).await;
    let redriver = redriver(lab, None, false);
    for attempt in 1..3 {
        let outcome = redriver.redrive(&only(lab).await).await.expect("tried");
        assert!(matches!(outcome, Outcome::Tried(Redriven::StillDead(_))), "{outcome:?}");
        let tried = only(lab).await;
        assert_eq!((&*tried.status, tried.attempts, tried.attempted_at), ("dead", attempt, Some(now())));
        assert_eq!(tried.reason, "invalid_field");
        assert!(tried.detail.starts_with("outcomes[0].price_american"), "{}", tried.detail);
        assert_eq!((&tried.payload, tried.resolved_at), (&letter.payload, None));
    }
    assert_eq!(lab.database.line(ledger).await, before);
    clean(lab).await;
}

async fn a_conflict_that_is_gone_is_redriven(lab: &Lab) {
    let letter = a_contradiction(lab).await;
    let redriver = redriver(lab, None, false);
    let refused = redriver.redrive(&letter).await.expect("tried");
    assert!(
        matches!(&refused, Outcome::Tried(Redriven::StillDead(r)) if r.reason == Reason::Conflict),
        "{refused:?}"
    );
    lab.database.change("delete from odds").await;
    assert_eq!(redriver.redrive(&only(lab).await).await.expect("redriven"), applied());
    assert_eq!(only(lab).await.attempts, 2);
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}

async fn a_conflict_leaves_no_new_name_behind(lab: &Lab) {
    let letter = a_contradiction(lab).await;
    let names = lab.database.view("selections").await;
    let more = json!([{"op": "replace", "path": "/data/outcomes/1/side", "value": "away"},
                      {"op": "replace", "path": "/data/period", "value": "q1"}]);
    // `period` is not there: the patch does not fit. Adding it makes names of their own, so only the side of one is new.
    let unfit = redriver(lab, Some(more), false).redrive(&letter).await.expect("tried");
    assert!(matches!(unfit, Outcome::Unpatched(_)), "{unfit:?}");
    let alternate = json!([{"op": "add", "path": "/data/outcomes/1/alternate", "value": true}]);
    let refused = redriver(lab, Some(alternate), false).redrive(&letter).await.expect("tried");
    assert!(matches!(refused, Outcome::Tried(Redriven::StillDead(_))), "{refused:?}");
    assert_eq!(lab.database.view("selections").await, names);
}

async fn of_two_redrives_at_once_one_applies(lab: &Lab) {
    one_bad_price(lab).await;
    let letter = only(lab).await;
    let (one, two) = (redriver(lab, Some(mend()), false), redriver(lab, Some(mend()), false));
    let (one, two) = tokio::join!(one.redrive(&letter), two.redrive(&letter));
    let outcomes = [one.expect("an answer"), two.expect("an answer")];
    assert!(outcomes.contains(&applied()), "{outcomes:?}");
    assert!(outcomes.contains(&Outcome::Tried(Redriven::Overtaken)), "{outcomes:?}");
    assert_eq!(only(lab).await.attempts, 1);
    clean(lab).await;
}

async fn a_letter_that_was_tried_since_it_was_read_is_left_alone(lab: &Lab) {
    one_bad_price(lab).await;
    let letter = only(lab).await;
    redriver(lab, None, false).redrive(&letter).await.expect("tried");
    let before = lab.database.contents().await;
    let late = redriver(lab, Some(mend()), false).redrive(&letter).await.expect("an answer");
    assert_eq!(late, Outcome::Tried(Redriven::Overtaken));
    assert_eq!(lab.database.contents().await, before);
}

async fn a_dry_run_changes_nothing(lab: &Lab) {
    one_bad_price(lab).await;
    let (letter, before) = (only(lab).await, lab.database.contents().await);
    let names = lab.database.view("selections").await;
    let new_game = json!([{"op": "replace", "path": "/data/outcomes/0/price_american", "value": -120},
                          {"op": "replace", "path": "/data/game/id", "value": "never seen"}]);
    for patch in [mend(), new_game] {
        let outcome = redriver(lab, Some(patch), true).redrive(&letter).await.expect("tried");
        assert_eq!(outcome, applied());
    }
    let outcome = redriver(lab, None, true).redrive(&letter).await.expect("tried");
    assert!(matches!(outcome, Outcome::Tried(Redriven::StillDead(_))), "{outcome:?}");
    assert_eq!(lab.database.contents().await, before);
    assert_eq!(lab.database.view("selections").await, names);
}

async fn a_patch_mends_a_record_and_not_its_letter(lab: &Lab) {
    one_bad_price(lab).await;
    let letter = only(lab).await;
    redriver(lab, Some(mend()), false).redrive(&letter).await.expect("redriven");
    let settled = only(lab).await;
    assert_eq!((settled.payload, settled.key, settled.headers), (letter.payload, letter.key, letter.headers));
    let quotes = lab.latest("test", "g").await;
    assert_eq!(quotes.len(), 2);
    clean(lab).await;
}

async fn a_patch_that_does_not_fit_counts_nothing(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&[At::Bytes("{"), At::Event(odds("g", 2, 50))]).await;
    let before = lab.database.contents().await;
    let elsewhere = json!([{"op": "test", "path": "/source", "value": "another scraper"}]);
    for letter in letters(lab, &LetterFilter::default()).await {
        let outcome = redriver(lab, Some(elsewhere.clone()), false).redrive(&letter).await.expect("tried");
        assert!(matches!(outcome, Outcome::Unpatched(_)), "{outcome:?}");
    }
    assert_eq!(lab.database.contents().await, before);
}

/// Binary mode, and a time that is only right against the record's own timestamp.
async fn headers_and_timestamp_decide_as_they_did(lab: &Lab) {
    let line = Line::open(&lab.store, KIND).await;
    let names = ["specversion", "type", "id", "source", "time"];
    let values = ["1.0", "odds.v1", "1", "a-scraper", "2025-11-09T18:00:00Z"];
    let names = names.map(|name| format!("ce_{name}"));
    let headers: Vec<RawHeader<'_>> = names
        .iter()
        .zip(&values)
        .map(|(name, value)| RawHeader { name: name.as_bytes(), value: Some(value.as_bytes()) })
        .collect();
    let data = odds("g", 1, 50)["data"].to_string();
    let mut batch = Batch::new(KIND.rows(), 0);
    for timestamp in ["2025-11-09T18:00:00Z", "2025-11-09T17:00:00Z"] {
        let timestamp = Some(UtcMicros::parse(timestamp).expect("a time"));
        batch.push(batch.to, None, &RawRecord { value: data.as_bytes(), headers: &headers, timestamp });
    }
    assert_eq!(line.try_write(&batch).await.expect("written").dispositions.dead, 2);
    let mend = json!([{"op": "replace", "path": "/outcomes/0/price_american", "value": 150}]);
    let mut outcomes = Vec::new();
    for letter in letters(lab, &LetterFilter::default()).await {
        outcomes.push(redriver(lab, Some(mend.clone()), false).redrive(&letter).await.expect("tried"));
    }
    assert_eq!(outcomes[0], applied());
    let Outcome::Tried(Redriven::StillDead(rejection)) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(rejection.detail.contains("ahead of the record's timestamp"), "{rejection}");
    clean(lab).await;
}

async fn a_game_is_redriven_under_its_version(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Game).await;
    let mut bad = game("g", 1, json!({}));
    bad["data"]["status"] = json!("cancelled?");
    line.events(&[bad, game("g", 2, json!({"newer": true}))]).await;
    let mend = json!([{"op": "replace", "path": "/data/status", "value": "cancelled"}]);
    let outcome = redriver(lab, Some(mend), false).redrive(&only(lab).await).await.expect("redriven");
    let stale = RowCounts { stale: 1, ..RowCounts::default() };
    assert_eq!(outcome, Outcome::Tried(Redriven::Applied(stale)));
    assert_eq!(lab.database.line("select status as line from games").await, "unknown", "older never wins");
    clean(lab).await;
}

async fn a_record_that_the_database_refuses_stays_dead(lab: &Lab) {
    one_bad_price(lab).await;
    let planted = if lab.database.is_sqlite() {
        "create trigger planted before insert on odds when new.observed_at > '2000' \
         begin select raise(abort, 'planted'); end"
    } else {
        "alter table odds add constraint planted check (record_offset <> 1)"
    };
    lab.database.change(planted).await;
    let outcome = redriver(lab, Some(mend()), false).redrive(&only(lab).await).await.expect("tried");
    assert!(
        matches!(&outcome, Outcome::Tried(Redriven::StillDead(r)) if r.reason == Reason::Refused),
        "{outcome:?}"
    );
    let letter = only(lab).await;
    assert_eq!((&*letter.status, &*letter.reason, letter.attempts), ("dead", "refused", 1));
    assert!(letter.detail.contains("planted"), "{}", letter.detail);
    clean(lab).await;
}

/// Offsets 0 to 4 of partition 0 and 0 to 1 of partition 1, all malformed, and one invalid.
async fn seven_letters(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&vec![At::Bytes("{"); 4]).await;
    line.events(&[odds("g", 1, 50)]).await;
    Line::of_partition(&lab.store, KIND, 1).await.write(&[At::Bytes("{"), At::Bytes("{")]).await;
}

async fn letters_are_found_by_filter_and_page(lab: &Lab) {
    seven_letters(lab).await;
    let count = async |filter: LetterFilter| letters(lab, &filter).await.len();
    let any = LetterFilter::default;
    assert_eq!(count(any()).await, 7);
    assert_eq!(count(LetterFilter { topic: Some("odds".into()), ..any() }).await, 7);
    assert_eq!(count(LetterFilter { topic: Some("games".into()), ..any() }).await, 0);
    assert_eq!(count(LetterFilter { partition: Some(1), ..any() }).await, 2);
    assert_eq!(count(LetterFilter { reason: Some(Reason::InvalidField), ..any() }).await, 1);
    assert_eq!(count(LetterFilter { since: Some(now()), ..any() }).await, 7);
    assert_eq!(count(LetterFilter { until: Some(now()), ..any() }).await, 0);
    assert_eq!(count(LetterFilter { status: Some(LetterStatus::Discarded), ..any() }).await, 0);
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = lab.store.letters(&any(), after, 2).await.expect("letters");
        let Some(last) = page.last() else { break };
        after = Some(last.id());
        found.extend(page.iter().map(Letter::id));
    }
    let mut sorted = found.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((found.len(), &found), (7, &sorted));
    let id: LetterId = found[3].to_string().parse().expect("an id");
    assert_eq!(lab.store.letter(id).await.expect("an answer").expect("a letter").offset, 3);
    assert_eq!(lab.store.letter(LetterId { lineage_id: 99, offset: 0 }).await.expect("an answer"), None);
}

async fn letters_are_counted_by_topic_reason_and_status(lab: &Lab) {
    seven_letters(lab).await;
    redriver(lab, None, false)
        .redrive(&letters(lab, &LetterFilter::default()).await[0])
        .await
        .expect("tried");
    let group = |reason: &str, letters, attempts| LetterGroup {
        topic: "odds".into(),
        reason: reason.into(),
        status: "dead".into(),
        letters,
        oldest: Some(now()),
        newest: Some(now()),
        attempts: Some(attempts),
    };
    let found = lab.store.letter_groups(&LetterFilter::default()).await.expect("counts");
    assert_eq!(found, [group("invalid_field", 1, 0), group("malformed_json", 6, 1)]);
}

async fn discarding_by_id_is_all_or_nothing(lab: &Lab) {
    seven_letters(lab).await;
    let ids: Vec<LetterId> = letters(lab, &LetterFilter::default()).await.iter().map(Letter::id).collect();
    let before = lab.database.contents().await;
    let wrong = Selected::Ids(vec![ids[0], LetterId { lineage_id: 99, offset: 0 }]);
    let refused = lab.store.discard(&wrong, &by(false)).await;
    assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    assert_eq!(lab.database.contents().await, before);
    assert_eq!(lab.store.discard(&Selected::Ids(ids[..2].to_vec()), &by(false)).await.expect("discarded"), 2);
    let again = lab.store.discard(&Selected::Ids(ids[..1].to_vec()), &by(false)).await;
    assert!(matches!(again, Err(StoreError::Rejected(_))), "settled already: {again:?}");
    clean(lab).await;
}

async fn discarding_by_filter_leaves_a_trail(lab: &Lab) {
    seven_letters(lab).await;
    let malformed = LetterFilter { reason: Some(Reason::MalformedJson), ..LetterFilter::default() };
    assert_eq!(lab.store.discard(&Selected::Matching(malformed), &by(false)).await.expect("discarded"), 6);
    let left = LetterFilter { status: Some(LetterStatus::Dead), ..LetterFilter::default() };
    assert_eq!(letters(lab, &left).await.len(), 1);
    let trail = "select action || ' ' || topic || ' ' || partition || ' ' || from_offset || ' ' || to_offset || ' ' || actor || \
                 ': ' || reason as line from operator_actions";
    let expected = [
        "discard odds 0 0 4 an operator: a test (4 dead letters)",
        "discard odds 1 0 2 an operator: a test (2 dead letters)",
    ];
    assert_eq!(lab.database.lines(trail).await, expected);
    let discarded = LetterFilter { status: Some(LetterStatus::Discarded), ..LetterFilter::default() };
    let gone =
        redriver(lab, None, false).redrive(&letters(lab, &discarded).await[0]).await.expect("an answer");
    assert_eq!(gone, Outcome::Tried(Redriven::Overtaken), "what was given up is not tried");
    clean(lab).await;
}

async fn pruning_forgets_bytes_and_keeps_accounts(lab: &Lab) {
    seven_letters(lab).await;
    let one = Selected::Matching(LetterFilter { partition: Some(1), ..LetterFilter::default() });
    lab.store.discard(&one, &by(false)).await.expect("discarded");
    let before = lab.database.contents().await;
    assert_eq!(lab.store.prune(now(), &by(false)).await.expect("pruned"), 0, "settled just now");
    assert_eq!(lab.database.contents().await, before);
    let later = now().plus(UtcMicros::SECOND);
    assert_eq!(lab.store.prune(later, &by(true)).await.expect("counted"), 2);
    assert_eq!(lab.database.contents().await, before);
    assert_eq!(lab.store.prune(later, &by(false)).await.expect("pruned"), 2);
    assert_eq!(lab.store.prune(later, &by(false)).await.expect("pruned"), 0, "once");
    for letter in letters(lab, &LetterFilter { partition: Some(1), ..LetterFilter::default() }).await {
        assert_eq!((letter.payload.len(), &letter.key, &*letter.headers.0), (0, &None, "[]"));
        assert_eq!(letter.pruned_at, Some(now()));
        assert_eq!(letter.reason, "malformed_json");
    }
    let pruned = "select reason as line from operator_actions where action = 'prune'";
    assert_eq!(lab.database.line(pruned).await, "a test (2 dead letters)");
    clean(lab).await;
}

/// Another record at the same offset, redriven within the same hour: the ledger takes both.
async fn a_letter_redriven_again_after_truncation_is_accounted_for(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[odds("g", 1, 50)]).await;
    redriver(lab, Some(mend()), false).redrive(&only(lab).await).await.expect("redriven");
    lab.database.change("update dead_letters set status = 'dead'").await;
    let letter = only(lab).await;
    let mut batch = Batch::new(KIND.rows(), 0);
    let value = odds("g", 2, -110).to_string();
    batch.push(0, None, &RawRecord { value: value.as_bytes(), headers: &[], timestamp: Some(now()) });
    let redrive =
        Redrive { letter: &letter, batch: &batch, by: &Resolved { now: now().plus(1), ..by(false) } };
    assert_eq!(lab.store.redrive(&redrive).await.expect("redriven"), Redriven::Applied(APPLIED));
    clean(lab).await;
}

async fn a_redriven_record_that_is_read_again_stays_settled(lab: &Lab) {
    one_bad_price(lab).await;
    redriver(lab, Some(mend()), false).redrive(&only(lab).await).await.expect("redriven");
    let before = only(lab).await;
    let log = LogNow { lineage: lineage(KIND, 0), range: LogRange { low: 0, high: 3 } };
    let order = Order {
        group: "group".into(),
        topic: "odds".into(),
        partition: 0,
        actor: "an operator".into(),
        reason: "a test".into(),
        now: now(),
    };
    lab.store.reset(&order, &log, 0).await.expect("a reset");
    let claim = claim(&lab.store, &request(lineage(KIND, 0))).await;
    let mut line = Line { store: &lab.store, kind: KIND, claim, next: 0, hour: now().hour() };
    let again = line.events(&[odds("g", 1, -110), odds("g", 2, 50), odds("g", 3, -110)]).await;
    assert_eq!((again.dispositions.dead, again.rows.duplicate), (1, 4));
    assert_eq!(only(lab).await, before);
    clean(lab).await;
}

async fn many_letters_are_settled_in_batches(lab: &Lab) {
    Line::open(&lab.store, KIND).await.write(&vec![At::Bytes("{"); 2_001]).await;
    let all = Selected::Matching(LetterFilter::default());
    let before = lab.database.contents().await;
    assert_eq!(lab.store.discard(&all, &by(true)).await.expect("counted"), 2_001);
    assert_eq!(lab.database.contents().await, before);
    assert_eq!(lab.store.discard(&all, &by(false)).await.expect("discarded"), 2_001);
    assert_eq!(lab.store.prune(now().plus(UtcMicros::SECOND), &by(false)).await.expect("pruned"), 2_001);
    for action in ["discard", "prune"] {
        let trail = format!(
            "select from_offset || ' ' || to_offset || ': ' || reason as line from operator_actions \
             where action = '{action}' order by from_offset"
        );
        let mut rows = lab.database.lines(&trail).await;
        rows.sort();
        let expected = [
            "0 1000: a test (1000 dead letters)",
            "1000 2000: a test (1000 dead letters)",
            "2000 2001: a test (1 dead letters)",
        ];
        assert_eq!(rows, expected);
    }
    clean(lab).await;
}

async fn a_letter_that_cannot_be_tried_changes_nothing(lab: &Lab) {
    one_bad_price(lab).await;
    for broken in ["topic = 'elsewhere'", "headers = '7'"] {
        lab.database.change(&format!("update dead_letters set {broken}")).await;
        let before = lab.database.contents().await;
        let outcome = redriver(lab, None, false).redrive(&only(lab).await).await.expect("an answer");
        assert!(matches!(outcome, Outcome::NotTried(_)), "{outcome:?}");
        assert_eq!(lab.database.contents().await, before);
        lab.database.change("update dead_letters set topic = 'odds'").await;
    }
}

async fn a_refused_redrive_leaves_both_reasons(lab: &Lab) {
    one_bad_price(lab).await;
    lab.database.change("update dead_letters set reason = 'too_large'").await;
    redriver(lab, None, false).redrive(&only(lab).await).await.expect("tried");
    let trail = "select action || ': ' || reason as line from operator_actions";
    let expected = "redrive_refused: a test: refused again, before for too_large, now for invalid_field";
    assert_eq!(lab.database.line(trail).await, expected);
}
