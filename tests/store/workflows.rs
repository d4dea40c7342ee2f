//! Workflows: who gets one, how long it is his, which states follow each other, and what is written down of it.

use ledgerline_schema::store::{
    Claimable, Lease, NewWorkflow, Renewed, Store, Workflow, WorkflowError, WorkflowFilter,
};
use ledgerline_schema::workflow::{
    Backfill, InputFile, OffsetRange, Parameters, Part, Plan, Replay, State, WorkflowKind,
};
use serde_json::json;

use super::lab::Lab;

on_both! {
    one_goes_its_way_and_its_history_tells,
    of_many_who_want_it_one_gets_it,
    a_lease_that_ran_out_is_taken_over_and_the_first_owner_changes_nothing,
    what_is_given_back_is_taken_up_at_once,
    called_off_it_is_lost_and_put_back_it_goes_on,
    a_change_that_its_state_does_not_allow_is_named,
    the_same_work_is_never_under_way_twice,
    workers_leave_alone_what_belongs_to_a_command,
    a_plan_is_captured_once,
    pages_and_filters,
    a_bad_parameter_is_named_and_nothing_is_stored,
}

fn replay(topic: &str) -> Parameters {
    let offsets = vec![OffsetRange { partition: 0, from: 0, to: 10 }];
    Parameters::Replay(Replay { topic: topic.into(), offsets, ..Replay::default() })
}

async fn create(store: &Store, parameters: &Parameters) -> Workflow {
    let new = NewWorkflow { parameters, requested_by: "a test", attended: false };
    store.create_workflow(&new).await.expect("created")
}

async fn claim(store: &Store, id: &str, owner: &str) -> Lease {
    let claimed = store.claim_workflow(Claimable::Id(id), owner).await.expect("an answer");
    claimed.expect("claimed").lease().expect("a lease")
}

async fn found(store: &Store, id: &str) -> Workflow {
    store.workflow(id).await.expect("an answer").expect("a workflow")
}

/// (from, to, actor) of each change.
async fn history(store: &Store, id: &str) -> Vec<(String, String, String)> {
    let rows = store.workflow_history(id, None, 100).await.expect("an answer").rows;
    assert!(rows.iter().zip(1..).all(|(row, seq)| row.seq == seq), "{rows:?}");
    rows.into_iter().map(|row| (row.from_state.unwrap_or_default(), row.to_state, row.actor)).collect()
}

fn change(from: &str, to: &str, actor: &str) -> (String, String, String) {
    (from.to_owned(), to.to_owned(), actor.to_owned())
}

async fn expire(lab: &Lab) {
    lab.database.change("update workflows set lease_until = '2000-01-01T00:00:00.000000Z'").await;
}

async fn one_goes_its_way_and_its_history_tells(lab: &Lab) {
    let store = &lab.store;
    let created = create(store, &replay("odds")).await;
    assert_eq!((created.state, created.kind, created.attempt), (State::Queued, WorkflowKind::Replay, 0));
    assert_eq!((&created.parameters, created.started_at), (&replay("odds"), None));
    let lease = claim(store, &created.id, "one").await;
    assert_eq!(store.renew_workflow(&lease, &json!({"done": 5})).await.expect("an answer"), Renewed::Held);
    let running = found(store, &created.id).await;
    assert_eq!((running.state, running.progress), (State::Running, Some(json!({"done": 5}))));
    assert!(running.started_at.is_some() && running.lease_until > running.started_at);
    store.finish_workflow(&lease, State::Succeeded, None, &json!({"done": 10})).await.expect("finished");
    let over = found(store, &created.id).await;
    assert_eq!(
        (over.state, over.lease_owner, over.progress),
        (State::Succeeded, None, Some(json!({"done": 10})))
    );
    assert!(over.ended_at.is_some());
    let told = [
        change("", "queued", "a test"),
        change("queued", "running", "one"),
        change("running", "succeeded", "one"),
    ];
    assert_eq!(history(store, &created.id).await, told);
}

async fn of_many_who_want_it_one_gets_it(lab: &Lab) {
    let created = create(&lab.store, &replay("odds")).await;
    let claims = (0..8).map(|number| {
        let store = lab.store.clone();
        tokio::spawn(async move {
            let owner = format!("worker {number}");
            store.claim_workflow(Claimable::Oldest(&WorkflowKind::ALL), &owner).await.expect("an answer")
        })
    });
    let mut got = 0;
    for claim in claims.collect::<Vec<_>>() {
        got += usize::from(claim.await.expect("no panic").is_some());
    }
    assert_eq!((got, found(&lab.store, &created.id).await.attempt), (1, 1));
}

