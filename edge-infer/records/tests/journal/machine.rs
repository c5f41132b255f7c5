//! What a virtual machine that loses its power runs (`tests/vm/power.sh`): sets a journal up, records visits and
//! says so after each exam, looks what is there. In an ordinary run of the tests there is nothing to do.

use std::io::{self, Write};
use std::path::Path;

use glaucoma_common::reading::Laterality;
use glaucoma_records::visit::Decision;

use crate::power::in_child;
use crate::support::*;

/// A file of many blocks, as photographs are.
const PHOTOGRAPH: usize = 256 * 1024;
/// More minutes, one for each visit, than any run takes.
const WHOLE_RUN_S: u64 = 1_000_000;

#[test]
fn in_a_machine() {
    let (Some(folder), Some(task)) = (in_child("MACHINE_FOLDER"), in_child("MACHINE_TASK")) else {
        println!("SKIPPED: is run by tests/vm/power.sh");
        return;
    };
    // The test harness has begun the line.
    println!();
    match task.split_once(' ') {
        None if task == "found" => drop(found(folder.as_ref())),
        None if task == "check" => check(folder.as_ref()),
        Some(("record", from)) => record(folder.as_ref(), from.parse().unwrap()),
        _ => panic!("no such task: {task}"),
    }
}

/// Both eyes of visit after visit, until the power goes.
fn record(folder: &Path, from: u64) {
    let journal = unlocked(folder);
    for number in from.. {
        let visit = visit(number);
        journal.begin_visit(&visit).unwrap();
        for exam in [2 * number, 2 * number + 1] {
            examine(&journal, &visit, exam, PHOTOGRAPH).unwrap();
            println!("recorded {exam}");
            io::stdout().flush().unwrap();
        }
        journal.decide_visit(&visit.uid, &Decision::NotSuspected, &[]).unwrap();
    }
}

/// Everything is in order, and every exam that is there is whole; says which they are.
fn check(folder: &Path) {
    let journal = unlocked(folder);
    let reader = journal.reader().unwrap();
    let verified = reader.verify(None).unwrap();
    assert!(verified.opened);
    assert_eq!(verified.unnamed_files, 0, "left in the folder");
    let visits = reader.visits_in(period(WHOLE_RUN_S)).unwrap();
    for recorded in &visits {
        let number: u64 = recorded.visit.person.id.strip_prefix("P-").unwrap().parse().unwrap();
        println!("visit {number}");
        for (seen, exam) in recorded.visit.exams.iter().zip(2 * number..) {
            let bytes = photograph(exam, PHOTOGRAPH);
            let eye = if exam % 2 == 0 { Laterality::Right } else { Laterality::Left };
            assert_eq!(*seen, self::exam(exam, eye, &bytes));
            assert_eq!(*reader.photograph(&seen.uid).unwrap(), bytes);
            println!("found {exam}");
        }
    }
    let exams: usize = visits.iter().map(|recorded| recorded.visit.exams.len()).sum();
    assert_eq!(verified.photographs, u64::try_from(exams).unwrap());
    println!("whole");
}
