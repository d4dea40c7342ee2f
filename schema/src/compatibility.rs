//! Whether a contract still takes what an earlier one took: two JSON Schemas, as `ledgerline schema json` prints them, side by side.
//! Called by `ledgerline schema check`. Pure.
//!
//! What must stay true: where nothing is found, every event of the fields of the earlier schema that is valid by it is valid by
//! the later one, and none of them is passed over that was read before. What is not understood has to be equal.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Deepest level that is compared; a schema may refer to itself.
const LEVELS: usize = 64;
/// Words that say nothing about what is valid.
const ANNOTATIONS: [&str; 10] = [
    "$schema",
    "$defs",
    "$id",
    "$comment",
    "title",
    "description",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];
/// Words that are compared here; all others have to be equal.
const COMPARED: [&str; 15] = [
    "type",
    "const",
    "enum",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "format",
    "default",
];
/// Bounds that may only go down.
const LOW: [&str; 3] = ["minimum", "exclusiveMinimum", "minLength"];
/// Bounds that may only go up.
const HIGH: [&str; 3] = ["maximum", "exclusiveMaximum", "maxLength"];

/// What an event of the earlier contract may meet in the later one: a line each, with the path of the field.
#[must_use]
pub fn breaks(earlier: &Value, later: &Value) -> Vec<String> {
    let sides = Sides { earlier, later };
    let mut found = Vec::new();
    sides.compare((earlier, later), "", LEVELS, &mut found);
    found
}

/// The documents that references count in.
struct Sides<'d> {
    earlier: &'d Value,
    later: &'d Value,
}

impl Sides<'_> {
    fn compare(&self, (a, b): (&Value, &Value), path: &str, levels: usize, found: &mut Vec<String>) {
        if levels == 0 {
            return found.push(at(path, "nested too deep to be compared"));
        }
        if *b == Value::Bool(false) && *a != Value::Bool(false) {
            return found.push(at(path, "takes nothing any more"));
        }
        if a.get("default").is_some_and(|default| b.get("default") != Some(default)) {
            found.push(at(path, "what is taken where it is left out is another value"));
        }
        let (a, b) = (branches(self.earlier, a), branches(self.later, b));
        for taken in &a {
            let breaks_of = |branch: &Map<String, Value>| {
                let mut breaks = Vec::new();
                self.compare_branch((taken, branch), path, levels - 1, &mut breaks);
                breaks
            };
            let breaks: Vec<Vec<String>> = b.iter().map(breaks_of).collect();
            if breaks.iter().any(Vec::is_empty) {
                continue;
            }
            match breaks.as_slice() {
                [of_the_only_one] => found.extend(of_the_only_one.iter().cloned()),
                _ => found.push(at(path, &format!("no longer takes {}", shown(taken)))),
            }
        }
    }

    /// One alternative of each side.
    fn compare_branch(
        &self,
        (a, b): (&Map<String, Value>, &Map<String, Value>),
        path: &str,
        levels: usize,
        found: &mut Vec<String>,
    ) {
        compare_values((a, b), path, found);
        compare_types((a, b), path, found);
        compare_bounds((a, b), path, found);
        let is_other = |word: &str| !ANNOTATIONS.contains(&word) && !COMPARED.contains(&word);
        for (word, now) in b.iter().filter(|(word, _)| is_other(word)) {
            if a.get(word) != Some(now) {
                found.push(at(path, &format!("{word} is new or another one")));
            }
        }
        self.compare_fields((a, b), path, levels, found);
        for (word, step) in [("items", "[]"), ("additionalProperties", ".*")] {
            match (a.get(word).unwrap_or(&Value::Bool(true)), b.get(word).unwrap_or(&Value::Bool(true))) {
                (_, Value::Bool(true)) | (Value::Bool(false), _) => {}
                (_, Value::Bool(false)) => found.push(at(path, &format!("{word}: takes none any more"))),
                (a, b) => self.compare((a, b), &format!("{path}{step}"), levels, found),
            }
        }
    }

    fn compare_fields(
        &self,
        (a, b): (&Map<String, Value>, &Map<String, Value>),
        path: &str,
        levels: usize,
        found: &mut Vec<String>,
    ) {
        let none = Map::new();
        let properties =
            |of: &'_ Map<String, Value>| of.get("properties").and_then(Value::as_object).cloned();
        let (before, now) = (properties(a).unwrap_or_default(), properties(b).unwrap_or(none));
        for (field, earlier) in &before {
            let path = format!("{path}.{field}");
            match now.get(field) {
                Some(later) => self.compare((earlier, later), &path, levels, found),
                None => found.push(at(&path, "is gone")),
            }
        }
        let required = |of: &Map<String, Value>| -> BTreeSet<String> {
            let names = of.get("required").and_then(Value::as_array).into_iter().flatten();
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        for field in required(b).difference(&required(a)) {
            found.push(at(&format!("{path}.{field}"), "is required now"));
        }
        // A field that nobody read before may hold anything so far.
        for field in now.keys().filter(|field| !before.contains_key(*field)) {
            if a.get("additionalProperties").is_some_and(|others| *others != Value::Bool(false)) {
                found.push(at(&format!("{path}.{field}"), "was one of any others before"));
            }
        }
    }
}

