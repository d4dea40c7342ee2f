//! What a backup says of itself: `manifest.json`, and beside it `manifest.json.sha256`, which `sha256sum -c` checks too.
//!
//! What must stay true: a folder without a manifest, with one that was changed, or with one of a later form, is no backup; a file
//! is named by its name alone, so that none leads out of the folder.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use indicatif::HumanBytes;
use ledgerline_schema::store::{Census, CopiedTable};
use ledgerline_schema::time::UtcMicros;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::progress::Progress;

/// The name of the manifest.
pub(super) const MANIFEST: &str = "manifest.json";
/// The name of its checksum.
pub(super) const CHECKSUM: &str = "manifest.json.sha256";
/// The form that this program writes, and the latest that it reads.
const FORMAT: u32 = 1;

/// How the data was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Method {
    /// PostgreSQL's own program, as new as the server or newer.
    #[value(name = "pg_dump")]
    PgDump,
    /// COPY of every table by this program: needs nothing that is installed.
    Copy,
    /// SQLite's way.
    #[value(skip)]
    VacuumInto,
}

impl Method {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PgDump => "pg_dump",
            Self::Copy => "copy",
            Self::VacuumInto => "vacuum_into",
        }
    }
}

/// One file of data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Everything that a restore needs to know, and to hold the result against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// The version of the program that wrote it.
    pub(super) product: String,
    /// `postgres` or `sqlite`.
    pub(super) store: String,
    /// The database server's version.
    pub(super) server: String,
    pub(super) method: Method,
    /// The moment that it shows.
    pub(super) taken_at: UtcMicros,
    /// Rows and positions of that moment.
    pub(super) holds: Census,
    /// Columns and numbers of each table; of the method `copy` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) copied: Vec<CopiedTable>,
    pub(super) files: Vec<SavedFile>,
}

/// What every form has.
#[derive(Deserialize)]
struct Form {
    format: u32,
}

impl Manifest {
    /// Without files: they are added when they are written.
    pub(super) fn new(
        store: &str,
        server: String,
        method: Method,
        taken_at: UtcMicros,
        holds: Census,
    ) -> Self {
        let product = env!("CARGO_PKG_VERSION").to_owned();
        let store = store.to_owned();
        Self {
            format: FORMAT,
            product,
            store,
            server,
            method,
            taken_at,
            holds,
            copied: vec![],
            files: vec![],
        }
    }

    /// Reads and checks the manifest of a folder.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let shown = folder.display();
        ensure!(folder.is_dir(), "{shown} is not a folder, so it is no backup");
        let path = folder.join(MANIFEST);
        ensure!(path.is_file(), "{shown} has no {MANIFEST}: it is no backup, or one that was cut off");
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = folder.join(CHECKSUM);
        let sum = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let written = sum.split_whitespace().next().unwrap_or_default();
        ensure!(hex(&Sha256::digest(&bytes)) == written, "{shown}/{MANIFEST} is not as it was written");
        let form: Form =
            serde_json::from_slice(&bytes).with_context(|| format!("{shown}/{MANIFEST} is no manifest"))?;
        let format = form.format;
        ensure!(
            format <= FORMAT,
            "{shown} is of form {format}, this program reads {FORMAT}: use a newer one"
        );
        let manifest: Self =
            serde_json::from_slice(&bytes).with_context(|| format!("{shown}/{MANIFEST} is no manifest"))?;
        for file in &manifest.files {
            let parts: Vec<Component<'_>> = Path::new(&file.name).components().collect();
            ensure!(
                matches!(parts[..], [Component::Normal(_)]),
                "{MANIFEST}: {} is no file's name",
                file.name
            );
        }
        Ok(manifest)
    }

    /// The text, and the line of its checksum.
    pub(super) fn written(&self) -> anyhow::Result<(String, String)> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let sum = format!("{}  {MANIFEST}\n", hex(&Sha256::digest(text.as_bytes())));
        Ok((text, sum))
    }

    /// Reads every file and holds it against its checksum.
    pub(super) async fn check(&self, folder: &Path, progress: &mut Progress) -> anyhow::Result<()> {
        for file in &self.files {
            let path = folder.join(&file.name);
            ensure!(path.is_file(), "{} is missing", path.display());
            let found = SavedFile::of(folder, &file.name, progress).await?;
            if found.bytes != file.bytes {
                bail!("{} has {} bytes, and {} were written", path.display(), found.bytes, file.bytes);
            }
            ensure!(found.sha256 == file.sha256, "{} is not as it was written", path.display());
        }
        Ok(())
    }

    /// Whether a file that is needed is one of those that were checked.
    pub(super) fn lists(&self, name: &str) -> anyhow::Result<()> {
        ensure!(self.files.iter().any(|file| file.name == name), "{MANIFEST} does not list {name}");
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl SavedFile {
    /// Reads a file of a folder to its end.
    pub(super) async fn of(folder: &Path, name: &str, progress: &mut Progress) -> anyhow::Result<Self> {
        let path = folder.join(name);
        let problem = || format!("cannot read {}", path.display());
        let mut file = File::open(&path).with_context(problem)?;
        let (mut sum, mut bytes, mut buffer) = (Sha256::new(), 0_u64, vec![0; 1 << 16]);
        loop {
            let read = file.read(&mut buffer).with_context(problem)?;
            if read == 0 {
                return Ok(Self { name: name.to_owned(), bytes, sha256: hex(&sum.finalize()) });
            }
            sum.update(&buffer[..read]);
            bytes += read as u64;
            progress.say(|| format!("checksum of {name}: {} read", HumanBytes(bytes)));
            tokio::task::yield_now().await; // a signal is heard between two chunks
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
