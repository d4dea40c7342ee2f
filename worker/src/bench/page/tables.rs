//! The tables of the page, as Markdown. Reads the documents by the names of their fields and takes what is there.

use std::fmt::Write as _;

use serde_json::Value;

use super::Documents;

/// What a figure must be.
#[derive(Clone, Copy)]
enum Bound {
    Least(f64),
    Most(f64),
    MostMib(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Least(bound) => value >= bound,
            Self::Most(bound) | Self::MostMib(bound) => value <= bound,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Least(bound) => format!("at least {bound:.2}"),
            Self::Most(bound) => format!("at most {bound:.2}"),
            Self::MostMib(bound) => format!("at most {bound:.0} MiB"),
        }
    }

    fn shown(self, value: f64) -> String {
        match self {
            Self::Least(_) | Self::Most(_) => format!("{value:.2}"),
            Self::MostMib(_) => format!("{value:.0} MiB"),
        }
    }
}

/// The figures that this project holds itself to.
pub fn required(documents: &Documents) -> String {
    let Documents { write, e2e, growth } = documents;
    let figures = [
        ("our write ÷ COPY into the same table", Bound::Least(0.65), write, "/ratios/write_to_copy"),
        ("our write ÷ one INSERT with a list of VALUES", Bound::Least(2.5), write, "/ratios/write_to_values"),
        (
            "our write of nothing but duplicates ÷ of nothing but new rows",
            Bound::Least(0.4),
            write,
            "/ratios/duplicates_to_write",
        ),
        (
            "quotes/s from Kafka to the commit ÷ our write alone",
            Bound::Least(0.7),
            e2e,
            "/ratios/e2e_to_write",
        ),
        (
            "throughput at the end of growth ÷ at its beginning",
            Bound::Least(0.85),
            growth,
            "/ratios/rows_per_second_last_to_first",
        ),
        (
            "peak memory of the worker while it drains the backlog",
            Bound::MostMib(128.0),
            e2e,
            "/drain/peak_memory_mib",
        ),
        (
            "p99 from event to commit ÷ (age of a batch + p99 of an empty commit)",
            Bound::Most(2.0),
            e2e,
            "/ratios/latency_to_flush_and_commit",
        ),
    ];
    let mut text = "| figure | required | found | holds |\n|---|---|---|---|\n".to_owned();
    for (says, bound, document, pointer) in figures {
        let found = document.pointer(pointer).and_then(Value::as_f64);
        let shown = found.map_or("not measured".to_owned(), |value| bound.shown(value));
        let holds = match found.map(|value| bound.holds(value)) {
            Some(true) => "yes ",
            Some(false) => "**no** ",
            None => "",
        };
        let _ = writeln!(text, "| {says} | {} | {shown} | {holds}|", bound.text()); // a String takes everything
    }
    text + "\n"
}

/// The ways to write, beside each other.
pub fn write(document: &Value) -> String {
    let columns = ["method", "rows_per_second", "ratio_to_copy", "client_us_per_row", "server_us_per_row"];
    let head = "## Writing\n\n`bench write`: the same quotes, each way on one connection.\n\n\
                | method | rows/s | ÷ COPY | client µs/row | server µs/row |\n|---|---|---|---|---|\n";
    list(head, document.get("methods"), &columns)
}

/// The windows of a growing table.
pub fn growth(document: &Value) -> String {
    let columns =
        ["rows", "rows_per_second", "rows_per_server_cpu_second", "wal_bytes_per_row", "index_bytes_per_row"];
    let head = "## Growth\n\n`bench growth`: the same write while the table grows.\n\n\
                | rows in the table | rows/s | rows per second of the server's CPU | log bytes/row | key bytes/row |\n\
                |---|---|---|---|---|\n";
    list(head, document.get("windows"), &columns)
}

fn list(head: &str, lines: Option<&Value>, columns: &[&str]) -> String {
    let Some(lines) = lines.and_then(Value::as_array) else { return String::new() };
    let mut text = head.to_owned();
    for line in lines {
        let cells: Vec<String> = columns.iter().map(|column| cell(line.get(column))).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text + "\n"
}

/// The whole line.
pub fn e2e(document: &Value) -> String {
    if document.is_null() {
        return String::new();
    }
    let lines = [
        ("events/s, drained", "/drain/events_per_second"),
        ("quotes/s, drained", "/drain/quotes_per_second"),
        ("quotes/s, written alone", "/write_alone/quotes_per_second"),
        ("CPU µs per event: Kafka client", "/drain/cpu_us_per_event/client"),
        ("CPU µs per event: decode and protocol", "/drain/cpu_us_per_event/pipeline"),
        ("CPU µs per event: decode", "/drain/cpu_us_per_event/decode"),
        ("CPU µs per event: protocol", "/drain/cpu_us_per_event/protocol"),
        ("CPU µs per event: database client", "/drain/cpu_us_per_event/database_client"),
        ("CPU µs per event: database server", "/drain/cpu_us_per_event/database_server"),
        ("peak memory, MiB", "/drain/peak_memory_mib"),
        ("backlog, MiB", "/settings/payload_mib"),
        ("latency p50, ms", "/latency/p50_ms"),
        ("latency p99, ms", "/latency/p99_ms"),
        ("latency max, ms", "/latency/max_ms"),
        ("empty commit p99, ms", "/latency/empty_commit_p99_ms"),
    ];
    let mut text =
        "## From Kafka to the commit\n\n`bench e2e`: a full topic drained by a worker, then a steady \
                    rate; broker, worker and database share the cores.\n\n| figure | found |\n|---|---|\n"
            .to_owned();
    for (says, pointer) in lines {
        let _ = writeln!(text, "| {says} | {} |", cell(document.pointer(pointer)));
    }
    text + "\n"
}

/// What the figures depend on.
pub fn settings(documents: &Documents) -> String {
    let mut text = "## Settings\n\n".to_owned();
    let all = [("write", &documents.write), ("e2e", &documents.e2e), ("growth", &documents.growth)];
    for (name, document) in all {
        let Some(settings) = document.get("settings").and_then(Value::as_object) else { continue };
        let mut phrases = Vec::new();
        // The name of a run says nothing about its figures.
        for (key, value) in settings.iter().filter(|(key, _)| *key != "run") {
            match value.as_object() {
                Some(inner) => phrases.extend(inner.iter().map(|(key, value)| phrase(key, value))),
                None => phrases.push(phrase(key, value)),
            }
        }
        let _ = writeln!(text, "- `bench {name}`: {}", phrases.join(", "));
    }
    text + "\n"
}

fn phrase(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!("{key} {text}"),
        Value::Null => format!("{key} -"),
        other => format!("{key} {other}"),
    }
}

/// Large numbers without their fraction, and with commas.
fn cell(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => format!("`{text}`"),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(large) if large >= 1_000.0 => grouped(&format!("{large:.0}")),
            _ => number.to_string(),
        },
        _ => "-".to_owned(),
    }
}

fn grouped(digits: &str) -> String {
    let first = digits.len() % 3;
    let mut groups: Vec<&str> = (first..digits.len()).step_by(3).map(|at| &digits[at..at + 3]).collect();
    if first > 0 {
        groups.insert(0, &digits[..first]);
    }
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            ["1000", "12345", "123456", "1234567"].map(grouped),
            ["1,000", "12,345", "123,456", "1,234,567"]
        );
    }
}
