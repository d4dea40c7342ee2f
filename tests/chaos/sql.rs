//! A direct line to PostgreSQL, past the proxies, for the driver and the witness. Everything is bounded; a lost connection is
//! opened again by the next question.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Bound on one question.
const ANSWER: Duration = Duration::from_secs(30);

/// Columns as text.
pub type Row = Vec<Option<String>>;

/// One connection, opened when it is needed.
pub struct Sql {
    url: String,
    client: Option<Client>,
}

impl Sql {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), client: None }
    }

    /// Runs one or more statements and answers the rows of all.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, String> {
        match timeout(ANSWER, self.ask(sql)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                self.client = None;
                Err(error)
            }
            Err(_) => {
                self.client = None;
                Err(format!("no answer within {ANSWER:?}"))
            }
        }
    }

    async fn ask(&mut self, sql: &str) -> Result<Vec<Row>, String> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.client = Some(connect(&self.url).await?);
        }
        let Some(client) = &self.client else { return Err("no connection".into()) };
        let messages = client.simple_query(sql).await.map_err(|error| format!("{error:?}"))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Rows of a question that has to be answered.
    pub async fn must(&mut self, sql: &str) -> Vec<Row> {
        self.rows(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

async fn connect(url: &str) -> Result<Client, String> {
    #[expect(clippy::disallowed_methods, reason = "the checker looks at the database from outside")]
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.map_err(|error| format!("{error:?}"))?;
    tokio::spawn(connection);
    Ok(client)
}

/// A column that holds a number.
pub fn number(row: &Row, column: usize) -> i64 {
    row[column].as_deref().map_or(0, |text| text.parse().unwrap_or_else(|_| panic!("{text} is no number")))
}

/// A column as text; empty where it is null.
pub fn text(row: &Row, column: usize) -> String {
    row[column].clone().unwrap_or_default()
}
