//! Files that are either whole or not there: temporary name, fsync, rename.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Writes `bytes` to `path` so that a reader, a crash or a full disk never leaves half a file:
/// what was at `path` before stays until the new file is complete and on the disk.
///
/// # Errors
/// Whatever the file system says; `path` is then as it was.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, |partial| std::fs::write(partial, bytes))
}

/// Like [`write`], for a writer that wants a path of its own: `fill` writes a file at the temporary
/// path it is given (same folder, name ending in `.partial`), which then takes the place of `path`.
///
/// # Errors
/// Whatever `fill` or the file system says; `path` is then as it was and the temporary file is gone.
pub fn replace<E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let partial = temporary(path);
    let done = fill(&partial).and_then(|()| settle(&partial, path).map_err(E::from));
    if done.is_err() {
        // The first error is the one to report; a left-over partial file is only untidy.
        let _ = std::fs::remove_file(&partial);
    }
    done
}

/// A name beside `path` for a file that is to take its place: hidden from patterns such as
/// `*.safetensors`, and no other process's or thread's.
#[must_use]
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(format!(".{}.{:?}.partial", std::process::id(), std::thread::current().id()));
    path.with_file_name(name)
}

fn settle(partial: &Path, path: &Path) -> io::Result<()> {
    // Opened for writing because some systems refuse to sync a file opened for reading.
    File::options().write(true).open(partial)?.sync_all()?;
    rename(partial, path)
}

/// Gives a file that is on the disk already its final name, durably.
///
/// # Errors
/// Whatever the file system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    sync_folder_of(to)
}

/// Makes the names in the folder of `path` durable: until then a power cut may undo a rename. Does
/// nothing where a folder cannot be synced.
///
/// # Errors
/// Whatever the file system says.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if cfg!(unix) {
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write(&path, b"old").unwrap();
        write(&path, b"new and longer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new and longer");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_partial() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write(&path, b"old").unwrap();
        let full = |partial: &Path| {
            std::fs::write(partial, b"ha")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let error = replace(&path, full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(&folder.path().join("none/a.bin"), b"x").is_err());
    }
}
