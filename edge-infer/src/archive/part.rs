//! One shard's results: a file of lines that can be cut off at any moment and gone on with.
//!
//! While a shard is being worked on its part is called `part-....jsonl.partial`. Every line is
//! handed to the system as soon as it is there and synced to the disk in batches, so a killed
//! process loses nothing that it had written, and a power cut at most the last batch. On opening,
//! what does not read as a whole line is cut off. When all is done the file gets its final name.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::run_file::{RunError, RunFile};
use super::{Shard, digest};
use crate::bundle::Bundle;
use crate::report::Status;
use glaucoma_common::files;

/// A batch is synced when it has this many lines,
const BATCH_LINES: u32 = 64;
/// or when its first line is this old.
const BATCH_AGE: Duration = Duration::from_secs(5);

/// Why a part cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The folder of parts is another run's.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file could not be read or written.
    #[error("{}: cannot {step} the part: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process works on the same shard.
    #[error("{}: another process is writing this part", .path.display())]
    Taken {
        /// The file.
        path: PathBuf,
    },
    /// The file holds lines that this run would not have written.
    #[error("{}: line {line} is of another model, program or kind; name another folder", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
}

/// What opening a shard's part shows.
#[derive(Debug)]
pub enum Opened {
    /// All is done already.
    Complete(PathBuf),
    /// There is something to do.
    Open(Part, Finished),
}

/// What an earlier process left behind of the part.
#[derive(Debug, Default)]
pub struct Finished {
    /// The last line on every photograph in the part, by its name.
    lines: HashMap<u128, Known>,
    /// How many bytes at the part's end were no whole line and were cut off.
    pub cut_bytes: u64,
}

/// What is kept in memory of a line.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// None where the photograph could not be read.
    stamp: Option<u128>,
    status: Status,
}

/// Photographs by how their exam ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// With a result.
    pub graded: u64,
    /// That cannot be graded.
    pub ungradable: u64,
    /// Not examined: unreadable, damaged, not of a fundus.
    pub refused: u64,
}

/// A part that is being written. It belongs to this process alone until it is dropped.
#[derive(Debug)]
pub struct Part {
    file: File,
    partial: PathBuf,
    whole: PathBuf,
    /// Whether some photograph has more than one line, of which the last counts.
    superseded: bool,
    unsynced: u32,
    synced: Instant,
}

/// Closing the file is not enough: a child process that another thread has just forked holds it as well until it
/// becomes another program.
impl Drop for Part {
    fn drop(&mut self) {
        // A lock that cannot be given back goes with the process.
        let _ = self.file.unlock();
    }
}

/// What a part's line is known by.
#[derive(Debug, Deserialize)]
struct Line {
    file: String,
    sha256: Option<String>,
    status: Status,
    model: LineModel,
    program: String,
    stamp: Option<String>,
}

#[derive(Debug, Deserialize)]
struct LineModel {
    sha256: String,
}

impl Finished {
    /// Whether the photograph is in the part, as it is now; `stamp` is asked only where it matters.
    pub fn has(&self, name: &str, stamp: impl FnOnce() -> Result<String, String>) -> bool {
        let then = self.lines.get(&digest(name)).and_then(|known| known.stamp);
        then.is_some_and(|then| stamp().is_ok_and(|now| digest(&now) == then))
    }

    /// How the photograph's last exam ended, even one that does not count any more.
    pub fn status(&self, name: &str) -> Option<Status> {
        self.lines.get(&digest(name)).map(|known| known.status)
    }

    /// How the exams in the part ended.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.lines.values().for_each(|known| *counts.of(known.status) += 1);
        counts
    }
}

impl Counts {
    /// The number of photographs with this status.
    pub fn of(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Graded => &mut self.graded,
            Status::Ungradable => &mut self.ungradable,
            Status::Error => &mut self.refused,
        }
    }
}

