//! A camp's day: recorded, found again, counted; two at once; a clock that jumps; 500 visits.

use std::time::Instant;

use glaucoma_common::reading::Laterality;
use glaucoma_records::clock::Timestamp;
use glaucoma_records::journal::{DeliveryKind, JournalError, Reader, Summary};
use glaucoma_records::visit::{
    Decision, EyeExam, EyeWithoutPhotograph, Finding, NoPhotograph, Sex, Uid, Visit,
};

use crate::power::{in_child, output_of};
use crate::support::*;

fn refer(reason: &str) -> Decision {
    Decision::Refer { reasons: vec![reason.to_owned()] }
}

#[test]
fn what_is_recorded_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let journal = found(folder.path());
    let mut one = visit(1);
    one.note = Some("came with her sister".into());
    journal.begin_visit(&one).unwrap();
    let bytes = photograph(1, 5000);
    let graded = EyeExam { eye_seen: Some(Laterality::Left), ..exam(1, Laterality::Right, &bytes) };
    journal.record_exam(&one.uid, &graded, bytes.clone()).unwrap();
    journal.confirm_eye(&graded.uid).unwrap();
    let again = EyeExam {
        finding: Finding::Retake { reasons: vec!["focus".into()] },
        ..exam(2, Laterality::Left, &[7])
    };
    journal.record_exam(&one.uid, &again, vec![7]).unwrap();
    one.person.sex = Sex::Other;
    one.person.id = "P-corrected".into();
    one.without_photograph =
        vec![EyeWithoutPhotograph { eye: Laterality::Left, why: NoPhotograph::NotPossible }];
    journal.amend_visit(&one).unwrap();
    journal.decide_visit(&one.uid, &refer("not_photographed_left"), &[]).unwrap();
    drop(journal);

    let reader = unlocked(folder.path()).reader().unwrap();
    let confirmed = EyeExam { eye_confirmed: true, ..graded };
    let expected = Visit {
        exams: vec![confirmed.clone(), again],
        decision: Some(refer("not_photographed_left")),
        decided_by: Some(OPERATOR.into()),
        ..one.clone()
    };
    let read = reader.visit(&one.uid).unwrap();
    assert_eq!((read.sequence, &read.visit), (1, &expected));
    assert_eq!(reader.visits_of("P-corrected").unwrap(), [read]);
    assert_eq!(reader.visits_of("P-0001").unwrap(), []);
    assert_eq!(*reader.photograph(&confirmed.uid).unwrap(), bytes);
    assert!(reader.verify(None).unwrap().opened);
}

#[test]
fn what_cannot_be_recorded_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = found(folder.path());
    let (one, bytes) = (visit(1), photograph(1, 100));
    let fine = exam(1, Laterality::Right, &bytes);
    let record = |exam: &EyeExam| journal.record_exam(&one.uid, exam, bytes.clone());
    assert!(matches!(record(&fine), Err(JournalError::NoVisit(_))));
    journal.begin_visit(&one).unwrap();
    assert!(matches!(journal.begin_visit(&one), Err(JournalError::Exists(_))));
    let nobody = Visit { uid: Uid("2.25.9".into()), ..one.clone() };
    let nobody = Visit {
        person: glaucoma_records::visit::Person { id: String::new(), ..nobody.person.clone() },
        ..nobody
    };
    assert!(matches!(journal.begin_visit(&nobody), Err(JournalError::NotNew(_))));
    let other = EyeExam { photograph_sha256: "00".repeat(32), ..fine.clone() };
    assert!(matches!(record(&other), Err(JournalError::OtherPhotograph(_))));
    let undated = EyeExam { taken_at: "yesterday".into(), ..fine.clone() };
    assert!(matches!(record(&undated), Err(JournalError::Time(_))));
    let no_number =
        Finding::Graded { probability: f64::NAN, threshold: 0.5, vcdr: 0.5, vcdr_interval: None };
    let no_number = EyeExam { finding: no_number, ..fine.clone() };
    assert!(matches!(record(&no_number), Err(JournalError::Json(_))));
    record(&fine).unwrap();
    assert!(matches!(record(&fine), Err(JournalError::Exists(_))));
    journal.decide_visit(&one.uid, &Decision::NotSuspected, &[]).unwrap();
    journal.decide_visit(&one.uid, &Decision::NotSuspected, &[]).unwrap();
    let other = journal.decide_visit(&one.uid, &refer("asymmetry"), &[]);
    assert!(matches!(other, Err(JournalError::Decided(_))));
    let late = examine(&journal, &one, 2, 100);
    assert!(matches!(late, Err(JournalError::Decided(_))));
    assert!(matches!(journal.confirm_eye(&fine.uid), Err(JournalError::Decided(_))));
    let verified = journal.reader().unwrap().verify(None).unwrap();
    // The key, the operator, the visit, the exam; and one file.
    assert_eq!((verified.records, verified.photographs, verified.unnamed_files), (4, 1, 0));
    assert!(matches!(open(folder.path()), Err(JournalError::InUse(_))));
}

