//! Compaction and retention, against a model computed here: which quotes stay, that no change is lost, that neither the order of
//! arrival nor replays nor chunks matter, and that the accounts stay exact.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use ledgerline_schema::events::EventKind;
use ledgerline_schema::repositories::Run;
use ledgerline_schema::store::{
    DatabaseConfig, QuoteKey, RecordCheck, Removal, Store, StoreError, Sweep, SweptChunk, Verification,
};
use ledgerline_schema::time::UtcMicros;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::lab::{At, Lab, Line, batch, odds};
use crate::support::postgres::Database;

on_both! {
    any_history_is_compacted_as_the_model_says,
    of_each_run_the_first_and_the_last_stay,
    what_is_not_offered_is_compacted_like_a_price,
    a_dry_run_counts_and_changes_nothing,
    a_late_quote_inside_a_compacted_run_loses_no_change_and_is_told,
    retention_removes_what_is_old_and_keeps_the_accounts,
    a_run_whose_beginning_expired_is_not_judged,
    a_sweep_is_known_once_it_came_to_its_end,
    a_selection_that_is_gone_is_not_taken_for_expired,
    what_proves_a_compaction_is_older_than_its_horizon,
    a_quote_deleted_by_hand_is_still_seen,
    a_removal_that_nobody_made_is_seen,
}

const KIND: EventKind = EventKind::Odds;

fn at(second: u32) -> UtcMicros {
    UtcMicros::parse(&format!("2025-11-09T18:{:02}:{:02}Z", second / 60, second % 60)).expect("a time")
}

/// Sweeps to the end, in chunks of that many rows.
async fn sweep(store: &Store, removal: Removal, before: u32, chunk_rows: i64) -> SweptChunk {
    let sweep = Sweep { removal, horizon: at(before), chunk_rows, dry_run: false };
    sweep_all(store, &sweep).await
}

async fn sweep_all(store: &Store, sweep: &Sweep) -> SweptChunk {
    let mut total = SweptChunk { scanned: 0, selections: 0, removed: 0, next: None };
    loop {
        let chunk = store.sweep(sweep, total.next).await.expect("an answer").expect("nobody else sweeps");
        total.scanned += chunk.scanned;
        total.selections += chunk.selections;
        total.removed += chunk.removed;
        total.next = chunk.next;
        if chunk.next.is_none() {
            return total;
        }
    }
}

async fn verified(lab: &Lab) -> Verification {
    lab.store.verify(None).await.expect("an answer")
}

async fn strictly_clean(lab: &Lab) {
    let found = verified(lab).await;
    assert!(found.ok() && found.fewer_rows.is_empty(), "{found:?}");
}

/// The movement of every selection there is.
async fn movements(lab: &Lab) -> BTreeMap<i64, Vec<Run>> {
    let ids = lab.database.lines("select distinct selection_id || '' as line from odds").await;
    let mut movements = BTreeMap::new();
    for id in ids {
        let id: i64 = id.parse().expect("an id");
        movements.insert(id, lab.store.recent_movement(id, 1_000).await.expect("an answer"));
    }
    movements
}

/// What stays, as (game, second): all that is young, and of each run of older equal quotes the first and the last.
fn kept<V: PartialEq + Copy>(quotes: &BTreeMap<(u8, u32), V>, before: u32) -> BTreeSet<(u8, u32)> {
    let mut kept = BTreeSet::new();
    for game in 0..GAMES {
        let all: Vec<(u32, V)> =
            quotes.range((game, 0)..(game + 1, 0)).map(|((_, second), price)| (*second, *price)).collect();
        let (old, young): (Vec<_>, Vec<_>) = all.into_iter().partition(|(second, _)| *second < before);
        for run in old.chunk_by(|a, b| a.1 == b.1) {
            kept.extend([run[0].0, run[run.len() - 1].0].map(|second| (game, second)));
        }
        kept.extend(young.into_iter().map(|(second, _)| (game, second)));
    }
    kept
}

