//! The optic disc's geometry: outline, cup, rim; nothing here knows of pixels or colour.

use super::draw::Draw;
use super::texture::mix;
use std::f32::consts::{PI, TAU};

/// Directions in which the outlines are tabulated.
const DIRECTIONS: usize = 360;
/// The rim is nowhere thinner than this share of the disc's radius: the cup stays inside.
const THINNEST_RIM: f32 = 0.035;

/// A position on the retina in degrees of visual angle, in the frame of a RIGHT eye as
/// photographed: the origin is the disc's centre, x points nasally (right), y inferiorly (down).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetinaPoint {
    /// Degrees nasal of the disc's centre.
    pub x: f32,
    /// Degrees below the disc's centre.
    pub y: f32,
}

impl RetinaPoint {
    /// The point at (`x`, `y`) degrees.
    #[must_use]
    pub const fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    /// The point `radius` degrees from the origin in direction `angle` (radians, x towards y).
    #[must_use]
    pub fn polar(radius: f32, angle: f32) -> Self {
        Self::new(radius * angle.cos(), radius * angle.sin())
    }

    /// Squared distance in square degrees.
    #[must_use]
    pub fn squared_distance(self, other: Self) -> f32 {
        (self.x - other.x).powi(2) + (self.y - other.y).powi(2)
    }

    /// Distance in degrees.
    #[must_use]
    pub fn distance(self, other: Self) -> f32 {
        self.squared_distance(other).sqrt()
    }

    /// `self + t * (dx, dy)`.
    #[must_use]
    pub fn shifted(self, dx: f32, dy: f32) -> Self {
        Self::new(self.x + dx, self.y + dy)
    }
}

/// A closed outline, star-shaped about its centre.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The centre the radii are measured from.
    pub center: RetinaPoint,
    radii: Vec<f32>,
}

impl Outline {
    fn new(center: RetinaPoint, radius: impl Fn(f32) -> f32) -> Self {
        let radii = (0..DIRECTIONS).map(|i| radius(i as f32 / DIRECTIONS as f32 * TAU)).collect();
        Self { center, radii }
    }

    /// The radius in degrees in direction `angle` (radians), between tabulated directions linear.
    #[must_use]
    pub fn radius(&self, angle: f32) -> f32 {
        let at = angle.rem_euclid(TAU) / TAU * DIRECTIONS as f32;
        let first = at as usize % DIRECTIONS;
        mix(self.radii[first], self.radii[(first + 1) % DIRECTIONS], at.fract())
    }

    /// Distance from the centre over the outline's radius in that direction: 1 on the outline,
    /// less inside.
    #[must_use]
    pub fn level(&self, point: RetinaPoint) -> f32 {
        let (x, y) = (point.x - self.center.x, point.y - self.center.y);
        x.hypot(y) / self.radius(y.atan2(x))
    }

    /// The point of the outline in direction `angle`.
    #[must_use]
    pub fn edge(&self, angle: f32) -> RetinaPoint {
        let offset = RetinaPoint::polar(self.radius(angle), angle);
        self.center.shifted(offset.x, offset.y)
    }

    /// The largest radius in degrees.
    #[must_use]
    pub fn reach(&self) -> f32 {
        self.radii.iter().copied().fold(0.0, f32::max)
    }

    /// The longest vertical chord in degrees: what the largest pixel count of one column measures.
    #[must_use]
    pub fn height(&self) -> f32 {
        let points: Vec<RetinaPoint> = (0..DIRECTIONS)
            .map(|i| RetinaPoint::polar(self.radii[i], i as f32 / DIRECTIONS as f32 * TAU))
            .collect();
        let (low, high) = points
            .iter()
            .fold((f32::MAX, f32::MIN), |(low, high), point| (low.min(point.x), high.max(point.x)));
        (1..96).fold(0.0, |best: f32, column| {
            let x = mix(low, high, column as f32 / 96.0);
            let (mut top, mut bottom) = (f32::MAX, f32::MIN);
            for i in 0..DIRECTIONS {
                let (a, b) = (points[i], points[(i + 1) % DIRECTIONS]);
                if (a.x <= x) != (b.x <= x) {
                    let y = mix(a.y, b.y, (x - a.x) / (b.x - a.x));
                    (top, bottom) = (top.min(y), bottom.max(y));
                }
            }
            best.max(bottom - top)
        })
    }

    /// How far a ray from `from` (inside) in direction `angle` runs before it leaves, in degrees.
    #[must_use]
    pub fn ray(&self, from: RetinaPoint, angle: f32) -> f32 {
        let (mut near, mut far) = (0.0, 3.0 * self.reach());
        for _ in 0..20 {
            let middle = 0.5 * (near + far);
            let offset = RetinaPoint::polar(middle, angle);
            if self.level(from.shifted(offset.x, offset.y)) < 1.0 {
                near = middle;
            } else {
                far = middle;
            }
        }
        0.5 * (near + far)
    }
}

