//! Framing: where the disc lies in the picture, and views in which that says nothing about the class.
//!
//! In some data sets the classes are framed differently (HYGD: glaucoma disc-centred, healthy
//! macula-centred), so that a classifier on whole pictures learns the framing. [`DiscCrop`] shows
//! class-labelled pictures as round views near the disc instead, their size, their offset and the
//! border of the field of view drawn from one distribution for both classes.

use super::example::{DiscPosition, Example};
use super::table::{Table, keep};
use super::warp::{Circle, Warp};
use super::{DatasetError, Problem, Sample};
use glaucoma_common::preprocess::{NativePoint, NetworkPoint};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Where the disc (and the fovea) lie according to a machine: for framing only, never a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FramingHint {
    /// Centre of the disc, native pixels.
    pub disc: NativePoint,
    /// Diameter of the disc in native pixels.
    pub diameter: Option<f64>,
    /// The fovea, native pixels.
    pub fovea: Option<NativePoint>,
}

/// What [`attach_hints`] did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AttachedHints {
    /// Samples that got a hint.
    pub attached: usize,
    /// Rows whose photograph is not among the samples.
    pub unmatched: usize,
    /// Rows that could not be used, and why.
    pub problems: Vec<Problem>,
}

/// Reads a table of disc positions and attaches them to `samples` as [`FramingHint`]s.
///
/// Columns `image,disc_x,disc_y` and optionally `disc_diameter,fovea_x,fovea_y`, in native pixels
/// (pixel-index coordinates). `image` is a sample's id, or the id without the data set's name
/// where that is not ambiguous. A row with an empty position is allowed and attaches nothing.
///
/// # Errors
/// The table cannot be read or lacks a column.
pub fn attach_hints(
    samples: &mut [Sample],
    table_path: &Path,
) -> Result<AttachedHints, DatasetError> {
    let table = Table::read_csv(table_path)?;
    table.require(&["image", "disc_x", "disc_y"])?;
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, sample) in samples.iter().enumerate() {
        by_name.entry(sample.id.clone()).or_default().push(index);
        if let Some((_, inner)) = sample.id.split_once('/') {
            by_name.entry(inner.to_owned()).or_default().push(index);
        }
    }
    let mut done = AttachedHints::default();
    for row in table.rows() {
        let index = match by_name.get(row.text("image")).map(Vec::as_slice) {
            Some([index]) => *index,
            Some(_) => {
                done.problems
                    .push(row.bad(format!("`{}` fits several photographs", row.text("image"))));
                continue;
            }
            None => {
                done.unmatched += 1;
                continue;
            }
        };
        let Some(disc) = keep(row.point("disc_x", "disc_y"), &mut done.problems) else { continue };
        let diameter = keep(row.number("disc_diameter"), &mut done.problems).filter(|d| *d > 0.0);
        let fovea = keep(row.point("fovea_x", "fovea_y"), &mut done.problems);
        samples[index].framing = Some(FramingHint { disc, diameter, fovea });
        done.attached += 1;
    }
    Ok(done)
}

/// How class-labelled pictures are shown so that framing says nothing about the class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscCrop {
    /// Share of the class-labelled examples shown this way, 0..=1. The others are shown whole and
    /// contribute no class; neither does an example whose disc position is unknown.
    pub share: f64,
    /// Smallest radius of the round view, in disc diameters.
    pub radius_from: f64,
    /// Largest radius of the round view, in disc diameters.
    pub radius_to: f64,
    /// Largest offset of the view's middle from the disc's, as a share of the view's radius.
    pub offset: f64,
    /// Nearest that the border of the field of view may come to the disc's centre, in disc diameters.
    pub border_from: f64,
    /// Farthest that the border of the field of view is from the disc's centre, in disc diameters.
    ///
    /// Every view gets a border on the side away from the fovea, no farther than this, because a
    /// macula-centred photograph has one there and a disc-centred one has not.
    pub border_to: f64,
    /// The disc's diameter as a share of the field's, used where the disc's size is unknown.
    pub diameter_share: f64,
}

impl Default for DiscCrop {
    fn default() -> Self {
        Self {
            share: 1.0,
            radius_from: 1.5,
            radius_to: 3.5,
            offset: 0.3,
            border_from: 0.8,
            border_to: 1.2,
            diameter_share: 0.13,
        }
    }
}

impl DiscCrop {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`DatasetError::Options`] naming the field.
    pub fn validate(&self) -> Result<(), DatasetError> {
        let rules = [
            ("share must be within 0..=1", (0.0..=1.0).contains(&self.share)),
            ("radius_from must be at least 1", self.radius_from >= 1.0),
            ("radius_to must not be below radius_from", self.radius_to >= self.radius_from),
            ("offset must be within 0..=0.5", (0.0..=0.5).contains(&self.offset)),
            ("border_from must be at least 0.5", self.border_from >= 0.5),
            ("border_to must not be below border_from", self.border_to >= self.border_from),
            (
                "diameter_share must be within 0.02..=0.5",
                (0.02..=0.5).contains(&self.diameter_share),
            ),
        ];
        match rules.iter().find(|(_, holds)| !holds) {
            None => Ok(()),
            Some((rule, _)) => Err(DatasetError::Options(format!("disc_crop.{rule}"))),
        }
    }
}

