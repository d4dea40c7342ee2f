//! Alerts: what keyword rules find in articles, revision by revision; and what operators may do with the rules.

use ledgerline_schema::events::EventKind;
use ledgerline_schema::keywords::Field;
use ledgerline_schema::repositories::{AlertFilter, Page};
use ledgerline_schema::store::{Effort, Rule, RuleChange, RuleDraft, RuleError, Store, WriteJob};

use super::lab::{At, Lab, Line, article, now};

on_both! {
    a_keyword_is_found_in_the_transaction_of_the_article,
    a_revision_withdraws_and_renews,
    batches_end_where_they_like,
    a_rule_holds_from_when_it_was_made,
    a_rule_that_is_not_in_force_withdraws_nothing,
    an_article_that_is_not_stored_leaves_no_alert,
    articles_that_the_database_refuses_leave_no_alert,
    rules_are_made_changed_and_deleted_and_each_leaves_a_trail,
    a_rule_that_cannot_be_is_refused_by_its_field,
    rules_in_force_are_bounded_together,
    alerts_are_found_by_rule_and_article,
}

const KIND: EventKind = EventKind::Article;
const PAGE: &str = "https://example.com/a";
const STORED: &str = "select keyword || ' ' || field || ' ' || revision || \
    case when withdrawn_at is null then '' else ' withdrawn' end as line from alerts";

fn by() -> RuleChange<'static> {
    RuleChange { actor: "a test", now: now() }
}

fn draft(name: &str, keywords: &[&str]) -> RuleDraft {
    let keywords = keywords.iter().map(|keyword| (*keyword).to_owned()).collect();
    RuleDraft { name: name.into(), keywords, field: Field::Any, enabled: true }
}

async fn rule(store: &Store, name: &str, keywords: &[&str]) -> Rule {
    store.create_rule(&draft(name, keywords), &by()).await.expect("a rule")
}

async fn a_keyword_is_found_in_the_transaction_of_the_article(lab: &Lab) {
    let made = rule(&lab.store, "injuries", &["questionable", "out for the season", "TITLE"]).await;
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[article(PAGE, 1, "Kittle is Questionable, and nobody is out for the\nseason. Title.")])
        .await;
    let found = lab.store.alerts(&AlertFilter::default(), None, 10).await.expect("an answer").rows;
    let mut keywords: Vec<_> = found.iter().map(|alert| (&*alert.keyword, &*alert.field)).collect();
    keywords.sort_unstable();
    assert_eq!(keywords, [("TITLE", "title"), ("out for the season", "body"), ("questionable", "body")]);
    let alert = found.iter().find(|alert| alert.keyword == "questionable").expect("the alert");
    assert_eq!((alert.rule_id, alert.rule.as_deref(), alert.revision), (made.id, Some("injuries"), 1));
    assert_eq!((&*alert.url, &*alert.title, alert.withdrawn_at), (PAGE, "title", None));
    assert!(alert.excerpt.starts_with("Kittle is Questionable, and"), "{}", alert.excerpt);
    // The same again raises nothing again.
    line.events(&[article(PAGE, 9, "Kittle is Questionable, and nobody is out for the\nseason. Title.")])
        .await;
    assert_eq!(lab.database.lines(STORED).await.len(), 3);
}

async fn a_revision_withdraws_and_renews(lab: &Lab) {
    rule(&lab.store, "injuries", &["questionable", "out"]).await;
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[article(PAGE, 1, "questionable")]).await;
    line.events(&[article(PAGE, 3, "he is out")]).await;
    assert_eq!(lab.database.lines(STORED).await, ["out body 2", "questionable body 1 withdrawn"]);
    let at = "select cast(withdrawn_at as text) as line from alerts where withdrawn_at is not null";
    assert!(lab.database.line(at).await.contains("18:00:03"), "the time of the reading, not the clock's");
    line.events(&[article(PAGE, 2, "an older reading: nothing")]).await;
    assert_eq!(lab.database.lines(STORED).await, ["out body 2", "questionable body 1 withdrawn"]);
    line.events(&[article(PAGE, 5, "questionable again, not out")]).await;
    assert_eq!(lab.database.lines(STORED).await, ["out body 2", "questionable body 3"]);
}

async fn batches_end_where_they_like(lab: &Lab) {
    let readings: Vec<_> = ["out", "nothing", "questionable, out", "questionable", "nothing", "out"]
        .into_iter()
        .zip(1..)
        .map(|(body, second)| article(PAGE, second, body))
        .collect();
    let mut found = Vec::new();
    for size in 1..=readings.len() {
        let twin = lab.twin().await;
        rule(&twin.store, "injuries", &["questionable", "out"]).await;
        let mut line = Line::open(&twin.store, KIND).await;
        for part in readings.chunks(size) {
            line.events(part).await;
        }
        found.push(twin.database.lines(STORED).await);
        twin.database.drop_now().await;
    }
    assert!(found.iter().all(|lines| *lines == found[0]), "{found:?}");
    assert_eq!(found[0], ["out body 6", "questionable body 3 withdrawn"]);
}

