//! The spool: batches wait in a file with their position, and leave it only when the database accounts for them.

use ledgerline_schema::batch::{Batch, Dispositions};
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{
    ClaimAnswer, ClaimRequest, Halt, Lineage, LogNow, LogRange, Order, Spool, Store, WriteError,
};

use super::lab::{At, Lab, Line, claim, lineage, now, odds, request};

const KIND: EventKind = EventKind::Odds;

on_both! {
    a_batch_and_its_position_are_kept_together,
    what_comes_out_is_stored_as_if_it_had_never_waited,
    only_what_the_ledger_accounts_for_is_dropped,
    a_log_whose_id_was_not_always_told_is_the_same_log,
    what_was_given_up_is_kept,
    what_a_reset_took_back_is_no_proof,
    a_gap_before_the_spool_halts_by_name_and_can_be_given_up,
}

/// A spool that is told where partition 0 stands: at 0.
async fn spool() -> (tempfile::TempDir, Spool) {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(&folder.path().join("spool.db"), 16).await.expect("a spool");
    begin(&spool, 0).await;
    (folder, spool)
}

async fn begin(spool: &Spool, from: i64) {
    spool.begin("group", &[(lineage(KIND, 0), from)], now()).await.expect("begun");
}

/// A line into the spool, which goes on where the spool stands.
async fn line(spool: &Spool) -> Line<'_> {
    line_on(spool.store()).await
}

/// A line that goes on where the store stands.
async fn line_on(store: &Store) -> Line<'_> {
    let claim = claim(store, &request(lineage(KIND, 0))).await;
    let next = claim.next_offset;
    Line { store, kind: KIND, claim, next, hour: now().hour() }
}

fn quotes(seconds: std::ops::Range<u32>) -> Vec<At> {
    seconds.map(|second| At::Event(odds("g", second, -110))).collect()
}

/// The ranges that wait.
async fn waiting(spool: &Spool) -> Vec<(i64, i64)> {
    spool.ranges("group", &lineage(KIND, 0)).await.expect("ranges")
}

async fn drop_stored(spool: &Spool, lab: &Lab) -> usize {
    let log = lineage(KIND, 0);
    let stored = lab.store.stored_ranges("group", &log, 0).await.expect("an answer");
    spool.drop_stored("group", &log, i64::MAX, &stored).await.expect("an answer")
}

/// The borders of all segments that wait, whether they follow each other or not.
async fn borders(spool: &Spool) -> Vec<(i64, i64)> {
    let mut borders = Vec::new();
    for (from, to) in waiting(spool).await {
        let mut at_offset = from;
        while at_offset < to {
            let segment =
                spool.at("group", &lineage(KIND, 0), at_offset).await.expect("an answer").expect("it waits");
            borders.push((segment.from, segment.to));
            at_offset = segment.to;
        }
    }
    borders
}

/// What waits at a position, as a batch.
async fn at(spool: &Spool, position: i64) -> Option<Batch> {
    let segment = spool.at("group", &lineage(KIND, 0), position).await.expect("an answer")?;
    let batch = Batch::from_segment(KIND, segment.format, &segment.body, position, segment.to);
    Some(batch.expect("a batch"))
}

async fn a_batch_and_its_position_are_kept_together(_lab: &Lab) {
    let (_folder, spool) = spool().await;
    let mut first = line(&spool).await;
    let log = [At::Event(odds("g", 1, -110)), At::Bytes("{"), At::Tombstone, At::Hole];
    let report = first.write(&log).await;
    let (applied, dead, tombstone, hole) = (1, 1, 1, 1);
    assert_eq!(
        report.dispositions,
        Dispositions { applied, dead, tombstone, hole, ..Dispositions::default() }
    );
    assert_eq!((first.position().await.next_offset, waiting(&spool).await), (4, vec![(0, 4)]));

    let second = line(&spool).await;
    let fenced = first.try_write(&first.batch(&[At::Hole])).await;
    assert!(matches!(fenced, Err(WriteError::Fenced)), "{fenced:?}");
    assert_eq!((second.position().await.next_offset, waiting(&spool).await), (4, vec![(0, 4)]));

    begin(&spool, 2).await;
    assert_eq!(second.position().await.next_offset, 4, "what waits follows that");
    begin(&spool, 9).await;
    assert_eq!(line(&spool).await.next, 9);
    begin(&spool, 6).await;
    assert_eq!(line(&spool).await.next, 6, "the database was set back, and nothing that waits follows");
    let held = &spool.held().await.expect("what waits")[0];
    assert_eq!((held.from, held.to, held.segments, held.records), (0, 4, 1, 2));
}

