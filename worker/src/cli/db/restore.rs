//! `ledgerline db restore`: a backup into an empty database. Checksums first, then the data, then what is there is counted and held
//! against the manifest.
//!
//! What must stay true: a database that holds anything of ours is refused as it is, and so is one that another restore is filling;
//! data comes whole or not at all, also where a signal ends it; what came and is not what was saved is called so.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use flate2::read::GzDecoder;
use indicatif::HumanBytes;
use ledgerline_schema::store::{
    Census, CopiedTable, Loader, PostgresTarget, RestoreTarget, SCHEMA_VERSION, SqliteTarget,
};
use serde_json::json;
use tempfile::NamedTempFile;

use super::super::operator::{print, print_line, tell};
use super::super::signals::StopSignals;
use super::super::table::{aligned, row};
use super::backup::{DUMP, FILE, copy_of};
use super::folder::{parent, synced};
use super::manifest::{Manifest, Method};
use super::progress::Progress;
use super::tool::Tool;
use crate::config::Config;

/// Arguments of `db restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The folder of a backup. It goes into the database that the configuration names, which has to be empty.
    folder: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// The backup is damaged, or does not fit the database or this program; the database is not empty, or another restore fills it;
/// something failed on the way, or a signal came.
pub async fn restore(config: &Config, args: RestoreArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let manifest = Manifest::read(&args.folder)?;
    let mut target = RestoreTarget::open(&config.database).await?;
    fits(&manifest, &target)?;
    let mut progress = Progress::new();
    manifest.check(&args.folder, &mut progress).await?;
    let mut stop = StopSignals::new()?; // until here a signal ends the process as it is: nothing was begun
    target.reserve().await?;
    let ended = restored(&target, &manifest, &args.folder, &mut progress, &mut stop).await;
    target.release().await;
    ended?;
    progress.end();
    report(&args, &manifest, start.elapsed().as_secs_f64())
}

async fn restored(
    target: &RestoreTarget,
    manifest: &Manifest,
    folder: &Path,
    progress: &mut Progress,
    stop: &mut StopSignals,
) -> anyhow::Result<()> {
    empty(&target.found().await?)?;
    match target {
        RestoreTarget::Postgres(target) => into_server(target, manifest, folder, progress, stop).await,
        RestoreTarget::Sqlite(target) => tokio::select! {
            done = into_file(target, manifest, folder, progress) => done,
            () = stop.received() => bail!("interrupted; nothing was changed"),
        },
    }
}

fn empty(found: &[String]) -> anyhow::Result<()> {
    let there = found.join(", ");
    ensure!(
        found.is_empty(),
        "a backup is restored into an empty database, and this one has {there}; nothing was changed"
    );
    Ok(())
}

fn fits(manifest: &Manifest, target: &RestoreTarget) -> anyhow::Result<()> {
    let store = match target {
        RestoreTarget::Postgres(_) => "postgres",
        RestoreTarget::Sqlite(_) => "sqlite",
    };
    let saved = &manifest.store;
    ensure!(saved == store, "this is a backup of {saved}, and database.url names {store}");
    let (found, ours) = (manifest.holds.schema, SCHEMA_VERSION);
    ensure!(
        found <= ours,
        "the backup's schema is of version {found}, this program knows {ours}: use a newer one"
    );
    Ok(())
}

async fn into_server(
    target: &PostgresTarget,
    manifest: &Manifest,
    folder: &Path,
    progress: &mut Progress,
    stop: &mut StopSignals,
) -> anyhow::Result<()> {
    match manifest.method {
        Method::PgDump => {
            manifest.lists(DUMP)?;
            tokio::select! {
                done = undumped(target, folder, progress) => done?,
                () = stop.received() => bail!("interrupted; what pg_restore had not committed is rolled back"),
            }
        }
        Method::Copy => {
            let filled = tokio::select! {
                filled = copied_in(target, manifest, folder, progress) => filled,
                () = stop.received() => Err(anyhow!("interrupted before everything was restored")),
            };
            committed(target, filled).await?;
        }
        Method::VacuumInto => bail!("the backup says that it is of PostgreSQL and of SQLite"),
    }
    let counted = tokio::select! {
        counted = progress.during(target.census(), || "counting".to_owned()) => counted,
        () = stop.received() => {
            bail!("interrupted while counting: all of the backup is there, and was not held against its manifest")
        }
    };
    agrees(&manifest.holds, &counted.context("cannot count what was restored")?)?;
    let analyzed = tokio::select! {
        analyzed = progress.during(target.analyze(), || "gathering statistics".to_owned()) => analyzed,
        () = stop.received() => {
            bail!("interrupted while the planner's statistics were gathered: all of the backup is there, as it was saved")
        }
    };
    if let Err(error) = analyzed {
        tell(format_args!("the planner has no statistics yet ({error}): run `ledgerline db optimize`"));
    }
    Ok(())
}

