//! Valid events of each kind, for `schema samples`, for the documentation, and for the tests that decode them.

use serde_json::{Value, json};

fn event(event_type: &str, id: u32, time: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0",
        "type": event_type,
        "id": format!("0193a5b2-7c1e-7aaa-8000-{id:012x}"),
        "source": "oddsapi-scraper-1",
        "time": time,
        "datacontenttype": "application/json",
        "correlationid": "poll-20251109-1820",
        "scraperversion": "2.4.1",
        "data": data,
    })
}

fn packers_eagles() -> Value {
    json!({"system": "theoddsapi", "id": "e912304de2b2ce35b473ce2ecd3d1502"})
}

/// A spread, a three-way moneyline in decimal prices, a suspended total, and alternate lines.
pub fn odds() -> Vec<Value> {
    let odds = |id, data| event("odds.v1", id, "2025-11-09T18:20:41Z", data);
    vec![
        odds(
            0xa1,
            json!({
                "game": packers_eagles(), "sportsbook": "draftkings", "market": "spread", "period": "full_game",
                "book_updated_at": "2025-11-09T18:20:11Z", "market_status": "open",
                "outcomes": [
                    {"side": "home", "line": -1.5, "price_american": -110},
                    {"side": "away", "line": 1.5, "price_american": -105},
                ],
            }),
        ),
        odds(
            0xa2,
            json!({
                "game": {"system": "theoddsapi", "id": "5f0c2c3e"}, "sportsbook": "pinnacle", "market": "moneyline",
                "outcomes": [
                    {"side": "home", "price_decimal": 2.35},
                    {"side": "draw", "price_decimal": 3.2},
                    {"side": "away", "price_decimal": 3.1},
                ],
            }),
        ),
        odds(
            0xa3,
            json!({
                "game": packers_eagles(), "sportsbook": "fanduel", "market": "total", "market_status": "suspended",
                "outcomes": [{"side": "over", "line": 45.5}, {"side": "under", "line": 45.5}],
            }),
        ),
        odds(
            0xa4,
            json!({
                "game": packers_eagles(), "sportsbook": "draftkings-nj", "market": "spread",
                "outcomes": [
                    {"side": "home", "alternate": true, "line": -3.5, "price_american": 140},
                    {"side": "home", "alternate": true, "line": -7.5, "price_american": 260},
                ],
            }),
        ),
    ]
}

/// A scheduled game with a link to another system, and a final one.
pub fn games() -> Vec<Value> {
    let game = |id, time, data| event("game.v1", id, time, data);
    vec![
        game(
            0xb1,
            "2025-11-09T18:20:41Z",
            json!({
                "game": {"system": "theoddsapi", "id": "e912304de2b2ce35b473ce2ecd3d1502",
                         "external_ids": {"espn": "401772971"}},
                "sport": "american_football", "league": "nfl",
                "home_team": "Green Bay Packers", "away_team": "Philadelphia Eagles",
                "commence_time": "2025-11-11T01:15:00Z", "status": "scheduled",
                "home_score": null, "away_score": null, "details": {},
            }),
        ),
        game(
            0xb2,
            "2025-11-11T04:20:00Z",
            json!({
                "game": {"system": "espn", "id": "401772971"},
                "sport": "american_football", "league": "nfl", "status": "final",
                "home_team": "Green Bay Packers", "away_team": "Philadelphia Eagles",
                "home_score": 7, "away_score": 10, "details": {"venue": "Lambeau Field"},
            }),
        ),
    ]
}

/// One article.
pub fn articles() -> Vec<Value> {
    vec![event(
        "article.v1",
        0xc1,
        "2025-11-09T18:21:00Z",
        json!({
            "url": "https://example.com/nfl/injury-report?utm_source=x",
            "title": "Injury report, week 10",
            "summary": "Who is out on Monday.",
            "body": "The starting left tackle did not practise.",
            "published_at": "2025-11-09T17:50:00Z",
            "authors": ["A. Writer"], "language": "en", "tags": ["nfl"],
        }),
    )]
}
