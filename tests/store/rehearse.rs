//! A rehearsal says what a batch would change, and changes nothing.

use std::sync::Arc;

use ledgerline_schema::budget::Budget;
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{Claim, Effort, WriteJob, WriteReport};
use serde_json::json;

use super::lab::{At, Lab, Line, analysis, article, batch, game, lineage, now, odds, signal};

on_both! {
    it_tells_what_the_write_then_does,
    it_leaves_no_trace,
    refused_records_are_found_without_a_trace,
}

/// What lies in the log behind the first two events of a kind: new, equal, conflicting, older, unusable.
fn log(kind: EventKind) -> (Vec<At>, Vec<At>) {
    let events = |events: Vec<serde_json::Value>| events.into_iter().map(At::Event).collect::<Vec<_>>();
    let stored = match kind {
        EventKind::Odds => vec![odds("1", 0, -110), odds("1", 1, -110)],
        EventKind::Game => vec![game("1", 9, json!({"v": 1})), game("2", 9, json!({"v": 1}))],
        EventKind::Article => {
            vec![article("https://a.test/1", 9, "old"), article("https://a.test/2", 9, "old")]
        }
        EventKind::Signal => vec![signal("1", 0, "low"), signal("2", 0, "low")],
        EventKind::Analysis => vec![analysis("1", 0, 0.5), analysis("2", 0, 0.5)],
    };
    let then = match kind {
        EventKind::Odds => {
            vec![odds("1", 2, -110), odds("new game", 2, -110), odds("1", 1, -110), odds("1", 0, 150)]
        }
        EventKind::Game => vec![
            game("3", 1, json!({})),
            game("1", 10, json!({"v": 2})),
            game("2", 1, json!({"v": 0})),
            game("2", 9, json!({"v": 1})),
        ],
        EventKind::Article => vec![
            article("https://a.test/3", 1, "new"),
            article("https://a.test/1", 10, "newer"),
            article("https://a.test/2", 1, "older"),
        ],
        EventKind::Signal => vec![signal("3", 0, "low"), signal("2", 0, "low"), signal("1", 0, "high")],
        EventKind::Analysis => vec![analysis("3", 0, 0.5), analysis("2", 0, 0.5), analysis("1", 0, 0.9)],
    };
    let mut then = events(then);
    then.extend([At::Bytes("{"), At::Tombstone, At::Hole]);
    (events(stored), then)
}

async fn rehearse(lab: &Lab, kind: EventKind, from: i64, log: &[At], effort: Effort) -> WriteReport {
    let batch = batch(kind, from, log);
    let claim = Claim {
        group: Arc::from("replay:dry-run"),
        topic: kind.default_topic().into(),
        partition: 0,
        lineage_id: 0,
        epoch: 1,
        next_offset: from,
        exempt_to: 0,
    };
    let (claim, batch, budget) = (&claim, &batch, Budget::unlimited());
    let job = WriteJob { claim, batch, now: now(), hour: now().hour(), effort, budget };
    lab.store.rehearse(&job, &lineage(kind, 0)).await.expect("rehearsed")
}

async fn it_tells_what_the_write_then_does(lab: &Lab) {
    for kind in EventKind::ALL {
        let (stored, then) = log(*kind);
        let mut line = Line::open(&lab.store, *kind).await;
        line.write(&stored).await;
        let told = rehearse(lab, *kind, line.next, &then, Effort::Whole).await;
        let done = line.write(&then).await;
        assert_eq!(
            (told.dispositions, told.rows, told.dead),
            (done.dispositions, done.rows, done.dead),
            "{kind:?}"
        );
        assert!(done.rows.inserted > 0 && done.dispositions.dead > 0, "{kind:?}");
    }
}

/// Everything that is stored, names included.
async fn everything(lab: &Lab) -> (Vec<String>, i64, i64) {
    let names = (lab.database.number_of("selections").await, lab.database.number_of("game_refs").await);
    (lab.database.contents().await, names.0, names.1)
}

async fn it_leaves_no_trace(lab: &Lab) {
    for kind in EventKind::ALL {
        let (stored, then) = log(*kind);
        let mut line = Line::open(&lab.store, *kind).await;
        line.write(&stored).await;
        let before = everything(lab).await;
        for _ in 0..2 {
            rehearse(lab, *kind, line.next, &then, Effort::Whole).await;
        }
        rehearse(lab, *kind, 0, &stored, Effort::Whole).await;
        assert_eq!(everything(lab).await, before, "{kind:?}");
    }
}

async fn refused_records_are_found_without_a_trace(lab: &Lab) {
    let (stored, then) = log(EventKind::Odds);
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    line.write(&stored).await;
    let before = everything(lab).await;
    let isolated = rehearse(lab, EventKind::Odds, line.next, &then, Effort::Isolate).await;
    let whole = rehearse(lab, EventKind::Odds, line.next, &then, Effort::Whole).await;
    assert_eq!((isolated.rows, isolated.dispositions), (whole.rows, whole.dispositions));
    assert_eq!(everything(lab).await, before);
}
