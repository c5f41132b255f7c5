//! From samples to examples: photographs decoded in parallel, labels brought to the same pixels.

use super::cache::Cache;
use super::example::{DiscPosition, Example, Field};
use super::{DatasetError, MaskSource, MaskTruth, Sample};
use glaucoma_common::mask::Mask;
use glaucoma_common::photo::{Limits, decode, sha256_hex};
use glaucoma_common::preprocess::{InputContract, NativePoint, NetworkPoint, Placement, prepare};
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
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

/// A decoded photograph as an example without labels, at `contract.side`.
///
/// # Errors
/// [`DatasetError::Preprocess`] under the name `id`.
pub fn prepare_example(
    photo: &RgbImage,
    id: String,
    index: usize,
    contract: &InputContract,
) -> Result<Example, DatasetError> {
    let picture = Picture::prepare(Path::new(&id), photo, contract)?;
    let mut example = Example::unlabelled(id, index, picture.pixels, picture.placement);
    example.field = picture.field;
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
        let content = sha256_hex(&bytes);
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
            .map_err(|cause| DatasetError::Photo { path: path.to_path_buf(), cause })?;
        Self::prepare(path, &photo.pixels, contract)
    }

    fn prepare(
        path: &Path,
        photo: &RgbImage,
        contract: &InputContract,
    ) -> Result<Self, DatasetError> {
        let prepared = prepare(photo, contract)
            .map_err(|cause| DatasetError::Preprocess { path: path.to_path_buf(), cause })?;
        let placement = prepared.placement;
        let (across, down) = placement.native_per_network();
        // Where the whole picture is squeezed into a square, the field is no circle any more.
        let round = (across / down - 1.0).abs() < 0.01;
        let field = prepared.field_of_view.filter(|_| round).map(|field| Field {
            center: placement.to_network(field.center),
            radius: field.radius / across,
        });
        Ok(Self { pixels: prepared.pixels, native: photo.dimensions(), placement, field })
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
    let content = sha256_hex(&bytes);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dataset::{Truth, framing::FramingHint};
    use glaucoma_common::preprocess::{Framing, ResizeFilter};
    use image::{GrayImage, Luma, Rgb};

    const SIZE: (u32, u32) = (400, 300);

    fn contract() -> InputContract {
        let filter = ResizeFilter::AntialiasedBilinear;
        InputContract { side: 64, framing: Framing::FieldOfView, filter, scale: 1.0 / 255.0 }
    }

    /// A round field of radius 140 in the middle; disc of radius 16 at (260, 140).
    fn sample(dir: &Path) -> Sample {
        let (photo, mask) = (dir.join("photo.png"), dir.join("mask.png"));
        let near = |x: u32, y: u32, cx: f64, cy: f64, r: f64| {
            (f64::from(x) - cx).hypot(f64::from(y) - cy) < r
        };
        RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
            let lit = near(x, y, 199.5, 149.5, 140.0);
            if lit { Rgb([170, 80 + (x % 40) as u8, 40]) } else { Rgb([0; 3]) }
        })
        .save(&photo)
        .unwrap();
        GrayImage::from_fn(SIZE.0, SIZE.1, |x, y| {
            Luma([u8::from(near(x, y, 260.0, 140.0, 16.0)) * 255])
        })
        .save(&mask)
        .unwrap();
        let truth = Truth {
            disc: Some(MaskTruth::real(MaskSource::Binary(mask))),
            fovea: Some(NativePoint { x: 150.0, y: 155.0 }),
            ..Truth::default()
        };
        Sample {
            id: "set/photo.png".into(),
            dataset: "set".into(),
            photo,
            patient: None,
            part: None,
            declared_size: Some(SIZE),
            truth,
            framing: None,
        }
    }

    #[test]
    fn pixels_are_the_devices_and_labels_lie_where_they_should() {
        let dir = tempfile::tempdir().unwrap();
        let sample = sample(dir.path());
        let example = load_one(&sample, 3, &contract(), None).unwrap();
        let photo = decode(&std::fs::read(&sample.photo).unwrap(), &Limits::default()).unwrap();
        let prepared = prepare(&photo.pixels, &contract()).unwrap();
        assert_eq!(example.pixels, prepared.pixels);
        assert_eq!((example.sample, example.placement), (3, prepared.placement));
        assert_eq!(example.fovea, Some(prepared.placement.to_network(sample.truth.fovea.unwrap())));
        let disc = prepared.placement.to_network(NativePoint { x: 260.0, y: 140.0 });
        let (x, y) = example.disc.as_ref().unwrap().centroid().unwrap();
        assert!((x - disc.x).hypot(y - disc.y) < 0.3, "{x} {y}");
        let position = example.disc_position.unwrap();
        let (across, _) = prepared.placement.native_per_network();
        assert!((position.diameter.unwrap() - 32.0 / across).abs() < 0.6);
        let field = example.field.unwrap();
        assert!((field.radius - 140.0 / across).abs() < 1.0, "{field:?}");
        assert_eq!((example.glaucoma, example.cup.is_none()), (None, true));
    }

    #[test]
    fn the_cache_gives_what_decoding_gives() {
        let dir = tempfile::tempdir().unwrap();
        let samples = [sample(dir.path())];
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let plain = load(&samples, &contract(), 128, None, &|| ()).unwrap();
        let filled = load(&samples, &contract(), 128, Some(&cache), &|| ()).unwrap();
        let cached = load(&samples, &contract(), 128, Some(&cache), &|| ()).unwrap();
        assert!(plain == filled && plain == cached);
        assert_eq!(plain[0].side(), 128);
        // A changed mask is another entry.
        GrayImage::from_pixel(SIZE.0, SIZE.1, Luma([0])).save(dir.path().join("mask.png")).unwrap();
        let changed = load(&samples, &contract(), 128, Some(&cache), &|| ()).unwrap();
        assert!(changed[0].disc.as_ref().unwrap().is_empty());
        assert_eq!(changed[0].pixels, plain[0].pixels);
    }

    #[test]
    fn a_hint_frames_and_labels_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut sample = sample(dir.path());
        sample.truth = Truth { glaucoma: Some(true), ..Truth::default() };
        sample.framing = Some(FramingHint {
            disc: NativePoint { x: 260.0, y: 140.0 },
            diameter: Some(32.0),
            fovea: None,
        });
        let example = load_one(&sample, 0, &contract(), None).unwrap();
        assert!(example.disc.is_none() && example.disc_center.is_none());
        let disc = example.placement.to_network(NativePoint { x: 260.0, y: 140.0 });
        assert_eq!(example.disc_position.unwrap().center, disc);
    }

    #[test]
    fn every_bad_sample_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let good = sample(dir.path());
        let mut gone = good.clone();
        gone.photo = dir.path().join("gone.png");
        let mut size = good.clone();
        size.declared_size = Some((300, 400));
        let mut point = good.clone();
        point.truth.fovea = Some(NativePoint { x: 400.0, y: 1.0 });
        let mut mask = good.clone();
        let small = dir.path().join("small.png");
        GrayImage::new(10, 10).save(&small).unwrap();
        mask.truth.disc = Some(MaskTruth::real(MaskSource::Binary(small)));
        let error =
            load(&[good, gone, size, point, mask], &contract(), 64, None, &|| ()).unwrap_err();
        let text = error.to_string();
        let expected = [
            "4 of the samples",
            "gone.png",
            "300x400",
            "(400, 1) lies outside",
            "small.png: 10x10",
        ];
        assert!(expected.iter().all(|part| text.contains(part)), "{text}");
    }
}
