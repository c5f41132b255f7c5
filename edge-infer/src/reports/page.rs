//! The picture of a recorded exam: the photograph, with the outlines its model draws again.

use glaucoma_common::photo::{self, Limits};
use glaucoma_kiosk::picture::EyePicture;
use glaucoma_records::visit::{EyeExam, Finding};

use crate::bundle::Bundle;
use crate::exam::examine;
use crate::kiosk::finding;

/// The exam's photograph. The journal keeps no outlines: they are drawn by examining the photograph once more, where
/// `bundle` is the model that examined it ([`draws`]); with another model's outlines the picture would show what
/// the numbers do not say. `None` where the photograph cannot be decoded.
pub(crate) fn picture(exam: &EyeExam, bytes: &[u8], bundle: Option<&Bundle>) -> Option<EyePicture> {
    let limits = Limits::default();
    match bundle.filter(|bundle| draws(bundle, exam)) {
        Some(bundle) => finding::picture(&examine(bytes, bundle, &limits)),
        None => finding::shown(&photo::decode(bytes, &limits).ok()?.pixels, None),
    }
}

/// Whether `bundle` can draw the exam's outlines: only of a graded photograph there are any.
pub(super) fn draws(bundle: &Bundle, exam: &EyeExam) -> bool {
    is_graded(exam) && bundle.sha256 == exam.model.sha256
}

/// Whether the photograph was graded.
pub(super) fn is_graded(exam: &EyeExam) -> bool {
    matches!(exam.finding, Finding::Graded { .. })
}
