//! A journal whose tables are those of an earlier version (`tests/golden/journal-1`) is read, verified, continued.

use std::path::{Path, PathBuf};

use glaucoma_common::reading::Laterality;
use glaucoma_records::disk::{Disk, SystemDisk};
use glaucoma_records::journal::{Damage, JournalError, Reader, VerifyError};
use rusqlite::Connection;

use crate::support::*;

/// Lays the journal into `folder` as the earlier program left it.
fn lay(folder: &Path) {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal-1");
    let sealed = folder.join("journal/sealed");
    std::fs::create_dir_all(&sealed).unwrap();
    for entry in std::fs::read_dir(&golden).unwrap() {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        let to = match name.to_str().unwrap() {
            "journal.sql" => continue,
            "device.secret" => folder.join(name),
            _ => sealed.join(name),
        };
        // As the program does, for its owner alone: a checkout does not keep who may read a file.
        SystemDisk.write(&to, &std::fs::read(from).unwrap()).unwrap();
    }
    let sql = std::fs::read_to_string(golden.join("journal.sql")).unwrap();
    database(folder).execute_batch(&sql).unwrap();
}

fn database(folder: &Path) -> Connection {
    Connection::open(folder.join("journal/journal.db")).unwrap()
}

#[test]
fn an_older_journal_is_read_verified_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    lay(folder.path());
    let locked = || Reader::open_locked(&folder.path().join("journal"));
    assert!(matches!(locked(), Err(JournalError::Older { found: 1, known: 4 })));

    let journal = unlocked(folder.path());
    let verified = journal.reader().unwrap().verify(None).unwrap();
    assert_eq!((verified.photographs, verified.opened), (2, true));
    let recorded = journal.reader().unwrap().visit(&visit(1).uid).unwrap().visit;
    assert_eq!(recorded.exams[0].burned_in, None);
    assert!(recorded.exams[0].eye_confirmed);
    assert_eq!(recorded.person, visit(1).person);
    // Its audit says who decided, which no column did.
    assert_eq!(recorded.decided_by.as_deref(), Some(OPERATOR));

    // Its visits go on, or are closed, as new ones are.
    let open = journal.reader().unwrap().open_visits().unwrap();
    for recorded in &open {
        assert_eq!(recorded.closed_at, None);
        journal.close_visit(&recorded.visit.uid, &[]).unwrap();
    }
    assert_eq!(
        journal.reader().unwrap().summary(period(86_400)).unwrap().closed,
        open.len() as u64
    );
    journal.begin_visit(&visit(2)).unwrap();
    for (number, burned_in) in [(3, Some(true)), (4, Some(false)), (5, None)] {
        let bytes = photograph(number, 100);
        let mut exam = exam(number, Laterality::Left, &bytes);
        exam.burned_in = burned_in;
        journal.record_exam(&visit(2).uid, &exam, bytes).unwrap();
    }
    let exams = journal.reader().unwrap().visit(&visit(2).uid).unwrap().visit.exams;
    let said: Vec<_> = exams.iter().map(|exam| exam.burned_in).collect();
    assert_eq!(said, [Some(true), Some(false), None]);
    locked().unwrap().verify(None).unwrap();
    drop(journal);

    // What the hash leaves out where it is NULL is vouched for all the same.
    for (change, back) in [("NULL", "1"), ("0", "1")] {
        let set = |value: &str| {
            let sql = format!("UPDATE exams SET burned_in = {value} WHERE sequence = 3");
            assert_eq!(database(folder.path()).execute(&sql, ()).unwrap(), 1);
        };
        set(change);
        assert_altered(locked().unwrap().verify(None).unwrap_err());
        set(back);
    }
    let sql = "UPDATE exams SET burned_in = 0 WHERE sequence = 1";
    assert_eq!(database(folder.path()).execute(sql, ()).unwrap(), 1);
    assert_altered(locked().unwrap().verify(None).unwrap_err());
}

fn assert_altered(error: VerifyError) {
    let VerifyError::Damaged(Damage::Record { table: "exams", what: "was altered", .. }) = error
    else {
        panic!("{error}")
    };
}
