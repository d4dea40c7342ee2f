//! Two SQL types that mean the same on both stores: `UtcTimestamp` (`timestamptz` | text) and `JsonText` (`jsonb` | text).
//! `schema.rs` uses them, so one `table!` and one query body serve PostgreSQL and SQLite.

use std::io::Write;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, SqlType, Text};
use diesel::sqlite::{Sqlite, SqliteValue};

use crate::time::UtcMicros;

/// `timestamptz` on PostgreSQL; fixed-width RFC 3339 text on SQLite.
#[derive(Debug, Clone, Copy, SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185))]
#[diesel(sqlite_type(name = "Text"))]
pub struct UtcTimestamp;

/// Ordered on both: the text has a fixed width.
impl diesel::sql_types::SqlOrd for UtcTimestamp {}

/// `jsonb` on PostgreSQL; text on SQLite.
#[derive(Debug, Clone, Copy, SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(oid = 3802, array_oid = 3807))]
#[diesel(sqlite_type(name = "Text"))]
pub struct JsonText;

/// A JSON document as text. PostgreSQL gives it back in its own layout, so compare parsed values, not bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, AsExpression, FromSqlRow)]
#[diesel(sql_type = JsonText)]
pub struct Json(pub String);

/// Microseconds between 1970-01-01 and 2000-01-01, where PostgreSQL starts to count.
pub(crate) const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

impl ToSql<UtcTimestamp, Pg> for UtcMicros {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let micros = self.0 - POSTGRES_EPOCH_MICROS;
        <i64 as ToSql<BigInt, Pg>>::to_sql(&micros, &mut out.reborrow())
    }
}

impl FromSql<UtcTimestamp, Pg> for UtcMicros {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        <i64 as FromSql<BigInt, Pg>>::from_sql(value).map(|micros| Self(micros + POSTGRES_EPOCH_MICROS))
    }
}

impl ToSql<UtcTimestamp, Sqlite> for UtcMicros {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.to_string());
        Ok(IsNull::No)
    }
}

impl FromSql<UtcTimestamp, Sqlite> for UtcMicros {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Sqlite>>::from_sql(value)?;
        Self::parse(&text).map_err(Into::into)
    }
}

impl ToSql<JsonText, Pg> for Json {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&[1])?; // the version byte of jsonb's binary form
        out.write_all(self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromSql<JsonText, Pg> for Json {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        match value.as_bytes().split_first() {
            Some((1, text)) => Ok(Self(std::str::from_utf8(text)?.to_owned())),
            _ => Err("a jsonb value of an unknown version".into()),
        }
    }
}

impl ToSql<JsonText, Sqlite> for Json {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_str());
        Ok(IsNull::No)
    }
}

impl FromSql<JsonText, Sqlite> for Json {
    fn from_sql(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<Self> {
        <String as FromSql<Text, Sqlite>>::from_sql(value).map(Self)
    }
}
