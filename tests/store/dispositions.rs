//! Every offset has one disposition, also where no row comes of it.

use ledgerline_schema::batch::{Dispositions, RowCounts};
use ledgerline_schema::events::{EventKind, RawHeader, RawRecord, Reason};

use super::lab::{At, Lab, Line, now, odds};

on_both! {
    a_batch_of_only_dead_letters_is_accounted_for,
    a_batch_of_only_tombstones_is_accounted_for,
    a_batch_of_only_holes_is_accounted_for,
    an_empty_range_changes_nothing_but_may_be_written,
    a_mixed_batch_sums_up,
    a_dead_letter_keeps_the_record_byte_for_byte,
    a_thousand_dead_letters_and_one_fit_one_batch,
    a_dead_letter_that_another_group_stored_stays_as_it_is,
}

const KIND: EventKind = EventKind::Odds;

fn none() -> Dispositions {
    Dispositions::default()
}

async fn sums(lab: &Lab) -> String {
    let sum = |column: &str| format!("cast(sum({column}) as text)");
    let columns = ["to_offset - from_offset", "applied", "dead", "tombstone", "hole"].map(sum);
    lab.database.line(&format!("select {} as line from offset_ledger", columns.join(" || ' ' || "))).await
}

async fn a_batch_of_only_dead_letters_is_accounted_for(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let report = line.write(&[At::Bytes("{"), At::Bytes("no")]).await;
    assert_eq!(report.dispositions, Dispositions { dead: 2, ..none() });
    assert_eq!(report.rows, RowCounts::default());
    assert_eq!(report.dead.len(), 2);
    assert_eq!(sums(lab).await, "2 0 2 0 0");
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}

async fn a_batch_of_only_tombstones_is_accounted_for(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let report = line.write(&[At::Tombstone, At::Tombstone, At::Tombstone]).await;
    assert_eq!(report.dispositions, Dispositions { tombstone: 3, ..none() });
    assert_eq!(sums(lab).await, "3 0 0 3 0");
    assert_eq!(line.position().await.next_offset, 3);
}

async fn a_batch_of_only_holes_is_accounted_for(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let report = line.write(&[At::Hole, At::Hole]).await;
    assert_eq!(report.dispositions, Dispositions { hole: 2, ..none() });
    assert_eq!(sums(lab).await, "2 0 0 0 2");
    assert_eq!(line.position().await.next_offset, 2);
}

async fn an_empty_range_changes_nothing_but_may_be_written(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    for _ in 0..2 {
        assert!(line.batch(&[]).is_empty());
        assert_eq!(line.write(&[]).await.dispositions, none());
        assert_eq!(line.position().await.next_offset, 0);
    }
    line.write(&[At::Hole]).await;
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}

async fn a_mixed_batch_sums_up(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let log = [At::Hole, At::Event(odds("g", 1, -110)), At::Bytes("{"), At::Tombstone, At::Hole, At::Hole];
    let report = line.write(&log).await;
    assert_eq!(report.dispositions, Dispositions { applied: 1, dead: 1, tombstone: 1, skipped: 0, hole: 3 });
    assert_eq!(sums(lab).await, "6 1 1 1 3");
}

async fn a_dead_letter_keeps_the_record_byte_for_byte(lab: &Lab) {
    let line = Line::open(&lab.store, KIND).await;
    let mut batch = line.batch(&[]);
    let headers = [
        RawHeader { name: b"trace", value: Some(b"\xff\x00") },
        RawHeader { name: b"none", value: None },
        RawHeader { name: b"correlation_id", value: Some(b"poll-7") },
    ];
    batch.push(
        0,
        Some(b"\x00key"),
        &RawRecord { value: b"\x00\xff{", headers: &headers, timestamp: Some(now()) },
    );
    batch.push(1, None, &RawRecord { value: b"", headers: &[], timestamp: None });
    line.try_write(&batch).await.expect("written");
    let hex = |column: &str| {
        if lab.database.is_sqlite() {
            format!("lower(hex({column}))")
        } else {
            format!("encode({column}, 'hex')")
        }
    };
    let sql = format!(
        "select record_offset || ' ' || (case when key is null then 'null' else {} end) || ' ' || {} || ' ' || reason || ' ' || \
         coalesce(correlation_id, 'null') || ' ' || (case when record_timestamp is null then 'never' else 'then' end) as line \
         from dead_letters",
        hex("key"),
        hex("payload"),
    );
    let expected = ["0 006b6579 00ff7b malformed_json poll-7 then", "1 null  malformed_json null never"];
    assert_eq!(lab.database.lines(&sql).await, expected);
    let stored = lab
        .database
        .line("select cast(headers as text) as line from dead_letters where record_offset = 0")
        .await;
    let back = ledgerline_schema::dead_letter::headers_from_json(&ledgerline_schema::sql_types::Json(stored));
    let sent = headers.map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec)));
    assert_eq!(back, Some(sent.to_vec()));
}

async fn a_thousand_dead_letters_and_one_fit_one_batch(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    let report = line.write(&vec![At::Bytes("{"); 1_001]).await;
    assert_eq!(report.dispositions.dead, 1_001);
    assert!(report.dead.iter().all(|dead| dead.rejection.reason == Reason::MalformedJson));
    let stored = lab.database.line("select cast(count(*) as text) as line from dead_letters").await;
    assert_eq!(stored, "1001");
}

async fn a_dead_letter_that_another_group_stored_stays_as_it_is(lab: &Lab) {
    let mut line = Line::open(&lab.store, KIND).await;
    line.write(&[At::Bytes("{")]).await;
    let before = lab.database.view("dead_letters").await;
    let lineage = super::lab::lineage(KIND, 0);
    lab.store.start("other", &[(lineage.clone(), 0)], now()).await.expect("a start");
    let request =
        ledgerline_schema::store::ClaimRequest { group: "other".into(), ..super::lab::request(lineage) };
    let claim = super::lab::claim(&lab.store, &request).await;
    let mut other = Line { claim, next: 0, ..line };
    assert_eq!(other.write(&[At::Bytes("{")]).await.dispositions.dead, 1);
    assert_eq!(lab.database.view("dead_letters").await, before);
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}
