//! Errors of the configuration without the values that the parsers like to show: a password may stand anywhere, right or wrong.
//! Called by `config.rs`.

use figment::error::{Actual, Kind, OneOf};

/// What is wrong and where, and nothing of what is there: a password may stand in the wrong place.
pub fn without_secrets(error: figment::Error, secrets: &[&str]) -> anyhow::Error {
    let key = error.path.join(".");
    let inside =
        |secret: &str| key.strip_prefix(secret).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if secrets.iter().any(|secret| inside(secret)) {
        return anyhow::anyhow!("{key}: must be a text in quotes");
    }
    let problems: Vec<String> = error.into_iter().map(without_values).collect();
    // The layers have a name that no user has written.
    anyhow::anyhow!("{}", problems.join("; ").replace("\"default.", "\""))
}

/// One problem, by key and place.
fn without_values(mut error: figment::Error) -> String {
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
