//! Who looks at the worker's metrics: the alerts, dashboards, autoscalers and monitors of a render, and what each asks.
//!
//! What must stay true: every place of a render where an expression may stand is read; a dashboard without one is an error.

use std::collections::BTreeSet;

use serde_json::Value;

use super::chart::{Render, list};
use super::expressions::{Beside, Question};

/// An expression, and whose it is.
#[derive(Debug)]
pub struct Watcher {
    pub name: String,
    pub kind: Kind,
    pub expression: String,
    /// Labels that it shows to people.
    pub shown: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Alert,
    Recording,
    Panel,
    Variable,
    Autoscaler,
}

impl Watcher {
    pub fn question(&self) -> Question {
        // A dashboard's variable asks for the values of one label.
        let mut asked = match self
            .expression
            .strip_prefix("label_values(")
            .and_then(|rest| rest.trim_end().strip_suffix(')'))
        {
            Some(inside) => {
                let (metric, label) = inside.rsplit_once(',').unwrap_or(("", inside));
                Question::parse(&format!("count by ({label}) ({metric})"))
            }
            None => Question::parse(&self.expression),
        };
        asked.mention(&self.shown);
        asked
    }
}

/// Everybody who looks at metrics in that render.
pub fn watchers(render: &Render) -> Vec<Watcher> {
    let mut found = Vec::new();
    for rule in rules(render) {
        let (name, kind) = match (&rule["alert"], &rule["record"]) {
            (Value::String(name), _) => (name, Kind::Alert),
            (_, Value::String(name)) => (name, Kind::Recording),
            _ => panic!("a rule without a name: {rule}"),
        };
        let texts = rule["annotations"].as_object().into_iter().flatten();
        let shown = texts.flat_map(|(_, text)| labels_shown(text.as_str().unwrap_or_default()));
        found.push(Watcher {
            name: name.clone(),
            kind,
            expression: text(&rule["expr"]),
            shown: shown.collect(),
        });
    }
    for map in render.of("ConfigMap") {
        for (file, content) in map["data"].as_object().into_iter().flatten() {
            if file.ends_with(".json") {
                let content = content.as_str().expect("a file is text");
                let dashboard: Value =
                    serde_json::from_str(content).unwrap_or_else(|error| panic!("{file}: {error}"));
                let before = found.len();
                dashboard_questions(file, &dashboard, &mut found);
                assert!(found.len() > before, "{file}: a dashboard without an expression");
            }
        }
    }
    for scaler in render.of("ScaledObject") {
        for trigger in list(&scaler["spec"]["triggers"]).filter(|trigger| trigger["type"] == "prometheus") {
            let name = format!("trigger {}", trigger["name"]);
            let expression = text(&trigger["metadata"]["query"]);
            found.push(Watcher { name, kind: Kind::Autoscaler, expression, shown: BTreeSet::new() });
        }
    }
    found
}

fn rules(render: &Render) -> impl Iterator<Item = &Value> {
    let groups = render.of("PrometheusRule").flat_map(|object| list(&object["spec"]["groups"]));
    groups.flat_map(|group| list(&group["rules"]))
}

/// What the render's monitors and rules know beside the program.
pub fn beside(render: &Render) -> Beside {
    let always = ["namespace", "pod", "container", "job", "instance", "endpoint"];
    let mut labels: BTreeSet<String> = always.map(str::to_owned).into();
    for monitor in render.of("PodMonitor") {
        let plain = |label: &Value| text(label).replace(['.', '/', '-'], "_");
        labels.extend(list(&monitor["spec"]["podTargetLabels"]).map(plain));
        for endpoint in list(&monitor["spec"]["podMetricsEndpoints"]) {
            let all = list(&endpoint["relabelings"]).chain(list(&endpoint["metricRelabelings"]));
            labels.extend(all.filter_map(|rule| rule["targetLabel"].as_str().map(str::to_owned)));
        }
    }
    let recorded = rules(render).filter_map(|rule| rule["record"].as_str().map(str::to_owned)).collect();
    Beside { labels, recorded }
}

/// Everything that a dashboard asks, however deep it lies: panels, annotations, variables. `part` is what it lies in.
fn dashboard_questions(part: &str, value: &Value, found: &mut Vec<Watcher>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| dashboard_questions(part, one, found)),
        Value::Object(fields) => {
            let named = ["title", "name"].iter().find_map(|key| value[key].as_str());
            let part = named.map_or_else(|| part.to_owned(), |name| format!("{part}: {name}"));
            if let Some(expression) = value["expr"].as_str() {
                let shown = labels_shown(value["legendFormat"].as_str().unwrap_or_default());
                let expression = expression.to_owned();
                found.push(Watcher { name: part.clone(), kind: Kind::Panel, expression, shown });
            }
            if value["type"] == "query" {
                let query = value["query"].as_str().or_else(|| value["query"]["query"].as_str());
                let expression =
                    query.unwrap_or_else(|| panic!("{part}: a variable without a query")).to_owned();
                found.push(Watcher {
                    name: part.clone(),
                    kind: Kind::Variable,
                    expression,
                    shown: BTreeSet::new(),
                });
            }
            fields.values().for_each(|field| dashboard_questions(&part, field, found));
        }
        _ => {}
    }
}

/// The labels in `{{ $labels.topic }}`, and in a legend's `{{topic}}`.
fn labels_shown(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in text.split("{{").skip(1) {
        let inside = part.split("}}").next().unwrap_or_default();
        for word in inside.split_whitespace().filter_map(|word| word.strip_prefix("$labels.")) {
            found.insert(word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_').to_owned());
        }
        let inside = inside.trim();
        if !inside.is_empty() && inside.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            found.insert(inside.to_owned());
        }
    }
    found
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
