//! House rules that a compiler does not know, each with its reason in the message. Reads the repository as text.
//!
//! What must stay true: a rule says what to do instead; an exception is named here, next to the rule.

use std::path::{Path, PathBuf};

use ledgerline_schema::events::{EventKind, Flag, Reason};

/// A file of the repository: path from its root, and text.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files under a folder of the repository that end so; build output and what git keeps are no part of it.
fn files(folder: &str, end: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && (!name.starts_with('.') || name == ".ci") {
                    folders.push(path);
                }
            } else if name.ends_with(end)
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                let path = path.strip_prefix(root()).expect("under the root").display().to_string();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The product's own sources.
fn product() -> Vec<Source> {
    let sources: Vec<Source> =
        ["schema/src", "worker/src"].into_iter().flat_map(|folder| files(folder, ".rs")).collect();
    assert!(sources.len() > 40, "the sources have moved: {}", sources.len());
    sources
}

fn sources() -> Vec<Source> {
    product().into_iter().chain(files("tests", ".rs")).collect()
}

/// Lines of code: comments and what a file's own tests do are left out.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let lines = source.text.lines().enumerate().map(|(number, line)| (number + 1, line));
    lines
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Every line of the product that has `needle`, outside the places where it belongs.
fn misplaced(needle: &str, places: &[&str]) -> Vec<String> {
    let elsewhere = |source: &Source| !places.iter().any(|place| source.path.starts_with(place));
    let mut found = Vec::new();
    for source in product().iter().filter(|source| elsewhere(source)) {
        let hits = code(source).filter(|(_, line)| line.contains(needle));
        found.extend(hits.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())));
    }
    found
}

#[track_caller]
fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent = |source: &Source| !source.text.starts_with("//! ");
    let found: Vec<String> = sources().into_iter().filter(silent).map(|source| source.path).collect();
    none(&found, "open the file with a few lines of //! that say what it is and what must stay true");
}

#[test]
fn no_file_is_longer_than_four_hundred_lines() {
    let long = |source: &Source| {
        let lines = source.text.lines().count();
        (lines > 400 && !source.path.ends_with("/tests.rs"))
            .then(|| format!("{}: {lines} lines", source.path))
    };
    let found: Vec<String> = product().iter().filter_map(long).collect();
    none(&found, "split the file where its idea splits: nobody holds more than 400 lines in mind");
}

#[test]
fn unsafe_code_is_in_one_file() {
    let found = misplaced("unsafe ", &["worker/src/source/native.rs"]);
    none(&found, "keep what the compiler cannot check in source/native.rs, where the reasons are");
}

#[test]
fn kafka_has_few_doors() {
    let places = [
        "worker/src/source/",
        "worker/src/kafka.rs",
        "worker/src/publisher.rs",
        "worker/src/cli/verify.rs",
        "worker/src/cli/demo.rs",
        "worker/src/demo/",
    ];
    none(
        &misplaced("rdkafka::", &places),
        "go through a Source or the Publisher, so that a test can do without Kafka",
    );
}

#[test]
fn the_database_has_one_door() {
    let places = [
        "schema/src/store/",
        "schema/src/repositories/",
        "schema/src/sql_types.rs",
        "schema/src/schema.rs",
        "schema/src/schema/",
        "schema/src/time.rs",
        "schema/src/lib.rs",
    ];
    for needle in ["diesel", "tokio_postgres", "bb8::"] {
        none(
            &misplaced(needle, &places),
            "ask the Store: there connections get their bounds, and both databases one query",
        );
    }
    for needle in ["Store::Postgres", "Store::Sqlite"] {
        none(&misplaced(needle, &["schema/src/store/"]), "only the store may ask which database it is");
    }
}

#[test]
fn metrics_are_named_in_one_file() {
    for needle in ["counter!(", "gauge!(", "histogram!(", "\"ledgerline_"] {
        let rule =
            "name the metric in metrics.rs, where each has its description, its buckets and its first zero";
        // The benchmark's methods have names too, and one of them is ours.
        let places = ["worker/src/metrics.rs", "worker/src/metrics/", "worker/src/bench/write/plan.rs"];
        none(&misplaced(needle, &places), rule);
    }
}

#[test]
fn the_environment_is_read_in_one_file() {
    for needle in ["env::var", "Env::prefixed", "env::vars"] {
        none(
            &misplaced(needle, &["worker/src/config/environment.rs"]),
            "take it from Config, which says where each value comes from",
        );
    }
}

#[test]
fn nothing_is_printed_past_the_one_place() {
    for needle in ["println!(", "print!("] {
        let rule = "print with cli/operator.rs: the macros panic where whoever reads has seen enough (`verify | head`)";
        none(&misplaced(needle, &[]), rule);
    }
}

#[test]
fn contracts_do_no_io_and_read_no_clock() {
    let pure = files("schema/src/events", ".rs");
    let mut found = Vec::new();
    for needle in ["std::fs", "std::net", "std::time", "Timestamp::now", "tokio::", "async ", "tracing::"] {
        for source in &pure {
            let hits = code(source).filter(|(_, line)| line.contains(needle));
            found.extend(hits.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())));
        }
    }
    none(&found, "a record is judged by its bytes alone, so that a redrive next year decides the same");
}

#[test]
fn every_migration_exists_for_both_stores_and_both_ways() {
    let folders = |store: &str| {
        let path = root().join("migrations").join(store);
        let mut names: Vec<String> = std::fs::read_dir(path)
            .expect("migrations")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let names = folders("postgres");
    assert_eq!(
        names,
        folders("sqlite"),
        "a migration of one store needs its twin of the same name for the other"
    );
    for (store, name) in
        ["postgres", "sqlite"].iter().flat_map(|store| names.iter().map(move |name| (store, name)))
    {
        for way in ["up.sql", "down.sql"] {
            let path = root().join("migrations").join(store).join(name).join(way);
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                !text.trim().is_empty(),
                "{store}/{name}/{way} is missing or empty: `migrate down` needs the way back"
            );
        }
    }
}

