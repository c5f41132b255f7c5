//! What can be told of a journal from outside, without keys and while another program writes it.

use std::fs::{File, TryLockError};
use std::path::Path;

use rusqlite::OptionalExtension;
use serde::Serialize;

use super::read::Reader;
use super::{JournalError, database_file, lock_file};

/// Whether there is a journal, and whether a program is writing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There is no database.
    Absent,
    /// No program has it open for writing.
    Closed,
    /// A program has it open for writing.
    InUse,
}

/// What is still to be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Undelivered {
    /// How many.
    pub waiting: u64,
    /// When the visit was begun, or the photograph taken, that waits for the longest time.
    pub oldest: Option<String>,
    /// Why the first of them that failed was not delivered.
    pub last_error: Option<String>,
}

/// Looks at the journal in `folder`. The look holds its lock for a moment, shared: a program that opens the journal
/// just then finds it in use and must try again.
///
/// # Errors
/// The folder or its lock cannot be looked at.
pub fn state(folder: &Path) -> Result<State, JournalError> {
    let database = database_file(folder);
    if !database.try_exists().map_err(JournalError::io("looking for", &database))? {
        return Ok(State::Absent);
    }
    let lock = lock_file(folder);
    let failed = JournalError::io("looking at", &lock);
    let file = match File::open(&lock) {
        Ok(file) => file,
        // A copy: nobody has ever opened it here.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::Closed),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => {
            file.unlock().map_err(failed)?;
            Ok(State::Closed)
        }
        Err(TryLockError::WouldBlock) => Ok(State::InUse),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

impl Reader {
    /// What is still to be delivered; needs no keys.
    ///
    /// # Errors
    /// The database.
    pub fn undelivered(&self) -> Result<Undelivered, JournalError> {
        let failed = || JournalError::database("reading the outbox");
        let first = |sql: &str| -> Result<Option<Option<String>>, JournalError> {
            self.connection.query_row(sql, (), |row| row.get(0)).optional().map_err(failed())
        };
        let oldest = "SELECT coalesce((SELECT begun_at FROM visits WHERE uid = id), \
                                      (SELECT taken_at FROM exams WHERE uid = id)) \
                      FROM outbox WHERE receipt IS NULL ORDER BY sequence LIMIT 1";
        let error = "SELECT last_error FROM outbox WHERE receipt IS NULL AND last_error IS NOT NULL \
                     ORDER BY sequence LIMIT 1";
        Ok(Undelivered {
            waiting: self.waiting()?,
            oldest: first(oldest)?.flatten(),
            last_error: first(error)?.flatten(),
        })
    }
}
