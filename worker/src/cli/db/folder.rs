//! A backup's folder while it is made: under a name of its own beside the place where it will be, and renamed at the end, when
//! everything is on the disk. So a backup that was cut off has another name and no manifest.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::super::operator::Ended;
use super::manifest::{CHECKSUM, MANIFEST, Manifest};

/// Removed, with all that is in it, unless it is finished.
pub(super) struct Draft {
    folder: PathBuf,
    to: PathBuf,
    finished: bool,
}

impl Draft {
    /// Makes one. What is there already is never touched.
    pub(super) fn beside(to: &Path) -> anyhow::Result<Self> {
        let occupied = match fs::read_dir(to) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => to.symlink_metadata().is_ok(), // something that is no folder
        };
        let shown = to.display();
        if occupied {
            let problem = format!("{shown} is there and not empty: a backup is a new folder");
            return Err(Ended::BadArguments(problem).into());
        }
        let name = to.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Ended::BadArguments(format!("{shown} does not name a new folder")))?;
        let folder = parent(to).join(format!("{name}.partial-{}", uuid::Uuid::new_v4().simple()));
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.with_context(|| format!("cannot make a folder beside {shown}"))?;
        Ok(Self { folder, to: to.to_owned(), finished: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    /// A new file that its owner alone may read.
    pub(super) fn create(&self, name: &str) -> anyhow::Result<File> {
        let path = self.folder.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes the manifest, has everything on the disk, and gives the folder its name.
    pub(super) fn finish(mut self, manifest: &Manifest) -> anyhow::Result<()> {
        let (text, sum) = manifest.written()?;
        for (name, text) in [(MANIFEST, text), (CHECKSUM, sum)] {
            self.create(name)?.write_all(text.as_bytes()).with_context(|| format!("cannot write {name}"))?;
        }
        let problem = || format!("cannot finish {}", self.to.display());
        for entry in fs::read_dir(&self.folder).with_context(problem)? {
            let path = entry.with_context(problem)?.path();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).with_context(problem)?; // another program's file
            File::open(&path).and_then(|file| file.sync_all()).with_context(problem)?;
        }
        synced(&self.folder).with_context(problem)?;
        fs::rename(&self.folder, &self.to).with_context(problem)?;
        self.finished = true;
        synced(&parent(&self.to)).with_context(problem)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_dir_all(&self.folder); // its name says what it is
        }
    }
}

/// The folder that a path lies in.
pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Has the names in a folder on the disk.
pub(super) fn synced(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
