//! The table against what is really exported: everything that can happen happens here once, in a recorder of the test's own.

use std::collections::{BTreeMap, BTreeSet};

use ledgerline_schema::batch::{Batch, Dispositions, RowCounts};
use ledgerline_schema::events::{EventKind, RawRecord, Rejection};
use ledgerline_schema::store::Lookups;

use super::*;

/// One batch with one good record and one dead one.
fn batch() -> (Batch, WriteReport) {
    let mut batch = Batch::new(EventKind::Odds.rows(), 0);
    let raw = RawRecord { value: b"{}", headers: &[], timestamp: Some(UtcMicros(1)) };
    batch.push(0, None, &raw);
    let reason = *Reason::ALL.first().expect("a reason");
    let dead = vec![DeadRecord { record: 0, rejection: Rejection::new(reason, "no event") }];
    let report = WriteReport {
        dispositions: Dispositions::default(),
        rows: RowCounts::default(),
        dead,
        attempts: 1,
        lookups: Lookups { hits: 1, misses: 1 },
    };
    (batch, report)
}

/// Calls every function of the module.
fn everything() {
    let (topic, now) = ("odds", UtcMicros(1_000_000));
    describe();
    touch(topic, Mode::Live);
    let (batch, report) = batch();
    dispatched(topic, Mode::Live, &batch, Trigger::Age);
    flags(topic, Flags::default());
    written(topic, Mode::Live, &batch, &report, Duration::from_millis(3), now);
    write_failed(topic, BatchOutcome::Failed);
    circuit(Circuit::Closed);
    fenced(topic);
    rebalance(topic, Rebalance::Assigned);
    assigned(topic, 1);
    topic_partitions(topic, 1);
    kafka_client_error(topic);
    kafka_commit(topic, true);
    halted(topic, 0, None);
    paused(topic, 0, true);
    lag(topic, 0, 1, 2);
    lag_seconds(topic, 0, 1.0);
    forget_partition(topic, 0);
    pool(PoolState { idle: 1, in_use: 1, max: 2, ..PoolState::default() });
    outage(true);
    spooled(topic, &batch);
    spool_failed(topic);
    spool_holds(topic, 1, 2);
    spool_size(1, 2);
    touch_sweep(Removal::Compacted);
    swept(Removal::Compacted, &SweptChunk { scanned: 1, selections: 1, removed: 1, next: None });
    sweep_ended(Removal::Compacted, SweepOutcome::Completed, Duration::from_secs(1), now);
    touch_workflows();
    drop(workflow_runs(WorkflowKind::Replay));
    workflow_became(WorkflowKind::Replay, State::Running);
    workflow_done(0.5);
    yielding(true);
    tick(now);
}

/// Names of series with the names of their labels, as they are rendered.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let recorder = builder().expect("buckets").build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, everything);
    let mut series: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in handle.render().lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let inside =
            line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(all, _)| all);
        let labels = inside.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        series.entry(name.to_owned()).or_default().extend(labels);
    }
    series
}

/// What the table promises.
fn promised() -> BTreeMap<String, BTreeSet<String>> {
    let mut series = BTreeMap::new();
    for metric in METRICS {
        let labels: BTreeSet<String> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        if metric.kind() == Kind::Histogram {
            for (end, le) in [("_bucket", true), ("_sum", false), ("_count", false)] {
                let more = le.then(|| "le".to_owned());
                let labels = labels.iter().cloned().chain(more).collect();
                series.insert(format!("{}{end}", metric.name), labels);
            }
        } else {
            series.insert(metric.name.to_owned(), labels);
        }
    }
    series
}

#[test]
fn the_table_is_what_is_exported() {
    let (exported, promised) = (exported(), promised());
    let beside = |a: &BTreeMap<String, BTreeSet<String>>, b: &BTreeMap<String, BTreeSet<String>>| {
        let differs = |(name, labels): &(&String, &BTreeSet<String>)| b.get(*name) != Some(labels);
        a.iter().filter(differs).map(|(name, labels)| format!("{name} {labels:?}")).collect::<Vec<_>>()
    };
    let (more, less) = (beside(&exported, &promised), beside(&promised, &exported));
    assert_eq!((more, less), (vec![], vec![]), "left: exported and in no table; promised and not exported");
}

#[test]
fn names_say_what_they_count() {
    for metric in METRICS {
        assert!(metric.name.starts_with("ledgerline_"), "{}", metric.name);
        assert!(metric.text.ends_with('.'), "{}: a sentence", metric.name);
        let sum_of_time = metric.name.ends_with("_seconds");
        assert!(!metric.labels.contains(&"le"), "{}: le is the histogram's", metric.name);
        assert_eq!(metric.name.contains("seconds"), sum_of_time, "{}: seconds come last", metric.name);
    }
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len(), "each has one line");
}
