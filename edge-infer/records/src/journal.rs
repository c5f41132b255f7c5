//! The journal: visits, sealed photographs, deliveries and the audit, in one folder.
//!
//! ```text
//! journal.db    SQLite, WAL, synchronous=FULL: whatever was answered is on the disk
//! sealed/       photographs, each named by the SHA-256 of its sealed bytes
//! journal.lock  held by the process that writes
//! ```
//!
//! One thread owns the connection that writes; [`Journal`] sends it work and waits for the answer, from as
//! many threads as there are. A [`Reader`] has a read-only connection of its own and never waits for it.
//!
//! What is guaranteed, each with its test in `tests/journal/`:
//! - An exam that was acknowledged survives a power cut whole; one that was not is there whole or not
//!   at all (`power.rs`).
//! - A full disk is an error that says so; what was there stays, and the journal goes on once there is
//!   space (`disk_full.rs`).
//! - Records are ordered by their sequence, whatever the clock does (`camp.rs`).
//! - Whatever is altered behind the journal's back, [`Reader::verify`] names (`tampering.rs`).

mod audit;
mod deliveries;
mod error;
mod health;
mod operators;
mod orphans;
mod read;
mod schema;
mod verify;
mod visits;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::clock::{Clock, SystemClock};
use crate::disk::{Disk, SystemDisk};
use crate::seal::{Cost, DeviceSecret, Keys};

pub use deliveries::{Delivery, DeliveryKind, LEASE_S};
pub use error::{JournalError, StorageFault};
pub use health::{State, Undelivered, state};
pub use operators::MIN_PIN;
pub use read::{Period, Reader, Recorded, Summary};
pub use verify::{Damage, Verified, VerifyError};

/// What a journal is opened with.
pub struct Settings {
    /// The folder; made where it is missing.
    pub folder: PathBuf,
    /// The file of the device's secret, better on another medium than `folder`; made with a new journal.
    pub device_secret: PathBuf,
    /// What trying a PIN costs; for PINs that are set from now on.
    pub cost: Cost,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The files.
    pub disk: Box<dyn Disk>,
}

impl Settings {
    /// The operating system's clock and files, the usual cost.
    #[must_use]
    pub fn new(folder: PathBuf, device_secret: PathBuf) -> Self {
        Self {
            folder,
            device_secret,
            cost: Cost::default(),
            clock: Arc::new(SystemClock),
            disk: Box::new(SystemDisk),
        }
    }
}

/// The journal, open for writing. Every method returns when its work is durable.
pub struct Journal {
    folder: PathBuf,
    work: Option<mpsc::Sender<Work>>,
    writer: Option<JoinHandle<()>>,
}

type Work = Box<dyn FnOnce(&mut Writer) + Send>;

impl Journal {
    /// Opens the journal, locked: brings its tables up to date and removes what an interrupted exam left in
    /// the folder of sealed photographs.
    ///
    /// # Errors
    /// Another process has it open; its database is missing while photographs are there, was written by
    /// a newer program, or cannot be read; the device's secret is missing or not private; the disk.
    pub fn open(settings: Settings) -> Result<Self, JournalError> {
        let folder = settings.folder.clone();
        let mut writer = Writer::open(settings)?;
        let (work, tasks) = mpsc::channel::<Work>();
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            for task in tasks {
                task(&mut writer);
            }
        });
        let thread = thread.map_err(JournalError::io("starting the writer of", &folder))?;
        Ok(Self { folder, work: Some(work), writer: Some(thread) })
    }

    /// A connection to read from, with the keys where the journal is unlocked now; it keeps them until it
    /// is dropped.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn reader(&self) -> Result<Reader, JournalError> {
        let keys = self.ask(|writer| Ok(writer.session.as_ref().map(|s| Arc::clone(&s.keys))))?;
        Reader::open(&self.folder, keys)
    }

    /// Has the writer do `work` and waits until it is done.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let task: Work = Box::new(move |writer| {
            // Nobody waits any more only when the asking thread has died; the work is done all the same.
            let _ = answer.send(work(writer));
        });
        let sender = self.work.as_ref().ok_or(JournalError::Stopped)?;
        sender.send(task).map_err(|_| JournalError::Stopped)?;
        answered.recv().map_err(|_| JournalError::Stopped)?
    }
}

/// Waits until the work that was asked for is done, then closes the database.
impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has told so to whoever asked.
            let _ = writer.join();
        }
    }
}

/// Who is working with the journal, and with which keys.
struct Session {
    operator: String,
    keys: Arc<Keys>,
}

/// What the writing thread owns.
struct Writer {
    connection: Connection,
    folder: PathBuf,
    disk: Box<dyn Disk>,
    clock: Arc<dyn Clock>,
    cost: Cost,
    secret: Arc<DeviceSecret>,
    session: Option<Session>,
    /// Held until the connection, above, is closed.
    _lock: Lock,
}

impl Writer {
    fn open(settings: Settings) -> Result<Self, JournalError> {
        let Settings { folder, device_secret, cost, clock, disk } = settings;
        let sealed = sealed_folder(&folder);
        make_private(&sealed).map_err(JournalError::io("making", &sealed))?;
        let lock = Lock::take(&lock_file(&folder))?;
        let database = database_file(&folder);
        let new = !database.exists();
        if new && schema::has_files(&sealed)? {
            return Err(JournalError::DatabaseMissing(database));
        }
        let connection = schema::open_for_writing(&database)?;
        disk.sync_folder(&folder).map_err(JournalError::io("syncing", &folder))?;
        // A secret is made only while nothing depends on it: a lost one must not be replaced in silence.
        let secret = if schema::is_founded(&connection)? || device_secret.exists() {
            DeviceSecret::read(&device_secret)?
        } else {
            DeviceSecret::create(&device_secret, disk.as_ref())?
        };
        let (secret, session) = (Arc::new(secret), None);
        let mut writer =
            Self { connection, folder, disk, clock, cost, secret, session, _lock: lock };
        writer.collect_orphans()?;
        Ok(writer)
    }

    /// The keys and the operator, where the journal is unlocked.
    fn session(&self) -> Result<&Session, JournalError> {
        self.session.as_ref().ok_or(JournalError::Locked)
    }

    /// Does `work` in one transaction: all of it is durable when this returns, or none of it happened.
    fn transact<T>(
        &mut self,
        step: &'static str,
        work: impl FnOnce(&Transaction, &audit::Scribe) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let scribe = audit::Scribe {
            at: self.clock.now(),
            operator: self.session.as_ref().map(|session| session.operator.clone()),
        };
        let failed = JournalError::database(step);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&failed)?;
        let done = work(&transaction, &scribe)?;
        transaction.commit().map_err(&failed)?;
        Ok(done)
    }
}

/// Makes a folder, and those above it that are missing, that only its owner may enter.
fn make_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

/// The lock of the process that writes.
struct Lock(File);

impl Lock {
    fn take(path: &Path) -> Result<Self, JournalError> {
        let failed = JournalError::io("locking", path);
        let file = File::options().create(true).truncate(false).write(true).open(path);
        let file = file.map_err(&failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(JournalError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// Closing the file is not enough: a child process that another thread has just forked holds it as well until
/// it becomes another program.
impl Drop for Lock {
    fn drop(&mut self) {
        // A lock that cannot be given back goes with the process.
        let _ = self.0.unlock();
    }
}

fn database_file(folder: &Path) -> PathBuf {
    folder.join("journal.db")
}

fn lock_file(folder: &Path) -> PathBuf {
    folder.join("journal.lock")
}

fn sealed_folder(folder: &Path) -> PathBuf {
    folder.join("sealed")
}
