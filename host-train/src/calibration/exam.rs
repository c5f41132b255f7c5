//! One photograph through a finished bundle, step by step as on the device: the same gate, the same
//! preparation, the same engine, the same rules for a grade.

use crate::dataset::DatasetError;
use crate::export::engine::{Engine, EngineError};
use glaucoma_common::grading::{Grade, grade};
use glaucoma_common::manifest::Manifest;
use glaucoma_common::photo::{Limits, decode};
use glaucoma_common::preprocess::{PreprocessError, find_field_of_view, prepare_within};
use glaucoma_common::quality::{Reason, judge, measure};
use glaucoma_common::reading::read;
use image::RgbImage;
use std::path::{Path, PathBuf};

/// What stops an exam.
#[derive(Debug, thiserror::Error)]
pub enum ExamError {
    /// The bundle cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A photograph or mask cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// A bundle ready to examine.
#[derive(Debug)]
pub struct Examiner {
    /// What it says of itself.
    pub manifest: Manifest,
    engine: Engine,
}

/// What came of one photograph.
#[derive(Debug, Clone, PartialEq)]
pub struct Exam {
    /// The grade, or why there is none.
    pub grade: Result<Grade, Vec<Reason>>,
    /// Width and height of the photograph in pixels.
    pub size: (u32, u32),
}

impl Examiner {
    /// Prepares the bundle in `bytes`.
    ///
    /// # Errors
    /// A file without a manifest, or one that the engine refuses.
    pub fn open(bytes: &[u8]) -> Result<Self, ExamError> {
        let engine = Engine::load(bytes)?;
        Ok(Self { manifest: engine.manifest()?, engine })
    }

    /// Examines the photograph in the file `path`.
    ///
    /// # Errors
    /// A file that is no photograph, an engine that fails.
    pub fn examine(&self, path: &Path) -> Result<Exam, ExamError> {
        let bytes = std::fs::read(path).map_err(|cause| DatasetError::io(path, cause))?;
        let photo = decode(&bytes, &Limits::default())
            .map_err(|cause| DatasetError::Photo { path: path.to_path_buf(), cause })?;
        self.examine_pixels(&photo.pixels).map_err(|error| error.at(path))
    }

    /// Examines an upright photograph.
    ///
    /// # Errors
    /// One from which no input can be made, an engine that fails.
    pub fn examine_pixels(&self, photo: &RgbImage) -> Result<Exam, PixelError> {
        let size = photo.dimensions();
        let field = find_field_of_view(photo);
        let reasons = judge(&measure(photo, field.as_ref())?, &self.manifest.quality);
        if !reasons.is_empty() {
            return Ok(Exam { grade: Err(reasons), size });
        }
        let Manifest { input, decoding, anatomy, .. } = &self.manifest;
        let prepared = prepare_within(photo, field, input)?;
        let output = self.engine.run(&prepared.pixels, input.scale)?;
        let reading = read(&output, &prepared.placement, decoding, anatomy);
        Ok(Exam { grade: grade(&reading, &self.manifest), size })
    }
}

/// What stops the exam of pixels.
#[derive(Debug, thiserror::Error)]
pub enum PixelError {
    /// No input can be made of them.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl PixelError {
    pub(super) fn at(self, path: &Path) -> ExamError {
        let path: PathBuf = path.to_path_buf();
        match self {
            Self::Preprocess(cause) => DatasetError::Preprocess { path, cause }.into(),
            Self::Engine(error) => error.into(),
        }
    }
}
