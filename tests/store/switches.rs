//! Switches as an operator sets them: each is there exactly while it holds, each change leaves a trace, and none of it is a jump.

use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{Extent, StoreError, Switch, SwitchOrder, SwitchState};

use super::lab::{Lab, Line, now, odds};

on_both! {
    a_pause_is_told_until_it_is_taken_back,
    a_topic_and_its_partitions_have_switches_of_their_own,
    what_is_paused_cannot_be_paused_nor_what_flows_resumed,
    of_two_pauses_at_once_one_is_refused,
    a_partition_that_the_topic_does_not_have_is_refused,
    other_groups_and_topics_are_left_alone,
    a_word_of_a_later_program_is_told_as_such,
    every_change_leaves_a_row_that_is_no_jump,
}

const GROUP: &str = "group";
const TOPIC: &str = "odds";

fn order(extent: Extent) -> SwitchOrder {
    SwitchOrder {
        group: GROUP.into(),
        topic: TOPIC.into(),
        extent,
        actor: "an operator".into(),
        reason: "a test".into(),
        now: now(),
    }
}

async fn set(lab: &Lab) -> Vec<Switch> {
    lab.store.switches(Some(GROUP), Some(TOPIC)).await.expect("an answer")
}

async fn paused(lab: &Lab) -> Vec<i32> {
    let set = set(lab).await;
    (0..4).filter(|partition| Switch::pausing(&set, GROUP, TOPIC, *partition).is_some()).collect()
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Rejected(text)) => text,
        other => panic!("{other:?}"),
    }
}

async fn a_pause_is_told_until_it_is_taken_back(lab: &Lab) {
    assert_eq!(paused(lab).await, [] as [i32; 0]);
    let done = lab.store.pause(&order(Extent::Topic)).await.expect("paused");
    assert_eq!(done.set.as_slice(), std::slice::from_ref(&done.switch));
    let Switch { extent, state, reason, actor, at, .. } = &done.switch;
    assert_eq!((extent, state, at), (&Extent::Topic, &SwitchState::Paused, &now()));
    assert_eq!((reason.as_str(), actor.as_str()), ("a test", "an operator"));
    assert_eq!(set(lab).await, done.set);
    assert_eq!(paused(lab).await, [0, 1, 2, 3]);
    let back = lab.store.unpause(&order(Extent::Topic)).await.expect("resumed");
    assert_eq!((back.switch, back.set), (done.switch, vec![]));
    assert_eq!(paused(lab).await, [] as [i32; 0]);
}

async fn a_topic_and_its_partitions_have_switches_of_their_own(lab: &Lab) {
    lab.store.pause(&order(Extent::Partition(2))).await.expect("paused");
    assert_eq!(paused(lab).await, [2]);
    let whole = lab.store.pause(&order(Extent::Topic)).await.expect("paused");
    let extents: Vec<Extent> = whole.set.iter().map(|switch| switch.extent).collect();
    assert_eq!(extents, [Extent::Topic, Extent::Partition(2)]);
    let resumed = lab.store.unpause(&order(Extent::Topic)).await.expect("resumed");
    assert_eq!(resumed.set.len(), 1, "what was paused by itself stays paused: {resumed:?}");
    assert_eq!(paused(lab).await, [2]);
    lab.store.unpause(&order(Extent::Partition(2))).await.expect("resumed");
    assert_eq!(paused(lab).await, [] as [i32; 0]);
}

async fn what_is_paused_cannot_be_paused_nor_what_flows_resumed(lab: &Lab) {
    let flows = refusal(lab.store.unpause(&order(Extent::Topic)).await);
    assert_eq!(flows, "odds is not paused");
    lab.store.pause(&order(Extent::Partition(3))).await.expect("paused");
    let twice = refusal(lab.store.pause(&order(Extent::Partition(3))).await);
    assert!(twice.starts_with("odds[3] is paused already, since 2025-11-09"), "{twice}");
    assert!(twice.ends_with("by an operator: a test"), "{twice}");
    let only = refusal(lab.store.unpause(&order(Extent::Topic)).await);
    assert_eq!(only, "odds is not paused; what is paused: odds[3]");
    lab.store.pause(&order(Extent::Topic)).await.expect("paused");
    let whole = refusal(lab.store.unpause(&order(Extent::Partition(1))).await);
    assert!(whole.contains("odds[1] has no pause of its own: the whole topic is paused"), "{whole}");
    let trail = lab.database.number_of("operator_actions").await;
    assert_eq!((trail, paused(lab).await.len()), (2, 4), "a refusal leaves no trace");
}

