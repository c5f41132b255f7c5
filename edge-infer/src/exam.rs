//! The spine: one photograph from its bytes to a result.
//!
//! decode -> quality -> preprocess -> network -> reading -> risk, each stage timed. An exam ends in
//! one of three [`Outcome`]s; only a graded one carries a risk, so a refusal or an abstention can
//! never be shown as low risk.

use std::time::Instant;

use glaucoma_common::calibration::VcdrError;
use glaucoma_common::grading::{Grade, grade};
use glaucoma_common::manifest::{Manifest, QualityLimits};
use glaucoma_common::photo::{Limits, Photo, PhotoError, decode, sha256_hex};
use glaucoma_common::preprocess::{
    FieldOfView, Placement, PreprocessError, find_field_of_view, prepare_within, to_input,
};
use glaucoma_common::quality::{Reason, judge, measure};
use glaucoma_common::reading::{Reading, read};
use glaucoma_common::risk::Risk;
use glaucoma_engine::EngineError;
use serde::Serialize;

use crate::bundle::Bundle;

/// What came of one photograph.
#[derive(Debug)]
pub struct ExamResult {
    /// The decoded photograph; absent when it could not be decoded.
    pub photo: Option<Photo>,
    /// SHA-256 of the file's bytes in hexadecimal; absent when there were none to read.
    pub sha256: Option<String>,
    /// The round field of view, where one was found.
    pub field_of_view: Option<FieldOfView>,
    /// The result itself.
    pub outcome: Outcome,
    /// How long each stage took.
    pub timing: Timing,
}

impl ExamResult {
    /// The result where the photograph could not be fetched, for the reason in `message`.
    pub fn unavailable(message: String) -> Self {
        Self {
            photo: None,
            sha256: None,
            field_of_view: None,
            outcome: Outcome::Refused(Refusal::Unavailable(message)),
            timing: Timing::default(),
        }
    }
}

/// How an exam ended.
#[derive(Debug)]
pub enum Outcome {
    /// The photograph was graded.
    Graded(Grading),
    /// A fundus photograph that cannot be graded. That is a result: never low risk.
    Ungradable {
        /// Why, most important first; never empty.
        reasons: Vec<Reason>,
        /// What the network found, when it got that far; not to be trusted.
        reading: Option<Box<Reading>>,
    },
    /// Not examined: no photograph, no fundus photograph, or a failure of the program.
    Refused(Refusal),
}

/// The result of a graded photograph.
#[derive(Debug)]
pub struct Grading {
    /// The probability of glaucoma and its two parts.
    pub risk: Risk,
    /// Which side of the model's operating point it lies on.
    pub band: RiskBand,
    /// The threshold between the bands, 0 to 1.
    pub threshold: f64,
    /// Vertical cup-to-disc ratio.
    pub vcdr: f64,
    /// Where the true ratio lies; absent where the model does not know how far it may be off.
    pub vcdr_interval: Option<VcdrInterval>,
    /// Masks, positions and laterality.
    pub reading: Box<Reading>,
}

impl Grading {
    /// The ratio's interval for a screen or a record, which have no room to say that only synthetic pictures were
    /// measured for it: there where real eyes were.
    #[must_use]
    pub fn interval_of_real_eyes(&self) -> Option<VcdrInterval> {
        self.vcdr_interval.filter(|interval| interval.real_eyes > 0)
    }
}

/// Where the true cup-to-disc ratio lies, as far as the model's errors have been measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct VcdrInterval {
    /// Lower end, 0 to 1.
    pub low: f64,
    /// Upper end, 0 to 1.
    pub high: f64,
    /// Share of the measured photographs whose true ratio lay inside.
    pub share: f64,
    /// Photographs of real eyes that this was measured on, beside phantoms.
    pub real_eyes: u64,
}

impl VcdrInterval {
    fn of(vcdr: f64, error: &VcdrError) -> Self {
        let (low, high) = error.interval(vcdr);
        Self { low, high, share: error.share, real_eyes: error.real_eyes() }
    }
}

/// Which side of the model's operating point a probability lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RiskBand {
    /// At or above the threshold.
    Suspected,
    /// Below the threshold.
    NotSuspected,
}

/// Why a picture was not examined at all.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There were no bytes to examine.
    #[error("{0}")]
    Unavailable(String),
    /// The bytes are not a readable photograph.
    #[error(transparent)]
    Photo(#[from] PhotoError),
    /// The picture shows no fundus.
    #[error("{0}")]
    NotFundus(Reason),
    /// The network's input could not be made.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The network could not be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Milliseconds spent in each stage; absent for a stage that was not reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Timing {
    /// Bytes to pixels.
    pub decode: Option<f64>,
    /// Field of view, focus, exposure, colour.
    pub quality: Option<f64>,
    /// Crop, resize and scale.
    pub preprocess: Option<f64>,
    /// The network itself.
    pub network: Option<f64>,
    /// Masks, cup-to-disc ratio, fovea, anatomy, risk.
    pub reading: Option<f64>,
    /// All of these together.
    pub total: f64,
}

/// An exam up to the network: the photograph is decoded, judged and made into the network's input,
/// or the exam has ended without one. An archive does this part ahead, on threads of its own.
#[derive(Debug)]
pub struct Begun {
    photo: Option<Photo>,
    sha256: String,
    field_of_view: Option<FieldOfView>,
    next: Next,
    timing: Timing,
}

/// What is left to do of an exam.
#[derive(Debug)]
enum Next {
    /// Run the network on this.
    Network(NetworkInput),
    /// Nothing: the photograph alone decided.
    Nothing(Outcome),
}