/// One drawn view of a disc.
#[derive(Debug, Clone, Copy)]
struct Draw {
    /// Radius of the view, disc diameters.
    radius: f64,
    /// Offset of the view's middle from the disc, shares of the radius.
    offset: (f64, f64),
    /// Distance of the field's border from the disc's centre, disc diameters.
    border: f64,
    /// Which side the border is on where the anatomy does not say: -1 left, 1 right.
    side: f64,
    /// Rotation, radians.
    turn: f64,
    mirror: bool,
}

/// A random view of the disc of `master`, `side` pixels wide; `None` when its position is unknown.
///
/// The draws do not depend on the class or on where the disc lies.
pub(crate) fn random_crop(
    master: &Example,
    side: u32,
    options: &DiscCrop,
    turn: f64,
    mirror: bool,
    rng: &mut impl Rng,
) -> Option<(Warp, Vec<Circle>)> {
    let radius = rng.random_range(options.radius_from..=options.radius_to);
    let (length, angle) =
        (options.offset * rng.random::<f64>().sqrt(), rng.random_range(0.0..std::f64::consts::TAU));
    let draw = Draw {
        radius,
        offset: (length * angle.cos(), length * angle.sin()),
        border: rng.random_range(options.border_from..=options.border_to),
        side: if rng.random_bool(0.5) { 1.0 } else { -1.0 },
        turn,
        mirror,
    };
    master.disc_position.map(|position| view(master, side, position, options, &draw))
}

/// The one view of the disc by which classifiers are compared: the middle of every range, upright,
/// the disc in the middle. `None` when the disc's position is unknown.
pub fn reference_crop(master: &Example, side: u32, options: &DiscCrop) -> Option<Example> {
    let draw = Draw {
        radius: (options.radius_from + options.radius_to) / 2.0,
        offset: (0.0, 0.0),
        border: (options.border_from + options.border_to) / 2.0,
        side: 1.0,
        turn: 0.0,
        mirror: false,
    };
    let (warp, visible) = view(master, side, master.disc_position?, options, &draw);
    Some(warp.example(master, &visible))
}

fn view(
    master: &Example,
    side: u32,
    position: DiscPosition,
    options: &DiscCrop,
    draw: &Draw,
) -> (Warp, Vec<Circle>) {
    let half = f64::from(master.side()) / 2.0;
    let middle = NetworkPoint { x: half - 0.5, y: half - 0.5 };
    let field = master.field.map_or(Circle { center: middle, radius: half }, |field| Circle {
        center: field.center,
        radius: field.radius,
    });
    let diameter = position.diameter.unwrap_or(options.diameter_share * 2.0 * field.radius);
    let radius = draw.radius * diameter;
    let center = NetworkPoint {
        x: position.center.x + draw.offset.0 * radius,
        y: position.center.y + draw.offset.1 * radius,
    };
    let warp = Warp::new(side, center, 2.0 * radius / f64::from(side), draw.turn, draw.mirror);
    let (ux, uy) = toward_fovea(position, field, draw.side);
    let inward = field.radius - draw.border * diameter;
    let bordered = Circle {
        center: NetworkPoint {
            x: position.center.x + ux * inward,
            y: position.center.y + uy * inward,
        },
        radius: field.radius,
    };
    let out = (f64::from(side) - 1.0) / 2.0;
    let round = Circle { center: NetworkPoint { x: out, y: out }, radius: f64::from(side) / 2.0 };
    (warp, vec![round, warp.circle_to_output(bordered)])
}

