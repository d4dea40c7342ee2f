//! `ledgerline db backup`: rows and positions of one moment, into a new folder with a manifest and checksums.
//!
//! What must stay true: data, counts and positions are of one snapshot; the folder has its name only when all of it is on the
//! disk; nothing waits for a backup.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use indicatif::HumanBytes;
use ledgerline_schema::store::{
    BackupSource, Census, CopiedTable, Copier, PostgresSnapshot, SCHEMA_VERSION, SqliteSource,
};
use serde_json::json;

use super::super::operator::{Ended, print_line, tell};
use super::super::signals::StopSignals;
use super::folder::Draft;
use super::manifest::{Manifest, Method, SavedFile};
use super::progress::Progress;
use super::tool::Tool;
use crate::clock;
use crate::config::Config;

/// The file of `pg_dump`.
pub(super) const DUMP: &str = "database.dump";
/// The copy of a SQLite database.
pub(super) const FILE: &str = "database.sqlite";

/// Arguments of `db backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The folder to make; its parent has to be there.
    folder: PathBuf,
    /// How to read a PostgreSQL. Without it: pg_dump where it is installed and fits the server, else copy.
    #[arg(long)]
    method: Option<Method>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The database, the disk or pg_dump. Nothing is left of a backup that failed.
pub async fn backup(config: &Config, args: BackupArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut stop = StopSignals::new()?;
    let manifest = tokio::select! {
        made = make(config, &args) => made?,
        () = stop.received() => bail!("interrupted; nothing is left of the backup"),
    };
    report(&args, &manifest, start.elapsed().as_secs_f64())
}

async fn make(config: &Config, args: &BackupArgs) -> anyhow::Result<Manifest> {
    let draft = Draft::beside(&args.folder)?;
    let mut progress = Progress::new();
    let manifest = match BackupSource::open(&config.database).await? {
        BackupSource::Postgres(snapshot) => of_server(*snapshot, args.method, &draft, &mut progress).await?,
        BackupSource::Sqlite(_) if args.method.is_some() => {
            bail!(Ended::BadArguments(
                "--method is for PostgreSQL; a SQLite database is copied by SQLite".into()
            ))
        }
        BackupSource::Sqlite(source) => of_file(&source, &draft, &mut progress).await?,
    };
    draft.finish(&manifest)?;
    Ok(manifest)
}

async fn of_server(
    mut snapshot: PostgresSnapshot,
    wanted: Option<Method>,
    draft: &Draft,
    progress: &mut Progress,
) -> anyhow::Result<Manifest> {
    let dump = choose(wanted, &snapshot).await?;
    let counted = progress.during(snapshot.census(), || "counting".to_owned()).await;
    let holds = counted.context("cannot count what is there")?;
    known(&holds)?;
    let method = if dump.is_some() { Method::PgDump } else { Method::Copy };
    let server = snapshot.server().to_owned();
    let mut manifest = Manifest::new("postgres", server, method, snapshot.at(), holds);
    match dump {
        Some(tool) => {
            dumped(tool, &mut snapshot, draft.path(), progress).await?;
            manifest.files.push(SavedFile::of(draft.path(), DUMP, progress).await?);
        }
        None => {
            let copier = snapshot.copier().await?;
            for table in manifest.holds.tables.clone() {
                let described = copier.describe(&table.name).await;
                let (copied, others) = described.with_context(|| format!("cannot read {}", table.name))?;
                left_out(&table.name, &others);
                let name = copy_of(&copied);
                copied_out(&copier, &copied, draft, progress).await?;
                manifest.files.push(SavedFile::of(draft.path(), &name, progress).await?);
                manifest.copied.push(copied);
            }
        }
    }
    Ok(manifest)
}

/// A table that this program does not know would be missing from the backup.
fn known(holds: &Census) -> anyhow::Result<()> {
    let found = holds.schema;
    let ours = SCHEMA_VERSION;
    ensure!(
        found <= ours,
        "the schema is of version {found}, this program knows {ours}: back up with the newer program"
    );
    Ok(())
}

/// Who added columns has to know that they are somewhere else, or nowhere.
fn left_out(table: &str, columns: &[String]) {
    if !columns.is_empty() {
        let columns = columns.join(", ");
        tell(format_args!("{table}: not in this backup, because ledgerline did not make them: {columns}"));
    }
}

