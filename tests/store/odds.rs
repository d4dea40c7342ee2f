//! Quotes: an equal one is a duplicate, another value under the same key is a conflict of the whole record.

use ledgerline_schema::events::{EventKind, Reason};
use serde_json::{Value, json};

use super::lab::{At, Lab, Line, event, odds};

on_both! {
    an_equal_quote_is_a_duplicate_within_a_batch,
    an_equal_quote_is_a_duplicate_across_batches,
    an_equal_price_at_a_later_time_is_a_quote_of_its_own,
    a_quote_that_contradicts_a_stored_one_makes_its_record_dead_whole,
    a_quote_that_contradicts_an_earlier_record_of_its_batch_makes_its_record_dead,
    not_offered_contradicts_a_price,
    another_line_under_the_same_key_is_a_conflict,
    lines_of_alternate_outcomes_are_selections_of_their_own,
    prices_and_lines_are_kept_exactly,
    a_batch_of_many_games_and_books_is_interned_once,
}

const KIND: EventKind = EventKind::Odds;

async fn an_equal_quote_is_a_duplicate_within_a_batch(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let rows = line.events(&[odds("g", 1, -110), odds("g", 1, -110)]).await.rows;
    assert_eq!((rows.inserted, rows.duplicate), (2, 2));
}

async fn an_equal_quote_is_a_duplicate_across_batches(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[odds("g", 1, -110)]).await;
    let before = lab.database.view("odds").await;
    for _ in 0..2 {
        let report = line.events(&[odds("g", 1, -110)]).await;
        assert_eq!((report.rows.inserted, report.rows.duplicate, report.dispositions.applied), (0, 2, 1));
    }
    assert_eq!(lab.database.view("odds").await, before);
    let mixed = line.events(&[odds("g", 1, -110), odds("g", 2, -110)]).await.rows;
    assert_eq!((mixed.inserted, mixed.duplicate), (2, 2));
}

async fn an_equal_price_at_a_later_time_is_a_quote_of_its_own(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    assert_eq!(line.events(&[odds("g", 1, -110), odds("g", 2, -110)]).await.rows.inserted, 4);
}

async fn a_quote_that_contradicts_a_stored_one_makes_its_record_dead_whole(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[odds("g", 1, -110)]).await;
    let report = line.events(&[odds("h", 1, -110), odds("g", 1, 120), odds("g", 2, 120)]).await;
    assert_eq!((report.dispositions.applied, report.dispositions.dead), (2, 1));
    assert_eq!((report.rows.inserted, report.rows.duplicate), (4, 0));
    assert_eq!(report.dead[0].record, 1);
    assert_eq!(report.dead[0].rejection.reason, Reason::Conflict);
    let text =
        if lab.database.is_sqlite() { "cast(payload as text)" } else { "convert_from(payload, 'UTF8')" };
    let sql = format!("select record_offset || ' ' || reason || ' ' || {text} as line from dead_letters");
    assert_eq!(lab.database.line(&sql).await, format!("2 conflict {}", odds("g", 1, 120)));
    let stored = "select cast(count(*) as text) as line from odds where record_offset = 2";
    assert_eq!(lab.database.line(stored).await, "0");
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}

async fn a_quote_that_contradicts_an_earlier_record_of_its_batch_makes_its_record_dead(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let report = line.events(&[odds("g", 1, -110), odds("g", 1, 120), odds("g", 1, -110)]).await;
    assert_eq!(report.dead.iter().map(|dead| dead.record).collect::<Vec<_>>(), [1]);
    assert_eq!((report.rows.inserted, report.rows.duplicate), (2, 2));
}

async fn not_offered_contradicts_a_price(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let mut closed = odds("g", 1, -110);
    closed["data"]["market_status"] = json!("closed");
    line.events(std::slice::from_ref(&closed)).await;
    let report = line.events(&[closed, odds("g", 1, -110)]).await;
    assert_eq!((report.rows.duplicate, report.dispositions.dead), (2, 1));
}

async fn another_line_under_the_same_key_is_a_conflict(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let mut moved = odds("g", 1, -110);
    moved["data"]["outcomes"][0]["line"] = json!(-2.5);
    moved["data"]["outcomes"][1]["line"] = json!(2.5);
    assert_eq!(line.events(&[odds("g", 1, -110), moved]).await.dispositions.dead, 1);
}

fn alternates(lines: &[f64]) -> Value {
    let outcome =
        |line: &f64| json!({"side": "home", "alternate": true, "line": line, "price_american": 140});
    event(
        "odds.v1",
        1,
        json!({
            "game": {"system": "test", "id": "g"}, "sportsbook": "book", "market": "spread",
            "outcomes": lines.iter().map(outcome).collect::<Vec<Value>>(),
        }),
    )
}

async fn lines_of_alternate_outcomes_are_selections_of_their_own(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let log = [alternates(&[-3.5, -7.5, 0.0]), alternates(&[-7.5]), odds("g", 1, -110)];
    let rows = line.events(&log).await.rows;
    assert_eq!((rows.inserted, rows.duplicate), (5, 1));
    // Known to the connection or not, they are found again.
    let elsewhere = lab.database.store().await;
    let mut line = Line { store: &elsewhere, ..line };
    assert_eq!(line.events(&log).await.rows.duplicate, 6);
}

async fn prices_and_lines_are_kept_exactly(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let prices = [-1_000_000, -110, -105, -101, 100, 101, 355, 1_000_000];
    let events: Vec<Value> =
        prices.iter().zip(0..).map(|(price, second)| odds("g", second, *price)).collect();
    line.events(&events).await;
    let home = lab.latest("test", "g").await.swap_remove(1);
    assert_eq!((home.selection.side.as_str(), home.line), ("home", Some(-1.5)));
    let moves = lab.store.recent_movement(home.selection.selection_id, 1_000).await.expect("an answer");
    let found: Vec<i64> = moves
        .iter()
        .map(|block| ledgerline_schema::events::odds::american_from_decimal(block.price.expect("a price")))
        .collect();
    assert_eq!(found, prices);
}

async fn a_batch_of_many_games_and_books_is_interned_once(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let log: Vec<At> = (0..600).map(|n| At::Event(odds(&format!("g{}", n / 2), n % 2, -110))).collect();
    assert_eq!(line.write(&log).await.rows.inserted, 1_200);
    let names = "select (select count(*) from game_refs) || ' ' || (select count(*) from selections) as line";
    assert_eq!(lab.database.line(names).await, "300 600");
    let elsewhere = lab.database.store().await;
    let mut line = Line { store: &elsewhere, ..line };
    assert_eq!(line.write(&log).await.rows.duplicate, 1_200);
    assert_eq!(lab.database.line(names).await, "300 600");
}
