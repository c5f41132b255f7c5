//! Machine-made disc and cup masks, attached to photographs that have none: to learn from, never to score.
//!
//! A folder with `index.csv`: `image` (as in [`Sample::id`]), `mask` (a square picture in REFUGE's grey
//! levels), the square of the photograph that it covers, and `plausible`. Rows that are not
//! plausible are left out and counted.

use super::mask_source::RefugeLevel;
use super::table::{Row, Table};
use super::{DatasetError, MaskSource, MaskTruth, Problem, ProblemKind, Sample};
use std::collections::BTreeMap;
use std::path::Path;

/// What [`attach`] did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attached {
    /// Samples that got a machine-made disc.
    pub discs: usize,
    /// Samples that got a machine-made cup.
    pub cups: usize,
    /// Rows left out because they are marked as not plausible.
    pub implausible: usize,
    /// Rows whose photograph is not among the samples.
    pub unmatched: usize,
    /// Rows that could not be used, and why.
    pub problems: Vec<Problem>,
}

/// Attaches the masks listed in `dir/index.csv` to `samples`, flagged as machine-made.
///
/// A mask that a sample already has is kept: a real disc stays real beside a machine-made cup.
/// `replace_approximate` says that a disc which is only a circle ([`MaskSource::is_approximate`])
/// gives way to the machine-made outline (which then is not scored).
///
/// # Errors
/// The table cannot be read or lacks a column.
pub fn attach(
    samples: &mut [Sample],
    dir: &Path,
    replace_approximate: bool,
) -> Result<Attached, DatasetError> {
    let table = Table::read_csv(&dir.join("index.csv"))?;
    table.require(&["image", "mask", "crop_x", "crop_y", "crop_side", "plausible"])?;
    let by_id: BTreeMap<String, usize> =
        samples.iter().enumerate().map(|(index, sample)| (sample.id.clone(), index)).collect();
    let mut attached = Attached::default();
    for row in table.rows() {
        if row.text("plausible") != "1" {
            attached.implausible += 1;
            continue;
        }
        let Some(&index) = by_id.get(row.text("image")) else {
            attached.unmatched += 1;
            continue;
        };
        match cropped(dir, row) {
            Ok(source) => {
                attach_one(&mut samples[index], source, replace_approximate, &mut attached)
            }
            Err(problem) => attached.problems.push(problem),
        }
    }
    Ok(attached)
}

fn attach_one(
    sample: &mut Sample,
    source: impl Fn(RefugeLevel) -> MaskSource,
    replace_approximate: bool,
    attached: &mut Attached,
) {
    let truth = &mut sample.truth;
    let gives_way = |mask: &MaskTruth| replace_approximate && mask.source.is_approximate();
    if truth.disc.as_ref().is_none_or(gives_way) {
        truth.disc = Some(MaskTruth::pseudo(source(RefugeLevel::Disc)));
        attached.discs += 1;
    }
    if truth.cup.is_none() {
        truth.cup = Some(MaskTruth::pseudo(source(RefugeLevel::Cup)));
        attached.cups += 1;
    }
}

fn cropped(
    dir: &Path,
    row: Row<'_>,
) -> Result<impl Fn(RefugeLevel) -> MaskSource + use<>, Problem> {
    let path = dir.join(row.text("mask"));
    if !path.is_file() {
        let what = format!("machine-made mask of {}", row.text("image"));
        return Err(Problem::new(path, ProblemKind::Missing, what));
    }
    let need =
        |column: &str| row.number(column)?.ok_or_else(|| row.bad(format!("{column} is empty")));
    let (crop_x, crop_y, crop_side) = (need("crop_x")?, need("crop_y")?, need("crop_side")?);
    if crop_side <= 0.0 {
        return Err(row.bad(format!("crop_side is {crop_side}")));
    }
    Ok(move |level| MaskSource::Cropped { path: path.clone(), level, crop_x, crop_y, crop_side })
}
