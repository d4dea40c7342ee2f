//! Where is measured: a database of the run's own, dropped however the run ends.

use anyhow::Context;
use ledgerline_schema::store::{DatabaseConfig, TrialDatabase};
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;

/// The configured server, or the one that the command line names.
///
/// # Errors
/// The URL cannot be used.
pub fn server(config: &Config, url: Option<&SecretString>) -> anyhow::Result<DatabaseConfig> {
    let Some(url) = url else { return Ok(config.database.clone()) };
    let database = DatabaseConfig { url: url.clone(), url_file: None, ..config.database.clone() };
    database.check().map_err(anyhow::Error::msg)?;
    Ok(database)
}

/// Makes a database, does the work in it, and drops it: also after an error, Ctrl-C or SIGTERM.
///
/// # Errors
/// It cannot be made or dropped, or the work failed.
pub async fn in_trial_database<T>(
    server: &DatabaseConfig,
    work: impl AsyncFnOnce(&TrialDatabase) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let trial = TrialDatabase::create(server).await?;
    // Dropped half-way, whatever is under way: the database goes with it.
    let result = tokio::select! {
        result = work(&trial) => result,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    let dropped = trial.drop_it().await;
    let value = result?;
    dropped?;
    Ok(value)
}
