//! Walks the whole journal and says the first thing that is wrong.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, ErrorCode};
use thiserror::Error;

use glaucoma_common::photo::sha256_hex;

use super::audit::{Entry, GENESIS, Hash, Table};
use super::visits::photograph_record;
use super::{JournalError, Reader, orphans, schema, sealed_folder};

/// What was found in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Rows of the audit.
    pub audit_rows: u64,
    /// Records the audit vouches for.
    pub records: u64,
    /// Sealed photographs.
    pub photographs: u64,
    /// Whether persons and photographs were opened as well: only with the keys.
    pub opened: bool,
    /// Files that no exam names: what an interrupted exam left, removed at the next start.
    pub unnamed_files: usize,
    /// The hash of the audit's last row.
    pub head: Hash,
}

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    /// SQLite's own check.
    #[error("the database is damaged: {0}")]
    Database(String),
    /// A table, index or trigger is not as this program made it.
    #[error("the definition of {0} was changed")]
    Definition(String),
    /// A row of the audit.
    #[error("row {sequence} of the audit {what}")]
    Chain {
        /// Its number.
        sequence: i64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The audit does not hold a head that was printed earlier.
    #[error("the audit was cut off or replaced: the given head is not in it")]
    Head,
    /// A record.
    #[error("in {table}, {subject} {what}")]
    Record {
        /// Its table.
        table: &'static str,
        /// Its name.
        subject: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A sealed photograph.
    #[error("the photograph of exam {exam}, file {file}, {what}")]
    Photograph {
        /// The exam.
        exam: String,
        /// The file's name.
        file: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Why a journal was not found in order.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// Something is wrong with it.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// It could not be looked at.
    #[error(transparent)]
    NotRead(#[from] JournalError),
}

impl From<rusqlite::Error> for VerifyError {
    fn from(error: rusqlite::Error) -> Self {
        match (&error, error.sqlite_error_code()) {
            // What SQLite cannot make sense of, and values of another type or length than were written.
            (_, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
            | (rusqlite::Error::FromSqlConversionFailure(..), _)
            | (rusqlite::Error::InvalidColumnType(..), _) => {
                Damage::Database(error.to_string()).into()
            }
            _ => JournalError::database("verifying")(error).into(),
        }
    }
}

impl Reader {
    /// Verifies the database, its definitions, the audit's chain, every record against the audit, and every
    /// sealed photograph against its name; with the keys also that persons and photographs open and are
    /// those that were recorded. With `printed`, a head printed earlier, also that the audit still holds it:
    /// rows cut off the end together with their records show in nothing else.
    ///
    /// Not while photographs are being retired: a file may go between the look at its row and at itself.
    ///
    /// # Errors
    /// [`VerifyError::Damaged`] with the first thing that is wrong.
    pub fn verify(&self, printed: Option<Hash>) -> Result<Verified, VerifyError> {
        // One transaction: everything is looked at as it was at one moment.
        let moment = self.connection.unchecked_transaction()?;
        check_database(&moment)?;
        let chain = walk_chain(&moment, printed)?;
        let records = check_records(&moment, chain.latest)?;
        let folder = sealed_folder(&self.folder);
        let photographs = self.check_photographs(&moment, &folder)?;
        if self.keys.is_some() {
            self.check_persons(&moment)?;
        }
        Ok(Verified {
            audit_rows: chain.rows,
            records,
            photographs,
            opened: self.keys.is_some(),
            unnamed_files: orphans::unnamed(&moment, &folder)?.len(),
            head: chain.head,
        })
    }

    fn check_photographs(&self, moment: &Connection, folder: &Path) -> Result<u64, VerifyError> {
        let sql = "SELECT uid, sealed_file, photograph_sha256 FROM exams \
                   WHERE sealed_file IS NOT NULL ORDER BY sequence";
        let mut statement = moment.prepare(sql)?;
        let mut rows = statement.query(())?;
        let mut photographs = 0;
        while let Some(row) = rows.next()? {
            let (exam, file, plain): (String, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            if let Some(what) = self.wrong_with_photograph(folder, &exam, &file, &plain) {
                return Err(Damage::Photograph { exam, file, what }.into());
            }
            photographs += 1;
        }
        Ok(photographs)
    }

    fn wrong_with_photograph(
        &self,
        folder: &Path,
        exam: &str,
        file: &str,
        plain_sha256: &str,
    ) -> Option<&'static str> {
        let sealed = match std::fs::read(folder.join(file)) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Some("is missing");
            }
            Err(_) => return Some("cannot be read"),
        };
        if sha256_hex(&sealed) != file {
            return Some("was altered");
        }
        let keys = self.keys.as_ref()?;
        match keys.open(&photograph_record(exam), &sealed) {
            Err(_) => Some("cannot be opened"),
            Ok(plain) if sha256_hex(&plain) != plain_sha256 => Some("is not what was taken"),
            Ok(_) => None,
        }
    }

    fn check_persons(&self, moment: &Connection) -> Result<(), VerifyError> {
        let mut statement = moment
            .prepare("SELECT uid, sealed_person, person_lookup FROM visits ORDER BY sequence")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let (visit, sealed, lookup): (String, Vec<u8>, Hash) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let wrong = match self.open_person(&visit, &sealed) {
                Err(_) => Some("has a person that cannot be opened"),
                Ok(opened) if self.keys()?.lookup(&opened.person.id) != lookup => {
                    Some("is found under another person")
                }
                Ok(_) => None,
            };
            if let Some(what) = wrong {
                return Err(record(Table::Visits, visit, what).into());
            }
        }
        Ok(())
    }
}

fn record(table: Table, subject: String, what: &'static str) -> Damage {
    Damage::Record { table: table.name(), subject, what }
}

fn check_database(moment: &Connection) -> Result<(), VerifyError> {
    // Definitions first: SQLite's check reports a damaged one in words of its own.
    let (found, expected) = (schema::definitions(moment)?, schema::expected_definitions()?);
    if found != expected {
        let changed = found.iter().find(|definition| !expected.contains(definition));
        let missing = expected.iter().find(|definition| !found.contains(definition));
        let name = missing.or(changed).map_or("a table", |(name, _)| name);
        return Err(Damage::Definition(name.to_owned()).into());
    }
    let answer: String = moment.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))?;
    if answer != "ok" {
        return Err(Damage::Database(answer).into());
    }
    let mut statement = moment.prepare("PRAGMA foreign_key_check")?;
    match statement.query(())?.next()? {
        Some(row) => {
            let table: String = row.get(0)?;
            Err(Damage::Database(format!("a row of {table} names a row that is missing")).into())
        }
        None => Ok(()),
    }
}