async fn a_lease_that_ran_out_is_taken_over_and_the_first_owner_changes_nothing(lab: &Lab) {
    let store = &lab.store;
    let id = create(store, &replay("odds")).await.id;
    let first = claim(store, &id, "first").await;
    assert!(store.claim_workflow(Claimable::Id(&id), "second").await.expect("an answer").is_none());
    expire(lab).await;
    assert_eq!(
        store.renew_workflow(&first, &json!(1)).await.expect("an answer"),
        Renewed::Held,
        "late, and nobody came"
    );
    expire(lab).await;
    let second = claim(store, &id, "second").await;
    assert_eq!(second.attempt, 2);
    let before = found(store, &id).await;
    assert_eq!(
        store.renew_workflow(&first, &json!(9)).await.expect("an answer"),
        Renewed::Lost(State::Running)
    );
    let refused = store.finish_workflow(&first, State::Failed, Some("x"), &json!(9)).await;
    assert!(matches!(refused, Err(WorkflowError::LeaseLost(_))), "{refused:?}");
    assert!(store.plan_workflow(&first, &Plan::default()).await.is_err());
    store.release_workflow(&first, &json!(9)).await.expect("nothing to give back");
    assert_eq!(found(store, &id).await, before);
    store.finish_workflow(&second, State::Succeeded, None, &json!(1)).await.expect("finished");
    let told = history(store, &id).await;
    assert_eq!(told[1..3], [change("queued", "running", "first"), change("running", "running", "second")]);
}

async fn what_is_given_back_is_taken_up_at_once(lab: &Lab) {
    let id = create(&lab.store, &replay("odds")).await.id;
    let first = claim(&lab.store, &id, "first").await;
    lab.store.release_workflow(&first, &json!({"done": 3})).await.expect("given back");
    let between = found(&lab.store, &id).await;
    assert_eq!((between.state, between.lease_owner), (State::Running, None));
    assert_eq!(claim(&lab.store, &id, "second").await.attempt, 2);
}

async fn called_off_it_is_lost_and_put_back_it_goes_on(lab: &Lab) {
    let store = &lab.store;
    let id = create(store, &replay("odds")).await.id;
    let lease = claim(store, &id, "one").await;
    assert_eq!(
        store.cancel_workflow(&id, "an operator", "a slip").await.expect("called off").state,
        State::Cancelled
    );
    assert_eq!(
        store.renew_workflow(&lease, &json!(1)).await.expect("an answer"),
        Renewed::Lost(State::Cancelled)
    );
    assert!(store.claim_workflow(Claimable::Id(&id), "two").await.expect("an answer").is_none());
    let again = store.retry_workflow(&id, "an operator", "no slip").await.expect("put back");
    assert_eq!((again.state, again.ended_at), (State::Queued, None));
    let lease = claim(store, &id, "two").await;
    store.finish_workflow(&lease, State::Failed, Some("no luck"), &json!(1)).await.expect("finished");
    assert_eq!(found(store, &id).await.error.as_deref(), Some("no luck"));
    assert_eq!(store.retry_workflow(&id, "an operator", "luck").await.expect("put back").error, None);
    let told = store.workflow_history(&id, None, 100).await.expect("an answer").rows;
    let details: Vec<&str> = told.iter().map(|row| row.detail.as_str()).collect();
    assert_eq!(details, ["asked for", "taken up", "a slip", "no slip", "taken up", "no luck", "luck"]);
}

async fn a_change_that_its_state_does_not_allow_is_named(lab: &Lab) {
    let store = &lab.store;
    let id = create(store, &replay("odds")).await.id;
    let refused = store.retry_workflow(&id, "x", "x").await.expect_err("it waits already");
    assert!(
        matches!(refused, WorkflowError::Illegal { from: State::Queued, to: State::Queued, .. }),
        "{refused}"
    );
    let lease = claim(store, &id, "one").await;
    store.finish_workflow(&lease, State::Succeeded, None, &json!(1)).await.expect("finished");
    let before = lab.database.contents().await;
    let refused = store.cancel_workflow(&id, "x", "x").await.expect_err("it is over");
    assert_eq!(refused.to_string(), format!("workflow {id} is succeeded and cannot become cancelled"));
    assert!(store.retry_workflow(&id, "x", "x").await.is_err());
    let unknown = store.cancel_workflow("nothing", "x", "x").await;
    assert!(matches!(unknown, Err(WorkflowError::NotFound(_))), "{unknown:?}");
    assert_eq!(lab.database.contents().await, before);
}

