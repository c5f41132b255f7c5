//! What the four network outputs say about the eye, and whether they agree with anatomy.

use serde::{Deserialize, Serialize};

use crate::manifest::{Anatomy, Decoding};
use crate::mask::Mask;
use crate::preprocess::{NativePoint, NetworkPoint, Placement};

/// What the network answers for one picture; every value a probability.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkOutput {
    /// Network pixels along each side of the maps.
    pub side: u32,
    /// Probability of glaucoma by the classifier head.
    pub glaucoma: f32,
    /// Optic disc (cup included), `side * side`, row major.
    pub disc: Vec<f32>,
    /// Optic cup, `side * side`, row major.
    pub cup: Vec<f32>,
    /// Fovea map (a Gaussian hill, peak 1), `side * side`, row major.
    pub fovea: Vec<f32>,
}

/// Which eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Laterality {
    /// The person's right eye (OD).
    Right,
    /// The person's left eye (OS).
    Left,
}

impl std::fmt::Display for Laterality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Right => "right",
            Self::Left => "left",
        })
    }
}

/// Disc or cup as found.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Network pixels: thresholded, largest component.
    pub mask: Mask,
    /// Centroid, native pixels.
    pub center: NativePoint,
    /// Largest horizontal extent (pixels of the fullest row), native pixels.
    pub width: f64,
    /// Largest vertical extent (pixels of the fullest column), native pixels.
    pub height: f64,
    /// Closed outer outline, native pixels, in drawing order.
    pub outline: Vec<NativePoint>,
}

impl Region {
    /// Mean of width and height, native pixels.
    #[must_use]
    pub fn diameter(&self) -> f64 {
        f64::midpoint(self.width, self.height)
    }
}

/// What the outputs say about one eye.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The classifier head's glaucoma probability, 0 to 1; `None` when the output was no
    /// probability.
    pub classifier_probability: Option<f64>,
    /// Optic disc; `None` when no pixel reaches the threshold.
    pub disc: Option<Region>,
    /// Optic cup; `None` when no pixel reaches the threshold.
    pub cup: Option<Region>,
    /// Vertical cup-to-disc ratio; `None` without a disc or a cup.
    pub vcdr: Option<f64>,
    /// Fovea, native pixels; `None` when the map's peak is too low.
    pub fovea: Option<NativePoint>,
    /// Which eye; `None` when disc or fovea is missing or they lie too close horizontally.
    pub laterality: Option<Laterality>,
    /// Everything about this reading that anatomy does not allow; empty for a sound one.
    pub inconsistencies: Vec<Inconsistency>,
}

/// One of the network's four outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// The classifier head.
    Glaucoma,
    /// The disc map.
    Disc,
    /// The cup map.
    Cup,
    /// The fovea map.
    Fovea,
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Glaucoma => "glaucoma",
            Self::Disc => "disc",
            Self::Cup => "cup",
            Self::Fovea => "fovea",
        })
    }
}

/// A way in which a reading contradicts anatomy or is no reading at all. `Display` is a plain
/// sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Inconsistency {
    /// An output holds a value that is not a finite number.
    #[error("the network's {output} output is not a finite number")]
    NotFinite {
        /// The output concerned.
        output: Output,
    },
    /// An output holds a value below 0 or above 1.
    #[error("the network's {output} output is no probability: it holds {value}")]
    NotProbability {
        /// The output concerned.
        output: Output,
        /// The first value out of range.
        value: f32,
    },
    /// An output has another size than the network's input.
    #[error("the network's {output} output holds {found} values instead of {expected}")]
    WrongSize {
        /// The output concerned.
        output: Output,
        /// Values found.
        found: usize,
        /// Values expected.
        expected: usize,
    },
    /// The disc map shows more than one region of a disc's size.
    #[error("{count} regions look like an optic disc; an eye has one")]
    SeveralDiscs {
        /// Regions of at least the share of the largest that the model's anatomy sets.
        count: usize,
    },
    /// Too much of the cup lies outside the disc.
    #[error("{:.0} % of the cup lies outside the disc", .share * 100.0)]
    CupOutsideDisc {
        /// Share of the cup's pixels outside the disc, 0 to 1.
        share: f64,
    },
    /// The cup-to-disc ratio is beyond what eyes show.
    #[error("the vertical cup-to-disc ratio of {vcdr:.2} is implausible")]
    VcdrOutOfRange {
        /// The ratio.
        vcdr: f64,
    },
    /// The disc is too small or too large for the picture.
    #[error("the optic disc is {:.1} % of the picture's side, which is implausible", .share * 100.0)]
    DiscSize {
        /// Mean disc diameter as a share of the network's side, 0 to 1.
        share: f64,
    },
    /// The disc is too flat or too narrow.
    #[error("the optic disc is {aspect:.2} times as wide as high, which is implausible")]
    DiscShape {
        /// Width over height.
        aspect: f64,
    },
    /// The fovea is too near to or too far from the disc.
    #[error("the fovea lies {diameters:.1} disc diameters from the disc, which is implausible")]
    DiscFoveaDistance {
        /// Distance of the centres over the mean disc diameter.
        diameters: f64,
    },
}

