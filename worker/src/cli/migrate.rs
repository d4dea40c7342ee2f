//! `ledgerline migrate up|down|status`: the only command that changes the schema.

use clap::{Args, Subcommand};
use ledgerline_schema::store::{MigrationStatus, Store};

use super::operator::{print, print_line};
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
            let line = |migration: MigrationStatus| {
                format!("{} {}\n", if migration.applied { "applied" } else { "missing" }, migration.name)
            };
            print(store.migration_status().await?.into_iter().map(line).collect::<String>().as_bytes())
        }
    }
}

fn report(what: &str, versions: &[String]) -> anyhow::Result<()> {
    if versions.is_empty() {
        return print_line("nothing to do");
    }
    print(versions.iter().map(|version| format!("{what} {version}\n")).collect::<String>().as_bytes())
}
