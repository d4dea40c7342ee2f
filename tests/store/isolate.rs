//! What the database refuses: the records that are the reason are found and set aside, everything else is stored, in one
//! transaction; and trouble that is not the data's is never taken for a bad record.

use ledgerline_schema::budget::{Budget, BudgetConfig};
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{ClaimAnswer, Effort, Halt, WriteError, WriteJob, WriteReport};

use super::lab::{At, Lab, Line, analysis, article, claim, game, lineage, now, odds, request, signal};
use crate::support::postgres::connect;

on_both! {
    one_refused_record_of_a_thousand_is_set_aside,
    refused_records_at_both_ends_and_in_a_row_are_set_aside,
    a_batch_of_one_refused_record_is_one_dead_letter,
    a_batch_that_nobody_refuses_is_written_as_ever,
    contracts_conflicts_and_refusals_are_dead_in_the_order_of_the_log,
    a_table_that_takes_nothing_blames_no_record,
    words_about_the_disk_blame_no_record,
    a_table_that_was_changed_under_us_blames_no_record,
    half_of_a_large_batch_may_be_refused,
    refused_rows_of_every_kind_are_set_aside_too,
    too_many_refused_records_halt_the_partition,
    an_exempt_partition_is_not_held_to_its_budget,
}

const KIND: EventKind = EventKind::Odds;

/// Refuses quotes whose price is 3.0, in words of its own: no constraint is named.
async fn refuse_price_three(lab: &Lab) {
    let on_postgres = "create function refuse() returns trigger language plpgsql as \
        $$ begin if new.price = 3.0 then raise exception 'three is too many'; end if; return new; end $$; \
        create trigger refuse before insert on odds for each row execute function refuse()";
    let on_sqlite = "create trigger refuse before insert on odds when new.price = 3.0 \
        begin select raise(abort, 'three is too many'); end";
    lab.database.change(if lab.database.is_sqlite() { on_sqlite } else { on_postgres }).await;
}

/// Good quotes of distinct games, and those that are refused at these offsets.
fn log(records: u32, refused: &[u32]) -> Vec<At> {
    log_of(records, |record| refused.contains(&record))
}

fn log_of(records: u32, refused: impl Fn(u32) -> bool) -> Vec<At> {
    let name = (0..records).find(|record| refused(*record)).unwrap_or(records);
    let event =
        |record| odds(&format!("{records}-{name}-{record}"), 1, if refused(record) { 200 } else { -110 });
    (0..records).map(|record| At::Event(event(record))).collect()
}

fn isolate<'b>(line: &'b Line<'_>, batch: &'b ledgerline_schema::batch::Batch) -> WriteJob<'b> {
    WriteJob { effort: Effort::Isolate, ..line.job(batch) }
}

async fn isolated(line: &mut Line<'_>, log: &[At]) -> WriteReport {
    let batch = line.batch(log);
    let refused = line.try_write(&batch).await;
    assert!(matches!(refused, Err(WriteError::Store(_))), "the whole is refused: {refused:?}");
    let report = line.store.write(&isolate(line, &batch)).await.expect("written");
    line.next = batch.to;
    report
}

fn dead(report: &WriteReport) -> Vec<u32> {
    report.dead.iter().map(|dead| dead.record).collect()
}

async fn one_refused_record_of_a_thousand_is_set_aside(lab: &Lab) {
    refuse_price_three(lab).await;
    for at in [0, 1, 499, 500, 998, 999] {
        let mut line = Line::of_partition(&lab.store, KIND, at).await;
        let report = isolated(&mut line, &log(1_000, &[at.cast_unsigned()])).await;
        assert_eq!(dead(&report), [at.cast_unsigned()]);
        assert_eq!((report.dispositions.applied, report.rows.inserted), (999, 1_998));
        assert!(report.attempts <= 22, "{} attempts", report.attempts); // 2 log2(1000) + 2
        assert_eq!(line.position().await.next_offset, 1_000);
    }
    let letters = "select reason || ': ' || detail as line from dead_letters";
    let found = lab.database.lines(letters).await;
    assert_eq!(found.len(), 6);
    assert!(
        found.iter().all(|line| line.contains("refused: ") && line.contains("three is too many")),
        "{found:?}"
    );
}

async fn refused_records_at_both_ends_and_in_a_row_are_set_aside(lab: &Lab) {
    refuse_price_three(lab).await;
    let mut line = Line::open(&lab.store, KIND).await;
    let refused = [0, 7, 8, 9, 40, 63];
    let report = isolated(&mut line, &log(64, &refused)).await;
    assert_eq!(dead(&report), refused);
    assert_eq!(report.rows.inserted, 2 * 58);
    let report = isolated(&mut line, &log(5, &[0, 1, 2, 3, 4])).await;
    assert_eq!(dead(&report), [0, 1, 2, 3, 4]);
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}

