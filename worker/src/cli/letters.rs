//! How dead letters are printed: tables for people, in which no byte of a record can disturb the terminal, and JSON for machines,
//! with the exact bytes. Called by `dlq.rs`.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ledgerline_schema::dead_letter::headers_from_json;
use ledgerline_schema::store::{Letter, LetterGroup, Redriven};
use ledgerline_schema::time::UtcMicros;
use serde_json::{Map, Value, json};

use super::dlq::Raw;
use super::operator::{print, print_line, tell};
use super::table::{aligned, excerpt, row};
use crate::redrive::{Outcome, Summary};

/// Characters of a payload, and of a detail, in a table.
const EXCERPT: usize = 60;

/// The list of `ls`. JSON goes out letter by letter; a table needs them all to line up.
pub(super) struct List {
    rows: Option<Vec<Vec<String>>>,
}

impl List {
    pub(super) fn new(json: bool) -> Self {
        let head = row(["ID", "TOPIC", "PART", "REASON", "STATUS", "TRIES", "CREATED", "DETAIL", "PAYLOAD"]);
        Self { rows: (!json).then(|| vec![head]) }
    }

    /// Fails when nobody reads any more.
    pub(super) fn add(&mut self, letter: &Letter) -> anyhow::Result<()> {
        let Some(rows) = &mut self.rows else { return print_line(as_json(letter)) };
        rows.push(vec![
            letter.id().to_string(),
            letter.topic.clone(),
            letter.partition.to_string(),
            letter.reason.clone(),
            letter.status.clone(),
            letter.attempts.to_string(),
            letter.created_at.to_string(),
            excerpt(letter.detail.as_bytes(), EXCERPT),
            excerpt(&letter.payload, EXCERPT),
        ]);
        Ok(())
    }

    pub(super) fn end(self) -> anyhow::Result<()> {
        match self.rows {
            Some(rows) => print(aligned(&rows).as_bytes()),
            None => Ok(()),
        }
    }
}

/// Everything about one letter.
pub(super) fn show(letter: &Letter, json: bool, raw: Option<Raw>) -> anyhow::Result<()> {
    if let Some(raw) = raw {
        let pruned = letter.pruned_at.map(|at| format!("its bytes were pruned at {at}"));
        anyhow::ensure!(pruned.is_none(), "dead letter {}: {}", letter.id(), pruned.unwrap_or_default());
        let bytes = match raw {
            Raw::Payload => &letter.payload,
            Raw::Key => letter.key.as_ref().context("the record has no key")?,
        };
        return print(bytes);
    }
    if json {
        return print_line(as_json(letter));
    }
    let or_dash = |time: Option<UtcMicros>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let mut rows = vec![
        vec!["id".into(), letter.id().to_string()],
        vec!["record".into(), format!("{}[{}] offset {}", letter.topic, letter.partition, letter.offset)],
        vec!["timestamp".into(), or_dash(letter.timestamp)],
        vec!["reason".into(), letter.reason.clone()],
        vec!["detail".into(), excerpt(letter.detail.as_bytes(), usize::MAX)],
        vec!["correlation id".into(), text(&letter.correlation_id)],
        vec!["trace parent".into(), text(&letter.trace_parent)],
        vec!["stored".into(), letter.created_at.to_string()],
        vec!["status".into(), letter.status.clone()],
        vec!["attempts".into(), format!("{}, last {}", letter.attempts, or_dash(letter.attempted_at))],
        vec!["resolved".into(), or_dash(letter.resolved_at)],
        vec!["pruned".into(), or_dash(letter.pruned_at)],
        vec!["key".into(), letter.key.as_ref().map_or("null".into(), |key| excerpt(key, usize::MAX))],
    ];
    for (name, value) in headers_from_json(&letter.headers).unwrap_or_default() {
        let value = value.map_or("null".into(), |value| excerpt(&value, usize::MAX));
        rows.push(vec!["header".into(), format!("{}: {value}", excerpt(&name, usize::MAX))]);
    }
    rows.push(vec!["payload".into(), excerpt(&letter.payload, usize::MAX)]);
    print(aligned(&rows).as_bytes())
}

