//! What an exam's result is to a visit: the finding that is recorded, and the picture that is shown.

use std::sync::Arc;

use glaucoma_common::preprocess::{NativePoint, reduce};
use glaucoma_common::quality::Reason;
use glaucoma_common::reading::Reading;
use glaucoma_kiosk::picture::EyePicture;
use glaucoma_records::visit::Finding;
use image::RgbImage;

use crate::exam::{ExamResult, Outcome, Refusal};
use crate::screen::outline::rounded;

/// Pixels of the longer side of a picture that is kept to be shown and enlarged.
const LONGEST_SIDE: u32 = 1600;

/// The finding; `None` where the photograph could not be examined at all. What cannot be graded is to be
/// taken again: how often, the visit decides.
pub fn finding(exam: &ExamResult, threshold: Option<f64>) -> Option<Finding> {
    match &exam.outcome {
        Outcome::Graded(grading) => Some(Finding::Graded {
            probability: grading.risk.probability,
            threshold: threshold.unwrap_or(grading.threshold),
            vcdr: grading.vcdr,
            vcdr_interval: grading.interval_of_real_eyes().map(|found| (found.low, found.high)),
        }),
        Outcome::Ungradable { reasons, .. } => Some(Finding::Retake { reasons: codes(reasons) }),
        Outcome::Refused(Refusal::NotFundus(reason)) => {
            Some(Finding::Retake { reasons: vec![reason.code().to_owned()] })
        }
        Outcome::Refused(_) => None,
    }
}

fn codes(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().map(|reason| reason.code().to_owned()).collect()
}

/// What the network saw, where it got that far.
pub fn reading(exam: &ExamResult) -> Option<&Reading> {
    match &exam.outcome {
        Outcome::Graded(grading) => Some(&grading.reading),
        Outcome::Ungradable { reading, .. } => reading.as_deref(),
        Outcome::Refused(_) => None,
    }
}

/// The photograph with its outlines, made smaller where a screen could not show more.
pub fn picture(exam: &ExamResult) -> Option<EyePicture> {
    // Only a graded photograph's outlines may be believed.
    let reading = match &exam.outcome {
        Outcome::Graded(grading) => Some(&*grading.reading),
        Outcome::Ungradable { .. } | Outcome::Refused(_) => None,
    };
    shown(&exam.photo.as_ref()?.pixels, reading)
}

/// `pixels` as they are shown, with the outlines of `reading`, if any; `None` where there are no pixels.
pub fn shown(pixels: &RgbImage, reading: Option<&Reading>) -> Option<EyePicture> {
    let small = reduce(pixels, LONGEST_SIDE).ok()?;
    let scale = f64::from(small.width()) / f64::from(pixels.width());
    let at = |point: NativePoint| ((point.x * scale) as f32, (point.y * scale) as f32);
    let outline =
        |points: &[NativePoint]| rounded(points, 1.0 / scale).into_iter().map(at).collect();
    let region = |pick: fn(&Reading) -> Option<&glaucoma_common::reading::Region>| {
        let region = reading.and_then(|reading| pick(reading));
        region.map_or_else(Vec::new, |region| outline(&region.outline))
    };
    Some(EyePicture {
        pixels: Arc::new(small),
        disc: region(|reading| reading.disc.as_ref()),
        cup: region(|reading| reading.cup.as_ref()),
        fovea: reading.and_then(|reading| reading.fovea).map(at),
    })
}