async fn a_batch_of_one_refused_record_is_one_dead_letter(lab: &Lab) {
    refuse_price_three(lab).await;
    let mut line = Line::open(&lab.store, KIND).await;
    let report = isolated(&mut line, &log(1, &[0])).await;
    assert_eq!((dead(&report), report.attempts), (vec![0], 2));
}

async fn a_batch_that_nobody_refuses_is_written_as_ever(lab: &Lab) {
    let line = Line::open(&lab.store, KIND).await;
    let batch = line.batch(&log(10, &[]));
    let report = line.store.write(&isolate(&line, &batch)).await.expect("written");
    assert_eq!((report.rows.inserted, report.dead.len()), (20, 0));
    assert_eq!(line.position().await.next_offset, 10);
}

async fn contracts_conflicts_and_refusals_are_dead_in_the_order_of_the_log(lab: &Lab) {
    refuse_price_three(lab).await;
    let mut line = Line::open(&lab.store, KIND).await;
    let log = [
        At::Event(odds("a", 1, -110)),
        At::Event(odds("a", 1, -120)), // conflict
        At::Event(odds("b", 1, 200)),  // refused
        At::Bytes("{"),                // contract
        At::Tombstone,
        At::Event(odds("a", 1, -110)), // duplicate
        At::Event(odds("c", 1, 200)),  // refused
        At::Event(odds("d", 1, 150)),
    ];
    let report = isolated(&mut line, &log).await;
    let reasons: Vec<(u32, &str)> =
        report.dead.iter().map(|dead| (dead.record, dead.rejection.reason.name())).collect();
    assert_eq!(reasons, [(1, "conflict"), (2, "refused"), (3, "malformed_json"), (5, "refused")]);
    assert_eq!((report.rows.inserted, report.rows.duplicate), (4, 2));
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}

async fn a_table_that_takes_nothing_blames_no_record(lab: &Lab) {
    let on_postgres = "create function refuse() returns trigger language plpgsql as \
        $$ begin raise exception 'could not extend file: no space left'; end $$; \
        create trigger refuse before insert on odds for each row execute function refuse()";
    let on_sqlite = "create trigger refuse before insert on odds begin select raise(abort, 'disk full'); end";
    lab.database.change(if lab.database.is_sqlite() { on_sqlite } else { on_postgres }).await;
    let line = Line::open(&lab.store, KIND).await;
    let batch = line.batch(&log(20, &[]));
    let before = lab.database.contents().await;
    for _ in 0..3 {
        let refused = line.store.write(&isolate(&line, &batch)).await;
        assert!(matches!(refused, Err(WriteError::Store(_))), "{refused:?}");
    }
    assert_eq!(lab.database.contents().await, before);
    lab.database
        .change(if lab.database.is_sqlite() { "drop trigger refuse" } else { "drop trigger refuse on odds" })
        .await;
    assert_eq!(line.try_write(&batch).await.expect("written").rows.inserted, 40);
}

/// The one record that meets a full disk first is as good as its neighbours.
async fn words_about_the_disk_blame_no_record(lab: &Lab) {
    let on_postgres = "create function refuse() returns trigger language plpgsql as \
        $$ begin if new.price = 3.0 then raise exception 'could not extend file: No space left on device'; end if; \
        return new; end $$; \
        create trigger refuse before insert on odds for each row execute function refuse()";
    let on_sqlite = "create trigger refuse before insert on odds when new.price = 3.0 \
        begin select raise(abort, 'database or disk is full'); end";
    lab.database.change(if lab.database.is_sqlite() { on_sqlite } else { on_postgres }).await;
    let line = Line::open(&lab.store, KIND).await;
    let batch = line.batch(&log(8, &[3]));
    let refused = line.store.write(&isolate(&line, &batch)).await;
    assert!(matches!(refused, Err(WriteError::Store(_))), "{refused:?}");
    assert_eq!(lab.database.number_of("dead_letters").await, 0);
}

async fn a_table_that_was_changed_under_us_blames_no_record(lab: &Lab) {
    for (kind, table, column, log) in [
        (KIND, "odds", "line", log(3, &[])),
        (EventKind::Game, "games", "league", vec![At::Event(game("a", 1, serde_json::json!({})))]),
        (
            EventKind::Article,
            "articles",
            "language",
            vec![At::Event(article("https://a.example/1", 1, "text"))],
        ),
        (EventKind::Signal, "sharp_signals", "severity", vec![At::Event(signal("a", 1, "low"))]),
        (EventKind::Analysis, "betting_analyses", "confidence", vec![At::Event(analysis("a", 1, 0.5))]),
    ] {
        let line = Line::open(&lab.store, kind).await;
        let batch = line.batch(&log);
        lab.database.change(&format!("alter table {table} rename column {column} to other")).await;
        for _ in 0..2 {
            let refused = line.store.write(&isolate(&line, &batch)).await;
            assert!(matches!(refused, Err(WriteError::Store(_))), "{refused:?}");
        }
        assert_eq!(lab.database.number_of("dead_letters").await, 0);
        lab.database.change(&format!("alter table {table} rename column other to {column}")).await;
        let report = line.store.write(&isolate(&line, &batch)).await.expect("written");
        assert_eq!(report.dispositions.applied, log.len() as i64);
    }
}