/// Local loss of rim: the cup reaches towards the disc's edge.
#[derive(Debug, Clone, Copy)]
pub struct Notch {
    /// Direction in radians (x nasal, y down).
    pub angle: f32,
    /// Angular deviation in radians.
    pub width: f32,
    /// Share of the rim that is lost, 0..1.
    pub depth: f32,
}

/// The optic nerve head.
#[derive(Debug, Clone)]
pub struct OpticDisc {
    /// The disc's outline, centred on the origin.
    pub outline: Outline,
    /// The cup's outline, strictly inside the disc's.
    pub cup: Outline,
    /// Notches of the rim (glaucoma only).
    pub notches: Vec<Notch>,
}

/// Rim widths in degrees along the rays from the disc's centre.
#[derive(Debug, Clone, Copy)]
pub struct Rim {
    /// Below the cup.
    pub inferior: f32,
    /// Above the cup.
    pub superior: f32,
    /// On the nose's side.
    pub nasal: f32,
    /// On the fovea's side.
    pub temporal: f32,
}

impl OpticDisc {
    /// Draws a disc of vertical diameter `height` (degrees) and vertical cup-to-disc ratio `vcdr`.
    /// The rim of a normal disc obeys the ISNT rule (inferior >= superior >= nasal >= temporal,
    /// Jonas et al. 1988); a glaucomatous one loses rim first below and above.
    pub fn draw(draw: &mut Draw, height: f32, vcdr: f32, glaucoma: bool) -> Self {
        let outline = draw_outline(draw, height);
        let notches = if glaucoma { draw_notches(draw, vcdr) } else { Vec::new() };
        let mut wobble = 1.0;
        for _ in 0..6 {
            let cup = draw_cup(draw, &outline, vcdr, glaucoma, &notches, wobble);
            let disc = Self { outline: outline.clone(), cup, notches: notches.clone() };
            if glaucoma || disc.obeys_isnt() {
                return disc;
            }
            wobble *= 0.5;
        }
        let cup = plain_cup(&outline, vcdr);
        Self { outline, cup, notches }
    }

    /// The vertical cup-to-disc ratio: longest vertical chords, cup over disc.
    #[must_use]
    pub fn vcdr(&self) -> f32 {
        self.cup.height() / self.outline.height()
    }

    /// The rim's widths.
    #[must_use]
    pub fn rim(&self) -> Rim {
        let origin = RetinaPoint::new(0.0, 0.0);
        let width = |angle: f32| {
            let cup = if self.cup.level(origin) < 1.0 { self.cup.ray(origin, angle) } else { 0.0 };
            self.outline.radius(angle) - cup
        };
        Rim {
            inferior: width(PI / 2.0),
            superior: width(-PI / 2.0),
            nasal: width(0.0),
            temporal: width(PI),
        }
    }

    /// Whether inferior >= superior >= nasal >= temporal.
    #[must_use]
    pub fn obeys_isnt(&self) -> bool {
        let rim = self.rim();
        rim.inferior >= rim.superior && rim.superior >= rim.nasal && rim.nasal >= rim.temporal
    }
}

/// Slightly vertically oval (horizontal over vertical 0.92 +- 0.05), tilted and irregular.
fn draw_outline(draw: &mut Draw, height: f32) -> Outline {
    let vertical = 0.5 * height;
    let horizontal = vertical * draw.normal_within(0.92, 0.045, 0.78, 1.02);
    let tilt = draw.normal(0.0, 0.14);
    let waves = draw_waves(draw, 0.012);
    let outline = Outline::new(RetinaPoint::new(0.0, 0.0), |angle| {
        ellipse(horizontal, vertical, angle - tilt) * waves.at(angle)
    });
    // The longest chord must be the stated height in spite of tilt and waves.
    let correction = height / outline.height();
    Outline {
        center: outline.center,
        radii: outline.radii.iter().map(|radius| radius * correction).collect(),
    }
}

fn draw_notches(draw: &mut Draw, vcdr: f32) -> Vec<Notch> {
    // Early damage (a small cup) goes with a shallow notch.
    let stage = ((vcdr - 0.2) / 0.4).clamp(0.25, 1.0);
    let mut notches = Vec::new();
    // The inferotemporal pole goes first, the superotemporal one next (temporal is at PI).
    for (angle, probability) in [(0.62 * PI, 0.6), (-0.64 * PI, 0.38)] {
        if draw.chance(probability) {
            notches.push(Notch {
                angle: angle + draw.normal(0.0, 0.16),
                width: draw.between(0.16, 0.42),
                depth: stage * draw.between(0.35, 0.95),
            });
        }
    }
    notches
}

