//! What a finished bundle does on labelled photographs, and how the bundle is told: the operating
//! points it can be used at, how far its ratio may be off, and beyond which disagreement of its two
//! probabilities it should abstain.
//!
//! [`exam`] runs the bundle as the device does, [`figures`] makes the statistics of what was seen,
//! [`amend`] writes them into the file's manifest, the weights untouched. [`gate`] holds photographs
//! of known quality against the limits of the quality gate.

pub mod amend;
pub mod exam;
pub mod figures;
pub mod gate;

use crate::dataset::{DatasetError, MaskTruth, Sample};
use exam::{Exam, ExamError, Examiner};
use glaucoma_common::calibration::{Calibration, VcdrError, VcdrErrorGroup};
use glaucoma_common::grading::Grade;
use glaucoma_common::reading::vcdr_of;

/// What was seen of one photograph, and what is true of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Whether the eye has glaucoma, where known.
    pub glaucoma: Option<bool>,
    /// The ratio of the true masks in native pixels, where people drew both.
    pub true_vcdr: Option<f64>,
    /// What the bundle says; `None` where it gives no grade.
    pub grade: Option<Grade>,
}

/// Photographs of one data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Which photographs these are, in words.
    pub name: String,
    /// Synthetic ones: they have no say in anything but the ratio's error.
    pub phantoms: bool,
    /// What was seen of photographs that the model has not learnt from.
    pub observations: Vec<Observation>,
    /// The grades of those it has: for what needs no truth.
    pub learnt: Vec<Grade>,
}

/// What is to be found out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// The share of graded photographs that may abstain because the heads disagree, above 0, below 1.
    pub abstain_share: f64,
    /// The share of the ratio's errors that its interval shall hold, above 0, below 1.
    pub error_share: f64,
    /// The model's own threshold, 0 to 1: what it does is in the table whatever it is.
    pub threshold: f64,
}

/// What was found out; `None` for what the photographs cannot tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// Of photographs whose class is known.
    pub calibration: Option<Calibration>,
    /// Of photographs whose disc and cup are known.
    pub vcdr_error: Option<VcdrError>,
    /// Of all graded photographs of real eyes.
    pub max_head_disagreement: Option<f64>,
}

/// Examines `samples`; `done` is called after each.
///
/// # Errors
/// A photograph or mask that cannot be read, an engine that fails.
pub fn observe(
    examiner: &Examiner,
    samples: &[Sample],
    done: &dyn Fn(),
) -> Result<Vec<Observation>, ExamError> {
    let mut observed = Vec::with_capacity(samples.len());
    for sample in samples {
        let Exam { grade, size } = examiner.examine(&sample.photo)?;
        observed.push(Observation {
            glaucoma: sample.truth.glaucoma,
            true_vcdr: true_vcdr(sample, size)?,
            grade: grade.ok(),
        });
        done();
    }
    Ok(observed)
}

/// The ratio of masks that people drew.
fn true_vcdr(sample: &Sample, (width, height): (u32, u32)) -> Result<Option<f64>, DatasetError> {
    let drawn = |mask: &Option<MaskTruth>| {
        let mask = mask.as_ref().filter(|mask| !mask.pseudo && !mask.source.is_approximate());
        mask.map(|mask| mask.source.load_native(width, height)).transpose()
    };
    let (disc, cup) = (drawn(&sample.truth.disc)?, drawn(&sample.truth.cup)?);
    Ok(disc.zip(cup).and_then(|(disc, cup)| vcdr_of(&disc, &cup)))
}

/// What `groups` tell.
///
/// The bound on the heads' disagreement comes first; what it lets abstain is not graded for the
/// other figures, as it will not be on the device. It needs no truth, so photographs that the model
/// has learnt from count for it too: so small a share of few would hang on one or two.
#[must_use]
pub fn find(groups: &[Group], wanted: Wanted) -> Findings {
    let real = || groups.iter().filter(|group| !group.phantoms);
    let held_out = real().flat_map(|group| &group.observations).filter_map(|seen| seen.grade);
    let grades = held_out.chain(real().flat_map(|group| group.learnt.iter().copied()));
    let disagreements: Vec<f64> = grades.map(|grade| grade.risk.disagreement()).collect();
    let bound = figures::bound(&disagreements, wanted.abstain_share);
    let graded = |seen: &Observation| {
        seen.grade.filter(|grade| grade.risk.disagreement() <= bound.unwrap_or(1.0))
    };
    let errors = |group: &Group| {
        let error = |seen: &Observation| Some(graded(seen)?.vcdr - seen.true_vcdr?);
        let errors: Vec<f64> = group.observations.iter().filter_map(error).collect();
        let (low, high) = figures::range(&errors, wanted.error_share)?;
        let (measured_on, n) = (group.name.clone(), errors.len() as u64);
        Some(VcdrErrorGroup { measured_on, n, phantoms: group.phantoms, low, high })
    };
    let error_groups: Vec<VcdrErrorGroup> = groups.iter().filter_map(errors).collect();
    Findings {
        calibration: calibration(real(), wanted.threshold, &graded),
        vcdr_error: (!error_groups.is_empty())
            .then_some(VcdrError { share: wanted.error_share, groups: error_groups }),
        max_head_disagreement: bound,
    }
}

fn calibration<'a>(
    groups: impl Iterator<Item = &'a Group>,
    threshold: f64,
    graded: &dyn Fn(&Observation) -> Option<Grade>,
) -> Option<Calibration> {
    let (mut names, mut scored, mut ungraded) = (Vec::new(), Vec::new(), 0);
    for group in groups {
        let labelled: Vec<&Observation> =
            group.observations.iter().filter(|seen| seen.glaucoma.is_some()).collect();
        if labelled.is_empty() {
            continue;
        }
        names.push(group.name.as_str());
        for seen in labelled {
            match graded(seen).zip(seen.glaucoma) {
                Some((grade, glaucoma)) => scored.push((grade.risk.probability, glaucoma)),
                None => ungraded += 1,
            }
        }
    }
    let positives = scored.iter().filter(|(_, glaucoma)| *glaucoma).count() as u64;
    let negatives = scored.len() as u64 - positives;
    let table = figures::operating_table(&scored, threshold);
    let measured_on = names.join("; ");
    (!table.is_empty()).then_some(Calibration {
        measured_on,
        positives,
        negatives,
        ungraded,
        table,
    })
}
