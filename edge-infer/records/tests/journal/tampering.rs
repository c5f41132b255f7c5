//! Whatever is altered behind the journal's back, `verify` names.

use std::path::{Path, PathBuf};

use glaucoma_records::journal::{Damage, DeliveryKind, Journal, Reader, VerifyError};
use glaucoma_records::visit::Decision;
use rusqlite::Connection;

use crate::support::*;

/// A closed journal with three visits, one of them without an exam, four exams and a delivery.
fn journal(folder: &Path) {
    let journal = found(folder);
    for number in 0..2 {
        journal.begin_visit(&visit(number)).unwrap();
        examine(&journal, &visit(number), 2 * number, 300).unwrap();
        examine(&journal, &visit(number), 2 * number + 1, 300).unwrap();
        let kinds = [DeliveryKind::FhirBundle];
        journal.decide_visit(&visit(number).uid, &Decision::NotSuspected, &kinds).unwrap();
    }
    journal.begin_visit(&visit(2)).unwrap();
    journal.close_visit(&visit(2).uid, &[]).unwrap();
    journal.acknowledge(DeliveryKind::FhirBundle, &visit(0).uid, "201 Created").unwrap();
    drop(journal);
    std::fs::copy(folder.join("journal/journal.db"), folder.join("copy.db")).unwrap();
}

/// The first thing that is wrong, found without any key.
fn damage(folder: &Path) -> Option<Damage> {
    let reader = Reader::open_locked(&folder.join("journal")).unwrap();
    match reader.verify(None) {
        Ok(_) => None,
        Err(VerifyError::Damaged(damage)) => Some(damage),
        Err(error) => panic!("{error}"),
    }
}

fn database(folder: &Path) -> Connection {
    let connection = Connection::open(folder.join("journal/journal.db")).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    connection
}

/// The sealed photographs in the order of their exams.
fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let connection = database(folder);
    let mut statement =
        connection.prepare("SELECT uid, sealed_file FROM exams ORDER BY sequence").unwrap();
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).unwrap();
    rows.map(|row| row.map(|(uid, name)| (uid, folder.join("journal/sealed").join(name))).unwrap())
        .collect()
}

#[test]
fn every_byte_of_a_sealed_photograph_counts() {
    let folder = tempfile::tempdir().unwrap();
    journal(folder.path());
    assert_eq!(damage(folder.path()), None);
    let (exam, file) = files(folder.path()).remove(1);
    let bytes = std::fs::read(&file).unwrap();
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 0x10;
        std::fs::write(&file, &altered).unwrap();
        assert_photograph(damage(folder.path()), &exam, "was altered");
    }
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    assert_photograph(damage(folder.path()), &exam, "was altered");
    std::fs::remove_file(&file).unwrap();
    assert_photograph(damage(folder.path()), &exam, "is missing");
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(damage(folder.path()), None);
}

