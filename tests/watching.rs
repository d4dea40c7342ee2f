//! What is watched is what is exported: `docs/METRICS.md`, the alerts, the dashboards and the runbooks of the chart, held against the
//! program's own table of metrics and its own help.
//!
//! What must stay true: a metric or a label that the program loses turns a test red; the checks themselves are shown something bad.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ledgerline_worker::metrics::{Kind, METRICS, Metric};
use serde_json::Value;

use crate::support::optional;

/// Labels that whoever scrapes adds.
const BESIDE: &[&str] = &["namespace", "release", "pod", "worker", "container", "job", "instance"];
/// Writes docs/METRICS.md anew instead of comparing it.
const WRITE: &str = "LEDGERLINE_TEST_WRITE";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of a folder that end so, by name without the end.
fn files(folder: &str, end: &str) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let named = names.filter_map(|name| Some(name.strip_suffix(end)?.to_owned()));
    named.map(|name| (name.clone(), read(&format!("{folder}/{name}{end}")))).collect()
}

fn alerts() -> BTreeMap<String, String> {
    files("helm/ledgerline/files/alerts", ".yaml")
}

fn dashboards() -> BTreeMap<String, Value> {
    let parse = |text: &str| serde_json::from_str(text).expect("JSON");
    files("helm/ledgerline/files/dashboards", ".json")
        .iter()
        .map(|(n, text)| (n.clone(), parse(text)))
        .collect()
}

/// Every string of a dashboard.
fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|one| strings(one, found)),
        Value::Object(all) => all.values().for_each(|one| strings(one, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\nEverything that a worker exports at `/metrics`, from the program's own table: \
         `LEDGERLINE_TEST_WRITE=1 cargo test -p ledgerline-worker\n--test suite watching` writes this page, and the same test without it \
         compares. A histogram is exported as `_bucket`, `_sum` and `_count`.\nCounters exist at 0 before the first event; those of \
         sweeps and workflows only where these are switched on. Prometheus adds `namespace`,\n`pod`, `release` and `worker` where the \
         chart's PodMonitor is used.\n\nWhat is done with them: the alerts \
         ([runbooks](runbooks/README.md)) and the dashboards of the chart.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = metric.kind().name();
        let row = format!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.text);
        writeln!(page, "{row}").expect("a string takes it");
    }
    page.push_str("\n## Buckets\n\n| histogram | upper bounds |\n|---|---|\n");
    for metric in METRICS.iter().filter(|metric| metric.kind() == Kind::Histogram) {
        let bounds: Vec<String> = metric.buckets.iter().map(ToString::to_string).collect();
        writeln!(page, "| `{}` | {} |", metric.name, bounds.join(", ")).expect("a string takes it");
    }
    page
}

#[test]
fn the_page_is_the_table() {
    let path = root().join("docs/METRICS.md");
    if optional(WRITE).is_some() {
        std::fs::write(&path, page()).expect("written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page(), "docs/METRICS.md is not what the program exports; {WRITE}=1 writes it anew");
}

/// Uses of the program's metrics in a text that `metrics` does not have, or not with those labels.
fn strangers(text: &str, metrics: &[&Metric]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("ledgerline_") {
        if text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$' || c == '-') {
            continue;
        }
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let is_it = |metric: &&&Metric| {
            let ends = ["_bucket", "_sum", "_count"];
            match metric.kind() {
                Kind::Histogram => ends.iter().any(|end| name.strip_suffix(end) == Some(metric.name)),
                Kind::Counter | Kind::Gauge => metric.name == name,
            }
        };
        let Some(metric) = metrics.iter().find(is_it) else {
            found.insert(format!("{name}: no such metric"));
            continue;
        };
        for label in matched_labels(after) {
            let of_bucket = label == "le" && name.ends_with("_bucket");
            if !metric.labels.contains(&label) && !BESIDE.contains(&label) && !of_bucket {
                found.insert(format!("{name}: no label {label}"));
            }
        }
    }
    found
}

/// Names of the labels in a selector that follows: `{a="b",c=~"d"}`.
fn matched_labels(after: &str) -> Vec<&str> {
    let Some(inside) = after.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(all, _)| all)
    else {
        return Vec::new();
    };
    let parts = inside.split(',').filter(|part| !part.starts_with("$("));
    parts.filter_map(|part| Some(part.split_once(['=', '!'])?.0.trim())).collect()
}