impl Part {
    /// Opens the part of `shard` in `folder`, which is made if need be.
    ///
    /// # Errors
    /// [`PartError`]: another run's folder or line, another process at work, the file system.
    pub fn open(folder: &Path, shard: Shard, bundle: &Bundle) -> Result<Opened, PartError> {
        std::fs::create_dir_all(folder).map_err(failed("make the folder of", folder))?;
        let run = RunFile::new(bundle, shard.count());
        run.agree(folder)?;
        let whole = folder.join(shard.part_name());
        let partial = folder.join(shard.part_name() + ".partial");
        if whole.exists() {
            return Ok(Opened::Complete(whole));
        }
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&partial)
            .map_err(failed("open", &partial))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PartError::Taken { path: partial }),
            Err(TryLockError::Error(error)) => eprintln!(
                "warning: {}: cannot be locked ({error}); see that no shard runs twice",
                partial.display()
            ),
        }
        if whole.exists() {
            // Another process has finished it since; what was just opened is its file or an empty one.
            let _ = std::fs::remove_file(&partial);
            return Ok(Opened::Complete(whole));
        }
        let (finished, superseded) = recover(&mut file, &partial, &run)?;
        files::sync_folder_of(&partial).map_err(failed("sync", &partial))?;
        let part = Self { file, partial, whole, superseded, unsynced: 0, synced: Instant::now() };
        Ok(Opened::Open(part, finished))
    }

    /// Where the part is as long as it is not complete.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// Appends one line, which ends in a line feed. `again` says that the part has an earlier line
    /// on the same photograph.
    ///
    /// # Errors
    /// [`PartError::Io`]; what was written of the line is cut off when the part is next opened.
    pub fn append(&mut self, line: &str, again: bool) -> Result<(), PartError> {
        self.superseded |= again;
        self.file.write_all(line.as_bytes()).map_err(failed("write", &self.partial))?;
        if self.unsynced == 0 {
            self.synced = Instant::now();
        }
        self.unsynced += 1;
        if self.unsynced >= BATCH_LINES || self.synced.elapsed() >= BATCH_AGE {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// [`PartError::Io`].
    pub fn sync(&mut self) -> Result<(), PartError> {
        self.unsynced = 0;
        self.file.sync_data().map_err(failed("sync", &self.partial))
    }

    /// Gives the part its final name, one line a photograph, and returns it.
    ///
    /// # Errors
    /// [`PartError::Io`].
    pub fn complete(mut self) -> Result<PathBuf, PartError> {
        self.sync()?;
        if self.superseded {
            let temporary = files::temporary(&self.partial);
            let kept = keep_last_lines(&mut self.file, &temporary)
                .and_then(|()| files::rename(&temporary, &self.partial));
            if let Err(source) = kept {
                let _ = std::fs::remove_file(&temporary);
                return Err(failed("finish", &self.partial)(source));
            }
        }
        files::rename(&self.partial, &self.whole).map_err(failed("rename", &self.whole))?;
        Ok(self.whole.clone())
    }
}

fn failed(step: &'static str, path: &Path) -> impl Fn(io::Error) -> PartError {
    move |source| PartError::Io { path: path.to_path_buf(), step, source }
}

/// Reads what is there and cuts off what is no whole line. The second value tells whether some
/// photograph has several lines.
fn recover(file: &mut File, path: &Path, run: &RunFile) -> Result<(Finished, bool), PartError> {
    let mut finished = Finished::default();
    let (mut whole_bytes, mut number, mut superseded) = (0_u64, 0_u64, false);
    let mut reader = BufReader::new(&mut *file);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        reader.read_until(b'\n', &mut bytes).map_err(failed("read", path))?;
        number += 1;
        let line = match serde_json::from_slice::<Line>(&bytes) {
            Ok(line) if bytes.ends_with(b"\n") => line,
            // JSON, but nothing that this program writes.
            Err(error) if error.is_data() => {
                return Err(PartError::Foreign { path: path.to_path_buf(), line: number });
            }
            // Nothing, half a line, or what a power cut leaves of a batch.
            _ => break,
        };
        if !run.made(&line.program, &line.model.sha256) {
            return Err(PartError::Foreign { path: path.to_path_buf(), line: number });
        }
        whole_bytes += bytes.len() as u64;
        let stamp = line.stamp.filter(|_| line.sha256.is_some()).map(|stamp| digest(&stamp));
        let known = Known { stamp, status: line.status };
        superseded |= finished.lines.insert(digest(&line.file), known).is_some();
    }
    let length = file.metadata().map_err(failed("read", path))?.len();
    finished.cut_bytes = length - whole_bytes;
    if finished.cut_bytes > 0 {
        file.set_len(whole_bytes).map_err(failed("repair", path))?;
        file.sync_all().map_err(failed("repair", path))?;
    }
    Ok((finished, superseded))
}

