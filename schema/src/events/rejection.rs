//! Why a record cannot be applied: a closed reason for machines and one bounded line of detail for people.
//! Made by the contracts, kept in the dead letter.

use std::fmt;

/// Every reason that a dead letter can have. A new one is added here and documented in `docs/EVENTS.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Larger than the contract's limit for one record.
    TooLarge,
    /// Not JSON, or cut short, or not UTF-8.
    MalformedJson,
    /// JSON, but a CloudEvents attribute is missing or is not what version 1.0 says.
    NotCloudEvent,
    /// A known type on the topic of another.
    WrongType,
    /// A type, or a version of one, that this program does not know.
    UnsupportedType,
    /// A field is missing, out of range, or of an unknown value.
    InvalidField,
    /// The same natural key is already stored with another value.
    Conflict,
    /// Good by the contract, but the database refuses its rows whatever else is written beside them.
    Refused,
}

impl Reason {
    /// All reasons, so that a counter exists for each before its first record.
    pub const ALL: [Self; 8] = [
        Self::TooLarge,
        Self::MalformedJson,
        Self::NotCloudEvent,
        Self::WrongType,
        Self::UnsupportedType,
        Self::InvalidField,
        Self::Conflict,
        Self::Refused,
    ];

    /// The name in the `dead_letters` table and in metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::MalformedJson => "malformed_json",
            Self::NotCloudEvent => "not_cloudevent",
            Self::WrongType => "wrong_type",
            Self::UnsupportedType => "unsupported_type",
            Self::InvalidField => "invalid_field",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
        }
    }
}

/// A refused record: the reason, and which field is wrong how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The closed reason.
    pub reason: Reason,
    /// One line, at most [`DETAIL_BYTES`] long, of plain characters: it goes into logs.
    pub detail: String,
}

/// Bound on `Rejection::detail`: a hostile record must not fill the log or the table.
pub const DETAIL_BYTES: usize = 300;

impl Rejection {
    /// A rejection whose detail is made safe to print: one line, bounded.
    #[must_use]
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        let text = detail.to_string();
        let mut line = String::with_capacity(text.len().min(DETAIL_BYTES));
        for c in text.chars() {
            if line.len() + c.len_utf8() > DETAIL_BYTES {
                break;
            }
            line.push(if is_plain(c) { c } else { ' ' });
        }
        Self { reason, detail: line }
    }

    /// A field that is not what the contract asks for: `field: problem`.
    #[must_use]
    pub fn field(field: &str, problem: impl fmt::Display) -> Self {
        Self::new(Reason::InvalidField, format_args!("{field}: {problem}"))
    }
}

/// Whether a log or a terminal shows the character as what it is: no control character, no end of a line, nothing that turns
/// the direction of what follows.
#[must_use]
pub fn is_plain(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

impl std::error::Error for Rejection {}

/// Answers `Err(field: problem)` unless `holds`.
///
/// # Errors
/// The rejection of that field.
pub fn ensure(holds: bool, field: &str, problem: &str) -> Result<(), Rejection> {
    if holds { Ok(()) } else { Err(Rejection::field(field, problem)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_detail_stays_one_bounded_line() {
        let rejection = Rejection::new(Reason::InvalidField, "a\nb\u{1b}[31m\u{202e}\u{2028}".repeat(200));
        assert!(rejection.detail.len() <= DETAIL_BYTES);
        assert!(rejection.detail.starts_with("a b [31m  a"));
        assert!(rejection.detail.chars().all(is_plain));
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
