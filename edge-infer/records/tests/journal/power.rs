//! The power is cut: at every file operation of an exam, at every system call that writes, and at any moment.
//! Each time a child process of this test dies, and the parent opens what it left.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use glaucoma_records::disk::{Disk, SystemDisk};
use glaucoma_records::visit::Uid;

use crate::support::*;

const PHOTOGRAPH: usize = 9000;

/// What the parent told a child by an environment variable; `None`: this is no child.
pub fn in_child(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

/// A process that runs one test of this program, told by environment variables that it is a child.
fn child(test: &str, told: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.envs(told.iter().copied()).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// What a child said that ended well.
pub fn output_of(test: &str, told: &[(&str, &str)]) -> String {
    let output = child(test, told).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{test}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Records exams of one visit and says so on standard output after each.
fn record_exams(folder: &Path, disk: Box<dyn Disk>, numbers: impl Iterator<Item = u64>) {
    let settings = settings(folder, &HandClock::at(MORNING), disk);
    let journal = glaucoma_records::journal::Journal::open(settings).unwrap();
    journal.unlock(OPERATOR, PIN).unwrap();
    // The test harness has begun the line.
    println!();
    for number in numbers {
        examine(&journal, &visit(0), number, PHOTOGRAPH).unwrap();
        println!("recorded {number}");
        io::stdout().flush().unwrap();
    }
}

/// A journal with one visit.
fn prepare(folder: &Path) {
    found(folder).begin_visit(&visit(0)).unwrap();
}

fn recorded_in(said: &str) -> Vec<u64> {
    said.lines().filter_map(|line| line.strip_prefix("recorded ")?.parse().ok()).collect()
}

/// Every acknowledged exam is there, whole; at most one other is, and that one is whole too; nothing else is
/// left. Returns the numbers of the exams that are there.
fn check(folder: &Path, acknowledged: &[u64], most: u64) -> Vec<u64> {
    let journal = unlocked(folder);
    let reader = journal.reader().unwrap();
    let verified = reader.verify(None).unwrap();
    assert_eq!(verified.unnamed_files, 0, "left in the folder");
    let numbers: BTreeMap<Uid, u64> = (0..most)
        .map(|n| (exam(n, glaucoma_common::reading::Laterality::Left, &[]).uid, n))
        .collect();
    let exams = reader.visit(&visit(0).uid).unwrap().visit.exams;
    let there: Vec<u64> = exams.iter().map(|exam| numbers[&exam.uid]).collect();
    for exam in &exams {
        let expected = photograph(numbers[&exam.uid], PHOTOGRAPH);
        assert_eq!(*reader.photograph(&exam.uid).unwrap(), expected);
    }
    assert!(acknowledged.iter().all(|number| there.contains(number)), "{acknowledged:?} {there:?}");
    there
}

/// Cuts the power before, in the middle of, or after the n-th file operation, and with it loses whatever
/// was not synced: contents to half their length, and names to what they were.
#[derive(Clone)]
struct PowerCut {
    at: usize,
    when: When,
    /// Says that a folder is synced and does not do it.
    lies: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, PartialEq)]
enum When {
    Before,
    Midway,
    After,
}

#[derive(Default)]
struct State {
    steps: usize,
    unsynced: Vec<PathBuf>,
    renamed: Vec<(PathBuf, PathBuf)>,
}

impl PowerCut {
    fn step(
        &self,
        midway: impl FnOnce(),
        work: impl FnOnce(&mut State) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.steps += 1;
        let now = state.steps == self.at;
        if now && self.when == When::Before {
            cut(&state);
        }
        if now && self.when == When::Midway {
            midway();
            cut(&state);
        }
        work(&mut state)?;
        if now {
            cut(&state);
        }
        Ok(())
    }
}

fn cut(state: &State) -> ! {
    for (from, to) in state.renamed.iter().rev() {
        std::fs::rename(to, from).unwrap();
    }
    for path in &state.unsynced {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }
    std::process::abort()
}

impl Disk for PowerCut {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let midway = || SystemDisk.write(path, &bytes[..bytes.len() / 3]).unwrap();
        self.step(midway, |state| {
            state.unsynced.push(path.to_owned());
            SystemDisk.write(path, bytes)
        })
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.step(
            || {},
            |state| {
                state.unsynced.retain(|unsynced| unsynced != path);
                SystemDisk.sync_file(path)
            },
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(
            || {},
            |state| {
                state.renamed.push((from.to_owned(), to.to_owned()));
                SystemDisk.rename(from, to)
            },
        )
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step(
            || {},
            |state| {
                state.renamed.retain(|(_, to)| self.lies || to.parent() != Some(folder));
                SystemDisk.sync_folder(folder)
            },
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|| {}, |_| SystemDisk.remove(path))
    }
}

const FOLDER: &str = "RECORDS_FOLDER";
const STEP: &str = "RECORDS_STEP";
const EXAMS: u64 = 3;

#[test]
fn at_every_file_operation() {
    if let Some(folder) = in_child(FOLDER) {
        let told = in_child(STEP).unwrap();
        let (when, at) = told.split_at(1);
        let when = match when {
            "b" => When::Before,
            "m" => When::Midway,
            _ => When::After,
        };
        let disk = PowerCut { at: at.parse().unwrap(), when, lies: false, state: Arc::default() };
        return record_exams(folder.as_ref(), Box::new(disk), 0..EXAMS);
    }
    // One operation to open, four for each exam.
    let operations = 1 + 4 * usize::try_from(EXAMS).unwrap();
    let mut cuts = 0;
    for at in 1..=operations + 1 {
        for when in ["b", "m", "a"] {
            let folder = tempfile::tempdir().unwrap();
            prepare(folder.path());
            let told = [(FOLDER, folder.path().to_str().unwrap()), (STEP, &format!("{when}{at}"))];
            let output = child("power::at_every_file_operation", &told).output().unwrap();
            let acknowledged = recorded_in(&String::from_utf8_lossy(&output.stdout));
            // One step past the last nothing is cut: the operations were counted right.
            assert_eq!(output.status.success(), at > operations, "{when}{at}");
            assert_eq!(acknowledged.len(), (at.max(2) - 2) / 4, "{when}{at}");
            let there = check(folder.path(), &acknowledged, EXAMS);
            assert_eq!(there.len(), acknowledged.len(), "{when}{at}: one that was not committed");
            cuts += 1;
        }
    }
    println!("{cuts} cuts");
}

/// What was acknowledged must not hang on anything unsynced; and a disk that lies about syncing shows that this
/// test would notice.
#[test]
fn after_every_acknowledged_exam() {
    if let Some(folder) = in_child(FOLDER) {
        let told = in_child(STEP).unwrap();
        let (honesty, exams) = told.split_at(1);
        let (lies, state) = (honesty == "l", Arc::default());
        let disk = PowerCut { at: 0, when: When::After, lies, state };
        record_exams(folder.as_ref(), Box::new(disk.clone()), 0..exams.parse().unwrap());
        cut(&disk.state.lock().unwrap());
    }
    let acknowledged_with = |honesty: &str, exams: u64| {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let told =
            [(FOLDER, folder.path().to_str().unwrap()), (STEP, &format!("{honesty}{exams}"))];
        let output = child("power::after_every_acknowledged_exam", &told).output().unwrap();
        assert!(!output.status.success());
        let acknowledged = recorded_in(&String::from_utf8_lossy(&output.stdout));
        assert_eq!(acknowledged.len(), usize::try_from(exams).unwrap());
        (folder, acknowledged)
    };
    for exams in 1..=EXAMS {
        let (folder, acknowledged) = acknowledged_with("h", exams);
        check(folder.path(), &acknowledged, EXAMS);
    }
    let (folder, _) = acknowledged_with("l", 1);
    let damage = unlocked(folder.path()).reader().unwrap().verify(None).unwrap_err();
    assert!(damage.to_string().contains("is missing"), "{damage}");
}

/// Killed from outside after a random time, again and again, on one journal that goes on living.
#[test]
fn at_any_moment() {
    const KILLS: u64 = 60;
    if let Some(folder) = in_child(FOLDER) {
        let from: u64 = in_child(STEP).unwrap().parse().unwrap();
        return record_exams(folder.as_ref(), Box::new(SystemDisk), from..from + 1000);
    }
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let mut acknowledged = Vec::new();
    let (mut next, mut unanswered) = (0, 0);
    for kill in 0..KILLS {
        let told = [(FOLDER, folder.path().to_str().unwrap()), (STEP, &next.to_string())];
        let mut child =
            child("power::at_any_moment", &told).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        // Wait until it records, so that the kill does not only ever meet the start.
        let first = lines.find(|line| line.starts_with("recorded ")).unwrap();
        let wait = photograph(kill, 2).iter().fold(0, |sum, &byte| sum * 256 + u64::from(byte));
        std::thread::sleep(Duration::from_micros(wait / 4));
        child.kill().unwrap();
        child.wait().unwrap();
        let said = std::iter::once(first).chain(lines).collect::<Vec<_>>().join("\n");
        acknowledged.extend(recorded_in(&said));
        let there = check(folder.path(), &acknowledged, next + 1001);
        // What was committed and not yet answered is there too: one exam at most.
        assert!(there.len() <= acknowledged.len() + 1);
        unanswered += there.len() - acknowledged.len();
        acknowledged = there;
        next = acknowledged.iter().max().map_or(0, |last| last + 1);
    }
    println!(
        "{KILLS} kills, {} exams, {unanswered} committed but not answered",
        acknowledged.len()
    );
}

/// Killed at every system call by which the writing thread changes a file, SQLite's own included.
#[test]
fn at_every_system_call_that_writes() {
    const CALLS: &str = "write,pwrite64,fsync,fdatasync,ftruncate,rename,unlink";
    if let Some(folder) = in_child(FOLDER) {
        return record_exams(folder.as_ref(), Box::new(SystemDisk), 0..EXAMS);
    }
    if !Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|s| s.success())
    {
        println!("SKIPPED: needs strace that may trace");
        return;
    }
    let mut partly = 0;
    for at in 1.. {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let told = [(FOLDER, folder.path().to_str().unwrap())];
        let traced = child("power::at_every_system_call_that_writes", &told);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CALLS}"), "-e"]);
        strace.arg(format!("inject={CALLS}:signal=KILL:when={at}"));
        strace.arg(traced.get_program()).args(traced.get_args()).env(FOLDER, told[0].1);
        let output = strace.stderr(Stdio::null()).output().unwrap();
        let acknowledged = recorded_in(&String::from_utf8_lossy(&output.stdout));
        let there = check(folder.path(), &acknowledged, EXAMS);
        assert!(there.len() <= acknowledged.len() + 1);
        partly += usize::from(!there.is_empty());
        if output.status.success() {
            println!("{} system calls, each the last one", at - 1);
            assert!(at > 20, "only {at} calls: the exams' were not met");
            break;
        }
    }
    assert!(partly > 3, "no kill came between exams");
}
