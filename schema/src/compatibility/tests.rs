//! What is found and what is not; and beside a validator: where nothing is found, nothing is refused.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::events::EventKind;

#[test]
fn every_contract_takes_what_it_takes() {
    for kind in EventKind::ALL {
        assert_eq!(breaks(&kind.json_schema(), &kind.json_schema()), [""; 0], "{kind:?}");
    }
}

/// The schema of odds with something else at a place.
fn odds(pointer: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut schema = EventKind::Odds.json_schema();
    change(schema.pointer_mut(pointer).expect(pointer));
    schema
}

fn found(later: &Value) -> Vec<String> {
    breaks(&EventKind::Odds.json_schema(), later)
}

#[test]
fn what_an_author_of_a_scraper_would_notice_is_found() {
    let gone =
        odds("/$defs/Outcome/properties", |fields| drop(fields.as_object_mut().unwrap().remove("line")));
    assert_eq!(found(&gone), ["data.outcomes[].line: is gone"]);
    let required = odds("/$defs/Outcome/required", |names| *names = json!(["side", "line"]));
    assert_eq!(found(&required), ["data.outcomes[].line: is required now"]);
    let narrower = odds("/$defs/Side/oneOf", |sides| drop(sides.as_array_mut().unwrap().remove(0)));
    assert_eq!(found(&narrower), ["data.outcomes[].side: no longer takes \"home\""]);
    let typed = odds("/$defs/Outcome/properties/price_american", |price| price["type"] = json!("integer"));
    assert_eq!(found(&typed), ["data.outcomes[].price_american: no longer takes null"]);
    let short = odds("/properties/source", |source| source["maxLength"] = json!(64));
    assert_eq!(found(&short), ["source: maxLength is 64 now"]);
    let fewer = odds("/properties/data/properties/outcomes", |outcomes| outcomes["maxItems"] = json!(3));
    assert_eq!(found(&fewer), ["data.outcomes: maxItems is new or another one"]);
    let pattern = odds("/properties/id", |id| id["pattern"] = json!("^[0-9]+$"));
    assert_eq!(found(&pattern), ["id: pattern is new or another one"]);
    let narrow = odds("/$defs/Outcome/properties/price_american", |price| price["format"] = json!("int32"));
    assert_eq!(found(&narrow), ["data.outcomes[].price_american: format is new, another one, or narrower"]);
    let other = odds("/properties/data/properties/period/default", |period| *period = json!("regulation"));
    assert_eq!(found(&other), ["data.period: what is taken where it is left out is another value"]);
    let version = odds("/properties/type", |kind| kind["const"] = json!("odds.v2"));
    assert_eq!(found(&version), ["type: no longer takes \"odds.v1\""]);
}

#[test]
fn what_takes_more_is_no_break() {
    let more = [
        odds("/$defs/Outcome/properties", |fields| fields["note"] = json!({"type": "string"})),
        odds("/$defs/Side/oneOf", |sides| sides.as_array_mut().unwrap().push(json!({"const": "neither"}))),
        odds("/required", |names| *names = json!(["type"])),
        odds("/properties/source", |source| *source = json!({"type": ["string", "null"], "maxLength": 900})),
        odds("/properties/data/description", |text| *text = json!("something else")),
    ];
    for later in more {
        assert_eq!(found(&later), [""; 0]);
    }
}

#[test]
fn an_alternative_that_takes_anything_is_one() {
    let anything = json!({"anyOf": [true, {"type": "null"}]});
    assert!(!breaks(&anything, &json!({"type": "null"})).is_empty());
    assert_eq!(breaks(&json!({"type": "string"}), &anything), [""; 0]);
    let nothing_more = json!({"anyOf": [false, {"type": "null"}]});
    assert!(!breaks(&json!({"type": "string"}), &nothing_more).is_empty());
}

