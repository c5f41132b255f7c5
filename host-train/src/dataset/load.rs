//! From samples to examples: photographs decoded in parallel, labels brought to the same pixels.

use super::cache::{Cache, hex};
use super::example::{DiscPosition, Example, Field};
use super::{DatasetError, MaskSource, MaskTruth, Sample};
use glaucoma_common::mask::Mask;
use glaucoma_common::photo::{Limits, decode};
use glaucoma_common::preprocess::{InputContract, NativePoint, NetworkPoint, Placement, prepare};
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Loads every sample as an example of `side` pixels, in the order of `samples`, on all cores.
///
/// `contract` gives framing and filter; its own side is not used, so that masters for augmentation
/// can be larger than the network's input. At `contract.side` the pixels are exactly what
/// [`prepare`] makes for the device. `loaded` is called after each sample, from any thread.
///
/// # Errors
/// [`DatasetError::Load`] with one error for each sample that could not be loaded.
pub fn load(
    samples: &[Sample],
    contract: &InputContract,
    side: u32,
    cache: Option<&Cache>,
    loaded: &(dyn Fn() + Sync),
) -> Result<Vec<Example>, DatasetError> {
    let contract = InputContract { side, ..*contract };
    let results: Vec<Result<Example, DatasetError>> = samples
        .par_iter()
        .enumerate()
        .map(|(index, sample)| {
            let example = load_one(sample, index, &contract, cache);
            loaded();
            example
        })
        .collect();
    let (mut examples, mut errors) = (Vec::with_capacity(samples.len()), Vec::new());
    for result in results {
        match result {
            Ok(example) => examples.push(example),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(examples) } else { Err(DatasetError::Load { errors }) }
}

/// Loads one sample at `contract.side`; `index` becomes [`Example::sample`].
///
/// # Errors
/// The photograph or a mask cannot be read or decoded, is not of the size that the annotations or
/// the photograph have, or a point lies outside the photograph.
pub fn load_one(
    sample: &Sample,
    index: usize,
    contract: &InputContract,
    cache: Option<&Cache>,
) -> Result<Example, DatasetError> {
    let picture = Picture::load(&sample.photo, contract, cache)?;
    let native = picture.native;
    if let Some(declared) = sample.declared_size.filter(|&declared| declared != native) {
        return Err(DatasetError::SizeMismatch {
            path: sample.photo.clone(),
            found_width: declared.0,
            found_height: declared.1,
            width: native.0,
            height: native.1,
        });
    }
    let truth = &sample.truth;
    for point in [truth.fovea, truth.disc_center].into_iter().flatten() {
        inside(&sample.photo, point, native)?;
    }
    let placement = picture.placement;
    let mask = |truth: &Option<MaskTruth>| {
        truth.as_ref().map(|mask| load_mask(&mask.source, native, &placement, cache)).transpose()
    };
    let pseudo = |truth: &Option<MaskTruth>| truth.as_ref().is_some_and(|mask| mask.pseudo);
    let (disc, cup) = (mask(&truth.disc)?, mask(&truth.cup)?);
    let mut example = Example::unlabelled(&sample.id, index, picture.pixels, placement);
    example.glaucoma = truth.glaucoma;
    (example.disc_pseudo, example.cup_pseudo) = (pseudo(&truth.disc), pseudo(&truth.cup));
    // A machine's cup may stick out of a disc that people drew; the disc is right.
    example.cup = match (&disc, cup) {
        (Some(disc), Some(cup)) if example.cup_pseudo => Some(cup.intersection(disc)),
        (_, cup) => cup,
    };
    example.disc = disc;
    example.fovea =
        truth.fovea.map(|point| placement.to_network(point)).filter(|p| within(*p, contract.side));
    let real_disc = example.disc.as_ref().filter(|_| !example.disc_pseudo);
    let annotated = truth.disc_center.map(|point| placement.to_network(point));
    example.disc_center =
        annotated.or_else(|| real_disc.and_then(centroid)).filter(|p| within(*p, contract.side));
    example.field = picture.field;
    example.disc_position = disc_position(sample, &example);
    Ok(example)
}

/// A prepared photograph, from the cache or from its file.
struct Picture {
    pixels: RgbImage,
    native: (u32, u32),
    placement: Placement,
    field: Option<Field>,
}

/// A picture's facts beside its pixels. Numbers are kept as bits: a decimal could come back as
/// a neighbour.
#[derive(Serialize, Deserialize)]
struct PictureFacts {
    native: (u32, u32),
    placement: [u64; 4],
    field: Option<[u64; 3]>,
}

impl Picture {
    fn load(
        path: &Path,
        contract: &InputContract,
        cache: Option<&Cache>,
    ) -> Result<Self, DatasetError> {
        let bytes = std::fs::read(path).map_err(|source| DatasetError::io(path, source))?;
        let Some(cache) = cache else { return Self::decode(path, &bytes, contract) };
        let content = hex(&Sha256::digest(&bytes));
        let key = cache.key(&["picture", &content, &format!("{contract:?}")]);
        if let Some(picture) =
            cache.read(&key).and_then(|(facts, pixels)| Self::restore(facts, pixels, contract.side))
        {
            return Ok(picture);
        }
        let picture = Self::decode(path, &bytes, contract)?;
        cache.write(&key, picture.facts(), picture.pixels.as_raw())?;
        Ok(picture)
    }

    fn decode(path: &Path, bytes: &[u8], contract: &InputContract) -> Result<Self, DatasetError> {
        let photo = decode(bytes, &Limits::default())
            .map_err(|source| DatasetError::Photo { path: path.to_path_buf(), source })?;
        let prepared = prepare(&photo.pixels, contract)
            .map_err(|source| DatasetError::Preprocess { path: path.to_path_buf(), source })?;
        let placement = prepared.placement;
        let (across, down) = placement.native_per_network();
        // Where the whole picture is squeezed into a square, the field is no circle any more.
        let round = (across / down - 1.0).abs() < 0.01;
        let field = prepared.field_of_view.filter(|_| round).map(|field| Field {
            center: placement.to_network(field.center),
            radius: field.radius / across,
        });
        Ok(Self { pixels: prepared.pixels, native: photo.pixels.dimensions(), placement, field })
    }

    fn facts(&self) -> PictureFacts {
        let Placement { origin_x, origin_y, width, height, .. } = self.placement;
        PictureFacts {
            native: self.native,
            placement: [origin_x, origin_y, width, height].map(f64::to_bits),
            field: self
                .field
                .map(|field| [field.center.x, field.center.y, field.radius].map(f64::to_bits)),
        }
    }

    fn restore(facts: PictureFacts, pixels: Vec<u8>, side: u32) -> Option<Self> {
        let [origin_x, origin_y, width, height] = facts.placement.map(f64::from_bits);
        let field = facts.field.map(|bits| {
            let [x, y, radius] = bits.map(f64::from_bits);
            Field { center: NetworkPoint { x, y }, radius }
        });
        Some(Self {
            pixels: RgbImage::from_raw(side, side, pixels)?,
            native: facts.native,
            placement: Placement { origin_x, origin_y, width, height, side },
            field,
        })
    }
}

fn load_mask(
    source: &MaskSource,
    native: (u32, u32),
    placement: &Placement,
    cache: Option<&Cache>,
) -> Result<Mask, DatasetError> {
    let (Some(cache), Some(path)) = (cache, source.path()) else {
        return source.load(native.0, native.1, placement);
    };
    let bytes = std::fs::read(path).map_err(|error| DatasetError::io(path, error))?;
    let content = hex(&Sha256::digest(&bytes));
    let key =
        cache.key(&["mask", &content, &source.convention(), &format!("{native:?} {placement:?}")]);
    let side = placement.side;
    if let Some(((), data)) = cache.read::<()>(&key)
        && data.len() == (side as usize).pow(2)
    {
        return Ok(Mask::from_fn(side, side, |x, y| {
            data[y as usize * side as usize + x as usize] != 0
        }));
    }
    let mask = source.load(native.0, native.1, placement)?;
    let data: Vec<u8> = mask.data().iter().map(|&inside| u8::from(inside)).collect();
    cache.write(&key, (), &data)?;
    Ok(mask)
}

/// The disc's position for framing: the annotation, else its mask, else a hint.
fn disc_position(sample: &Sample, example: &Example) -> Option<DiscPosition> {
    let placement = &example.placement;
    let per_network = {
        let (across, down) = placement.native_per_network();
        (across * down).sqrt()
    };
    let hint = sample.framing;
    let mask = example.disc.as_ref().filter(|mask| !mask.is_empty());
    let annotated = sample.truth.disc_center.map(|point| placement.to_network(point));
    let hinted = hint.map(|hint| placement.to_network(hint.disc));
    let center = annotated.or_else(|| mask.and_then(centroid)).or(hinted)?;
    let of_mask = mask.map(|mask| 2.0 * (mask.area() as f64 / std::f64::consts::PI).sqrt());
    let diameter = of_mask.or_else(|| Some(hint?.diameter? / per_network));
    let fovea = sample.truth.fovea.or_else(|| hint?.fovea).map(|point| placement.to_network(point));
    Some(DiscPosition { center, diameter, fovea })
}

fn centroid(mask: &Mask) -> Option<NetworkPoint> {
    mask.centroid().map(|(x, y)| NetworkPoint { x, y })
}

fn within(point: NetworkPoint, side: u32) -> bool {
    let limit = f64::from(side) - 0.5;
    point.x >= -0.5 && point.y >= -0.5 && point.x < limit && point.y < limit
}

fn inside(
    path: &Path,
    point: NativePoint,
    (width, height): (u32, u32),
) -> Result<(), DatasetError> {
    let good = |value: f64, size: u32| value >= -0.5 && value <= f64::from(size) - 0.5;
    if good(point.x, width) && good(point.y, height) {
        return Ok(());
    }
    Err(DatasetError::OutOfImage {
        path: path.to_path_buf(),
        x: point.x,
        y: point.y,
        width,
        height,
    })
}
