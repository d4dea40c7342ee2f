//! A PostgreSQL database per test, dropped afterwards; and a SQLite one for the suite that runs on both.

use std::sync::atomic::{AtomicBool, Ordering};

use ledgerline_schema::store::{DatabaseConfig, Store};

use super::{service, unique};

/// A database of a test's own.
pub struct Database {
    pub url: String,
    admin: Option<(String, String)>,
    folder: Option<tempfile::TempDir>,
    dropped: AtomicBool,
}

impl Database {
    /// A new database on the real PostgreSQL server.
    pub async fn postgres() -> Self {
        Self::on(&service("LEDGERLINE_TEST_POSTGRES")).await
    }

    /// A new database on that PostgreSQL server.
    pub async fn on(server: &str) -> Self {
        let server = server.to_owned();
        let name = unique("t").replace('-', "_");
        execute(&server, &format!("create database {name}")).await;
        let mut url = url::Url::parse(&server).expect("the server's address is a URL");
        url.set_path(&name);
        url.set_query(Some("sslmode=disable"));
        Self { url: url.into(), admin: Some((server, name)), folder: None, dropped: AtomicBool::new(false) }
    }

    /// A new SQLite file.
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite:{}", folder.path().join("test.db").display());
        Self { url, admin: None, folder: Some(folder), dropped: AtomicBool::new(false) }
    }

    pub async fn store(&self) -> Store {
        let config = DatabaseConfig::for_url(&self.url);
        Store::connect(&config).await.expect("a store")
    }

    /// A store whose schema is up to date.
    pub async fn migrated(&self) -> Store {
        let store = self.store().await;
        store.migrate_up().await.expect("migrations");
        store
    }

    /// Runs a query on PostgreSQL and answers its rows as text.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let client = connect(&self.url).await;
        let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let mut rows = Vec::new();
        for message in messages {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                rows.push((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect());
            }
        }
        rows
    }

    /// The one number that a query answers.
    pub async fn number(&self, sql: &str) -> i64 {
        let rows = self.rows(sql).await;
        rows[0][0].as_deref().expect("a number").parse().expect("a number")
    }

    /// The major versions of the installed `pg_dump` and of the server, where they do not fit: the server is the newer one, or it is older
    /// than 17 and `pg_dump` is not.
    pub async fn does_not_fit_pg_dump(&self) -> Option<(i64, i64)> {
        let said =
            std::process::Command::new("pg_dump").arg("--version").output().expect("pg_dump is installed");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let digits = said.split(") ").nth(1).and_then(|rest| rest.split(['.', ' ', '\n']).next());
        let installed = digits.and_then(|digits| digits.parse().ok()).expect("its version");
        let server = self.number("select current_setting('server_version_num')::int8 / 10000").await;
        (installed < server || (server < 17 && installed >= 17)).then_some((installed, server))
    }

    /// A digest of a view's rows, whatever their order.
    pub async fn digest(&self, view: &str) -> String {
        let sql = format!(
            "select count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' order by t::text)), '') from {view} t"
        );
        self.rows(&sql).await[0][0].clone().expect("a digest")
    }

    /// Forgets the database at once; `Drop` cannot wait.
    pub async fn drop_now(&self) {
        if let Some((server, name)) = &self.admin {
            self.dropped.store(true, Ordering::Relaxed);
            execute(server, &format!("drop database if exists {name} with (force)")).await;
        }
    }
}

pub async fn connect(url: &str) -> tokio_postgres::Client {
    let url = url.replace("?sslmode=disable", "");
    #[expect(clippy::disallowed_methods, reason = "tests look at the database from outside")]
    let (client, connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}

pub async fn execute(url: &str, sql: &str) {
    connect(url).await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}
