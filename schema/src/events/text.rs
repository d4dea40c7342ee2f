//! `Text`: a JSON string borrowed from the record where it has no escapes. Every string of every contract is one, so
//! this is the one place where U+0000 is refused: PostgreSQL's `text` cannot hold it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A string of an event: no U+0000, borrowed from the record's bytes where possible.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    /// The string as an owned value, for a row.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into_owned()
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string without U+0000")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        without_nul(text).map(Cow::Borrowed)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        without_nul(text).map(|text| Cow::Owned(text.to_owned()))
    }
}

fn without_nul<E: de::Error>(text: &str) -> Result<&str, E> {
    if text.as_bytes().contains(&0) {
        return Err(E::custom("a string that holds U+0000"));
    }
    Ok(text)
}

impl JsonSchema for Text<'_> {
    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }

    fn inline_schema() -> bool {
        true
    }
}
