//! `Column`: one column of a bulk statement in PostgreSQL's binary array form, written in one pass. Used by `insert.rs`.
//!
//! diesel can bind a `Vec` as an array, value by value through a buffer of its own. Here a value is its length and its bytes, appended.

use std::io::Write;
use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Array, BigInt, Double, Float, HasSqlType, Nullable};

use crate::sql_types::{POSTGRES_EPOCH_MICROS, UtcTimestamp};
use crate::time::UtcMicros;

/// Bytes of the longest value with its length.
const VALUE: usize = 12;

/// Values of one SQL type.
#[derive(Debug)]
pub(super) struct Column<ST> {
    /// The values, each with its length before it.
    bytes: Vec<u8>,
    len: i32,
    of: PhantomData<ST>,
}

impl<ST> Column<ST> {
    /// The values in their order. At most 2^31: a batch is bounded far below.
    pub(super) fn of<V: Value<ST>>(values: impl ExactSizeIterator<Item = V>) -> Self {
        let len = i32::try_from(values.len()).expect("a batch is bounded far below 2^31 rows");
        let mut bytes = Vec::with_capacity(values.len() * VALUE);
        values.for_each(|value| value.append_to(&mut bytes));
        Self { bytes, len, of: PhantomData }
    }
}

/// A value that a column can hold.
pub(super) trait Value<ST> {
    /// Appends length and bytes; a null is the length -1 alone.
    fn append_to(self, bytes: &mut Vec<u8>);
}

/// Length and bytes of a number.
macro_rules! number {
    ($rust:ty, $sql:ty) => {
        impl Value<$sql> for $rust {
            fn append_to(self, bytes: &mut Vec<u8>) {
                const LENGTH: i32 = size_of::<$rust>() as i32;
                bytes.extend_from_slice(&LENGTH.to_be_bytes());
                bytes.extend_from_slice(&self.to_be_bytes());
            }
        }
    };
}
number!(i64, BigInt);
number!(f64, Double);
number!(f32, Float);

impl Value<UtcTimestamp> for UtcMicros {
    fn append_to(self, bytes: &mut Vec<u8>) {
        Value::<BigInt>::append_to(self.0 - POSTGRES_EPOCH_MICROS, bytes);
    }
}

impl<ST, V: Value<ST>> Value<Nullable<ST>> for Option<V>
where
    ST: diesel::sql_types::SqlType<IsNull = diesel::sql_types::is_nullable::NotNull>,
{
    fn append_to(self, bytes: &mut Vec<u8>) {
        match self {
            Some(value) => value.append_to(bytes),
            None => bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
}

impl<ST> ToSql<Array<ST>, Pg> for Column<ST>
where
    Pg: HasSqlType<ST>,
    ST: std::fmt::Debug + 'static,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let type_of_values = <Pg as HasSqlType<ST>>::metadata(out.metadata_lookup()).oid()?.cast_signed();
        let (dimensions, flags, first_index) = (1, 0, 1); // the server looks for nulls itself
        for field in [dimensions, flags, type_of_values, self.len, first_index] {
            out.write_all(&field.to_be_bytes())?;
        }
        out.write_all(&self.bytes)?;
        Ok(IsNull::No)
    }
}
