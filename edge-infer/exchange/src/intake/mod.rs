//! How photographs come in: one trait, one bounded channel, one inbox.
//!
//! ```text
//! folder   card, stick, drop, ZIP ─┐
//! scp      C-STORE, C-ECHO        ─┼─► inbox (on disk, each photograph once) ─► bounded channel ─► exam
//! rpicam   rpicam-still           ─┤
//! v4l      UVC and other cameras  ─┘   (feature `v4l`; Linux)
//! ```
//!
//! A photograph is durable in the inbox before its sender is told that it was taken, and stays there until
//! [`Incoming::settle`] says that the journal has it; what a power cut left is handed out again at the next start.

mod inbox;
mod object;
mod zip_export;

pub mod folder;
pub mod rpicam;
pub mod scp;
#[cfg(feature = "v4l")]
pub mod v4l;

use std::fmt::Debug;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use glaucoma_common::reading::Laterality;
use glaucoma_records::visit::Sex;
use image::RgbImage;
use serde::{Deserialize, Serialize};

pub use inbox::Inbox;

/// What the sender says of a photograph. Hints: the operator confirms them; nothing is guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hints {
    /// Which eye.
    pub laterality: Option<Laterality>,
    /// The person's number.
    pub person_id: Option<String>,
    /// The person's name as one would write it, not in DICOM's components.
    pub person_name: Option<String>,
    /// Administrative sex.
    pub sex: Option<Sex>,
    /// `2026-05-01`.
    pub birth_date: Option<String>,
    /// By the camera's clock, `2026-05-01T09:30:00`, without a zone: cameras seldom know theirs.
    pub taken_at: Option<String>,
    /// Whether the person's identity is written into the pixels.
    pub burned_in: Option<bool>,
}

/// A photograph that came in.
#[derive(Debug)]
pub struct Incoming {
    /// The file as it came, JPEG or PNG. One whose decoding fails is handed on too: the exam says what is wrong.
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes, hexadecimal.
    pub sha256: String,
    /// Where from: a path on the card, or `dicom:` and the sender's AE title. May name a person: not for logs.
    pub origin: String,
    /// What the sender says of it.
    pub hints: Hints,
    /// Its copy in the inbox.
    copy: PathBuf,
}

impl Incoming {
    /// Removes the inbox's copy. To be called once the journal has the photograph.
    ///
    /// # Errors
    /// Where the copy cannot be removed; it will be handed out again at the next start.
    pub fn settle(self) -> Result<(), IntakeError> {
        inbox::remove(&self.copy)
    }
}

/// Why an intake cannot go on. One photograph's trouble is no reason.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The device's own folder.
    #[error("inbox, {step} {}: {source}", path.display())]
    Inbox {
        /// What was tried.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The port.
    #[error("DICOM receiver, {step} {address}: {source}")]
    Network {
        /// What was tried.
        step: &'static str,
        /// On which address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process's threads.
    #[error("starting the thread of {name}: {source}")]
    Thread {
        /// The intake's name.
        name: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Whether the camera is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It was heard of lately.
    Online,
    /// Nothing was heard of it for the set time. Passes by itself.
    Offline,
}

/// Something photographs come from.
pub trait Intake: Send + 'static {
    /// A short name for logs and screens.
    fn name(&self) -> &'static str;

    /// Hands over photographs until [`Outlet::stopped`]. Calls [`Outlet::alive`] whenever the camera shows a sign
    /// of life. Must look at [`Outlet::stopped`] at least once a second.
    ///
    /// # Errors
    /// Only for what makes going on pointless; an absent card or camera is not such a thing.
    fn run(self, outlet: &Outlet) -> Result<(), IntakeError>;
}

/// Where a camera's live pictures go.
pub trait LiveView: Send + 'static {
    /// Whether a picture would be shown now. One that would not is never made.
    fn wanted(&self) -> bool;

    /// Shows the newest picture; returns at once.
    fn show(&mut self, picture: RgbImage);
}

/// Who says which files of a folder are left out: passed over without being taken.
pub trait LeaveOut: Debug + Send + Sync + 'static {
    /// Whether the file at this path is left out, as it is now.
    fn stands(&self, path: &Path, now: &Metadata) -> bool;

    /// Writes down that photographs, by their SHA-256, were left out; `true` once that survives a power cut. What could
    /// not be written down is tried again.
    fn written(&self, photographs: &[String]) -> bool;
}

