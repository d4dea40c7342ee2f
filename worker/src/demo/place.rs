//! Where the demo's database is: a temporary folder, a given one, or a server. Used by the demo.

use std::path::PathBuf;

use anyhow::Context;
use ledgerline_schema::store::DatabaseConfig;
use tempfile::TempDir;

use super::Options;
use crate::config::Config;

/// Where the database is.
pub struct Place {
    /// How to reach it.
    pub database: DatabaseConfig,
    data_dir: Option<PathBuf>,
    /// Deleted when dropped.
    _temporary: Option<TempDir>,
}

impl Place {
    /// Makes the folder, if one is needed.
    ///
    /// # Errors
    /// It cannot be made, or the URL cannot be used.
    pub fn new(config: &Config, options: &Options) -> anyhow::Result<Self> {
        if let Some(url) = &options.database_url {
            let database = DatabaseConfig { url: url.clone(), url_file: None, ..config.database.clone() };
            database.check().map_err(anyhow::Error::msg)?;
            return Ok(Self { database, data_dir: None, _temporary: None });
        }
        let temporary = match &options.data_dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
                None
            }
            None => {
                Some(TempDir::with_prefix("ledgerline-demo-").context("cannot create a temporary folder")?)
            }
        };
        let dir =
            options.data_dir.as_deref().or(temporary.as_ref().map(TempDir::path)).context("no folder")?;
        let url = format!("sqlite:{}", dir.join("ledgerline.db").display());
        let database = DatabaseConfig { url: url.into(), url_file: None, ..config.database.clone() };
        Ok(Self { database, data_dir: options.data_dir.clone(), _temporary: temporary })
    }

    /// The file that is still there afterwards; none where it is thrown away or on a server.
    pub fn kept(&self) -> Option<PathBuf> {
        self.data_dir.as_ref().map(|dir| dir.join("ledgerline.db"))
    }
}
