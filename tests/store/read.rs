//! Reads for people: counts, latest odds, line movement.

use ledgerline_schema::events::EventKind;
use ledgerline_schema::events::odds::decimal_from_american;
use ledgerline_schema::time::UtcMicros;
use serde_json::json;

use super::lab::{At, Lab, Line, odds};

on_both! {
    the_latest_odds_are_those_observed_last_not_those_that_came_last,
    a_game_that_nobody_named_has_no_odds,
    movement_is_blocks_of_equal_quotes,
    what_is_not_offered_is_a_block_too,
    every_table_is_counted,
    the_positions_of_a_topic_are_listed,
}

async fn written<'l>(lab: &'l Lab, quotes: &[(u32, i64)]) -> Line<'l> {
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    for (second, price) in quotes {
        line.events(&[odds("g", *second, *price)]).await;
    }
    line
}

fn at(second: u32) -> UtcMicros {
    UtcMicros::parse(&format!("2025-11-09T18:00:{second:02}Z")).expect("a time")
}

async fn the_latest_odds_are_those_observed_last_not_those_that_came_last(lab: &Lab) {
    let mut line = written(lab, &[(1, -110), (9, 130), (5, 120)]).await;
    line.events(&[odds("other", 30, 400)]).await;
    let latest = lab.latest("test", "g").await;
    let found: Vec<_> = latest
        .iter()
        .map(|quote| (quote.selection.side.as_str(), quote.observed_at, quote.price, quote.line))
        .collect();
    let away = ("away", at(9), Some(decimal_from_american(-105)), Some(1.5));
    assert_eq!(found, [away, ("home", at(9), Some(2.3), Some(-1.5))]);
    let home = &latest[1].selection;
    let names = [&home.sportsbook, &home.market, &home.period, &home.participant];
    assert_eq!((names.map(String::as_str), home.alternate), (["book", "spread", "full_game", ""], false));
}

async fn a_game_that_nobody_named_has_no_odds(lab: &Lab) {
    written(lab, &[(1, -110)]).await;
    assert!(lab.latest("test", "h").await.is_empty());
    assert!(lab.latest("other", "g").await.is_empty());
    assert!(lab.store.recent_movement(i64::MAX, 1_000).await.expect("an answer").is_empty());
}

async fn home(lab: &Lab) -> i64 {
    let latest = lab.latest("test", "g").await;
    latest.iter().find(|quote| quote.selection.side == "home").expect("the home side").selection.selection_id
}

async fn movement_is_blocks_of_equal_quotes(lab: &Lab) {
    written(lab, &[(5, 110), (1, 100), (3, 110), (2, 100), (7, 100)]).await;
    let blocks = lab.store.recent_movement(home(lab).await, 1_000).await.expect("an answer");
    let found: Vec<_> = blocks.iter().map(|block| (block.from, block.to, block.price, block.line)).collect();
    let line = Some(-1.5);
    assert_eq!(
        found,
        [
            (at(1), at(2), Some(2.0), line),
            (at(3), at(5), Some(decimal_from_american(110)), line),
            (at(7), at(7), Some(2.0), line),
        ]
    );
}

async fn what_is_not_offered_is_a_block_too(lab: &Lab) {
    let mut line = written(lab, &[(1, 100), (9, 100)]).await;
    let mut suspended = [odds("g", 4, 100), odds("g", 6, 300)];
    for event in &mut suspended {
        event["data"]["market_status"] = json!("suspended");
    }
    line.events(&suspended).await;
    let blocks = lab.store.recent_movement(home(lab).await, 1_000).await.expect("an answer");
    let prices: Vec<_> = blocks.iter().map(|block| block.price).collect();
    assert_eq!(prices, [Some(2.0), None, Some(2.0)]);
}

async fn every_table_is_counted(lab: &Lab) {
    let mut line = written(lab, &[(1, -110), (2, -110)]).await;
    line.write(&[At::Bytes("{")]).await;
    let counts = lab.store.table_counts().await.expect("an answer");
    let found: Vec<_> = counts.iter().map(|table| (table.name.as_str(), table.rows)).collect();
    let expected = [
        ("games", 0),
        ("game_refs", 1),
        ("selections", 2),
        ("odds", 4),
        ("articles", 0),
        ("alerts", 0),
        ("sharp_signals", 0),
        ("betting_analyses", 0),
        ("dead_letters", 1),
    ];
    assert_eq!(found, expected);
}

async fn the_positions_of_a_topic_are_listed(lab: &Lab) {
    let line = written(lab, &[(1, -110), (2, -110)]).await;
    let found = lab.store.partitions(Some("odds")).await.expect("an answer");
    let found: Vec<_> =
        found.iter().map(|row| (&*row.group, row.partition, row.lineage_id, row.next_offset)).collect();
    assert_eq!(found, [("group", 0, line.claim.lineage_id, 2)]);
    assert!(lab.store.partitions(Some("games")).await.expect("an answer").is_empty());
}
