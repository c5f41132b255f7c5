//! HYGD, the Hillel Yaffe Glaucoma Dataset: a class from full examination, patient numbers, quality scores.
//!
//! One table `annotations.csv` beside `images/P_K.jpg` (patient P, picture K). No masks, no points.
//! Its two classes are framed differently; see [`super::framing`].

use super::table::{Photos, Row, Table, first_line, keep};
use super::{Dataset, DatasetError, Problem, Sample, Truth};
use std::path::Path;

/// What [`recognises`] looks for, in words.
pub const LOOKED_FOR: &str =
    "HYGD: images/ and annotations.csv with columns image, patient, label, quality_score";

/// The data set's name.
pub const NAME: &str = "hygd";
/// What must be said of its classes wherever whole pictures are used.
pub const CAVEAT: &str =
    " (whole pictures; glaucoma mostly disc-centred, healthy mostly macula-centred)";

const TABLE: &str = "annotations.csv";

/// Whether `dir` is HYGD's layout.
pub fn recognises(dir: &Path) -> bool {
    let header = first_line(&dir.join(TABLE));
    header.contains("patient") && header.contains("quality_score") && dir.join("images").is_dir()
}

/// Imports HYGD from `dir`.
///
/// # Errors
/// The table cannot be read or lacks a column. Bad rows and missing files are problems of the data set.
pub fn import(dir: &Path) -> Result<Dataset, DatasetError> {
    let table_path = dir.join(TABLE);
    let table = Table::read_csv(&table_path)?;
    table.require(&["image", "width", "height", "patient", "label", "quality_score"])?;
    let mut photos = Photos::below(dir, "images")?;
    let (mut samples, mut problems) = (Vec::new(), Vec::new());
    for row in table.rows() {
        match photos.take(row, row.text("image")) {
            Ok(photo) => samples.push(Sample {
                id: format!("hygd/{}", row.text("image")),
                dataset: NAME.into(),
                photo,
                patient: patient(row, &mut problems),
                part: None,
                declared_size: keep(row.size("width", "height"), &mut problems),
                truth: Truth {
                    glaucoma: keep(class(row), &mut problems),
                    quality_score: keep(row.number("quality_score"), &mut problems)
                        .map(|score| score as f32),
                    ..Truth::default()
                },
                framing: None,
            }),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(photos.unnamed(&table_path));
    Ok(Dataset { name: NAME.into(), root: dir.to_path_buf(), samples, problems })
}

/// Without its patient number a photograph could stand on both sides of a split, so that is a problem.
fn patient(row: Row<'_>, problems: &mut Vec<Problem>) -> Option<String> {
    let patient = row.text("patient");
    if patient.is_empty() {
        problems.push(row.bad(format!("{} has no patient number", row.text("image"))));
        return None;
    }
    Some(patient.to_owned())
}

fn class(row: Row<'_>) -> Result<Option<bool>, Problem> {
    match row.text("label") {
        "GON+" => Ok(Some(true)),
        "GON-" => Ok(Some(false)),
        "" => Ok(None),
        other => Err(row.bad(format!("label is `{other}`, neither GON+ nor GON-"))),
    }
}