async fn what_comes_out_is_stored_as_if_it_had_never_waited(lab: &Lab) {
    let (twin, (_folder, spool)) = (lab.twin().await, spool().await);
    let (mut straight, mut detour) = (Line::open(&twin.store, KIND).await, line(&spool).await);
    let mut drained = Line::open(&lab.store, KIND).await;
    for log in [
        vec![At::Event(odds("g", 1, -110)), At::Bytes("{"), At::Tombstone, At::Hole],
        vec![At::Event(odds("g", 1, -120)), At::Event(odds("g", 2, -110)), At::Tombstone],
        vec![At::Hole, At::Hole],
    ] {
        straight.write(&log).await;
        detour.write(&log).await;
    }
    while let Some(batch) = at(&spool, drained.next).await {
        drained.try_write(&batch).await.expect("written");
        drained.next = batch.to;
    }
    for view in ["readable_odds", "partition_offsets", "offset_ledger", "dead_letters"] {
        assert_eq!(lab.database.view(view).await, twin.database.view(view).await, "{view}");
    }
    assert_eq!(drop_stored(&spool, lab).await, 3);
    assert_eq!((waiting(&spool).await, drop_stored(&spool, lab).await), (vec![], 0));
}

async fn only_what_the_ledger_accounts_for_is_dropped(lab: &Lab) {
    let (_folder, spool) = spool().await;
    let mut detour = line(&spool).await;
    for seconds in [0..4, 4..8, 8..12] {
        detour.write(&quotes(seconds)).await;
    }
    // Another worker has read the same from Kafka, in other batches, up to the middle of the second segment.
    let mut other = Line::open(&lab.store, KIND).await;
    other.write(&quotes(0..3)).await;
    assert_eq!(drop_stored(&spool, lab).await, 0);
    other.write(&quotes(3..6)).await;
    assert_eq!((drop_stored(&spool, lab).await, borders(&spool).await), (1, vec![(4, 8), (8, 12)]));
    let rest = at(&spool, 6).await.expect("the rest of it");
    assert_eq!((rest.from, rest.to, rest.records.len()), (6, 8, 2));
    other.try_write(&rest).await.expect("written");
    assert_eq!((drop_stored(&spool, lab).await, waiting(&spool).await), (1, vec![(8, 12)]));
    // A position that only passes it accounts for nothing.
    lab.database.change("update partition_offsets set next_offset = 12").await;
    assert_eq!((drop_stored(&spool, lab).await, waiting(&spool).await), (0, vec![(8, 12)]));
}