/// The program that dumps; none where this one copies.
async fn choose(wanted: Option<Method>, snapshot: &PostgresSnapshot) -> anyhow::Result<Option<Tool>> {
    if matches!(wanted, Some(Method::Copy | Method::VacuumInto)) {
        return Ok(None);
    }
    let server = snapshot.server_major();
    let problem = match Tool::find("pg_dump").await? {
        None => "pg_dump is not installed".to_owned(),
        Some(tool) if !tool.can_reach(&snapshot.libpq()) => {
            format!("pg_dump {} checks certificates against a file only: set database.ca_file", tool.major)
        }
        Some(tool) => match tool.dump_problem(server) {
            Some(problem) => problem,
            None => return Ok(Some(tool)),
        },
    };
    ensure!(wanted.is_none(), "{problem}: take one that fits, or --method copy");
    tell(format_args!("{problem}: the tables are copied by ledgerline itself"));
    Ok(None)
}

async fn dumped(
    tool: Tool,
    snapshot: &mut PostgresSnapshot,
    folder: &Path,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let file = folder.join(DUMP);
    let mut args: Vec<String> =
        ["--format=custom", "--no-password", "--no-owner", "--no-privileges", "--encoding=UTF8"]
            .map(str::to_owned)
            .into();
    // Behind a migration that waits for its tables it must not wait for ever.
    args.push("--lock-wait-timeout=10s".into());
    args.push(format!("--snapshot={}", snapshot.name()));
    args.push(format!("--file={}", file.display()));
    args.extend(snapshot.patterns().await?.into_iter().map(|pattern| format!("--table={pattern}")));
    tool.run(&snapshot.libpq(), &args, Some(&file), progress).await
}

/// The file of a copied table.
pub(super) fn copy_of(table: &CopiedTable) -> String {
    format!("{}.copy.gz", table.name)
}

async fn copied_out(
    copier: &Copier,
    table: &CopiedTable,
    draft: &Draft,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let file = copy_of(table);
    let problem = || format!("cannot copy {}", table.name);
    progress.begin(&format!("copying {}", table.name));
    let mut out = GzEncoder::new(draft.create(&file)?, Compression::fast());
    let (mut rows, mut bytes) = (copier.read(table).await.with_context(problem)?, 0_u64);
    while let Some(chunk) = rows.next().await.with_context(problem)? {
        out.write_all(chunk.as_ref()).with_context(|| format!("cannot write {file}"))?;
        bytes += chunk.as_ref().len() as u64;
        progress.say(|| format!("copying {}: {}", table.name, HumanBytes(bytes)));
    }
    out.finish().with_context(|| format!("cannot write {file}"))?;
    Ok(())
}

async fn of_file(source: &SqliteSource, draft: &Draft, progress: &mut Progress) -> anyhow::Result<Manifest> {
    let file = draft.path().join(FILE);
    let (taken_at, total) = (clock::now(), source.bytes().await?);
    let grown = || HumanBytes(file.metadata().map_or(0, |file| file.len()));
    progress
        .during(source.copy_into(&file), || format!("{} of at most {} copied", grown(), HumanBytes(total)))
        .await
        .context("cannot copy the database")?;
    let counted = progress.during(Census::of_file(&file), || "counting".to_owned()).await;
    let holds = counted.context("cannot count what was copied")?;
    known(&holds)?;
    let mut manifest = Manifest::new("sqlite", source.version().await?, Method::VacuumInto, taken_at, holds);
    manifest.files.push(SavedFile::of(draft.path(), FILE, progress).await?);
    Ok(manifest)
}

fn report(args: &BackupArgs, manifest: &Manifest, seconds: f64) -> anyhow::Result<()> {
    let Manifest { store, server, method, taken_at, holds, files, .. } = manifest;
    let folder = args.folder.display();
    let (rows, tables, positions) = (holds.rows(), holds.tables.len(), holds.positions.len());
    if args.json {
        return print_line(json!({
            "folder": folder.to_string(), "store": store, "server": server, "method": method.name(),
            "taken_at": taken_at.to_string(), "schema": holds.schema, "rows": rows, "tables": tables,
            "positions": holds.positions, "files": files.len(), "bytes": manifest.bytes(), "seconds": seconds,
        }));
    }
    print_line(format_args!(
        "{rows} rows of {tables} tables and {positions} positions as of {taken_at} ({store} {server}, {}): {} in {} files, \
         {seconds:.1} s: {folder}",
        method.name(),
        HumanBytes(manifest.bytes()),
        files.len(),
    ))
}