const GAMES: u8 = 2;
const SECONDS: u32 = 14;

/// What the quotes of one event say: the home side's price, null where it is not offered, and half points, null where the market
/// has no line.
type Said = (Option<i64>, Option<i8>);

/// Two games, one without lines; prices, lines and what is not offered change each by itself.
fn said(game: u8, number: usize) -> Said {
    let (price, line) = [(Some(100), -3), (Some(250), -3), (Some(100), -5), (None, -3)][number];
    (price, (game == 0).then_some(line))
}

fn event_of(&(game, second): &(u8, u32), (price, line): Said) -> Value {
    let mut event = odds(&format!("g{game}"), second, price.unwrap_or(100));
    let data = &mut event["data"];
    if price.is_none() {
        data["market_status"] = json!("suspended");
    }
    match line {
        Some(half_points) => {
            data["outcomes"][0]["line"] = json!(f64::from(half_points) / 2.0);
            data["outcomes"][1]["line"] = json!(f64::from(-half_points) / 2.0);
        }
        None => {
            data["market"] = json!("moneyline");
            for outcome in data["outcomes"].as_array_mut().expect("outcomes") {
                outcome.as_object_mut().expect("an outcome").remove("line");
            }
        }
    }
    event
}

/// What arrives, and when it is compacted.
#[derive(Debug, Clone)]
struct History {
    /// Every quote by its key: no conflicts.
    quotes: BTreeMap<(u8, u32), Said>,
    /// What arrives before the first compaction, and after it: everything at least once, what is older than the first horizon at
    /// least once before it.
    arrivals: [Vec<(u8, u32)>; 2],
    horizons: [u32; 2],
    chunk_rows: i64,
    batch: usize,
}

fn history() -> impl Strategy<Value = History> {
    let key = (0..GAMES, 0..SECONDS);
    let quotes = prop::collection::btree_map(key, 0usize..4, 1..24);
    let horizons = (0..=SECONDS + 1, 0..=SECONDS + 1);
    (quotes, horizons, 3i64..9, 1usize..9).prop_flat_map(|(quotes, (a, b), chunk_rows, batch)| {
        let quotes: BTreeMap<_, _> =
            quotes.into_iter().map(|(key, number)| (key, said(key.0, number))).collect();
        let horizons = [a.min(b), a.max(b)];
        let keys: Vec<_> = quotes.keys().copied().collect();
        let arrivals = prop::collection::vec((0..keys.len(), prop::bool::ANY), 0..20);
        (arrivals, Just(keys)).prop_flat_map(move |(more, keys)| {
            let mut arrivals = [Vec::new(), Vec::new()];
            for key in &keys {
                arrivals[usize::from(key.1 >= horizons[0])].push(*key);
            }
            for (number, late) in more {
                arrivals[usize::from(late)].push(keys[number]);
            }
            let [early, late] = arrivals;
            let quotes = quotes.clone();
            (Just(early).prop_shuffle(), Just(late).prop_shuffle()).prop_map(move |(early, late)| History {
                quotes: quotes.clone(),
                arrivals: [early, late],
                horizons,
                chunk_rows,
                batch,
            })
        })
    })
}

async fn any_history_is_compacted_as_the_model_says(lab: &Lab) {
    let cases = if lab.database.is_sqlite() { 60 } else { 10 };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let run = |history| {
        let case = holds(lab, &history);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(case));
        Ok(())
    };
    runner.run(&history(), run).unwrap_or_else(|failed| panic!("{failed}"));
}

