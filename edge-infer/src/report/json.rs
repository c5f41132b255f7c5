//! The JSON contract: one object a photograph. Every key is always there; what is not known is
//! `null`. Documented in `edge-infer/README.md`.

use glaucoma_common::preprocess::NativePoint;
use glaucoma_common::quality::Reason;
use glaucoma_common::reading::{Laterality, Reading, Region};
use glaucoma_common::risk::Risk;
use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::exam::{ExamResult, Outcome, Refusal, Timing, VcdrInterval};

/// The program that makes the records, with its version.
pub const PROGRAM: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// One photograph's result.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// The photograph's path as it was given or found.
    pub file: &'a str,
    /// SHA-256 of the file's bytes in hexadecimal; `null` when they could not be read.
    pub sha256: Option<&'a str>,
    /// How the exam ended.
    pub status: Status,
    /// The probability of glaucoma and its two parts; only when graded.
    pub risk: Option<Risk>,
    /// Vertical cup-to-disc ratio; only when graded.
    pub vcdr: Option<f64>,
    /// Where the true ratio lies; only when graded by a model that knows how far it may be off.
    pub vcdr_interval: Option<VcdrInterval>,
    /// The optic disc, where found.
    pub disc: Option<RegionRecord>,
    /// The optic cup, where found.
    pub cup: Option<RegionRecord>,
    /// The fovea, where found, in native pixels from the top left.
    pub fovea: Option<PointRecord>,
    /// Which eye, where disc and fovea tell.
    pub laterality: Option<Laterality>,
    /// Whether the photograph can be graded, and why not.
    pub quality: QualityRecord,
    /// The model that was used.
    pub model: ModelRecord<'a>,
    /// The program and its version.
    pub program: &'static str,
    /// Milliseconds of each stage; `null` for a stage that was not reached.
    pub timing_ms: &'a Timing,
}

/// How an exam ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is a result.
    Graded,
    /// A fundus photograph that cannot be graded: a result of its own, never low risk.
    Ungradable,
    /// Not examined.
    Error,
}

/// A point in native pixels from the top left.
#[derive(Debug, Serialize)]
pub struct PointRecord {
    /// To the right.
    pub x: f64,
    /// Down.
    pub y: f64,
}

/// Disc or cup in native pixels.
#[derive(Debug, Serialize)]
pub struct RegionRecord {
    /// Its centroid.
    pub center: PointRecord,
    /// Its largest horizontal extent.
    pub width: f64,
    /// Its largest vertical extent.
    pub height: f64,
}

/// Whether the photograph can be graded.
#[derive(Debug, Serialize)]
pub struct QualityRecord {
    /// The verdict.
    pub verdict: Verdict,
    /// Sentences: what is wrong and what to do; empty when gradable.
    pub reasons: Vec<String>,
}

/// A verdict on a photograph's quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Good enough.
    Gradable,
    /// Not good enough, or the findings contradict each other.
    Ungradable,
    /// Not judged: no photograph, no fundus photograph, or the program failed.
    Refused,
}

/// The model that was used.
#[derive(Debug, Serialize)]
pub struct ModelRecord<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// SHA-256 of its bundle in hexadecimal.
    pub sha256: &'a str,
}

impl<'a> ModelRecord<'a> {
    /// The record of one model.
    pub fn new(bundle: &'a Bundle) -> Self {
        let manifest = &bundle.manifest;
        Self { name: &manifest.name, version: &manifest.version, sha256: &bundle.sha256 }
    }
}

impl<'a> Record<'a> {
    /// The record of one exam.
    pub fn new(file: &'a str, exam: &'a ExamResult, bundle: &'a Bundle) -> Self {
        let empty = Self {
            file,
            sha256: exam.sha256.as_deref(),
            status: Status::Error,
            risk: None,
            vcdr: None,
            vcdr_interval: None,
            disc: None,
            cup: None,
            fovea: None,
            laterality: None,
            quality: QualityRecord { verdict: Verdict::Refused, reasons: Vec::new() },
            model: ModelRecord::new(bundle),
            program: PROGRAM,
            timing_ms: &exam.timing,
        };
        match &exam.outcome {
            Outcome::Graded(grading) => Self {
                status: Status::Graded,
                risk: Some(grading.risk),
                vcdr: Some(grading.vcdr),
                vcdr_interval: grading.vcdr_interval,
                quality: QualityRecord { verdict: Verdict::Gradable, reasons: Vec::new() },
                ..empty.with_positions(&grading.reading)
            },
            Outcome::Ungradable { reasons, reading } => {
                let found = match reading {
                    Some(reading) => empty.with_positions(reading),
                    None => empty,
                };
                Self {
                    status: Status::Ungradable,
                    quality: QualityRecord {
                        verdict: Verdict::Ungradable,
                        reasons: reasons.iter().map(Reason::to_string).collect(),
                    },
                    ..found
                }
            }
            Outcome::Refused(refusal) => Self {
                quality: QualityRecord {
                    verdict: Verdict::Refused,
                    reasons: vec![Refusal::to_string(refusal)],
                },
                ..empty
            },
        }
    }

    fn with_positions(self, reading: &Reading) -> Self {
        Self {
            disc: reading.disc.as_ref().map(RegionRecord::from),
            cup: reading.cup.as_ref().map(RegionRecord::from),
            fovea: reading.fovea.map(PointRecord::from),
            laterality: reading.laterality,
            ..self
        }
    }
}

impl From<NativePoint> for PointRecord {
    fn from(point: NativePoint) -> Self {
        Self { x: tenth(point.x), y: tenth(point.y) }
    }
}

impl From<&Region> for RegionRecord {
    fn from(region: &Region) -> Self {
        Self {
            center: region.center.into(),
            width: tenth(region.width),
            height: tenth(region.height),
        }
    }
}

/// To a tenth of a native pixel: finer than any network pixel.
fn tenth(pixels: f64) -> f64 {
    (pixels * 10.0).round() / 10.0
}
