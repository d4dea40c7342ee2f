//! `ledgerline db backup|restore|stats|optimize`: the database as a whole, on either store. What is read, counted, written and
//! looked after is in the store; here are files, PostgreSQL's own programs, and what people are told.

mod backup;
mod folder;
mod manifest;
mod optimize;
mod progress;
mod restore;
mod stats;
mod tool;

use clap::{Args, Subcommand};

use super::Ending;
use crate::config::Config;

/// Arguments of `db`.
#[derive(Debug, Args)]
pub struct DbArgs {
    #[command(subcommand)]
    action: Action,
}

impl DbArgs {
    /// Whether it makes a database.
    pub(super) fn is_restore(&self) -> bool {
        matches!(self.action, Action::Restore(_))
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Save rows and positions of one moment into a new folder, beside running workers.
    Backup(backup::BackupArgs),
    /// Put a backup into an empty database; ingest goes on from its positions.
    Restore(restore::RestoreArgs),
    /// Show sizes, dead rows, indexes, cache, long transactions and connections.
    Stats(stats::StatsArgs),
    /// Vacuum, refresh statistics, rebuild bloated indexes; on SQLite optimize and empty the write-ahead log.
    Optimize(optimize::OptimizeArgs),
}

/// Runs the command.
///
/// # Errors
/// The database, the files, or what was asked does not fit what is there. Nothing that was there before is changed by a backup
/// or a restore that failed.
pub async fn db(config: &Config, args: DbArgs) -> anyhow::Result<Ending> {
    match args.action {
        Action::Backup(args) => backup::backup(config, args).await.map(|()| Ending::Done),
        Action::Restore(args) => restore::restore(config, args).await.map(|()| Ending::Done),
        Action::Stats(args) => stats::stats(config, args).await.map(|()| Ending::Done),
        Action::Optimize(args) => optimize::optimize(config, args).await,
    }
}
