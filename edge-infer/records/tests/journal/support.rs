//! A journal in a folder of its own, a clock that stands still, people who do not exist.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use glaucoma_common::photo::sha256_hex;
use glaucoma_common::reading::Laterality;
use glaucoma_records::clock::{Clock, Timestamp};
use glaucoma_records::disk::{Disk, SystemDisk};
use glaucoma_records::journal::{Journal, JournalError, Period, Settings};
use glaucoma_records::seal::{Cost, RecoveryKey};
use glaucoma_records::visit::{EyeExam, Finding, ModelName, Person, Sex, Uid, Visit};

/// A clock that a test sets. Shared by its clones.
#[derive(Clone)]
pub struct HandClock(Arc<AtomicU64>);

/// 2026-05-01T09:30:00Z.
pub const MORNING: u64 = 1_777_627_800;

impl HandClock {
    pub fn at(seconds: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seconds)))
    }

    pub fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    pub fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0.load(Ordering::SeqCst))
    }
}

pub const OPERATOR: &str = "Asha";
pub const PIN: &str = "271828";

pub fn settings(folder: &Path, clock: &HandClock, disk: Box<dyn Disk>) -> Settings {
    Settings {
        cost: Cost { memory_kib: 64, passes: 1 },
        clock: Arc::new(clock.clone()),
        disk,
        ..Settings::new(folder.join("journal"), folder.join("device.secret"))
    }
}

/// Opens the journal in `folder`, locked.
pub fn open(folder: &Path) -> Result<Journal, JournalError> {
    open_at(folder, &HandClock::at(MORNING))
}

pub fn open_at(folder: &Path, clock: &HandClock) -> Result<Journal, JournalError> {
    Journal::open(settings(folder, clock, Box::new(SystemDisk)))
}

/// A new journal in `folder`, set up and unlocked.
pub fn found(folder: &Path) -> Journal {
    let journal = open(folder).unwrap();
    journal.found(OPERATOR, PIN, RecoveryKey::generate().1).unwrap();
    journal
}

/// Opens the journal in `folder`, unlocked.
pub fn unlocked(folder: &Path) -> Journal {
    let journal = open(folder).unwrap();
    journal.unlock(OPERATOR, PIN).unwrap();
    journal
}

pub fn visit(number: u64) -> Visit {
    Visit {
        uid: Uid::from_uuid(1_000_000 + u128::from(number)),
        person: Person {
            id: format!("P-{number:04}"),
            name: Some(format!("Somebody {number}")),
            age_years: Some(61),
            sex: Sex::Female,
        },
        site: "Camp".into(),
        operator: OPERATOR.into(),
        begun_at: Timestamp::from_seconds(MORNING + number * 60).to_string(),
        note: None,
        without_photograph: Vec::new(),
        exams: Vec::new(),
        decision: None,
        decided_by: None,
    }
}

/// Bytes that do not compress, another row of them for each seed (xorshift).
pub fn photograph(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> =
        std::iter::repeat_with(&mut next).take(length / 8 + 1).flatten().collect();
    bytes.truncate(length);
    bytes
}

pub fn exam(number: u64, eye: Laterality, photograph: &[u8]) -> EyeExam {
    EyeExam {
        uid: Uid::from_uuid(2_000_000 + u128::from(number)),
        eye,
        eye_seen: None,
        eye_confirmed: false,
        taken_at: "2026-05-01T09:31:00Z".into(),
        photograph_sha256: sha256_hex(photograph),
        photograph_type: "image/jpeg".into(),
        burned_in: Some(false),
        finding: Finding::Graded {
            probability: 0.1 + 0.2,
            threshold: 0.5,
            vcdr: 0.61,
            vcdr_interval: Some((0.55, 0.67)),
        },
        model: ModelName { name: "m".into(), version: "1".into(), sha256: "cd".repeat(32) },
    }
}

/// Records exam `number` of `visit`, whose photograph follows from the number.
pub fn examine(
    journal: &Journal,
    visit: &Visit,
    number: u64,
    length: usize,
) -> Result<EyeExam, JournalError> {
    let photograph = photograph(number, length);
    let eye = if number.is_multiple_of(2) { Laterality::Right } else { Laterality::Left };
    let exam = exam(number, eye, &photograph);
    journal.record_exam(&visit.uid, &exam, photograph)?;
    Ok(exam)
}

/// From `MORNING` on, so many seconds.
pub fn period(seconds: u64) -> Period {
    Period {
        from: Timestamp::from_seconds(MORNING),
        to: Timestamp::from_seconds(MORNING + seconds),
    }
}
