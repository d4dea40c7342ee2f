//! Merging two games: all names lead to the one that stays, the newest state stands, nothing is deleted, and a trail is left.

use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{GameName, Merge, Merged, StoreError};
use serde_json::{Value, json};

use super::lab::{Lab, Line, game, now};

on_both! {
    the_names_lead_to_the_game_that_stays,
    the_newest_state_of_the_two_stands,
    a_dry_run_leaves_nothing,
    what_cannot_be_merged_is_told,
    a_conflict_is_settled_by_it,
    a_conflict_with_a_game_that_was_merged_is_one_with_the_game_that_stays,
}

fn name(id: &str) -> GameName {
    GameName { system: "test".into(), id: id.into() }
}

async fn merge(lab: &Lab, keep: &str, merge: &str, dry_run: bool) -> Result<Merged, StoreError> {
    let (keep, merge) = (name(keep), name(merge));
    let order = Merge {
        keep,
        merge,
        actor: "an operator".into(),
        reason: "the same game".into(),
        now: now(),
        dry_run,
    };
    lab.store.merge_games(&order).await
}

/// Two games; the second one was told later.
async fn two(lab: &Lab) -> Line<'_> {
    let mut line = Line::open(&lab.store, EventKind::Game).await;
    line.events(&[game("a", 1, json!({"state": "old"})), game("b", 2, json!({"state": "new"}))]).await;
    line
}

async fn state(lab: &Lab, id: &str) -> Value {
    let game = lab.store.game(&name(id)).await.expect("an answer").expect("a game");
    serde_json::from_str(&game.state.details.0).expect("JSON")
}

async fn the_names_lead_to_the_game_that_stays(lab: &Lab) {
    let mut line = two(lab).await;
    let merged = merge(lab, "a", "b", false).await.expect("merged");
    assert_eq!((merged.names, merged.conflicts), (1, 0));
    let found = lab.store.game(&name("b")).await.expect("an answer").expect("a game");
    assert_eq!((found.state.id, found.names.len()), (merged.kept, 2));
    let page = lab.store.games(&Default::default(), None, 10).await.expect("an answer");
    assert_eq!(page.rows.len(), 1, "the other one is no game any more");
    // The next event under the name that was merged updates the game that stays.
    line.events(&[game("b", 3, json!({"state": "newer"}))]).await;
    assert_eq!(state(lab, "a").await, json!({"state": "newer"}));
    let trail = lab
        .database
        .line("select actor || ' ' || action || ' ' || reason as line from operator_actions")
        .await;
    assert!(trail.contains("an operator merge_games game") && trail.ends_with("the same game"), "{trail}");
}

async fn the_newest_state_of_the_two_stands(lab: &Lab) {
    two(lab).await;
    assert!(merge(lab, "a", "b", false).await.expect("merged").state_taken);
    assert_eq!(state(lab, "a").await, json!({"state": "new"}));
    let twin = lab.twin().await;
    two(&twin).await;
    assert!(!merge(&twin, "b", "a", false).await.expect("merged").state_taken);
    assert_eq!(state(&twin, "a").await, json!({"state": "new"}));
    twin.database.drop_now().await;
}

async fn a_dry_run_leaves_nothing(lab: &Lab) {
    two(lab).await;
    let would = merge(lab, "a", "b", true).await.expect("rehearsed");
    assert_eq!(lab.database.number_of("operator_actions").await, 0);
    assert_eq!(state(lab, "a").await, json!({"state": "old"}));
    assert_eq!(merge(lab, "a", "b", false).await.expect("merged"), would);
}

async fn what_cannot_be_merged_is_told(lab: &Lab) {
    two(lab).await;
    let refused = async |one: &str, other: &str| match merge(lab, one, other, false).await {
        Err(StoreError::Rejected(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(refused("a", "nobody").await.contains("test:nobody"));
    assert!(refused("a", "a").await.contains("one game already"));
    merge(lab, "a", "b", false).await.expect("merged");
    assert!(refused("a", "b").await.contains("one game already"));
}

async fn a_conflict_is_settled_by_it(lab: &Lab) {
    let mut line = two(lab).await;
    let mut both = game("a", 4, json!({"state": "both"}));
    both["data"]["game"]["external_ids"] = json!({"test2": "x"});
    line.events(&[both.clone()]).await;
    let mut other = game("b", 5, json!({"state": "other"}));
    other["data"]["game"]["external_ids"] = json!({"test2": "x"});
    line.events(&[other]).await;
    let open = lab.store.game_conflicts(10).await.expect("an answer");
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(merge(lab, "a", "b", false).await.expect("merged").conflicts, 1);
    assert!(lab.store.game_conflicts(10).await.expect("an answer").is_empty());
}

async fn a_conflict_with_a_game_that_was_merged_is_one_with_the_game_that_stays(lab: &Lab) {
    let mut line = two(lab).await;
    line.events(&[game("x", 3, json!({}))]).await;
    // Both say that another system calls them y: the second one is refused that name.
    let y = |id: &str, second: u32| {
        let mut event = game(id, second, json!({}));
        event["data"]["game"]["external_ids"] = json!({"test2": "y"});
        event
    };
    line.events(&[y("x", 4)]).await;
    line.events(&[y("a", 5)]).await;
    let open = lab.store.game_conflicts(10).await.expect("an answer");
    assert_eq!(open.len(), 1, "{open:?}");
    // The conflict is about x and a; a becomes b, and then x does.
    merge(lab, "b", "a", false).await.expect("merged");
    merge(lab, "b", "x", false).await.expect("merged");
    assert!(lab.store.game_conflicts(10).await.expect("an answer").is_empty());
}
