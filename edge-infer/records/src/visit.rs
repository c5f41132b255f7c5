//! A person's visit: who, which eyes, what came of each photograph, what was decided. Values only: no files,
//! no clock, no screen.
//!
//! Times are UTC in RFC 3339 with seconds (`2026-05-01T09:30:00Z`); identifiers are DICOM UIDs of the
//! form `2.25.` and the decimal number of a UUID, so that the same thing has the same name in the journal, in
//! DICOM and in FHIR.

use glaucoma_common::reading::Laterality;
use serde::{Deserialize, Serialize};

/// A globally unique identifier, as DICOM writes it (`2.25.` and a UUID's number): at most 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(pub String);

/// Administrative sex, as FHIR names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sex {
    /// Female.
    Female,
    /// Male.
    Male,
    /// Neither of both.
    Other,
    /// Not asked or not told.
    Unknown,
}

/// Who was examined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The programme's number of the person: typed, scanned or generated; never empty.
    pub id: String,
    /// The name, where the programme asks for it.
    pub name: Option<String>,
    /// Age in whole years, 0 to 130.
    pub age_years: Option<u8>,
    /// Administrative sex.
    pub sex: Sex,
}

/// The model that looked at a photograph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelName {
    /// The bundle's name.
    pub name: String,
    /// The bundle's version.
    pub version: String,
    /// SHA-256 of the bundle in hexadecimal.
    pub sha256: String,
}

/// What came of one photograph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// It was graded.
    Graded {
        /// Probability of glaucoma, 0 to 1.
        probability: f64,
        /// The operating point it was held against, 0 to 1.
        threshold: f64,
        /// Vertical cup-to-disc ratio.
        vcdr: f64,
        /// Lower and upper end of the ratio's interval, where the model's certificate gives one.
        vcdr_interval: Option<(f64, f64)>,
    },
    /// It cannot be graded and should be taken again; why, and what to do, as codes of the quality gate.
    Retake {
        /// The reasons, most important first; never empty.
        reasons: Vec<String>,
    },
    /// It cannot be graded, and no further photograph will be taken. A result: never low risk.
    Ungradable {
        /// The reasons, most important first; never empty.
        reasons: Vec<String>,
    },
}

/// One photograph of one eye and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EyeExam {
    /// The exam's own identifier; the SOP instance of its photograph.
    pub uid: Uid,
    /// Which eye the operator or the camera says it is.
    pub eye: Laterality,
    /// Which eye the picture shows, by disc and fovea; `None` where they do not tell.
    pub eye_seen: Option<Laterality>,
    /// The operator looked again and stands by `eye` although the picture seems to show the other.
    #[serde(default)]
    pub eye_confirmed: bool,
    /// When it was photographed or taken in.
    pub taken_at: String,
    /// SHA-256 of the photograph's bytes, in hexadecimal.
    pub photograph_sha256: String,
    /// The photograph's format: `image/jpeg`, `image/png` or `application/dicom`.
    pub photograph_type: String,
    /// Whether the source says that the person's identity is written into the pixels; `None` where it says
    /// nothing.
    #[serde(default)]
    pub burned_in: Option<bool>,
    /// What came of it.
    pub finding: Finding,
    /// The model that looked at it.
    pub model: ModelName,
}

impl EyeExam {
    /// Whether the picture seems to show the other eye and nobody has confirmed the eye since.
    #[must_use]
    pub fn wrong_eye_alarm(&self) -> bool {
        !self.eye_confirmed && self.eye_seen.is_some_and(|seen| seen != self.eye)
    }
}

/// Why there is no photograph of an eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoPhotograph {
    /// The person does not have this eye.
    Absent,
    /// The eye is there and could not be photographed: a cataract, pain, the person declined.
    NotPossible,
}

/// An eye that is not photographed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EyeWithoutPhotograph {
    /// Which eye.
    pub eye: Laterality,
    /// Why.
    pub why: NoPhotograph,
}

/// What the health worker is told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Decision {
    /// Send the person to an eye clinic.
    Refer {
        /// Why, as codes (`suspected_right`, `ungradable_left`, ...); never empty.
        reasons: Vec<String>,
    },
    /// Nothing found that this screening looks for: come again at the next screening. Only when both eyes
    /// were graded below the threshold, or the other eye is known to be absent.
    NotSuspected,
}

/// A person's visit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Visit {
    /// The visit's identifier; the DICOM study of its photographs.
    pub uid: Uid,
    /// Who was examined.
    pub person: Person,
    /// Where: the programme's name of the site.
    pub site: String,
    /// Who registered the person: the operator's name or number.
    pub operator: String,
    /// When the visit began.
    pub begun_at: String,
    /// The operator's own words, where there are any.
    #[serde(default)]
    pub note: Option<String>,
    /// The eyes that are not photographed, each with its reason.
    #[serde(default)]
    pub without_photograph: Vec<EyeWithoutPhotograph>,
    /// The photographs in the order they were taken, of both eyes.
    pub exams: Vec<EyeExam>,
    /// The decision; `None` while the visit is open.
    pub decision: Option<Decision>,
    /// Who decided: another than [`Visit::operator`] where the visit was gone on with by somebody else.
    #[serde(default)]
    pub decided_by: Option<String>,
}

impl Visit {
    /// Who answers for the visit, and is asked about it: who decided; before that, who registered the person.
    #[must_use]
    pub fn answers(&self) -> &str {
        self.decided_by.as_deref().unwrap_or(&self.operator)
    }
}