/// Interprets the network's outputs for a picture placed by `placement`.
///
/// Disc and cup are thresholded and reduced to their largest 8-connected component; the fovea is
/// the map's centre of mass (both as in the paper). An output that is not finite, no probability
/// or of the wrong size gives no value, only an inconsistency.
#[must_use]
pub fn read(
    output: &NetworkOutput,
    placement: &Placement,
    decoding: &Decoding,
    anatomy: &Anatomy,
) -> Reading {
    let mut inconsistencies = Vec::new();
    let classifier = [output.glaucoma];
    let glaucoma = checked(Output::Glaucoma, &classifier, 1, &mut inconsistencies);
    let expected = output.side as usize * output.side as usize;
    let disc_map = checked(Output::Disc, &output.disc, expected, &mut inconsistencies);
    let cup_map = checked(Output::Cup, &output.cup, expected, &mut inconsistencies);
    let fovea_map = checked(Output::Fovea, &output.fovea, expected, &mut inconsistencies);

    let threshold = |map: Option<&[f32]>, at| {
        map.map(|map| Mask::from_probabilities(map, output.side, output.side, at))
    };
    let disc_mask = threshold(disc_map, decoding.disc_threshold);
    if let Some(mask) = &disc_mask {
        inconsistencies.extend(several_discs(mask, anatomy));
    }
    let disc = disc_mask.and_then(|mask| region(mask.largest_component(), placement));
    let cup = threshold(cup_map, decoding.cup_threshold)
        .and_then(|mask| region(mask.largest_component(), placement));
    let fovea = fovea_map
        .filter(|map| map.iter().copied().fold(0.0, f32::max) >= decoding.fovea_min_peak)
        .and_then(|map| center_of_mass(map, output.side, decoding.fovea_floor))
        .map(|point| placement.to_native(point));
    let vcdr = disc.as_ref().zip(cup.as_ref()).and_then(|(d, c)| vcdr_of(&d.mask, &c.mask));

    let mut reading = Reading {
        classifier_probability: glaucoma.map(|value| f64::from(value[0])),
        disc,
        cup,
        vcdr,
        fovea,
        laterality: None,
        inconsistencies,
    };
    reading.laterality = laterality(&reading, anatomy);
    let contradictions = contradictions(&reading, anatomy);
    reading.inconsistencies.extend(contradictions);
    reading
}

/// Vertical cup-to-disc ratio: the heights of cup over disc, each the largest number of mask
/// pixels in any one column. `None` when either mask is empty.
#[must_use]
pub fn vcdr_of(disc: &Mask, cup: &Mask) -> Option<f64> {
    let (disc, cup) = (disc.vertical_diameter(), cup.vertical_diameter());
    (disc > 0 && cup > 0).then(|| f64::from(cup) / f64::from(disc))
}

/// Centre of mass of a row-major `side * side` map over its values `>= floor * peak`; a floor of
/// 0 is the paper's plain centre of mass. `None` for a map of another size, with a value that is
/// not finite, or without a positive one. Values below 0 weigh nothing.
#[must_use]
pub fn center_of_mass(map: &[f32], side: u32, floor: f32) -> Option<NetworkPoint> {
    if map.len() != side as usize * side as usize || map.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let least = floor * map.iter().copied().fold(0.0, f32::max);
    let (mut total, mut x_sum, mut y_sum) = (0.0, 0.0, 0.0);
    for (y, row) in map.chunks_exact((side as usize).max(1)).enumerate() {
        for (x, &value) in row.iter().enumerate().filter(|&(_, &value)| value >= least) {
            let weight = f64::from(value.max(0.0));
            total += weight;
            x_sum += weight * x as f64;
            y_sum += weight * y as f64;
        }
    }
    (total > 0.0).then(|| NetworkPoint { x: x_sum / total, y: y_sum / total })
}