#[test]
fn who_registered_and_who_decided_are_both_recorded() {
    const OTHER: &str = "Biru";
    let folder = tempfile::tempdir().unwrap();
    let journal = found(folder.path());
    journal.add_operator(OTHER, "314159").unwrap();
    for number in 0..2 {
        journal.begin_visit(&visit(number)).unwrap();
    }
    journal.decide_visit(&visit(0).uid, &Decision::NotSuspected, &[]).unwrap();
    journal.unlock(OTHER, "314159").unwrap();
    let of = |number: u64| journal.reader().unwrap().visit(&visit(number).uid).unwrap().visit;
    assert_eq!((of(1).decided_by.as_deref(), of(1).answers()), (None, OPERATOR));
    journal.decide_visit(&visit(1).uid, &Decision::NotSuspected, &[]).unwrap();
    // Saying it once more is no new decision.
    journal.decide_visit(&visit(0).uid, &Decision::NotSuspected, &[]).unwrap();
    let named = [0, 1].map(|number| (of(number).operator, of(number).decided_by.unwrap()));
    let expected = [(OPERATOR, OPERATOR), (OPERATOR, OTHER)];
    assert_eq!(named, expected.map(|(one, other)| (one.to_owned(), other.to_owned())));
    assert_eq!(of(1).answers(), OTHER);
    journal.reader().unwrap().verify(None).unwrap();
}

#[test]
fn a_visit_is_closed_without_a_decision_once_and_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let journal = found(folder.path());
    for number in 0..4 {
        journal.begin_visit(&visit(number)).unwrap();
    }
    examine(&journal, &visit(0), 1, 100).unwrap();
    let exam = examine(&journal, &visit(1), 2, 100).unwrap();
    journal.decide_visit(&visit(2).uid, &Decision::NotSuspected, &[]).unwrap();
    let open = || {
        let open = journal.reader().unwrap().open_visits().unwrap();
        open.into_iter().map(|recorded| recorded.visit.person.id).collect::<Vec<_>>()
    };
    assert_eq!(open(), ["P-0000", "P-0001", "P-0003"]);
    journal.close_visit(&visit(1).uid, &[]).unwrap();
    let rows = journal.reader().unwrap().verify(None).unwrap().audit_rows;
    journal.close_visit(&visit(1).uid, &[]).unwrap();
    assert_eq!(journal.reader().unwrap().verify(None).unwrap().audit_rows, rows);
    assert_eq!(open(), ["P-0000", "P-0003"]);
    let closed = journal.reader().unwrap().visit(&visit(1).uid).unwrap();
    assert_eq!(closed.closed_at.as_deref(), Some("2026-05-01T09:30:00Z"));
    assert_eq!((closed.visit.exams.len(), closed.visit.decision), (1, None));

    let database = rusqlite::Connection::open(folder.path().join("journal/journal.db")).unwrap();
    let sql = "SELECT operator, subject FROM audit WHERE action = 'visit_closed'";
    let row = |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?));
    let noted: (String, String) = database.query_row(sql, (), row).unwrap();
    assert_eq!(noted, (OPERATOR.to_owned(), visit(1).uid.0));

    // A photograph that stayed without a person is noted as well.
    journal.leave_out(&["ab".repeat(32)]).unwrap();
    let sql = "SELECT operator, details FROM audit WHERE action = 'photograph_left_out'";
    let noted: (String, String) = database.query_row(sql, (), row).unwrap();
    assert_eq!(noted, (OPERATOR.to_owned(), "ab".repeat(32)));

    let refused = |answer: Result<(), JournalError>| {
        assert!(matches!(answer, Err(JournalError::Closed(_))), "{answer:?}");
    };
    refused(examine(&journal, &visit(1), 3, 100).map(drop));
    refused(journal.confirm_eye(&exam.uid));
    refused(journal.decide_visit(&visit(1).uid, &Decision::NotSuspected, &[]));
    let decided = journal.close_visit(&visit(2).uid, &[]);
    assert!(matches!(decided, Err(JournalError::Decided(_))), "{decided:?}");
    assert!(matches!(journal.close_visit(&visit(9).uid, &[]), Err(JournalError::NoVisit(_))));
    let counts = journal.reader().unwrap().summary(period(86_400)).unwrap();
    assert_eq!((counts.visits, counts.examined, counts.open, counts.closed), (4, 1, 2, 1));
    journal.lock().unwrap();
    assert!(matches!(journal.close_visit(&visit(0).uid, &[]), Err(JournalError::Locked)));
}