async fn of_two_pauses_at_once_one_is_refused(lab: &Lab) {
    let other = lab.database.store().await;
    let (one, two) = (order(Extent::Topic), order(Extent::Topic));
    let (one, two) = tokio::join!(lab.store.pause(&one), other.pause(&two));
    let texts: Vec<String> = [one, two].into_iter().filter_map(Result::err).map(|e| e.to_string()).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("is paused already"), "{texts:?}");
    assert_eq!(lab.database.number_of("operator_actions").await, 1);
}

async fn a_partition_that_the_topic_does_not_have_is_refused(lab: &Lab) {
    lab.store.pause(&order(Extent::Partition(7))).await.expect("nobody has read the topic: who knows");
    for partition in 0..3 {
        Line::of_partition(&lab.store, EventKind::Odds, partition).await;
    }
    let text = refusal(lab.store.pause(&order(Extent::Partition(3))).await);
    assert_eq!(text, "group group has no partition 3 of topic odds; it has 0 to 2");
    lab.store.pause(&order(Extent::Partition(2))).await.expect("it has this one");
    lab.store.unpause(&order(Extent::Partition(7))).await.expect("a pause can be taken back all the same");
}

async fn other_groups_and_topics_are_left_alone(lab: &Lab) {
    lab.store.pause(&order(Extent::Topic)).await.expect("paused");
    for (group, topic) in [("replay:1", TOPIC), (GROUP, "games")] {
        let set = lab.store.switches(Some(group), Some(topic)).await.expect("an answer");
        assert_eq!(set, []);
        assert_eq!(Switch::pausing(&self::set(lab).await, group, topic, 0), None);
    }
    assert_eq!(lab.store.switches(None, None).await.expect("an answer").len(), 1);
}

async fn a_word_of_a_later_program_is_told_as_such(lab: &Lab) {
    lab.store.pause(&order(Extent::Partition(1))).await.expect("paused");
    lab.database.change("update switches set state = 'slowed'").await;
    let found = set(lab).await;
    assert_eq!(found[0].state, SwitchState::Unknown("slowed".into()));
    assert_eq!(Switch::pausing(&found, GROUP, TOPIC, 1), None);
    lab.store.unpause(&order(Extent::Partition(1))).await.expect("it can be taken back");
    assert_eq!(set(lab).await, []);
}

async fn every_change_leaves_a_row_that_is_no_jump(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    let (claimed, position) = (line.claim.epoch, line.position().await);
    lab.store.pause(&order(Extent::Partition(0))).await.expect("paused");
    assert_eq!(line.position().await, position, "nothing moves and nobody is fenced");
    lab.store.unpause(&order(Extent::Partition(0))).await.expect("resumed");
    line.events(&[odds("g", 0, -110)]).await;
    lab.store.pause(&order(Extent::Topic)).await.expect("paused");
    line.events(&[odds("g", 1, -110)]).await;
    assert_eq!(line.position().await.epoch, claimed);
    let found = lab.store.verify(None).await.expect("an answer");
    assert!(found.ok(), "{found:?}");
    let trail = "select action || ' ' || cast(partition as text) || ' ' || reason || ' by ' || actor || ' of ' || consumer_group \
                 || coalesce(' ' || cast(epoch as text), '') || coalesce(' ' || cast(to_offset as text), '') as line from operator_actions";
    let expected = [
        "pause -1 a test by an operator of group",
        "pause 0 a test by an operator of group",
        "unpause 0 a test by an operator of group",
    ];
    assert_eq!(lab.database.lines(trail).await, expected);
}
