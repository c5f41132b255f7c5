//! One eye: class, side, proportions and pigment, drawn from published ranges.

use super::disc::{OpticDisc, RetinaPoint};
use super::draw::{Draw, Part};
use glaucoma_common::reading::Laterality;

/// Everything about an eye that is not a texture or a vessel. Angles in degrees of visual angle,
/// the frame is that of [`RetinaPoint`] (a right eye).
#[derive(Debug, Clone)]
pub struct Eye {
    /// Whether the optic neuropathy of glaucoma is present.
    pub glaucoma: bool,
    /// Which eye; a left eye is the mirror image of this frame.
    pub laterality: Laterality,
    /// The optic nerve head, centred on the origin.
    pub disc: OpticDisc,
    /// Centre of the fovea: temporal (negative x) and slightly below.
    pub fovea: RetinaPoint,
    /// Pigmentation: 0 blond, 1 dark.
    pub pigment: f32,
    /// 1 in a child, 0 in old age: sheen of the nerve fibres, reflexes.
    pub youth: f32,
    /// Visibility of the choroidal vessels (tessellation), 0..1.
    pub tessellation: f32,
    /// Relative brightness of the cup's floor over the rim, 0..1.
    pub pallor: f32,
    /// Sharpness of the cup's wall: softness of the transition as a share of the disc's radius.
    pub cup_softness: f32,
    /// Softness of the disc's margin as a share of its radius.
    pub margin_softness: f32,
    /// Peripapillary atrophy.
    pub atrophy: Atrophy,
    /// Directions (radians about the disc) and angular half-widths of nerve fibre layer defects.
    pub defects: Vec<(f32, f32)>,
    /// Waviness of the vessels, about 0.3..1.8.
    pub tortuosity: f32,
    /// Darkening of the macula, 0..1.
    pub macula: f32,
}

/// Peripapillary atrophy, strongest temporally.
#[derive(Debug, Clone, Copy)]
pub struct Atrophy {
    /// Direction of its widest part, radians.
    pub direction: f32,
    /// Width of the bright inner (beta) zone in disc radii; 0 where absent.
    pub beta: f32,
    /// Width of the pigmented outer (alpha) zone in disc radii; 0 where absent.
    pub alpha: f32,
    /// How far it reaches round the disc: exponent of the cosine lobe, small is all round.
    pub focus: f32,
}

impl Eye {
    /// Draws an eye of the given class.
    #[must_use]
    pub fn draw(seed: u64, index: u64, glaucoma: bool) -> Self {
        let mut draw = Draw::new(seed, index, Part::Eye);
        let laterality = if draw.chance(0.5) { Laterality::Right } else { Laterality::Left };
        // Disc to fovea: 15.5 +- 1.1 degrees (Rohrschneider 2004), 2 to 3 disc diameters.
        let distance = draw.normal_within(15.5, 0.9, 13.3, 17.7);
        let diameters = draw.normal_within(2.42, 0.2, 2.06, 2.9);
        let height = distance / diameters * 1.04;
        // The fovea lies 6.3 +- 3 degrees of angle below the disc's level.
        let dip = draw.normal_within(6.5, 2.8, 0.3, 14.0).to_radians();
        let fovea = RetinaPoint::new(-distance * dip.cos(), distance * dip.sin());
        let vcdr = draw_vcdr(&mut draw, glaucoma, diameters);
        let disc = OpticDisc::draw(&mut draw, height, vcdr, glaucoma);
        let youth = draw.unit().powf(if glaucoma { 2.5 } else { 1.4 });
        let pigment = draw.normal_within(0.5, 0.27, 0.0, 1.0);
        let tessellation = tessellation(&mut draw, pigment, youth);
        let atrophy = draw_atrophy(&mut draw, glaucoma);
        let defects = if glaucoma { draw_defects(&mut draw, &disc) } else { Vec::new() };
        Self {
            glaucoma,
            laterality,
            disc,
            fovea,
            pigment,
            youth,
            tessellation,
            pallor: draw.normal_within(if glaucoma { 0.68 } else { 0.58 }, 0.2, 0.15, 1.0),
            cup_softness: draw.normal_within(0.13, 0.07, 0.04, 0.32),
            margin_softness: draw.normal_within(0.055, 0.025, 0.02, 0.13),
            atrophy,
            defects,
            tortuosity: draw.normal_within(0.9, 0.35, 0.3, 1.9),
            macula: draw.normal_within(0.55, 0.25, 0.1, 1.0),
        }
    }