/// `values` when there are `expected` of them and all are probabilities; else the reason why not.
fn checked<'a>(
    output: Output,
    values: &'a [f32],
    expected: usize,
    inconsistencies: &mut Vec<Inconsistency>,
) -> Option<&'a [f32]> {
    let wrong = if values.len() != expected {
        Inconsistency::WrongSize { output, found: values.len(), expected }
    } else if values.iter().any(|value| !value.is_finite()) {
        Inconsistency::NotFinite { output }
    } else if let Some(&value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        Inconsistency::NotProbability { output, value }
    } else {
        return Some(values);
    };
    inconsistencies.push(wrong);
    None
}

/// The refined `mask` in native pixels; `None` when it is empty.
fn region(mask: Mask, placement: &Placement) -> Option<Region> {
    let (x, y) = mask.centroid()?;
    let (native_x, native_y) = placement.native_per_network();
    let native = |(x, y)| placement.to_native(NetworkPoint { x, y });
    Some(Region {
        center: native((x, y)),
        width: f64::from(mask.horizontal_diameter()) * native_x,
        height: f64::from(mask.vertical_diameter()) * native_y,
        outline: mask.contour().into_iter().map(native).collect(),
        mask,
    })
}

fn several_discs(mask: &Mask, anatomy: &Anatomy) -> Option<Inconsistency> {
    let areas = mask.component_areas();
    let least = *areas.first()? as f64 * anatomy.second_disc_share;
    let count = areas.iter().filter(|&&area| area as f64 >= least).count();
    (count > 1).then_some(Inconsistency::SeveralDiscs { count })
}

/// In an unmirrored photograph the disc lies nasally: right of the fovea in a right eye.
fn laterality(reading: &Reading, anatomy: &Anatomy) -> Option<Laterality> {
    let (disc, fovea) = (reading.disc.as_ref()?, reading.fovea?);
    let dx = disc.center.x - fovea.x;
    if dx.abs() < anatomy.laterality_min_diameters * disc.diameter() {
        return None;
    }
    Some(if dx > 0.0 { Laterality::Right } else { Laterality::Left })
}