async fn holds(lab: &Lab, history: &History) {
    let forget =
        ["odds", "removals", "offset_ledger", "partition_offsets"].map(|t| format!("delete from {t};"));
    lab.database.change(&forget.concat()).await;
    let mut line = Line::open(&lab.store, KIND).await;
    let event = |key: &(u8, u32)| event_of(key, history.quotes[key]);
    let mut log: Vec<Value> = Vec::new();
    let mut before = BTreeMap::new();
    for (arrivals, horizon) in history.arrivals.iter().zip(history.horizons) {
        for events in arrivals.chunks(history.batch) {
            let events: Vec<Value> = events.iter().map(event).collect();
            line.events(&events).await;
            log.extend(events);
        }
        before = movements(lab).await;
        sweep(&lab.store, Removal::Compacted, horizon, history.chunk_rows).await;
        assert_eq!(movements(lab).await, before, "blocks are the same before and after");
    }
    let expected = kept(&history.quotes, history.horizons[1]);
    assert_eq!(stored_home(lab).await, expected, "first and last of each run, whatever the order");
    let rows = lab.database.view("readable_odds").await;
    let again = sweep(&lab.store, Removal::Compacted, history.horizons[1], history.chunk_rows + 1).await;
    assert_eq!((again.removed, again.scanned), (0, old_rows(lab, history.horizons[1]).await));
    assert_eq!(lab.database.view("readable_odds").await, rows, "twice is once");
    accounts_hold(lab, &line, &log).await;

    // A replay brings everything back, and nothing is left of it.
    line.events(&log).await;
    assert_eq!(movements(lab).await, before);
    sweep(&lab.store, Removal::Compacted, history.horizons[1], 1_000).await;
    assert_eq!(lab.database.view("readable_odds").await, rows, "after a replay");
    let log = [log.clone(), log].concat();
    accounts_hold(lab, &line, &log).await;
}

/// The proof from the ledger, strictly, and every record of the log again.
async fn accounts_hold(lab: &Lab, line: &Line<'_>, log: &[Value]) {
    strictly_clean(lab).await;
    let log: Vec<At> = log.iter().cloned().map(At::Event).collect();
    let check =
        lab.store.check_records(line.claim.lineage_id, &batch(KIND, 0, &log)).await.expect("an answer");
    assert_eq!((check.missing, check.differing), (vec![], vec![]));
}

/// The stored quotes of the home sides, as (game, second).
async fn stored_home(lab: &Lab) -> BTreeSet<(u8, u32)> {
    let sides = "select r.external_id || ' ' || s.id as line from selections s \
                 join game_refs r on r.id = s.game_ref_id where s.side = 'home'";
    let mut found = BTreeSet::new();
    for line in lab.database.lines(sides).await {
        let (game, id) = line.split_once(' ').expect("a game");
        let game: u8 = game.trim_start_matches('g').parse().expect("a number");
        let times = format!("select {} as line from odds where selection_id = {id}", second_of(lab));
        let seconds = lab.database.lines(&times).await;
        found.extend(seconds.iter().map(|second| (game, second.parse::<u32>().expect("a number"))));
    }
    found
}

/// The second of the hour, as text.
fn second_of(lab: &Lab) -> &'static str {
    if lab.database.is_sqlite() {
        "(substr(observed_at, 15, 2) * 60 + substr(observed_at, 18, 2)) || ''"
    } else {
        "(extract(minute from observed_at) * 60 + extract(second from observed_at))::int4::text"
    }
}

async fn old_rows(lab: &Lab, before: u32) -> i64 {
    let times = format!("select {} as line from odds", second_of(lab));
    let seconds = lab.database.lines(&times).await;
    seconds.iter().filter(|second| second.parse::<u32>().expect("a number") < before).count() as i64
}

/// Home prices of one game, a quote a second from 0 on.
async fn prices<'l>(lab: &'l Lab, prices: &[i64]) -> Line<'l> {
    let mut line = Line::open(&lab.store, KIND).await;
    let events: Vec<Value> =
        prices.iter().zip(0..).map(|(price, second)| odds("g0", second, *price)).collect();
    line.events(&events).await;
    line
}

async fn home_seconds(lab: &Lab) -> Vec<u32> {
    stored_home(lab).await.into_iter().map(|(_, second)| second).collect()
}

