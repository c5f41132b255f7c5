//! The disk fills: a clear error, nothing harmed, and the journal goes on once there is space.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use glaucoma_records::disk::{Disk, SystemDisk};
use glaucoma_records::journal::{Journal, JournalError};

use crate::support::*;

/// Has no space at the n-th operation from now on; 0: always has.
#[derive(Clone, Default)]
struct FullDisk(Arc<AtomicUsize>);

impl FullDisk {
    fn step(&self, part: impl FnOnce(), work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.0.load(Ordering::SeqCst) {
            0 => work(),
            1 => {
                part();
                Err(io::ErrorKind::StorageFull.into())
            }
            left => {
                self.0.store(left - 1, Ordering::SeqCst);
                work()
            }
        }
    }
}

impl Disk for FullDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let part = || SystemDisk.write(path, &bytes[..bytes.len() / 2]).unwrap();
        self.step(part, || SystemDisk.write(path, bytes))
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.step(|| {}, || SystemDisk.sync_file(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| {}, || SystemDisk.rename(from, to))
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step(|| {}, || SystemDisk.sync_folder(folder))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        // Removing needs no space.
        SystemDisk.remove(path)
    }
}

/// The error says what to do, and the journal holds `exams` exams and nothing else wrong.
fn check_refused(journal: &Journal, error: &JournalError, exams: usize) {
    assert!(matches!(error, JournalError::DiskFull { .. }), "{error:?}");
    assert!(error.to_string().contains("make space and try again"), "{error}");
    let reader = journal.reader().unwrap();
    assert_eq!(reader.visit(&visit(0).uid).unwrap().visit.exams.len(), exams);
    reader.verify(None).unwrap();
}

#[test]
fn at_every_file_operation() {
    let folder = tempfile::tempdir().unwrap();
    found(folder.path()).begin_visit(&visit(0)).unwrap();
    let disk = FullDisk::default();
    let settings = settings(folder.path(), &HandClock::at(MORNING), Box::new(disk.clone()));
    let journal = Journal::open(settings).unwrap();
    journal.unlock(OPERATOR, PIN).unwrap();
    for operation in 1..=4 {
        let number = u64::try_from(operation).unwrap();
        disk.0.store(operation, Ordering::SeqCst);
        let error = examine(&journal, &visit(0), number, 5000).unwrap_err();
        disk.0.store(0, Ordering::SeqCst);
        check_refused(&journal, &error, operation - 1);
        examine(&journal, &visit(0), number, 5000).unwrap();
    }
    // The file that had its name when its folder could not be synced goes at the next start.
    assert_eq!(journal.reader().unwrap().verify(None).unwrap().unnamed_files, 1);
    drop(journal);
    let verified = unlocked(folder.path()).reader().unwrap().verify(None).unwrap();
    assert_eq!((verified.photographs, verified.unnamed_files), (4, 0));
}

/// A file system of its own size, for as long as the test runs.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

/// Takes all the space that is left.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    let full = std::iter::repeat_with(|| io::Write::write_all(&mut file, &[1; 1024]))
        .find_map(Result::err)
        .unwrap();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn on_a_disk_that_is_really_full() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_small) = SmallDisk::mount(folder.path(), "3m") else {
        println!("SKIPPED: needs to mount a tmpfs");
        return;
    };
    let journal = found(folder.path());
    journal.begin_visit(&visit(0)).unwrap();
    let ballast = folder.path().join("ballast");
    // First the photographs fill it.
    std::fs::write(&ballast, vec![0; 600 * 1024]).unwrap();
    let mut exams = 0;
    let error = loop {
        match examine(&journal, &visit(0), exams, 200 * 1024) {
            Ok(_) => exams += 1,
            Err(error) => break error,
        }
    };
    let there = usize::try_from(exams).unwrap();
    assert!(there > 3, "{there}");
    check_refused(&journal, &error, there);
    std::fs::remove_file(&ballast).unwrap();
    examine(&journal, &visit(0), exams, 200 * 1024).unwrap();
    // Then not a block is left when SQLite wants one. It reuses those of its log first, so several visits.
    fill(&ballast);
    let error = (1..200).find_map(|number| journal.begin_visit(&visit(number)).err()).unwrap();
    check_refused(&journal, &error, there + 1);
    std::fs::remove_file(&ballast).unwrap();
    journal.begin_visit(&visit(999)).unwrap();
    examine(&journal, &visit(999), 999, 10_000).unwrap();
    drop(journal);
    let reader = unlocked(folder.path()).reader().unwrap();
    reader.verify(None).unwrap();
    assert_eq!(reader.visit(&visit(999).uid).unwrap().visit.exams.len(), 1);
}