fn as_json(letter: &Letter) -> Value {
    let time = |time: Option<UtcMicros>| time.map(|time| time.to_string());
    let headers: Value = serde_json::from_str(&letter.headers.0).unwrap_or_default();
    let mut object = Map::new();
    let fields = json!({
        "id": letter.id().to_string(),
        "lineage": letter.lineage_id,
        "offset": letter.offset,
        "topic": letter.topic,
        "partition": letter.partition,
        "timestamp": time(letter.timestamp),
        "reason": letter.reason,
        "detail": letter.detail,
        "correlation_id": letter.correlation_id,
        "trace_parent": letter.trace_parent,
        "created_at": letter.created_at.to_string(),
        "status": letter.status,
        "attempts": letter.attempts,
        "attempted_at": time(letter.attempted_at),
        "resolved_at": time(letter.resolved_at),
        "pruned_at": time(letter.pruned_at),
        "headers": headers,
    });
    object.extend(fields.as_object().cloned().unwrap_or_default());
    put_bytes(&mut object, "key", letter.key.as_deref());
    put_bytes(&mut object, "payload", Some(&letter.payload));
    Value::Object(object)
}

/// The exact bytes, and as text where they are UTF-8.
fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    object.insert(format!("{name}_base64"), json!(bytes.map(|bytes| BASE64.encode(bytes))));
    object.insert(name.to_owned(), json!(bytes.and_then(|bytes| std::str::from_utf8(bytes).ok())));
}

/// Counts, and how old.
pub(super) fn stats(groups: &[LetterGroup], json: bool) -> anyhow::Result<()> {
    let time = |time: Option<UtcMicros>| time.map(|time| time.to_string());
    if json {
        for group in groups {
            let object = json!({
                "topic": group.topic, "reason": group.reason, "status": group.status, "letters": group.letters,
                "oldest": time(group.oldest), "newest": time(group.newest), "attempts": group.attempts.unwrap_or(0),
            });
            print_line(object)?;
        }
        return Ok(());
    }
    let mut rows = vec![row(["TOPIC", "REASON", "STATUS", "LETTERS", "OLDEST", "NEWEST", "TRIES"])];
    rows.extend(groups.iter().map(|group| {
        vec![
            group.topic.clone(),
            group.reason.clone(),
            group.status.clone(),
            group.letters.to_string(),
            time(group.oldest).unwrap_or_default(),
            time(group.newest).unwrap_or_default(),
            group.attempts.unwrap_or(0).to_string(),
        ]
    }));
    print(aligned(&rows).as_bytes())
}

/// A letter that was not applied, on standard error: standard output has the summary.
pub(super) fn tell_refusal(letter: &Letter, outcome: &Outcome) {
    let what = match outcome {
        Outcome::Tried(Redriven::Applied(_)) => return,
        Outcome::Tried(Redriven::StillDead(rejection)) => {
            format!("still dead: {}", excerpt(rejection.to_string().as_bytes(), usize::MAX))
        }
        Outcome::Tried(Redriven::Overtaken) => "somebody else settled or tried it at the same time".into(),
        Outcome::Unpatched(problem) => {
            format!("the patch does not fit: {}", excerpt(problem.as_bytes(), 300))
        }
        Outcome::NotTried(problem) => format!("not tried: {}", excerpt(problem.as_bytes(), 300)),
    };
    tell(format_args!("{}: {what}", letter.id()));
}

/// What `redrive` did.
pub(super) fn redriven(summary: &Summary, dry_run: bool, json: bool) -> anyhow::Result<()> {
    if json {
        let mut object = serde_json::to_value(summary)?;
        object["dry_run"] = json!(dry_run);
        return print_line(object);
    }
    let Summary { redriven, inserted, updated, duplicate, stale, .. } = summary;
    let would = if dry_run { "would be redriven" } else { "redriven" };
    let rows = format!("{inserted} inserted, {updated} updated, {duplicate} duplicate, {stale} stale");
    print_line(format_args!("{redriven} {would}; rows: {rows}"))?;
    for (reason, letters) in &summary.still_dead {
        print_line(format_args!("{letters} still dead: {reason}"))?;
    }
    if summary.unpatched > 0 {
        print_line(format_args!("{} not tried: the patch does not fit", summary.unpatched))?;
    }
    if summary.overtaken > 0 {
        print_line(format_args!("{} not tried: somebody else was at them", summary.overtaken))?;
    }
    if summary.not_tried > 0 {
        print_line(format_args!("{} not tried: they could not be", summary.not_tried))?;
    }
    Ok(())
}

/// What `discard` or `prune` did.
pub(super) fn settled(what: &str, letters: usize, dry_run: bool, json: bool) -> anyhow::Result<()> {
    if json {
        print_line(json!({what: letters, "dry_run": dry_run}))
    } else {
        let would = if dry_run { "would be " } else { "" };
        print_line(format_args!("{letters} dead letters {would}{what}"))
    }
}
