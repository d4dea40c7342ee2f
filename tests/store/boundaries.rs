//! Where a batch begins and ends is an accident of load and of failures: what is stored, and what is counted, never depends on it.

use ledgerline_schema::batch::{Dispositions, RowCounts};
use ledgerline_schema::events::EventKind;
use serde_json::{Value, json};

use super::lab::{At, Lab, Line, article, game, odds};

on_both! {
    quotes_do_not_depend_on_where_batches_end,
    games_do_not_depend_on_where_batches_end,
    articles_do_not_depend_on_where_batches_end,
}

const DEAD: &str = "select record_offset || ' ' || reason as line from dead_letters";

/// Numbers that look random and are the same in every run.
fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let step = |state: &u64| {
        Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
    };
    std::iter::successors(Some(seed), step).skip(1).map(|state| state >> 33)
}

/// A log of these events with a few bad records, tombstones and holes between them.
fn log(events: impl Iterator<Item = Value>) -> Vec<At> {
    let between = [None, Some(At::Hole), None, Some(At::Bytes("{")), None, Some(At::Tombstone), None];
    let pairs = events.zip(between.into_iter().cycle());
    pairs.flat_map(|(event, next)| std::iter::once(At::Event(event)).chain(next)).collect()
}

/// Writes the log in batches of that many offsets; answers the sums.
async fn write(lab: &Lab, kind: EventKind, log: &[At], offsets: usize) -> (Dispositions, RowCounts) {
    let mut line = Line::open(&lab.store, kind).await;
    let (mut dispositions, mut rows) = (Dispositions::default(), RowCounts::default());
    for part in log.chunks(offsets) {
        let report = line.write(part).await;
        dispositions.add(&report.dispositions);
        rows.add(&report.rows);
    }
    let verified = lab.store.verify(None).await.expect("an answer");
    assert!(verified.ok() && verified.fewer_rows.is_empty(), "{verified:?}");
    (dispositions, rows)
}

async fn compare(lab: &Lab, kind: EventKind, log: &[At], view: &str, more: &str) {
    let whole = write(lab, kind, log, log.len()).await;
    for offsets in [1, 2, 7, 25] {
        let parts = lab.twin().await;
        assert_eq!(write(&parts, kind, log, offsets).await, whole, "batches of {offsets}");
        assert_eq!(parts.database.view(view).await, lab.database.view(view).await, "batches of {offsets}");
        assert_eq!(parts.database.lines(more).await, lab.database.lines(more).await, "batches of {offsets}");
        parts.database.drop_now().await;
    }
}

async fn quotes_do_not_depend_on_where_batches_end(lab: &Lab) {
    let draw: Vec<u64> = numbers(1).take(180).collect();
    let events =
        draw.chunks(3).map(|n| odds(&format!("g{}", n[0] % 4), (n[1] % 6) as u32, 100 + (n[2] % 2) as i64));
    compare(lab, EventKind::Odds, &log(events), "readable_odds", DEAD).await;
}

async fn games_do_not_depend_on_where_batches_end(lab: &Lab) {
    let draw: Vec<u64> = numbers(2).take(180).collect();
    let events = draw.chunks(3).map(|n| {
        let mut event = game(&format!("g{}", n[0] % 4), (n[1] % 6) as u32, json!({"state": n[2] % 3}));
        if n[2] % 5 == 0 {
            event["data"]["game"]["external_ids"] =
                json!({"other": format!("o{}", n[0] % 3), "test": format!("g{}", n[1] % 5)});
        }
        event
    });
    let conflicts = "select r.system || ' ' || r.external_id || ' ' || c.record_offset as line from game_conflicts c \
                     join game_refs r on r.id = c.game_ref_id";
    compare(lab, EventKind::Game, &log(events), "readable_games", conflicts).await;
}

async fn articles_do_not_depend_on_where_batches_end(lab: &Lab) {
    let draw: Vec<u64> = numbers(3).take(180).collect();
    let events = draw.chunks(3).map(|n| {
        let url = format!("https://example.com/{}?utm_source={}", n[0] % 4, n[1]);
        article(&url, (n[1] % 6) as u32, &format!("body {}", n[2] % 3))
    });
    compare(lab, EventKind::Article, &log(events), "readable_articles", DEAD).await;
}
