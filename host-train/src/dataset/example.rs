//! One decoded photograph in network pixels, with its labels in the same pixels.

use glaucoma_common::mask::Mask;
use glaucoma_common::preprocess::{NetworkPoint, Placement};
use image::RgbImage;

/// A decoded example: what a batch is made of, and, at a larger side, the master that augmentation
/// draws from.
///
/// All points and masks are in the pixels of `pixels`; points are pixel-index coordinates (the
/// centre of the top-left pixel is (0, 0)).
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The id of the sample it was made of ([`super::Sample::id`]), or of the phantom.
    pub id: String,
    /// Index in the slice of samples it was loaded from; for a phantom, its index.
    pub sample: usize,
    /// Square picture, 8 bits a channel.
    pub pixels: RgbImage,
    /// Glaucoma present.
    pub glaucoma: Option<bool>,
    /// Disc mask of the picture's size; empty when the disc is known to lie outside.
    pub disc: Option<Mask>,
    /// True when `disc` is machine-made: it may be learnt from and must never be scored.
    pub disc_pseudo: bool,
    /// Cup mask of the picture's size.
    pub cup: Option<Mask>,
    /// True when `cup` is machine-made: it may be learnt from and must never be scored.
    pub cup_pseudo: bool,
    /// Fovea; `None` when unknown or outside the picture.
    pub fovea: Option<NetworkPoint>,
    /// Disc centre as annotated, else the centroid of a real disc mask.
    pub disc_center: Option<NetworkPoint>,
    /// Where the picture lies in the photograph. Exact for an example that was loaded or cropped;
    /// after augmentation by [`super::augment`] it is still the master's and maps nothing.
    pub placement: Placement,
    /// The circle of the camera's field of view, where it was found.
    pub field: Option<Field>,
    /// Where the disc lies for the purposes of framing ([`super::framing`]): the truth, else a hint.
    pub disc_position: Option<DiscPosition>,
}

impl Example {
    /// An example of which nothing but the picture is known.
    pub fn unlabelled(
        id: impl Into<String>,
        sample: usize,
        pixels: RgbImage,
        placement: Placement,
    ) -> Self {
        Self {
            id: id.into(),
            sample,
            pixels,
            glaucoma: None,
            disc: None,
            disc_pseudo: false,
            cup: None,
            cup_pseudo: false,
            fovea: None,
            disc_center: None,
            placement,
            field: None,
            disc_position: None,
        }
    }

    /// Side of the square picture in pixels.
    pub fn side(&self) -> u32 {
        self.pixels.width()
    }
}

/// The circle of the camera's field of view in an example's pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field {
    /// Centre.
    pub center: NetworkPoint,
    /// Radius in pixels.
    pub radius: f64,
}

/// Where the disc lies in an example, for framing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiscPosition {
    /// Centre of the disc.
    pub center: NetworkPoint,
    /// Diameter in pixels, where known.
    pub diameter: Option<f64>,
    /// Where the fovea is, as far as framing is concerned; may lie outside the picture.
    pub fovea: Option<NetworkPoint>,
}
