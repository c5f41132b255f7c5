//! Synthetic fundus photographs with exact truth: one number in, one photograph and its labels out.

pub mod anatomy;
pub mod camera;
pub mod capture;
pub mod degrade;
pub mod disc;
pub mod draw;
pub mod layout;
pub mod texture;
pub mod tissue;
pub mod vessels;
pub mod view;

pub use camera::Camera;
pub use degrade::Degradation;

use anatomy::Eye;
use camera::Aim;
use capture::Capture;
use degrade::Faults;
use disc::RetinaPoint;
use draw::{Draw, Part};
use glaucoma_common::mask::Mask;
use glaucoma_common::preprocess::NativePoint;
use glaucoma_common::reading::{Laterality, vcdr_of};
use image::RgbImage;
use rayon::prelude::*;
use view::View;

/// What series of phantoms is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct PhantomConfig {
    /// Longer side of the photograph in pixels (64 or more; smaller values are raised to 64).
    pub side: u32,
    /// Share of glaucomatous eyes, 0..1; kept exactly over every run of samples.
    pub glaucoma_share: f64,
    /// Share of ungradable captures, 0..1.
    pub degraded_share: f64,
    /// Cameras to draw from, each as often as it is named.
    pub cameras: Vec<Camera>,
    /// Severe degradations to draw from; none listed, none drawn.
    pub degradations: Vec<Degradation>,
    /// Only framings in which the fovea lies in the field as well as the disc.
    pub fovea_in_field: bool,
}

impl Default for PhantomConfig {
    fn default() -> Self {
        Self {
            side: 320,
            glaucoma_share: 0.1,
            degraded_share: 0.0,
            cameras: Camera::ALL.to_vec(),
            degradations: Degradation::ALL.to_vec(),
            fovea_in_field: false,
        }
    }
}

/// One synthetic photograph and everything that is true of it.
#[derive(Debug, Clone)]
pub struct Phantom {
    /// The photograph, upright, black outside the field.
    pub photo: RgbImage,
    /// The optic disc (cup included) where it is in the field; native pixels.
    pub disc: Mask,
    /// The cup, a subset of the disc.
    pub cup: Mask,
    /// The fovea in native pixels; `None` where it is not in the field.
    pub fovea: Option<NativePoint>,
    /// Whether the eye has glaucomatous optic neuropathy.
    pub glaucoma: bool,
    /// Vertical cup-to-disc ratio: of the masks; where the disc is not wholly in the field, of the
    /// eye itself.
    pub vcdr: f64,
    /// Right or left eye.
    pub laterality: Laterality,
    /// Whether a grader could use the photograph: no degradation is severe.
    pub gradable: bool,
    /// The severe degradations.
    pub degradations: Vec<Degradation>,
    /// The camera imitated.
    pub camera: Camera,
}

/// Makes sample `index` of the series `seed`: a pure function of its arguments.
#[must_use]
pub fn generate(seed: u64, index: u64, config: &PhantomConfig) -> Phantom {
    let glaucoma = is_glaucoma(seed, index, config.glaucoma_share);
    let eye = Eye::draw(seed, index, glaucoma);
    let mut draw = Draw::new(seed, index, Part::Capture);
    let camera = match config.cameras.as_slice() {
        [] => Camera::ALL[draw.below(Camera::ALL.len())],
        cameras => cameras[draw.below(cameras.len())],
    };
    let model = camera.model();
    let degradations = draw_degradations(&mut draw, config);
    let aim = if degradations.contains(&Degradation::DiscOutOfField) {
        Aim::MissDisc
    } else if config.fovea_in_field {
        Aim::DiscAndFovea
    } else {
        Aim::Disc
    };
    let view = camera::frame(&mut draw, &model, &eye, config.side.max(64), aim);
    let mut faults = Faults::mild(&mut draw, model.uneven);
    for &kind in &degradations {
        faults.add(&mut draw, kind);
    }
    let capture = Capture::draw(&mut draw, camera, view, faults);
    let photo = photograph(seed, index, &eye, &capture);
    let (disc, cup) = masks(&eye, &view);
    let vcdr = if aim == Aim::MissDisc { None } else { vcdr_of(&disc, &cup) };
    let fovea = view.to_picture(eye.fovea);
    Phantom {
        photo,
        vcdr: vcdr.unwrap_or_else(|| f64::from(eye.disc.vcdr())),
        disc,
        cup,
        fovea: view
            .shows(fovea, 0.0)
            .then(|| NativePoint { x: f64::from(fovea.0), y: f64::from(fovea.1) }),
        glaucoma,
        laterality: eye.laterality,
        gradable: degradations.is_empty(),
        degradations,
        camera,
    }
}