/// What is asked of the program: of an alert its rule, of a dashboard every string.
fn questions() -> BTreeMap<String, String> {
    let mut asked = alerts();
    for (name, dashboard) in dashboards() {
        let mut found = Vec::new();
        strings(&dashboard, &mut found);
        asked.insert(format!("{name}.json"), found.join("\n"));
    }
    assert!(asked.len() > 30, "alerts and dashboards have moved: {}", asked.len());
    asked
}

#[test]
fn alerts_and_dashboards_ask_for_what_is_exported() {
    let all: Vec<&Metric> = METRICS.iter().collect();
    for (name, text) in questions() {
        assert_eq!(strangers(&text, &all), BTreeSet::new(), "{name}");
    }
}

/// Each metric that something is asked of is missed by at least one question when the program loses it.
#[test]
fn a_metric_that_the_program_loses_is_missed() {
    let asked = questions();
    let unused = |lost: &Metric| {
        let rest: Vec<&Metric> = METRICS.iter().filter(|metric| metric.name != lost.name).collect();
        asked.values().all(|text| strangers(text, &rest).is_empty())
    };
    let unwatched: Vec<&str> =
        METRICS.iter().filter(|metric| unused(metric)).map(|metric| metric.name).collect();
    assert!(unwatched.is_empty(), "no alert and no dashboard shows {unwatched:?}");
}

#[test]
fn a_label_that_is_none_is_seen() {
    let all: Vec<&Metric> = METRICS.iter().collect();
    let seen = |text: &str| strangers(text, &all).into_iter().collect::<Vec<_>>().join("; ");
    assert_eq!(seen("ledgerline_fenced_total{$(selector),topic=\"odds\"}"), "");
    assert_eq!(
        seen("ledgerline_fenced_total{$(selector),partition=~\"1\"}"),
        "ledgerline_fenced_total: no label partition"
    );
    assert_eq!(seen("ledgerline_fenced_total{le=\"1\"}"), "ledgerline_fenced_total: no label le");
    assert_eq!(seen("ledgerline_batch_records_bucket{le=\"1\"}"), "");
    assert_eq!(seen("rate(ledgerline_batch_records[5m])"), "ledgerline_batch_records: no such metric");
}

#[test]
fn the_objective_of_the_latency_is_a_bucket() {
    let latency = METRICS.iter().find(|metric| metric.name == "ledgerline_event_commit_latency_seconds");
    let buckets: Vec<String> = latency.expect("it").buckets.iter().map(ToString::to_string).collect();
    let mut asked = alerts().into_values().collect::<String>();
    dashboards().values().for_each(|dashboard| asked += &dashboard.to_string().replace('\\', ""));
    let values = read("helm/alerts-tests/values.yaml");
    let objective = values.lines().find_map(|line| line.trim().strip_prefix("latencyObjectiveSeconds: "));
    let asked = asked.replace("$(latencyObjectiveSeconds)", objective.expect("a threshold"));
    let bounds: Vec<&str> =
        asked.split("le=\"").skip(1).map(|rest| rest.split('"').next().expect("a bound")).collect();
    assert!(bounds.len() >= 2, "nobody asks for a bucket");
    for bound in bounds {
        assert!(buckets.iter().any(|bucket| bucket == bound), "le=\"{bound}\" is none of {buckets:?}");
    }
}

/// The lines of a rule file that stand under `expr`.
fn expression(text: &str) -> String {
    let lines = text.lines().skip_while(|line| line.trim() != "expr: |-").skip(1);
    lines.take_while(|line| line.starts_with("    ")).collect::<Vec<_>>().join("\n")
}

/// Selectors of the program's metrics without the release; those of others without the namespace.
fn unscoped(expression: &str) -> Vec<String> {
    let selectors =
        expression.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(inside, _)| inside));
    let bad =
        |inside: &&str| !inside.starts_with("$(selector)") && !inside.contains("namespace=\"$(namespace)\"");
    let mut found: Vec<String> = selectors.filter(bad).map(str::to_owned).collect();
    let bare = expression.match_indices("ledgerline_").filter(|(at, _)| {
        let rest = &expression[*at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        !rest[end..].starts_with("{$(selector)")
    });
    found.extend(bare.map(|(at, _)| expression[at..].chars().take(60).collect()));
    found
}

#[test]
fn every_alert_is_about_one_release() {
    for (name, text) in alerts() {
        let expression = expression(&text);
        assert!(!expression.is_empty(), "{name}: no expression");
        assert_eq!(unscoped(&expression), Vec::<String>::new(), "{name}");
    }
    assert_eq!(unscoped("ledgerline_fenced_total{topic=\"odds\"}").len(), 2);
    assert_eq!(unscoped("sum(ledgerline_fenced_total) > 1").len(), 1);
    assert_eq!(unscoped("kube_job_failed{job_name=\"x\"}").len(), 1);
}