async fn a_rule_holds_from_when_it_was_made(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[article(PAGE, 1, "trade")]).await;
    assert_eq!(lab.database.number_of("alerts").await, 0);
    // The same connection: what it keeps of the rules is made again.
    let made = rule(&lab.store, "trades", &["trade"]).await;
    line.events(&[article("https://example.com/b", 2, "a trade")]).await;
    assert_eq!(lab.database.number_of("alerts").await, 1);
    let changed = draft("trades", &["signing"]);
    lab.store.update_rule(made.id, &changed, &by()).await.expect("changed");
    line.events(&[article("https://example.com/c", 3, "a trade, a signing")]).await;
    lab.store.delete_rule(made.id, &by()).await.expect("deleted");
    line.events(&[article("https://example.com/d", 4, "a trade, a signing")]).await;
    assert_eq!(lab.database.lines(STORED).await, ["signing body 1", "trade body 1"]);
}

async fn a_rule_that_is_not_in_force_withdraws_nothing(lab: &Lab) {
    let [one, _] = [rule(&lab.store, "one", &["trade"]).await, rule(&lab.store, "two", &["out"]).await];
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[article(PAGE, 1, "trade, out")]).await;
    let off = RuleDraft { enabled: false, ..one.draft };
    lab.store.update_rule(one.id, &off, &by()).await.expect("switched off");
    line.events(&[article(PAGE, 2, "nothing")]).await;
    assert_eq!(lab.database.lines(STORED).await, ["out body 1 withdrawn", "trade body 1"]);
}

async fn an_article_that_is_not_stored_leaves_no_alert(lab: &Lab) {
    rule(&lab.store, "trades", &["trade"]).await;
    let line = Line::open(&lab.store, KIND).await;
    let batch = line.batch(&[At::Event(article(PAGE, 1, "trade"))]);
    line.claim_again().await;
    line.try_write(&batch).await.expect_err("fenced");
    assert_eq!(lab.database.number_of("alerts").await, 0);
}

async fn articles_that_the_database_refuses_leave_no_alert(lab: &Lab) {
    let on_postgres = "create function refuse() returns trigger language plpgsql as \
        $$ begin if new.body like '%bad%' then raise exception 'bad'; end if; return new; end $$; \
        create trigger refuse before insert on articles for each row execute function refuse()";
    let on_sqlite = "create trigger refuse before insert on articles when new.body like '%bad%' \
        begin select raise(abort, 'bad'); end";
    lab.database.change(if lab.database.is_sqlite() { on_sqlite } else { on_postgres }).await;
    rule(&lab.store, "trades", &["trade"]).await;
    let line = Line::open(&lab.store, KIND).await;
    let url = |number: u32| format!("https://example.com/{number}");
    let body = |number: u32| if number == 3 { "a bad trade" } else { "a trade" };
    let log: Vec<At> = (0..6).map(|number| At::Event(article(&url(number), 1, body(number)))).collect();
    let batch = line.batch(&log);
    let job = WriteJob { effort: Effort::Isolate, ..line.job(&batch) };
    let report = lab.store.write(&job).await.expect("written");
    assert_eq!((report.rows.inserted, report.dead.len()), (5, 1));
    assert_eq!(lab.database.number_of("alerts").await, 5);
}

async fn rules_are_made_changed_and_deleted_and_each_leaves_a_trail(lab: &Lab) {
    let first = rule(&lab.store, "  first ", &["a b", "c"]).await;
    let second = rule(&lab.store, "second", &["d"]).await;
    let stored = lab.store.rule(first.id).await.expect("an answer").expect("the rule");
    assert_eq!((&*stored.draft.name, &stored.draft.keywords), ("first", &first.draft.keywords));
    let named =
        |rules: Page<Rule, i64>| rules.rows.into_iter().map(|rule| rule.draft.name).collect::<Vec<_>>();
    assert_eq!(named(lab.store.rules(None, 10).await.expect("rules")), ["first", "second"]);
    assert_eq!(named(lab.store.rules(Some(first.id), 10).await.expect("rules")), ["second"]);
    assert_eq!(named(lab.store.rules(None, 1).await.expect("rules")), ["first"]);
    let taken = lab.store.create_rule(&draft("first", &["x"]), &by()).await;
    assert!(matches!(taken, Err(RuleError::NameTaken)), "{taken:?}");
    let taken = lab.store.update_rule(second.id, &draft("first", &["x"]), &by()).await;
    assert!(matches!(taken, Err(RuleError::NameTaken)), "{taken:?}");
    let changed = lab.store.update_rule(second.id, &draft("third", &["x"]), &by()).await.expect("changed");
    assert_eq!(lab.store.rule(second.id).await.expect("an answer"), Some(changed));
    lab.store.delete_rule(second.id, &by()).await.expect("deleted");
    for missing in [
        lab.store.delete_rule(second.id, &by()).await,
        lab.store.update_rule(second.id, &draft("y", &["x"]), &by()).await,
    ] {
        assert!(matches!(missing, Err(RuleError::Missing(id)) if id == second.id), "{missing:?}");
    }
    let trail = "select action || ' ' || actor || ' ' || reason as line from operator_actions order by id";
    let id = second.id;
    assert_eq!(
        lab.database.lines(trail).await,
        [
            format!("rule_create a test rule {} \"first\"", first.id),
            format!("rule_create a test rule {id} \"second\""),
            format!("rule_delete a test rule {id} \"third\""),
            format!("rule_update a test rule {id} \"third\""),
        ]
    );
    assert_eq!(lab.database.line("select cast(version as text) as line from alert_rule_set").await, "4");
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}