fn contradictions(reading: &Reading, anatomy: &Anatomy) -> Vec<Inconsistency> {
    let within = |value: f64, (low, high): (f64, f64)| (low..=high).contains(&value);
    let mut found = Vec::new();
    if let Some(disc) = &reading.disc {
        let side = f64::from(disc.mask.width().max(1));
        let (wide, high) = (disc.mask.horizontal_diameter(), disc.mask.vertical_diameter());
        let share = f64::from(wide + high) / (2.0 * side);
        if !within(share, anatomy.disc_share_of_side) {
            found.push(Inconsistency::DiscSize { share });
        }
        let aspect = disc.width / disc.height;
        if !within(aspect, anatomy.disc_aspect) {
            found.push(Inconsistency::DiscShape { aspect });
        }
        if let Some(fovea) = reading.fovea {
            let diameters = disc.center.distance_to(fovea) / disc.diameter();
            if !within(diameters, anatomy.disc_fovea_diameters) {
                found.push(Inconsistency::DiscFoveaDistance { diameters });
            }
        }
        if let Some(cup) = &reading.cup {
            let inside = cup.mask.intersection(&disc.mask).area() as f64;
            let share = 1.0 - inside / cup.mask.area() as f64;
            if share > anatomy.max_cup_outside_share {
                found.push(Inconsistency::CupOutsideDisc { share });
            }
        }
    }
    if let Some(vcdr) = reading.vcdr.filter(|&vcdr| !within(vcdr, anatomy.vcdr)) {
        found.push(Inconsistency::VcdrOutOfRange { vcdr });
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SIDE: u32 = 64;

    /// A square of 640 native pixels at (100, -20): ten native pixels a network pixel.
    const PLACEMENT: Placement =
        Placement { origin_x: 100.0, origin_y: -20.0, width: 640.0, height: 640.0, side: SIDE };

    fn blob(center: (f64, f64), radii: (f64, f64)) -> Vec<f32> {
        let at = |index: u32, center: f64, radius: f64| (f64::from(index) - center) / radius;
        let inside = |x, y| at(x, center.0, radii.0).hypot(at(y, center.1, radii.1)) <= 1.0;
        let pixels = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
        pixels.map(|(x, y)| if inside(x, y) { 0.9 } else { 0.1 }).collect()
    }

    fn hill(center: (f64, f64)) -> Vec<f32> {
        let pixels = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
        let value = |(x, y)| {
            let d = (f64::from(x) - center.0).hypot(f64::from(y) - center.1);
            (-d * d / 12.5).exp() as f32
        };
        pixels.map(value).collect()
    }

    /// A right eye: the disc at (44, 30) with a diameter of 10, the fovea at (20, 32).
    fn eye() -> NetworkOutput {
        NetworkOutput {
            side: SIDE,
            glaucoma: 0.25,
            disc: blob((44.0, 30.0), (5.2, 5.2)),
            cup: blob((44.0, 30.0), (2.2, 3.2)),
            fovea: hill((20.0, 32.0)),
        }
    }

    fn read_default(output: &NetworkOutput) -> Reading {
        read(output, &PLACEMENT, &Decoding::default(), &Anatomy::default())
    }

    #[test]
    fn a_sound_eye_reads_in_native_pixels() {
        let reading = read_default(&eye());
        assert_eq!(reading.inconsistencies, vec![]);
        assert_eq!(reading.classifier_probability, Some(0.25));
        let disc = reading.disc.unwrap();
        let center = NativePoint { x: 100.0 + 445.0 - 0.5, y: -20.0 + 305.0 - 0.5 };
        assert!(disc.center.distance_to(center) < 1e-9, "{:?}", disc.center);
        assert_eq!((disc.width, disc.height), (110.0, 110.0));
        assert_eq!(reading.cup.unwrap().height, 70.0);
        assert!((reading.vcdr.unwrap() - 7.0 / 11.0).abs() < 1e-12);
        let fovea = NativePoint { x: 100.0 + 205.0 - 0.5, y: -20.0 + 325.0 - 0.5 };
        assert!(reading.fovea.unwrap().distance_to(fovea) < 0.5);
        assert_eq!(reading.laterality, Some(Laterality::Right));
        let left = disc.outline.iter().map(|point| point.x).fold(f64::INFINITY, f64::min);
        assert!((left - (100.0 + 390.0 - 0.5)).abs() < 1e-9, "{left}");
    }

    #[test]
    fn the_mirrored_eye_is_a_left_one_and_a_disc_above_the_fovea_is_not_told() {
        let left = NetworkOutput { fovea: hill((62.0, 32.0)), ..eye() };
        assert_eq!(read_default(&left).laterality, Some(Laterality::Left));
        let above = NetworkOutput { fovea: hill((42.0, 55.0)), ..eye() };
        assert_eq!(read_default(&above).laterality, None);
    }

    #[test]
    fn what_is_not_finite_gives_no_value() {
        let mut output = NetworkOutput { glaucoma: f32::NAN, ..eye() };
        output.disc[5] = f32::INFINITY;
        output.cup[7] = f32::NAN;
        output.fovea[9] = f32::NAN;
        let reading = read_default(&output);
        assert_eq!(reading.classifier_probability, None);
        assert!(reading.disc.is_none() && reading.cup.is_none() && reading.vcdr.is_none());
        assert!(reading.fovea.is_none() && reading.laterality.is_none());
        let outputs = [Output::Glaucoma, Output::Disc, Output::Cup, Output::Fovea];
        let expected = outputs.map(|output| Inconsistency::NotFinite { output });
        assert_eq!(reading.inconsistencies, expected);
    }

    #[test]
    fn what_is_no_probability_or_of_another_size_gives_no_value() {
        let mut output = NetworkOutput { glaucoma: 1.5, ..eye() };
        output.cup.pop();
        let reading = read_default(&output);
        assert_eq!(
            reading.inconsistencies,
            vec![
                Inconsistency::NotProbability { output: Output::Glaucoma, value: 1.5 },
                Inconsistency::WrongSize { output: Output::Cup, found: 4095, expected: 4096 },
            ]
        );
        assert!(reading.disc.is_some() && reading.cup.is_none() && reading.vcdr.is_none());
    }

    #[test]
    fn each_contradiction_of_anatomy_is_named() {
        let kinds = |output: &NetworkOutput| read_default(output).inconsistencies;
        let far = kinds(&NetworkOutput { fovea: hill((44.0, 34.0)), ..eye() });
        assert!(
            matches!(far[..], [Inconsistency::DiscFoveaDistance { diameters }] if diameters < 1.0)
        );
        let outside = kinds(&NetworkOutput { cup: blob((50.0, 30.0), (2.2, 3.2)), ..eye() });
        assert!(matches!(outside[..], [Inconsistency::CupOutsideDisc { share }] if share > 0.3));
        let flat = kinds(&NetworkOutput { disc: blob((44.0, 30.0), (9.2, 4.2)), ..eye() });
        assert!(matches!(flat[..], [Inconsistency::DiscShape { aspect }] if aspect > 2.0));
        let huge = NetworkOutput { disc: blob((32.0, 30.0), (20.2, 20.2)), ..eye() };
        assert!(matches!(kinds(&huge)[0], Inconsistency::DiscSize { share } if share > 0.6));
        let full = kinds(&NetworkOutput { cup: eye().disc, ..eye() });
        assert_eq!(full, vec![Inconsistency::VcdrOutOfRange { vcdr: 1.0 }]);
        let second = blob((15.0, 10.0), (4.2, 4.2));
        let both = eye().disc.iter().zip(&second).map(|(&a, &b)| a.max(b)).collect();
        let several = kinds(&NetworkOutput { disc: both, ..eye() });
        assert_eq!(several, vec![Inconsistency::SeveralDiscs { count: 2 }]);
        assert_eq!(several[0].to_string(), "2 regions look like an optic disc; an eye has one");
        let json = serde_json::to_string(&several[0]).unwrap();
        assert_eq!(json, r#"{"kind":"several_discs","count":2}"#);
    }

    #[test]
    fn empty_maps_give_an_empty_reading() {
        let none = vec![0.0; 64 * 64];
        let output = NetworkOutput { disc: none.clone(), cup: none.clone(), fovea: none, ..eye() };
        let reading = read_default(&output);
        assert!(reading.disc.is_none() && reading.cup.is_none() && reading.fovea.is_none());
        assert_eq!(reading.inconsistencies, vec![]);
    }

    #[test]
    fn the_floor_frees_the_fovea_from_a_distant_haze() {
        let mut map = hill((20.0, 32.0));
        map.iter_mut().for_each(|value| *value = value.max(0.02));
        let plain = center_of_mass(&map, SIDE, 0.0).unwrap();
        let floored = center_of_mass(&map, SIDE, 0.3).unwrap();
        let truth = NetworkPoint { x: 20.0, y: 32.0 };
        assert!(plain.distance_to(truth) > 5.0 && floored.distance_to(truth) < 1e-6);
        assert_eq!(center_of_mass(&[0.0; 4], 2, 0.0), None);
        assert_eq!(center_of_mass(&[0.0, f32::NAN, 1.0, 0.0], 2, 0.0), None);
        assert_eq!(center_of_mass(&[1.0; 3], 2, 0.0), None);
        let high = Decoding { fovea_min_peak: 0.95, ..Decoding::default() };
        let faint: Vec<f32> = hill((20.0, 32.0)).iter().map(|value| value * 0.5).collect();
        let output = NetworkOutput { fovea: faint, ..eye() };
        assert_eq!(read(&output, &PLACEMENT, &high, &Anatomy::default()).fovea, None);
    }

    #[test]
    fn the_ratio_needs_both_masks() {
        let (full, none) = (Mask::from_fn(4, 4, |_, _| true), Mask::new(4, 4));
        assert_eq!(vcdr_of(&full, &none), None);
        assert_eq!(vcdr_of(&none, &full), None);
        assert_eq!(vcdr_of(&full, &full), Some(1.0));
    }
}