#[test]
fn a_locked_journal_counts_and_says_nothing_of_anybody() {
    let folder = tempfile::tempdir().unwrap();
    let journal = found(folder.path());
    let one = visit(1);
    journal.begin_visit(&one).unwrap();
    examine(&journal, &one, 1, 3000).unwrap();
    journal.lock().unwrap();
    assert!(matches!(journal.begin_visit(&visit(2)), Err(JournalError::Locked)));
    assert!(matches!(examine(&journal, &one, 2, 10), Err(JournalError::Locked)));
    let reader = Reader::open_locked(&folder.path().join("journal")).unwrap();
    assert!(matches!(reader.visit(&one.uid), Err(JournalError::Locked)));
    assert!(matches!(reader.visits_of("P-0001"), Err(JournalError::Locked)));
    assert_eq!(reader.summary(period(86_400)).unwrap().visits, 1);
    assert!(!reader.verify(None).unwrap().opened);
    drop((reader, journal));
    // Nor do the files.
    for entry in walk(folder.path()) {
        let bytes = std::fs::read(&entry).unwrap();
        for secret in [b"P-0001".as_slice(), b"Somebody", &photograph(1, 3000)[..16]] {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{} holds {secret:?}", entry.display());
        }
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_day_in_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let journal = found(folder.path());
    let decisions = [
        Some(Decision::NotSuspected),
        Some(refer("suspected_left")),
        Some(refer("ungradable_right")),
        None,
    ];
    for (number, decision) in (0..).zip(&decisions) {
        let visit = visit(number);
        journal.begin_visit(&visit).unwrap();
        for exam in 0..=number {
            let (number, bytes) = (10 * number + exam, photograph(number, 50));
            let mut exam = self::exam(number, Laterality::Right, &bytes);
            if number % 10 > 0 {
                exam.finding = Finding::Retake { reasons: vec!["light".into()] };
            }
            journal.record_exam(&visit.uid, &exam, bytes).unwrap();
        }
        if let Some(decision) = decision {
            journal.decide_visit(&visit.uid, decision, &[]).unwrap();
        }
    }
    let reader = journal.reader().unwrap();
    let whole = Summary {
        visits: 4,
        examined: 3,
        referred: 2,
        ungradable: 1,
        open: 1,
        closed: 0,
        photographs: 1 + 2 + 3 + 4,
        retakes: 1 + 2 + 3,
    };
    assert_eq!(reader.summary(period(86_400)).unwrap(), whole);
    // The visits begin a minute apart; the end is not in it.
    let first = Summary { visits: 1, examined: 1, photographs: 1, ..Summary::default() };
    assert_eq!(reader.summary(period(60)).unwrap(), first);
    assert_eq!(reader.visits_in(period(120)).unwrap().len(), 2);
    assert_eq!(reader.summary(period(0)).unwrap(), Summary::default());
}

#[test]
fn two_visits_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let journal = found(folder.path());
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..10 {
                    let number = 100 * thread + number;
                    let visit = visit(number);
                    journal.begin_visit(&visit).unwrap();
                    examine(journal, &visit, 2 * number, 20_000).unwrap();
                    examine(journal, &visit, 2 * number + 1, 20_000).unwrap();
                    journal.decide_visit(&visit.uid, &Decision::NotSuspected, &[]).unwrap();
                    // Whoever was answered finds what was recorded.
                    let reader = journal.reader().unwrap();
                    assert_eq!(reader.visit(&visit.uid).unwrap().visit.exams.len(), 2);
                }
            });
        }
    });
    let reader = journal.reader().unwrap();
    assert_eq!(reader.verify(None).unwrap().photographs, 40);
    for thread in 0..2 {
        let of_thread: Vec<i64> = (0..10)
            .map(|number| reader.visit(&visit(100 * thread + number).uid).unwrap().sequence)
            .collect();
        assert!(of_thread.is_sorted(), "{of_thread:?}");
    }
}

