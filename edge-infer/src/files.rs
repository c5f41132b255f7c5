//! Files that are either whole or not there: temporary name, fsync, rename.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A name beside `path` for a file that is to take its place; no other process's or
/// thread's.
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.{:?}.temporary", std::process::id(), std::thread::current().id()));
    path.with_file_name(name)
}

/// Gives a file that is on the disk already its final name, durably.
///
/// # Errors
/// Whatever the file system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    sync_folder_of(to)
}

/// Makes the names in the folder of `path` durable: until then a power cut may undo a rename.
///
/// # Errors
/// Whatever the file system says.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
