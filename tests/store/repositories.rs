//! What people ask: filters find what they name, and the pages of every list hold each row once, in order, at any size.

use std::collections::BTreeSet;

use ledgerline_schema::events::EventKind;
use ledgerline_schema::repositories::{DetailsFilter, GameFilter, Page, Role, SelectionFilter, Span};
use ledgerline_schema::store::{DatabaseConfig, GameName, LetterFilter, SCHEMA_VERSION, Store};
use ledgerline_schema::time::UtcMicros;
use serde_json::{Value, json};

use super::lab::{At, Lab, Line, article, event, game, odds};

on_both! {
    games_are_found_by_what_is_asked,
    games_are_found_by_their_details,
    pages_of_games_hold_each_once,
    the_latest_odds_come_in_pages,
    odds_of_all_names_of_a_game_are_its_odds,
    movement_is_the_same_in_pages_of_any_size,
    movement_is_bounded_by_time_and_filter,
    articles_and_letters_come_in_pages,
    positions_come_in_pages,
    the_server_says_what_it_is,
    a_store_for_reads_refuses_writes,
}

fn name(id: &str) -> GameName {
    GameName { system: "test".into(), id: id.into() }
}

fn time(text: &str) -> UtcMicros {
    UtcMicros::parse(text).expect("a time")
}

/// A game with teams, a time and a status.
fn fixture(id: &str, second: u32, fields: Value) -> Value {
    let mut event = game(id, second, json!({}));
    for (name, value) in fields.as_object().expect("an object") {
        event["data"][name] = value.clone();
    }
    event
}

async fn season(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Game).await;
    let details = json!({"venue": {"city": "Boston"}, "round": 3, "night": true, "day": 1, "seat": "7"});
    line.events(&[
        fixture("early", 1, json!({"home_team": "Cubs", "away_team": "Mets", "league": "mlb", "status": "final",
                                   "commence_time": "2025-11-09T10:00:00Z", "home_score": 3, "away_score": 2})),
        fixture("on", 2, json!({"home_team": "Mets", "away_team": "Reds", "league": "mlb", "status": "in_progress",
                                "commence_time": "2025-11-09T18:00:00Z", "details": details})),
        fixture("late", 3, json!({"home_team": "Jets", "away_team": "Bills", "league": "nfl",
                                  "commence_time": "2025-11-10T18:00:00Z"})),
        fixture("some day", 4, json!({"home_team": "Jets", "away_team": "Mets"})),
    ])
    .await;
}

async fn found(lab: &Lab, filter: GameFilter) -> Vec<String> {
    let page = lab.store.games(&filter, None, 100).await.expect("an answer");
    page.rows.into_iter().map(|game| game.names[0].id.clone()).collect()
}

async fn games_are_found_by_what_is_asked(lab: &Lab) {
    season(lab).await;
    let text = |text: &str| Some(text.to_owned());
    let all = GameFilter::default;
    assert_eq!(found(lab, all()).await, ["early", "on", "late", "some day"]);
    let (from, until) = (Some(time("2025-11-09T18:00:00Z")), Some(time("2025-11-10T18:00:00Z")));
    assert_eq!(found(lab, GameFilter { from, until, ..all() }).await, ["on"]);
    assert_eq!(found(lab, GameFilter { team: text("Mets"), ..all() }).await, ["early", "on", "some day"]);
    assert_eq!(found(lab, GameFilter { status: text("final"), ..all() }).await, ["early"]);
    assert_eq!(found(lab, GameFilter { league: text("nfl"), ..all() }).await, ["late"]);
    assert_eq!(found(lab, GameFilter { live: true, ..all() }).await, ["on"]);
    assert_eq!(found(lab, GameFilter { name: Some(name("late")), ..all() }).await, ["late"]);
    assert!(found(lab, GameFilter { name: Some(name("' or 1 = 1 --")), ..all() }).await.is_empty());
    let early = lab.store.game(&name("early")).await.expect("an answer").expect("a game");
    assert_eq!((early.state.home_score, early.state.away_score), (Some(3), Some(2)));
    assert!(lab.store.game(&name("nobody")).await.expect("an answer").is_none());
}

async fn games_are_found_by_their_details(lab: &Lab) {
    season(lab).await;
    let with = async |path: &str, value: &str| {
        let path = path.split('.').map(str::to_owned).collect();
        let details = Some(DetailsFilter { path, value: value.to_owned() });
        found(lab, GameFilter { details, ..GameFilter::default() }).await
    };
    assert_eq!(with("venue.city", "\"Boston\"").await, ["on"]);
    assert_eq!(with("round", "3").await, ["on"]);
    assert_eq!(with("night", "true").await, ["on"]);
    assert!(with("venue.city", "\"New York\"").await.is_empty());
    assert!(with("venue.city.block", "\"Boston\"").await.is_empty());
    assert!(with("round", "4").await.is_empty());
    // A number is equal as a number, a truth is no number, and a text that reads like either is found, too.
    assert_eq!(with("round", "3.0").await, ["on"]);
    assert_eq!(with("seat", "7").await, ["on"]);
    assert!(with("night", "1").await.is_empty());
    assert!(with("day", "true").await.is_empty());
}