#[test]
fn a_clock_that_jumps_changes_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::at(MORNING);
    drop(found(folder.path()));
    let journal = open_at(folder.path(), &clock).unwrap();
    journal.unlock(OPERATOR, PIN).unwrap();
    let day = 86_400;
    // A year ahead, back before 1970's first day is over, to the last second there is, and right again.
    for (number, now) in (0..).zip([MORNING, MORNING + 365 * day, 5, u64::MAX, MORNING]) {
        clock.set(now);
        let begun_at = Timestamp::from_seconds(now).to_string();
        let visit = Visit { begun_at, person: visit(7).person, ..visit(number) };
        journal.begin_visit(&visit).unwrap();
        examine(&journal, &visit, number, 100).unwrap();
        journal
            .decide_visit(&visit.uid, &Decision::NotSuspected, &[DeliveryKind::DicomImage])
            .unwrap();
    }
    let reader = journal.reader().unwrap();
    let found = reader.visits_of("P-0007").unwrap();
    let order: Vec<_> = found.iter().map(|recorded| recorded.visit.uid.clone()).collect();
    assert_eq!(order, (0..5).map(|number| visit(number).uid).collect::<Vec<_>>());
    // Deliveries as well: one that was queued in a far future is due all the same.
    for number in 0..5 {
        let delivery = journal.claim().unwrap().unwrap();
        assert_eq!(delivery.id, exam(number, Laterality::Right, &[]).uid);
        journal.acknowledge(delivery.kind, &delivery.id, "ok").unwrap();
    }
    reader.verify(None).unwrap();
}

const DAY_FOLDER: &str = "RECORDS_DAY";

#[test]
fn five_hundred_visits_take_no_more_memory_than_fifty() {
    if let Some(folder) = in_child(DAY_FOLDER) {
        return replay_day(&folder);
    }
    // In memory, where there is such a folder: what is measured is this process, not the disk.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    drop(found(folder.path()));
    let name = "camp::five_hundred_visits_take_no_more_memory_than_fifty";
    let said = output_of(name, &[(DAY_FOLDER, folder.path().to_str().unwrap())]);
    print!("{said}");
    let peak = |visits: &str| -> u64 {
        let line = said.lines().find_map(|line| line.strip_prefix(visits)).unwrap();
        line.trim_end_matches(" KiB").parse().unwrap()
    };
    let (early, late) = (peak("peak after 50: "), peak("peak after 500: "));
    // SQLite's cache fills to its 2 MiB.
    assert!(late < early + 4096, "peak memory grew from {early} to {late} KiB");
    let reader = unlocked(folder.path()).reader().unwrap();
    assert_eq!(reader.verify(None).unwrap().photographs, 1000);
    assert_eq!(reader.summary(period(86_400)).unwrap().examined, 500);
}

fn replay_day(folder: &str) {
    let journal = unlocked(folder.as_ref());
    let begun = Instant::now();
    // The test harness has begun the line.
    println!();
    for number in 0..500 {
        let visit = visit(number);
        journal.begin_visit(&visit).unwrap();
        examine(&journal, &visit, 2 * number, 64 * 1024).unwrap();
        examine(&journal, &visit, 2 * number + 1, 64 * 1024).unwrap();
        let kinds = [DeliveryKind::DicomImage, DeliveryKind::FhirBundle];
        journal.decide_visit(&visit.uid, &Decision::NotSuspected, &kinds).unwrap();
        if number + 1 == 50 || number + 1 == 500 {
            println!("peak after {}: {} KiB", number + 1, peak_kib());
        }
    }
    println!("500 visits, 1000 photographs of 64 KiB: {:.1} s", begun.elapsed().as_secs_f64());
}

/// The most memory this process has had at a time, KiB; 0 where the system does not say.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