async fn of_each_run_the_first_and_the_last_stay(lab: &Lab) {
    prices(lab, &[100, 100, 100, 120, 100, 100, 100, 100, 100, 100]).await;
    let swept = sweep(&lab.store, Removal::Compacted, 8, 1_000).await;
    assert_eq!(home_seconds(lab).await, [0, 2, 3, 4, 7, 8, 9]);
    // The away side's price never moved: 0 and 7 stay of its first eight.
    assert_eq!((swept.scanned, swept.removed, swept.selections), (16, 3 + 6, 2));
    // The last one before the horizon goes when the run goes on.
    sweep(&lab.store, Removal::Compacted, 10, 3).await;
    assert_eq!(home_seconds(lab).await, [0, 2, 3, 4, 9]);
    assert_eq!(verified(lab).await.removed, (20 - 5 - 2));
    strictly_clean(lab).await;
}

async fn what_is_not_offered_is_compacted_like_a_price(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let suspended = |second| {
        let mut event = odds("g0", second, 100);
        event["data"]["market_status"] = json!("suspended");
        event
    };
    line.events(&[odds("g0", 0, 100), suspended(1), suspended(2), suspended(3), odds("g0", 4, 100)]).await;
    let before = movements(lab).await;
    assert_eq!(sweep(&lab.store, Removal::Compacted, 9, 1_000).await.removed, 2);
    assert_eq!(movements(lab).await, before);
    assert_eq!(home_seconds(lab).await, [0, 1, 3, 4]);
}

async fn a_dry_run_counts_and_changes_nothing(lab: &Lab) {
    prices(lab, &[100, 100, 100, 100, 120, 120, 120]).await;
    let before = lab.database.contents().await;
    for (removal, chunk_rows) in Removal::ALL.into_iter().flat_map(|removal| [(removal, 3), (removal, 1_000)])
    {
        let dry = Sweep { removal, horizon: at(7), chunk_rows, dry_run: true };
        let would = sweep_all(&lab.store, &dry).await;
        let expected = if removal == Removal::Compacted { 3 + 5 } else { 14 };
        assert_eq!(
            (would.scanned, would.removed, would.selections),
            (14, expected, 2),
            "{removal:?} {chunk_rows}"
        );
    }
    assert_eq!(lab.database.contents().await, before);
}

/// It came later than the horizon: the change is there, where the run went on is known less exactly, and `verify --kafka` says
/// which quotes that concerns, until the log is replayed.
async fn a_late_quote_inside_a_compacted_run_loses_no_change_and_is_told(lab: &Lab) {
    let mut line = prices(lab, &[100; 9]).await;
    sweep(&lab.store, Removal::Compacted, 20, 1_000).await;
    let late = {
        let mut event = odds("g0", 4, 120);
        event["time"] = json!("2025-11-09T18:00:04.500Z");
        event
    };
    line.events(&[late]).await;
    let home = lab.latest("test", "g0").await;
    let home = home
        .iter()
        .find(|quote| quote.selection.side == "home")
        .expect("the home side")
        .selection
        .selection_id;
    let blocks: Vec<_> = lab.store.recent_movement(home, 1_000).await.expect("an answer");
    let prices: Vec<_> = blocks.iter().map(|block| block.price).collect();
    assert_eq!(prices, [Some(2.0), Some(2.2), Some(2.0)]);
    strictly_clean(lab).await;
    let log: Vec<At> = (0..9).map(|second| At::Event(odds("g0", second, 100))).collect();
    let again = batch(KIND, 0, &log);
    let lineage_id = line.claim.lineage_id;
    let check = async || lab.store.check_records(lineage_id, &again).await.expect("an answer");
    assert_eq!(check().await.missing, [1, 2, 3, 4, 5, 6, 7]);
    line.write(&log).await;
    assert!(check().await.missing.is_empty());
    strictly_clean(lab).await;
}