/// By table and name, the hash of the record after the last thing that happened to it; `None`: it was removed.
type Latest = HashMap<(String, String), Option<Hash>>;

struct Chain {
    rows: u64,
    head: Hash,
    latest: Latest,
}

fn walk_chain(moment: &Connection, printed: Option<Hash>) -> Result<Chain, VerifyError> {
    let mut statement = moment.prepare(
        "SELECT sequence, at, operator, action, table_name, subject, row_sha256, details, prev, hash \
         FROM audit ORDER BY sequence",
    )?;
    let mut rows = statement.query(())?;
    let mut chain = Chain { rows: 0, head: GENESIS, latest: Latest::new() };
    let mut last = 0;
    let mut seen = printed.is_none_or(|hash| hash == GENESIS);
    while let Some(row) = rows.next()? {
        let (entry, prev, hash) = Entry::read(row)?;
        let sequence = entry.sequence;
        let what = if sequence != last + 1 {
            Some("does not follow the row before: rows are missing")
        } else if prev != chain.head {
            Some("is not chained to the row before")
        } else if hash != entry.hash(&prev) {
            Some("was altered")
        } else {
            None
        };
        if let Some(what) = what {
            return Err(Damage::Chain { sequence, what }.into());
        }
        seen |= printed == Some(hash);
        (chain.head, last) = (hash, sequence);
        chain.rows += 1;
        if let (Some(table), Some(subject)) = (entry.table, entry.subject) {
            chain.latest.insert((table, subject), entry.row_hash);
        }
    }
    if seen { Ok(chain) } else { Err(Damage::Head.into()) }
}

/// Every record is as the audit last saw it, and every record the audit saw is there.
fn check_records(moment: &Connection, mut latest: Latest) -> Result<u64, VerifyError> {
    let mut records = 0;
    for table in Table::ALL {
        table.each_row(moment, |subject, hash| {
            records += 1;
            let key = (table.name().to_owned(), subject);
            let what = match latest.remove(&key) {
                None => "is not in the audit",
                Some(None) => "was removed and is there again",
                Some(Some(seen)) if seen != hash => "was altered",
                Some(Some(_)) => return Ok(()),
            };
            Err(VerifyError::from(record(table, key.1, what)))
        })?;
        let missing = latest
            .iter()
            .filter(|((name, _), hash)| name == table.name() && hash.is_some())
            .map(|((_, subject), _)| subject)
            .min();
        if let Some(subject) = missing {
            return Err(record(table, subject.clone(), "is missing").into());
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