/// Savepoints that are not given back would exhaust the server's locks.
async fn half_of_a_large_batch_may_be_refused(lab: &Lab) {
    refuse_price_three(lab).await;
    let line = Line::open(&lab.store, KIND).await;
    let refused: Vec<u32> = (0..1_000).filter(|record| record % 2 == 0).collect();
    let batch = line.batch(&log_of(1_000, |record| record % 2 == 0));
    let report = line.store.write(&isolate(&line, &batch)).await.expect("written");
    assert_eq!(dead(&report), refused);
    assert_eq!(report.rows.inserted, 1_000);
}

async fn refused_rows_of_every_kind_are_set_aside_too(lab: &Lab) {
    let refuse = |table: &str, when: &str| match lab.database.is_sqlite() {
        true => format!(
            "create trigger refuse_{table} before insert on {table} when {when} begin select raise(abort, 'no'); end"
        ),
        false => format!(
            "create function refuse_{table}() returns trigger language plpgsql as $$ begin if {when} then raise exception 'no'; end if; return new; end $$; \
             create trigger refuse before insert on {table} for each row execute function refuse_{table}()"
        ),
    };
    lab.database
        .change(&refuse("games", "new.details like '%bad%'").replace(
            "new.details",
            if lab.database.is_sqlite() { "new.details" } else { "new.details::text" },
        ))
        .await;
    lab.database.change(&refuse("articles", "new.body = 'bad'")).await;
    let state = |text: &str| serde_json::json!({ "note": text });
    let mut games = Line::open(&lab.store, EventKind::Game).await;
    let report = isolated(
        &mut games,
        &[
            At::Event(game("a", 1, state("good"))),
            At::Event(game("b", 1, state("bad"))),
            At::Event(game("c", 1, state("good"))),
        ],
    )
    .await;
    assert_eq!((dead(&report), report.rows.inserted), (vec![1], 2));
    let mut articles = Line::open(&lab.store, EventKind::Article).await;
    let read = |url: &str, body: &str| At::Event(article(&format!("https://example.com/{url}"), 1, body));
    let report = isolated(&mut articles, &[read("a", "bad"), read("b", "good")]).await;
    assert_eq!((dead(&report), report.rows.inserted), (vec![0], 1));
    lab.database.change(&refuse("sharp_signals", "new.severity = 'high'")).await;
    let mut signals = Line::open(&lab.store, EventKind::Signal).await;
    let saw = |game: &str, severity: &str| At::Event(signal(game, 1, severity));
    let report = isolated(&mut signals, &[saw("a", "low"), saw("b", "high"), saw("c", "low")]).await;
    assert_eq!((dead(&report), report.rows.inserted), (vec![1], 2));
    lab.database.change(&refuse("betting_analyses", "new.confidence > 0.9")).await;
    let mut analyses = Line::open(&lab.store, EventKind::Analysis).await;
    let made = |game: &str, confidence: f64| At::Event(analysis(game, 1, confidence));
    let report = isolated(&mut analyses, &[made("a", 0.5), made("b", 0.95)]).await;
    assert_eq!((dead(&report), report.rows.inserted), (vec![1], 1));
}

/// A budget of three dead letters in a row.
fn three() -> Budget {
    Budget::new(BudgetConfig { max_consecutive: 3, ..BudgetConfig::default() })
}

async fn too_many_refused_records_halt_the_partition(lab: &Lab) {
    refuse_price_three(lab).await;
    let line = Line::open(&lab.store, KIND).await;
    let batch = line.batch(&log(8, &[1, 2, 3, 4]));
    let job = WriteJob { budget: three(), ..isolate(&line, &batch) };
    let halted = lab.store.write(&job).await;
    assert!(matches!(halted, Err(WriteError::Halted(Halt::DeadLetterBudget { .. }))), "{halted:?}");
    assert_eq!(lab.database.number_of("odds").await + lab.database.number_of("dead_letters").await, 0);
    assert_eq!(line.position().await.next_offset, 0);
    // It is remembered: another owner is told, too.
    let answer = lab.store.claim(&request(lineage(KIND, 0)), now()).await.expect("an answer");
    assert!(matches!(answer, ClaimAnswer::Halted(Halt::DeadLetterBudget { .. })), "{answer:?}");
}

