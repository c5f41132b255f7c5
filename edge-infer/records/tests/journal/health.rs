//! What is told of a journal from outside, while its writer is at work.

use glaucoma_records::journal::DeliveryKind::{DicomImage, FhirBundle};
use glaucoma_records::journal::{Reader, State, Undelivered, state};
use glaucoma_records::visit::Decision;

use crate::support::*;

#[test]
fn the_lock_tells_whether_a_program_writes() {
    let folder = tempfile::tempdir().unwrap();
    let journal_folder = folder.path().join("journal");
    assert_eq!(state(&journal_folder).unwrap(), State::Absent);
    let journal = found(folder.path());
    assert_eq!(state(&journal_folder).unwrap(), State::InUse);
    drop(journal);
    assert_eq!(state(&journal_folder).unwrap(), State::Closed);
    // The look has left nothing behind: it can be opened.
    drop(open(folder.path()).unwrap());
    std::fs::remove_file(journal_folder.join("journal.lock")).unwrap();
    assert_eq!(state(&journal_folder).unwrap(), State::Closed);
}

#[test]
fn what_waits_is_told_while_the_journal_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let journal = found(folder.path());
    let undelivered =
        || Reader::open_locked(&folder.path().join("journal")).unwrap().undelivered().unwrap();
    assert_eq!(undelivered(), Undelivered::default());
    journal.begin_visit(&visit(3)).unwrap();
    let exam = examine(&journal, &visit(3), 0, 500).unwrap();
    let kinds = [DicomImage, FhirBundle];
    journal.decide_visit(&visit(3).uid, &Decision::NotSuspected, &kinds).unwrap();
    let waits = Undelivered { waiting: 2, oldest: Some(exam.taken_at), last_error: None };
    assert_eq!(undelivered(), waits);

    let database = rusqlite::Connection::open(folder.path().join("journal/journal.db")).unwrap();
    let failing = "UPDATE outbox SET last_error = 'no route to host' WHERE kind = 'fhir_bundle'";
    database.execute(failing, ()).unwrap();
    let last_error = Some("no route to host".to_owned());
    assert_eq!(undelivered(), Undelivered { last_error: last_error.clone(), ..waits });

    journal.acknowledge(DicomImage, &exam.uid, "stored").unwrap();
    let oldest = Some(visit(3).begun_at);
    assert_eq!(undelivered(), Undelivered { waiting: 1, oldest, last_error });
    journal.acknowledge(FhirBundle, &visit(3).uid, "201 Created").unwrap();
    assert_eq!(undelivered(), Undelivered::default());
}
