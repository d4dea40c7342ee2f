//! `ledgerline migrate up|down|status`: the only command that changes the schema.

use clap::{Args, Subcommand};
use ledgerline_schema::store::Store;

use crate::config::Config;

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(subcommand)]
    action: Action,
}

impl MigrateArgs {
    /// Whether it makes a database.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.action, Action::Up)
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run every missing migration.
    Up,
    /// Revert the newest migration. Its tables and their rows are gone.
    Down,
    /// List the migrations and whether the database has them.
    Status,
}

/// Runs the command.
///
/// # Errors
/// The database cannot be reached, is newer than this program, or refused a migration.
pub async fn migrate(config: &Config, args: MigrateArgs) -> anyhow::Result<()> {
    let store = Store::connect(&config.database).await?;
    match args.action {
        Action::Up => report("applied", &store.migrate_up().await?),
        Action::Down => report("reverted", &store.migrate_down().await?),
        Action::Status => {
            for migration in store.migration_status().await? {
                println!("{} {}", if migration.applied { "applied" } else { "missing" }, migration.name);
            }
        }
    }
    Ok(())
}

fn report(what: &str, versions: &[String]) {
    if versions.is_empty() {
        println!("nothing to do");
    }
    for version in versions {
        println!("{what} {version}");
    }
}
