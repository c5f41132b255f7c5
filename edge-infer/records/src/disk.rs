//! The few file operations that sealed photographs rest on, so that a test can stop at any of them.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// File operations, each of which may be the last before the power is cut.
pub trait Disk: Send {
    /// Makes the file at `path` with exactly `bytes`; not yet durable.
    ///
    /// # Errors
    /// Whatever the file system says; a part of the file may be left.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Brings the contents of the file at `path` to the disk.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn sync_file(&self, path: &Path) -> io::Result<()>;

    /// Gives the file at `from` the name `to`, in the same folder; not yet durable.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in `folder` durable: until then a power cut may undo a rename or a removal.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Removes the file at `path`; not yet durable.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's file operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        private_file().create(true).truncate(true).open(path)?.write_all(bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::options().write(true).open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

/// Writes `bytes` to `folder/name` so that the file is whole or not there: temporary name, fsync,
/// rename, fsync of the folder. When this returns, a power cut does not undo it.
///
/// # Errors
/// Whatever the file system says; `folder/name` is then as it was, or whole.
pub fn write_durably(disk: &dyn Disk, folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let partial = folder.join(format!("{name}{PARTIAL}"));
    let done = disk
        .write(&partial, bytes)
        .and_then(|()| disk.sync_file(&partial))
        .and_then(|()| disk.rename(&partial, &folder.join(name)))
        .and_then(|()| disk.sync_folder(folder));
    if done.is_err() {
        // The first error is the one to report; a left-over is collected at the next start.
        let _ = disk.remove(&partial);
    }
    done
}

/// How the name of a file ends that is not whole yet.
pub const PARTIAL: &str = ".partial";

/// To open a file for writing that only its owner may read.
fn private_file() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
