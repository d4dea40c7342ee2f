//! Connections to PostgreSQL: the whole set-up bounded in time, TLS verified, server timeouts set and read back, and a
//! recycle check that refuses a server that only reads. Called by the pool.

use std::error::Error as _;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use diesel::sql_types::{Bool, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, TransactionManager};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::StoreError;
use super::pool::Session;
use super::pool_state::{Fault, SetUpFailure};
use super::postgres_url::read;
use super::{DatabaseConfig, Tls};

/// How long the check of a connection may take before it counts as dead.
const RECYCLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Directives for the log's filter, over whatever level is asked for: the client logs the parameters of its statements, and
/// those are the records.
pub const LOG_LIMITS: [&str; 2] = ["tokio_postgres=info", "tokio_postgres::query=info"];

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// The line and the operators: a server that takes writes, or none.
    Write,
    /// People's reads: any server, and nothing but reads.
    Read,
    /// All that is stored, seen from one moment: reads that take as long as they take, on any server.
    Snapshot,
}

impl Access {
    /// The key of the URL, for errors.
    fn key(self) -> &'static str {
        match self {
            Self::Write | Self::Snapshot => "database.url",
            Self::Read => "database.read_url",
        }
    }
}

/// Opens and checks the pool's connections.
pub struct PostgresManager {
    config: tokio_postgres::Config,
    tls: Option<MakeRustlsConnect>,
    connect_timeout: Duration,
    settings: Vec<(&'static str, String)>,
    cached_selections: usize,
    access: Access,
    ca_file: Option<PathBuf>,
}

/// Never shows the configuration: it holds the password.
impl fmt::Debug for PostgresManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PostgresManager")
    }
}

impl PostgresManager {
    pub(super) fn new(database: &DatabaseConfig, url: &str, access: Access) -> Result<Self, StoreError> {
        let key = access.key();
        let (mut config, tls) = read(key, url, database.tls)?;
        config
            .application_name("ledgerline")
            .connect_timeout(Duration::from_secs(3))
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(15))
            .target_session_attrs(match access {
                Access::Write => TargetSessionAttrs::ReadWrite,
                Access::Read | Access::Snapshot => TargetSessionAttrs::Any,
            })
            .ssl_mode(if tls == Tls::Verify { SslMode::Require } else { SslMode::Disable });
        let tls = match tls {
            Tls::Verify => Some(MakeRustlsConnect::new(client_tls(database)?)),
            Tls::Disable => None,
        };
        let idle_ms = database.idle_in_transaction_timeout_ms;
        let (statement_timeout_ms, idle_in_transaction_timeout_ms) = match access {
            Access::Write => (database.statement_timeout_ms, idle_ms),
            Access::Read => (database.read_timeout_ms, idle_ms),
            Access::Snapshot => (0, 0), // it holds no row that anybody waits for
        };
        let mut settings = vec![
            ("statement_timeout", statement_timeout_ms.to_string()),
            ("lock_timeout", database.lock_timeout_ms.to_string()),
            ("idle_in_transaction_session_timeout", idle_in_transaction_timeout_ms.to_string()),
            // A backend whose client is gone must not run on and hold the position row.
            ("client_connection_check_interval", "2000".into()),
        ];
        if access != Access::Write {
            settings.push(("default_transaction_read_only", "on".into()));
        }
        let connect_timeout = Duration::from_millis(database.pool.connect_timeout_ms);
        let cached_selections = database.pool.cached_selections();
        let ca_file = database.ca_file.clone();
        Ok(Self { config, tls, connect_timeout, settings, cached_selections, access, ca_file })
    }

    async fn open(&self) -> Result<AsyncPgConnection, Fault> {
        let mut conn = self.dial().await?;
        for (name, value) in &self.settings {
            let taken = set(&mut conn, name, value).await;
            taken.map_err(|text| Fault::SetUp(SetUpFailure::Settings, text))?;
        }
        Ok(conn)
    }

    /// How the driver was told to reach the server.
    pub(super) fn driver(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// The certificate authorities, where they are not the bundled ones.
    pub(super) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// A connection that the caller alone has, with our settings, within the bound of a new one.
    pub(super) async fn dedicated(&self) -> Result<AsyncPgConnection, StoreError> {
        bb8::ManageConnection::connect(self)
            .await
            .map(|session| session.conn)
            .map_err(|fault| StoreError::Unavailable(fault.to_string()))
    }

    /// The driver's own client within the bound of a new connection.
    pub(super) async fn dedicated_client(&self) -> Result<tokio_postgres::Client, StoreError> {
        let late = || format!("no connection within {} ms", self.connect_timeout.as_millis());
        let opened = timeout(self.connect_timeout, self.client()).await.unwrap_or_else(|_| Err(late()));
        opened.map_err(StoreError::Unavailable)
    }

    /// A connection without our settings.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub(super) async fn dial(&self) -> Result<AsyncPgConnection, Fault> {
        match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await.map_err(refused)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
            None => {
                let (client, connection) =
                    self.config.connect(tokio_postgres::NoTls).await.map_err(refused)?;
                AsyncPgConnection::try_from_client_and_connection(client, connection).await
            }
        }
        .map_err(|error| Fault::SetUp(SetUpFailure::Other, chain(error)))
    }

    /// The driver's own client, for COPY, which diesel does not know. It closes when it is dropped.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub(super) async fn client(&self) -> Result<tokio_postgres::Client, String> {
        match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await.map_err(chain)?;
                tokio::spawn(connection);
                Ok(client)
            }
            None => {
                let (client, connection) = self.config.connect(tokio_postgres::NoTls).await.map_err(chain)?;
                tokio::spawn(connection);
                Ok(client)
            }
        }
    }
}

