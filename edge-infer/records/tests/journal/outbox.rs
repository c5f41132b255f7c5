//! Deliveries: queued with the decision, tried again, acknowledged once, and the photographs deleted after.

use std::time::Duration;

use glaucoma_records::journal::DeliveryKind::{DicomImage, FhirBundle};
use glaucoma_records::journal::{Journal, JournalError, LEASE_S};
use glaucoma_records::visit::{Decision, Uid};

use crate::support::*;

/// A journal with one decided visit of two exams, 0 and 1, all queued.
fn decided(folder: &std::path::Path, clock: &HandClock) -> Journal {
    drop(found(folder));
    let journal = open_at(folder, clock).unwrap();
    journal.unlock(OPERATOR, PIN).unwrap();
    journal.begin_visit(&visit(0)).unwrap();
    examine(&journal, &visit(0), 0, 500).unwrap();
    examine(&journal, &visit(0), 1, 500).unwrap();
    let kinds = [DicomImage, FhirBundle];
    journal.decide_visit(&visit(0).uid, &Decision::NotSuspected, &kinds).unwrap();
    journal
}

fn exam_uid(number: u64) -> Uid {
    exam(number, glaucoma_common::reading::Laterality::Left, &[]).uid
}

fn waiting(journal: &Journal) -> u64 {
    journal.reader().unwrap().waiting().unwrap()
}

#[test]
fn a_delivery_is_claimed_fails_waits_and_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::at(MORNING);
    let journal = decided(folder.path(), &clock);
    assert_eq!(waiting(&journal), 3);
    let claimed: Vec<_> = (0..3).map(|_| journal.claim().unwrap().unwrap()).collect();
    let ids: Vec<_> = claimed.iter().map(|delivery| (delivery.kind, delivery.id.clone())).collect();
    let expected =
        [(DicomImage, exam_uid(0)), (DicomImage, exam_uid(1)), (FhirBundle, visit(0).uid)];
    assert_eq!(ids, expected);
    assert_eq!(journal.claim().unwrap(), None, "claimed by somebody");
    // Whoever claimed and died loses it after a while.
    clock.pass(LEASE_S);
    assert_eq!(journal.claim().unwrap().map(|d| (d.id, d.attempts)), Some((exam_uid(0), 2)));
    journal.acknowledge(DicomImage, &exam_uid(0), "stored").unwrap();
    journal.acknowledge(FhirBundle, &visit(0).uid, "201 Created").unwrap();
    assert_eq!(waiting(&journal), 1);
    // What fails waits as long as is said, at most a day, or until somebody is in a hurry.
    let mut delivery = journal.claim().unwrap().unwrap();
    let day = 86_400;
    for (wait, held) in [(45, 45), (3600, 3600), (10 * day, day)] {
        assert_eq!(delivery.id, exam_uid(1));
        let wait = Duration::from_secs(wait);
        journal.fail(delivery.kind, &delivery.id, "no route to host", wait).unwrap();
        clock.pass(held - 1);
        assert_eq!(journal.claim().unwrap(), None, "a second too early");
        clock.pass(1);
        delivery = journal.claim().unwrap().unwrap();
    }
    let hour = Duration::from_secs(3600);
    journal.fail(delivery.kind, &delivery.id, "no route to host", hour).unwrap();
    journal.hurry().unwrap();
    assert_eq!(journal.claim().unwrap().map(|d| (d.id, d.attempts)), Some((exam_uid(1), 6)));
    journal.acknowledge(DicomImage, &exam_uid(1), "stored").unwrap();
    let again = journal.acknowledge(DicomImage, &exam_uid(1), "stored");
    assert!(matches!(again, Err(JournalError::NoDelivery(_))));
    let failed = journal.fail(DicomImage, &exam_uid(9), "", hour);
    assert!(matches!(failed, Err(JournalError::NoDelivery(_))));
    journal.queue(DicomImage, &exam_uid(1)).unwrap();
    assert_eq!(waiting(&journal), 0, "what arrived is not queued again");
    assert!(matches!(journal.queue(DicomImage, &exam_uid(9)), Err(JournalError::NoExam(_))));
    assert!(matches!(journal.queue(FhirBundle, &exam_uid(0)), Err(JournalError::NoVisit(_))));
    assert_eq!(journal.claim().unwrap(), None);
    journal.reader().unwrap().verify(None).unwrap();
}

/// What was photographed before a visit was closed is delivered, and goes after it, as after a decision.
#[test]
fn a_closed_visit_is_delivered_and_its_photographs_go() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::at(MORNING);
    drop(found(folder.path()));
    let journal = open_at(folder.path(), &clock).unwrap();
    journal.unlock(OPERATOR, PIN).unwrap();
    for number in 0..2 {
        journal.begin_visit(&visit(number)).unwrap();
    }
    examine(&journal, &visit(0), 0, 500).unwrap();
    let kinds = [DicomImage, FhirBundle];
    for number in [0, 1, 0] {
        journal.close_visit(&visit(number).uid, &kinds).unwrap();
    }
    assert_eq!(waiting(&journal), 2, "nobody was photographed in the other");
    journal.acknowledge(DicomImage, &exam_uid(0), "stored").unwrap();
    clock.pass(30 * 86_400);
    assert_eq!(journal.retire_photographs(7).unwrap(), 0, "the visit has not arrived");
    journal.acknowledge(FhirBundle, &visit(0).uid, "201 Created").unwrap();
    clock.pass(7 * 86_400);
    assert_eq!(journal.retire_photographs(7).unwrap(), 1);
    let closed = journal.reader().unwrap().visit(&visit(0).uid).unwrap();
    assert_eq!((closed.closed_at.is_some(), closed.visit.exams.len()), (true, 1));
    journal.reader().unwrap().verify(None).unwrap();
}

#[test]
fn a_photograph_goes_some_days_after_the_last_acknowledgement() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::at(MORNING);
    let journal = decided(folder.path(), &clock);
    let day = 86_400;
    journal.acknowledge(DicomImage, &exam_uid(0), "stored").unwrap();
    clock.pass(30 * day);
    assert_eq!(journal.retire_photographs(7).unwrap(), 0, "its visit has not arrived");
    journal.acknowledge(FhirBundle, &visit(0).uid, "201 Created").unwrap();
    clock.pass(7 * day - 1);
    assert_eq!(journal.retire_photographs(7).unwrap(), 0, "a second too early");
    clock.pass(1);
    assert_eq!(journal.retire_photographs(7).unwrap(), 1, "the other has not arrived");
    assert_eq!(journal.retire_photographs(7).unwrap(), 0, "once");
    let reader = journal.reader().unwrap();
    assert!(matches!(reader.photograph(&exam_uid(0)), Err(JournalError::Retired(_))));
    assert_eq!(*reader.photograph(&exam_uid(1)).unwrap(), photograph(1, 500));
    // The exam and its result stay.
    assert_eq!(reader.visit(&visit(0).uid).unwrap().visit.exams.len(), 2);
    let verified = reader.verify(None).unwrap();
    assert_eq!((verified.photographs, verified.unnamed_files), (1, 0));
    assert_eq!(std::fs::read_dir(folder.path().join("journal/sealed")).unwrap().count(), 1);
    // And the audit says so.
    let database = rusqlite::Connection::open(folder.path().join("journal/journal.db")).unwrap();
    let sql = "SELECT subject, details FROM audit WHERE action = 'photograph_deleted'";
    let (subject, file): (String, String) =
        database.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!((subject, file.len()), (exam_uid(0).0, 64));
}