async fn the_same_work_is_never_under_way_twice(lab: &Lab) {
    let store = &lab.store;
    let first = create(store, &replay("odds")).await;
    let faster = match replay("odds") {
        Parameters::Replay(replay) => Parameters::Replay(Replay { rate_per_second: Some(5), ..replay }),
        other @ Parameters::Backfill(_) => other,
    };
    let new = NewWorkflow { parameters: &faster, requested_by: "x", attended: false };
    let refused = store.create_workflow(&new).await.expect_err("it is under way");
    assert!(matches!(&refused, WorkflowError::Unfinished(id) if *id == first.id), "{refused}");
    store.cancel_workflow(&first.id, "x", "x").await.expect("called off");
    let second = create(store, &faster).await;
    assert!(second.id > first.id, "ids grow");
    let refused = store.retry_workflow(&first.id, "x", "x").await.expect_err("the second is under way");
    assert!(matches!(&refused, WorkflowError::Unfinished(id) if *id == second.id), "{refused}");
    let newest = store.newest_workflow(&replay("odds")).await.expect("an answer").expect("one");
    assert_eq!(newest.id, second.id);
    assert!(store.newest_workflow(&replay("games")).await.expect("an answer").is_none());
}

async fn workers_leave_alone_what_belongs_to_a_command(lab: &Lab) {
    let file = InputFile { path: "/a.jsonl".into(), sha256: None };
    let parameters = Parameters::Backfill(Backfill { files: vec![file], format: "cloudevents".into() });
    let new = NewWorkflow { parameters: &parameters, requested_by: "x", attended: true };
    let id = lab.store.create_workflow(&new).await.expect("created").id;
    let oldest = Claimable::Oldest(&WorkflowKind::ALL);
    assert!(lab.store.claim_workflow(oldest, "a worker").await.expect("an answer").is_none());
    assert_eq!(claim(&lab.store, &id, "the command").await.attempt, 1);
    create(&lab.store, &replay("odds")).await;
    let backfills = Claimable::Oldest(&[WorkflowKind::Backfill]);
    assert!(lab.store.claim_workflow(backfills, "a worker").await.expect("an answer").is_none());
    assert!(lab.store.claim_workflow(oldest, "a worker").await.expect("an answer").is_some());
}

async fn a_plan_is_captured_once(lab: &Lab) {
    let id = create(&lab.store, &replay("odds")).await.id;
    let lease = claim(&lab.store, &id, "one").await;
    let plan = |to: i64| Plan {
        parts: vec![Part {
            group: format!("replay:{id}"),
            cluster_id: "c".into(),
            topic_id: "t".into(),
            topic: "odds".into(),
            partition: 0,
            from: 0,
            to,
        }],
    };
    lab.store.plan_workflow(&lease, &plan(10)).await.expect("captured");
    lab.store.plan_workflow(&lease, &plan(99)).await.expect("the first stays");
    assert_eq!(found(&lab.store, &id).await.plan, Some(plan(10)));
}

async fn pages_and_filters(lab: &Lab) {
    let mut ids = Vec::new();
    for topic in ["a", "b", "c", "d", "e"] {
        ids.push(create(&lab.store, &replay(topic)).await.id);
    }
    lab.store.cancel_workflow(&ids[1], "x", "x").await.expect("called off");
    ids.reverse();
    let page = async |filter: WorkflowFilter, after: Option<String>, limit| {
        let found = lab.store.workflows(&filter, after.as_deref(), limit).await.expect("an answer");
        found.rows.into_iter().map(|workflow| workflow.id).collect::<Vec<_>>()
    };
    let all = WorkflowFilter::default();
    assert_eq!(page(all, None, 3).await, ids[..3]);
    assert_eq!(page(all, Some(ids[2].clone()), 3).await, ids[3..]);
    let cancelled = WorkflowFilter { state: Some(State::Cancelled), ..all };
    assert_eq!(page(cancelled, None, 9).await, [ids[3].clone()]);
    let backfills = WorkflowFilter { kind: Some(WorkflowKind::Backfill), ..all };
    assert!(page(backfills, None, 9).await.is_empty());
}

async fn a_bad_parameter_is_named_and_nothing_is_stored(lab: &Lab) {
    let parameters = Parameters::Replay(Replay { topic: "odds".into(), ..Replay::default() });
    let new = NewWorkflow { parameters: &parameters, requested_by: "x", attended: false };
    let refused = lab.store.create_workflow(&new).await.expect_err("neither times nor offsets");
    assert!(matches!(&refused, WorkflowError::BadParameter(bad) if bad.field == "offsets"), "{refused}");
    assert_eq!(lab.database.number_of("workflows").await, 0);
}
