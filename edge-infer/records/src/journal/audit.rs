//! The audit: every change of a record adds a row that holds the SHA-256 of the record after it and
//! is chained to the row before by its own hash.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use super::error::JournalError;
use crate::clock::Timestamp;

/// A SHA-256.
pub type Hash = [u8; 32];

/// The hash before the first row.
pub const GENESIS: Hash = [0; 32];

/// A table whose rows the audit vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// The wrapped data key.
    Vault,
    /// Who may open the journal.
    Operators,
    /// Visits.
    Visits,
    /// Exams.
    Exams,
    /// Deliveries.
    Outbox,
}

impl Table {
    /// All of them, in the order in which they are verified.
    pub const ALL: [Self; 5] =
        [Self::Vault, Self::Operators, Self::Visits, Self::Exams, Self::Outbox];

    /// The table's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Operators => "operators",
            Self::Visits => "visits",
            Self::Exams => "exams",
            Self::Outbox => "outbox",
        }
    }

    /// The expression by which a row is named.
    fn subject(self) -> &'static str {
        match self {
            Self::Vault => "'key'",
            Self::Operators => "name",
            Self::Visits | Self::Exams => "uid",
            Self::Outbox => "kind || ' ' || id",
        }
    }

    /// What of a row is vouched for: all but counters of tries.
    fn columns(self) -> &'static str {
        match self {
            Self::Vault => "founded_at, recovery_public, recovery_box, key_check",
            Self::Operators => "name, salt, memory_kib, passes, wrapped",
            Self::Visits => {
                "sequence, uid, person_lookup, sealed_person, site, operator, begun_at, \
                 without_photograph, decision, closed_at"
            }
            Self::Exams => {
                "sequence, uid, visit, eye, eye_seen, eye_confirmed, taken_at, photograph_sha256, \
                 photograph_type, finding, model, sealed_file, burned_in"
            }
            Self::Outbox => "sequence, kind, id, receipt, acknowledged_at",
        }
    }

    /// How many of the last columns came with later versions of the tables. Where such a one is NULL, the row is
    /// as before it came, and so is its hash.
    fn added(self) -> usize {
        usize::from(matches!(self, Self::Visits | Self::Exams))
    }

    /// The hash of one row; `None` where it is not there.
    fn row_hash(self, connection: &Connection, subject: &str) -> rusqlite::Result<Option<Hash>> {
        let sql =
            format!("SELECT {} FROM {} WHERE {} = ?1", self.columns(), self.name(), self.subject());
        let hash = |row: &Row| hash_of(row, 0, self.added());
        connection.prepare_cached(&sql)?.query_row([subject], hash).optional()
    }

    /// Calls `each` with the name and the hash of every row, in the order of the names.
    pub fn each_row<E: From<rusqlite::Error>>(
        self,
        connection: &Connection,
        mut each: impl FnMut(String, Hash) -> Result<(), E>,
    ) -> Result<(), E> {
        let (subject, columns, name) = (self.subject(), self.columns(), self.name());
        let sql = format!("SELECT {subject}, {columns} FROM {name} ORDER BY 1");
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            each(row.get(0)?, hash_of(row, 1, self.added())?)?;
        }
        Ok(())
    }
}

/// SHA-256 of a row's columns from the given one on, in an unambiguous form; NULL among the last `added` is left out.
fn hash_of(row: &Row, from: usize, added: usize) -> rusqlite::Result<Hash> {
    let mut hasher = Sha256::new();
    let columns = row.as_ref().column_count();
    for column in from..columns {
        let value = row.get_ref(column)?;
        if column + added < columns || value != ValueRef::Null {
            absorb(&mut hasher, value);
        }
    }
    Ok(hasher.finalize().into())
}