#[test]
fn dashboards_have_one_spelling_and_ask_for_one_release() {
    let texts = files("helm/ledgerline/files/dashboards", ".json");
    assert_eq!(texts.keys().collect::<Vec<_>>(), ["database", "kafka", "overview", "replay"]);
    for (name, dashboard) in dashboards() {
        let sorted = serde_json::to_string_pretty(&dashboard).expect("JSON") + "\n";
        assert!(texts[&name] == sorted, "{name}.json: keys sorted, two blanks, one line break at the end");
        assert_eq!(dashboard["uid"], format!("ledgerline-{name}"), "the address that alerts link to");
        assert!(dashboard.get("id").is_none(), "{name}: an id belongs to one Grafana");
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        let variables: Vec<&str> = variables.iter().filter_map(|one| one["name"].as_str()).collect();
        assert_eq!(variables, ["datasource", "namespace", "release", "topic", "pod"], "{name}");
        for panel in dashboard["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().expect("targets") {
                let asked = target["expr"].as_str().expect("an expression");
                assert!(
                    asked.contains("namespace=\"$namespace\"") && asked.contains("$release"),
                    "{name}: {asked}"
                );
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}: {asked}");
            }
        }
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let mut runbooks = files("docs/runbooks", ".md");
    let index = runbooks.remove("README").expect("docs/runbooks/README.md");
    let names = |of: &BTreeMap<String, String>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&runbooks), names(&alerts()));
    for (name, text) in alerts() {
        let line = |key: &str| {
            let found = text.lines().find_map(|line| line.trim().strip_prefix(key));
            found.unwrap_or_else(|| panic!("{name}: no {key}")).to_owned()
        };
        assert_eq!(line("alert: "), name);
        let (severity, group) = (line("severity: "), line("group: "));
        assert!(
            index.contains(&format!("| [{name}]({name}.md) | {severity} | {group} |")),
            "{name}: README.md"
        );
        let head = format!("# {name}\n\nSeverity {severity}, group `{group}`,");
        assert!(runbooks[&name].starts_with(&head), "{name}: {head}");
        for part in ["**Impact.**", "## Look", "## Decide", "## Recovered"] {
            assert!(runbooks[&name].contains(part), "{name}: {part}");
        }
    }
    for (name, text) in &runbooks {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            assert!(root().join("docs/runbooks").join(link).is_file(), "{name}: {link} leads nowhere");
        }
    }
}

/// What follows `ledgerline` in the commands of a text, up to the end of the line or of the code.
fn commands(text: &str) -> BTreeSet<String> {
    let of_line = |line: &str| {
        let line = line.replace("--config /etc/ledgerline/ledgerline.toml ", "");
        let starts = line.match_indices("ledgerline ").filter(|(at, _)| {
            line[..*at].is_empty() || line[..*at].ends_with('`') || line[..*at].ends_with("-- ")
        });
        let ends = |at: usize| line[at..].split('`').next().unwrap_or_default().trim().to_owned();
        starts.map(|(at, word)| ends(at + word.len())).collect::<Vec<_>>()
    };
    text.lines().flat_map(of_line).collect()
}

/// Why the program would not take a command, from its own help.
fn refused(command: &str) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let verbs: Vec<&str> = words
        .iter()
        .copied()
        .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-'))
        .collect();
    let output =
        Command::new(env!("CARGO_BIN_EXE_ledgerline")).args(&verbs).arg("--help").output().expect("it runs");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || verbs.is_empty() {
        return Some(format!("{command}: no such command"));
    }
    let unknown = words
        .iter()
        .find(|word| word.starts_with("--") && !help.split([' ', '\n', ',']).any(|known| known == **word));
    unknown.map(|option| format!("{command}: no option {option}"))
}

#[test]
fn the_commands_of_runbooks_exist() {
    let mut all = BTreeSet::new();
    files("docs/runbooks", ".md").values().for_each(|text| all.extend(commands(text)));
    assert!(all.len() > 20, "few commands are found: {all:?}");
    for command in &all {
        assert_eq!(refused(command), None);
    }
    assert!(refused("offsets skip --topic T").is_some(), "a verb that is none is seen");
    assert!(refused("offsets reset --force").is_some(), "an option that is none is seen");
}