async fn a_log_whose_id_was_not_always_told_is_the_same_log(lab: &Lab) {
    let nameless = Lineage { topic_id: String::new(), ..lineage(KIND, 0) };
    lab.store.start("group", &[(nameless.clone(), 0)], now()).await.expect("a start");
    let claim = claim(&lab.store, &request(lineage(KIND, 0))).await;
    let mut stored = Line { store: &lab.store, kind: KIND, claim, next: 0, hour: now().hour() };
    stored.write(&quotes(0..4)).await;
    let (_folder, spool) = spool().await;
    line(&spool).await.write(&quotes(0..4)).await;
    assert_eq!((drop_stored(&spool, lab).await, waiting(&spool).await), (1, vec![]));
    for (one, other, same) in [
        (lineage(KIND, 0), nameless.clone(), true),
        (nameless.clone(), nameless, true),
        (lineage(KIND, 0), Lineage { topic_id: "another".into(), ..lineage(KIND, 0) }, false),
        (lineage(KIND, 0), Lineage { cluster_id: "another".into(), ..lineage(KIND, 0) }, false),
        (lineage(KIND, 0), lineage(KIND, 1), false),
    ] {
        assert_eq!((one.is_same_log(&other), other.is_same_log(&one)), (same, same), "{one:?} {other:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_and_looked_past_until_the_file_is_opened_again() {
    let (folder, spool) = spool().await;
    let mut detour = line(&spool).await;
    detour.write(&quotes(0..4)).await;
    detour.write(&quotes(4..8)).await;
    let log = lineage(KIND, 0);
    let first = spool.at("group", &log, 0).await.expect("an answer").expect("it waits");
    spool.set_aside("group", &log, &first).await.expect("set aside");
    assert_eq!((at(&spool, 0).await.is_none(), waiting(&spool).await), (true, vec![(4, 8)]));
    assert_eq!(spool.held().await.expect("what waits")[0].segments, 2, "it is kept");
    begin(&spool, 0).await;
    assert_eq!(line(&spool).await.next, 0, "its offsets are spooled again, if Kafka has them");
    drop(spool);
    let again = Spool::open(&folder.path().join("spool.db"), 16).await.expect("the same file");
    assert_eq!(waiting(&again).await, [(0, 8)]);
}

fn order() -> Order {
    let (actor, reason) = ("an operator".into(), "a test".into());
    Order { group: "group".into(), topic: "odds".into(), partition: 0, actor, reason, now: now() }
}

fn kafka(low: i64, high: i64) -> LogNow {
    LogNow { lineage: lineage(KIND, 0), range: LogRange { low, high } }
}

async fn what_was_given_up_is_kept(lab: &Lab) {
    let (_folder, spool) = spool().await;
    line(&spool).await.write(&quotes(0..4)).await;
    Line::open(&lab.store, KIND).await;
    lab.store.accept_loss(&order(), &kafka(4, 9), None).await.expect("a loss");
    assert_eq!((drop_stored(&spool, lab).await, waiting(&spool).await), (0, vec![(0, 4)]));
    line_on(&lab.store).await.write(&quotes(4..8)).await;
    assert_eq!(
        (drop_stored(&spool, lab).await, waiting(&spool).await),
        (0, vec![(0, 4)]),
        "later ones do not count"
    );
}

async fn what_a_reset_took_back_is_no_proof(lab: &Lab) {
    Line::open(&lab.store, KIND).await.write(&quotes(0..8)).await;
    // The log has lost its newest records: other ones have their offsets now, and one of them waits.
    lab.store.reset(&order(), &kafka(0, 6), 3).await.expect("a reset");
    let (_folder, spool) = spool().await;
    begin(&spool, 3).await;
    line(&spool).await.write(&quotes(20..23)).await;
    assert_eq!((drop_stored(&spool, lab).await, waiting(&spool).await), (0, vec![(3, 6)]));
    line_on(&lab.store).await.write(&quotes(20..23)).await;
    assert_eq!((drop_stored(&spool, lab).await, waiting(&spool).await), (1, vec![]));
}

#[tokio::test]
async fn a_segment_is_not_replaced_by_one_that_says_less() {
    let (_folder, spool) = spool().await;
    begin(&spool, 4).await;
    line(&spool).await.write(&quotes(4..9)).await;
    begin(&spool, 0).await; // the database was set back
    let mut again = line(&spool).await;
    again.write(&quotes(0..4)).await;
    again.write(&quotes(4..6)).await;
    assert_eq!((again.next, borders(&spool).await), (6, vec![(0, 4), (4, 9)]));
}

async fn a_gap_before_the_spool_halts_by_name_and_can_be_given_up(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&quotes(0..3)).await;
    let log = LogRange { low: 8, high: 20 };
    let asks = ClaimRequest { log, spooled: vec![(1, 3), (5, 12)], ..request(lineage(KIND, 0)) };
    let answer = lab.store.claim(&asks, now()).await.expect("an answer");
    assert_eq!(answer, ClaimAnswer::Halted(Halt::SpoolGap { next: 3, low: 8, spooled: 5 }));
    let needless =
        lab.store.accept_loss(&order(), &kafka(8, 20), None).await.expect_err("refused").to_string();
    assert!(needless.contains("--to") && needless.contains("spool"), "{needless}");
    let moved = lab.store.accept_loss(&order(), &kafka(8, 20), Some(5)).await.expect("a loss");
    assert_eq!((moved.from, moved.to, moved.lost), (3, 5, 2));
    let earlier = ClaimRequest { spooled: vec![(1, 3)], ..asks };
    lab.database.change("update partition_offsets set halted = null").await;
    let answer = lab.store.claim(&earlier, now()).await.expect("an answer");
    assert_eq!(
        answer,
        ClaimAnswer::Halted(Halt::RetentionPassed { next: 5, low: 8 }),
        "it holds nothing later"
    );
}

#[tokio::test]
async fn a_spool_has_a_bound_and_one_owner() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("spool.db");
    let spool = Spool::open(&file, 1).await.expect("a spool");
    begin(&spool, 0).await;
    let mut line = line(&spool).await;
    let mut kept = 0;
    let full = loop {
        // What does not compress.
        let bytes: String = (0..40_000).map(|_| char::from(rand::random_range(b'0'..=b'z'))).collect();
        let mut batch = Batch::new(KIND.rows(), line.next);
        let raw =
            ledgerline_schema::events::RawRecord { value: bytes.as_bytes(), headers: &[], timestamp: None };
        batch.push(line.next, None, &raw);
        match line.try_write(&batch).await {
            Ok(_) => (kept, line.next) = (kept + 1, batch.to),
            Err(error) => break error,
        }
    };
    assert!((5..60).contains(&kept), "{kept}");
    assert!(full.to_string().contains("full"), "{full}");
    assert_eq!(borders(&spool).await.len(), kept);
    let refused = Spool::open(&file, 1).await.expect_err("somebody has it").to_string();
    assert!(refused.contains("cannot open the spool") && refused.contains("spool.db"), "{refused}");
    let nowhere =
        Spool::open(&folder.path().join("no/spool.db"), 1).await.expect_err("no folder").to_string();
    assert!(nowhere.contains("does not exist"), "{nowhere}");
}
