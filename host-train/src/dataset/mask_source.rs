//! Where a mask comes from: files in several conventions, crops, circles.

use super::DatasetError;
use glaucoma_common::mask::Mask;
use glaucoma_common::preprocess::{NativePoint, Placement};
use image::GrayImage;
use std::path::{Path, PathBuf};

/// A mask and how far it may be trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskTruth {
    /// Where the mask comes from.
    pub source: MaskSource,
    /// Machine-made: it may be learnt from and must never be scored.
    pub pseudo: bool,
}

impl MaskTruth {
    /// A mask drawn by people.
    pub fn real(source: MaskSource) -> Self {
        Self { source, pseudo: false }
    }

    /// A mask made by a machine.
    pub fn pseudo(source: MaskSource) -> Self {
        Self { source, pseudo: true }
    }
}

/// A mask's file and convention, or its formula.
#[derive(Debug, Clone, PartialEq)]
pub enum MaskSource {
    /// REFUGE's grey levels, the disc: every value below 255 (0 cup, 128 rim, 255 background).
    RefugeDisc(PathBuf),
    /// REFUGE's grey levels, the cup: value 0.
    RefugeCup(PathBuf),
    /// 0 background, 255 inside: value at least 128.
    Binary(PathBuf),
    /// Grey level = share of the experts who marked the pixel.
    Soft {
        /// The map, of the photograph's size.
        path: PathBuf,
        /// Smallest grey level that counts as marked.
        at_least: u8,
    },
    /// A mask of a square part of the photograph, in REFUGE's grey levels and of its own resolution.
    Cropped {
        /// The mask; square, of any size.
        path: PathBuf,
        /// Which structure of the mask is meant.
        level: RefugeLevel,
        /// Left edge of the square in native corner coordinates; may be negative.
        crop_x: f64,
        /// Top edge of the square in native corner coordinates; may be negative.
        crop_y: f64,
        /// Side of the square in native pixels.
        crop_side: f64,
    },
    /// A filled circle, native pixels: an approximation where experts gave centre and diameter only.
    Circle {
        /// Centre.
        center: NativePoint,
        /// Diameter, native pixels.
        diameter: f64,
    },
}

/// The two structures in REFUGE's grey levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefugeLevel {
    /// Below 255.
    Disc,
    /// Equal to 0.
    Cup,
}

impl RefugeLevel {
    fn contains(self, grey: u8) -> bool {
        match self {
            Self::Disc => grey < 255,
            Self::Cup => grey == 0,
        }
    }
}

/// Samples a side inside one network pixel when a mask is brought to the network without a
/// full-resolution native mask in between.
const SUBSAMPLES: u32 = 4;

