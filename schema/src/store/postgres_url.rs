//! What a URL of a PostgreSQL server says: where it is, who asks, and whether the way is protected. Called by `postgres.rs`.
//!
//! What must stay true: an error shows nothing of the URL but names that are known anyway; a password may stand anywhere in it.

use tokio_postgres::Config;
use url::Url;

use super::Tls;
use super::error::StoreError;

/// Parameters that can be in a URL; the driver takes all but the first.
const PARAMETERS: [&str; 19] = [
    "sslmode",
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// Parameters of PostgreSQL's own programs that are something else here, and what.
const ELSEWHERE: [(&str, &str); 4] = [
    ("sslrootcert", "name the certificate authorities in database.ca_file"),
    ("sslcert", "a client certificate cannot be used, name a user with a password"),
    ("sslkey", "a client certificate cannot be used, name a user with a password"),
    ("passfile", "put the whole URL into a file and name it in database.url_file"),
];

/// Reads the URL that the configuration has under `key`.
pub(super) fn read(key: &str, url: &str, configured: Tls) -> Result<(Config, Tls), StoreError> {
    let (url, tls) = split_sslmode(key, url, configured)?;
    let config = url.as_str().parse();
    Ok((config.map_err(|_| StoreError::Config(format!("{key}: {}", refused_part(&url))))?, tls))
}

/// Takes `sslmode` out of the URL, because tokio-postgres knows only the unsafe ones: `disable` is the explicit switch, every
/// other means verification.
fn split_sslmode(key: &str, url: &str, configured: Tls) -> Result<(Url, Tls), StoreError> {
    let mut parsed =
        Url::parse(url).map_err(|error| StoreError::Config(format!("{key}: not a URL: {error}")))?;
    let pairs: Vec<String> = parsed.query().unwrap_or("").split('&').map(str::to_owned).collect();
    let mode = pairs.iter().find_map(|pair| pair.strip_prefix("sslmode=")).map(str::to_owned);
    let rest: Vec<&str> = pairs
        .iter()
        .map(String::as_str)
        .filter(|pair| !pair.is_empty() && !pair.starts_with("sslmode="))
        .collect();
    parsed.set_query((!rest.is_empty()).then(|| rest.join("&")).as_deref());
    let tls = match mode.as_deref() {
        None => configured,
        Some("disable") => Tls::Disable,
        Some("require" | "verify-ca" | "verify-full") => Tls::Verify,
        Some(_) => {
            return Err(StoreError::Config(format!(
                "{key}: sslmode must be disable, or verify-full, verify-ca or require, which all verify certificate and name"
            )));
        }
    };
    Ok((parsed, tls))
}

/// What the driver does not take. A name that is not known may be a part of a password, so it is told by its place.
fn refused_part(url: &Url) -> String {
    let mut pairs = url.query().unwrap_or("").split('&').enumerate();
    let taken = |pair: &str| format!("postgres://h/d?{pair}").parse::<Config>().is_ok();
    let Some((before, pair)) = pairs.find(|(_, pair)| !taken(pair)) else {
        return "not a PostgreSQL URL".to_owned();
    };
    let name = pair.split('=').next().unwrap_or(pair);
    if let Some(known) = PARAMETERS.iter().find(|known| **known == name) {
        return format!("cannot use the value of parameter {known}");
    }
    if let Some((known, instead)) = ELSEWHERE.iter().find(|(known, _)| *known == name) {
        return format!("there is no parameter {known} here: {instead}");
    }
    format!("parameter {} is unknown; there are {}", before + 1, PARAMETERS.join(", "))
}
