//! Snapshots written by hand, in every shape that the feed has.

use ledgerline_schema::events::Reason;
use serde_json::{Value, json};

use super::*;

fn snapshot(markets: Value) -> Value {
    json!({"captured_at": "2025-11-09T18:20:41Z", "events": [{
        "id": "e912", "sport_key": "americanfootball_nfl", "commence_time": "2025-11-11T01:15:00Z",
        "home_team": "Green Bay Packers", "away_team": "Philadelphia Eagles",
        "bookmakers": [{"key": "draftkings", "last_update": "2025-11-09T18:20:11Z", "markets": markets}],
    }]})
}

fn converted(snapshot: &Value) -> Converted {
    convert(snapshot.to_string().as_bytes()).unwrap()
}

fn refused(snapshot: &Value) -> Rejection {
    convert(snapshot.to_string().as_bytes()).unwrap_err()
}

fn data(record: &Outgoing) -> Value {
    serde_json::from_slice::<Value>(&record.value).unwrap()["data"].clone()
}

/// The `data` of the odds of one market.
fn odds(market: Value) -> Vec<Value> {
    converted(&snapshot(json!([market]))).records[1..].iter().map(data).collect()
}

#[test]
fn a_game_comes_first_then_its_markets() {
    let line = snapshot(json!([
        {"key": "h2h", "outcomes": [
            {"name": "Philadelphia Eagles", "price": 100}, {"name": "Green Bay Packers", "price": -120}]},
        {"key": "spreads", "last_update": "2025-11-09T18:20:10Z", "outcomes": [
            {"name": "Green Bay Packers", "price": -110, "point": -1.5},
            {"name": "Philadelphia Eagles", "price": -105, "point": 1.5}]},
    ]));
    let records = converted(&line).records;
    let quotes: Vec<_> =
        records.iter().map(|record| (record.kind, record.key.as_str(), record.quotes)).collect();
    let key = "theoddsapi:e912";
    assert_eq!(quotes, [(EventKind::Game, key, 0), (EventKind::Odds, key, 2), (EventKind::Odds, key, 2)]);
    assert_eq!(
        data(&records[0]),
        json!({
            "game": {"system": "theoddsapi", "id": "e912"}, "sport": "american_football", "league": "nfl",
            "home_team": "Green Bay Packers", "away_team": "Philadelphia Eagles",
            "commence_time": "2025-11-11T01:15:00Z", "status": "scheduled",
        })
    );
    assert_eq!(data(&records[1])["book_updated_at"], "2025-11-09T18:20:11Z");
    assert_eq!(
        data(&records[2]),
        json!({
            "game": {"system": "theoddsapi", "id": "e912"}, "sportsbook": "draftkings", "market": "spread",
            "period": "full_game", "book_updated_at": "2025-11-09T18:20:10Z",
            "outcomes": [
                {"side": "home", "line": -1.5, "price_american": -110},
                {"side": "away", "line": 1.5, "price_american": -105}],
        })
    );
    assert_eq!(converted(&line).records, records, "converting again gives the same bytes");
}

#[test]
fn a_started_game_has_an_unknown_status() {
    let mut line = snapshot(json!([]));
    line["events"][0]["commence_time"] = "2025-11-09T18:00:00Z".into();
    assert_eq!(data(&converted(&line).records[0])["status"], "unknown");
}

#[test]
fn the_historical_shapes_are_read_too() {
    let mut line = snapshot(json!([]));
    let event = line["events"][0].take();
    let historical =
        json!({"timestamp": "2025-11-09T18:20:41Z", "previous_timestamp": null, "data": [event]});
    assert_eq!(converted(&historical).records.len(), 1);
    let of_one_event = json!({"timestamp": "2025-11-09T18:20:41Z", "data": historical["data"][0]});
    assert_eq!(converted(&of_one_event), converted(&historical));
    for line in [json!([event]), json!({"events": []})] {
        assert!(refused(&line).detail.starts_with("captured_at: missing"));
    }
    assert_eq!(convert(b"{").unwrap_err().reason, Reason::MalformedJson);
}