#[test]
fn a_schema_that_refers_to_itself_is_answered() {
    let endless = json!({"$ref": "#"});
    let list = json!({"properties": {"next": {"$ref": "#"}}});
    assert!(breaks(&endless, &endless).len() <= 1);
    assert!(!breaks(&list, &list).is_empty(), "not compared to the end, and says so");
    assert!(!breaks(&json!({}), &json!({"$ref": "#/nowhere"})).is_empty());
}

fn leaf() -> impl Strategy<Value = Value> {
    let kinds = proptest::sample::subsequence(vec!["string", "integer", "number", "boolean", "null"], 1..=3);
    let bounds =
        (proptest::option::of(-2i64..3), proptest::option::of(-2i64..3), proptest::option::of(0u64..3));
    let typed = (kinds, bounds).prop_map(|(kinds, (low, high, length))| {
        let mut schema = json!({"type": kinds});
        for (word, bound) in [("minimum", low), ("exclusiveMaximum", high)] {
            if let Some(bound) = bound {
                schema[word] = json!(bound);
            }
        }
        if let Some(length) = length {
            schema["maxLength"] = json!(length);
        }
        schema
    });
    let listed = proptest::sample::subsequence(vec!["a", "b", "c"], 1..=3);
    let chosen = listed.clone().prop_map(|values| {
        json!({"oneOf": values.iter().map(|value| json!({"const": value, "type": "string"})).collect::<Vec<_>>()})
    });
    prop_oneof![
        typed,
        listed.prop_map(|values| json!({"enum": values})),
        chosen,
        Just(json!(true)),
        Just(json!({}))
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    let optional = (leaf(), any::<bool>())
        .prop_map(|(leaf, null)| if null { json!({"anyOf": [leaf, {"type": "null"}]}) } else { leaf });
    let list = leaf().prop_map(|leaf| json!({"type": "array", "items": leaf}));
    let field = proptest::option::weighted(0.8, prop_oneof![optional, list]);
    let required = proptest::sample::subsequence(vec!["a", "b", "c"], 0..=3);
    (field.clone(), field.clone(), field, required).prop_map(|(a, b, c, required)| {
        let fields = [("a", a), ("b", b), ("c", c)].into_iter();
        let fields: Map<String, Value> =
            fields.filter_map(|(name, field)| Some((name.to_owned(), field?))).collect();
        json!({"type": "object", "properties": fields, "required": required})
    })
}

fn value() -> impl Strategy<Value = Value> {
    let plain = proptest::sample::select(vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(2),
        json!(0.5),
        json!(""),
        json!("a"),
        json!("b"),
        json!("abc"),
    ]);
    let list = proptest::collection::vec(plain.clone(), 0..3).prop_map(Value::from);
    prop_oneof![3 => plain, 1 => list]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn where_nothing_is_found_nothing_is_refused(
        earlier in schema(),
        other in schema(),
        same in proptest::sample::subsequence(vec!["a", "b", "c"], 1..=3),
        fields in proptest::collection::btree_map(proptest::sample::select(vec!["a", "b", "c"]), value(), 0..=3),
    ) {
        // Two schemas made by chance have little in common: some fields are the earlier one's.
        let mut later = other;
        for name in same {
            if let Some(field) = earlier["properties"].get(name) {
                later["properties"][name] = field.clone();
            }
        }
        let known = |name: &str| earlier["properties"].get(name).is_some();
        let event: Map<String, Value> =
            fields.into_iter().filter(|(name, _)| known(name)).map(|(name, value)| (name.to_owned(), value)).collect();
        let event = Value::Object(event);
        let takes = |schema: &Value| jsonschema::validator_for(schema).unwrap().is_valid(&event);
        if breaks(&earlier, &later).is_empty() && takes(&earlier) {
            prop_assert!(takes(&later), "{} by {} and not by {}", event, earlier, later);
        }
        prop_assert_eq!(breaks(&earlier, &earlier), Vec::<String>::new());
    }
}