/// Where an intake puts what it finds.
#[derive(Debug)]
pub struct Outlet {
    sender: SyncSender<Incoming>,
    inbox: Arc<Inbox>,
    last_sign: Arc<Mutex<Option<Instant>>>,
    stop: Arc<AtomicBool>,
}

/// What became of a photograph that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It is in the inbox, on disk, and on its way.
    Taken,
    /// These bytes were taken before.
    Known,
    /// The exams are behind: offer it again later. Nothing was kept.
    Full,
}

impl Outlet {
    /// Offers a photograph; returns at once.
    ///
    /// # Errors
    /// Where the inbox cannot be written (a full disk, for one); nothing was kept.
    pub fn offer(
        &self,
        bytes: Vec<u8>,
        origin: String,
        hints: Hints,
    ) -> Result<Offered, IntakeError> {
        self.inbox.offer(bytes, origin, hints, &self.sender)
    }

    /// Whether a photograph, by its SHA-256, was taken or left out before: it need not be offered.
    #[must_use]
    pub fn knows(&self, sha256: &str) -> bool {
        self.inbox.knows(sha256)
    }

    /// Passes over photographs, by their SHA-256: those that were not known are written down with `to`, and none of them
    /// is taken any more. Says whether that could be written.
    ///
    /// # Errors
    /// Where the inbox cannot be written.
    pub fn pass_over(
        &self,
        photographs: Vec<String>,
        to: &dyn LeaveOut,
    ) -> Result<bool, IntakeError> {
        self.inbox.pass_over(photographs, |new| to.written(new))
    }

    /// Offers a photograph that its camera does not keep, until there is room for it or the intake is to end.
    pub(crate) fn offer_when_there_is_room(
        &self,
        bytes: &[u8],
        origin: &str,
        hints: &Hints,
    ) -> Result<(), IntakeError> {
        while self.offer(bytes.to_vec(), origin.into(), hints.clone())? == Offered::Full {
            if self.stopped() {
                break;
            }
            self.pause(Duration::from_millis(100));
        }
        Ok(())
    }

    /// The camera showed a sign of life.
    pub fn alive(&self) {
        *self.last_sign.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether to end.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps, in short naps so that a stop is heard.
    pub(crate) fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

/// A running intake; dropping it stops it.
#[derive(Debug)]
pub struct Running {
    offline_after: Duration,
    last_sign: Arc<Mutex<Option<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), IntakeError>>>,
}

impl Running {
    /// Whether the camera is there at `now`: whether it showed a sign of life within the set time.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let last = *self.last_sign.lock().unwrap_or_else(PoisonError::into_inner);
        match last {
            Some(last) if now.saturating_duration_since(last) <= self.offline_after => {
                Status::Online
            }
            _ => Status::Offline,
        }
    }

    /// Stops it and waits for its end.
    ///
    /// # Errors
    /// What it ended with.
    pub fn stop(mut self) -> Result<(), IntakeError> {
        self.end().unwrap_or(Ok(()))
    }

    /// Whether it has ended, by error or panic, without being asked to.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn end(&mut self) -> Option<Result<(), IntakeError>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.end() {
            tracing::warn!(%error, "an intake ended with an error");
        }
    }
}

/// The channel of all intakes: `capacity` photographs wait in memory at most.
#[must_use]
pub fn channel(capacity: usize) -> (SyncSender<Incoming>, Receiver<Incoming>) {
    sync_channel(capacity)
}

/// Starts an intake on a thread of its own. It counts as offline when it shows no sign of life for `offline_after`.
///
/// # Errors
/// Where no thread can be had.
pub fn start(
    intake: impl Intake,
    sender: SyncSender<Incoming>,
    inbox: Arc<Inbox>,
    offline_after: Duration,
) -> Result<Running, IntakeError> {
    let name = intake.name();
    let outlet = Outlet { sender, inbox, last_sign: Arc::default(), stop: Arc::default() };
    let (last_sign, stop) = (outlet.last_sign.clone(), outlet.stop.clone());
    let thread = std::thread::Builder::new()
        .name(format!("intake-{name}"))
        .spawn(move || intake.run(&outlet))
        .map_err(|source| IntakeError::Thread { name, source })?;
    Ok(Running { offline_after, last_sign, stop, thread: Some(thread) })
}
