//! IDRiD: disc masks, fovea and disc centres; no class, no cup.
//!
//! One table `annotations.csv` beside `images/` and `masks/od/`. Coordinates are x, y in native
//! pixels from the top left. The publisher gives no patient numbers.

use super::table::{Photos, Row, Table, files_below, first_line, keep, relative};
use super::{Dataset, DatasetError, MaskSource, MaskTruth, Problem, ProblemKind, Sample, Truth};
use std::collections::BTreeSet;
use std::path::Path;

/// What [`recognises`] looks for, in words.
pub const LOOKED_FOR: &str =
    "IDRiD: images/ and annotations.csv with columns image, od_mask, fovea_x";

const TABLE: &str = "annotations.csv";

/// Whether `dir` is IDRiD's layout.
pub fn recognises(dir: &Path) -> bool {
    let header = first_line(&dir.join(TABLE));
    header.contains("od_mask") && header.contains("fovea_x") && dir.join("images").is_dir()
}

/// Imports IDRiD from `dir`.
///
/// # Errors
/// The table cannot be read or lacks a column. Bad rows and missing files are problems of the data set.
pub fn import(dir: &Path) -> Result<Dataset, DatasetError> {
    let table_path = dir.join(TABLE);
    let table = Table::read_csv(&table_path)?;
    table
        .require(&["image", "width", "height", "od_mask", "fovea_x", "fovea_y", "od_x", "od_y"])?;
    let mut photos = Photos::below(dir, "images")?;
    let (mut samples, mut problems) = (Vec::new(), Vec::new());
    for row in table.rows() {
        match photos.take(row, row.text("image")) {
            Ok(photo) => samples.push(Sample {
                id: format!("idrid/{}", row.text("image")),
                dataset: "idrid".into(),
                photo,
                patient: None,
                part: None,
                declared_size: keep(row.size("width", "height"), &mut problems),
                truth: truth(dir, row, &mut problems),
                framing: None,
            }),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(photos.unnamed(&table_path));
    problems.extend(stray_masks(dir, &table)?);
    Ok(Dataset { name: "idrid".into(), root: dir.to_path_buf(), samples, problems })
}

/// Masks that no row names: a misspelt row would otherwise lose its mask without a word.
fn stray_masks(dir: &Path, table: &Table) -> Result<Vec<Problem>, DatasetError> {
    let folder = dir.join("masks");
    if !folder.is_dir() {
        return Ok(vec![]);
    }
    let named: BTreeSet<&str> = table.rows().map(|row| row.text("od_mask")).collect();
    let files = files_below(&folder, &["png", "bmp"])?;
    let stray = files.into_iter().filter(|file| !named.contains(relative(dir, file).as_str()));
    Ok(stray
        .map(|file| Problem::new(file, ProblemKind::NotListed, format!("no row in {TABLE}")))
        .collect())
}

fn truth(dir: &Path, row: Row<'_>, problems: &mut Vec<Problem>) -> Truth {
    let mut disc = None;
    if !row.text("od_mask").is_empty() {
        let path = dir.join(row.text("od_mask"));
        if path.is_file() {
            disc = Some(MaskTruth::real(MaskSource::Binary(path)));
        } else {
            problems.push(Problem::new(
                path,
                ProblemKind::Missing,
                format!("disc mask of {}", row.text("image")),
            ));
        }
    }
    Truth {
        disc,
        fovea: keep(row.point("fovea_x", "fovea_y"), problems),
        disc_center: keep(row.point("od_x", "od_y"), problems),
        ..Truth::default()
    }
}