async fn an_exempt_partition_is_not_held_to_its_budget(lab: &Lab) {
    let line = Line::open(&lab.store, KIND).await;
    let batch = line.batch(&[At::Bytes("{"), At::Bytes("{"), At::Bytes("{"), At::Bytes("{")]);
    let over = lab.store.write(&WriteJob { budget: three(), ..line.job(&batch) }).await;
    assert!(matches!(over, Err(WriteError::Halted(_))), "{over:?}");
    lab.database.change("update partition_offsets set halted = null, budget_exempt_to = 1").await;
    let claim = claim(&lab.store, &request(lineage(KIND, 0))).await;
    let job = WriteJob { claim: &claim, budget: three(), ..line.job(&batch) };
    assert_eq!(lab.store.write(&job).await.expect("written").dispositions.dead, 4);
}

/// The issue's own figure: 1 of 5,000, counted by the database itself.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_five_thousand_costs_at_most_thirty_attempts() {
    super::lab::on_postgres(async |lab| {
        lab.database
            .change(
                "alter table odds add check (price <> 3.0); create sequence attempts; \
                 create function count_attempt() returns trigger language plpgsql as \
                 $$ begin perform nextval('attempts'); return null; end $$; \
                 create trigger attempt before insert on odds for each statement execute function count_attempt()",
            )
            .await;
        let mut line = Line::open(&lab.store, KIND).await;
        let report = isolated(&mut line, &log(5_000, &[1_234])).await;
        assert_eq!((dead(&report), report.dispositions.applied), (vec![1_234], 4_999));
        let attempts = lab.database.number("select last_value from attempts").await;
        assert!(attempts <= 30, "{attempts} attempts");
        assert_eq!(lab.database.number("select sum(applied + dead) from offset_ledger").await, 5_000);
    })
    .await;
}

/// Waiting for a lock looks like a refusal that names no rule: it takes its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_blames_no_record() {
    super::lab::on_postgres(async |lab| {
        let line = Line::open(&lab.store, KIND).await;
        let batch = line.batch(&log(1, &[]));
        let blocker = connect(&lab.database.url).await;
        blocker.batch_execute("begin; lock table odds in access exclusive mode").await.expect("the lock");
        let refused = line.store.write(&isolate(&line, &batch)).await;
        assert!(matches!(refused, Err(WriteError::Store(_))), "{refused:?}");
        blocker.batch_execute("rollback").await.expect("the lock is gone");
        assert_eq!(lab.database.number_of("dead_letters").await, 0);
        assert_eq!(line.store.write(&isolate(&line, &batch)).await.expect("written").rows.inserted, 2);
    })
    .await;
}

/// A constraint that is checked at COMMIT alone would never be found there.
#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_constraint_is_found() {
    super::lab::on_postgres(async |lab| {
        lab.database
            .change(
                "create function refuse() returns trigger language plpgsql as \
                 $$ begin if new.price = 3.0 then raise check_violation using message = 'late'; end if; return null; end $$; \
                 create constraint trigger late after insert on odds deferrable initially deferred \
                 for each row execute function refuse()",
            )
            .await;
        let mut line = Line::open(&lab.store, KIND).await;
        let report = isolated(&mut line, &log(16, &[5])).await;
        assert_eq!(dead(&report), [5]);
    })
    .await;
}

/// A rule about values may forbid what a probe makes up; a batch of one has nothing else to go by.
#[tokio::test(flavor = "multi_thread")]
async fn a_lone_record_that_breaks_a_named_rule_is_set_aside() {
    super::lab::on_postgres(async |lab| {
        lab.database
            .change("alter table selections add constraint known_book check (sportsbook = 'known')")
            .await;
        let mut line = Line::open(&lab.store, KIND).await;
        let report = isolated(&mut line, &log(1, &[])).await;
        assert_eq!(dead(&report), [0]);
        assert!(report.dead[0].rejection.detail.contains("known_book"), "{:?}", report.dead[0]);
    })
    .await;
}

/// A column that only a later program fills is nothing that a record could be blamed for.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_we_do_not_know_blames_no_record() {
    super::lab::on_postgres(async |lab| {
        lab.database.change("alter table odds add column currency text not null").await;
        let line = Line::open(&lab.store, KIND).await;
        let batch = line.batch(&log(1, &[]));
        let refused = line.store.write(&isolate(&line, &batch)).await;
        assert!(matches!(refused, Err(WriteError::Store(_))), "{refused:?}");
        assert_eq!(lab.database.number_of("dead_letters").await, 0);
    })
    .await;
}