/// Every page of a list, one after the other.
async fn pages<T, K>(mut page: impl AsyncFnMut(Option<K>) -> Page<T, K>) -> Vec<T> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let Page { rows: more, next } = page(after).await;
        rows.extend(more);
        after = next;
        if after.is_none() {
            return rows;
        }
    }
}

async fn pages_of_games_hold_each_once(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Game).await;
    // Many that begin at one time, and many that have none.
    let of = |n: u32| match n % 3 {
        0 => json!({}),
        rest => json!({"commence_time": format!("2025-11-09T1{rest}:00:00Z")}),
    };
    let events: Vec<Value> = (0..37).map(|n| fixture(&format!("g{n}"), n, of(n))).collect();
    line.events(&events).await;
    for limit in [1, 7, 36, 37, 38] {
        let games = pages(async |after| {
            lab.store.games(&GameFilter::default(), after, limit).await.expect("an answer")
        })
        .await;
        let ids: BTreeSet<i64> = games.iter().map(|game| game.state.id).collect();
        assert_eq!((games.len(), ids.len()), (37, 37), "pages of {limit}");
        let times: Vec<UtcMicros> =
            games.iter().map(|game| game.state.commence_time.unwrap_or(UtcMicros::LATEST)).collect();
        assert!(times.is_sorted(), "pages of {limit}: {times:?}");
    }
}

/// Quotes of a few books and markets on one game.
async fn board(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    for second in 1..6 {
        let mut events = Vec::new();
        for book in ["betmgm", "draftkings", "fanduel"] {
            for market in ["moneyline", "spread"] {
                let mut event = odds("g", second, 100 + i64::from(second / 2));
                event["data"]["sportsbook"] = json!(book);
                event["data"]["market"] = json!(market);
                if market == "moneyline" {
                    for outcome in 0..2 {
                        event["data"]["outcomes"][outcome]["line"] = Value::Null;
                    }
                }
                events.push(event);
            }
        }
        line.events(&events).await;
    }
}

async fn the_latest_odds_come_in_pages(lab: &Lab) {
    board(lab).await;
    let all = SelectionFilter::default();
    for limit in [1, 5, 12, 100] {
        let rows = pages(async |after| {
            let page = lab.store.latest(&name("g"), &all, after.as_ref(), limit).await;
            page.expect("an answer").expect("a game")
        })
        .await;
        assert_eq!(rows.len(), 12, "pages of {limit}");
        let ids: BTreeSet<i64> = rows.iter().map(|row| row.selection.selection_id).collect();
        assert_eq!(ids.len(), 12);
        assert!(rows.iter().all(|row| row.observed_at == time("2025-11-09T18:00:05Z")));
    }
    let book = SelectionFilter {
        sportsbook: Some("fanduel".into()),
        market: Some("spread".into()),
        ..SelectionFilter::default()
    };
    let page = lab.store.latest(&name("g"), &book, None, 100).await.expect("an answer").expect("a game");
    assert_eq!(page.rows.len(), 2);
    assert!(lab.store.latest(&name("nobody"), &all, None, 100).await.expect("an answer").is_none());
}

async fn odds_of_all_names_of_a_game_are_its_odds(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    line.events(&[odds("g", 1, 100)]).await;
    let mut of_other = odds("x", 2, 100);
    of_other["data"]["game"]["system"] = json!("other");
    line.events(&[of_other]).await;
    let mut games = Line::open(&lab.store, EventKind::Game).await;
    let mut both = game("g", 3, json!({}));
    both["data"]["game"]["external_ids"] = json!({"other": "x"});
    games.events(&[both]).await;
    for limit in [1, 3, 100] {
        for asked in [name("g"), GameName { system: "other".into(), id: "x".into() }] {
            let rows = pages(async |after| {
                let page = lab.store.latest(&asked, &SelectionFilter::default(), after.as_ref(), limit).await;
                page.expect("an answer").expect("a game")
            })
            .await;
            assert_eq!(rows.len(), 4, "{asked}, pages of {limit}");
        }
    }
}