impl MaskSource {
    /// The mask's file; `None` for a circle.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::RefugeDisc(path) | Self::RefugeCup(path) | Self::Binary(path) => Some(path),
            Self::Soft { path, .. } | Self::Cropped { path, .. } => Some(path),
            Self::Circle { .. } => None,
        }
    }

    /// The convention without the file's name: with the file's content it determines the mask.
    pub(crate) fn convention(&self) -> String {
        match self {
            Self::RefugeDisc(_) => "refuge disc".into(),
            Self::RefugeCup(_) => "refuge cup".into(),
            Self::Binary(_) => "binary".into(),
            Self::Soft { at_least, .. } => format!("soft {at_least}"),
            Self::Cropped { level, crop_x, crop_y, crop_side, .. } => {
                format!("cropped {level:?} {crop_x} {crop_y} {crop_side}")
            }
            Self::Circle { center, diameter } => {
                format!("circle {} {} {diameter}", center.x, center.y)
            }
        }
    }

    /// True for a stand-in of known shape rather than an outline drawn on this photograph.
    pub fn is_approximate(&self) -> bool {
        matches!(self, Self::Circle { .. })
    }

    /// The mask in native pixels, for a photograph of `width` x `height`.
    ///
    /// # Errors
    /// [`DatasetError::Io`], [`DatasetError::Mask`] or, when the file's size is not the
    /// photograph's, [`DatasetError::SizeMismatch`].
    pub fn load_native(&self, width: u32, height: u32) -> Result<Mask, DatasetError> {
        match self {
            Self::Circle { .. } | Self::Cropped { .. } => {
                let inside = self.membership()?;
                Ok(Mask::from_fn(width, height, |x, y| inside(f64::from(x), f64::from(y))))
            }
            Self::RefugeDisc(_) | Self::RefugeCup(_) | Self::Binary(_) | Self::Soft { .. } => {
                self.full_size(&self.read_grey()?, width, height)
            }
        }
    }

    /// The mask in the network pixels of `placement`, for a photograph of `width` x `height`.
    ///
    /// A network pixel is inside when at least half of its footprint is.
    ///
    /// # Errors
    /// As [`MaskSource::load_native`].
    pub fn load(
        &self,
        width: u32,
        height: u32,
        placement: &Placement,
    ) -> Result<Mask, DatasetError> {
        match self {
            Self::Circle { .. } | Self::Cropped { .. } => {
                let inside = self.membership()?;
                Ok(sample_network(placement, (width, height), inside))
            }
            Self::RefugeDisc(_) | Self::RefugeCup(_) | Self::Binary(_) | Self::Soft { .. } => {
                let native = self.full_size(&self.read_grey()?, width, height)?;
                Ok(placement.mask_to_network(&native))
            }
        }
    }

    /// Reads the file's grey levels; for [`check`](super::check) and the methods above.
    pub(crate) fn read_grey(&self) -> Result<GrayImage, DatasetError> {
        let Some(path) = self.path() else {
            return Err(DatasetError::Options("a circle has no file".into()));
        };
        let bytes = std::fs::read(path).map_err(|source| DatasetError::io(path, source))?;
        decode_grey(path, &bytes)
    }

    /// Whether this convention knows every grey level of `grey`; the first stranger otherwise.
    pub(crate) fn strange_level(&self, grey: &GrayImage) -> Option<u8> {
        let known = |value: u8| match self {
            Self::RefugeDisc(_) | Self::RefugeCup(_) | Self::Cropped { .. } => {
                matches!(value, 0 | 128 | 255)
            }
            Self::Binary(_) => matches!(value, 0 | 255),
            Self::Soft { .. } | Self::Circle { .. } => true,
        };
        grey.pixels().map(|pixel| pixel.0[0]).find(|&value| !known(value))
    }

    fn full_size(&self, grey: &GrayImage, width: u32, height: u32) -> Result<Mask, DatasetError> {
        if grey.dimensions() != (width, height) {
            let (found_width, found_height) = grey.dimensions();
            let path = self.path().map(Path::to_path_buf).unwrap_or_default();
            return Err(DatasetError::SizeMismatch {
                path,
                found_width,
                found_height,
                width,
                height,
            });
        }
        let raw = grey.as_raw();
        let stride = width as usize;
        Ok(Mask::from_fn(width, height, |x, y| {
            self.contains(raw[y as usize * stride + x as usize])
        }))
    }

    fn contains(&self, grey: u8) -> bool {
        match self {
            Self::RefugeDisc(_) => RefugeLevel::Disc.contains(grey),
            Self::RefugeCup(_) => RefugeLevel::Cup.contains(grey),
            Self::Binary(_) => grey >= 128,
            Self::Soft { at_least, .. } => grey >= *at_least,
            Self::Cropped { level, .. } => level.contains(grey),
            Self::Circle { .. } => false,
        }
    }

    /// Whether a native point (pixel-index coordinates) is inside, for the sources that are not of
    /// the photograph's resolution.
    fn membership(&self) -> Result<Box<dyn Fn(f64, f64) -> bool>, DatasetError> {
        if let Self::Circle { center, diameter } = *self {
            let squared = (diameter / 2.0).powi(2);
            return Ok(Box::new(move |x, y| {
                (x - center.x).powi(2) + (y - center.y).powi(2) <= squared
            }));
        }
        let Self::Cropped { path, level, crop_x, crop_y, crop_side } = self else {
            return Ok(Box::new(|_, _| false));
        };
        let grey = self.read_grey()?;
        let (level, crop_x, crop_y) = (*level, *crop_x, *crop_y);
        let (columns, rows) = grey.dimensions();
        if columns != rows || *crop_side <= 0.0 {
            let what = format!("{columns}x{rows} pixels for a square of {crop_side} native pixels");
            return Err(DatasetError::Mask { path: path.clone(), what });
        }
        let scale = f64::from(columns) / crop_side;
        Ok(Box::new(move |x, y| {
            // Corner coordinates: the centre of native pixel 0 is at 0.5.
            let column = ((x + 0.5 - crop_x) * scale).floor();
            let row = ((y + 0.5 - crop_y) * scale).floor();
            let within = |value: f64| value >= 0.0 && value < f64::from(columns);
            within(column)
                && within(row)
                && level.contains(grey.get_pixel(column as u32, row as u32).0[0])
        }))
    }
}

/// Brings a membership function in native pixels to the network's; outside the photograph is outside.
fn sample_network(
    placement: &Placement,
    native: (u32, u32),
    inside: impl Fn(f64, f64) -> bool,
) -> Mask {
    let side = f64::from(placement.side);
    let (step_x, step_y) = (placement.width / side, placement.height / side);
    let (right, bottom) = (f64::from(native.0) - 0.5, f64::from(native.1) - 0.5);
    Mask::from_fn(placement.side, placement.side, |column, row| {
        let mut hits = 0;
        for sub in 0..SUBSAMPLES * SUBSAMPLES {
            let offset = |i: u32| (f64::from(i) + 0.5) / f64::from(SUBSAMPLES);
            let x =
                placement.origin_x + (f64::from(column) + offset(sub % SUBSAMPLES)) * step_x - 0.5;
            let y = placement.origin_y + (f64::from(row) + offset(sub / SUBSAMPLES)) * step_y - 0.5;
            let on_photo = x >= -0.5 && y >= -0.5 && x < right && y < bottom;
            hits += u32::from(on_photo && inside(x, y));
        }
        2 * hits >= SUBSAMPLES * SUBSAMPLES
    })
}

