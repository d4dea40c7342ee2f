//! A read whose conditions are only known when it is asked: SQL that both databases understand, with its values beside it.
//! Conditions that nobody asked for are not in the text, so that the planner sees what is left.
//!
//! What must stay true: no value is ever part of the text.

use diesel::backend::Backend;
use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Bool, Float, HasSqlType, Integer, Text};
use diesel::sqlite::Sqlite;
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

use crate::sql_types::UtcTimestamp;
use crate::store::Conn;
use crate::time::UtcMicros;

/// A value of a condition.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Time(UtcMicros),
    Int(i32),
    BigInt(i64),
    Float(f32),
    Bool(bool),
}

/// SQL and its values.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    /// Begins with a text that ends in a `where` and one condition.
    pub(super) fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), values: Vec::new() }
    }

    /// Goes on with a piece in which each `?` stands for one of the values.
    pub(super) fn push(&mut self, piece: &str, values: impl IntoIterator<Item = Value>) {
        let mut values = values.into_iter();
        self.sql.push(' ');
        for part in piece.split_inclusive('?') {
            match (part.strip_suffix('?'), part.ends_with('?').then(|| values.next()).flatten()) {
                (Some(text), Some(value)) => {
                    self.values.push(value);
                    self.sql.push_str(text);
                    self.sql.push_str(&format!("${}", self.values.len()));
                }
                _ => self.sql.push_str(part),
            }
        }
    }

    /// A condition, where there is a value for it.
    pub(super) fn and(&mut self, condition: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.push(&format!("and {condition}"), [value]);
        }
    }

    /// A condition on a text, where it is asked for.
    pub(super) fn and_text(&mut self, condition: &str, text: Option<&String>) {
        self.and(condition, text.map(|text| Value::Text(text.clone())));
    }

    /// A condition on a time, where it is asked for.
    pub(super) fn and_time(&mut self, condition: &str, time: Option<UtcMicros>) {
        self.and(condition, time.map(Value::Time));
    }

    pub(super) async fn load<T>(self, conn: &mut Conn<'_>) -> QueryResult<Vec<T>>
    where
        T: QueryableByName<Pg> + QueryableByName<Sqlite> + Send + 'static,
    {
        match conn {
            Conn::Postgres(c) => self.boxed::<Pg>().load(&mut **c).await,
            Conn::Sqlite(c) => self.boxed::<Sqlite>().load(&mut **c).await,
        }
    }

    fn boxed<DB>(self) -> BoxedSqlQuery<'static, DB, SqlQuery>
    where
        DB: Backend + HasSqlType<UtcTimestamp> + HasSqlType<Bool>,
        String: ToSql<Text, DB>,
        UtcMicros: ToSql<UtcTimestamp, DB>,
        i32: ToSql<Integer, DB>,
        i64: ToSql<BigInt, DB>,
        f32: ToSql<Float, DB>,
        bool: ToSql<Bool, DB>,
    {
        let query = sql_query(self.sql).into_boxed::<DB>();
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind::<Text, _>(text),
            Value::Time(time) => query.bind::<UtcTimestamp, _>(time),
            Value::Int(number) => query.bind::<Integer, _>(number),
            Value::BigInt(number) => query.bind::<BigInt, _>(number),
            Value::Float(number) => query.bind::<Float, _>(number),
            Value::Bool(truth) => query.bind::<Bool, _>(truth),
        })
    }
}
