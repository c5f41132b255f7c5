//! Which photographs an export calibrates and certifies on.
//!
//! Ranges are taken from photographs the network learnt from; the certificate is made on the
//! validation part, divided exactly as the training divided it. A network that learnt the class
//! from views of the disc sees those views here too, beside the whole photographs.

use super::quality::Case;
use crate::dataset::cache::Cache;
use crate::dataset::example::Example;
use crate::dataset::framing::{DiscCrop, attach_hints, reference_crop};
use crate::dataset::{DatasetError, Sample, load, open};
use crate::training::Config;
use crate::training::data::divide;
use image::RgbImage;
use std::path::{Path, PathBuf};

/// Views of the disc are cut from pictures of this many times the network's side.
const MASTER: u32 = 2;

/// How many photographs are used at most, over all data sets, evenly spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// For the ranges of int8.
    pub calibration: usize,
    /// For the certificate.
    pub certification: usize,
}

/// Prepared photographs for an export.
#[derive(Debug, Default)]
pub struct Photographs {
    /// Of the training part.
    pub calibration: Vec<RgbImage>,
    /// Of the validation part, with their truth.
    pub certification: Vec<Example>,
    /// Views of the disc in those, where the class was learnt from such.
    pub views: Vec<Example>,
    /// Says which photographs those are.
    pub measured_on: String,
}

impl Photographs {
    /// The photographs to certify on.
    #[must_use]
    pub fn cases(&self) -> Vec<Case<'_>> {
        let of = |class_only| move |example| Case { example, class_only };
        self.certification.iter().map(of(false)).chain(self.views.iter().map(of(true))).collect()
    }
}

/// Loads photographs from the data sets in `folders` for a network trained with `config`.
///
/// # Errors
/// A folder that is no data set, or a photograph that does not load.
pub fn gather(
    folders: &[PathBuf],
    config: &Config,
    counts: Counts,
    cache: Option<&Cache>,
) -> Result<Photographs, DatasetError> {
    let mut photographs = Photographs::default();
    let mut names = Vec::new();
    let share = |count: usize| count.div_ceil(folders.len().max(1));
    for folder in folders {
        let (name, train, validation) = divided(folder, config)?;
        let loader = Loader { config, crop: disc_crop(folder, config), cache };
        let (train, views) = loader.load(&evenly(&train, share(counts.calibration)))?;
        photographs.calibration.extend(train.into_iter().chain(views).map(|own| own.pixels));
        let (validation, views) = loader.load(&evenly(&validation, share(counts.certification)))?;
        names.push(match views.len() {
            0 => format!("{} of {name}", validation.len()),
            count => format!("{} of {name} with {count} views of the disc", validation.len()),
        });
        photographs.certification.extend(validation);
        photographs.views.extend(views);
    }
    photographs.measured_on = format!("validation pictures: {}", names.join(", "));
    Ok(photographs)
}

/// Name, training part and validation part of the data set in `folder`.
fn divided(
    folder: &Path,
    config: &Config,
) -> Result<(String, Vec<Sample>, Vec<Sample>), DatasetError> {
    let mut dataset = open(folder)?;
    let source = source_of(folder, config);
    if let Some(table) = source.and_then(|source| source.discs.as_ref()) {
        attach_hints(&mut dataset.samples, table)?;
    }
    let share = source.and_then(|source| source.validation_share);
    let parts = divide(&dataset, share, config.validation_share, config.split_seed);
    Ok((dataset.name, parts.train, parts.validation))
}

/// The training's own source of this folder.
pub(crate) fn source_of<'a>(
    folder: &Path,
    config: &'a Config,
) -> Option<&'a crate::training::config::Source> {
    let folder = folder.canonicalize().ok()?;
    let same = |label: String| Path::new(&label).canonicalize().is_ok_and(|path| path == folder);
    config.data.iter().find(|source| same(source.label()))
}

/// The views of the disc that the class was learnt from, where it was.
fn disc_crop<'a>(folder: &Path, config: &'a Config) -> Option<&'a DiscCrop> {
    let source = source_of(folder, config);
    let augment = source.and_then(|source| source.augment.as_ref()).or(config.augment.as_ref());
    let own = source.and_then(|source| source.disc_crop.as_ref());
    own.or_else(|| augment?.disc_crop.as_ref())
}

/// At most `count` of `samples`, evenly spread over their order.
fn evenly(samples: &[Sample], count: usize) -> Vec<Sample> {
    let count = count.min(samples.len());
    (0..count).map(|index| samples[index * samples.len() / count].clone()).collect()
}

struct Loader<'a> {
    config: &'a Config,
    crop: Option<&'a DiscCrop>,
    cache: Option<&'a Cache>,
}

impl Loader<'_> {
    /// Whole photographs, and the views of the disc in them.
    fn load(&self, samples: &[Sample]) -> Result<(Vec<Example>, Vec<Example>), DatasetError> {
        let contract = self.config.input.contract();
        let side = contract.side;
        let examples = load::load(samples, &contract, side, self.cache, &|| ())?;
        let Some(crop) = self.crop else { return Ok((examples, Vec::new())) };
        let masters = load::load(samples, &contract, MASTER * side, self.cache, &|| ())?;
        let views = masters.iter().filter_map(|master| reference_crop(master, side, crop));
        let class_alone =
            |view| Example { disc: None, cup: None, fovea: None, disc_center: None, ..view };
        Ok((examples, views.map(class_alone).collect()))
    }
}