/// The alternatives of a schema, with references followed; words beside them hold for each.
fn branches(document: &Value, schema: &Value) -> Vec<Map<String, Value>> {
    let mut todo = vec![(schema.as_object().cloned().unwrap_or_default(), LEVELS)];
    let mut found = Vec::new();
    while let Some((mut schema, levels)) = todo.pop() {
        let reference =
            schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
        let target = reference.and_then(|pointer| document.pointer(pointer)).and_then(Value::as_object);
        let choice =
            ["oneOf", "anyOf"].into_iter().find(|word| schema.get(*word).is_some_and(Value::is_array));
        match (target, choice) {
            (Some(target), _) if levels > 0 => {
                let target = target.clone();
                schema.remove("$ref");
                todo.push((joined(&target, schema), levels - 1));
            }
            (None, Some(word)) if levels > 0 => {
                let alternatives =
                    schema.remove(word).and_then(|all| all.as_array().cloned()).unwrap_or_default();
                let ways = alternatives.iter().rev().filter_map(alternative);
                todo.extend(ways.map(|one| (joined(&one, schema.clone()), levels - 1)));
            }
            (None | Some(_), _) => found.push(schema),
        }
    }
    found
}

/// One of several ways; `true` is the one that takes anything, and `false` is none.
fn alternative(schema: &Value) -> Option<Map<String, Value>> {
    match schema {
        Value::Object(schema) => Some(schema.clone()),
        Value::Bool(true) => Some(Map::new()),
        Value::Bool(false) | Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// Both hold. Where they say different things by one word nobody compares them: the pair has to be equal on both sides.
fn joined(inner: &Map<String, Value>, outer: Map<String, Value>) -> Map<String, Value> {
    let mut joined = inner.clone();
    for (word, said) in outer {
        match inner.get(&word) {
            Some(other) if *other != said && !ANNOTATIONS.contains(&word.as_str()) && word != "default" => {
                joined.insert(format!("{word} and {word}"), Value::Array(vec![other.clone(), said]));
            }
            Some(_) | None => drop(joined.insert(word, said)),
        }
    }
    joined
}

/// `const` and `enum`: the values that are taken, where they are listed.
fn values(schema: &Map<String, Value>) -> Option<Vec<Value>> {
    let listed = schema.get("enum").and_then(Value::as_array).cloned();
    listed.or_else(|| schema.get("const").map(|value| vec![value.clone()]))
}

fn compare_values((a, b): (&Map<String, Value>, &Map<String, Value>), path: &str, found: &mut Vec<String>) {
    let Some(now) = values(b) else { return };
    match values(a) {
        None => found.push(at(path, "takes only listed values now")),
        Some(before) => {
            for value in before.iter().filter(|value| !now.contains(value)) {
                found.push(at(path, &format!("no longer takes {value}")));
            }
        }
    }
}

/// The JSON types that are taken; those of the listed values where it is not said.
fn types(schema: &Map<String, Value>) -> Option<BTreeSet<&str>> {
    match schema.get("type") {
        Some(Value::String(one)) => Some(BTreeSet::from([one.as_str()])),
        Some(Value::Array(several)) => Some(several.iter().filter_map(Value::as_str).collect()),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            values(schema).map(|values| values.iter().map(type_of).collect())
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn compare_types((a, b): (&Map<String, Value>, &Map<String, Value>), path: &str, found: &mut Vec<String>) {
    let Some(now) = types(b) else { return };
    let takes = |kind: &str| now.contains(kind) || (kind == "integer" && now.contains("number"));
    match types(a) {
        None => found.push(at(path, "takes only some JSON types now")),
        Some(before) => {
            for kind in before.into_iter().filter(|kind| !takes(kind)) {
                found.push(at(path, &format!("no longer takes {kind}")));
            }
        }
    }
    match (width(a), width(b)) {
        (_, None) => {}
        (Some(before), Some(now)) if before.0 == now.0 && before.1 <= now.1 => {}
        (None | Some(_), Some(_)) => found.push(at(path, "format is new, another one, or narrower")),
    }
}

fn width(schema: &Map<String, Value>) -> Option<(&str, u32)> {
    schema.get("format").and_then(Value::as_str).map(width_of)
}

/// A format as what it bounds and how wide it is.
fn width_of(format: &str) -> (&str, u32) {
    match format {
        "int8" | "int16" | "int32" | "int64" => ("int", format[3..].parse().unwrap_or(0)),
        "uint8" | "uint16" | "uint32" | "uint64" => ("uint", format[4..].parse().unwrap_or(0)),
        "float" => ("floating", 32),
        "double" => ("floating", 64),
        other => (other, 0),
    }
}

fn compare_bounds((a, b): (&Map<String, Value>, &Map<String, Value>), path: &str, found: &mut Vec<String>) {
    let number = |of: &Map<String, Value>, word: &str| of.get(word).and_then(Value::as_f64);
    for word in LOW {
        let Some(now) = number(b, word) else { continue };
        if number(a, word).is_none_or(|before| before < now) {
            found.push(at(path, &format!("{word} is {now} now")));
        }
    }
    for word in HIGH {
        let Some(now) = number(b, word) else { continue };
        if number(a, word).is_none_or(|before| before > now) {
            found.push(at(path, &format!("{word} is {now} now")));
        }
    }
}

fn at(path: &str, what: &str) -> String {
    let path = path.strip_prefix('.').unwrap_or(path);
    if path.is_empty() { what.to_owned() } else { format!("{path}: {what}") }
}

fn shown(schema: &Map<String, Value>) -> String {
    match (values(schema), types(schema)) {
        (Some(values), _) => values.iter().map(Value::to_string).collect::<Vec<_>>().join(", "),
        (None, Some(types)) => types.into_iter().collect::<Vec<_>>().join(" or "),
        (None, None) => "one of its forms".into(),
    }
}

#[cfg(test)]
mod tests;
