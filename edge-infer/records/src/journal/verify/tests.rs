//! What the audit vouches for and only the keys can tell: somebody who may write the audit swaps what is sealed.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::journal::{Journal, Settings};
use crate::seal::{Cost, RecoveryKey};
use crate::visit::{EyeExam, Finding, ModelName, Person, Sex, Uid, Visit};

fn visit(number: u128) -> Visit {
    Visit {
        uid: Uid::from_uuid(number),
        person: Person { id: number.to_string(), name: None, age_years: None, sex: Sex::Unknown },
        site: "camp".into(),
        operator: "Asha".into(),
        begun_at: "2026-05-01T09:30:00Z".into(),
        note: None,
        without_photograph: Vec::new(),
        exams: Vec::new(),
        decision: None,
        decided_by: None,
    }
}

/// A journal with two visits, each with a photograph.
fn journal(folder: &Path) -> Journal {
    let settings = Settings {
        cost: Cost { memory_kib: 64, passes: 1 },
        ..Settings::new(folder.join("journal"), folder.join("secret"))
    };
    let journal = Journal::open(settings).unwrap();
    journal.found("Asha", "271828", RecoveryKey::generate().1).unwrap();
    for number in [1, 2] {
        let photograph = vec![u8::try_from(number).unwrap(); 100];
        journal.begin_visit(&visit(number)).unwrap();
        let exam = EyeExam {
            uid: Uid::from_uuid(10 + number),
            eye: glaucoma_common::reading::Laterality::Right,
            eye_seen: None,
            eye_confirmed: false,
            taken_at: "2026-05-01T09:31:00Z".into(),
            photograph_sha256: sha256_hex(&photograph),
            photograph_type: "image/jpeg".into(),
            burned_in: None,
            finding: Finding::Ungradable { reasons: vec!["focus".into()] },
            model: ModelName { name: "m".into(), version: "1".into(), sha256: "ab".into() },
        };
        journal.record_exam(&visit(number).uid, &exam, photograph).unwrap();
    }
    journal
}

/// What verifying says, without and with the keys, after `sql` was done and written down in the audit.
fn after(table: Table, sql: &'static str, uids: [u128; 2]) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let forge = journal.ask(move |writer| {
        writer.transact("forging", |tx, scribe| {
            tx.execute_batch(sql).map_err(JournalError::database("forging"))?;
            uids.iter()
                .try_for_each(|&uid| scribe.record(tx, "forged", table, &Uid::from_uuid(uid).0))
        })
    });
    forge.unwrap();
    let locked = Reader::open_locked(&folder.path().join("journal")).unwrap();
    let damage = journal.reader().unwrap().verify(None).unwrap_err();
    (locked.verify(None).is_ok(), damage.to_string())
}

#[test]
fn photographs_that_were_swapped_do_not_open() {
    let swap = "CREATE TEMP TABLE old AS SELECT sequence, sealed_file FROM exams;
        UPDATE exams SET sealed_file = NULL;
        UPDATE exams SET sealed_file =
            (SELECT sealed_file FROM old WHERE old.sequence = 3 - exams.sequence);";
    let (passes_locked, damage) = after(Table::Exams, swap, [11, 12]);
    assert!(passes_locked);
    assert!(damage.contains("exam 2.25.11") && damage.contains("cannot be opened"), "{damage}");
}

#[test]
fn persons_that_were_swapped_do_not_open() {
    let swap = "CREATE TEMP TABLE old AS SELECT sequence, sealed_person FROM visits;
        UPDATE visits SET sealed_person =
            (SELECT sealed_person FROM old WHERE old.sequence = 3 - visits.sequence);";
    let (passes_locked, damage) = after(Table::Visits, swap, [1, 2]);
    assert!(passes_locked);
    assert!(damage.contains("2.25.1 has a person that cannot be opened"), "{damage}");
}

#[test]
fn a_visit_under_another_persons_lookup_is_named() {
    let (passes_locked, damage) =
        after(Table::Visits, "UPDATE visits SET person_lookup = zeroblob(32)", [1, 2]);
    assert!(passes_locked);
    assert!(damage.contains("2.25.1 is found under another person"), "{damage}");
}
