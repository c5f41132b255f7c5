//! Samples, their truth, and where they come from.
//!
//! [`open`] recognises a data set by looking at the folder and hands it to its importer. An importer
//! reads annotations and file names only; photographs and masks are decoded by [`load`], by
//! [`check`], or when a mask is asked for. What is missing stays missing: every part of a [`Truth`]
//! is optional and nothing is imputed.

pub mod augment;
pub mod batches;
pub mod cache;
pub mod check;
pub mod drishti;
pub mod example;
pub mod framing;
pub mod hrf;
pub mod hygd;
pub mod idrid;
#[cfg(test)]
mod importer_tests;
pub mod load;
pub mod mask_source;
mod packed;
pub mod phantom;
pub mod photometric;
pub mod pseudo;
pub mod refuge;
pub mod sheet;
pub mod source;
pub mod split;
mod table;
pub mod target;
pub mod warp;

pub use framing::FramingHint;
pub use mask_source::{MaskSource, MaskTruth};
pub use split::{split, split_indices};

use glaucoma_common::photo::PhotoError;
use glaucoma_common::preprocess::{NativePoint, PreprocessError};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// One photograph and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Unique: `<dataset>/<path relative to the data set's folder>`, with forward slashes.
    pub id: String,
    /// Name of the data set: `refuge`, `idrid`, `hygd`, `hrf`, `drishti-gs1`.
    pub dataset: String,
    /// The photograph's file.
    pub photo: PathBuf,
    /// The publisher's patient number, where there is one. Unique within the data set only.
    pub patient: Option<String>,
    /// The part the publisher put this photograph in, where the publisher has a division.
    pub part: Option<Part>,
    /// Width and height in native pixels as the annotations state them; [`check`] and [`load`]
    /// compare them with the decoded photograph, because coordinates refer to this size.
    pub declared_size: Option<(u32, u32)>,
    /// The labels.
    pub truth: Truth,
    /// Where the disc lies according to a machine or an annotator of convenience: used for framing
    /// only ([`framing`]), never as a target and never scored.
    pub framing: Option<FramingHint>,
}

/// A publisher's own division of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// For learning.
    Train,
    /// For choosing.
    Validation,
    /// For reporting.
    Test,
}

/// What is known of a photograph. Every part is optional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Truth {
    /// Glaucoma (or glaucomatous optic neuropathy) present.
    pub glaucoma: Option<bool>,
    /// Optic disc mask; includes the cup.
    pub disc: Option<MaskTruth>,
    /// Optic cup mask.
    pub cup: Option<MaskTruth>,
    /// Centre of the fovea, native pixels.
    pub fovea: Option<NativePoint>,
    /// Centre of the disc as annotated (not derived from a mask), native pixels.
    pub disc_center: Option<NativePoint>,
    /// The publisher's image-quality score, on the publisher's scale.
    pub quality_score: Option<f32>,
    /// Whether a reader could grade this photograph.
    pub gradable: Option<bool>,
}

impl Truth {
    /// True when nothing that a task can learn from is known: no class, mask or point.
    pub fn is_unlabelled(&self) -> bool {
        self.glaucoma.is_none()
            && self.disc.is_none()
            && self.cup.is_none()
            && self.fovea.is_none()
            && self.disc_center.is_none()
    }
}

/// A data set as imported: its samples, and what its importer found wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Name of the layout, the prefix of every sample's `id`.
    pub name: String,
    /// The folder it was read from.
    pub root: PathBuf,
    /// Samples in the order of their `id`.
    pub samples: Vec<Sample>,
    /// What could not be imported as annotated, file by file. A sample whose photograph is missing
    /// is not in `samples`; one whose mask is missing is, without that mask.
    pub problems: Vec<Problem>,
}

impl Dataset {
    /// The samples of one of the publisher's parts.
    pub fn part(&self, part: Part) -> Vec<Sample> {
        let wanted = |sample: &&Sample| sample.part == Some(part);
        self.samples.iter().filter(wanted).cloned().collect()
    }

    /// The same data set with samples and problems in a fixed order, whatever order the file system gave.
    fn sorted(mut self) -> Self {
        self.samples.sort_by(|a, b| a.id.cmp(&b.id));
        self.problems.sort_by(|a, b| (&a.file, &a.what).cmp(&(&b.file, &b.what)));
        self
    }
}

/// Something wrong with one file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file (or, for a row of a table, the table).
    pub file: PathBuf,
    /// What sort of trouble.
    pub kind: ProblemKind,
    /// A sentence saying what is wrong.
    pub what: String,
}

impl Problem {
    pub(crate) fn new(
        file: impl Into<PathBuf>,
        kind: ProblemKind,
        what: impl Into<String>,
    ) -> Self {
        Self { file: file.into(), kind, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file.display(), self.kind, self.what)
    }
}

/// The sorts of trouble that [`Problem`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// Annotated or expected, but not there.
    Missing,
    /// There, but it cannot be opened or decoded.
    Unreadable,
    /// The file ends before its picture does.
    Truncated,
    /// A mask, or the size stated in the annotations, differs from the photograph's size.
    SizeMismatch,
    /// A coordinate outside the photograph.
    OutOfImage,
    /// A value that should be a number, a label or a name and is not.
    BadAnnotation,
    /// Grey levels that the mask's convention does not know, an empty mask, a cup outside its disc.
    BadMask,
    /// A photograph about which nothing is known.
    Unlabelled,
    /// A file that no annotation mentions.
    NotListed,
    /// The same picture, byte for byte, under two names.
    Duplicate,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Truncated => "truncated",
            Self::SizeMismatch => "size mismatch",
            Self::OutOfImage => "outside the image",
            Self::BadAnnotation => "bad annotation",
            Self::BadMask => "bad mask",
            Self::Unlabelled => "unlabelled",
            Self::NotListed => "not listed",
            Self::Duplicate => "duplicate",
        })
    }
}

