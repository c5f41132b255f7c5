//! HRF: a class, and the disc as two experts' centres and diameters; no outlines, no fovea.
//!
//! One table `annotations.csv` beside `images/`. The disc mask is the circle of the experts' mean
//! centre and mean diameter: an approximation ([`MaskSource::is_approximate`]).

use super::table::{Photos, Row, Table, first_line, keep};
use super::{Dataset, DatasetError, MaskSource, MaskTruth, Problem, Sample, Truth};
use glaucoma_common::preprocess::NativePoint;
use std::path::Path;

/// What [`recognises`] looks for, in words.
pub const LOOKED_FOR: &str =
    "HRF: images/ and annotations.csv with columns image, label, expertA_disc_x, expertB_disc_x";

const TABLE: &str = "annotations.csv";

/// Whether `dir` is HRF's layout.
pub fn recognises(dir: &Path) -> bool {
    let header = first_line(&dir.join(TABLE));
    header.contains("expertA_disc_x") && dir.join("images").is_dir()
}

/// Imports HRF from `dir`.
///
/// # Errors
/// The table cannot be read or lacks a column. Bad rows and missing files are problems of the data set.
pub fn import(dir: &Path) -> Result<Dataset, DatasetError> {
    let table_path = dir.join(TABLE);
    let table = Table::read_csv(&table_path)?;
    table.require(&["image", "width", "height", "label"])?;
    for expert in ["A", "B"] {
        let [x, y, diameter] = columns(expert);
        table.require(&[&x, &y, &diameter])?;
    }
    let mut photos = Photos::below(dir, "images")?;
    let (mut samples, mut problems) = (Vec::new(), Vec::new());
    for row in table.rows() {
        match photos.take(row, row.text("image")) {
            Ok(photo) => samples.push(Sample {
                id: format!("hrf/{}", row.text("image")),
                dataset: "hrf".into(),
                photo,
                patient: None,
                part: None,
                declared_size: keep(row.size("width", "height"), &mut problems),
                truth: truth(row, &mut problems),
                framing: None,
            }),
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(photos.unnamed(&table_path));
    Ok(Dataset { name: "hrf".into(), root: dir.to_path_buf(), samples, problems })
}

fn columns(expert: &str) -> [String; 3] {
    ["disc_x", "disc_y", "disc_diameter"].map(|name| format!("expert{expert}_{name}"))
}

fn truth(row: Row<'_>, problems: &mut Vec<Problem>) -> Truth {
    let glaucoma = match row.text("label") {
        "glaucoma" => Some(true),
        "healthy" => Some(false),
        "" => None,
        other => {
            problems.push(row.bad(format!("label is `{other}`, neither glaucoma nor healthy")));
            None
        }
    };
    let circle = keep(mean_circle(row), problems);
    let disc =
        circle.map(|(center, diameter)| MaskTruth::real(MaskSource::Circle { center, diameter }));
    Truth { glaucoma, disc, disc_center: circle.map(|(center, _)| center), ..Truth::default() }
}

/// Mean centre and diameter of the experts who marked this photograph; `None` when neither did.
fn mean_circle(row: Row<'_>) -> Result<Option<(NativePoint, f64)>, Problem> {
    let mut marked = Vec::new();
    for expert in ["A", "B"] {
        let [x, y, diameter] = columns(expert);
        match (row.point(&x, &y)?, row.number(&diameter)?) {
            (Some(center), Some(diameter)) if diameter > 0.0 => marked.push((center, diameter)),
            (None, None) => {}
            _ => {
                return Err(row
                    .bad(format!("expert {expert}'s disc has no centre or no positive diameter")));
            }
        }
    }
    if marked.is_empty() {
        return Ok(None);
    }
    let count = marked.len() as f64;
    let mean =
        |value: fn(&(NativePoint, f64)) -> f64| marked.iter().map(value).sum::<f64>() / count;
    let center = NativePoint { x: mean(|(c, _)| c.x), y: mean(|(c, _)| c.y) };
    Ok(Some((center, mean(|(_, diameter)| *diameter))))
}