/// Makes the filled tables last, or takes them back: in tables that are there and empty a worker would start from nothing.
async fn committed(target: &PostgresTarget, filled: anyhow::Result<Loader>) -> anyhow::Result<()> {
    let ended = match filled {
        Ok(loader) => loader.commit().await.context("cannot commit what was restored"),
        Err(error) => Err(error),
    };
    let Err(error) = ended else { return Ok(()) };
    if let Err(left) = target.undo().await {
        tell(format_args!("the new tables are left behind ({left}): drop the database before you go on"));
    }
    Err(error)
}

/// What was restored, held against what was saved.
fn agrees(saved: &Census, found: &Census) -> anyhow::Result<()> {
    let differences = saved.differences(found);
    ensure!(
        differences.is_empty(),
        "what was restored is not what was saved, or somebody writes into it already; drop it and begin anew without workers: {}",
        differences.join("; ")
    );
    Ok(())
}

async fn undumped(target: &PostgresTarget, folder: &Path, progress: &mut Progress) -> anyhow::Result<()> {
    let Some(tool) = Tool::find("pg_restore").await? else {
        bail!("this backup was made by pg_dump, and pg_restore, which reads it, is not installed here");
    };
    let libpq = target.libpq();
    ensure!(
        tool.can_reach(&libpq),
        "pg_restore {} checks certificates against a file only: set database.ca_file",
        tool.major
    );
    let server = target.server().await?;
    let major = u32::try_from(server.version_number / 10_000).unwrap_or(0);
    if let Some(problem) = tool.restore_problem(major) {
        bail!("{problem}: nothing was changed; take an older pg_restore, or a newer server");
    }
    let dump = folder.join(DUMP);
    let database = server.database.replace('\\', "\\\\").replace('\'', "\\'");
    target.clear().await?;
    let args = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password"];
    let mut args: Vec<String> = args.map(str::to_owned).into();
    args.extend([format!("--dbname=dbname='{database}'"), dump.display().to_string()]);
    tool.run(&libpq, &args, None, progress).await
}

/// Answers the transaction that has filled the tables.
async fn copied_in(
    target: &PostgresTarget,
    manifest: &Manifest,
    folder: &Path,
    progress: &mut Progress,
) -> anyhow::Result<Loader> {
    progress.begin("making the tables");
    let loader = target.begin(manifest.holds.schema).await.context("cannot make the tables")?;
    for saved in &manifest.holds.tables {
        let copied = manifest.copied.iter().find(|copied| copied.name == saved.name);
        let table =
            copied.with_context(|| format!("the backup does not say what {} is made of", saved.name))?;
        manifest.lists(&copy_of(table))?;
        let rows = filled(&loader, table, folder, progress).await?;
        ensure!(rows == saved.rows, "{}: {} rows were saved, and {rows} came back", saved.name, saved.rows);
    }
    Ok(loader)
}

/// Fills one table; answers its rows.
async fn filled(
    loader: &Loader,
    table: &CopiedTable,
    folder: &Path,
    progress: &mut Progress,
) -> anyhow::Result<i64> {
    let path = folder.join(copy_of(table));
    let problem = || format!("cannot fill {}", table.name);
    progress.begin(&format!("filling {}", table.name));
    let mut file =
        GzDecoder::new(File::open(&path).with_context(|| format!("cannot read {}", path.display()))?);
    let (mut copy, mut bytes) = (loader.fill(table).await.with_context(problem)?, 0_u64);
    loop {
        let mut chunk = vec![0; 1 << 16];
        let read = file.read(&mut chunk).with_context(|| format!("cannot read {}", path.display()))?;
        if read == 0 {
            break;
        }
        chunk.truncate(read);
        copy.send(chunk).await.with_context(problem)?;
        bytes += read as u64;
        progress.say(|| format!("filling {}: {}", table.name, HumanBytes(bytes)));
    }
    let rows = copy.finish().await.with_context(problem)?;
    loader.number_on(table).await.with_context(problem)?;
    Ok(rows)
}

