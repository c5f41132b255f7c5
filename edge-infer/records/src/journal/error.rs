//! What can go wrong with the journal, in words for the person in front of the device.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;

use crate::seal::SealError;
use crate::visit::Uid;

/// Why the journal did not do what it was asked; it then did none of it.
#[derive(Debug, Error)]
pub enum JournalError {
    /// No space is left where the journal is.
    #[error("the disk is full, {step} {}: make space and try again; what was recorded before is safe", .path.display())]
    DiskFull {
        /// What was being done.
        step: &'static str,
        /// The file or folder.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("{step} {}: {source}", .path.display())]
    File {
        /// What was being done.
        step: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The database refused.
    #[error("the journal's database, {step}: {source}")]
    Database {
        /// What was being done.
        step: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Another process writes it.
    #[error("the journal is in use by another program (lock {})", .0.display())]
    InUse(PathBuf),
    /// Photographs without their database.
    #[error("{} is missing though there are sealed photographs beside it: bring it back from a copy", .0.display())]
    DatabaseMissing(PathBuf),
    /// Made by a later program.
    #[error(
        "the journal was written by a newer program (tables of version {found}; this one knows {known})"
    )]
    Newer {
        /// The version found.
        found: u32,
        /// The latest version this program knows.
        known: u32,
    },
    /// Made by an earlier program, and opened to be read alone.
    #[error(
        "the journal was written by an older program (tables of version {found}, not {known}): open it with a PIN \
         first"
    )]
    Older {
        /// The version found.
        found: u32,
        /// The version this program reads.
        known: u32,
    },
    /// A value in the database that this program cannot have written.
    #[error("the journal holds a value that cannot be right: {0}")]
    Value(String),
    /// A value that could not be written down.
    #[error("writing a value as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Sealing or opening failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Nobody has entered a PIN.
    #[error("the journal is locked: enter a PIN first")]
    Locked,
    /// The PIN was wrong.
    #[error("the PIN is wrong; {}", next_try(*.wait_s))]
    WrongPin {
        /// Seconds until the next try is heard, 0: at once.
        wait_s: u64,
    },
    /// Too early after wrong PINs.
    #[error("too many wrong PINs; {}", next_try(*.wait_s))]
    Wait {
        /// Seconds until the next try is heard, at least 1.
        wait_s: u64,
    },
    /// A PIN that is too short.
    #[error("a PIN has at least {} characters", super::MIN_PIN)]
    ShortPin,
    /// No operator of this name.
    #[error("there is no operator {0:?}")]
    NoOperator(String),
    /// An operator of this name is there.
    #[error("there is an operator {0:?} already")]
    OperatorExists(String),
    /// The last operator cannot go.
    #[error("the last operator cannot be removed: nobody could open the journal")]
    LastOperator,
    /// The journal has its keys already.
    #[error("the journal has been set up already")]
    Founded,
    /// The journal has no keys yet.
    #[error("the journal has not been set up: add the first operator")]
    NotFounded,
    /// No such visit.
    #[error("there is no visit {}", .0.0)]
    NoVisit(Uid),
    /// No such exam.
    #[error("there is no exam {}", .0.0)]
    NoExam(Uid),
    /// A record of this identifier is there.
    #[error("{} has been recorded already", .0.0)]
    Exists(Uid),
    /// The visit has its decision.
    #[error("the visit {} is decided: nothing is added to it", .0.0)]
    Decided(Uid),
    /// The visit was closed without a decision.
    #[error("the visit {} is closed: nothing is added to it", .0.0)]
    Closed(Uid),
    /// A new visit with exams or a decision, or a person without an identifier.
    #[error("not a new visit: {0}")]
    NotNew(&'static str),
    /// The bytes are not those the exam speaks of.
    #[error("the photograph is not the one of exam {}", .0.0)]
    OtherPhotograph(Uid),
    /// Deleted after its delivery.
    #[error("the photograph of exam {} was deleted after its delivery", .0.0)]
    Retired(Uid),
    /// No such delivery waits.
    #[error("no delivery {0:?} is waiting")]
    NoDelivery(String),
    /// A time that is not RFC 3339.
    #[error("{0:?} is not a time like 2026-05-01T09:30:00Z")]
    Time(String),
    /// The writing thread is gone.
    #[error("the journal has stopped: open it again")]
    Stopped,
}

/// How the storage failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageFault {
    /// It has no space left.
    Full,
    /// It cannot be written or read: read-only, pulled out, broken.
    Fails,
}

fn next_try(wait_s: u64) -> String {
    if wait_s == 0 { "try again".to_owned() } else { format!("try again in {wait_s} s") }
}

impl JournalError {
    /// Whether what was asked for was right and only the storage failed it: the same may be tried again. `None`:
    /// it was refused for another reason.
    #[must_use]
    pub fn storage(&self) -> Option<StorageFault> {
        match self {
            Self::DiskFull { .. } => Some(StorageFault::Full),
            Self::File { .. } | Self::Database { .. } | Self::Stopped => Some(StorageFault::Fails),
            _ => None,
        }
    }

    /// Turns a file's error into one that names step and file.
    pub(super) fn io(step: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { step, path: path.clone() }
            }
            _ => Self::File { step, path: path.clone(), source },
        }
    }

    /// Turns SQLite's error into one that names the step.
    pub(super) fn database(step: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull { step, path: "journal.db".into() },
            _ => Self::Database { step, source },
        }
    }
}
