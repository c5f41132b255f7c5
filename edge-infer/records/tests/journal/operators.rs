//! PINs: right, wrong, changed, lost.

use glaucoma_records::disk::SystemDisk;
use glaucoma_records::journal::{Journal, JournalError};
use glaucoma_records::seal::{Cost, DataKey, RecoveryKey, SealError};

use crate::support::*;

/// Seconds to wait, as the answer to an attempt says.
fn wait_of(answer: Result<(), JournalError>) -> u64 {
    match answer {
        Err(JournalError::WrongPin { wait_s } | JournalError::Wait { wait_s }) => wait_s,
        other => panic!("{other:?}"),
    }
}

#[test]
fn wrong_pins_make_the_wait_longer_and_a_restart_does_not_shorten_it() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::at(MORNING);
    drop(found(folder.path()));
    let mut waits = Vec::new();
    for _ in 0..13 {
        // Each try after a restart.
        let journal = open_at(folder.path(), &clock).unwrap();
        let wait = wait_of(journal.unlock(OPERATOR, "000000"));
        if wait > 0 {
            // Too early, even with the right PIN.
            clock.pass(wait - 1);
            assert!(matches!(journal.unlock(OPERATOR, PIN), Err(JournalError::Wait { wait_s: 1 })));
            clock.pass(1);
        }
        waits.push(wait);
    }
    assert_eq!(waits, [0, 0, 5, 10, 20, 40, 80, 160, 320, 640, 900, 900, 900]);
    let journal = open_at(folder.path(), &clock).unwrap();
    journal.unlock(OPERATOR, PIN).unwrap();
    assert_eq!(wait_of(journal.unlock(OPERATOR, "000000")), 0, "the right PIN forgives");
    assert!(matches!(journal.unlock("Nobody", PIN), Err(JournalError::NoOperator(_))));
}

#[test]
fn a_clock_that_goes_back_begins_the_wait_anew_and_does_not_lock_out_for_years() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::at(MORNING + 10 * 365 * 86_400);
    drop(found(folder.path()));
    let journal = open_at(folder.path(), &clock).unwrap();
    for _ in 0..3 {
        wait_of(journal.unlock(OPERATOR, "000000"));
    }
    clock.set(MORNING);
    assert_eq!(wait_of(journal.unlock(OPERATOR, PIN)), 5);
    clock.pass(5);
    journal.unlock(OPERATOR, PIN).unwrap();
}