    /// Distance of disc centre and fovea in mean disc diameters.
    #[must_use]
    pub fn fovea_distance_in_diameters(&self) -> f32 {
        let outline = &self.disc.outline;
        let width = outline.radius(0.0) + outline.radius(std::f32::consts::PI);
        self.fovea.distance(RetinaPoint::new(0.0, 0.0)) / (0.5 * (outline.height() + width))
    }
}

/// Vertical cup-to-disc ratios that overlap as measured ones do: normal 0.45 +- 0.13, glaucoma
/// 0.68 +- 0.13; large discs have larger cups (Jonas et al. 1999).
fn draw_vcdr(draw: &mut Draw, glaucoma: bool, diameters: f32) -> f32 {
    let (mean, low, high) = if glaucoma { (0.68, 0.35, 0.93) } else { (0.45, 0.15, 0.85) };
    let size = (2.42 - diameters) / 0.2;
    draw.normal_within(mean + 0.045 * size, 0.122, low, high)
}

/// Tessellated fundi: thin pigment epithelium over a pigmented choroid, and old age.
fn tessellation(draw: &mut Draw, pigment: f32, youth: f32) -> f32 {
    if draw.chance(0.35 + 0.2 * (1.0 - youth)) {
        draw.between(0.25, 1.0) * (1.15 - 0.5 * pigment)
    } else {
        draw.between(0.0, 0.22)
    }
}

/// Beta zone in about one normal eye in seven and most glaucomatous ones, alpha zone in most.
fn draw_atrophy(draw: &mut Draw, glaucoma: bool) -> Atrophy {
    let beta = if draw.chance(if glaucoma { 0.55 } else { 0.2 }) {
        draw.between(0.08, if glaucoma { 0.6 } else { 0.35 })
    } else {
        0.0
    };
    let alpha = if draw.chance(0.5) { draw.between(0.05, 0.25) } else { 0.0 };
    Atrophy {
        direction: std::f32::consts::PI + draw.normal(-0.15, 0.5),
        beta,
        alpha,
        focus: draw.between(0.6, 2.5),
    }
}

/// Wedges that start where the rim is notched; some without a visible notch.
fn draw_defects(draw: &mut Draw, disc: &OpticDisc) -> Vec<(f32, f32)> {
    let mut defects = Vec::new();
    for notch in &disc.notches {
        if draw.chance(0.6) {
            defects.push((notch.angle + draw.normal(0.0, 0.06), draw.between(0.05, 0.2)));
        }
    }
    if disc.notches.is_empty() && draw.chance(0.3) {
        let side = draw.sign();
        defects.push((side * draw.between(1.85, 2.2), draw.between(0.06, 0.22)));
    }
    defects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportions_lie_in_the_published_ranges() {
        for index in 0..400 {
            let eye = Eye::draw(11, index, index % 2 == 0);
            let diameters = eye.fovea_distance_in_diameters();
            assert!((2.0..=3.0).contains(&diameters), "{diameters}");
            assert!(eye.fovea.x < 0.0, "the fovea lies temporally");
            assert!(eye.fovea.y > 0.0 && eye.fovea.y < 5.0, "and slightly below");
        }
    }

    #[test]
    fn cup_to_disc_ratios_of_the_classes_overlap() {
        let measure = |glaucoma| {
            let values: Vec<f32> =
                (0..500).map(|i| Eye::draw(7, i, glaucoma).disc.vcdr()).collect();
            let mean = values.iter().sum::<f32>() / 500.0;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 500.0;
            (mean, variance.sqrt(), values)
        };
        let (normal, normal_spread, normals) = measure(false);
        let (sick, sick_spread, patients) = measure(true);
        assert!((normal - 0.45).abs() < 0.03 && (normal_spread - 0.13).abs() < 0.02, "{normal}");
        assert!((sick - 0.68).abs() < 0.03 && (sick_spread - 0.125).abs() < 0.02, "{sick}");
        assert!(normals.iter().any(|&v| v > 0.68), "large physiological cups exist");
        assert!(patients.iter().any(|&v| v < 0.5), "early glaucoma exists");
    }
}
