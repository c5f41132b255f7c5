//! Where a network sees the disc in photographs without disc labels: the table by which a later
//! training stage frames them.

use super::EvaluationError;
use super::measure::Model;
use super::score::reading_of;
use crate::dataset::Sample;
use crate::dataset::batches::{DiscPosition, Example};
use crate::dataset::cache::Cache;
use glaucoma_common::manifest::Decoding;
use glaucoma_common::preprocess::{NativePoint, Placement};
use glaucoma_common::reading::{Inconsistency, NetworkOutput, Reading};
use std::path::Path;

/// A disc as the network sees it, in native pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Centre.
    pub disc: NativePoint,
    /// Mean of width and height.
    pub diameter: f64,
    /// The fovea, where one is seen.
    pub fovea: Option<NativePoint>,
}

impl Found {
    /// The same in the pixels of a picture placed by `placement`.
    #[must_use]
    pub fn in_picture(&self, placement: &Placement) -> DiscPosition {
        let (across, down) = placement.native_per_network();
        DiscPosition {
            center: placement.to_network(self.disc),
            diameter: Some(self.diameter / (across * down).sqrt()),
            fovea: self.fovea.map(|fovea| placement.to_network(fovea)),
        }
    }
}

/// The disc in `output`, unless it is of an impossible size or shape, or one of several.
#[must_use]
pub fn position_of(
    example: &Example,
    output: &NetworkOutput,
    decoding: &Decoding,
) -> Option<Found> {
    let reading = reading_of(example, output, decoding);
    let doubtful = reading.inconsistencies.iter().any(|what| {
        matches!(
            what,
            Inconsistency::SeveralDiscs { .. }
                | Inconsistency::DiscSize { .. }
                | Inconsistency::DiscShape { .. }
        )
    });
    let Reading { disc, fovea, .. } = reading;
    let disc = disc.filter(|_| !doubtful)?;
    Some(Found { disc: disc.center, diameter: disc.diameter(), fovea })
}

/// Looks for the disc in every one of `samples`. `done` is called for each photograph read.
///
/// # Errors
/// A photograph that cannot be read; failures of the network.
pub fn locate(
    model: &Model<'_>,
    samples: &[Sample],
    cache: Option<&Cache>,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<(String, Option<Found>)>, EvaluationError> {
    let mut found = Vec::with_capacity(samples.len());
    model.each(samples, cache, done, |sample, example, output| {
        found.push((sample.id.clone(), position_of(example, output, &model.decoding)));
        Ok(())
    })?;
    Ok(found)
}

/// Writes `image,disc_x,disc_y,disc_diameter,fovea_x,fovea_y` in native pixels (the centre of the
/// top-left pixel is 0, 0), one row a photograph; empty where nothing trustworthy was seen.
///
/// # Errors
/// The file cannot be written; an older one is then untouched.
pub fn write_table(path: &Path, found: &[(String, Option<Found>)]) -> Result<(), EvaluationError> {
    let write = |source| EvaluationError::Write { path: path.to_path_buf(), source };
    let mut table = csv::Writer::from_writer(Vec::new());
    let header = ["image", "disc_x", "disc_y", "disc_diameter", "fovea_x", "fovea_y"];
    table.write_record(header).map_err(|error| write(error.into()))?;
    for (id, found) in found {
        let number = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.1}"));
        let fovea = found.and_then(|found| found.fovea);
        let row = [
            id.clone(),
            number(found.map(|found| found.disc.x)),
            number(found.map(|found| found.disc.y)),
            number(found.map(|found| found.diameter)),
            number(fovea.map(|fovea| fovea.x)),
            number(fovea.map(|fovea| fovea.y)),
        ];
        table.write_record(&row).map_err(|error| write(error.into()))?;
    }
    let bytes = table.into_inner().map_err(|error| write(error.into_error()))?;
    glaucoma_common::files::write(path, &bytes).map_err(write)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_back_as_framing_hints() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("discs.csv");
        let found = Found {
            disc: NativePoint { x: 10.04, y: 20.0 },
            diameter: 30.5,
            fovea: Some(NativePoint { x: 90.0, y: 21.0 }),
        };
        write_table(&path, &[("set/a.jpg".into(), Some(found)), ("set/b.jpg".into(), None)])
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "image,disc_x,disc_y,disc_diameter,fovea_x,fovea_y");
        assert_eq!(lines[1], "set/a.jpg,10.0,20.0,30.5,90.0,21.0");
        assert_eq!(lines[2], "set/b.jpg,,,,,");
    }

    #[test]
    fn a_position_moves_into_a_picture_of_another_scale() {
        let placement =
            Placement { origin_x: 100.0, origin_y: 0.0, width: 800.0, height: 800.0, side: 80 };
        let found =
            Found { disc: NativePoint { x: 504.5, y: 204.5 }, diameter: 150.0, fovea: None };
        let position = found.in_picture(&placement);
        assert_eq!((position.center.x, position.center.y), (40.0, 20.0));
        assert_eq!(position.diameter, Some(15.0));
    }
}