/// Makes the samples `first..first + count` on all of rayon's threads.
#[must_use]
pub fn generate_many(seed: u64, first: u64, count: usize, config: &PhantomConfig) -> Vec<Phantom> {
    (0..count as u64).into_par_iter().map(|i| generate(seed, first + i, config)).collect()
}

/// Spreads the glaucomatous eyes evenly, so that any run of n samples holds n * share of them (to
/// within one): sample i is one where the count i * share + offset passes a whole number.
fn is_glaucoma(seed: u64, index: u64, share: f64) -> bool {
    let share = share.clamp(0.0, 1.0);
    let offset = f64::from(Draw::new(seed, u64::MAX, Part::Eye).unit());
    let count = |i: f64| (i * share + offset).floor();
    count(index as f64 + 1.0) > count(index as f64)
}

fn draw_degradations(draw: &mut Draw, config: &PhantomConfig) -> Vec<Degradation> {
    let kinds = &config.degradations;
    if !draw.chance(config.degraded_share as f32) || kinds.is_empty() {
        return Vec::new();
    }
    let first = kinds[draw.below(kinds.len())];
    let second = kinds[draw.below(kinds.len())];
    // A picture cannot be both too dark and too bright.
    let opposed = |a, b| a == Degradation::UnderExposure && b == Degradation::OverExposure;
    if draw.chance(0.15) && first != second && !opposed(first, second) && !opposed(second, first) {
        vec![first, second]
    } else {
        vec![first]
    }
}

fn photograph(seed: u64, index: u64, eye: &Eye, capture: &Capture) -> RgbImage {
    let view = &capture.view;
    let reach = 0.5 * view.field + 2.0;
    let vessels = vessels::grow(seed, index, eye, view.gaze, reach);
    let layers = tissue::layers(seed, index, eye, &vessels, view);
    let tissue = tissue::Tissue::new(seed, index, eye);
    let (width, height) = (view.width as usize, view.height as usize);
    let mut light = vec![[0.0f32; 3]; width * height];
    // Blur draws on what lies just outside the field, and the mark widens the field.
    let beyond = 1.07 + (2.5 * capture.blur() / view.radius).min(0.4);
    for (at, color) in light.iter_mut().enumerate() {
        let (x, y) = ((at % width) as f32, (at / width) as f32);
        if view.eccentricity(x, y) < beyond {
            *color = tissue.color(view.to_retina(x, y), &layers, at);
        }
    }
    capture::blur(&mut light, width, height, capture.blur());
    for (at, color) in light.iter_mut().enumerate() {
        let (x, y) = ((at % width) as f32, (at / width) as f32);
        if view.eccentricity(x, y) < 1.07 {
            *color = capture.expose(*color, x, y);
        }
    }
    capture.develop(&light, seed, index)
}

/// Disc and cup: a pixel belongs to them if its centre does and lies in the field.
fn masks(eye: &Eye, view: &View) -> (Mask, Mask) {
    let reach = eye.disc.outline.reach();
    let inside = |x: u32, y: u32, cup: bool| {
        let pixel = (x as f32, y as f32);
        let point = view.to_retina(pixel.0, pixel.1);
        point.distance(RetinaPoint::new(0.0, 0.0)) <= reach
            && view.shows(pixel, 0.0)
            && eye.disc.outline.level(point) < 1.0
            && (!cup || eye.disc.cup.level(point) < 1.0)
    };
    let disc = Mask::from_fn(view.width, view.height, |x, y| inside(x, y, false));
    let cup = Mask::from_fn(view.width, view.height, |x, y| inside(x, y, true));
    (disc, cup)
}