async fn movement_is_the_same_in_pages_of_any_size(lab: &Lab) {
    board(lab).await;
    let all = SelectionFilter::default();
    let mut whole = None;
    for limit in [1, 4, 500] {
        let blocks = pages(async |after| {
            let page = lab.store.movement(&name("g"), &all, Span::default(), after.as_ref(), limit).await;
            page.expect("an answer").expect("a game")
        })
        .await;
        let first = whole.get_or_insert_with(|| blocks.clone());
        assert_eq!(&blocks, first, "pages of {limit}");
    }
    let blocks = whole.expect("blocks");
    // The home side moves at 2 and 4, the away side never.
    assert_eq!(blocks.len(), 6 * 3 + 6);
    let of_one: Vec<_> = blocks.iter().filter(|block| block.selection == blocks[0].selection).collect();
    assert!(of_one.windows(2).all(|pair| pair[0].run.to < pair[1].run.from));
}

async fn movement_is_bounded_by_time_and_filter(lab: &Lab) {
    board(lab).await;
    let filter = SelectionFilter {
        sportsbook: Some("betmgm".into()),
        market: Some("spread".into()),
        side: Some("home".into()),
        period: Some("full_game".into()),
    };
    let span = Span { from: Some(time("2025-11-09T18:00:02Z")), until: Some(time("2025-11-09T18:00:05Z")) };
    let page = lab.store.movement(&name("g"), &filter, span, None, 100).await;
    let blocks = page.expect("an answer").expect("a game").rows;
    let spans: Vec<_> = blocks.iter().map(|block| (block.run.from, block.run.to)).collect();
    let at = |second: u32| time(&format!("2025-11-09T18:00:0{second}Z"));
    assert_eq!(spans, [(at(2), at(3)), (at(4), at(4))]);
}

async fn articles_and_letters_come_in_pages(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Article).await;
    let mut log: Vec<At> =
        (0..9).map(|n| At::Event(article(&format!("https://e.com/{n}"), n, "body"))).collect();
    log.extend((0..5).map(|_| At::Bytes("{")));
    line.write(&log).await;
    for limit in [1, 4, 9, 10] {
        let articles = pages(async |before| {
            lab.store.articles(&Default::default(), before, limit).await.expect("an answer")
        })
        .await;
        assert_eq!(articles.len(), 9, "pages of {limit}");
        assert!(articles.windows(2).all(|pair| pair[0].source_time > pair[1].source_time));
        assert!(articles.iter().all(|article| article.body.is_none()));
        let letters = pages(async |after| {
            lab.store.letter_heads(&LetterFilter::default(), after, limit).await.expect("an answer")
        })
        .await;
        let offsets: Vec<i64> = letters.iter().map(|letter| letter.record_offset).collect();
        assert_eq!(offsets, [9, 10, 11, 12, 13], "pages of {limit}");
        assert!(letters.iter().all(|letter| letter.payload_bytes == 1));
    }
    let first = lab.store.articles(&Default::default(), None, 1).await.expect("an answer").rows[0].id;
    let whole = lab.store.article(first).await.expect("an answer").expect("an article");
    assert_eq!(whole.body.as_deref(), Some("body"));
}

async fn positions_come_in_pages(lab: &Lab) {
    for partition in 0..5 {
        Line::of_partition(&lab.store, EventKind::Odds, partition).await;
    }
    for limit in [1, 2, 5, 6] {
        let rows =
            pages(async |after| lab.store.partition_page(None, None, after, limit).await.expect("an answer"))
                .await;
        let found: Vec<i32> = rows.iter().map(|row| row.partition).collect();
        assert_eq!(found, [0, 1, 2, 3, 4], "pages of {limit}");
    }
    let none = lab.store.partition_page(Some(&"games".to_owned()), None, None, 9).await.expect("an answer");
    assert!(none.rows.is_empty());
}

async fn the_server_says_what_it_is(lab: &Lab) {
    let server = lab.store.server_state().await.expect("an answer");
    let role = if lab.database.is_sqlite() { Role::Embedded } else { Role::Primary };
    assert_eq!((server.role, server.schema_version), (role, SCHEMA_VERSION));
    assert!(!server.version.is_empty());
}

async fn a_store_for_reads_refuses_writes(lab: &Lab) {
    season(lab).await;
    let config = DatabaseConfig::for_url(&lab.database.url);
    let reads = Store::connect_for_reads(&config).await.expect("a store");
    assert_eq!(reads.games(&GameFilter::default(), None, 10).await.expect("an answer").rows.len(), 4);
    assert_eq!(reads.pool_state().max, config.read_connections);
    let line = Line { store: &reads, ..Line::open(&lab.store, EventKind::Odds).await };
    let batch = line.batch(&[At::Event(event("odds.v1", 1, odds("g", 1, 100)["data"].clone()))]);
    let refused = line.try_write(&batch).await.expect_err("a read-only connection");
    let said = refused.to_string();
    assert!(said.contains("read-only") || said.contains("readonly"), "{said}");
}
