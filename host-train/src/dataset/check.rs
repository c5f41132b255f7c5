//! Looks at every file of a data set and says by name what is wrong with it.
//!
//! Decodes each photograph as strictly as the device will and each mask in full, compares sizes,
//! looks at every coordinate and at the content hashes. Changes nothing.

use super::mask_source::MaskSource;
use super::{Dataset, DatasetError, MaskTruth, Part, Problem, ProblemKind, Sample};
use glaucoma_common::mask::Mask;
use glaucoma_common::photo::{Limits, PhotoError, decode};
use glaucoma_common::preprocess::NativePoint;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// What was found in one data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The data set's name.
    pub dataset: String,
    /// Its folder.
    pub root: PathBuf,
    /// How many photographs carry which label.
    pub summary: Summary,
    /// Everything wrong, by file. Empty: the data set can be used as it is.
    pub problems: Vec<Problem>,
}

/// How many photographs carry which label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Photographs imported.
    pub photographs: usize,
    /// Distinct patients, where patient numbers are known.
    pub patients: usize,
    /// In the publisher's training, validation and test part.
    pub parts: [usize; 3],
    /// With glaucoma.
    pub glaucoma: usize,
    /// Without glaucoma.
    pub healthy: usize,
    /// With a disc mask that people drew.
    pub disc: usize,
    /// With a disc known as a circle only.
    pub disc_circle: usize,
    /// With a cup mask that people drew.
    pub cup: usize,
    /// With a fovea.
    pub fovea: usize,
    /// With an annotated disc centre.
    pub disc_center: usize,
    /// With class, disc, cup and fovea.
    pub complete: usize,
    /// With no label at all.
    pub unlabelled: usize,
}

/// Checks data sets together, so that a photograph that stands in two of them is found.
///
/// `checked` is called after each photograph, from any thread.
pub fn check(datasets: &[Dataset], checked: &(dyn Fn() + Sync)) -> Vec<Report> {
    let mut first_seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut reports = Vec::new();
    for dataset in datasets {
        let mut problems = dataset.problems.clone();
        let looked: Vec<(Option<String>, Vec<Problem>)> = dataset
            .samples
            .par_iter()
            .map(|sample| {
                let found = look(sample);
                checked();
                found
            })
            .collect();
        for (sample, (hash, found)) in dataset.samples.iter().zip(looked) {
            problems.extend(found);
            let Some(hash) = hash else { continue };
            if let Some(other) = first_seen.get(&hash) {
                let what = format!("the same bytes as {}", other.display());
                problems.push(Problem::new(&sample.photo, ProblemKind::Duplicate, what));
            } else {
                first_seen.insert(hash, sample.photo.clone());
            }
        }
        problems.sort_by(|a, b| (&a.file, a.kind, &a.what).cmp(&(&b.file, b.kind, &b.what)));
        reports.push(Report {
            dataset: dataset.name.clone(),
            root: dataset.root.clone(),
            summary: Summary::of(&dataset.samples),
            problems,
        });
    }
    reports
}

/// One photograph: its content hash (when it can be decoded), and what is wrong with it and its labels.
fn look(sample: &Sample) -> (Option<String>, Vec<Problem>) {
    let mut problems = Vec::new();
    if sample.truth.is_unlabelled() {
        problems.push(Problem::new(
            &sample.photo,
            ProblemKind::Unlabelled,
            "no class, no mask, no point",
        ));
    }
    let bytes = match std::fs::read(&sample.photo) {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.push(Problem::new(&sample.photo, ProblemKind::Unreadable, error.to_string()));
            return (None, problems);
        }
    };
    let photo = match decode(&bytes, &Limits::default()) {
        Ok(photo) => photo,
        Err(error) => {
            problems.push(Problem::new(&sample.photo, kind_of(&error), error.to_string()));
            return (None, problems);
        }
    };
    let size = photo.pixels.dimensions();
    if let Some((width, height)) = sample.declared_size.filter(|&declared| declared != size) {
        let what =
            format!("{}x{} pixels, but the annotations say {width}x{height}", size.0, size.1);
        problems.push(Problem::new(&sample.photo, ProblemKind::SizeMismatch, what));
    }
    let truth = &sample.truth;
    for (name, point) in [("fovea", truth.fovea), ("disc centre", truth.disc_center)] {
        problems.extend(point.and_then(|point| outside(sample, name, point, size)));
    }
    let disc = look_at_mask("disc", truth.disc.as_ref(), size, &mut problems);
    let cup = look_at_mask("cup", truth.cup.as_ref(), size, &mut problems);
    if let (Some(disc), Some(cup)) = (disc, cup) {
        problems.extend(cup_outside(sample, &disc, &cup));
    }
    (Some(photo.sha256), problems)
}

fn kind_of(error: &PhotoError) -> ProblemKind {
    match error {
        PhotoError::Truncated { .. } => ProblemKind::Truncated,
        _ => ProblemKind::Unreadable,
    }
}

fn outside(
    sample: &Sample,
    name: &str,
    point: NativePoint,
    (width, height): (u32, u32),
) -> Option<Problem> {
    let good = |value: f64, size: u32| value >= -0.5 && value <= f64::from(size) - 0.5;
    if good(point.x, width) && good(point.y, height) {
        return None;
    }
    let what =
        format!("the {name} ({}, {}) lies outside {width}x{height} pixels", point.x, point.y);
    Some(Problem::new(&sample.photo, ProblemKind::OutOfImage, what))
}

