//! The tables, how they came to be, and how a connection is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::JournalError;

/// Each step brings the tables to the next `user_version`; a released step is never changed.
const MIGRATIONS: [&str; 4] = [
    "
    CREATE TABLE vault (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        founded_at TEXT NOT NULL,
        recovery_public BLOB NOT NULL,
        recovery_box BLOB NOT NULL,
        key_check BLOB NOT NULL
    ) STRICT;
    CREATE TABLE operators (
        name TEXT PRIMARY KEY,
        salt BLOB NOT NULL,
        memory_kib INTEGER NOT NULL,
        passes INTEGER NOT NULL,
        wrapped BLOB NOT NULL,
        failures INTEGER NOT NULL DEFAULT 0,
        failed_at INTEGER
    ) STRICT;
    CREATE TABLE visits (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        uid TEXT NOT NULL UNIQUE,
        person_lookup BLOB NOT NULL,
        sealed_person BLOB NOT NULL,
        site TEXT NOT NULL,
        operator TEXT NOT NULL,
        begun_at TEXT NOT NULL,
        without_photograph TEXT NOT NULL,
        decision TEXT
    ) STRICT;
    CREATE INDEX visits_by_person ON visits (person_lookup);
    CREATE INDEX visits_by_time ON visits (begun_at);
    CREATE TABLE exams (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        uid TEXT NOT NULL UNIQUE,
        visit TEXT NOT NULL REFERENCES visits (uid),
        eye TEXT NOT NULL,
        eye_seen TEXT,
        eye_confirmed INTEGER NOT NULL,
        taken_at TEXT NOT NULL,
        photograph_sha256 TEXT NOT NULL,
        photograph_type TEXT NOT NULL,
        finding TEXT NOT NULL,
        model TEXT NOT NULL,
        sealed_file TEXT UNIQUE
    ) STRICT;
    CREATE INDEX exams_by_visit ON exams (visit);
    CREATE TABLE outbox (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        next_try INTEGER NOT NULL,
        last_error TEXT,
        receipt TEXT,
        acknowledged_at INTEGER,
        UNIQUE (kind, id),
        CHECK ((receipt IS NULL) = (acknowledged_at IS NULL))
    ) STRICT;
    CREATE INDEX outbox_by_id ON outbox (id);
    CREATE TABLE audit (
        sequence INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        operator TEXT,
        action TEXT NOT NULL,
        table_name TEXT,
        subject TEXT,
        row_sha256 BLOB,
        details TEXT,
        prev BLOB NOT NULL,
        hash BLOB NOT NULL
    ) STRICT;
    CREATE TRIGGER audit_is_not_updated BEFORE UPDATE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
    CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
    -- Otherwise INSERT OR REPLACE would do what the other two forbid.
    CREATE TRIGGER audit_is_appended BEFORE INSERT ON audit
        WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM audit)
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
",
    "
    ALTER TABLE exams ADD COLUMN burned_in INTEGER;
",
    "
    ALTER TABLE visits ADD COLUMN closed_at TEXT;
    CREATE INDEX visits_open ON visits (sequence) WHERE decision IS NULL AND closed_at IS NULL;
",
    // Who decided has been in the audit from the first version on.
    "
    CREATE INDEX audit_decided ON audit (subject) WHERE action = 'visit_decided';
",
];

/// How long a connection waits for another process, such as one that copies the database.
const BUSY: Duration = Duration::from_secs(10);

/// Opens or makes the database, durable at every commit, with the latest tables.
pub fn open_for_writing(path: &Path) -> Result<Connection, JournalError> {
    let failed = JournalError::database("opening it");
    let mut connection = Connection::open(path).map_err(&failed)?;
    connection.busy_timeout(BUSY).map_err(&failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(&failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(&failed)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(&failed)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens the database to read from it alone.
pub fn open_for_reading(path: &Path) -> Result<Connection, JournalError> {
    let failed = JournalError::database("opening it to read");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    connection.busy_timeout(BUSY).map_err(&failed)?;
    let (found, known) = (check_version(&connection)?, latest());
    if found < known { Err(JournalError::Older { found, known }) } else { Ok(connection) }
}

fn latest() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

fn check_version(connection: &Connection) -> Result<u32, JournalError> {
    let failed = JournalError::database("reading its version");
    let found =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let known = latest();
    if found > known { Err(JournalError::Newer { found, known }) } else { Ok(found) }
}

fn migrate(connection: &mut Connection) -> Result<(), JournalError> {
    let failed = JournalError::database("bringing its tables up to date");
    let found = check_version(connection)?;
    for (version, step) in (1_u32..).zip(MIGRATIONS) {
        if version > found {
            let transaction = connection.transaction().map_err(&failed)?;
            transaction.execute_batch(step).map_err(&failed)?;
            transaction.pragma_update(None, "user_version", version).map_err(&failed)?;
            transaction.commit().map_err(&failed)?;
        }
    }
    Ok(())
}

/// Whether the journal has its keys.
pub fn is_founded(connection: &Connection) -> Result<bool, JournalError> {
    let found = connection.query_row("SELECT EXISTS (SELECT 1 FROM vault)", (), |row| row.get(0));
    found.map_err(JournalError::database("reading its keys"))
}

/// Whether a folder has files.
pub fn has_files(folder: &Path) -> Result<bool, JournalError> {
    let mut entries = std::fs::read_dir(folder).map_err(JournalError::io("listing", folder))?;
    Ok(entries.next().is_some())
}

/// The definitions of every table, index and trigger, as SQLite keeps them, by name.
pub fn definitions(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// The definitions as a new database has them.
pub fn expected_definitions() -> Result<Vec<(String, Option<String>)>, JournalError> {
    let failed = JournalError::database("making its tables in memory");
    let mut connection = Connection::open_in_memory().map_err(&failed)?;
    migrate(&mut connection)?;
    definitions(&connection).map_err(failed)
}
