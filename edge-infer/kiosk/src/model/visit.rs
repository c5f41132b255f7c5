//! The open visit: what came of each eye, and the decision that follows.

use glaucoma_common::reading::Laterality;
use glaucoma_records::decide::{EyeState, Open, Rules, decide, eye_state};
use glaucoma_records::visit::{
    Decision, EyeExam, EyeWithoutPhotograph, Finding, NoPhotograph, Person, Uid, Visit,
};

use crate::picture::EyePicture;

/// A visit that is under way.
#[derive(Debug, Clone)]
pub struct OpenVisit {
    /// The visit as it will be saved; its decision is set when it is made.
    pub visit: Visit,
    /// The last picture of the right and of the left eye.
    pub pictures: [Option<EyePicture>; 2],
    /// By what it is decided.
    pub rules: Rules,
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
    pub fn new(
        uid: Uid,
        person: Person,
        site: &str,
        operator: &str,
        begun_at: String,
        rules: Rules,
    ) -> Self {
        let visit = Visit {
            uid,
            person,
            site: site.into(),
            operator: operator.into(),
            begun_at,
            note: None,
            without_photograph: Vec::new(),
            exams: Vec::new(),
            decision: None,
            decided_by: None,
        };
        Self::resumed(visit, [None, None], rules)
    }

    /// A visit that goes on as it is recorded.
    #[must_use]
    pub fn resumed(visit: Visit, pictures: [Option<EyePicture>; 2], rules: Rules) -> Self {
        Self { visit, pictures, rules, examining: None, unreadable: false, saved: None }
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

    /// How the eye stands.
    #[must_use]
    pub fn eye(&self, eye: Laterality) -> EyeState<'_> {
        eye_state(&self.visit, eye, &self.rules)
    }

    /// Says that the person does not have the eye, or takes that back.
    pub fn toggle_absent(&mut self, eye: Laterality) {
        let noted = &mut self.visit.without_photograph;
        let before = noted.len();
        noted.retain(|without| without.eye != eye);
        if noted.len() == before {
            noted.push(EyeWithoutPhotograph { eye, why: NoPhotograph::Absent });
        }
    }

    /// The first eye that is still open, the right one before the left.
    #[must_use]
    pub fn next_open(&self) -> Option<Laterality> {
        [Laterality::Right, Laterality::Left].into_iter().find(|&eye| {
            matches!(self.eye(eye), EyeState::Open(Open::Photograph(_) | Open::Retake { .. }))
        })
    }

    /// Takes an exam in. A *retake* beyond the allowed number is a result: ungradable.
    pub fn add(&mut self, mut exam: EyeExam, picture: Option<EyePicture>) {
        if let Finding::Retake { reasons } = &exam.finding
            && self.attempts(exam.eye) >= self.rules.retakes
        {
            exam.finding = Finding::Ungradable { reasons: reasons.clone() };
        }
        self.pictures[exam.eye as usize] = picture;
        self.visit.without_photograph.retain(|without| without.eye != exam.eye);
        self.visit.exams.push(exam);
    }

    /// No better photograph of the eye can be had: its last *retake* becomes ungradable.
    pub fn give_up(&mut self, eye: Laterality) {
        let last = self.visit.exams.iter_mut().rev().find(|exam| exam.eye == eye);
        if let Some(exam) = last
            && let Finding::Retake { reasons } = &exam.finding
        {
            exam.finding = Finding::Ungradable { reasons: reasons.clone() };
            self.visit
                .without_photograph
                .push(EyeWithoutPhotograph { eye, why: NoPhotograph::NotPossible });
        }
    }

    /// The decision, once neither eye is open.
    #[must_use]
    pub fn decision(&self) -> Option<Decision> {
        decide(&self.visit, &self.rules).ok()
    }
}