/// The network's input and the way back from its pixels to the photograph's.
#[derive(Debug)]
struct NetworkInput {
    values: Vec<f32>,
    placement: Placement,
}

/// Examines one photograph.
pub fn examine(bytes: &[u8], bundle: &Bundle, limits: &Limits) -> ExamResult {
    begin(bytes, &bundle.manifest, limits).finish(bundle)
}

/// The part of an exam that needs no network.
pub fn begin(bytes: &[u8], manifest: &Manifest, limits: &Limits) -> Begun {
    let started = Instant::now();
    let mut timing = Timing::default();
    let decoded = timed(&mut timing.decode, || decode(bytes, limits));
    let (photo, sha256, field_of_view, next) = match decoded {
        Ok(photo) => {
            let (field_of_view, next) = look(&photo, manifest, &mut timing);
            let sha256 = photo.sha256.clone();
            (Some(photo), sha256, field_of_view, next)
        }
        Err(error) => {
            let refused = Outcome::Refused(error.into());
            (None, sha256_hex(bytes), None, Next::Nothing(refused))
        }
    };
    timing.total = milliseconds(started);
    Begun { photo, sha256, field_of_view, next, timing }
}

impl Begun {
    /// SHA-256 of the file's bytes in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Lets go of the photograph's pixels, which only a drawing of the result would need.
    pub fn drop_pixels(&mut self) {
        self.photo = None;
    }

    /// The rest of the exam: network, reading, risk.
    pub fn finish(mut self, bundle: &Bundle) -> ExamResult {
        let started = Instant::now();
        let outcome = match self.next {
            Next::Network(input) => {
                answer(&input, bundle, &mut self.timing).unwrap_or_else(Outcome::Refused)
            }
            Next::Nothing(outcome) => outcome,
        };
        self.timing.total = to_microsecond(self.timing.total + milliseconds(started));
        ExamResult {
            photo: self.photo,
            sha256: Some(self.sha256),
            field_of_view: self.field_of_view,
            outcome,
            timing: self.timing,
        }
    }
}

/// From a decoded photograph to the network's input, or to what its pixels say against grading.
fn look(photo: &Photo, manifest: &Manifest, timing: &mut Timing) -> (Option<FieldOfView>, Next) {
    let (field_of_view, assessed) = timed(&mut timing.quality, || {
        let field = find_field_of_view(&photo.pixels);
        (field, assess(photo, field.as_ref(), &manifest.quality))
    });
    let next = assessed.and_then(|reasons| {
        if reasons.is_empty() {
            let input =
                timed(&mut timing.preprocess, || network_input(photo, field_of_view, manifest))?;
            Ok(Next::Network(input))
        } else {
            Ok(Next::Nothing(Outcome::Ungradable { reasons, reading: None }))
        }
    });
    (field_of_view, next.unwrap_or_else(|refusal| Next::Nothing(Outcome::Refused(refusal))))
}

/// What the pixels alone say against grading; a picture of something else is refused.
fn assess(
    photo: &Photo,
    field: Option<&FieldOfView>,
    limits: &QualityLimits,
) -> Result<Vec<Reason>, Refusal> {
    let measures = measure(&photo.pixels, field)?;
    tracing::debug!(?measures, "quality measured");
    let reasons = judge(&measures, limits);
    match reasons.iter().find(|reason| reason.is_not_fundus()) {
        Some(reason) => Err(Refusal::NotFundus(reason.clone())),
        None => Ok(reasons),
    }
}

/// Crops, resizes and scales a photograph of good quality.
fn network_input(
    photo: &Photo,
    field: Option<FieldOfView>,
    manifest: &Manifest,
) -> Result<NetworkInput, PreprocessError> {
    let prepared = prepare_within(&photo.pixels, field, &manifest.input)?;
    let values = to_input(&prepared.pixels, manifest.input.scale);
    Ok(NetworkInput { values, placement: prepared.placement })
}

/// From the network's input to a grading, or to the network's own reasons against one.
fn answer(input: &NetworkInput, bundle: &Bundle, timing: &mut Timing) -> Result<Outcome, Refusal> {
    let manifest = &bundle.manifest;
    let output = timed(&mut timing.network, || bundle.engine.run(&input.values))?;
    Ok(timed(&mut timing.reading, || {
        let reading = read(&output, &input.placement, &manifest.decoding, &manifest.anatomy);
        conclude(reading, bundle)
    }))
}

/// A grading when the reading is whole and sound, an abstention otherwise.
fn conclude(reading: Reading, bundle: &Bundle) -> Outcome {
    let Manifest { operating_point: point, vcdr_error, .. } = &bundle.manifest;
    match grade(&reading, &bundle.manifest) {
        Ok(Grade { risk, vcdr }) => {
            let suspected = point.refers(risk.probability);
            Outcome::Graded(Grading {
                risk,
                band: if suspected { RiskBand::Suspected } else { RiskBand::NotSuspected },
                threshold: point.threshold,
                vcdr,
                vcdr_interval: vcdr_error.as_ref().map(|error| VcdrInterval::of(vcdr, error)),
                reading: Box::new(reading),
            })
        }
        Err(reasons) => Outcome::Ungradable { reasons, reading: Some(Box::new(reading)) },
    }
}

/// Runs a stage and notes its milliseconds.
fn timed<T>(slot: &mut Option<f64>, stage: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let value = stage();
    *slot = Some(milliseconds(started));
    value
}

/// Milliseconds since `started`, to the microsecond.
fn milliseconds(started: Instant) -> f64 {
    to_microsecond(started.elapsed().as_secs_f64() * 1e3)
}

fn to_microsecond(milliseconds: f64) -> f64 {
    (milliseconds * 1e3).round() / 1e3
}