async fn retention_removes_what_is_old_and_keeps_the_accounts(lab: &Lab) {
    let mut line = prices(lab, &[100, 110, 120, 130, 140, 150]).await;
    line.events(&[odds("g1", 1, 100), odds("g1", 5, 100)]).await;
    let swept = sweep(&lab.store, Removal::Expired, 3, 4).await;
    assert_eq!((swept.scanned, swept.removed, swept.selections), (8, 8, 4));
    assert_eq!(stored_home(lab).await, BTreeSet::from([(0, 3), (0, 4), (0, 5), (1, 5)]));
    assert_eq!(sweep(&lab.store, Removal::Expired, 3, 4).await.removed, 0);
    assert_eq!(lab.database.number_of("selections").await, 4, "workers keep their ids");
    let found = verified(lab).await;
    assert_eq!(found.removed, 8);
    strictly_clean(lab).await;
    let log: Vec<At> =
        (0..6).map(|second| At::Event(odds("g0", second, 100 + 10 * i64::from(second)))).collect();
    let check =
        lab.store.check_records(line.claim.lineage_id, &batch(KIND, 0, &log)).await.expect("an answer");
    assert!(check.missing.is_empty(), "{check:?}");
    lab.database.change("delete from odds where record_offset = 4").await;
    let check =
        lab.store.check_records(line.claim.lineage_id, &batch(KIND, 0, &log)).await.expect("an answer");
    assert_eq!(check.missing, [4], "younger than what retention took");
    sweep(&lab.store, Removal::Expired, 60, 4).await;
    assert_eq!(lab.database.number_of("odds").await, 0);
    let found = verified(lab).await;
    assert_eq!((found.ok(), found.fewer_rows.len(), found.removed), (true, 1, 14), "{found:?}");
}

async fn a_run_whose_beginning_expired_is_not_judged(lab: &Lab) {
    let line = prices(lab, &[100; 9]).await;
    sweep(&lab.store, Removal::Compacted, 20, 1_000).await;
    sweep(&lab.store, Removal::Expired, 4, 1_000).await;
    assert_eq!(home_seconds(lab).await, [8]);
    let log: Vec<At> = (0..9).map(|second| At::Event(odds("g0", second, 100))).collect();
    let found = check(lab, &line, &log).await;
    assert!(found.missing.is_empty(), "{found:?}");
    assert_eq!(found.unjudged, [4, 5, 6, 7], "whether a run began before them is not known any more");
    strictly_clean(lab).await;
    // Without a later neighbour there was no run.
    lab.database.change("delete from odds").await;
    let found = check(lab, &line, &log).await;
    assert_eq!((found.missing.as_slice(), found.unjudged.as_slice()), (&[4, 5, 6, 7, 8][..], &[][..]));
}

async fn a_sweep_is_known_once_it_came_to_its_end(lab: &Lab) {
    let line = prices(lab, &[100, 110, 120, 130]).await;
    let known = async || lab.store.swept_before(Removal::Expired).await.expect("an answer");
    let first = Sweep { removal: Removal::Expired, horizon: at(2), chunk_rows: 3, dry_run: false };
    let chunk = lab.store.sweep(&first, None).await.expect("an answer").expect("a chunk");
    assert_eq!((chunk.removed, known().await), (2, None), "only a part of it");
    sweep_all(&lab.store, &first).await;
    assert_eq!(known().await, Some(at(2)));
    assert_eq!(sweep(&lab.store, Removal::Expired, 1, 1_000).await.removed, 0);
    assert_eq!(known().await, Some(at(2)), "it does not go back");
    // One that finds nothing is one, too, and excuses nothing.
    assert_eq!(sweep(&lab.store, Removal::Compacted, 3, 1_000).await.removed, 0);
    assert_eq!(lab.store.swept_before(Removal::Compacted).await.expect("an answer"), Some(at(3)));
    strictly_clean(lab).await;
    let log: Vec<At> = (2..4).zip([120, 130]).map(|(at, price)| At::Event(odds("g0", at, price))).collect();
    lab.database.change("delete from odds where record_offset = 2").await;
    assert_eq!(check(lab, &line, &log).await.missing, [0]);
}

