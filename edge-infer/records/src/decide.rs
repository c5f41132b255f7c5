//! From the exams of a visit to one decision. A pure function: same visit, same rules, same answer.

use glaucoma_common::reading::Laterality;

use crate::visit::{Decision, EyeExam, Finding, NoPhotograph, Uid, Visit};

/// What the programme has set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// How many photographs are taken again of an eye that cannot be graded, before it is ungradable.
    pub retakes: u32,
    /// The difference between the vertical cup-to-disc ratios of both eyes from which on it is a reason
    /// to refer, 0 to 1; `None`: never.
    pub asymmetry: Option<f64>,
}

impl Default for Rules {
    /// Two retakes; a difference of 0.2, about the 97.5th percentile of the surveyed populations that Foster et
    /// al. (Br J Ophthalmol 2002;86:238) define glaucoma by.
    fn default() -> Self {
        Self { retakes: 2, asymmetry: Some(0.2) }
    }
}

/// What must be done before there is a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    /// This eye has no photograph and no reason for that.
    Photograph(Laterality),
    /// This eye's photographs could not be graded: take another.
    Retake {
        /// Which eye.
        eye: Laterality,
        /// How many may still be taken, this one included; at least 1.
        left: u32,
    },
    /// This photograph seems to show the other eye: confirm the eye or take another.
    WrongEye(Uid),
    /// The person has neither eye: there is nothing to screen.
    NothingToExamine,
}

/// Decides a visit: [`Decision::Refer`] with every reason there is, right eye first, or
/// [`Decision::NotSuspected`].
///
/// For each eye the latest graded photograph counts, but a suspicion once found is not photographed away. An
/// eye is ungradable after `rules.retakes` retakes that failed as well, or when that was said of one of its
/// photographs, or that no better one can be had: a reason to refer, as is an eye that could not be
/// photographed. Reasons are `suspected_`, `ungradable_` and `not_photographed_` with `right` or
/// `left`, and `asymmetry`. A probability that is no number is suspected.
///
/// # Errors
/// What is still to be done, right eye first, when there can be no decision yet: an eye without a
/// photograph or a reason, a retake, a photograph that seems to show the other eye and that nobody has
/// confirmed, unless a later photograph of that eye was graded and raises no alarm.
pub fn decide(visit: &Visit, rules: &Rules) -> Result<Decision, Vec<Open>> {
    let eyes = [Laterality::Right, Laterality::Left].map(|eye| (eye, eye_state(visit, eye, rules)));
    let open: Vec<Open> = eyes
        .iter()
        .filter_map(
            |(_, state)| if let EyeState::Open(open) = state { Some(open.clone()) } else { None },
        )
        .collect();
    if !open.is_empty() {
        return Err(open);
    }
    if eyes.iter().all(|(_, state)| matches!(state, EyeState::Absent)) {
        return Err(vec![Open::NothingToExamine]);
    }
    let mut reasons: Vec<String> = eyes
        .iter()
        .filter_map(|(eye, state)| state.reason().map(|reason| format!("{reason}_{eye}")))
        .collect();
    if let [(_, right), (_, left)] = &eyes
        && let (Some(right), Some(left), Some(bound)) =
            (ratio(right), ratio(left), rules.asymmetry)
        // 0.7 - 0.5 is a little below 0.2 in binary; both are shown with two digits.
        && (right - left).abs() >= bound - 1e-9
    {
        reasons.push("asymmetry".to_owned());
    }
    Ok(if reasons.is_empty() { Decision::NotSuspected } else { Decision::Refer { reasons } })
}

/// How an eye stands.
#[derive(Debug, Clone, PartialEq)]
pub enum EyeState<'a> {
    /// Graded.
    Graded {
        /// The exam that counts.
        exam: &'a EyeExam,
        /// Whether it lies at or above the threshold.
        suspected: bool,
    },
    /// It cannot be graded, and no further photograph will be taken; its last photograph.
    Ungradable(&'a EyeExam),
    /// There and not photographed.
    NotPhotographed,
    /// The person does not have it.
    Absent,
    /// Something is still to be done.
    Open(Open),
}

impl EyeState<'_> {
    /// Why this eye sends the person to a clinic.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Graded { suspected: true, .. } => Some("suspected"),
            Self::Ungradable(_) => Some("ungradable"),
            Self::NotPhotographed => Some("not_photographed"),
            Self::Graded { suspected: false, .. } | Self::Absent | Self::Open(_) => None,
        }
    }
}

/// How `eye` stands in `visit`: see [`decide`].
#[must_use]
pub fn eye_state<'a>(visit: &'a Visit, eye: Laterality, rules: &Rules) -> EyeState<'a> {
    let exams = || visit.exams.iter().rev().filter(|exam| exam.eye == eye);
    let mut failed = 0;
    let mut ungradable = false;
    for exam in exams() {
        if exam.wrong_eye_alarm() {
            return EyeState::Open(Open::WrongEye(exam.uid.clone()));
        }
        match &exam.finding {
            Finding::Graded { .. } => {
                let found = exams().find(|exam| !exam.wrong_eye_alarm() && suspected(exam));
                return EyeState::Graded {
                    exam: found.unwrap_or(exam),
                    suspected: found.is_some(),
                };
            }
            Finding::Retake { .. } => failed += 1,
            Finding::Ungradable { .. } => ungradable = true,
        }
    }
    let why =
        visit.without_photograph.iter().rfind(|without| without.eye == eye).map(|eye| eye.why);
    match (exams().next(), why) {
        (Some(last), _) if ungradable || failed > rules.retakes => EyeState::Ungradable(last),
        (Some(last), Some(NoPhotograph::NotPossible)) => EyeState::Ungradable(last),
        // Somebody photographed it: whatever was noted, it is not absent.
        (Some(_), _) => EyeState::Open(Open::Retake { eye, left: rules.retakes + 1 - failed }),
        (None, Some(NoPhotograph::NotPossible)) => EyeState::NotPhotographed,
        (None, Some(NoPhotograph::Absent)) => EyeState::Absent,
        (None, None) => EyeState::Open(Open::Photograph(eye)),
    }
}

/// The exam that speaks for an eye, as it counts in [`decide`]: the latest suspected one, for a suspicion is not
/// photographed away; else the latest graded; else the latest. One whose eye is in doubt only where there is no
/// other.
#[must_use]
pub fn speaks_for(visit: &Visit, eye: Laterality) -> Option<&EyeExam> {
    let exams = || visit.exams.iter().rev().filter(|exam| exam.eye == eye);
    let sure = || exams().filter(|exam| !exam.wrong_eye_alarm());
    let graded = |exam: &&EyeExam| matches!(exam.finding, Finding::Graded { .. });
    sure()
        .find(|exam| suspected(exam))
        .or_else(|| sure().find(graded))
        .or_else(|| sure().next())
        .or_else(|| exams().next())
}

/// Graded at the threshold, above it, or with no number at all.
fn suspected(exam: &EyeExam) -> bool {
    match exam.finding {
        Finding::Graded { probability, threshold, .. } => {
            let below = probability < threshold;
            !below
        }
        Finding::Retake { .. } | Finding::Ungradable { .. } => false,
    }
}

fn ratio(state: &EyeState<'_>) -> Option<f64> {
    match state {
        EyeState::Graded {
            exam: EyeExam { finding: Finding::Graded { vcdr, .. }, .. }, ..
        } => Some(*vcdr),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
