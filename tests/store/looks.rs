//! Bounded looks for people who watch: the games that matter now, freshness, offers, movement, waiting letters.

use ledgerline_schema::events::EventKind;
use ledgerline_schema::events::odds::decimal_from_american;
use ledgerline_schema::time::UtcMicros;
use serde_json::{Value, json};

use super::lab::{At, Lab, Line, event, now, odds};

on_both! {
    freshness_is_by_league_and_book_and_knows_odds_without_a_game,
    the_games_nearest_to_now_come_first,
    a_season_announced_at_once_hides_no_game_of_today,
    offers_come_in_order_and_with_a_limit,
    only_the_newest_quotes_are_looked_at,
    waiting_letters_are_grouped_and_settled_ones_are_left_out,
}

fn known(id: &str, league: &str, start: &str) -> Value {
    event(
        "game.v1",
        1,
        json!({
            "game": {"system": "test", "id": id}, "sport": "baseball", "league": league, "home_team": format!("{id} home"),
            "away_team": format!("{id} away"), "commence_time": start,
        }),
    )
}

async fn freshness_is_by_league_and_book_and_knows_odds_without_a_game(lab: &Lab) {
    let mut games = Line::open(&lab.store, EventKind::Game).await;
    games
        .events(&[known("a", "mlb", "2025-11-09T20:00:00Z"), known("b", "mlb", "2025-11-09T21:00:00Z")])
        .await;
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    line.events(&[odds("a", 5, -110), odds("b", 9, -120), odds("a", 3, -115), odds("unknown", 40, 100)])
        .await;
    let report = lab.store.freshness(now()).await.expect("an answer");
    assert!(report.complete);
    let found: Vec<_> = report
        .books
        .iter()
        .map(|book| (&*book.league, &*book.sportsbook, book.games, book.selections, book.newest))
        .collect();
    let at = |second: u32| UtcMicros::parse(&format!("2025-11-09T18:00:{second:02}Z")).ok();
    assert_eq!(found, [("", "book", 1, 2, at(40)), ("mlb", "book", 2, 4, at(9))]);
}

async fn the_games_nearest_to_now_come_first(lab: &Lab) {
    let mut games = Line::open(&lab.store, EventKind::Game).await;
    let starts = [
        ("later", "2025-11-12T20:00:00Z"),
        ("now", "2025-11-09T18:10:00Z"),
        ("past", "2025-11-08T18:00:00Z"),
    ];
    games.events(&starts.map(|(id, start)| known(id, "mlb", start))).await;
    games.events(&[known("without odds", "mlb", "2025-11-09T18:21:00Z")]).await;
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    line.events(&["later", "now", "past", "nobody told"].map(|id| odds(id, 1, -110))).await;
    let found = lab.store.recent_games(now(), 3).await.expect("an answer");
    let names: Vec<&str> = found.iter().map(|game| game.external_id.as_str()).collect();
    assert_eq!(names, ["now", "past", "later"]);
    assert_eq!(found[0].home_team.as_deref(), Some("now home"));
    let all = lab.store.recent_games(now(), 10).await.expect("an answer");
    assert_eq!(all.last().map(|game| &*game.external_id), Some("nobody told"));
}

async fn a_season_announced_at_once_hides_no_game_of_today(lab: &Lab) {
    let mut games = Line::open(&lab.store, EventKind::Game).await;
    games.events(&[known("today", "mlb", "2025-11-09T20:00:00Z")]).await;
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    line.events(&[odds("today", 1, -110)]).await;
    let season: Vec<Value> =
        (0..600).map(|number| known(&format!("far {number}"), "mlb", "2026-06-01T20:00:00Z")).collect();
    games.events(&season).await;
    assert_eq!(lab.store.recent_games(now(), 10).await.expect("an answer").len(), 1);
    assert_eq!(lab.store.freshness(now()).await.expect("an answer").books.len(), 1);
}

async fn offers_come_in_order_and_with_a_limit(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    let mut other = odds("g", 1, -110);
    other["data"]["sportsbook"] = json!("another");
    line.events(&[odds("g", 1, -110), other]).await;
    let game = lab.store.recent_games(now(), 1).await.expect("an answer")[0].id;
    let offers = lab.store.offers(game, 3).await.expect("an answer");
    let found: Vec<_> = offers.iter().map(|offer| (&*offer.sportsbook, &*offer.side)).collect();
    assert_eq!(found, [("another", "away"), ("another", "home"), ("book", "away")]);
    assert!(lab.store.offers(i64::MAX, 3).await.expect("an answer").is_empty());
}

async fn only_the_newest_quotes_are_looked_at(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    let quotes: Vec<Value> = (0..20).map(|second| odds("g", second, 100 + i64::from(second) / 4)).collect();
    line.events(&quotes).await;
    let game = lab.store.recent_games(now(), 1).await.expect("an answer")[0].id;
    let offers = lab.store.offers(game, 10).await.expect("an answer");
    let home = offers.iter().find(|offer| offer.side == "home").expect("the home side").selection_id;
    let blocks = lab.store.recent_movement(home, 6).await.expect("an answer");
    let found: Vec<_> =
        blocks.iter().map(|block| (block.from.to_string()[17..19].to_owned(), block.price)).collect();
    assert_eq!(
        found,
        [
            ("14".to_owned(), Some(decimal_from_american(103))),
            ("16".to_owned(), Some(decimal_from_american(104)))
        ]
    );
    assert_eq!(lab.store.recent_movement(home, 100).await.expect("an answer").len(), 5);
}

async fn waiting_letters_are_grouped_and_settled_ones_are_left_out(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    let mut bad = odds("g", 1, -110);
    bad["data"]["sportsbook"] = json!("");
    line.write(&[At::Bytes("{"), At::Bytes("["), At::Event(bad), At::Event(odds("g", 1, -110))]).await;
    let found = lab.store.waiting_letters(100).await.expect("an answer");
    let groups: Vec<_> = found.iter().map(|group| (&*group.topic, &*group.reason, group.letters)).collect();
    assert_eq!(groups, [("odds", "malformed_json", 2), ("odds", "invalid_field", 1)]);
    lab.database.change("update dead_letters set status = 'discarded' where reason = 'malformed_json'").await;
    assert_eq!(lab.store.waiting_letters(100).await.expect("an answer").len(), 1);
    assert_eq!(lab.store.waiting_letters(0).await.expect("an answer").len(), 0);
}
