//! The quality gate held against photographs whose quality is known: scored ones of real eyes, and
//! phantoms with one severe fault each.

use super::exam::{ExamError, Examiner, PixelError};
use crate::dataset::phantom::{Degradation, PhantomConfig, generate};
use crate::dataset::{DatasetError, Sample};
use glaucoma_common::manifest::QualityLimits;
use glaucoma_common::metrics::{Interval, auc_interval, bootstrap_interval, quantile};
use glaucoma_common::photo::{Limits, decode};
use glaucoma_common::preprocess::find_field_of_view;
use glaucoma_common::quality::measure::FieldMeasures;
use glaucoma_common::quality::{Measures, Reason, judge, measure};
use image::RgbImage;
use rayon::prelude::*;

const CONFIDENCE: f64 = 0.95;
const RESAMPLES: usize = 1000;
const SEED: u64 = 1;
/// Longer side of the phantoms: more than the gate looks at.
const PHANTOM_SIDE: u32 = 640;

/// A photograph as the gate sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The publisher's score of its quality, where there is one.
    pub score: Option<f32>,
    /// What was measured.
    pub measures: Measures,
    /// Why its pixels send it back; empty where they do not.
    pub reasons: Vec<Reason>,
    /// Whether it is graded in the end.
    pub graded: bool,
}

/// Photographs of one camera, or phantoms with one fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// The fault; `None` for photographs of real eyes and phantoms without one.
    pub fault: Option<Degradation>,
    /// Phantoms.
    pub phantoms: bool,
    /// The photographs.
    pub judged: Vec<Judged>,
}

impl Set {
    /// Those that should pass: without a severe fault, and scored at least `good_score` where scored.
    fn good(&self, good_score: f32) -> Vec<&FieldMeasures> {
        let good = |one: &&Judged| one.score.is_none_or(|score| score >= good_score);
        let judged = self.judged.iter().filter(|_| self.fault.is_none()).filter(good);
        judged.filter_map(|one| one.measures.field.as_ref()).collect()
    }
}

/// Judges `samples` of a data set called `name`. `done` is called for each.
///
/// # Errors
/// A photograph that cannot be read, an engine that fails.
pub fn photographs(
    examiner: &Examiner,
    name: &str,
    samples: &[Sample],
    done: &(dyn Fn() + Sync),
) -> Result<Set, ExamError> {
    let one = |sample: &Sample| -> Result<Judged, ExamError> {
        let path = sample.photo.as_path();
        let bytes = std::fs::read(path).map_err(|cause| DatasetError::io(path, cause))?;
        let photo = decode(&bytes, &Limits::default())
            .map_err(|cause| DatasetError::Photo { path: path.to_path_buf(), cause })?;
        let seen = judged(examiner, &photo.pixels).map_err(|error| error.at(path))?;
        done();
        Ok(Judged { score: sample.truth.quality_score, ..seen })
    };
    let seen = samples.par_iter().map(one).collect::<Result<_, _>>()?;
    Ok(Set { name: name.to_owned(), fault: None, phantoms: false, judged: seen })
}