/// Copies the last line on each photograph to `target`.
fn keep_last_lines(file: &mut File, target: &Path) -> io::Result<()> {
    fn name(line: &str) -> io::Result<u128> {
        Ok(digest(&serde_json::from_str::<Line>(line)?.file))
    }
    let mut last = HashMap::new();
    file.rewind()?;
    for (number, line) in BufReader::new(&mut *file).lines().enumerate() {
        last.insert(name(&line?)?, number);
    }
    file.rewind()?;
    let mut out = BufWriter::new(File::create(target)?);
    for (number, line) in BufReader::new(&mut *file).lines().enumerate() {
        let line = line?;
        if last.get(&name(&line)?) == Some(&number) {
            writeln!(out, "{line}")?;
        }
    }
    out.into_inner()?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bundle() -> Bundle {
        let fixture = "tests/fixtures/colour_rules.onnx";
        Bundle::open(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture),
            &glaucoma_engine::Options::default(),
        )
        .unwrap()
    }

    fn line(bundle: &Bundle, name: &str, stamp: Option<&str>) -> String {
        let model = serde_json::json!({ "sha256": bundle.sha256 });
        let sha256 = stamp.map(|_| "00");
        let program = crate::report::PROGRAM;
        let line = serde_json::json!({
            "file": name, "sha256": sha256, "status": if stamp.is_some() { "graded" } else { "error" },
            "model": model, "program": program, "stamp": stamp,
        });
        format!("{line}\n")
    }

    fn open(folder: &Path, bundle: &Bundle) -> (Part, Finished) {
        match Part::open(folder, Shard::WHOLE, bundle).unwrap() {
            Opened::Open(part, finished) => (part, finished),
            Opened::Complete(path) => panic!("{} is complete", path.display()),
        }
    }

    #[test]
    fn a_part_cut_off_anywhere_keeps_its_whole_lines() {
        let bundle = bundle();
        let folder = tempfile::tempdir().unwrap();
        let text: String =
            ["a", "b", "c"].iter().map(|name| line(&bundle, name, Some("1"))).collect();
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        for cut in 0..=text.len() {
            let (part, _) = open(folder.path(), &bundle);
            std::fs::write(part.path(), &text[..cut]).unwrap();
            drop(part);
            let (part, finished) = open(folder.path(), &bundle);
            let whole = ends.iter().rev().find(|&&end| end <= cut).copied().unwrap_or(0);
            assert_eq!(std::fs::read_to_string(part.path()).unwrap(), text[..whole], "{cut}");
            assert_eq!(finished.cut_bytes, (cut - whole) as u64);
            let known = ends.iter().filter(|&&end| end <= cut).count() as u64;
            assert_eq!(finished.counts(), Counts { graded: known, ..Counts::default() });
        }
    }

    #[test]
    fn what_a_power_cut_leaves_of_a_batch_is_cut_off() {
        let bundle = bundle();
        let folder = tempfile::tempdir().unwrap();
        let (part, _) = open(folder.path(), &bundle);
        let first = line(&bundle, "a", Some("1"));
        let zeros = "\0".repeat(300);
        let text = format!("{first}{zeros}\n{}", line(&bundle, "b", Some("1")));
        std::fs::write(part.path(), text).unwrap();
        drop(part);
        let (part, finished) = open(folder.path(), &bundle);
        assert_eq!(std::fs::read_to_string(part.path()).unwrap(), first);
        assert!(finished.status("a").is_some() && finished.status("b").is_none());
    }

    #[test]
    fn the_last_line_on_a_photograph_counts() {
        let bundle = bundle();
        let folder = tempfile::tempdir().unwrap();
        let (mut part, _) = open(folder.path(), &bundle);
        part.append(&line(&bundle, "a", Some("1")), false).unwrap();
        part.append(&line(&bundle, "b", None), false).unwrap();
        drop(part);
        let (mut part, finished) = open(folder.path(), &bundle);
        let stamped = |stamp: &'static str| move || Ok(stamp.to_string());
        assert!(finished.has("a", stamped("1")), "as it was");
        assert!(!finished.has("a", stamped("2")), "replaced since");
        assert!(!finished.has("b", stamped("1")), "never read");
        part.append(&line(&bundle, "b", Some("1")), finished.status("b").is_some()).unwrap();
        part.append(&line(&bundle, "c", Some("1")), finished.status("c").is_some()).unwrap();
        let whole = part.complete().unwrap();
        let expected: String =
            ["a", "b", "c"].iter().map(|name| line(&bundle, name, Some("1"))).collect();
        assert_eq!(std::fs::read_to_string(&whole).unwrap(), expected);
        let again = Part::open(folder.path(), Shard::WHOLE, &bundle).unwrap();
        assert!(matches!(again, Opened::Complete(path) if path == whole));
    }

    #[test]
    fn foreign_lines_and_second_writers_are_refused() {
        let bundle = bundle();
        let folder = tempfile::tempdir().unwrap();
        let (part, _) = open(folder.path(), &bundle);
        let taken = Part::open(folder.path(), Shard::WHOLE, &bundle).unwrap_err();
        assert!(matches!(taken, PartError::Taken { .. }), "{taken}");
        let path = part.path().to_path_buf();
        drop(part);
        let other = line(&bundle, "a", Some("1")).replace(&bundle.sha256, "another");
        for foreign in [other.as_str(), "{\"name\": 1}\n"] {
            std::fs::write(&path, foreign).unwrap();
            let refused = Part::open(folder.path(), Shard::WHOLE, &bundle).unwrap_err();
            assert!(matches!(refused, PartError::Foreign { line: 1, .. }), "{refused}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign, "left as it is");
        }
    }
}
