//! What PromQL expressions ask of the worker's metrics, held against a scrape: each metric, each label and each value that an
//! alert, a panel or the autoscaler selects by has to be there.
//!
//! What must stay true: a name that cannot be told apart from a typing error is reported, never passed over.

use std::collections::{BTreeMap, BTreeSet};

/// What the names of our metrics start with.
const OURS: &str = "ledgerline_";
/// Metrics of others, by how they start: Prometheus, kube-state-metrics, the kubelet, KEDA, lag exporters.
const OTHERS: [&str; 10] =
    ["up", "ALERTS", "scrape_", "kube_", "kubelet_", "container_", "keda_", "kafka_", "node_", "machine_"];
/// Words of PromQL that no parenthesis need follow at once.
const WORDS: [&str; 20] = [
    "sum",
    "min",
    "max",
    "avg",
    "count",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "quantile",
    "count_values",
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "inf",
    "Inf",
    "NaN",
];

/// What is known beside the program's own metrics.
#[derive(Debug, Default)]
pub struct Beside {
    /// Labels that Prometheus and the chart's PodMonitor put on every series.
    pub labels: BTreeSet<String>,
    /// Names of recording rules.
    pub recorded: BTreeSet<String>,
}

/// The samples of a scrape: labels of each series by name.
#[derive(Debug, Clone, Default)]
pub struct Scrape(BTreeMap<String, Vec<BTreeMap<String, String>>>);

impl Scrape {
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let mut tokens = Tokens(line);
            let name = tokens.name().unwrap_or_else(|| panic!("no sample: {line}"));
            let labels = tokens.matchers().into_iter().map(|matcher| (matcher.label, matcher.value));
            found.0.entry(name).or_default().push(labels.collect());
        }
        found
    }

    /// The scrape of a program that lacks that metric.
    pub fn without(&self, name: &str) -> Self {
        let mut rest = self.clone();
        rest.0.remove(name);
        rest
    }

    /// The scrape of a program that calls a label otherwise.
    pub fn without_label(&self, label: &str) -> Self {
        let mut rest = self.clone();
        rest.0.values_mut().flatten().for_each(|labels| _ = labels.remove(label));
        rest
    }
}

/// `label op "value"`.
#[derive(Debug, Clone)]
struct Matcher {
    label: String,
    op: String,
    value: String,
}

/// What an expression asks for.
#[derive(Debug, Default)]
pub struct Question {
    selectors: Vec<(String, Vec<Matcher>)>,
    grouping: BTreeSet<String>,
    others: BTreeSet<String>,
}

impl Question {
    pub fn parse(expression: &str) -> Self {
        let mut asked = Self::default();
        let mut tokens = Tokens(expression);
        while let Some(token) = tokens.next() {
            let Token::Name(name) = token else { continue };
            match name.as_str() {
                "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" => {
                    asked.grouping.extend(tokens.names_in_parentheses());
                }
                word if WORDS.contains(&word) || tokens.opens('(') => {} // a function is no metric
                _ if name.starts_with(OURS) => asked.selectors.push((name, tokens.matchers())),
                _ if tokens.opens('{') => {
                    asked.others.insert(name);
                    tokens.matchers();
                }
                _ => _ = asked.others.insert(name),
            }
        }
        asked
    }

    /// Labels that are shown to people, beside those in the expression.
    pub fn mention(&mut self, labels: &BTreeSet<String>) {
        self.grouping.extend(labels.iter().cloned());
    }

    /// Names of our metrics in it.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.selectors.iter().map(|(name, _)| name.as_str())
    }

    /// What of it neither the scrape has nor anybody beside.
    pub fn missing(&self, scrape: &Scrape, beside: &Beside) -> Vec<String> {
        let mut missing = Vec::new();
        let mut known: BTreeSet<&str> = beside.labels.iter().map(String::as_str).collect();
        for (name, matchers) in &self.selectors {
            let Some(series) = scrape.0.get(name) else {
                missing.push(format!("metric {name}"));
                continue;
            };
            known.extend(series.iter().flat_map(|labels| labels.keys().map(String::as_str)));
            let own: Vec<&Matcher> = matchers.iter().filter(|matcher| matcher.is_ours(series)).collect();
            let foreign = matchers.iter().filter(|matcher| !matcher.is_ours(series));
            for matcher in foreign.filter(|matcher| !beside.labels.contains(&matcher.label)) {
                missing.push(format!("label {} of {name}", matcher.label));
            }
            for value in own.iter().flat_map(|matcher| matcher.values()) {
                let (label, value) = value;
                if !series.iter().any(|labels| labels.get(label).is_some_and(|found| found == value)) {
                    missing.push(format!("{name}{{{label}={value:?}}}"));
                }
            }
        }
        let foreign = self.others.iter().filter(|name| !beside.recorded.contains(*name));
        let strange = foreign.filter(|name| !OTHERS.iter().any(|start| name.starts_with(start)));
        missing.extend(strange.map(|name| format!("metric {name}, of nobody that is known")));
        // Others' labels are others' business.
        if self.others.is_empty() {
            let odd = self.grouping.iter().filter(|label| !known.contains(label.as_str()));
            missing.extend(odd.map(|label| format!("label {label}, in a grouping or a text")));
        }
        missing
    }
}

