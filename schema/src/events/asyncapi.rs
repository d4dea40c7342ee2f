//! One AsyncAPI 3 document of all topics, made from the types that decode the events: for the authors of scrapers and for tools
//! that generate code. Printed by `ledgerline schema asyncapi`. Pure.

use serde_json::{Map, Value, json};

use super::EventKind;

/// The document; `topic_of` is what the topic of a kind is called.
#[must_use]
pub fn document(topic_of: impl Fn(EventKind) -> String) -> Value {
    let (mut channels, mut operations) = (Map::new(), Map::new());
    let (mut messages, mut schemas) = (Map::new(), Map::new());
    for kind in EventKind::ALL.iter().copied() {
        let (name, event_type, topic) = (kind.name(), kind.event_type(), topic_of(kind));
        channels.insert(name.into(), channel(event_type, &topic));
        operations.insert(format!("send-{name}"), operation(name, event_type));
        messages.insert(event_type.into(), message(kind, &mut schemas));
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ledgerline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The events that scrapers put on Kafka: CloudEvents 1.0, one kind per topic.",
            "license": {"name": env!("CARGO_PKG_LICENSE")},
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    })
}

fn channel(event_type: &str, topic: &str) -> Value {
    json!({
        "address": topic,
        "messages": {event_type: {"$ref": format!("#/components/messages/{event_type}")}},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    })
}

/// As the application does it that the document is for: a scraper sends.
fn operation(name: &str, event_type: &str) -> Value {
    json!({
        "action": "send",
        "channel": {"$ref": format!("#/channels/{name}")},
        "messages": [{"$ref": format!("#/channels/{name}/messages/{event_type}")}],
    })
}

/// The message of a kind; the types that it names become schemas of the document.
fn message(kind: EventKind, schemas: &mut Map<String, Value>) -> Value {
    let mut payload = kind.json_schema();
    point_to_components(&mut payload);
    if let Some(payload) = payload.as_object_mut() {
        payload.remove("$schema");
        if let Some(Value::Object(types)) = payload.remove("$defs") {
            schemas.extend(types);
        }
    }
    let examples: Vec<Value> = kind.samples().into_iter().map(|sample| json!({"payload": sample})).collect();
    json!({
        "name": kind.event_type(),
        "contentType": "application/cloudevents+json",
        "bindings": {"kafka": {"key": {"type": "string", "description": key_of(kind)}, "bindingVersion": "0.5.0"}},
        "payload": payload,
        "examples": examples,
    })
}

fn key_of(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Game | EventKind::Odds | EventKind::Signal | EventKind::Analysis => {
            "<system>:<id> of the game"
        }
        EventKind::Article => "hex SHA-256 of the canonical URL",
    }
}

/// A reference counts from the root of its document.
fn point_to_components(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref") {
                *reference = reference.replace("#/$defs/", "#/components/schemas/");
            }
            object.values_mut().for_each(point_to_components);
        }
        Value::Array(items) => items.iter_mut().for_each(point_to_components),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types of one name are one type, or one kind's would take the place of another's.
    #[test]
    fn types_of_one_name_are_equal_in_every_kind() {
        let mut seen: Map<String, Value> = Map::new();
        for kind in EventKind::ALL {
            let Some(types) = kind.json_schema()["$defs"].as_object().cloned() else { continue };
            for (name, of_kind) in types {
                let known = seen.entry(name.clone()).or_insert_with(|| of_kind.clone());
                assert_eq!(*known, of_kind, "{name}");
            }
        }
    }

    fn check_references(document: &Value, value: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.strip_prefix('#').expect("within the document");
                    assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                object.values().for_each(|value| check_references(document, value));
            }
            Value::Array(items) => items.iter().for_each(|value| check_references(document, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_topic_is_there() {
        let document = document(|kind| format!("test-{}", kind.name()));
        check_references(&document, &document);
        for kind in EventKind::ALL {
            let channel = &document["channels"][kind.name()];
            assert_eq!(channel["address"], format!("test-{}", kind.name()));
        }
    }
}