async fn a_selection_that_is_gone_is_not_taken_for_expired(lab: &Lab) {
    let mut line = prices(lab, &[100; 3]).await;
    line.events(&[odds("g1", 9, 100)]).await;
    sweep(&lab.store, Removal::Expired, 5, 1_000).await;
    let never_stored = [At::Event(odds("g7", 1, 100))];
    assert_eq!(check(lab, &line, &never_stored).await.missing, [0]);
}

async fn what_proves_a_compaction_is_older_than_its_horizon(lab: &Lab) {
    let line = prices(lab, &[100; 9]).await;
    sweep(&lab.store, Removal::Compacted, 6, 1_000).await;
    assert_eq!(home_seconds(lab).await, [0, 5, 6, 7, 8]);
    lab.database.change("delete from odds where record_offset = 5").await;
    let log: Vec<At> = (0..9).map(|second| At::Event(odds("g0", second, 100))).collect();
    assert_eq!(check(lab, &line, &log).await.missing, [1, 2, 3, 4, 5], "the end of their run is gone");
}

/// What reading that log again finds.
async fn check(lab: &Lab, line: &Line<'_>, log: &[At]) -> RecordCheck {
    lab.store.check_records(line.claim.lineage_id, &batch(KIND, 0, log)).await.expect("an answer")
}

async fn a_quote_deleted_by_hand_is_still_seen(lab: &Lab) {
    let line = prices(lab, &[100, 100, 100, 120, 100]).await;
    sweep(&lab.store, Removal::Compacted, 20, 1_000).await;
    strictly_clean(lab).await;
    lab.database.change("delete from odds where record_offset = 3").await;
    let found = verified(lab).await;
    assert_eq!(found.fewer_rows.len(), 1, "{found:?}");
    assert!(found.fewer_rows[0].contains("removed"), "{found:?}");
    let log: Vec<At> = [100, 100, 100, 120, 100]
        .iter()
        .zip(0..)
        .map(|(price, at)| At::Event(odds("g0", at, *price)))
        .collect();
    let check =
        lab.store.check_records(line.claim.lineage_id, &batch(KIND, 0, &log)).await.expect("an answer");
    assert_eq!(check.missing, [3], "a change is never inside a run");
}

async fn a_removal_that_nobody_made_is_seen(lab: &Lab) {
    prices(lab, &[100, 100, 100]).await;
    sweep(&lab.store, Removal::Compacted, 20, 1_000).await;
    lab.database.change("update removals set rows = rows + 1 where rows > 0").await;
    assert_eq!(verified(lab).await.double_applied.len(), 1);
    let unknown = "insert into removals select 999, reason, rows, horizon from removals where rows > 0";
    lab.database.change(unknown).await;
    assert_eq!(verified(lab).await.double_applied.len(), 2);
}

