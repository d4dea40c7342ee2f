//! Signals and analyses: append-only by their natural keys. The same again is a duplicate, another content under the same key a
//! conflict, and a list for people has all of them, newest first.

use ledgerline_schema::batch::RowCounts;
use ledgerline_schema::events::EventKind;
use ledgerline_schema::events::betting_analysis::Recommendation;
use ledgerline_schema::events::markets::Market;
use ledgerline_schema::events::sharp_signal::Severity;
use ledgerline_schema::repositories::{AnalysisFilter, FoundSignal, SignalFilter};
use ledgerline_schema::store::GameName;
use ledgerline_schema::time::UtcMicros;
use serde_json::{Value, json};

use super::lab::{At, Lab, Line, analysis, batch, game, signal};

on_both! {
    the_same_again_is_a_duplicate_whatever_its_id_and_its_time,
    another_content_under_the_same_key_is_a_conflict,
    each_part_of_the_key_tells_rows_apart,
    every_field_is_stored,
    the_latest_signals_come_in_pages,
    signals_are_found_by_strength_market_time_and_any_name_of_their_game,
    analyses_are_found_by_confidence_and_what_they_say,
    a_conflict_within_a_batch_leaves_the_first,
}

fn counts(inserted: i64, duplicate: i64) -> RowCounts {
    RowCounts { inserted, duplicate, ..RowCounts::default() }
}

/// The two kinds, each with an event, the same one published again, and one that contradicts it.
fn kinds() -> [(EventKind, Value, Value, Value); 2] {
    let again = |event: &Value, id: &str| {
        let mut again = event.clone();
        again["data"][id] = json!("0193a5b2-7c1e-7bbb-8000-0000000000d1");
        (again["time"], again["source"]) = (json!("2025-11-09T18:20:59Z"), json!("another"));
        again
    };
    let [first, second] = [signal("g", 61, "high"), analysis("g", 61, 0.7)];
    [
        (EventKind::Signal, first.clone(), again(&first, "signal_id"), signal("g", 61, "low")),
        (EventKind::Analysis, second.clone(), again(&second, "analysis_id"), analysis("g", 61, 0.6)),
    ]
}

async fn the_same_again_is_a_duplicate_whatever_its_id_and_its_time(lab: &Lab) {
    for (kind, event, again, _) in kinds() {
        let mut line = Line::open(&lab.store, kind).await;
        let report = line.events(&[event.clone(), again.clone()]).await;
        assert_eq!((report.rows, report.dead.len()), (counts(1, 1), 0), "{kind:?}");
        assert_eq!(line.events(&[again]).await.rows, counts(0, 1), "{kind:?}");
    }
    assert_eq!(lab.database.number_of("readable_signals").await, 1);
    assert_eq!(lab.database.number_of("readable_analyses").await, 1);
}

async fn another_content_under_the_same_key_is_a_conflict(lab: &Lab) {
    for (kind, event, _, other) in kinds() {
        let mut line = Line::open(&lab.store, kind).await;
        line.events(std::slice::from_ref(&event)).await;
        let log = [At::Event(other.clone()), At::Tombstone, At::Event(event.clone())];
        let report = line.write(&log).await;
        let dead: Vec<_> =
            report.dead.iter().map(|dead| (dead.record, dead.rejection.reason.name())).collect();
        assert_eq!((report.rows, dead), (counts(0, 1), vec![(0, "conflict")]), "{kind:?}");
        assert!(report.dead[0].rejection.detail.contains("test:g"), "{}", report.dead[0].rejection);
        // Read again, each record is where it belongs.
        let again = batch(kind, 1, &log);
        let check = lab.store.check_records(line.claim.lineage_id, &again).await.expect("an answer");
        assert_eq!((check.missing.len(), check.differing.len()), (0, 0), "{kind:?}: {check:?}");
        let unread = batch(kind, 9, &[At::Event(other)]);
        let check = lab.store.check_records(line.claim.lineage_id, &unread).await.expect("an answer");
        assert_eq!(check.differing, [9], "{kind:?}");
    }
    let verified = lab.store.verify(None).await.expect("an answer");
    assert!(verified.ok() && verified.fewer_rows.is_empty(), "{verified:?}");
}

