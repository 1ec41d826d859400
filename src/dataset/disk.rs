//! Files that are either whole or absent: written aside, synced, renamed, and the folder synced.

use super::error::{IoContext, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).at(path, "read")
}

/// Creates a folder and its parents.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).at(path, "create the folder")
}

/// Writes a new file and syncs it; the name is not durable before [`sync_dir`] of its folder.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).at(path, "create")?;
    file.write_all(bytes).at(path, "write")?;
    file.sync_all().at(path, "sync")
}

/// Replaces `path` by `bytes` in one step.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("new");
    write_synced(&aside, bytes)?;
    rename(&aside, path)?;
    sync_parent(path)
}

/// Renames, creating the target's folder.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        create_dir(parent)?;
    }
    fs::rename(from, to).at(to, "move a file to")
}

/// Makes the names in a folder durable. Windows has no such call and needs none.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path).at(path, "open")?.sync_all().at(path, "sync")?;
    }
    Ok(())
}

/// Makes the name of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), sync_dir)
}

/// A second name for the same bytes where the file system can, else a copy. Safe because no dataset file is ever
/// changed in place.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        create_dir(parent)?;
    }
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).at(to, "copy a file to")?;
        File::open(to).at(to, "open")?.sync_all().at(to, "sync")?;
    }
    Ok(())
}

/// Removes a folder with its content; nothing to do when there is none.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.at(path, "remove"),
    }
}

/// The entries of a folder in name order; empty when there is no such folder.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at(path, "list")?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.at(path, "list")?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Bytes that this user can still write to the disk under `path` (or its nearest existing parent); `None` where the
/// system does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let existing = path.ancestors().find(|p| p.exists())?;
        let stat = rustix::fs::statvfs(existing).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}