fn document(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_reason_and_flag_is_documented() {
    let text = document("docs/EVENTS.md");
    let names =
        Reason::ALL.iter().map(|reason| reason.name()).chain(Flag::ALL.iter().map(|flag| flag.name()));
    let found: Vec<String> =
        names.filter(|name| !text.contains(&format!("| `{name}` |"))).map(str::to_owned).collect();
    none(&found, "add a line to docs/EVENTS.md: a scraper's author reads it when a record was refused");
}

/// What can be configured, as `section.key`, out of the structs that the configuration is read into.
fn keys() -> Vec<String> {
    type Fields = Vec<(String, String)>;
    fn fields(of: &str, text: &str) -> Option<Fields> {
        let (_, rest) = text.split_once(&format!("pub struct {of} {{\n"))?;
        let (body, _) = rest.split_once("\n}\n")?;
        let lines = body.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": "));
        Some(lines.map(|(name, of)| (name.to_owned(), of.trim_end_matches(',').to_owned())).collect())
    }
    let sources = product();
    let mut found = Vec::new();
    let mut open = vec![(String::new(), "Config".to_owned())];
    while let Some((key, of)) = open.pop() {
        // What is inside of `Option<…>`; what is inside of `BTreeMap<String, …>` has a name that is not ours to list.
        let inside = of.trim_end_matches('>').rsplit(['<', ' ']).next().unwrap_or(&of);
        match sources
            .iter()
            .find_map(|source| fields(inside, &source.text))
            .filter(|_| inside.ends_with("Config"))
        {
            None => found.push(key),
            Some(fields) => {
                let kind = if of.starts_with("BTreeMap") { "<kind>." } else { "" };
                let dot = if key.is_empty() { "" } else { "." };
                open.extend(fields.into_iter().map(|(name, of)| (format!("{key}{dot}{kind}{name}"), of)));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_key_of_the_configuration_is_documented() {
    let (keys, text) = (keys(), document("docs/CONFIGURATION.md"));
    for known in ["kafka.brokers", "database.pool.size", "topics.<kind>.batch.rows", "workflows.files_dir"] {
        assert!(keys.iter().any(|key| key == known), "{known}: the structs are read wrongly: {keys:?}");
    }
    let found: Vec<String> = keys.into_iter().filter(|key| !text.contains(&format!("`{key}`"))).collect();
    none(&found, "add it to docs/CONFIGURATION.md: what it does, its default, and when to change it");
}

#[test]
fn every_kind_has_samples_a_topic_a_section_and_fixtures() {
    let text = document("docs/EVENTS.md");
    for kind in EventKind::ALL {
        let name = kind.name();
        assert!(!kind.samples().is_empty(), "{name}: add samples to events/samples.rs");
        assert!(!kind.default_topic().is_empty(), "{name}: name its topic");
        let section = format!("## `{}`", kind.event_type());
        assert!(text.contains(&section), "{name}: docs/EVENTS.md needs a section {section}");
        for fixture in [format!("contracts/{name}.jsonl"), format!("schema/{name}.json")] {
            assert!(
                root().join("tests/fixtures").join(&fixture).is_file(),
                "{name}: tests/fixtures/{fixture} is missing"
            );
        }
    }
}

#[test]
fn topics_and_types_of_kinds_are_distinct() {
    for of in [EventKind::name, EventKind::event_type, EventKind::default_topic] {
        let mut names: Vec<&str> = EventKind::ALL.iter().map(|kind| of(*kind)).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "one topic carries one kind: {names:?}");
    }
}

#[test]
fn nothing_is_left_over() {
    // Split, so that this file is not its own first finding.
    let leftovers =
        [["todo", "!("], ["unimplemented", "!("], ["FIX", "ME"], ["XX", "X:"], ["dbg", "!("], ["TO", "DO:"]];
    let mut found = Vec::new();
    for source in files(".", "").iter().filter(|source| !source.path.ends_with("Cargo.lock")) {
        for needle in leftovers.map(|parts| parts.concat()) {
            let hits = source.text.lines().enumerate().filter(|(_, line)| line.contains(&needle));
            found.extend(
                hits.map(|(number, line)| format!("{}:{}: {}", source.path, number + 1, line.trim())),
            );
        }
    }
    none(&found, "finish it, or write down in docs/ what is left and why");
}

#[test]
fn no_test_is_switched_off() {
    let needle = ["#[ign", "ore"].concat();
    let mut found = Vec::new();
    for source in sources() {
        let hits = source.text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with(&needle));
        found.extend(hits.map(|(number, _)| format!("{}:{}", source.path, number + 1)));
    }
    none(&found, "mend the product or delete the test: a rule that nobody checks is no rule");
}

#[test]
fn no_test_waits_for_a_time() {
    let waits = [["time::", "sleep"], ["thread::", "sleep"]].map(|parts| parts.concat());
    let mut found = Vec::new();
    for source in files("tests", ".rs") {
        let hits =
            source.text.lines().enumerate().filter(|(_, line)| waits.iter().any(|wait| line.contains(wait)));
        found.extend(hits.map(|(number, line)| format!("{}:{}: {}", source.path, number + 1, line.trim())));
    }
    none(
        &found,
        "await the condition with support::eventually: a pause is too short on a busy day and too long on all others",
    );
}
