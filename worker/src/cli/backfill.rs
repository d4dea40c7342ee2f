//! `ledgerline backfill`: the events of files, stored as if they had come through Kafka. The formats are those of `publish`; a bad
//! line becomes a dead letter.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use ledgerline_schema::workflow::{Backfill, InputFile, Parameters};

use super::Ending;
use super::attended::{Manner, carry_out};
use crate::blocking::blocking;
use crate::config::Config;
use crate::formats::Format;
use crate::formats::events::sha256;

/// Arguments of `backfill`.
#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// Files of one JSON value per line, plain or gzip.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What the lines are.
    #[arg(long, value_enum, default_value_t = Format::Cloudevents)]
    format: Format,
    /// Say what would be inserted, updated and unchanged, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object in the end.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A file that cannot be read, or work that could not be done.
pub async fn backfill(config: &Config, args: BackfillArgs) -> anyhow::Result<Ending> {
    let manner = Manner { dry_run: args.dry_run, json: args.json, attended: true };
    let format = args.format.to_possible_value().context("a format without a name")?.get_name().to_owned();
    let files = blocking(move || named(&args.files)).await?;
    carry_out(config, Parameters::Backfill(Backfill { files, format }), manner).await
}

/// The files by their full paths and contents: the same command finds its work again wherever it is given.
fn named(files: &[PathBuf]) -> anyhow::Result<Vec<InputFile>> {
    let named = files.iter().map(|path| {
        let full = path.canonicalize().with_context(|| format!("cannot open {}", path.display()))?;
        ensure!(full.is_file(), "{} is no file: it has to be read more than once", path.display());
        Ok(InputFile { path: full.display().to_string(), sha256: Some(sha256(&full)?) })
    });
    named.collect()
}
