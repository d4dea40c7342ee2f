//! Points in time as the product keeps them: microseconds in UTC. Everything finer is cut off when a record is decoded,
//! because PostgreSQL keeps microseconds: a natural key must not change between decoding and storing.

use std::fmt;

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sql_types::UtcTimestamp;

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, AsExpression, FromSqlRow)]
#[diesel(sql_type = UtcTimestamp)]
pub struct UtcMicros(pub i64);

/// 9999-12-30T21:59:59.999999Z: the last whole second that jiff takes in microseconds, so that every zone can write it.
const LATEST: i64 = 253_402_207_199_999_999;
/// 0001-01-01T00:00:00Z.
const EARLIEST: i64 = -62_135_596_800_000_000;

impl UtcMicros {
    /// No time is earlier.
    pub const EARLIEST: Self = Self(EARLIEST);
    /// No time is later.
    pub const LATEST: Self = Self(LATEST);
    /// One second, in the unit of this type.
    pub const SECOND: i64 = 1_000_000;
    /// One hour, in the unit of this type.
    pub const HOUR: i64 = 3_600 * Self::SECOND;

    /// Parses RFC 3339. A time without a zone is refused: nobody can say which instant it names.
    ///
    /// # Errors
    /// A text that says what is wrong with `text`, without repeating it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let instant: jiff::Timestamp = text
            .parse()
            .map_err(|_| "not an RFC 3339 time with a zone, in the years 1 to 9999".to_owned())?;
        // Cut towards the past, so that cutting keeps the order before 1970 too.
        let micros = instant.as_nanosecond().div_euclid(1_000);
        i64::try_from(micros)
            .ok()
            .filter(|micros| (EARLIEST..=LATEST).contains(micros))
            .map(Self)
            .ok_or_else(|| "outside the years 1 to 9999".to_owned())
    }

    /// From a Kafka record timestamp: milliseconds since 1970. Null where Kafka has none (negative) or the value is absurd.
    #[must_use]
    pub fn from_millis(millis: i64) -> Option<Self> {
        let micros = millis.checked_mul(1_000)?;
        (0..=LATEST).contains(&micros).then_some(Self(micros))
    }

    /// The instant shifted by `micros`; stops at the ends of the years 1 to 9999, outside of which nothing can be written.
    #[must_use]
    pub fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros).clamp(EARLIEST, LATEST))
    }

    /// The start of the minute that this instant lies in.
    #[must_use]
    pub fn minute(self) -> Self {
        let minute = 60 * Self::SECOND;
        Self(self.0.div_euclid(minute) * minute)
    }

    /// The start of the hour that this instant lies in.
    #[must_use]
    pub fn hour(self) -> Self {
        Self(self.0.div_euclid(Self::HOUR) * Self::HOUR)
    }
}

/// Fixed width, `2025-11-09T18:20:41.000000Z`: text order is time order, which SQLite relies on.
impl fmt::Display for UtcMicros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = jiff::Timestamp::from_microsecond(self.0)
            .map_err(|_| fmt::Error)?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .datetime();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            civil.year(),
            civil.month(),
            civil.day(),
            civil.hour(),
            civil.minute(),
            civil.second(),
            civil.subsec_nanosecond() / 1_000
        )
    }
}

/// As text, in RFC 3339: parameters and plans of workflows are JSON.
impl Serialize for UtcMicros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtcMicros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_to_microseconds_towards_the_past() {
        assert_eq!(UtcMicros::parse("1970-01-01T00:00:00.0000019Z"), Ok(UtcMicros(1)));
        assert_eq!(UtcMicros::parse("1969-12-31T23:59:59.9999995Z"), Ok(UtcMicros(-1)));
    }

    #[test]
    fn refuses_a_time_without_zone() {
        assert!(UtcMicros::parse("2025-11-09T18:20:41").is_err());
        assert!(UtcMicros::parse("yesterday").is_err());
    }

    #[test]
    fn a_shift_stops_at_the_ends_of_the_range() {
        for (shift, text) in
            [(i64::MIN, "0001-01-01T00:00:00.000000Z"), (i64::MAX, "9999-12-30T21:59:59.999999Z")]
        {
            assert_eq!(UtcMicros(0).plus(shift).to_string(), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn prints_what_it_parses(micros in EARLIEST..=LATEST) {
            let time = UtcMicros(micros);
            proptest::prop_assert_eq!(UtcMicros::parse(&time.to_string()), Ok(time));
        }

        #[test]
        fn text_order_is_time_order(a in EARLIEST..=LATEST, b in EARLIEST..=LATEST) {
            let (left, right) = (UtcMicros(a).to_string(), UtcMicros(b).to_string());
            proptest::prop_assert_eq!(a.cmp(&b), left.cmp(&right));
        }
    }
}
