//! Games: the newest version wins whatever the order of arrival; events link refs and never merge two games.

use ledgerline_schema::events::EventKind;
use serde_json::{Value, json};

use super::lab::{At, Lab, Line, event, game};

on_both! {
    the_newest_version_wins_whatever_the_order,
    inserted_updated_duplicate_and_stale_are_counted,
    a_confirmed_state_stays_newer_than_a_late_older_one,
    the_whole_state_is_replaced_fields_left_out_included,
    an_event_links_what_other_systems_call_the_game,
    an_event_under_a_linked_name_updates_the_same_game,
    an_event_never_merges_two_games,
    a_conflict_is_noted_once,
    odds_that_came_before_their_game_hang_on_it,
}

const KIND: EventKind = EventKind::Game;

/// Versions of one game in their total order but for the last two, which only their content tells apart.
fn versions(id: &str) -> Vec<Value> {
    let with = |second, sequence: Value, state: &str| {
        let mut event = game(id, second, json!({"state": state}));
        event["data"]["sequence"] = sequence;
        event
    };
    vec![
        with(1, Value::Null, "first"),
        with(2, json!(-1), "second"),
        with(2, json!(3), "third, one way"),
        with(2, json!(3), "third, another way"),
    ]
}

fn permutations(items: &[Value]) -> Vec<Vec<Value>> {
    if items.len() <= 1 {
        return vec![items.to_vec()];
    }
    let without = |index: usize| [&items[..index], &items[index + 1..]].concat();
    let all = (0..items.len()).flat_map(|first| {
        permutations(&without(first)).into_iter().map(move |rest| [vec![items[first].clone()], rest].concat())
    });
    all.collect()
}

async fn the_newest_version_wins_whatever_the_order(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let orders = permutations(&versions("x")).len();
    for order in 0..orders {
        // Once within one batch, once over many.
        let whole = permutations(&versions(&format!("whole-{order}"))).swap_remove(order);
        line.events(&whole).await;
        for event in permutations(&versions(&format!("parts-{order}"))).swap_remove(order) {
            line.events(&[event]).await;
        }
    }
    let text = if lab.database.is_sqlite() { "details" } else { "details::text" };
    let states = lab.database.lines(&format!("select distinct {text} || sequence as line from games")).await;
    assert_eq!(states.len(), 1, "{states:?}");
    assert!(states[0].contains("third") && states[0].ends_with('3'), "{states:?}");
    let games = lab.database.line("select cast(count(*) as text) as line from games").await;
    assert_eq!(games, (2 * orders).to_string());
}

async fn inserted_updated_duplicate_and_stale_are_counted(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let [old, new] = [game("g", 1, json!({"state": 1})), game("g", 2, json!({"state": 2}))];
    let log = [new.clone(), old.clone(), new.clone(), game("g", 3, json!({"state": 3}))];
    let rows = line.events(&log).await.rows;
    assert_eq!((rows.inserted, rows.updated, rows.duplicate, rows.stale), (1, 1, 1, 1));
    let rows = line.events(&[old, new]).await.rows;
    assert_eq!((rows.inserted, rows.updated, rows.duplicate, rows.stale), (0, 0, 0, 2));
}

async fn a_confirmed_state_stays_newer_than_a_late_older_one(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let [one, two] = [json!({"state": 1}), json!({"state": 2})];
    line.events(&[game("g", 1, one.clone())]).await;
    assert_eq!(line.events(&[game("g", 9, one.clone())]).await.rows.duplicate, 1);
    let before = lab.database.view("readable_games").await;
    assert_eq!(line.events(&[game("g", 5, two)]).await.rows.stale, 1);
    assert_eq!(line.events(&[game("g", 3, one)]).await.rows.duplicate, 1);
    assert_eq!(lab.database.view("readable_games").await, before);
}

async fn the_whole_state_is_replaced_fields_left_out_included(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let mut full = game("g", 1, json!({"venue": "here"}));
    full["data"]["home_team"] = json!("A");
    full["data"]["home_score"] = json!(3);
    line.events(&[full, event("game.v1", 2, json!({"game": {"system": "test", "id": "g"}}))]).await;
    let text = if lab.database.is_sqlite() { "details" } else { "details::text" };
    let sql = format!(
        "select coalesce(home_team, '-') || coalesce(home_score, -1) || status || {text} as line from games"
    );
    assert_eq!(lab.database.line(&sql).await, "--1unknown{}");
}

/// An event of one system that says what another calls the game.
fn linking(system: &str, id: &str, second: u32, others: Value) -> Value {
    event(
        "game.v1",
        second,
        json!({"game": {"system": system, "id": id, "external_ids": others},
                                    "details": {"of": system, "at": second}}),
    )
}

const REFS: &str = "select r.system || ':' || r.external_id || ' ' || \
                    (select count(*) from game_refs o where o.game_id = r.game_id) as line from game_refs r";

async fn an_event_links_what_other_systems_call_the_game(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[linking("aa", "1", 1, json!({"bb": "1", "cc": "1", "aa": "1"}))]).await;
    assert_eq!(lab.database.lines(REFS).await, ["aa:1 3", "bb:1 3", "cc:1 3"]);
    line.events(&[linking("dd", "1", 1, json!({"cc": "1"}))]).await;
    assert_eq!(lab.database.lines(REFS).await, ["aa:1 4", "bb:1 4", "cc:1 4", "dd:1 4"]);
    assert_eq!(lab.database.line("select cast(count(*) as text) as line from games").await, "1");
}

async fn an_event_under_a_linked_name_updates_the_same_game(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[linking("aa", "1", 1, json!({"bb": "1"}))]).await;
    let rows = line.events(&[linking("bb", "1", 2, json!({}))]).await.rows;
    assert_eq!((rows.inserted, rows.updated), (0, 1));
}

async fn an_event_never_merges_two_games(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[linking("aa", "1", 1, json!({})), linking("bb", "1", 1, json!({}))]).await;
    let report = line.events(&[linking("aa", "1", 2, json!({"bb": "1", "cc": "1"}))]).await;
    assert_eq!((report.dispositions.applied, report.rows.updated), (1, 1));
    assert_eq!(lab.database.lines(REFS).await, ["aa:1 2", "bb:1 1", "cc:1 2"]);
    let conflict = "select r.system || ' ' || m.system || ' ' || c.record_offset as line from game_conflicts c \
                    join game_refs r on r.id = c.game_ref_id join game_refs m on m.game_id = c.game_id where m.system = 'aa'";
    assert_eq!(lab.database.line(conflict).await, "bb aa 2");
}

async fn a_conflict_is_noted_once(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[linking("aa", "1", 1, json!({})), linking("bb", "1", 1, json!({}))]).await;
    for second in 2..5 {
        let event = linking("aa", "1", second, json!({"bb": "1"}));
        line.events(&[event.clone(), event]).await;
    }
    assert_eq!(lab.database.view("game_conflicts").await.len(), 1);
}

async fn odds_that_came_before_their_game_hang_on_it(lab: &Lab) {
    let mut odds = Line::open(&lab.store, EventKind::Odds).await;
    odds.write(&[At::Event(super::lab::odds("g", 1, -110))]).await;
    let mut games = Line::open(&lab.store, KIND).await;
    let rows = games.events(&[game("g", 2, json!({}))]).await.rows;
    assert_eq!(rows.inserted, 1);
    let joined = "select cast(count(*) as text) as line from odds o join selections s on s.id = o.selection_id \
                  join game_refs r on r.id = s.game_ref_id join games g on g.id = r.game_id";
    assert_eq!(lab.database.line(joined).await, "2");
}
