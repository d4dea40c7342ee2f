//! `[database]`: how to reach the store and how the server bounds what we do there. Read by the worker's configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// `[database]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`, or `sqlite:PATH`.
    pub url: SecretString,
    /// File that holds the URL, instead of `url`.
    pub url_file: Option<PathBuf>,
    /// Where reads for people go, such as a replica: only ever read from. `url` where it is not set.
    pub read_url: Option<SecretString>,
    /// File that holds the URL for reads, instead of `read_url`.
    pub read_url_file: Option<PathBuf>,
    /// Most connections for reads. They are none of the pool's: whatever is asked of the API, the line keeps its own.
    pub read_connections: u32,
    /// The server ends a read after this.
    pub read_timeout_ms: u64,
    /// `verify` (TLS with certificate and host name verified) or `disable`, which has to be asked for.
    pub tls: Tls,
    /// Certificate authorities as PEM; the bundled public ones where it is not set.
    pub ca_file: Option<PathBuf>,
    /// The connections.
    pub pool: PoolConfig,
    /// The server ends a statement after this.
    pub statement_timeout_ms: u64,
    /// The server gives up waiting for a lock after this.
    pub lock_timeout_ms: u64,
    /// The server ends a session that holds a transaction open and says nothing for this long: it frees the position row
    /// of a worker that was stopped.
    pub idle_in_transaction_timeout_ms: u64,
}

/// Whether the way to PostgreSQL is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// TLS, certificate and host name verified.
    Verify,
    /// No TLS. Only by an explicit switch.
    Disable,
}

/// `[database.pool]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// Most connections; should be the sum of all `writers` + 2.
    pub size: u32,
    /// Unused connections that `run` keeps open, so that nobody waits for one to be opened after a quiet time.
    pub min_idle: u32,
    /// How long a caller waits for a connection.
    pub checkout_timeout_ms: u64,
    /// A connection unused for this long is closed.
    pub idle_timeout_ms: u64,
    /// A connection is replaced after this, used or not.
    pub max_lifetime_ms: u64,
    /// Bound on DNS + TCP + TLS + login + settings of a new connection, together.
    pub connect_timeout_ms: u64,
    /// Selections whose ids a connection remembers; a share of `memory.budget_mib` where it is not set.
    pub cached_selections: Option<usize>,
}

impl PoolConfig {
    /// Selections that a connection remembers where nobody shares out memory: some 10 MB.
    const CACHED_SELECTIONS: usize = 40_000;

    pub(super) fn cached_selections(&self) -> usize {
        self.cached_selections.unwrap_or(Self::CACHED_SELECTIONS)
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            size: 8,
            min_idle: 0,
            checkout_timeout_ms: 5_000,
            idle_timeout_ms: 600_000,
            max_lifetime_ms: 1_800_000,
            connect_timeout_ms: 4_000, // below the checkout's: who waits learns why
            cached_selections: None,
        }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: SecretString::from("sqlite:ledgerline.db"),
            url_file: None,
            read_url: None,
            read_url_file: None,
            read_connections: 4,
            read_timeout_ms: 5_000,
            tls: Tls::Verify,
            ca_file: None,
            pool: PoolConfig::default(),
            statement_timeout_ms: 30_000,
            lock_timeout_ms: 5_000,
            idle_in_transaction_timeout_ms: 10_000,
        }
    }
}

impl DatabaseConfig {
    /// Settings for a URL, all else as by default.
    #[must_use]
    pub fn for_url(url: &str) -> Self {
        Self { url: SecretString::from(url), ..Self::default() }
    }

    /// The URL, from its file if one is named.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn resolved_url(&self) -> Result<SecretString, String> {
        let Some(file) = &self.url_file else { return Ok(self.url.clone()) };
        from_file("database.url_file", file)
    }

    /// The URL for reads, from its file if one is named; the other one where there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn resolved_read_url(&self) -> Result<SecretString, String> {
        match (&self.read_url_file, &self.read_url) {
            (Some(file), _) => from_file("database.read_url_file", file),
            (None, Some(url)) => Ok(url.clone()),
            (None, None) => self.resolved_url(),
        }
    }

    /// Whether the URL names a file; no, where it cannot be read.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.resolved_url().is_ok_and(|url| scheme(&url) == Some("sqlite"))
    }

    /// The URL of an embedded store whose file is not there: whoever connects makes it.
    #[must_use]
    pub fn missing_file(&self) -> Option<String> {
        let url = self.resolved_url().ok()?;
        let path = url.expose_secret().strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        let is_a_path = path != ":memory:" && !path.starts_with("file:");
        (is_a_path && !Path::new(path).exists()).then(|| url.expose_secret().to_owned())
    }

    /// When a transaction counts as lost: above everything that the pool and the server take before they give up themselves.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let waiting = self.pool.checkout_timeout_ms + self.pool.connect_timeout_ms + self.lock_timeout_ms;
        Duration::from_millis(waiting + 2 * self.statement_timeout_ms + self.idle_in_transaction_timeout_ms)
    }

    /// Checks ranges and the form of the URL.
    ///
    /// # Errors
    /// The key and what is wrong with it; never the URL itself.
    pub fn check(&self) -> Result<(), String> {
        let (url, read_url) = (self.resolved_url()?, self.resolved_read_url()?);
        let (scheme, read_scheme) = (scheme(&url), scheme(&read_url));
        let ranges = [
            (scheme.is_some(), "database.url: must start with postgres:// or sqlite:"),
            (
                read_scheme == scheme,
                "database.read_url: must be of the same kind of database as database.url",
            ),
            ((1..=100).contains(&self.read_connections), "database.read_connections: must be 1 to 100"),
            (self.read_timeout_ms >= 100, "database.read_timeout_ms: must be at least 100"),
            ((1..=500).contains(&self.pool.size), "database.pool.size: must be 1 to 500"),
            (
                self.pool.min_idle <= self.pool.size,
                "database.pool.min_idle: must be at most database.pool.size",
            ),
            (self.pool.checkout_timeout_ms >= 100, "database.pool.checkout_timeout_ms: must be at least 100"),
            (self.pool.idle_timeout_ms >= 1, "database.pool.idle_timeout_ms: must be at least 1"),
            (self.pool.max_lifetime_ms >= 1, "database.pool.max_lifetime_ms: must be at least 1"),
            (self.pool.connect_timeout_ms >= 100, "database.pool.connect_timeout_ms: must be at least 100"),
            (self.statement_timeout_ms >= 1_000, "database.statement_timeout_ms: must be at least 1,000"),
            (self.lock_timeout_ms >= 1_000, "database.lock_timeout_ms: must be at least 1,000"),
            (
                self.idle_in_transaction_timeout_ms >= 1_000,
                "database.idle_in_transaction_timeout_ms: must be at least 1,000",
            ),
        ];
        match ranges.into_iter().find(|(holds, _)| !holds) {
            Some((_, problem)) => Err(problem.to_owned()),
            None => Ok(()),
        }
    }
}

fn from_file(key: &str, file: &Path) -> Result<SecretString, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{key}: cannot read {}: {error}", file.display()))?;
    Ok(SecretString::from(text.trim_end()))
}

/// What a URL says of the kind of database.
fn scheme(url: &SecretString) -> Option<&'static str> {
    let kinds = [("postgres://", "postgres"), ("postgresql://", "postgres"), ("sqlite:", "sqlite")];
    kinds.iter().find(|(prefix, _)| url.expose_secret().starts_with(prefix)).map(|(_, kind)| *kind)
}