/// Unit vector from the disc towards the fovea: known, or guessed from a disc that lies well off the
/// field's centre (the macula is then nearer to it), or drawn.
fn toward_fovea(position: DiscPosition, field: Circle, drawn: f64) -> (f64, f64) {
    let toward = |point: NetworkPoint| {
        let (dx, dy) = (point.x - position.center.x, point.y - position.center.y);
        let length = dx.hypot(dy);
        (length > 0.0).then_some((dx / length, dy / length, length))
    };
    let known = position.fovea.and_then(toward);
    let guessed = toward(field.center).filter(|(_, _, length)| *length > 0.3 * field.radius);
    known.or(guessed).map_or((drawn, 0.0), |(x, y, _)| (x, y))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dataset::Truth;
    use crate::dataset::example::Field;
    use glaucoma_common::preprocess::Placement;
    use image::{Rgb, RgbImage};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const DIAMETER: f64 = 40.0;

    /// A field that fills a 300-pixel master, the disc `off` pixels right of its middle.
    fn master(off: f64, fovea_known: bool) -> Example {
        let side = 300;
        let middle = NetworkPoint { x: 149.5, y: 149.5 };
        let field = Circle { center: middle, radius: 150.0 };
        let pixels = RgbImage::from_fn(side, side, |x, y| {
            let point = NetworkPoint { x: f64::from(x), y: f64::from(y) };
            if field.contains(point) { Rgb([200; 3]) } else { Rgb([0; 3]) }
        });
        let placement =
            Placement { origin_x: 0.0, origin_y: 0.0, width: 300.0, height: 300.0, side };
        let mut example = Example::unlabelled("m", 0, pixels, placement);
        example.glaucoma = Some(true);
        example.field = Some(Field { center: middle, radius: 150.0 });
        let center = NetworkPoint { x: 149.5 + off, y: 149.5 };
        let fovea = fovea_known.then_some(NetworkPoint { x: center.x - 100.0, y: center.y });
        example.disc_position = Some(DiscPosition { center, diameter: Some(DIAMETER), fovea });
        example
    }

    /// Distance from the disc to the nearest black pixel of the row and side away from the fovea,
    /// in disc diameters; what a network could learn the framing from.
    fn border_distance(example: &Example) -> f64 {
        let position = example.disc_position.unwrap();
        let (y, start) = (position.center.y.round() as u32, position.center.x.round() as u32);
        let black = (start..example.side()).find(|&x| example.pixels.get_pixel(x, y).0 == [0; 3]);
        let edge = black.unwrap_or(example.side());
        f64::from(edge - start) / position.diameter.unwrap()
    }

    #[test]
    fn both_framings_show_the_same_border() {
        let options = DiscCrop::default();
        let centered = reference_crop(&master(0.0, true), 200, &options).unwrap();
        let off = reference_crop(&master(95.0, true), 200, &options).unwrap();
        assert!((border_distance(&centered) - 1.0).abs() < 0.08, "{}", border_distance(&centered));
        assert!((border_distance(&off) - 1.0).abs() < 0.08, "{}", border_distance(&off));
        // The disc lies in the middle and is of one size in both.
        for example in [&centered, &off] {
            let position = example.disc_position.unwrap();
            assert!(
                (position.center.x - 99.5).abs() < 1e-9 && (position.center.y - 99.5).abs() < 1e-9
            );
            assert!((position.diameter.unwrap() - 200.0 / 5.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_disc_off_the_centre_says_where_the_fovea_is() {
        let options = DiscCrop::default();
        let known = reference_crop(&master(95.0, true), 128, &options).unwrap();
        let guessed = reference_crop(&master(95.0, false), 128, &options).unwrap();
        assert_eq!(known.pixels, guessed.pixels);
    }

    #[test]
    fn the_draws_are_blind_to_the_picture() {
        let options = DiscCrop::default();
        for seed in 0..40 {
            let size = |off: f64| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let (warp, _) =
                    random_crop(&master(off, true), 128, &options, 0.0, false, &mut rng).unwrap();
                let disc = warp.to_output(master(off, true).disc_position.unwrap().center);
                (warp.step(), disc.x, disc.y)
            };
            let ((a, ax, ay), (b, bx, by)) = (size(0.0), size(95.0));
            assert!((a - b).abs() < 1e-12 && (ax - bx).abs() < 1e-9 && (ay - by).abs() < 1e-9);
            let radius = a * 128.0 / 2.0 / DIAMETER;
            assert!((options.radius_from..=options.radius_to).contains(&radius), "{radius}");
        }
    }

    fn sample(id: &str) -> Sample {
        Sample {
            id: id.into(),
            dataset: "hygd".into(),
            photo: id.into(),
            patient: None,
            part: None,
            declared_size: None,
            truth: Truth::default(),
            framing: None,
        }
    }

    #[test]
    fn hints_come_from_a_table_beside_the_data() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("discs.csv");
        let mut samples =
            ["hygd/images/1.jpg", "hygd/images/2.jpg", "hygd/images/3.jpg", "a/4.jpg", "b/4.jpg"]
                .map(sample);
        std::fs::write(
            &path,
            "image,disc_x,disc_y,disc_diameter,fovea_x,fovea_y\nhygd/images/1.jpg,10,20,30,40,50\n\
             images/2.jpg,11,21,,,\nimages/3.jpg,,,,,\nimages/9.jpg,1,1,1,,\n4.jpg,1,1,1,,\nimages/3.jpg,x,1,,,\n",
        )
        .unwrap();
        let done = attach_hints(&mut samples, &path).unwrap();
        assert_eq!((done.attached, done.unmatched, done.problems.len()), (2, 1, 2));
        let hint = samples[0].framing.unwrap();
        assert_eq!((hint.disc.x, hint.diameter, hint.fovea.unwrap().y), (10.0, Some(30.0), 50.0));
        assert_eq!(samples[1].framing.unwrap().diameter, None);
        // A hint is never a label.
        assert!(samples.iter().all(|s| s.truth.is_unlabelled()));
        assert!(attach_hints(&mut samples, &dir.path().join("none.csv")).is_err());
    }
}