/// The copy is counted before it gets its name.
async fn into_file(
    target: &SqliteTarget,
    manifest: &Manifest,
    folder: &Path,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    ensure!(manifest.method == Method::VacuumInto, "the backup says that it is of SQLite and of PostgreSQL");
    manifest.lists(FILE)?;
    let file = target.file();
    let place = parent(file);
    let problem = || format!("cannot write {}", file.display());
    let mut copy = unnamed(file, &place).with_context(problem)?;
    let mut saved = File::open(folder.join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    let (mut chunk, mut bytes) = (vec![0; 1 << 16], 0_u64);
    loop {
        let read = saved.read(&mut chunk).with_context(|| format!("cannot read {FILE}"))?;
        if read == 0 {
            break;
        }
        copy.write_all(&chunk[..read]).with_context(problem)?;
        bytes += read as u64;
        progress.say(|| format!("{} copied", HumanBytes(bytes)));
        tokio::task::yield_now().await; // a signal is heard between two chunks
    }
    copy.as_file().sync_all().with_context(problem)?;
    let counted = progress.during(Census::of_file(copy.path()), || "counting".to_owned()).await;
    agrees(&manifest.holds, &counted.context("cannot count what was copied")?)?;
    empty(&target.found().await?)?; // the copy took its time, and somebody may have made one meanwhile
    let named = if file.exists() {
        for companion in target.companions().iter().filter(|path| path.exists()) {
            fs::remove_file(companion).with_context(problem)?;
        }
        copy.persist(file)
    } else {
        copy.persist_noclobber(file)
    };
    named.map_err(|error| error.error).with_context(problem)?;
    synced(&place).with_context(problem)
}

/// The file that will be the database: for whoever may read the one that is there, else one that SQLite makes.
fn unnamed(database: &Path, place: &Path) -> std::io::Result<NamedTempFile> {
    match database.metadata() {
        Ok(there) => {
            let file = tempfile::Builder::new().tempfile_in(place)?;
            file.as_file().set_permissions(Permissions::from_mode(there.permissions().mode() & 0o777))?;
            Ok(file)
        }
        // The umask takes from these.
        Err(_) => tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(place),
    }
}

fn report(args: &RestoreArgs, manifest: &Manifest, seconds: f64) -> anyhow::Result<()> {
    let Manifest { holds, taken_at, method, .. } = manifest;
    let (rows, tables, older) = (holds.rows(), holds.tables.len(), holds.schema < SCHEMA_VERSION);
    if args.json {
        return print_line(json!({
            "folder": args.folder.display().to_string(), "method": method.name(), "taken_at": taken_at.to_string(),
            "schema": holds.schema, "migrate": older, "rows": rows, "tables": tables,
            "positions": holds.positions, "seconds": seconds,
        }));
    }
    print_line(format_args!("{rows} rows of {tables} tables as of {taken_at} restored in {seconds:.1} s"))?;
    let mut lines = vec![row(["GROUP", "TOPIC", "PARTITION", "NEXT", "EPOCH"])];
    for at in &holds.positions {
        let numbers = [at.partition.to_string(), at.next_offset.to_string(), at.epoch.to_string()];
        lines.push([at.group.clone(), at.topic.clone()].into_iter().chain(numbers).collect());
    }
    print(aligned(&lines).as_bytes())?;
    if older {
        print_line(format_args!(
            "its schema is of version {}: run `ledgerline migrate up` before anything else",
            holds.schema
        ))?;
    }
    if manifest.store == "postgres" {
        print_line("rights are not part of a backup: run docs/roles.sql")?;
    }
    print_line("then `ledgerline verify`, and `ledgerline run` goes on from these positions")
}