#[test]
fn one_decimal_price_makes_the_response_decimal() {
    let market = |a: Value, b: Value| {
        json!({"key": "h2h", "outcomes": [
        {"name": "Green Bay Packers", "price": a}, {"name": "Philadelphia Eagles", "price": b}]})
    };
    let decimal = odds(market(json!(1.01), json!(101)));
    assert_eq!(decimal[0]["outcomes"][1], json!({"side": "away", "price_decimal": 101.0}));
    assert_eq!(odds(market(json!(2), Value::Null))[0]["outcomes"][0]["price_decimal"], json!(2.0));
    assert_eq!(odds(market(json!(101), json!(100)))[0]["outcomes"][0]["price_american"], json!(101));
    assert!(refused(&snapshot(json!([market(json!(1.91), json!(-110))]))).detail.contains("in one response"));
    assert!(refused(&snapshot(json!([market(json!(0), json!(-110))]))).detail.contains("price_american"));
}

#[test]
fn several_lines_of_a_side_are_alternates() {
    let lines = odds(json!({"key": "totals", "outcomes": [
        {"name": "Over", "price": -110, "point": 45.5}, {"name": "Under", "price": -110, "point": 45.5},
        {"name": "Over", "price": 120, "point": 48.5}, {"name": "Under", "price": -140, "point": 48.5}]}));
    assert_eq!(lines[0]["outcomes"].as_array().unwrap().len(), 4);
    assert_eq!(
        lines[0]["outcomes"][3],
        json!({"side": "under", "alternate": true, "line": 48.5, "price_american": -140})
    );
}

#[test]
fn the_totals_of_two_teams_are_two_events() {
    let outcome =
        |name: &str, team: &str| json!({"name": name, "description": team, "price": -110, "point": 22.5});
    let events = odds(json!({"key": "team_totals", "outcomes": [
        outcome("Over", "Green Bay Packers"), outcome("Over", "Philadelphia Eagles"),
        outcome("Under", "Green Bay Packers"), outcome("Under", "Philadelphia Eagles")]}));
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["outcomes"][1]["participant"], "Green Bay Packers");
    assert_eq!(events[0]["outcomes"][1]["side"], "under");
}

#[test]
fn props_of_one_player_are_told_apart() {
    let prop = |key: &str, name: &str| {
        odds(json!({"key": key, "outcomes": [
        {"name": name, "description": "A. Player", "price": -110, "point": 4.5}]}))[0]["outcomes"][0]
            .clone()
    };
    let points = json!({
        "side": "over", "participant": "player_points: A. Player", "line": 4.5, "price_american": -110});
    assert_eq!(prop("player_points", "Over"), points);
    assert_eq!(prop("player_assists", "Over")["participant"], "player_assists: A. Player");
    assert_eq!(prop("player_points_alternate", "Over")["alternate"], true);
}

#[test]
fn an_unknown_market_is_kept_and_reported() {
    let line = snapshot(json!([{"key": "totals_corners", "outcomes": [
        {"name": "Over", "price": 150, "point": 9.5}]}]));
    let converted = converted(&line);
    assert_eq!(converted.unknown_markets, ["totals_corners"]);
    let expected = json!({
        "side": "over", "participant": "totals_corners", "alternate": true, "line": 9.5, "price_american": 150});
    assert_eq!(data(&converted.records[1])["outcomes"][0], expected);
}

#[test]
fn outrights_need_no_teams() {
    let mut line = snapshot(json!([{"key": "outrights", "outcomes": [
        {"name": "A. Golfer", "price": 1200}, {"name": "B. Golfer", "price": 1400}]}]));
    line["events"][0]["home_team"] = Value::Null;
    line["events"][0]["away_team"] = Value::Null;
    assert_eq!(data(&converted(&line).records[1])["outcomes"][0]["participant"], "A. Golfer");
}

#[test]
fn a_refusal_names_event_book_and_market() {
    let stranger = json!([{"key": "h2h", "outcomes": [{"name": "Packers", "price": 100}]}]);
    let rejection = refused(&snapshot(stranger));
    assert!(
        rejection.detail.starts_with("event e912, book draftkings, market h2h: name: \"Packers\""),
        "{rejection}"
    );
    let quarter = json!([{"key": "totals", "outcomes": [{"name": "Over", "price": 100, "point": 45.1}]}]);
    assert!(refused(&snapshot(quarter)).detail.ends_with("outcomes[0].line: not a multiple of 0.25"));
}

proptest::proptest! {
    #[test]
    fn every_american_price_comes_through(price in 100_i64..=1_000_000, negative: bool) {
        let price = if negative { -price } else { price };
        let odds = odds(json!({"key": "h2h", "outcomes": [{"name": "Green Bay Packers", "price": price}]}));
        proptest::prop_assert_eq!(&odds[0]["outcomes"][0]["price_american"], &json!(price));
    }
}