/// Reads a mask in full; `None` when there is none or it is of no use.
fn look_at_mask(
    name: &str,
    truth: Option<&MaskTruth>,
    (width, height): (u32, u32),
    problems: &mut Vec<Problem>,
) -> Option<Mask> {
    let source = &truth?.source;
    let path = source.path().map(PathBuf::from).unwrap_or_default();
    let mut report = |kind, what: String| {
        problems.push(Problem::new(&path, kind, format!("{name} mask: {what}")))
    };
    if let Some(level) = strange_level(source) {
        report(
            ProblemKind::BadMask,
            format!("grey level {level} means nothing in this convention"),
        );
    }
    match source.load_native(width, height) {
        Ok(mask) if mask.is_empty() => {
            report(ProblemKind::BadMask, "empty".into());
            None
        }
        Ok(mask) => Some(mask),
        Err(DatasetError::SizeMismatch { found_width, found_height, .. }) => {
            let what =
                format!("{found_width}x{found_height} pixels, the photograph has {width}x{height}");
            report(ProblemKind::SizeMismatch, what);
            None
        }
        Err(DatasetError::Mask { what, .. }) => {
            report(ProblemKind::Unreadable, what);
            None
        }
        Err(error) => {
            report(ProblemKind::Unreadable, error.to_string());
            None
        }
    }
}

fn strange_level(source: &MaskSource) -> Option<u8> {
    source.path()?;
    // A file that cannot be read is reported by the loading that follows.
    source.strange_level(&source.read_grey().ok()?)
}

/// Share of a cup's pixels that may lie outside its disc: where each mask is a majority of several
/// experts, a few pixels of the one may lack the other's majority.
const CUP_OUTSIDE_SHARE: f64 = 0.02;

fn cup_outside(sample: &Sample, disc: &Mask, cup: &Mask) -> Option<Problem> {
    let outside = cup.area() - cup.intersection(disc).area();
    if outside as f64 <= CUP_OUTSIDE_SHARE * cup.area() as f64 {
        return None;
    }
    let what = format!("{outside} of the cup's {} pixels lie outside the disc", cup.area());
    Some(Problem::new(&sample.photo, ProblemKind::BadMask, what))
}

impl Summary {
    /// Counts the labels of `samples`. Machine-made masks are not counted.
    pub fn of(samples: &[Sample]) -> Self {
        let count =
            |test: &dyn Fn(&Sample) -> bool| samples.iter().filter(|sample| test(sample)).count();
        let real = |mask: &Option<MaskTruth>| {
            mask.as_ref().is_some_and(|m| !m.pseudo && !m.source.is_approximate())
        };
        let circle = |mask: &Option<MaskTruth>| {
            mask.as_ref().is_some_and(|m| !m.pseudo && m.source.is_approximate())
        };
        let part = |part: Part| count(&|s| s.part == Some(part));
        let patients: BTreeSet<&String> =
            samples.iter().filter_map(|s| s.patient.as_ref()).collect();
        Self {
            photographs: samples.len(),
            patients: patients.len(),
            parts: [part(Part::Train), part(Part::Validation), part(Part::Test)],
            glaucoma: count(&|s| s.truth.glaucoma == Some(true)),
            healthy: count(&|s| s.truth.glaucoma == Some(false)),
            disc: count(&|s| real(&s.truth.disc)),
            disc_circle: count(&|s| circle(&s.truth.disc)),
            cup: count(&|s| real(&s.truth.cup)),
            fovea: count(&|s| s.truth.fovea.is_some()),
            disc_center: count(&|s| s.truth.disc_center.is_some()),
            complete: count(&|s| {
                let truth = &s.truth;
                truth.glaucoma.is_some()
                    && real(&truth.disc)
                    && real(&truth.cup)
                    && truth.fovea.is_some()
            }),
            unlabelled: count(&|s| s.truth.is_unlabelled()),
        }
    }
}

impl fmt::Display for Report {
    /// The table of labels, then one line a problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.summary;
        writeln!(f, "{} ({})", self.dataset, self.root.display())?;
        // The four tasks' labels are shown even where there are none; the rest only where it says something.
        let always = [
            "photographs",
            "with glaucoma",
            "without glaucoma",
            "disc masks",
            "cup masks",
            "foveas",
        ];
        let rows = [
            ("photographs", s.photographs),
            ("patients known", s.patients),
            ("publisher's training part", s.parts[0]),
            ("publisher's validation part", s.parts[1]),
            ("publisher's test part", s.parts[2]),
            ("with glaucoma", s.glaucoma),
            ("without glaucoma", s.healthy),
            ("disc masks", s.disc),
            ("discs as a circle", s.disc_circle),
            ("cup masks", s.cup),
            ("foveas", s.fovea),
            ("disc centres", s.disc_center),
            ("all four labels", s.complete),
            ("no label", s.unlabelled),
        ];
        for (name, count) in
            rows.into_iter().filter(|(name, count)| *count > 0 || always.contains(name))
        {
            writeln!(f, "  {name:<28}{count:>7}")?;
        }
        match self.problems.len() {
            0 => writeln!(f, "  nothing wrong"),
            1 => writeln!(f, "  1 problem:"),
            count => writeln!(f, "  {count} problems:"),
        }?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "    {problem}"))
    }
}
