//! One look at either database from outside: SQL whose single text column is called `line`, and all that is stored as text.
//!
//! What must stay true: nothing here goes through the product's store, so that it can contradict it.

use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection};

use super::postgres::{Database, connect};

/// Tables that give numbers to names. They are filled before a batch's transaction, so a refused batch may leave names.
const NAMES: [&str; 2] = ["selections", "game_refs"];

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

impl Database {
    pub fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    /// The column `line` of a query, sorted.
    pub async fn lines(&self, sql: &str) -> Vec<String> {
        let mut lines = if self.is_sqlite() {
            let found: Vec<Line> =
                diesel::sql_query(sql).load(&mut self.open()).unwrap_or_else(|e| panic!("{sql}: {e}"));
            found.into_iter().map(|row| row.line).collect()
        } else {
            let rows = self.rows(sql).await;
            rows.into_iter().map(|mut row| row.swap_remove(0).expect("a line")).collect::<Vec<String>>()
        };
        lines.sort();
        lines
    }

    /// The one line that a query answers.
    pub async fn line(&self, sql: &str) -> String {
        let lines = self.lines(sql).await;
        assert_eq!(lines.len(), 1, "{sql}: {lines:?}");
        lines.concat()
    }

    /// Rows of a table.
    pub async fn number_of(&self, table: &str) -> i64 {
        self.line(&format!("select cast(count(*) as text) as line from {table}"))
            .await
            .parse()
            .expect("a number")
    }

    /// Runs statements as somebody else would. Answers what the database said against them.
    pub async fn try_change(&self, sql: &str) -> Result<(), String> {
        if self.is_sqlite() {
            self.open().batch_execute(sql).map_err(|error| error.to_string())
        } else {
            connect(&self.url).await.batch_execute(sql).await.map_err(|error| format!("{error:?}"))
        }
    }

    /// Runs statements that have to succeed.
    pub async fn change(&self, sql: &str) {
        self.try_change(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Names of the tables.
    pub async fn tables(&self) -> Vec<String> {
        let sqlite =
            "select name as line from sqlite_master where type = 'table' and name not like 'sqlite%'";
        let postgres = "select tablename::text as line from pg_tables where schemaname = 'public'";
        self.lines(if self.is_sqlite() { sqlite } else { postgres }).await
    }

    /// Every row of every table but those of names, as text: equal before and after means that nothing was changed.
    pub async fn contents(&self) -> Vec<String> {
        let mut contents = Vec::new();
        for table in self.tables().await {
            if !NAMES.contains(&table.as_str()) {
                let rows = self.lines(&self.rows_as_text(&table).await).await;
                contents.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
            }
        }
        contents
    }

    /// Every row of a view, as text, whatever their order.
    pub async fn view(&self, view: &str) -> Vec<String> {
        self.lines(&self.rows_as_text(view).await).await
    }

    async fn rows_as_text(&self, table: &str) -> String {
        if !self.is_sqlite() {
            return format!("select t::text as line from {table} t");
        }
        let quoted = "group_concat('quote(\"' || name || '\")', ' || '','' || ')";
        let columns = self.line(&format!("select {quoted} as line from pragma_table_info('{table}')")).await;
        format!("select {columns} as line from {table}")
    }

    /// Another connection to the SQLite file.
    #[expect(clippy::disallowed_methods, reason = "tests look at the database from outside")]
    fn open(&self) -> SqliteConnection {
        let path = self.url.strip_prefix("sqlite:").expect("a SQLite database");
        let mut conn = SqliteConnection::establish(path).expect("the file opens");
        conn.batch_execute("pragma busy_timeout = 10000").expect("a setting");
        conn
    }
}