/// Decodes an 8-bit mask (PNG or BMP) under the same size limits as photographs.
fn decode_grey(path: &Path, bytes: &[u8]) -> Result<GrayImage, DatasetError> {
    let fail = |what: String| DatasetError::Mask { path: path.to_path_buf(), what };
    if bytes.is_empty() {
        return Err(fail("the file is empty".into()));
    }
    let mut reader = image::ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|source| DatasetError::io(path, source))?;
    match reader.format() {
        Some(image::ImageFormat::Png | image::ImageFormat::Bmp) => {}
        Some(other) => return Err(fail(format!("a mask must be PNG or BMP, this is {other:?}"))),
        None => return Err(fail("neither PNG nor BMP".into())),
    }
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(8192);
    limits.max_image_height = Some(8192);
    reader.limits(limits);
    let decoded = reader.decode().map_err(|error| fail(error.to_string()))?;
    Ok(decoded.into_luma8())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use image::Luma;

    fn placement(side: u32) -> Placement {
        Placement { origin_x: 20.0, origin_y: -10.0, width: 200.0, height: 200.0, side }
    }

    /// The network mask of a source must be that of its native mask, up to border pixels.
    fn assert_agrees(source: &MaskSource, native: (u32, u32)) {
        let direct = source.load(native.0, native.1, &placement(50)).unwrap();
        let around =
            placement(50).mask_to_network(&source.load_native(native.0, native.1).unwrap());
        let differing = direct.data().iter().zip(around.data()).filter(|(a, b)| a != b).count();
        assert!(differing <= 6, "{differing} pixels differ");
        assert!(direct.area() > 20);
    }

    #[test]
    fn a_circle_has_its_area_wherever_it_is_drawn() {
        let source =
            MaskSource::Circle { center: NativePoint { x: 100.0, y: 80.0 }, diameter: 60.0 };
        let area = source.load_native(200, 150).unwrap().area() as f64;
        assert!((area - 900.0 * std::f64::consts::PI).abs() < 15.0, "{area}");
        assert_agrees(&source, (200, 150));
        // Cut by the photograph's edge: the part outside is not in the mask.
        let cut = MaskSource::Circle { center: NativePoint { x: 100.0, y: -0.5 }, diameter: 60.0 };
        let area = cut.load_native(200, 150).unwrap().area() as f64;
        assert!((area - 450.0 * std::f64::consts::PI).abs() < 15.0, "{area}");
        assert_agrees(&cut, (200, 150));
    }

    #[test]
    fn a_crop_is_put_where_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("crop.png");
        // 32 x 32 for 96 native pixels: a rim from column 8 to 24 and rows 4 to 20, a cup inside.
        GrayImage::from_fn(32, 32, |x, y| {
            let within = |a: u32, b: u32| x >= 8 + a && x < 24 - a && y >= 4 + b && y < 20 - b;
            Luma([if within(4, 4) {
                0
            } else if within(0, 0) {
                128
            } else {
                255
            }])
        })
        .save(&path)
        .unwrap();
        let at = |level| MaskSource::Cropped {
            path: path.clone(),
            level,
            crop_x: 70.0,
            crop_y: -6.0,
            crop_side: 96.0,
        };
        let disc = at(RefugeLevel::Disc).load_native(200, 150).unwrap();
        let bounds = disc.bounding_box().unwrap();
        // Native columns 70 + 3 * 8 .. 70 + 3 * 24, rows -6 + 3 * 4 .. -6 + 3 * 20.
        assert_eq!((bounds.x0, bounds.x1, bounds.y0, bounds.y1), (94, 141, 6, 53));
        assert_eq!(disc.area(), 48 * 48);
        assert_eq!(at(RefugeLevel::Cup).load_native(200, 150).unwrap().area(), 24 * 24);
        assert_agrees(&at(RefugeLevel::Disc), (200, 150));
    }

    #[test]
    fn what_is_no_mask_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mask.png");
        let message = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            MaskSource::Binary(path.clone()).load_native(5, 5).unwrap_err().to_string()
        };
        assert!(message(b"").contains("mask.png: the file is empty"));
        assert!(message(b"text").contains("neither PNG nor BMP"));
        assert!(message(&[0xff, 0xd8, 0xff, 0xe0]).contains("must be PNG or BMP"));
        let mut good = std::io::Cursor::new(Vec::new());
        GrayImage::from_pixel(5, 5, Luma([255]))
            .write_to(&mut good, image::ImageFormat::Png)
            .unwrap();
        let good = good.into_inner();
        assert!(message(&good[..good.len() / 2]).contains("mask.png: "));
        std::fs::write(&path, &good).unwrap();
        assert_eq!(MaskSource::Binary(path.clone()).load_native(5, 5).unwrap().area(), 25);
        assert!(matches!(
            MaskSource::Binary(path).load_native(5, 6),
            Err(DatasetError::SizeMismatch { .. })
        ));
    }
}
