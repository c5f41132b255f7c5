//! A watched folder: a camera's card, a stick, a network drop. Only ever read.
//!
//! A file counts when its size and time were the same at two looks, or its writer has just closed or renamed it,
//! and it decodes strictly; one that stays as it is and does not decode is handed on after
//! [`Folder::damaged_after`], so that the exam can say what is wrong. Notifications only shorten the wait: they
//! get lost on network file systems and when a card is pulled, so the folder is looked through at the start
//! and every [`Folder::scan_every`] anyway.
//!
//! Files that are left out ([`LeaveOut`]) are neither decoded nor copied: they are read for their hash alone, some at a
//! time after each look, so that whatever else comes does not wait for them.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

use glaucoma_common::photo::{self, Limits};
use notify::{RecursiveMode, Watcher};

use super::{Hints, Intake, IntakeError, LeaveOut, Offered, Outlet, zip_export};

/// Folders within folders that are looked into; cameras use two.
const MAX_DEPTH: usize = 8;

/// Most files of a card that are looked at.
const MAX_FILES: usize = 100_000;

/// How long files that are left out are read, and how many at most, before the folder is looked through again.
const LEAVE_OUT_FOR: Duration = Duration::from_millis(250);
const LEAVE_OUT_MOST: usize = 256;

/// What counts as a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The folder is there: for a card or a stick.
    Folder,
    /// A file came: for a drop that is always there.
    File,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The folder; it may be absent, and come and go.
    pub path: PathBuf,
    /// Between two looks at a file that is not yet taken.
    pub settle: Duration,
    /// Between two looks at the whole folder when nothing was heard.
    pub scan_every: Duration,
    /// How long a file that does not decode must stay as it is before it is handed on as damaged.
    pub damaged_after: Duration,
    /// What counts as a sign of life.
    pub sign: Sign,
    /// What a photograph may be.
    pub limits: Limits,
    /// Which files are left out; `None`: none.
    pub leave_out: Option<Arc<dyn LeaveOut>>,
}

impl Folder {
    /// The usual times: looks half a second apart, a scan every 30 s, 10 s for a damaged file.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            settle: Duration::from_millis(500),
            scan_every: Duration::from_secs(30),
            damaged_after: Duration::from_secs(10),
            sign: Sign::Folder,
            limits: Limits::default(),
            leave_out: None,
        }
    }
}

/// How a file looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    bytes: u64,
    modified: Option<SystemTime>,
}

/// What is known of a file on the card.
#[derive(Debug, Clone, Copy)]
struct Known {
    look: Look,
    /// When it first looked like this.
    since: Instant,
    /// Nothing more is to be done while it looks like this.
    done: bool,
}

/// What a look through the folder leaves to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing before something happens.
    Nothing,
    /// A file waits for another look.
    Waiting,
    /// There are more files to leave out.
    Standing,
}

/// What came of a look into a file.
enum Opened {
    /// Look again later.
    Wait,
    /// The exams are behind: look again later, and at no other file before.
    Full,
    /// Nothing more to do with it as it is.
    Done,
}

impl Intake for Folder {
    fn name(&self) -> &'static str {
        "folder"
    }

    fn run(self, outlet: &Outlet) -> Result<(), IntakeError> {
        let mut known = HashMap::new();
        let mut watch = None;
        let mut finished = HashSet::new();
        while !outlet.stopped() {
            if !self.path.is_dir() {
                // A watch dies with what it watched.
                (watch, known) = (None, HashMap::new());
                outlet.pause(self.settle);
                continue;
            }
            let watch = watch.get_or_insert_with(|| Watch::new(&self.path));
            let time = match self.look(&mut known, &finished, outlet)? {
                Left::Nothing => self.scan_every,
                Left::Waiting => self.settle,
                // Long enough to hear of what is finished.
                Left::Standing => Duration::from_millis(1),
            };
            finished = watch.wait(time, self.settle, outlet, || self.path.is_dir());
        }
        Ok(())
    }
}