/// Batches, replays and compactions at the same time, on several connections.
#[tokio::test(flavor = "multi_thread")]
async fn compacting_beside_live_ingest_loses_nothing() {
    let lab = Lab::on(Database::postgres().await).await;
    let sweeper = lab.database.store().await;
    let mut line = Line::open(&lab.store, KIND).await;
    let quotes: BTreeMap<(u8, u32), i64> = (0..600u32)
        .flat_map(|second| (0..GAMES).map(move |game| ((game, second), price(game, second))))
        .collect();
    let event = |key: &(u8, u32)| odds(&format!("g{}", key.0), key.1, quotes[key]);
    let (written, turns, ended) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let ingest = async {
        let mut batches = 0;
        // On until the sweeps have had their turns, too.
        while batches < 30 || turns.load(Relaxed) < 6 {
            let from = batches % 30 * 20;
            // What is new, and a replay of a part of what was.
            let replayed = quotes.iter().filter(|((_, second), _)| *second < from && second % 7 == from % 7);
            let new = quotes.iter().filter(|((_, second), _)| (from..from + 20).contains(second));
            let events: Vec<Value> = replayed.chain(new).map(|(key, _)| event(key)).collect();
            line.events(&events).await;
            written.fetch_max(from + 20, Relaxed);
            batches += 1;
        }
        ended.store(true, Relaxed);
    };
    let compact = async {
        while !ended.load(Relaxed) {
            let chunk_rows = i64::from(60 + turns.load(Relaxed));
            sweep(&sweeper, Removal::Compacted, written.load(Relaxed), chunk_rows).await;
            turns.fetch_add(1, Relaxed);
        }
    };
    tokio::join!(ingest, compact);
    sweep(&sweeper, Removal::Compacted, 600, 1_000).await;
    assert_eq!(stored_home(&lab).await, kept(&quotes, 600));
    strictly_clean(&lab).await;
    lab.database.drop_now().await;
}

/// Runs of ten to twenty seconds.
fn price(game: u8, second: u32) -> i64 {
    100 + i64::from((second / (10 + 10 * u32::from(game))) % 3) * 10
}

/// The lock is the transaction's: whoever comes meanwhile is told so, and nothing waits.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_sweeps_one_works() {
    let lab = Lab::on(Database::postgres().await).await;
    prices(&lab, &[100; 9]).await;
    let client = crate::support::postgres::connect(&lab.database.url).await;
    client
        .batch_execute("begin; select pg_advisory_xact_lock(hashtext('ledgerline removals'))")
        .await
        .expect("the lock");
    let sweep_now = Sweep { removal: Removal::Compacted, horizon: at(9), chunk_rows: 100, dry_run: false };
    assert_eq!(lab.store.sweep(&sweep_now, None).await.expect("an answer"), None);
    let dry = Sweep { dry_run: true, ..sweep_now };
    assert_eq!(sweep_all(&lab.store, &dry).await.removed, 14, "looking needs no lock");
    client.batch_execute("commit").await.expect("an answer");
    assert_eq!(sweep_all(&lab.store, &sweep_now).await.removed, 14);
    lab.database.drop_now().await;
}

/// A chunk that took longer than a statement of the line may would fail in every turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_has_more_time_than_a_batch() {
    let lab = Lab::on(Database::postgres().await).await;
    prices(&lab, &[100; 9]).await;
    let mut config = DatabaseConfig::for_url(&lab.database.url);
    config.statement_timeout_ms = 100;
    let store = Store::connect(&config).await.expect("a store");
    let client = crate::support::postgres::connect(&lab.database.url).await;
    client.batch_execute("begin; lock table odds in share mode").await.expect("the lock");
    let held = client.batch_execute("select pg_sleep(0.5); commit");
    let (swept, held) = tokio::join!(sweep(&store, Removal::Compacted, 9, 1_000), held);
    held.expect("an answer");
    assert_eq!(swept.removed, 14);
    lab.database.drop_now().await;
}

/// One chunk looks at no more rows than it was told.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_is_bounded_and_says_where_it_ended() {
    let lab = Lab::on(Database::sqlite()).await;
    prices(&lab, &[100; 50]).await;
    let sweep = Sweep { removal: Removal::Compacted, horizon: at(60), chunk_rows: 10, dry_run: false };
    let first: Result<Option<SweptChunk>, StoreError> = lab.store.sweep(&sweep, None).await;
    let first = first.expect("an answer").expect("a chunk");
    assert_eq!((first.scanned, first.removed), (10, 8));
    let next: QuoteKey = first.next.expect("more");
    assert_eq!(next.observed_at, at(9));
    // Whoever stops here and starts anew gets the same in the end.
    sweep_all(&lab.store, &sweep).await;
    assert_eq!(lab.database.number_of("odds").await, 4);
}