async fn a_rule_that_cannot_be_is_refused_by_its_field(lab: &Lab) {
    let long = "x".repeat(101);
    let many: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (draft, field) in [
        (draft(" ", &["a"]), "name"),
        (draft("a\nb", &["a"]), "name"),
        (draft(&long, &["a"]), "name"),
        (draft("a", &[]), "keywords"),
        (draft("a", &["ok", " "]), "keywords"),
        (draft("a", &[&long]), "keywords"),
        (draft("a", &many), "keywords"),
    ] {
        let refused = lab.store.create_rule(&draft, &by()).await;
        match refused {
            Err(RuleError::Invalid { field: found, .. }) => assert_eq!(found, field, "{draft:?}"),
            other => panic!("{draft:?}: {other:?}"),
        }
    }
    assert_eq!(lab.database.number_of("alert_rules").await, 0);
}

async fn rules_in_force_are_bounded_together(lab: &Lab) {
    let full = |number: usize| {
        let keywords: Vec<String> = (0..100).map(|keyword| format!("k{number}-{keyword}")).collect();
        RuleDraft { name: format!("rule {number}"), keywords, field: Field::Body, enabled: true }
    };
    for number in 0..50 {
        lab.store.create_rule(&full(number), &by()).await.expect("room");
    }
    let refused = lab.store.create_rule(&full(50), &by()).await;
    assert!(matches!(refused, Err(RuleError::Invalid { field: "keywords", .. })), "{refused:?}");
    let off = RuleDraft { enabled: false, ..full(50) };
    lab.store.create_rule(&off, &by()).await.expect("one that is not in force takes no room");
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[article(PAGE, 1, "k7-3 and k50-3 and k49-99")]).await;
    assert_eq!(lab.database.lines(STORED).await, ["k49-99 body 1", "k7-3 body 1"]);
}

async fn alerts_are_found_by_rule_and_article(lab: &Lab) {
    let [one, two] = [rule(&lab.store, "one", &["a"]).await, rule(&lab.store, "two", &["b"]).await];
    let mut line = Line::open(&lab.store, KIND).await;
    line.events(&[article(PAGE, 1, "a b"), article("https://example.com/b", 2, "a")]).await;
    line.events(&[article("https://example.com/b", 3, "neither")]).await;
    let found = async |filter: AlertFilter| {
        let found = lab.store.alerts(&filter, None, 10).await.expect("an answer");
        found.rows.into_iter().map(|alert| (alert.keyword, alert.url)).collect::<Vec<_>>()
    };
    let line = |keyword: &str, page: &str| (keyword.to_owned(), format!("https://example.com/{page}"));
    let any = AlertFilter::default;
    let mut all = found(any()).await;
    all.sort();
    assert_eq!(all, [line("a", "a"), line("b", "a")]);
    assert_eq!(found(AlertFilter { rule_id: Some(two.id), ..any() }).await, [line("b", "a")]);
    let withdrawn = AlertFilter { rule_id: Some(one.id), with_withdrawn: true, ..any() };
    assert_eq!(found(withdrawn.clone()).await.len(), 2);
    let page = lab.store.alerts(&withdrawn, None, 1).await.expect("an answer");
    let next = lab.store.alerts(&withdrawn, page.next, 10).await.expect("an answer");
    assert_eq!((next.rows.len(), next.next), (1, None));
    let of_article = AlertFilter { article_id: Some(page.rows[0].article_id), with_withdrawn: true, ..any() };
    assert!(!found(of_article).await.is_empty());
    lab.store.delete_rule(two.id, &by()).await.expect("deleted");
    let left = lab.store.alerts(&AlertFilter { rule_id: Some(two.id), ..any() }, None, 10).await;
    assert_eq!(left.expect("an answer").rows[0].rule, None);
}