async fn a_conflict_within_a_batch_leaves_the_first(lab: &Lab) {
    for (kind, event, again, other) in kinds() {
        let mut line = Line::open(&lab.store, kind).await;
        let report = line.events(&[event, other, again]).await;
        assert_eq!((report.rows, report.dispositions.dead), (counts(1, 1), 1), "{kind:?}");
    }
    assert_eq!(lab.database.line("select severity as line from readable_signals").await, "high");
}

async fn each_part_of_the_key_tells_rows_apart(lab: &Lab) {
    let with = |event: &Value, field: &str, value: Value| {
        let mut event = event.clone();
        *event.pointer_mut(field).expect("a field") = value;
        event
    };
    let mut first = signal("g", 61, "high");
    first["data"]["participant"] = json!("");
    let parts = [
        ("/data/game/id", json!("h")),
        ("/data/game/system", json!("other")),
        ("/data/detector/name", json!("another")),
        ("/data/detector/version", json!("2")),
        ("/data/signal_type", json!("line_freeze")),
        ("/data/participant", json!("Somebody")),
        ("/data/side", json!("away")),
        ("/data/window_end", json!("2025-11-09T18:00:30Z")),
    ];
    let mut events = vec![first.clone()];
    events.extend(parts.into_iter().map(|(field, value)| with(&first, field, value)));
    let mut line = Line::open(&lab.store, EventKind::Signal).await;
    let report = line.events(&events).await;
    assert_eq!((report.rows, report.dead.len()), (counts(9, 0), 0), "{:?}", report.dead);
    // A second within the minute tells nothing apart, and the content does.
    let report = line.events(&[with(&first, "/data/window_end", json!("2025-11-09T18:01:05Z"))]).await;
    assert_eq!(report.dispositions.dead, 1);

    let first = with(&analysis("g", 61, 0.7), "/data/market", json!("other"));
    let parts = [
        ("/data/line", json!(null)),
        ("/data/line", json!(0)),
        ("/data/model/version", json!("2")),
        ("/data/as_of", json!("2025-11-09T18:01:00.5Z")),
    ];
    let mut events = vec![first.clone()];
    events.extend(parts.into_iter().map(|(field, value)| with(&first, field, value)));
    let mut line = Line::open(&lab.store, EventKind::Analysis).await;
    assert_eq!(line.events(&events).await.rows, counts(5, 0));
}

async fn every_field_is_stored(lab: &Lab) {
    for kind in [EventKind::Signal, EventKind::Analysis] {
        let mut line = Line::open(&lab.store, kind).await;
        let samples: Vec<At> = kind
            .samples()
            .into_iter()
            .map(|mut sample| {
                sample["time"] = json!("2025-11-09T18:20:41Z"); // the cases' clock stands still
                if sample["data"]["as_of"].is_string() {
                    let minute = 10 + u8::from(sample["data"]["result"].is_string());
                    sample["data"]["as_of"] = json!(format!("2025-11-09T18:{minute}:00Z"));
                }
                At::Event(sample)
            })
            .collect();
        assert_eq!(line.write(&samples).await.rows, counts(2, 0), "{kind:?}");
    }
    let found = lab.store.signals(&SignalFilter::default(), None, 10).await.expect("an answer").rows;
    let steam = &found[0];
    assert_eq!((&*steam.detector.0, &*steam.detector.1), ("steam-watch", "1.3.0"));
    assert_eq!((steam.lines, steam.prices), ((Some(-1.5), Some(-2.5)), (Some(-110), Some(-108))));
    assert_eq!(steam.magnitude, (Some(1.0), Some("points".into())));
    assert_eq!(steam.signal_id.as_deref(), Some("0193a5b2-7c1e-7bbb-8000-0000000000d1"));
    let evidence: Value = serde_json::from_str(&steam.evidence.0).expect("JSON");
    assert_eq!(evidence["books"], json!(["pinnacle", "draftkings", "fanduel"]));
    assert_eq!((found[1].tickets_pct, found[1].money_pct, found[1].line), (Some(31.0), Some(68.5), None));
    let found = lab.store.analyses(&AnalysisFilter::default(), None, 10).await.expect("an answer").rows;
    let open = found.iter().find(|analysis| analysis.result == "pending").expect("one that is open");
    assert_eq!((open.fair_probability, open.offered_price_american), (0.561, Some(-110)));
    assert!(open.rationale.starts_with("The line"), "{open:?}");
    let inputs: Value = serde_json::from_str(&open.inputs.0).expect("JSON");
    assert_eq!(inputs["signal_ids"], json!(["0193a5b2-7c1e-7bbb-8000-0000000000d1"]));
    assert!(found.iter().any(|analysis| analysis.settled_at.is_some()));
}