/// A cup of the wanted height: placed by the rim it leaves, opened by the notches, then scaled
/// until its longest vertical chord is right.
fn draw_cup(
    draw: &mut Draw,
    outline: &Outline,
    vcdr: f32,
    glaucoma: bool,
    notches: &[Notch],
    wobble: f32,
) -> Outline {
    let (vertical, horizontal) = (outline.radius(PI / 2.0), outline.radius(0.0));
    let (rim_nasal, rim_temporal, rise) = if glaucoma {
        let rim = (1.0 - vcdr) * vertical;
        (rim * draw.between(0.8, 1.6), rim * draw.between(0.4, 1.2), draw.normal(-0.02, 0.04))
    } else {
        // Little rise: superior and inferior rim are nearly equal, nasal and temporal follow.
        let rise = draw.between(0.008, 0.05) * (1.0 - vcdr);
        let superior = (1.0 - vcdr) * vertical - rise * vertical;
        let nasal = superior * draw.between(0.78, 0.97);
        (nasal, nasal * draw.between(0.45, 0.85), rise)
    };
    let half_width = (horizontal - 0.5 * (rim_nasal + rim_temporal)).max(0.16 * horizontal);
    let center = RetinaPoint::new(-0.5 * (rim_nasal - rim_temporal), -rise * vertical);
    let waves = draw_waves(draw, 0.03 * wobble);
    let wanted = vcdr * outline.height();
    let mut notches = notches.to_vec();
    let mut cup = outline.clone();
    for _ in 0..8 {
        let mut half_height = vcdr * vertical;
        for _ in 0..8 {
            cup = open_cup(outline, center, (half_width, half_height), &waves, &notches);
            half_height *= (wanted / cup.height()).clamp(0.5, 2.0);
        }
        // A notch near the pole may by itself be taller than the wanted cup: then it is shallower.
        if cup.height() <= wanted + 0.01 * outline.height() {
            break;
        }
        notches.iter_mut().for_each(|notch| notch.depth *= 0.7);
    }
    cup
}

fn open_cup(
    outline: &Outline,
    center: RetinaPoint,
    (half_width, half_height): (f32, f32),
    waves: &Waves,
    notches: &[Notch],
) -> Outline {
    Outline::new(center, |angle| {
        let limit = outline.ray(center, angle) - THINNEST_RIM * outline.radius(angle);
        let plain = ellipse(half_width, half_height, angle) * waves.at(angle);
        let mut radius = plain.min(limit);
        for notch in notches {
            let off = turn(angle - notch.angle);
            let share = notch.depth * (-0.5 * (off / notch.width).powi(2)).exp();
            radius += (limit - radius) * share;
        }
        radius.max(0.02)
    })
}

/// The fall-back that obeys ISNT by construction: the disc's outline less a rim that widens from
/// temporal to inferior.
fn plain_cup(outline: &Outline, vcdr: f32) -> Outline {
    let rim = (1.0 - vcdr) * 0.5 * outline.height();
    Outline::new(outline.center, |angle| {
        let (sine, cosine) = angle.sin_cos();
        let upright = if sine > 0.0 { 1.02 } else { 0.98 };
        let level = if cosine > 0.0 { 0.9 } else { 0.65 };
        let width = rim * (upright * sine * sine + level * cosine * cosine);
        (outline.radius(angle) - width).max(0.1 * outline.radius(angle))
    })
}

/// Radius of an axis-aligned ellipse in direction `angle`.
fn ellipse(horizontal: f32, vertical: f32, angle: f32) -> f32 {
    let (sine, cosine) = angle.sin_cos();
    1.0 / (cosine / horizontal).hypot(sine / vertical)
}

/// `angle` brought to -PI..PI.
pub(super) fn turn(angle: f32) -> f32 {
    (angle + PI).rem_euclid(TAU) - PI
}

/// Low harmonics that make an outline irregular.
struct Waves([(f32, f32); 4]);

impl Waves {
    fn at(&self, angle: f32) -> f32 {
        let waves = self.0.iter().enumerate();
        1.0 + waves
            .map(|(i, (size, phase))| size * ((i + 2) as f32 * angle + phase).cos())
            .sum::<f32>()
    }
}

fn draw_waves(draw: &mut Draw, size: f32) -> Waves {
    Waves([1.0, 0.8, 0.5, 0.35].map(|weight| (draw.normal(0.0, size * weight), draw.angle())))
}

#[cfg(test)]
mod tests {
    use super::super::draw::Part;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_cup_lies_inside_and_has_the_wanted_height(
            index in 0u64..100_000, height in 5.0f32..8.0, vcdr in 0.15f32..0.9, sick: bool,
        ) {
            let vcdr = if sick { vcdr.max(0.4) } else { vcdr };
            let mut draw = Draw::new(5, index, Part::Eye);
            let disc = OpticDisc::draw(&mut draw, height, vcdr, sick);
            prop_assert!((disc.outline.height() - height).abs() < 0.02 * height);
            for step in 0..360 {
                let edge = disc.cup.edge(step as f32 / 360.0 * TAU);
                prop_assert!(disc.outline.level(edge) < 1.0, "cup outside at {}", step);
            }
            if vcdr <= 0.85 {
                prop_assert!((disc.vcdr() - vcdr).abs() < 0.03, "{} for {}", disc.vcdr(), vcdr);
            }
            if !sick {
                prop_assert!(disc.obeys_isnt(), "{:?}", disc.rim());
            }
        }
    }
}
