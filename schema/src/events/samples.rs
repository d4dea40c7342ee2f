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

/// A steam move on a spread, and money against tickets on a moneyline with the least that there has to be.
pub fn signals() -> Vec<Value> {
    let signal = |id, data| event("sharp_signal.v1", id, "2025-11-09T18:20:41Z", data);
    vec![
        signal(
            0xd1,
            json!({
                "signal_id": "0193a5b2-7c1e-7bbb-8000-0000000000d1",
                "game": packers_eagles(), "market": "spread", "period": "full_game", "side": "home", "line": -2.5,
                "signal_type": "steam_move", "detected_at": "2025-11-09T18:20:38Z",
                "window_start": "2025-11-09T18:18:00Z", "window_end": "2025-11-09T18:20:30Z",
                "trigger_book": "pinnacle", "books": ["pinnacle", "draftkings", "fanduel"],
                "line_from": -1.5, "line_to": -2.5, "price_from": -110, "price_to": -108,
                "magnitude": 1.0, "magnitude_unit": "points", "confidence": 0.82, "severity": "high",
                "detector": {"name": "steam-watch", "version": "1.3.0"},
                "evidence_event_ids": ["0193a5b2-7c1e-7aaa-8000-0000000000a1"],
                "expires_at": "2025-11-09T19:20:38Z",
            }),
        ),
        signal(
            0xd2,
            json!({
                "game": {"system": "theoddsapi", "id": "5f0c2c3e"}, "market": "moneyline", "side": "away",
                "signal_type": "money_ticket_split", "detected_at": "2025-11-09T18:20:00Z",
                "window_start": "2025-11-09T12:00:00Z", "window_end": "2025-11-09T18:20:00Z",
                "tickets_pct": 31, "money_pct": 68.5, "severity": "medium",
                "detector": {"name": "splits", "version": "7"},
            }),
        ),
    ]
}

/// A bet that is open, and the same one settled: a later version of it.
pub fn analyses() -> Vec<Value> {
    let analysis = |id, time, data| event("betting_analysis.v1", id, time, data);
    let bet = |as_of: &str| {
        json!({
            "game": packers_eagles(), "market": "spread", "period": "full_game", "side": "home", "line": -1.5,
            "as_of": as_of, "model": {"name": "elo-margin", "version": "2025.11"},
            "fair_probability": 0.561, "fair_price_american": -128,
            "sportsbook": "draftkings", "offered_price_american": -110, "vig_method": "power",
            "edge": 0.071, "kelly_fraction": 0.078, "stake_units": 1.5,
            "recommendation": "bet", "confidence": 0.74,
        })
    };
    let mut open = bet("2025-11-09T18:20:41Z");
    open["analysis_id"] = json!("0193a5b2-7c1e-7ccc-8000-0000000000e1");
    open["rationale"] = json!("The line has not followed the injury report yet.");
    open["inputs"] = json!({
        "odds_event_ids": ["0193a5b2-7c1e-7aaa-8000-0000000000a1"], "article_keys": [],
        "signal_ids": ["0193a5b2-7c1e-7bbb-8000-0000000000d1"],
    });
    let mut settled = bet("2025-11-11T04:20:00Z");
    settled["result"] = json!("lost");
    settled["settled_at"] = json!("2025-11-11T04:20:00Z");
    vec![analysis(0xe1, "2025-11-09T18:20:41Z", open), analysis(0xe2, "2025-11-11T04:20:41Z", settled)]
}