/// Judges `count` phantoms with each severe fault, and as many without.
///
/// # Errors
/// An engine that fails.
pub fn phantoms(
    examiner: &Examiner,
    seed: u64,
    count: usize,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Set>, PixelError> {
    let faults = std::iter::once(None).chain(Degradation::ALL.into_iter().map(Some));
    let set = |fault: Option<Degradation>| {
        let config = PhantomConfig {
            side: PHANTOM_SIDE,
            degraded_share: if fault.is_some() { 1.0 } else { 0.0 },
            degradations: fault.into_iter().collect(),
            ..PhantomConfig::default()
        };
        let one = |index: u64| {
            let seen = judged(examiner, &generate(seed, index, &config).photo);
            done();
            seen
        };
        let seen = (0..count as u64).into_par_iter().map(one).collect::<Result<_, _>>()?;
        let name = fault.map_or_else(|| "none".to_owned(), |fault| format!("{fault:?}"));
        Ok(Set { name, fault, phantoms: true, judged: seen })
    };
    faults.map(set).collect()
}

fn judged(examiner: &Examiner, photo: &RgbImage) -> Result<Judged, PixelError> {
    let measures = measure(photo, find_field_of_view(photo).as_ref())?;
    let reasons = judge(&measures, &examiner.manifest.quality);
    let graded = examiner.examine_pixels(photo)?.grade.is_ok();
    Ok(Judged { score: None, measures, reasons, graded })
}

/// One limit of the gate: its measure, which side of it is bad, and the fault that it is for.
pub struct Limit {
    /// Its key in the manifest.
    pub name: &'static str,
    /// The measure it bounds.
    pub measure: fn(&FieldMeasures) -> f64,
    /// Its value.
    pub value: fn(&QualityLimits) -> f64,
    /// Whether what is below it is sent back, or what is above.
    pub smallest: bool,
    /// The fault of phantoms that moves the measure most.
    pub fault: Degradation,
}

/// The limits of light, colour and detail. Those of geometry have no photographs to be held against.
pub const LIMITS: [Limit; 7] = [
    Limit {
        name: "min_focus",
        measure: |field| field.focus,
        value: |limits| limits.min_focus,
        smallest: true,
        fault: Degradation::Defocus,
    },
    Limit {
        name: "min_contrast",
        measure: |field| field.contrast,
        value: |limits| limits.min_contrast,
        smallest: true,
        fault: Degradation::Haze,
    },
    Limit {
        name: "min_redness",
        measure: |field| field.redness,
        value: |limits| limits.min_redness,
        smallest: true,
        fault: Degradation::Haze,
    },
    Limit {
        name: "min_brightness",
        measure: |field| field.brightness,
        value: |limits| limits.min_brightness,
        smallest: true,
        fault: Degradation::UnderExposure,
    },
    Limit {
        name: "max_brightness",
        measure: |field| field.brightness,
        value: |limits| limits.max_brightness,
        smallest: false,
        fault: Degradation::OverExposure,
    },
    Limit {
        name: "max_dark_share",
        measure: |field| field.dark_share,
        value: |limits| limits.max_dark_share,
        smallest: false,
        fault: Degradation::Shadow,
    },
    Limit {
        name: "max_saturated_share",
        measure: |field| field.saturated_share,
        value: |limits| limits.max_saturated_share,
        smallest: false,
        fault: Degradation::Glare,
    },
];

/// What the photographs say of one limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Its value now.
    pub now: f64,
    /// The tightest value that sends back at most the allowed share of the good photographs of every
    /// camera, with its bootstrap interval over the photographs of the camera that decides.
    pub tightest: Interval,
    /// That camera.
    pub decided_by: String,
    /// Phantoms with the limit's fault that it catches now, with the tightest value, and all.
    pub caught: [usize; 3],
}

impl Limit {
    /// Holds the limit against `sets`; `allowed` is the share of good photographs that it may send
    /// back. `None` without photographs of real eyes.
    #[must_use]
    pub fn held(
        &self,
        sets: &[Set],
        limits: &QualityLimits,
        allowed: f64,
        good_score: f32,
    ) -> Option<Held> {
        // A largest value is the smallest one of the negative.
        let sign = if self.smallest { 1.0 } else { -1.0 };
        let tail = |values: &[f64], indices: &[usize]| {
            let mut drawn: Vec<f64> = indices.iter().map(|&at| values[at]).collect();
            drawn.sort_unstable_by(f64::total_cmp);
            (!drawn.is_empty()).then(|| quantile(&drawn, allowed))
        };
        let of_set = |set: &Set| {
            let values: Vec<f64> = set
                .good(good_score)
                .into_iter()
                .map(|field| sign * (self.measure)(field))
                .collect();
            let interval =
                bootstrap_interval(values.len(), SEED, RESAMPLES, CONFIDENCE, |indices| {
                    tail(&values, indices)
                })?;
            Some((interval, set.name.clone()))
        };
        let cameras = sets.iter().filter(|set| !set.phantoms).filter_map(of_set);
        let (found, decided_by) = cameras.min_by(|a, b| a.0.estimate.total_cmp(&b.0.estimate))?;
        let (mut low, mut high) = (sign * found.low, sign * found.high);
        if sign < 0.0 {
            (low, high) = (high, low);
        }
        let tightest = Interval { estimate: sign * found.estimate, low, high };
        let faulty = sets.iter().filter(|set| set.fault == Some(self.fault));
        let faulty: Vec<f64> = faulty
            .flat_map(|set| &set.judged)
            .filter_map(|one| one.measures.field.as_ref())
            .map(|field| sign * (self.measure)(field))
            .collect();
        let now = (self.value)(limits);
        let below = |limit: f64| faulty.iter().filter(|value| **value < sign * limit).count();
        let caught = [below(now), below(tightest.estimate), faulty.len()];
        Some(Held { now, tightest, decided_by, caught })
    }

    /// How well the measure tells photographs scored below `good_score` from the others of `set`: the
    /// share of pairs that it ranks rightly, with its interval. `None` where there are no scores.
    #[must_use]
    pub fn tells_scores(&self, set: &Set, good_score: f32) -> Option<Interval> {
        let sign = if self.smallest { -1.0 } else { 1.0 };
        let pair = |one: &Judged| {
            Some((sign * (self.measure)(one.measures.field.as_ref()?), one.score? < good_score))
        };
        let (values, poor): (Vec<f64>, Vec<bool>) = set.judged.iter().filter_map(pair).unzip();
        auc_interval(&values, &poor, CONFIDENCE)
    }
}
