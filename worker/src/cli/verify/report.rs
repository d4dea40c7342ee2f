//! What `verify` says. Called by `verify.rs`.

use ledgerline_schema::store::Verification;
use serde_json::{Value, json};

/// What all of it comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All is proved that was asked for.
    Clean,
    /// Something is wrong.
    Violated,
    /// Nobody has ever written to this database.
    Nothing,
    /// The ledger is clean, and Kafka was to be asked and had nothing to compare with.
    Unproved,
}

/// One JSON object. `compared` are the ranges that were, and the records that could not be judged.
pub(super) fn as_json(
    found: &Verification,
    (missing, notes): (&[String], &[String]),
    compared: Option<(usize, usize)>,
    verdict: Verdict,
) -> Value {
    json!({
        "partitions": found.partitions,
        "records": found.records,
        "lost": found.lost,
        "gaps": found.gaps.len(),
        "overlaps": found.overlaps.len(),
        "bad_sums": found.bad_sums.len(),
        "double_applied": found.double_applied.len(),
        "removed": found.removed,
        "fewer_rows": found.fewer_rows.len(),
        "missing": missing.len(),
        "compared": compared.map(|(ranges, _)| ranges),
        "unjudged": compared.map(|(_, records)| records),
        "orphan_selections": found.orphan_quotes,
        "violations": violations(found, missing),
        "notes": notes,
        "ok": verdict == Verdict::Clean,
    })
}

/// Lines for people.
pub(super) fn in_lines(
    found: &Verification,
    (missing, notes): (&[String], &[String]),
    compared: Option<(usize, usize)>,
    verdict: Verdict,
) -> String {
    let mut lines = violations(found, missing);
    lines.extend(notes.iter().map(|note| format!("note: {note}")));
    if found.lost > 0 {
        lines.push(format!("note: {} offsets were given up by operators (lost)", found.lost));
    }
    if found.removed > 0 {
        lines.push(format!("note: {} quotes were removed by compaction and retention", found.removed));
    }
    if let Some((ranges, unjudged)) = compared {
        lines.push(format!("note: {ranges} ranges were compared with Kafka"));
        if unjudged > 0 {
            lines.push(format!(
                "note: {unjudged} records were not judged: a quote of theirs is not there, and what it may have been equal to \
                 has expired"
            ));
        }
    }
    let verdict = match verdict {
        Verdict::Clean => "clean",
        Verdict::Violated => "VIOLATED",
        Verdict::Nothing => "NOTHING PROVED",
        Verdict::Unproved => "NOT COMPARED",
    };
    lines.push(format!(
        "{verdict}: {} records on {} partitions accounted for\n",
        found.records, found.partitions
    ));
    lines.join("\n")
}

fn violations(found: &Verification, missing: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(found.gaps.iter().map(|gap| format!("gap: {gap}")));
    lines.extend(found.overlaps.iter().map(|overlap| format!("overlap: {overlap}")));
    lines.extend(found.bad_sums.iter().map(|sum| format!("sum: {sum}")));
    lines.extend(found.double_applied.iter().map(|lineage| format!("applied twice: {lineage}")));
    lines.extend(missing.iter().map(|record| format!("missing: {record}")));
    if found.orphan_quotes > 0 {
        lines.push(format!("orphans: {} quotes of selections that do not exist", found.orphan_quotes));
    }
    lines
}
