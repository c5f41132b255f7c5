//! The open visit: what came of each eye, and the decision that follows.

use glaucoma_common::reading::Laterality;
use glaucoma_records::visit::{Decision, EyeExam, Finding, Person, Uid, Visit};

use crate::picture::EyePicture;

/// How an eye stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EyeState<'a> {
    /// Not photographed, or only to be photographed again.
    Open,
    /// Known to be absent.
    Absent,
    /// Graded at or above the threshold.
    Suspected(&'a EyeExam),
    /// Graded below the threshold.
    NotSuspected(&'a EyeExam),
    /// It cannot be graded, and no further photograph will be taken.
    Ungradable(&'a EyeExam),
}

/// A visit that is under way.
#[derive(Debug, Clone)]
pub struct OpenVisit {
    /// The visit as it will be saved; its decision is set when it is made.
    pub visit: Visit,
    /// The last picture of the right and of the left eye.
    pub pictures: [Option<EyePicture>; 2],
    /// Whether the right and the left eye are absent.
    pub absent: [bool; 2],
    /// Since when a photograph is being examined, seconds; `None` when none is.
    pub examining: Option<u64>,
    /// Whether the last photograph could not be read.
    pub unreadable: bool,
    /// Whether the decision is in the journal: `None` while it is being written.
    pub saved: Option<bool>,
}

/// The other one.
#[must_use]
pub fn other_eye(eye: Laterality) -> Laterality {
    match eye {
        Laterality::Right => Laterality::Left,
        Laterality::Left => Laterality::Right,
    }
}

impl OpenVisit {
    /// A visit nobody has been photographed in yet.
    #[must_use]
    pub fn new(uid: Uid, person: Person, site: &str, operator: &str, begun_at: String) -> Self {
        let visit = Visit {
            uid,
            person,
            site: site.into(),
            operator: operator.into(),
            begun_at,
            exams: Vec::new(),
            decision: None,
        };
        Self {
            visit,
            pictures: [None, None],
            absent: [false; 2],
            examining: None,
            unreadable: false,
            saved: None,
        }
    }

    /// The last exam of the eye.
    #[must_use]
    pub fn last(&self, eye: Laterality) -> Option<&EyeExam> {
        self.visit.exams.iter().rev().find(|exam| exam.eye == eye)
    }

    /// How often the eye has been photographed.
    #[must_use]
    pub fn attempts(&self, eye: Laterality) -> u32 {
        self.visit.exams.iter().filter(|exam| exam.eye == eye).count() as u32
    }

    /// How the eye stands: by its last exam, but a suspicion once found is not photographed away.
    #[must_use]
    pub fn eye(&self, eye: Laterality) -> EyeState<'_> {
        if self.absent[eye as usize] {
            return EyeState::Absent;
        }
        let exams = self.visit.exams.iter().rev().filter(|exam| exam.eye == eye);
        let states = exams.map(state_of);
        let suspected = states.clone().find(|state| matches!(state, EyeState::Suspected(_)));
        suspected.or_else(|| states.clone().next()).unwrap_or(EyeState::Open)
    }

    /// The first eye that is still open, the right one before the left.
    #[must_use]
    pub fn next_open(&self) -> Option<Laterality> {
        [Laterality::Right, Laterality::Left]
            .into_iter()
            .find(|&eye| self.eye(eye) == EyeState::Open)
    }

    /// Takes an exam in. A *retake* beyond the allowed number is a result: ungradable.
    pub fn add(&mut self, mut exam: EyeExam, picture: Option<EyePicture>, retakes: u32) {
        if let Finding::Retake { reasons } = &exam.finding
            && self.attempts(exam.eye) >= retakes
        {
            exam.finding = Finding::Ungradable { reasons: reasons.clone() };
        }
        self.pictures[exam.eye as usize] = picture;
        self.absent[exam.eye as usize] = false;
        self.visit.exams.push(exam);
    }

    /// No better photograph of the eye can be had: its last *retake* becomes ungradable.
    pub fn give_up(&mut self, eye: Laterality) {
        let last = self.visit.exams.iter_mut().rev().find(|exam| exam.eye == eye);
        if let Some(exam) = last
            && let Finding::Retake { reasons } = &exam.finding
        {
            exam.finding = Finding::Ungradable { reasons: reasons.clone() };
        }
    }

    /// The decision, once neither eye is open.
    #[must_use]
    pub fn decision(&self) -> Option<Decision> {
        decide(self.eye(Laterality::Right), self.eye(Laterality::Left))
    }
}

/// What an exam alone says about its eye.
#[must_use]
pub fn state_of(exam: &EyeExam) -> EyeState<'_> {
    match exam.finding {
        Finding::Retake { .. } => EyeState::Open,
        Finding::Ungradable { .. } => EyeState::Ungradable(exam),
        Finding::Graded { probability, threshold, .. } if probability < threshold => {
            EyeState::NotSuspected(exam)
        }
        // At the threshold, above it, or no number at all.
        Finding::Graded { .. } => EyeState::Suspected(exam),
    }
}

/// What follows from both eyes; `None` while one is open or none could be looked at. Not suspected only when
/// both were graded below the threshold, or one was and the other is absent.
#[must_use]
pub fn decide(right: EyeState<'_>, left: EyeState<'_>) -> Option<Decision> {
    let mut reasons = Vec::new();
    let mut clear = false;
    for (eye, state) in [(Laterality::Right, right), (Laterality::Left, left)] {
        match state {
            EyeState::Open => return None,
            EyeState::Absent => {}
            EyeState::NotSuspected(_) => clear = true,
            EyeState::Suspected(_) => reasons.push(format!("suspected_{eye}")),
            EyeState::Ungradable(_) => reasons.push(format!("ungradable_{eye}")),
        }
    }
    // What was found comes before what could not be seen.
    reasons.sort_by_key(|reason| reason.starts_with("ungradable"));
    match (reasons.is_empty(), clear) {
        (false, _) => Some(Decision::Refer { reasons }),
        (true, true) => Some(Decision::NotSuspected),
        (true, false) => None,
    }
}
