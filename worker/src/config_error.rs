//! Errors of the configuration without the values that the parsers like to show: a password may stand anywhere, right or wrong.
//! Called by `config.rs`.

use figment::error::{Actual, Kind, OneOf};

/// What is wrong with the configuration, by key and place.
pub fn without_values(mut error: figment::Error) -> String {
    let nameless = |actual| match actual {
        Actual::Str(_) | Actual::Char(_) | Actual::Bytes(_) => Actual::Other("text".into()),
        other => other,
    };
    error.kind = match error.kind {
        Kind::InvalidType(actual, expected) => Kind::InvalidType(nameless(actual), expected),
        Kind::InvalidValue(actual, expected) => Kind::InvalidValue(nameless(actual), expected),
        Kind::UnknownVariant(_, expected) => {
            Kind::Message(format!("unknown value, expected {}", OneOf(expected)))
        }
        Kind::Message(text) => Kind::Message(without_snippet(text)),
        other => other,
    };
    error.to_string()
}

/// The TOML parser shows the line that it stopped at.
fn without_snippet(text: String) -> String {
    let mut lines = text.lines();
    match (lines.next(), lines.next_back()) {
        (Some(place), Some(reason)) => format!("{place}: {reason}"),
        _ => text,
    }
}
