//! The one place that reads the wall clock. Everything else takes time as an argument.

use ledgerline_schema::time::UtcMicros;

/// Now, in microseconds since 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the replacement that the ban names")]
pub fn now() -> UtcMicros {
    UtcMicros(jiff::Timestamp::now().as_microsecond())
}
