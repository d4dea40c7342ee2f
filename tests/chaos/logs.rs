//! C11: what the workers wrote. Every line is JSON, nobody panicked, and no message fills the disk.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

/// Most lines of one message within one second of one worker. Enough for all partitions of a storm, too few for a loop.
const PER_SECOND: usize = 100;

/// What is wrong with the logs in the folder.
pub fn check(folder: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let bytes = std::fs::read(&path).expect("the log");
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            wrong.extend(
                one(&String::from_utf8_lossy(&bytes)).into_iter().map(|line| format!("C11 {name}: {line}")),
            );
        }
    }
    wrong
}

/// The message without its numbers; one that is about a record is told once for each record, so the offset counts.
fn kind_of(line: &Value) -> String {
    let message = line["message"].as_str().unwrap_or("");
    let same: String = message.chars().filter(|letter| !letter.is_ascii_digit()).collect();
    match line.get("kafka.offset") {
        Some(offset) => format!("{same} at {}[{}]", offset, line["kafka.partition"]),
        None => same,
    }
}

fn one(log: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut counts: HashMap<(String, String), usize> = HashMap::new();
    let whole = log.ends_with('\n');
    let last = log.lines().count();
    for (number, line) in log.lines().enumerate() {
        if line.contains("panicked at") {
            wrong.push(format!("line {}: {line}", number + 1));
        }
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            if whole || number + 1 < last {
                wrong.push(format!("line {} is no JSON: {line}", number + 1)); // a killed worker may leave half a line
            }
            continue;
        };
        let text = |name: &str| value[name].as_str().unwrap_or("").to_owned();
        let second = text("timestamp").chars().take(19).collect();
        *counts.entry((second, kind_of(&value))).or_default() += 1;
    }
    let loud = counts.into_iter().filter(|(_, count)| *count > PER_SECOND);
    wrong.extend(loud.map(|((second, message), count)| format!("{count} times within {second}: {message}")));
    wrong.truncate(5);
    wrong
}
