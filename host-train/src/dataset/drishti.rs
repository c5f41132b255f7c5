//! Drishti-GS1: disc and cup as soft maps of four experts, disc centre; no class, no fovea.
//!
//! `images/NAME.png` with `gt/NAME_ODsegSoftmap.png`, `gt/NAME_cupsegSoftmap.png` and
//! `gt/NAME_diskCenter.txt`. The class found in copies of its spreadsheet is not to be trusted
//! (every picture "Normal"), so none is read.

use super::table::{files_below, relative};
use super::{Dataset, DatasetError, MaskSource, MaskTruth, Problem, ProblemKind, Sample, Truth};
use glaucoma_common::preprocess::NativePoint;
use std::path::Path;

/// What [`recognises`] looks for, in words.
pub const LOOKED_FOR: &str = "Drishti-GS1: images/*.png and gt/*_ODsegSoftmap.png";

/// Three of four experts: the maps hold 0, 64, 128, 191, 255 for none to all four.
const THREE_OF_FOUR: u8 = 191;

/// Whether `dir` is Drishti-GS1's layout.
pub fn recognises(dir: &Path) -> bool {
    let soft_map = |entry: std::fs::DirEntry| {
        entry.file_name().to_string_lossy().ends_with("_ODsegSoftmap.png")
    };
    dir.join("images").is_dir()
        && std::fs::read_dir(dir.join("gt")).is_ok_and(|entries| entries.flatten().any(soft_map))
}

/// Imports Drishti-GS1 from `dir`.
///
/// # Errors
/// An unreadable folder. Missing and bad files are problems of the data set.
pub fn import(dir: &Path) -> Result<Dataset, DatasetError> {
    let (mut samples, mut problems) = (Vec::new(), Vec::new());
    let photos = files_below(&dir.join("images"), &["png", "jpg", "jpeg"])?;
    for photo in &photos {
        let id = format!("drishti-gs1/{}", relative(dir, photo));
        samples.push(Sample {
            id,
            dataset: "drishti-gs1".into(),
            photo: photo.clone(),
            patient: None,
            part: None,
            declared_size: None,
            truth: truth(dir, photo, &mut problems),
            framing: None,
        });
    }
    for map in files_below(&dir.join("gt"), &["png"])? {
        let name = stem(&map);
        let known = photos.iter().any(|photo| name.starts_with(&format!("{}_", stem(photo))));
        if !known {
            problems.push(Problem::new(
                map,
                ProblemKind::NotListed,
                "no photograph of this name in images/",
            ));
        }
    }
    Ok(Dataset { name: "drishti-gs1".into(), root: dir.to_path_buf(), samples, problems })
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn truth(dir: &Path, photo: &Path, problems: &mut Vec<Problem>) -> Truth {
    let mut soft = |suffix: &str| {
        let path = dir.join("gt").join(format!("{}_{suffix}.png", stem(photo)));
        if path.is_file() {
            return Some(MaskTruth::real(MaskSource::Soft { path, at_least: THREE_OF_FOUR }));
        }
        problems.push(Problem::new(
            path,
            ProblemKind::Missing,
            format!("soft map of {}", photo.display()),
        ));
        None
    };
    let (disc, cup) = (soft("ODsegSoftmap"), soft("cupsegSoftmap"));
    let path = dir.join("gt").join(format!("{}_diskCenter.txt", stem(photo)));
    let disc_center = match disc_center(&path) {
        Ok(center) => Some(center),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    Truth { disc, cup, disc_center, ..Truth::default() }
}

/// The file holds "row column": y first.
fn disc_center(path: &Path) -> Result<NativePoint, Problem> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Problem::new(path, ProblemKind::Missing, "no disc centre"));
        }
        Err(error) => return Err(Problem::new(path, ProblemKind::Unreadable, error.to_string())),
    };
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [row, column] if row.is_finite() && column.is_finite() => {
            Ok(NativePoint { x: column, y: row })
        }
        _ => {
            let what = format!("`{}` is not a row and a column", text.trim());
            Err(Problem::new(path, ProblemKind::BadAnnotation, what))
        }
    }
}