impl Matcher {
    /// Whether the program itself puts that label on the metric.
    fn is_ours(&self, series: &[BTreeMap<String, String>]) -> bool {
        series.iter().any(|labels| labels.contains_key(&self.label))
    }

    /// The values that it wants to see. A dashboard's variable stands for any value, a pattern for several.
    fn values(&self) -> Vec<(&str, &str)> {
        let pattern = |value: &str| value.contains(['.', '*', '+', '?', '[', '(', '\\']);
        let values: Vec<&str> = match self.op.as_str() {
            "=" => vec![self.value.as_str()],
            "=~" if self.value.starts_with('(') && self.value.ends_with(')') => {
                self.value[1..self.value.len() - 1].split('|').filter(|value| !pattern(value)).collect()
            }
            "=~" => self.value.split('|').filter(|value| !pattern(value)).collect(),
            _ => vec![], // a value that it does not want may well be away
        };
        let plain = values.into_iter().filter(|value| !value.contains('$') && !value.is_empty());
        plain.map(|value| (self.label.as_str(), value)).collect()
    }
}

enum Token {
    Name(String),
    Other,
}

/// A reader of the little that is asked of PromQL here.
struct Tokens<'a>(&'a str);

impl Tokens<'_> {
    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start();
        while let Some(comment) = self.0.strip_prefix('#') {
            self.0 = comment.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
        }
    }

    fn opens(&mut self, bracket: char) -> bool {
        self.skip_blanks();
        self.0.starts_with(bracket)
    }

    fn name(&mut self) -> Option<String> {
        self.skip_blanks();
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let end = self.0.find(|c| !part(c)).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        let first = name.chars().next().filter(|c| !c.is_ascii_digit() && *c != ':')?;
        debug_assert!(part(first));
        self.0 = rest;
        Some(name.to_owned())
    }

    /// The content of a string that starts here.
    fn string(&mut self) -> String {
        let quote = self.0.chars().next().expect("a quote");
        let mut text = String::new();
        let mut rest = self.0[quote.len_utf8()..].chars();
        loop {
            match rest.next() {
                None => panic!("a string has no end: {}", self.0),
                Some('\\') if quote != '`' => text.extend(rest.next()),
                Some(c) if c == quote => break,
                Some(c) => text.push(c),
            }
        }
        self.0 = rest.as_str();
        text
    }

    fn next(&mut self) -> Option<Token> {
        self.skip_blanks();
        let first = self.0.chars().next()?;
        if let Some(name) = self.name() {
            return Some(Token::Name(name));
        }
        match first {
            '"' | '\'' | '`' => _ = self.string(),
            // `$__rate_interval`, `${topic}` and `5m` are no names; nor is what stands in a range.
            '[' => self.0 = self.0.split_once(']').map_or("", |(_, rest)| rest),
            '{' => panic!("name the metric in front of the braces: {}", self.0),
            '$' | '0'..='9' => {
                let word = |c: char| c.is_ascii_alphanumeric() || "_${}.:".contains(c);
                self.0 = self.0.trim_start_matches(word);
            }
            _ => self.0 = &self.0[first.len_utf8()..],
        }
        Some(Token::Other)
    }

    fn names_in_parentheses(&mut self) -> Vec<String> {
        if !self.opens('(') {
            return vec![]; // group_left without a list
        }
        let (inside, rest) = self.0[1..].split_once(')').expect("the list ends");
        self.0 = rest;
        let names = inside.split(',').map(str::trim);
        names.filter(|name| !name.is_empty() && !name.starts_with('$')).map(str::to_owned).collect()
    }

    /// What stands in the braces that open here, if they do.
    fn matchers(&mut self) -> Vec<Matcher> {
        let mut found = Vec::new();
        if !self.opens('{') {
            return found;
        }
        self.0 = &self.0[1..];
        loop {
            self.skip_blanks();
            if let Some(rest) = self.0.strip_prefix('}') {
                self.0 = rest;
                return found;
            }
            let label = self.name().unwrap_or_else(|| panic!("no label: {}", self.0));
            self.skip_blanks();
            let op = ["=~", "!~", "!=", "="].into_iter().find(|op| self.0.starts_with(op));
            let op = op.unwrap_or_else(|| panic!("no comparison: {}", self.0)).to_owned();
            self.0 = &self.0[op.len()..];
            self.skip_blanks();
            let value = self.string();
            found.push(Matcher { label, op, value });
            self.skip_blanks();
            self.0 = self.0.strip_prefix(',').unwrap_or(self.0);
        }
    }
}