/// What a try of a PIN costs is paid by whoever tries: exams are recorded meanwhile.
#[test]
fn a_pin_is_tried_while_visits_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::at(MORNING);
    drop(found(folder.path()));
    let mut settings = settings(folder.path(), &clock, Box::new(SystemDisk));
    settings.cost = Cost { memory_kib: 64 * 1024, passes: 20 };
    let journal = Journal::open(settings).unwrap();
    journal.unlock(OPERATOR, PIN).unwrap();
    journal.add_operator("Bela", "314159").unwrap();
    let mut recorded = 0;
    std::thread::scope(|scope| {
        let tried = scope.spawn(|| journal.unlock("Bela", "314159"));
        while !tried.is_finished() {
            journal.begin_visit(&visit(recorded)).unwrap();
            recorded += 1;
        }
        tried.join().unwrap().unwrap();
    });
    // One before the try began, and one that would have waited for it.
    assert!(recorded > 5, "{recorded} visits");
    // Who is removed while the PIN is tried does not come in.
    std::thread::scope(|scope| {
        let tried = scope.spawn(|| journal.unlock("Bela", "314159"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        journal.remove_operator("Bela").unwrap();
        assert!(matches!(tried.join().unwrap(), Err(JournalError::NoOperator(_))));
    });
}

#[test]
fn operators_come_and_go_and_change_their_pins() {
    let folder = tempfile::tempdir().unwrap();
    let journal = found(folder.path());
    journal.begin_visit(&visit(1)).unwrap();
    assert!(matches!(journal.remove_operator(OPERATOR), Err(JournalError::LastOperator)));
    assert!(matches!(journal.add_operator("Bela", "12345"), Err(JournalError::ShortPin)));
    assert!(matches!(journal.add_operator(OPERATOR, PIN), Err(JournalError::OperatorExists(_))));
    journal.add_operator("Bela", "314159").unwrap();
    assert_eq!(journal.reader().unwrap().operators().unwrap(), [OPERATOR, "Bela"]);
    journal.change_pin("Bela", "314159", "161803").unwrap();
    wait_of(journal.change_pin("Bela", "314159", "999999"));
    journal.lock().unwrap();
    assert!(matches!(journal.add_operator("Chen", PIN), Err(JournalError::Locked)));
    assert!(matches!(journal.remove_operator(OPERATOR), Err(JournalError::Locked)));
    wait_of(journal.unlock("Bela", "314159"));
    journal.unlock("Bela", "161803").unwrap();
    let reader = journal.reader().unwrap();
    assert_eq!(reader.visit(&visit(1).uid).unwrap().visit, visit(1));
    journal.remove_operator(OPERATOR).unwrap();
    assert!(matches!(journal.remove_operator(OPERATOR), Err(JournalError::NoOperator(_))));
    assert!(matches!(journal.unlock(OPERATOR, PIN), Err(JournalError::NoOperator(_))));
    reader.verify(None).unwrap();
}

#[test]
fn lost_pins_are_recovered_by_the_programmes_key_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = RecoveryKey::generate();
    let journal = open(folder.path()).unwrap();
    assert!(matches!(journal.recovery_box(), Err(JournalError::NotFounded)));
    assert!(matches!(journal.unlock(OPERATOR, PIN), Err(JournalError::NotFounded)));
    journal.found(OPERATOR, PIN, public).unwrap();
    assert!(matches!(journal.found(OPERATOR, PIN, public), Err(JournalError::Founded)));
    journal.begin_visit(&visit(1)).unwrap();
    let sealed = journal.recovery_box().unwrap();
    drop(journal);
    // Elsewhere, with the private key and the box alone.
    let private = RecoveryKey::from_bytes(&*private.to_bytes()).unwrap();
    let recovered = private.open(&sealed).unwrap().to_bytes();

    let journal = open(folder.path()).unwrap();
    let other = journal.recover(DataKey::generate().unwrap(), OPERATOR, "777777");
    assert!(matches!(other, Err(JournalError::Seal(SealError::RecoveryKey))));
    journal.recover(DataKey::from_bytes(*recovered), OPERATOR, "777777").unwrap();
    journal.recover(DataKey::from_bytes(*recovered), "Dora", "888888").unwrap();
    journal.lock().unwrap();
    wait_of(journal.unlock(OPERATOR, PIN));
    journal.unlock(OPERATOR, "777777").unwrap();
    let reader = journal.reader().unwrap();
    assert_eq!(reader.visit(&visit(1).uid).unwrap().visit, visit(1));
    assert_eq!(reader.operators().unwrap(), [OPERATOR, "Dora"]);
    reader.verify(None).unwrap();
}

#[test]
fn a_missing_secret_or_database_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let journal = found(folder.path());
    journal.begin_visit(&visit(1)).unwrap();
    examine(&journal, &visit(1), 1, 100).unwrap();
    drop(journal);
    let refused = |journal: Result<Journal, JournalError>| journal.err().unwrap().to_string();
    let (secret, aside) = (folder.path().join("device.secret"), folder.path().join("aside"));
    std::fs::rename(&secret, &aside).unwrap();
    assert!(refused(open(folder.path())).contains("device.secret"));
    assert!(!secret.exists());
    std::fs::rename(&aside, &secret).unwrap();
    std::fs::remove_file(folder.path().join("journal/journal.db")).unwrap();
    assert!(refused(open(folder.path())).contains("journal.db is missing"));
    assert_eq!(std::fs::read_dir(folder.path().join("journal/sealed")).unwrap().count(), 1);
}

#[test]
fn a_newer_journal_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(found(folder.path()));
    let database = rusqlite::Connection::open(folder.path().join("journal/journal.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    assert!(matches!(open(folder.path()), Err(JournalError::Newer { found: 99, .. })));
}
