//! How PostgreSQL's own programs reach the server that the store reaches: the connection's settings as the environment of a child
//! process, so that no password is ever an argument. Called by `backup/`, for `pg_dump` and `pg_restore`.

use std::fmt;

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::postgres::PostgresManager;

/// What may be set in our environment and would lead such a program elsewhere.
const INHERITED: [&str; 16] = [
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGPASSFILE",
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGDATABASE",
    "PGPASSWORD",
    "PGOPTIONS",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLCRL",
    "PGTARGETSESSIONATTRS",
];

/// The environment for a program that is made with libpq.
pub struct Libpq {
    variables: Vec<(&'static str, String)>,
    /// Whether the server's certificate is to be checked against the public authorities, which libpq knows from version 16 on.
    pub needs_public_authorities: bool,
}

/// Never shows a value: the password is among them.
impl fmt::Debug for Libpq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.variables.iter().map(|(name, _)| *name).collect();
        write!(f, "Libpq({})", names.join(", "))
    }
}

impl Libpq {
    pub(super) fn of(manager: &PostgresManager) -> Self {
        let driver = manager.driver();
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let hosts: Vec<String> = driver.get_hosts().iter().map(host).collect();
        let ports: Vec<String> = driver.get_ports().iter().map(u16::to_string).collect();
        let addresses: Vec<String> = driver.get_hostaddrs().iter().map(ToString::to_string).collect();
        let password = driver.get_password().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let encrypted = driver.get_ssl_mode() != SslMode::Disable;
        let authorities = manager.ca_file().map(|file| file.display().to_string());
        let needs_public_authorities = encrypted && authorities.is_none();
        let authorities = authorities.unwrap_or_else(|| "system".into());
        let writes = driver.get_target_session_attrs() == TargetSessionAttrs::ReadWrite;
        let found = [
            ("PGHOST", text(&hosts.join(","))),
            ("PGHOSTADDR", text(&addresses.join(","))),
            ("PGPORT", text(&ports.join(","))),
            ("PGUSER", driver.get_user().map(str::to_owned)),
            ("PGPASSWORD", password),
            ("PGDATABASE", driver.get_dbname().map(str::to_owned)),
            ("PGOPTIONS", driver.get_options().map(str::to_owned)),
            ("PGSSLMODE", Some(if encrypted { "verify-full" } else { "disable" }.to_owned())),
            ("PGSSLROOTCERT", encrypted.then_some(authorities)),
            ("PGTARGETSESSIONATTRS", writes.then(|| "read-write".to_owned())),
            ("PGCONNECT_TIMEOUT", Some("10".to_owned())),
            ("PGAPPNAME", Some("ledgerline".to_owned())),
        ];
        let variables = found.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Self { variables, needs_public_authorities }
    }

    /// Names that a child must not inherit.
    #[must_use]
    pub fn inherited(&self) -> &'static [&'static str] {
        &INHERITED
    }

    /// Names and values for the child's environment, and nothing else: one of them is the password.
    #[must_use]
    pub fn variables(&self) -> &[(&'static str, String)] {
        &self.variables
    }
}

fn host(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(folder) => folder.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::DatabaseConfig;
    use super::super::postgres::Access;
    use super::*;

    fn of(url: &str) -> Libpq {
        to(Access::Snapshot, url)
    }

    fn to(access: Access, url: &str) -> Libpq {
        let config = DatabaseConfig::for_url(url);
        let url = config.url.expose_secret();
        Libpq::of(&PostgresManager::new(&config, url, access).expect("a manager"))
    }

    fn value<'l>(libpq: &'l Libpq, name: &str) -> Option<&'l str> {
        libpq.variables().iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn the_settings_of_a_url_are_those_of_the_child() {
        let libpq = of("postgres://u:p%40ss@db.example.com:6543/odds?sslmode=disable");
        for (name, expected) in [
            ("PGHOST", "db.example.com"),
            ("PGPORT", "6543"),
            ("PGUSER", "u"),
            ("PGPASSWORD", "p@ss"),
            ("PGDATABASE", "odds"),
            ("PGSSLMODE", "disable"),
        ] {
            assert_eq!(value(&libpq, name), Some(expected), "{name}");
        }
        assert!(!libpq.needs_public_authorities && value(&libpq, "PGSSLROOTCERT").is_none());
        assert!(!format!("{libpq:?}").contains("p@ss"));
    }

    #[test]
    fn a_certificate_is_always_checked() {
        let libpq = of("postgres://u@db.example.com/odds?sslmode=require");
        assert_eq!(value(&libpq, "PGSSLMODE"), Some("verify-full"));
        assert!(libpq.needs_public_authorities);
    }

    #[test]
    fn of_several_servers_a_restore_takes_the_one_that_takes_writes() {
        let url = "postgres://u@one.example.com,two.example.com/odds?sslmode=disable";
        let asked = |access| value(&to(access, url), "PGTARGETSESSIONATTRS").map(str::to_owned);
        assert_eq!(asked(Access::Write).as_deref(), Some("read-write"));
        assert_eq!(asked(Access::Snapshot), None, "a standby can be backed up");
    }

    #[test]
    fn nothing_that_is_set_for_a_child_is_also_inherited() {
        let libpq = to(Access::Write, "postgres://u:p@db.example.com/odds");
        let own = ["PGCONNECT_TIMEOUT", "PGAPPNAME"];
        for (name, _) in libpq.variables().iter().filter(|(name, _)| !own.contains(name)) {
            assert!(INHERITED.contains(name), "{name}");
        }
    }
}