fn name(system: &str, id: &str) -> GameName {
    GameName { system: system.into(), id: id.into() }
}

fn ids(found: &[FoundSignal]) -> Vec<&str> {
    found.iter().map(|signal| signal.external_id.as_str()).collect()
}

async fn the_latest_signals_come_in_pages(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Signal).await;
    let events: Vec<Value> =
        (0..7).map(|number| signal(&format!("g{number}"), 60 + number / 2, "high")).collect();
    line.events(&events).await;
    let any = SignalFilter::default();
    let whole = lab.store.signals(&any, None, 100).await.expect("an answer").rows;
    assert_eq!(ids(&whole), ["g6", "g5", "g4", "g3", "g2", "g1", "g0"]);
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = lab.store.signals(&any, after, 3).await.expect("an answer");
        paged.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, whole);
}

async fn signals_are_found_by_strength_market_time_and_any_name_of_their_game(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Signal).await;
    line.events(&[signal("a", 60, "low"), signal("b", 120, "medium"), signal("c", 180, "high")]).await;
    let found = async |filter: SignalFilter| {
        let found = lab.store.signals(&filter, None, 10).await.expect("an answer");
        found.rows.into_iter().map(|signal| signal.external_id).collect::<Vec<_>>()
    };
    let any = SignalFilter::default;
    assert_eq!(found(SignalFilter { min_severity: Some(Severity::Medium), ..any() }).await, ["c", "b"]);
    assert_eq!(found(SignalFilter { min_severity: Some(Severity::High), ..any() }).await, ["c"]);
    assert_eq!(found(SignalFilter { market: Some(Market::Total), ..any() }).await, [""; 0]);
    assert_eq!(found(SignalFilter { market: Some(Market::Spread), ..any() }).await, ["c", "b", "a"]);
    let since = UtcMicros::parse("2025-11-09T18:02:00Z").expect("a time");
    assert_eq!(found(SignalFilter { since: Some(since), ..any() }).await, ["c", "b"]);
    let of = |system: &str, id: &str| SignalFilter { game: Some(name(system, id)), ..any() };
    assert_eq!(found(of("test", "b")).await, ["b"]);
    assert_eq!(found(of("espn", "7")).await, [""; 0]);
    // A game event tells what others call the game.
    let mut event = game("b", 1, json!({}));
    event["data"]["game"]["external_ids"] = json!({"espn": "7"});
    Line::open(&lab.store, EventKind::Game).await.events(&[event]).await;
    assert_eq!(found(of("espn", "7")).await, ["b"]);
}

async fn analyses_are_found_by_confidence_and_what_they_say(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Analysis).await;
    let mut bet = analysis("c", 180, 0.9);
    bet["data"]["recommendation"] = json!("bet");
    line.events(&[analysis("a", 60, 0.5), analysis("b", 120, 0.7), bet]).await;
    let found = async |filter: AnalysisFilter| {
        let found = lab.store.analyses(&filter, None, 10).await.expect("an answer");
        found.rows.into_iter().map(|analysis| analysis.external_id).collect::<Vec<_>>()
    };
    let any = AnalysisFilter::default;
    assert_eq!(found(any()).await, ["c", "b", "a"]);
    assert_eq!(found(AnalysisFilter { min_confidence: Some(0.7), ..any() }).await, ["c", "b"]);
    let said = AnalysisFilter { recommendation: Some(Recommendation::Bet), ..any() };
    assert_eq!(found(said).await, ["c"]);
    let of_game = AnalysisFilter { game: Some(name("test", "a")), ..any() };
    assert_eq!(found(of_game).await, ["a"]);
}