impl Folder {
    /// Looks through the folder once; says what is left. One look is enough for `finished` files, whose writers have let
    /// go of them.
    fn look(
        &self,
        known: &mut HashMap<PathBuf, Known>,
        finished: &HashSet<PathBuf>,
        outlet: &Outlet,
    ) -> Result<Left, IntakeError> {
        if self.sign == Sign::Folder && self.path.is_dir() {
            outlet.alive();
        }
        let mut seen = HashMap::new();
        let (mut waiting, mut full) = (false, false);
        let mut standing = Vec::new();
        let walk = walkdir::WalkDir::new(&self.path).max_depth(MAX_DEPTH).sort_by_file_name();
        // What cannot be listed is absent: the card may be half out.
        let walk =
            walk.into_iter().filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.path()));
        for entry in walk.filter_map(Result::ok).take(MAX_FILES) {
            if outlet.stopped() {
                return Ok(Left::Nothing);
            }
            let path = entry.path();
            if !entry.file_type().is_file() || !(is_photograph(path) || is_zip(path)) {
                continue;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            let look = Look { bytes: metadata.len(), modified: metadata.modified().ok() };
            let mut file = match known.get(path) {
                Some(file) if file.look == look => *file,
                _ if finished.contains(path) => Known { look, since: Instant::now(), done: false },
                // The first of two looks.
                _ => {
                    seen.insert(
                        path.to_owned(),
                        Known { look, since: Instant::now(), done: false },
                    );
                    waiting = true;
                    continue;
                }
            };
            // Another look may have come sooner, for another file.
            let early = file.since.elapsed() < self.settle && !finished.contains(path);
            let stands = |folder: &dyn LeaveOut| folder.stands(path, &metadata);
            if !file.done && !early && self.leave_out.as_deref().is_some_and(stands) {
                standing.push((path.to_owned(), file));
                seen.insert(path.to_owned(), file);
                continue;
            }
            if !file.done && !early && !full {
                let opened = self.open(path, &file, outlet)?;
                file.done = matches!(opened, Opened::Done);
                // What is offered in vain is written and removed: one such file a look is enough.
                full = matches!(opened, Opened::Full);
            }
            waiting |= !file.done;
            seen.insert(path.to_owned(), file);
        }
        *known = seen;
        Ok(match self.pass_over(&standing, known, outlet)? {
            Left::Nothing if waiting => Left::Waiting,
            left => left,
        })
    }

    /// Leaves out some of the files that are left out; says what is left of them.
    fn pass_over(
        &self,
        standing: &[(PathBuf, Known)],
        known: &mut HashMap<PathBuf, Known>,
        outlet: &Outlet,
    ) -> Result<Left, IntakeError> {
        let Some(leave_out) = self.leave_out.as_deref() else { return Ok(Left::Nothing) };
        let begun = Instant::now();
        let (mut hashes, mut done) = (Vec::new(), Vec::new());
        for (path, file) in standing.iter().take(LEAVE_OUT_MOST) {
            if begun.elapsed() >= LEAVE_OUT_FOR || outlet.stopped() {
                break;
            }
            let found = self.hashes(path, file);
            // One that has become another file meanwhile is looked at like any other.
            let stands = path.metadata().is_ok_and(|now| leave_out.stands(path, &now));
            if let (Some(found), true) = (found, stands) {
                hashes.extend(found);
                done.push(path);
            }
        }
        if !outlet.pass_over(hashes, leave_out)? {
            return Ok(Left::Waiting);
        }
        for path in &done {
            known.entry((*path).clone()).and_modify(|file| file.done = true);
        }
        Ok(match done.len() {
            all if all == standing.len() => Left::Nothing,
            0 => Left::Waiting,
            _ => Left::Standing,
        })
    }

    /// The SHA-256 of a file's photographs; `None` where it cannot be read so far.
    fn hashes(&self, path: &Path, file: &Known) -> Option<Vec<String>> {
        if !is_zip(path) {
            if file.look.bytes > self.limits.max_bytes as u64 {
                return Some(Vec::new());
            }
            return Some(vec![photo::sha256_hex(&read(path, file.look.bytes).ok()?)]);
        }
        let mut hashes = Vec::new();
        let read = zip_export::each_photograph(
            File::open(path).ok()?,
            self.limits.max_bytes,
            |_, bytes| {
                hashes.push(photo::sha256_hex(&bytes));
                true
            },
        );
        let given_up = file.since.elapsed() >= self.damaged_after;
        (read.is_ok() || given_up).then_some(hashes)
    }

    fn open(&self, path: &Path, file: &Known, outlet: &Outlet) -> Result<Opened, IntakeError> {
        if is_zip(path) {
            return self.open_zip(path, file, outlet);
        }
        if file.look.bytes > self.limits.max_bytes as u64 {
            tracing::warn!(
                bytes = file.look.bytes,
                "a file is too large for a photograph; passed over"
            );
            return Ok(Opened::Done);
        }
        // Into memory first: where the card is pulled here, nothing was written.
        let Ok(bytes) = read(path, file.look.bytes) else { return Ok(Opened::Wait) };
        // Not decoded for nothing: a card that stays in its slot, or comes back, holds them all.
        if outlet.knows(&photo::sha256_hex(&bytes)) {
            return Ok(Opened::Done);
        }
        let settled = file.since.elapsed() >= self.damaged_after;
        if photo::decode(&bytes, &self.limits).is_err() && !settled {
            return Ok(Opened::Wait);
        }
        self.give(bytes, path.display().to_string(), outlet)
    }

    fn open_zip(&self, path: &Path, file: &Known, outlet: &Outlet) -> Result<Opened, IntakeError> {
        let Ok(archive) = File::open(path) else { return Ok(Opened::Wait) };
        let mut outcome = Ok(Opened::Done);
        let read = zip_export::each_photograph(archive, self.limits.max_bytes, |name, bytes| {
            outcome = self.give(bytes, format!("{}!{name}", path.display()), outlet);
            matches!(outcome, Ok(Opened::Done)) && !outlet.stopped()
        });
        match read {
            Ok(()) => outcome,
            // Perhaps still being written; what was taken from it is known next time.
            Err(_) if file.since.elapsed() < self.damaged_after => outcome.map(|_| Opened::Wait),
            Err(error) => {
                tracing::warn!(%error, "a ZIP export was given up");
                outcome
            }
        }
    }

    fn give(&self, bytes: Vec<u8>, origin: String, outlet: &Outlet) -> Result<Opened, IntakeError> {
        let hints = Hints { taken_at: exif_time(&bytes), ..Hints::default() };
        let offered = outlet.offer(bytes, origin, hints)?;
        if offered == Offered::Taken {
            outlet.alive();
        }
        Ok(if offered == Offered::Full { Opened::Full } else { Opened::Done })
    }
}