/// One value: a letter for its type, then its eight bytes, or its length in eight bytes and its bytes.
/// Numbers are little endian.
fn absorb(hasher: &mut Sha256, value: ValueRef) {
    let mut sized = |letter: &[u8], bytes: &[u8]| {
        hasher.update(letter);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match value {
        ValueRef::Text(bytes) => sized(b"t", bytes),
        ValueRef::Blob(bytes) => sized(b"b", bytes),
        ValueRef::Null => hasher.update(b"n"),
        ValueRef::Integer(number) => {
            hasher.update(b"i");
            hasher.update(number.to_le_bytes());
        }
        ValueRef::Real(number) => {
            hasher.update(b"f");
            hasher.update(number.to_le_bytes());
        }
    }
}

/// Who writes the audit, and when.
pub struct Scribe {
    /// The device's time.
    pub at: Timestamp,
    /// The operator, where the journal is unlocked.
    pub operator: Option<String>,
}

impl Scribe {
    /// Writes down that `action` happened to a record, after it happened.
    pub fn record(
        &self,
        connection: &Connection,
        action: &str,
        table: Table,
        subject: &str,
    ) -> Result<(), JournalError> {
        self.append(connection, action, Some((table, subject)), None)
    }

    /// Writes down that `action` happened, to a record or to none, with details in words.
    pub fn append(
        &self,
        connection: &Connection,
        action: &str,
        subject: Option<(Table, &str)>,
        details: Option<&str>,
    ) -> Result<(), JournalError> {
        self.insert(connection, action, subject, details)
            .map_err(JournalError::database("writing the audit"))
    }

    fn insert(
        &self,
        connection: &Connection,
        action: &str,
        subject: Option<(Table, &str)>,
        details: Option<&str>,
    ) -> rusqlite::Result<()> {
        let (sequence, prev) = head(connection)?;
        let row_hash = match subject {
            Some((table, subject)) => table.row_hash(connection, subject)?,
            None => None,
        };
        let entry = Entry {
            sequence: sequence + 1,
            at: self.at.to_string(),
            operator: self.operator.clone(),
            action: action.to_owned(),
            table: subject.map(|(table, _)| table.name().to_owned()),
            subject: subject.map(|(_, subject)| subject.to_owned()),
            row_hash,
            details: details.map(str::to_owned),
        };
        connection
            .prepare_cached("INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?
            .execute(params![
                entry.sequence,
                entry.at,
                entry.operator,
                entry.action,
                entry.table,
                entry.subject,
                entry.row_hash,
                entry.details,
                prev,
                entry.hash(&prev),
            ])?;
        Ok(())
    }
}

/// Number and hash of the audit's last row; 0 and [`GENESIS`] where there is none.
pub fn head(connection: &Connection) -> rusqlite::Result<(i64, Hash)> {
    let sql = "SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1";
    let last = connection.prepare_cached(sql)?.query_row((), |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(last.optional()?.unwrap_or((0, GENESIS)))
}

/// A row of the audit without its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub sequence: i64,
    pub at: String,
    pub operator: Option<String>,
    pub action: String,
    pub table: Option<String>,
    pub subject: Option<String>,
    pub row_hash: Option<Hash>,
    pub details: Option<String>,
}

impl Entry {
    /// SHA-256 of the hash before and the row, its values in the order of the columns.
    pub fn hash(&self, prev: &Hash) -> Hash {
        fn text(value: Option<&String>) -> ValueRef<'_> {
            value.map_or(ValueRef::Null, |text| ValueRef::Text(text.as_bytes()))
        }
        let mut hasher = Sha256::new_with_prefix(prev);
        absorb(&mut hasher, ValueRef::Integer(self.sequence));
        absorb(&mut hasher, text(Some(&self.at)));
        absorb(&mut hasher, text(self.operator.as_ref()));
        absorb(&mut hasher, text(Some(&self.action)));
        absorb(&mut hasher, text(self.table.as_ref()));
        absorb(&mut hasher, text(self.subject.as_ref()));
        absorb(&mut hasher, self.row_hash.as_ref().map_or(ValueRef::Null, |h| ValueRef::Blob(h)));
        absorb(&mut hasher, text(self.details.as_ref()));
        hasher.finalize().into()
    }

    /// The row, the hash it says is before it, and its own.
    pub fn read(row: &Row) -> rusqlite::Result<(Self, Hash, Hash)> {
        let entry = Self {
            sequence: row.get(0)?,
            at: row.get(1)?,
            operator: row.get(2)?,
            action: row.get(3)?,
            table: row.get(4)?,
            subject: row.get(5)?,
            row_hash: row.get(6)?,
            details: row.get(7)?,
        };
        Ok((entry, row.get(8)?, row.get(9)?))
    }
}

#[cfg(test)]
mod tests;
