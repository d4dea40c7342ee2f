//! `DeadLetter`: a record that could not be applied, byte for byte, with a closed reason. Headers become readable JSON
//! from which the bytes can be had back exactly.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use crate::events::envelope::Origin;
use crate::events::{RawHeader, Reason};
use crate::sql_types::Json;
use crate::time::UtcMicros;

/// A record that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its offset.
    pub offset: i64,
    /// Kafka's timestamp of the record.
    pub timestamp: Option<UtcMicros>,
    /// Its key; null and empty are different.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Vec<u8>,
    /// Its headers in order: `[{"name": …, "value": …}]`, `name_base64` and `value_base64` where text would not be exact.
    pub headers: Json,
    /// Ties it to the poll and the trace that published it.
    pub origin: Origin,
    /// Why it could not be applied.
    pub reason: Reason,
    /// What is wrong where, on one line.
    pub detail: String,
}

/// The headers as JSON; [`headers_from_json`] gives back the same bytes.
#[must_use]
pub fn headers_to_json(headers: &[RawHeader<'_>]) -> Json {
    let array: Vec<Value> = headers.iter().map(header_to_json).collect();
    Json(Value::Array(array).to_string())
}

fn header_to_json(header: &RawHeader<'_>) -> Value {
    let mut object = Map::new();
    put(&mut object, "name", header.name);
    match header.value {
        Some(value) => put(&mut object, "value", value),
        None => {
            object.insert("value".into(), Value::Null);
        }
    }
    Value::Object(object)
}

/// Text where it is exact and PostgreSQL can hold it, base64 otherwise.
fn put(object: &mut Map<String, Value>, field: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => object.insert(field.into(), json!(text)),
        Ok(_) | Err(_) => object.insert(format!("{field}_base64"), json!(BASE64.encode(bytes))),
    };
}

/// A header's name and value, owned.
pub type OwnedHeader = (Vec<u8>, Option<Vec<u8>>);

/// The headers' bytes back from their JSON form; null where the JSON is not of that form.
#[must_use]
pub fn headers_from_json(json: &Json) -> Option<Vec<OwnedHeader>> {
    let array: Vec<Map<String, Value>> = serde_json::from_str(&json.0).ok()?;
    array.iter().map(|object| Some((take(object, "name")??, take(object, "value")?))).collect()
}

fn take(object: &Map<String, Value>, field: &str) -> Option<Option<Vec<u8>>> {
    if let Some(encoded) = object.get(&format!("{field}_base64")) {
        return BASE64.decode(encoded.as_str()?).ok().map(Some);
    }
    match object.get(field)? {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text.clone().into_bytes())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn headers_come_back_byte_for_byte(
            headers in proptest::collection::vec(
                (proptest::collection::vec(0u8.., 0..8), proptest::option::of(proptest::collection::vec(0u8.., 0..8))), 0..5)
        ) {
            let raw: Vec<RawHeader<'_>> =
                headers.iter().map(|(name, value)| RawHeader { name, value: value.as_deref() }).collect();
            let back = headers_from_json(&headers_to_json(&raw));
            proptest::prop_assert_eq!(back, Some(headers));
        }
    }
}