/// What stops the reading of a data set.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The folder is of no layout known here.
    #[error("{}: not a data set known here. Looked for:\n{looked_for}", dir.display())]
    NotRecognised {
        /// The folder.
        dir: PathBuf,
        /// The layouts tried and what each would have shown, one a line.
        looked_for: String,
    },
    /// A file or folder could not be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said. Part of the message, hence not a `source` that would print it again.
        cause: std::io::Error,
    },
    /// A table (CSV, spreadsheet, JSON) cannot be understood.
    #[error("{}: {what}", path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// What is wrong, with the row where there is one.
        what: String,
    },
    /// A photograph cannot be decoded.
    #[error("{}: {cause}", path.display())]
    Photo {
        /// The photograph.
        path: PathBuf,
        /// What the decoder said.
        cause: PhotoError,
    },
    /// A photograph cannot be brought to the network's input.
    #[error("{}: {cause}", path.display())]
    Preprocess {
        /// The photograph.
        path: PathBuf,
        /// Why.
        cause: PreprocessError,
    },
    /// A mask cannot be decoded, or is not of its convention.
    #[error("{}: {what}", path.display())]
    Mask {
        /// The mask.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A mask, or the size stated in the annotations, differs from the photograph's size.
    #[error("{}: {found_width}x{found_height} pixels, but the photograph has {width}x{height}", path.display())]
    SizeMismatch {
        /// The mask, or the photograph whose stated size is wrong.
        path: PathBuf,
        /// Width found, pixels.
        found_width: u32,
        /// Height found, pixels.
        found_height: u32,
        /// The photograph's width, pixels.
        width: u32,
        /// The photograph's height, pixels.
        height: u32,
    },
    /// A point lies outside its photograph.
    #[error("{}: the point ({x}, {y}) lies outside its {width}x{height} pixels", path.display())]
    OutOfImage {
        /// The photograph.
        path: PathBuf,
        /// Native pixels from the left.
        x: f64,
        /// Native pixels from the top.
        y: f64,
        /// The photograph's width, pixels.
        width: u32,
        /// The photograph's height, pixels.
        height: u32,
    },
    /// Samples that could not be loaded, each with its error.
    #[error("{} of the samples cannot be loaded:\n{}", errors.len(), lines(errors))]
    Load {
        /// One for each sample.
        errors: Vec<DatasetError>,
    },
    /// Building a tensor failed.
    #[error("building a batch: {0}")]
    Tensor(#[from] candle_core::Error),
    /// An option that cannot be honoured.
    #[error("{0}")]
    Options(String),
}

fn lines(errors: &[DatasetError]) -> String {
    errors.iter().map(|error| format!("  {error}")).collect::<Vec<_>>().join("\n")
}

impl DatasetError {
    pub(crate) fn io(path: &Path, cause: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), cause }
    }

    pub(crate) fn table(path: &Path, what: impl Into<String>) -> Self {
        Self::Table { path: path.to_path_buf(), what: what.into() }
    }
}

/// One known layout: how to recognise it, what to say when it is not there, and its importer.
struct Layout {
    looked_for: &'static str,
    recognises: fn(&Path) -> bool,
    import: fn(&Path) -> Result<Dataset, DatasetError>,
}

/// The layouts in the order in which they are tried; each recognises only its own.
const LAYOUTS: [Layout; 6] = [
    Layout {
        looked_for: refuge::LOOKED_FOR_CHALLENGE,
        recognises: refuge::is_challenge,
        import: refuge::import_challenge,
    },
    Layout {
        looked_for: refuge::LOOKED_FOR_CONVERTED,
        recognises: refuge::is_converted,
        import: refuge::import_converted,
    },
    Layout { looked_for: idrid::LOOKED_FOR, recognises: idrid::recognises, import: idrid::import },
    Layout { looked_for: hygd::LOOKED_FOR, recognises: hygd::recognises, import: hygd::import },
    Layout { looked_for: hrf::LOOKED_FOR, recognises: hrf::recognises, import: hrf::import },
    Layout {
        looked_for: drishti::LOOKED_FOR,
        recognises: drishti::recognises,
        import: drishti::import,
    },
];

/// Recognises the layout of `dir` and imports it.
///
/// Photographs and masks are looked for but not decoded: [`check::check`] does that.
///
/// # Errors
/// [`DatasetError::NotRecognised`] with everything that was looked for; an unreadable folder or
/// annotation table. A single bad row or missing file is a [`Problem`] of the data set, not an error.
pub fn open(dir: &Path) -> Result<Dataset, DatasetError> {
    // A clear "No such file or directory" before "not a data set".
    std::fs::read_dir(dir).map_err(|source| DatasetError::io(dir, source))?;
    match LAYOUTS.iter().find(|layout| (layout.recognises)(dir)) {
        Some(layout) => (layout.import)(dir).map(Dataset::sorted),
        None => {
            let lines: Vec<String> =
                LAYOUTS.iter().map(|layout| format!("  {}", layout.looked_for)).collect();
            Err(DatasetError::NotRecognised {
                dir: dir.to_path_buf(),
                looked_for: lines.join("\n"),
            })
        }
    }
}