fn assert_photograph(damage: Option<Damage>, of: &str, expected: &str) {
    match damage {
        Some(Damage::Photograph { exam, what, .. }) => assert_eq!((&*exam, what), (of, expected)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn swapped_photographs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    journal(folder.path());
    let files = files(folder.path());
    let [(first, one), (_, two)] = &files[..2] else { panic!("{files:?}") };
    // The files' contents.
    let aside = folder.path().join("aside");
    let swap = || {
        std::fs::rename(one, &aside).unwrap();
        std::fs::rename(two, one).unwrap();
        std::fs::rename(&aside, two).unwrap();
    };
    swap();
    assert_photograph(damage(folder.path()), first, "was altered");
    swap();
    // Their names in the database.
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let (a, b) = (name(one), name(two));
    let connection = database(folder.path());
    for (sql, values) in [
        ("UPDATE exams SET sealed_file = NULL WHERE uid = ?1 AND sealed_file <> ?2", [first, &b]),
        ("UPDATE exams SET sealed_file = ?1 WHERE sealed_file = ?2", [&a, &b]),
        ("UPDATE exams SET sealed_file = ?2 WHERE uid = ?1", [first, &b]),
    ] {
        assert_eq!(connection.execute(sql, values).unwrap(), 1);
    }
    match damage(folder.path()) {
        Some(Damage::Record { table: "exams", what: "was altered", .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_value_of_every_record_counts() {
    let folder = tempfile::tempdir().unwrap();
    journal(folder.path());
    let connection = database(folder.path());
    let altered = |column: &str| {
        format!(
            "CASE typeof({column}) WHEN 'text' THEN {column} || 'x' WHEN 'integer' THEN {column} + 100 \
             WHEN 'blob' THEN zeroblob(length({column})) ELSE NULL END"
        )
    };
    // Counters of tries are not vouched for: they change too often to fill the audit with.
    let free = ["id", "failures", "failed_at", "attempts", "next_try", "last_error"];
    let mut tried = 0;
    for table in ["vault", "operators", "visits", "exams", "outbox"] {
        for column in columns(&connection, table) {
            let null = format!("SELECT min({column}) IS NULL FROM {table}");
            if (free.contains(&&*column) && !(table == "outbox" && column == "id"))
                || connection.query_row(&null, (), |row| row.get::<_, bool>(0)).unwrap()
            {
                continue;
            }
            connection.execute_batch("SAVEPOINT before").unwrap();
            let sql = format!(
                "UPDATE {table} SET {column} = {} WHERE rowid = (SELECT min(rowid) FROM {table} WHERE \
                 {column} IS NOT NULL)",
                altered(&column)
            );
            assert_eq!(connection.execute(&sql, ()).unwrap(), 1, "{table}.{column}");
            connection.execute_batch("RELEASE before").unwrap();
            let found =
                damage(folder.path()).unwrap_or_else(|| panic!("{table}.{column}: unnoticed"));
            let named = found.to_string();
            // A visit that lost its exams shows there first.
            assert!(named.contains(table) || named.contains("exams"), "{table}.{column}: {named}");
            undo(folder.path(), &connection);
            tried += 1;
        }
    }
    assert_eq!(tried, 4 + 5 + 10 + 12 + 5, "columns");
    // Rows removed and rows put in.
    for (sql, what) in [
        ("DELETE FROM outbox WHERE sequence = 1", "is missing"),
        ("DELETE FROM operators", "is missing"),
        (
            "INSERT INTO operators VALUES ('Eve', x'00', 64, 1, x'00', 0, NULL)",
            "is not in the audit",
        ),
    ] {
        connection.execute(sql, ()).unwrap();
        match damage(folder.path()) {
            Some(Damage::Record { what: found, .. }) => assert_eq!(found, what, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
        undo(folder.path(), &connection);
    }
}

fn columns(connection: &Connection, table: &str) -> Vec<String> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
    let names = statement.query_map([table], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

/// Brings every table but the audit back from the copy.
fn undo(folder: &Path, connection: &Connection) {
    let copy = folder.join("copy.db");
    connection.execute("ATTACH ?1 AS copy", [copy.to_str().unwrap()]).unwrap();
    for table in ["vault", "operators", "visits", "exams", "outbox"] {
        let sql = format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM copy.{table};");
        connection.execute_batch(&sql).unwrap();
    }
    connection.execute_batch("DETACH copy").unwrap();
    assert_eq!(damage(folder), None);
}

#[test]
fn the_audit_is_append_only() {
    let folder = tempfile::tempdir().unwrap();
    journal(folder.path());
    let connection = database(folder.path());
    for sql in [
        "UPDATE audit SET at = 'never' WHERE sequence = 2",
        "DELETE FROM audit WHERE sequence = 2",
        "INSERT OR REPLACE INTO audit SELECT sequence, 'never', operator, action, table_name, subject, \
         row_sha256, details, prev, hash FROM audit WHERE sequence = 2",
    ] {
        let error = connection.execute(sql, ()).unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    assert_eq!(damage(folder.path()), None);
}

/// What somebody does who may write the file: the triggers go and come back.
fn against_triggers(folder: &Path, sql: &str) -> Option<Damage> {
    let connection = database(folder);
    let mut statement =
        connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let triggers: Vec<(String, String)> = rows.collect::<Result<_, _>>().unwrap();
    for (name, _) in &triggers {
        connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        assert!(matches!(damage(folder), Some(Damage::Definition(_))), "without {name}");
    }
    connection.execute_batch(sql).unwrap();
    for (_, sql) in &triggers {
        connection.execute_batch(sql).unwrap();
    }
    damage(folder)
}

#[test]
fn an_altered_audit_is_named_where_it_was_altered() {
    let altered: [(&str, i64, &str); 6] = [
        ("UPDATE audit SET at = '2020-01-01T00:00:00Z' WHERE sequence = 4", 4, "was altered"),
        ("UPDATE audit SET operator = NULL WHERE sequence = 4", 4, "was altered"),
        ("UPDATE audit SET row_sha256 = zeroblob(32) WHERE sequence = 4", 4, "was altered"),
        ("UPDATE audit SET hash = zeroblob(32) WHERE sequence = 4", 4, "was altered"),
        (
            "UPDATE audit SET prev = zeroblob(32) WHERE sequence = 4",
            4,
            "is not chained to the row before",
        ),
        (
            "DELETE FROM audit WHERE sequence = 4",
            5,
            "does not follow the row before: rows are missing",
        ),
    ];
    for (sql, sequence, what) in altered {
        let folder = tempfile::tempdir().unwrap();
        journal(folder.path());
        let expected = Some(Damage::Chain { sequence, what });
        assert_eq!(against_triggers(folder.path(), sql), expected, "{sql}");
    }
}

#[test]
fn a_truncated_audit_shows_in_the_records_or_against_a_printed_head() {
    let folder = tempfile::tempdir().unwrap();
    journal(folder.path());
    let locked = || Reader::open_locked(&folder.path().join("journal")).unwrap();
    let printed = locked().head().unwrap();
    assert_eq!(locked().verify(Some(printed)).unwrap().head, printed);
    // The last thing that happened was the acknowledgement.
    let sql = "DELETE FROM audit WHERE sequence = (SELECT max(sequence) FROM audit)";
    match against_triggers(folder.path(), sql) {
        Some(Damage::Record { table: "outbox", what: "was altered", .. }) => {}
        other => panic!("{other:?}"),
    }
    // With the record made to fit, only the printed head tells.
    let sql = "UPDATE outbox SET receipt = NULL, acknowledged_at = NULL";
    database(folder.path()).execute(sql, ()).unwrap();
    assert_eq!(damage(folder.path()), None);
    let error = locked().verify(Some(printed)).unwrap_err();
    assert!(matches!(error, VerifyError::Damaged(Damage::Head)), "{error}");
    // And the journal goes on: the head printed before is still missed afterwards.
    let journal = unlocked(folder.path());
    journal.begin_visit(&visit(9)).unwrap();
    assert!(journal.reader().unwrap().verify(Some(printed)).is_err());
}

#[test]
fn a_flipped_bit_anywhere_in_the_database_is_named_or_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    journal(folder.path());
    let path = folder.path().join("journal/journal.db");
    let whole = std::fs::read(&path).unwrap();
    let all = read_all(&unlocked(folder.path())).unwrap();
    // Opening it added to the audit.
    std::fs::write(&path, &whole).unwrap();
    let (mut named, mut harmless) = (0, 0);
    for place in (0..whole.len()).step_by(173) {
        let mut altered = whole.clone();
        altered[place] ^= 0x04;
        std::fs::write(&path, &altered).unwrap();
        let verified = Reader::open_locked(&folder.path().join("journal"))
            .map_err(VerifyError::from)
            .and_then(|reader| reader.verify(None));
        if verified.is_err() {
            named += 1;
            continue;
        }
        harmless += 1;
        let read = Journal::open(settings(
            folder.path(),
            &HandClock::at(MORNING),
            Box::new(glaucoma_records::disk::SystemDisk),
        ))
        .ok()
        .and_then(|journal| {
            journal.unlock(OPERATOR, PIN).unwrap();
            read_all(&journal)
        });
        assert!(read.as_ref() == Some(&all), "byte {place} altered unnoticed");
    }
    println!("{named} flipped bits named, {harmless} where nothing is kept");
    assert!(named > 20, "most of what is kept was not met");
}

/// Every visit of the journal, its exams and their photographs.
fn read_all(journal: &Journal) -> Option<String> {
    let reader = journal.reader().ok()?;
    let visits = reader.visits_in(period(86_400)).ok()?;
    let exams = visits.iter().flat_map(|recorded| &recorded.visit.exams);
    let photographs: Vec<_> =
        exams.map(|exam| reader.photograph(&exam.uid).ok().map(|bytes| bytes.to_vec())).collect();
    Some(format!("{visits:?} {photographs:?}"))
}
