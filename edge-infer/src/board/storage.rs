//! Room on the disk that a folder lies on, and whether anything can be written there.

use std::path::Path;

use serde::Serialize;

/// The file system under a folder, as this program may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that this program may still write: what is kept for the administrator is not counted.
    pub free_bytes: u64,
    /// Whether files can be made: the file system is mounted for writing and the folder lets us.
    pub writable: bool,
}

/// Room for a thousand photographs of a good camera: less than this is told of.
pub const ENOUGH_BYTES: u64 = 4 << 30;

impl Storage {
    /// Whether a day's photographs can be written.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.writable && self.free_bytes >= ENOUGH_BYTES
    }

    /// Of the file system that `folder` lies on, or would lie on: where it does not exist yet, the nearest folder
    /// above it that does counts. `None` where the system does not say.
    #[must_use]
    pub fn of(folder: &Path) -> Option<Self> {
        read(folder.ancestors().find(|above| above.is_dir())?)
    }
}

#[cfg(unix)]
fn read(folder: &Path) -> Option<Storage> {
    use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
    let found = statvfs(folder).ok()?;
    let mounted_for_writing = !found.f_flag.contains(StatVfsMountFlags::RDONLY);
    let lets_us = access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    Some(Storage {
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        writable: mounted_for_writing && lets_us,
    })
}

#[cfg(not(unix))]
fn read(_folder: &Path) -> Option<Storage> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_that_does_not_exist_yet_lies_on_the_disk_of_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let there = Storage::of(folder.path()).unwrap();
        let not_yet = Storage::of(&folder.path().join("journal/sealed")).unwrap();
        assert_eq!(there.total_bytes, not_yet.total_bytes);
        assert!(there.writable && not_yet.writable);
        assert!(0 < there.free_bytes && there.free_bytes <= there.total_bytes);
    }

    /// `df` is another program's count of the same file system.
    #[test]
    fn the_size_is_that_of_df() {
        let folder = tempfile::tempdir().unwrap();
        let df = std::process::Command::new("df")
            .args(["--block-size=1", "--output=size"])
            .arg(folder.path())
            .output();
        let Ok(df) = df.map(|output| String::from_utf8(output.stdout).unwrap()) else {
            println!("SKIPPED: there is no df here");
            return;
        };
        let size: u64 = df.lines().last().unwrap().trim().parse().unwrap();
        assert_eq!(Storage::of(folder.path()).unwrap().total_bytes, size);
    }

    #[test]
    fn what_is_mounted_read_only_is_not_writable() {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let read_only = mounts.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (folder, options) = (fields.next()?, fields.nth(1)?);
            options
                .split(',')
                .any(|option| option == "ro")
                .then(|| Storage::of(Path::new(folder)))?
        });
        let read_only: Vec<Storage> = read_only.collect();
        if read_only.is_empty() {
            println!("SKIPPED: nothing is mounted read-only here");
        }
        assert!(read_only.iter().all(|storage| !storage.writable), "{read_only:?}");
        assert_eq!(Storage::of(Path::new("")), None);
    }
}