/// The server, or the way to it, refused. The driver keeps the kind of its errors to itself, and only their texts tell them apart.
fn refused(error: tokio_postgres::Error) -> Fault {
    let kind = match error.code() {
        Some(code) => of_the_server(code),
        None => of_the_way(&error),
    };
    Fault::SetUp(kind, chain(error))
}

fn of_the_server(code: &SqlState) -> SetUpFailure {
    let login = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    let not_ready = [SqlState::CANNOT_CONNECT_NOW, SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN];
    if login.contains(code) {
        SetUpFailure::Login
    } else if not_ready.contains(code) {
        SetUpFailure::NotReady
    } else if *code == SqlState::TOO_MANY_CONNECTIONS {
        SetUpFailure::Full
    } else {
        SetUpFailure::Other
    }
}

fn of_the_way(error: &tokio_postgres::Error) -> SetUpFailure {
    // A server that only reads is told as one that may not be connected to.
    let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    if io.is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied) {
        return SetUpFailure::NotReady;
    }
    match error.to_string().as_str() {
        "error performing TLS handshake" => SetUpFailure::Tls,
        "authentication error" | "invalid configuration" => SetUpFailure::Login,
        "timeout waiting for server" => SetUpFailure::TimedOut,
        "error connecting to server" | "error communicating with the server" => SetUpFailure::Unreachable,
        _ => SetUpFailure::Other,
    }
}

#[derive(QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    value: String,
}

/// Sets a timeout and demands that the server took it: some proxies swallow settings.
async fn set(conn: &mut AsyncPgConnection, name: &str, value: &str) -> Result<(), String> {
    let query = sql_query("select set_config($1, $2, false) as value");
    query.bind::<Text, _>(name).bind::<Text, _>(value).execute(conn).await.map_err(chain)?;
    let query = sql_query("select setting as value from pg_settings where name = $1");
    let now: Vec<Setting> = query.bind::<Text, _>(name).load(conn).await.map_err(chain)?;
    match now.as_slice() {
        [setting] if setting.value == value => Ok(()),
        _ => Err(format!("the server did not take {name}")),
    }
}

/// The error with its causes on one line; tokio-postgres hides the useful part in the cause.
pub(super) fn chain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

impl bb8::ManageConnection for PostgresManager {
    type Connection = Session<AsyncPgConnection>;
    type Error = Fault;

    /// Everything from DNS to the last setting under one bound: the pool itself has none, and a server that accepts and
    /// stalls would pin a place in it for ever.
    async fn connect(&self) -> Result<Self::Connection, Fault> {
        match timeout(self.connect_timeout, self.open()).await {
            Ok(opened) => opened.map(|conn| Session::new(conn, self.cached_selections)),
            Err(_) => {
                let text = format!("no connection within {} ms", self.connect_timeout.as_millis());
                Err(Fault::SetUp(SetUpFailure::TimedOut, text))
            }
        }
    }

    async fn is_valid(&self, session: &mut Self::Connection) -> Result<(), Fault> {
        #[derive(QueryableByName)]
        struct Fit {
            #[diesel(sql_type = Bool)]
            fit: bool,
        }
        let query = sql_query(match self.access {
            Access::Write => {
                "select not pg_is_in_recovery() and current_setting('default_transaction_read_only') = 'off' as fit"
            }
            Access::Read | Access::Snapshot => {
                "select current_setting('default_transaction_read_only') = 'on' as fit"
            }
        });
        let check = async { query.load::<Fit>(&mut session.conn).await.map_err(chain) };
        match timeout(RECYCLE_TIMEOUT, check).await {
            Ok(Ok(rows)) if rows.iter().any(|row| row.fit) => Ok(()),
            Ok(Ok(_)) => Err(Fault::Stale(match self.access {
                Access::Write => "the server is read-only".into(),
                Access::Read | Access::Snapshot => "the connection would take writes".into(),
            })),
            Ok(Err(error)) => Err(Fault::Stale(error)),
            Err(_) => {
                session.broken = true;
                Err(Fault::Stale("the connection does not answer".into()))
            }
        }
    }

    fn has_broken(&self, session: &mut Self::Connection) -> bool {
        type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;
        session.broken || Manager::is_broken_transaction_manager(&mut session.conn)
    }
}

fn client_tls(database: &DatabaseConfig) -> Result<ClientConfig, StoreError> {
    let mut roots = RootCertStore::empty();
    match &database.ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            use rustls::pki_types::{CertificateDer, pem::PemObject};
            let problem = |error: String| {
                StoreError::Config(format!("database.ca_file: cannot read {}: {error}", file.display()))
            };
            let certificates =
                CertificateDer::pem_file_iter(file).map_err(|error| problem(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| problem(error.to_string()))?;
                roots.add(certificate).map_err(|error| problem(error.to_string()))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Config(format!("database.tls: {error}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
