//! A photograph and its result as DICOM objects.
//!
//! [`photograph`] makes an Ophthalmic Photography 8 Bit object, with the JPEG in it as it was taken; [`result`] a
//! Secondary Capture of the picture that the device draws. Texts are UTF-8 (`ISO_IR 192`). UIDs are the journal's,
//! or follow from them, so that an object that is made twice is the same object.

mod build;
mod photograph;
mod result;

use dicom_object::{DefaultDicomObject, FileMetaTableBuilder, InMemDicomObject};
use glaucoma_common::photo::PhotoError;
use glaucoma_records::visit::{EyeExam, Uid, Visit};

pub use crate::identity::Identity;
pub use photograph::photograph;
pub use result::result;

/// This program, in every file it writes (0002,0012).
const IMPLEMENTATION_CLASS: &str = "2.25.211842710370236742297468926351089047331";

/// The camera and the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// Who made the camera; empty where unknown.
    pub manufacturer: String,
    /// The camera's model; empty where unknown.
    pub model: String,
    /// The device's serial number, unique in the programme.
    pub serial: String,
    /// This program's name and version.
    pub software: String,
}

/// What an object is made of.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The visit.
    pub visit: &'a Visit,
    /// The exam, one of the visit's.
    pub exam: &'a EyeExam,
    /// Where it was taken.
    pub station: &'a Station,
    /// Under which name.
    pub identity: Identity<'a>,
    /// Whether the person's identity is written into the pixels; `None` where no one knows,
    /// which is written as *yes*: DICOM has no word for it.
    pub burned_in: Option<bool>,
}

/// Why an object cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DicomError {
    /// The photograph's bytes.
    #[error("reading the photograph: {0}")]
    Photograph(#[from] PhotoError),
    /// The photograph is another than the exam's.
    #[error("the photograph's SHA-256 is {found}; the exam's is {expected}")]
    OtherPhotograph {
        /// Of the bytes.
        found: String,
        /// Of the exam.
        expected: String,
    },
    /// The exam belongs to another visit.
    #[error("exam {0} is not in the visit")]
    NotInVisit(String),
    /// A text that DICOM cannot hold, and that must not be cut.
    #[error(
        "{what} does not fit DICOM: at most {max} characters, no backslash, no control characters"
    )]
    Text {
        /// Which.
        what: &'static str,
        /// Most characters.
        max: usize,
    },
    /// A time that is not written as the journal writes it.
    #[error("{0:?} is no time of the form 2026-05-01T09:30:00Z")]
    Time(String),
    /// The pixels may name the person.
    #[error(
        "a picture may name the person: it can be de-identified only if known to be without such words"
    )]
    BurnedIn,
    /// More pixels than DICOM's 16 bits.
    #[error("{width} x {height} pixels; DICOM holds 65535 a side")]
    Size {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The encoder.
    #[error("encoding the object: {0}")]
    Encode(String),
}

/// A DICOM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DicomFile {
    /// SOP Instance UID.
    pub instance: Uid,
    /// The file (PS3.10): preamble, meta group, data set.
    pub bytes: Vec<u8>,
}

impl Subject<'_> {
    /// The exam's number in the visit, from 1.
    fn number(&self) -> Result<usize, DicomError> {
        let at = self.visit.exams.iter().position(|exam| exam.uid == self.exam.uid);
        at.map(|at| at + 1).ok_or_else(|| DicomError::NotInVisit(self.exam.uid.0.clone()))
    }
}

fn file(
    set: InMemDicomObject,
    instance: Uid,
    transfer_syntax: &str,
) -> Result<DicomFile, DicomError> {
    let encode = |error: &dyn std::error::Error| DicomError::Encode(error.to_string());
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(transfer_syntax)
        .implementation_class_uid(IMPLEMENTATION_CLASS)
        .implementation_version_name("GLAUCOMA-EXCH");
    let object: DefaultDicomObject = set.with_meta(meta).map_err(|error| encode(&error))?;
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).map_err(|error| encode(&error))?;
    Ok(DicomFile { instance, bytes })
}
