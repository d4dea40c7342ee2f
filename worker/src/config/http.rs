//! `[http]`: where the worker listens, and the token that changing calls bring.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// `[http]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address of health, metrics, the status page and everything that is only read.
    pub listen: SocketAddr,
    /// Whether there is a status page at `/`.
    pub page: bool,
    /// Whether what is read is served under `/api/v1` on `listen`, too.
    pub api: bool,
    /// Address of the calls that change something; they are read here too. Nothing listens where no token is set.
    pub control_listen: SocketAddr,
    /// What a changing call has to bring; better in a file.
    pub token: Option<SecretString>,
    /// File that holds the token.
    pub token_file: Option<PathBuf>,
}

impl HttpConfig {
    /// Shorter tokens can be guessed.
    const TOKEN_BYTES: usize = 16;

    /// The token, from its file if one is named.
    ///
    /// # Errors
    /// The file cannot be read, or the token is too short.
    pub fn resolved_token(&self) -> anyhow::Result<Option<SecretString>> {
        let (key, token) = match (&self.token_file, &self.token) {
            (Some(file), _) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("http.token_file: cannot read {}", file.display()))?;
                ("http.token_file", SecretString::from(text.trim_end()))
            }
            (None, Some(token)) => ("http.token", token.clone()),
            (None, None) => return Ok(None),
        };
        let long_enough = token.expose_secret().len() >= Self::TOKEN_BYTES;
        ensure!(long_enough, "{key}: must be at least {} characters", Self::TOKEN_BYTES);
        Ok(Some(token))
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 9090)),
            page: true,
            api: true,
            control_listen: SocketAddr::from(([127, 0, 0, 1], 9091)),
            token: None,
            token_file: None,
        }
    }
}