/// Wakes up when something happens in the folder.
struct Watch {
    /// Kept for its life: dropping it ends the watch.
    _watcher: Option<notify::RecommendedWatcher>,
    events: Receiver<Notice>,
}

/// What happened in the folder.
enum Notice {
    /// Its writer has closed this file, or has moved it here.
    Finished(Vec<PathBuf>),
    /// Anything else.
    Change,
}

impl Notice {
    fn of(event: notify::Result<notify::Event>) -> Option<Self> {
        use notify::EventKind::{Access, Modify};
        use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
        let Ok(event) = event else { return Some(Self::Change) };
        match event.kind {
            Access(AccessKind::Close(AccessMode::Write))
            | Modify(ModifyKind::Name(RenameMode::To)) => Some(Self::Finished(event.paths)),
            // Our own reading is an event too.
            Access(_) => None,
            _ => Some(Self::Change),
        }
    }
}

impl Watch {
    fn new(path: &Path) -> Self {
        let (sender, events) = channel();
        let notice = move |event| {
            if let Some(notice) = Notice::of(event) {
                let _ = sender.send(notice);
            }
        };
        let watcher = notify::recommended_watcher(notice).and_then(|mut watcher| {
            watcher.watch(path, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            tracing::info!(%error, "the folder cannot be watched; it is looked through from time to time");
        }
        Self { _watcher: watcher.ok(), events }
    }

    /// Waits until a file is finished, for a nap after any other event, for `time`, or until the folder is gone or
    /// a stop; says what is finished.
    fn wait(
        &self,
        time: Duration,
        nap: Duration,
        outlet: &Outlet,
        there: impl Fn() -> bool,
    ) -> HashSet<PathBuf> {
        let mut until = Instant::now() + time;
        let mut finished = HashSet::new();
        while !outlet.stopped() && there() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // A stop is to be heard within a second, however long the nap.
            match self.events.recv_timeout(left.min(nap).min(Duration::from_millis(500))) {
                Ok(first) => {
                    // A copy makes many: one look for all of them.
                    for notice in std::iter::once(first).chain(self.events.try_iter()) {
                        if let Notice::Finished(paths) = notice {
                            finished.extend(paths);
                        }
                    }
                    if !finished.is_empty() {
                        break;
                    }
                    until = until.min(Instant::now() + nap);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => outlet.pause(left.min(nap)),
            }
        }
        finished
    }
}

/// The whole file, if it still has the size it was seen with.
fn read(path: &Path, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(size + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Whether the name is a finished photograph's: not hidden (`.x.jpg`, `._x.jpg` of a Mac), not `x.jpg.tmp`.
pub(super) fn is_photograph(path: &Path) -> bool {
    ends_in(path, &["jpg", "jpeg", "png"])
}

fn is_zip(path: &Path) -> bool {
    ends_in(path, &["zip"])
}

fn ends_in(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    !is_hidden(path) && extensions.iter().any(|wanted| extension.eq_ignore_ascii_case(wanted))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// When the picture was taken by the camera's clock.
fn exif_time(bytes: &[u8]) -> Option<String> {
    let exif = exif::Reader::new().read_from_container(&mut io::Cursor::new(bytes)).ok()?;
    let field = exif.get_field(exif::Tag::DateTimeOriginal, exif::In::PRIMARY)?;
    let exif::Value::Ascii(text) = &field.value else { return None };
    let time = exif::DateTime::from_ascii(text.first()?).ok()?;
    Some(time.to_string().replace(' ', "T"))
}
