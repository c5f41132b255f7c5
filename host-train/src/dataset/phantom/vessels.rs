//! The retinal vessel tree: arcades, nasal trunks and their branches, as centre lines with widths.

use super::anatomy::Eye;
use super::disc::{RetinaPoint, turn};
use super::draw::{Draw, Part};
use std::collections::VecDeque;
use std::f32::consts::{FRAC_PI_2, PI, TAU};

/// Distance between the points of a centre line, degrees.
const STEP: f32 = 0.25;
/// Vessels thinner than this (full width in degrees, about 10 micrometres) are not drawn.
const THINNEST: f32 = 0.035;
/// Cells a side of the occupancy grid, and degrees a cell.
const CELLS: usize = 160;
const CELL: f32 = 0.5;

/// One unbranched vessel.
#[derive(Debug, Clone)]
pub struct Vessel {
    /// Artery (lighter, thinner, with a central reflex) or vein.
    pub artery: bool,
    /// Centre line with full widths, both in degrees, from the disc outwards.
    pub line: Vec<(RetinaPoint, f32)>,
}

/// Where a growing vessel is bound for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Course {
    /// Round the macula towards the fovea; ends at the foveal avascular zone.
    Macular,
    /// Away from the posterior pole.
    Peripheral,
}

/// A vessel yet to be grown.
#[derive(Debug, Clone)]
struct Bud {
    artery: bool,
    course: Course,
    /// The way that is laid down already (main trunks); the last point is the start of free growth.
    guide: Vec<RetinaPoint>,
    heading: f32,
    width: f32,
    generation: u8,
}

/// Grows the whole tree of `eye` within `reach` degrees of `gaze`.
#[must_use]
pub fn grow(seed: u64, index: u64, eye: &Eye, gaze: RetinaPoint, reach: f32) -> Vec<Vessel> {
    let mut draw = Draw::new(seed, index, Part::Vessels);
    let mut garden =
        Garden { eye, gaze, reach, taken: vec![[0; 2]; CELLS * CELLS], vessels: Vec::new() };
    let mut buds: VecDeque<Bud> = trunks(eye, &mut draw).into();
    while let Some(bud) = buds.pop_front() {
        garden.grow(bud, &mut draw, &mut buds);
    }
    garden.vessels
}

/// The state of growth.
struct Garden<'a> {
    eye: &'a Eye,
    gaze: RetinaPoint,
    reach: f32,
    /// Per cell: number of the vessel (plus one) that runs there, arteries and veins apart.
    taken: Vec<[u32; 2]>,
    vessels: Vec<Vessel>,
}

impl Garden<'_> {
    fn cell(&mut self, point: RetinaPoint) -> Option<&mut [u32; 2]> {
        let column = point.x / CELL + 0.5 * CELLS as f32;
        let row = point.y / CELL + 0.5 * CELLS as f32;
        let range = 0.0..CELLS as f32;
        if range.contains(&column) && range.contains(&row) {
            self.taken.get_mut(row as usize * CELLS + column as usize)
        } else {
            None
        }
    }

    /// Grows one vessel to its end; its branches join `buds`.
    fn grow(&mut self, bud: Bud, draw: &mut Draw, buds: &mut VecDeque<Bud>) {
        let number = self.vessels.len() as u32 + 1;
        let kind = usize::from(bud.artery);
        let wave = Wave::draw(draw, self.eye.tortuosity);
        let avascular = draw.between(1.0, 2.3);
        let mut walk = Walk::start(&bud, draw);
        let disc = self.eye.disc.outline.reach();
        let guided = bud.guide.len();
        let mut line = Vec::new();
        for count in 0..400 {
            let settled = ((count as f32 * STEP - disc) / 3.0).clamp(0.0, 1.0);
            walk.heading = if count + 1 < guided {
                let (a, b) = (bud.guide[count], bud.guide[count + 1]);
                (b.y - a.y).atan2(b.x - a.x)
            } else {
                walk.heading + self.steer(&bud, &walk) * STEP
            };
            let base = bud.guide.get(count).copied().unwrap_or(walk.point);
            let swing = settled * wave.at(count as f32 * STEP);
            let normal = RetinaPoint::polar(swing, walk.heading + FRAC_PI_2);
            let point = base.shifted(normal.x, normal.y);
            line.push((point, walk.width));
            let ahead = RetinaPoint::polar(STEP, walk.heading);
            walk.point = base.shifted(ahead.x, ahead.y);
            walk.width *= 1.0 - STEP * (0.010 + 0.0022 / walk.width.max(0.02));
            if walk.width < THINNEST
                || point.distance(self.gaze) > self.reach
                || point.distance(self.eye.fovea) < avascular
            {
                break;
            }
            let thin = walk.width < 0.3;
            if let Some(cell) = self.cell(point) {
                let other = cell[kind];
                if other != 0 && other != number && thin && count > 8 && count >= guided {
                    break;
                }
                cell[kind] = number;
            }
            self.branch(&bud, &mut walk, point, draw, buds);
        }
        if line.len() > 3 {
            self.vessels.push(Vessel { artery: bud.artery, line });
        }
    }

    /// Turning rate in radians per degree towards where the vessel is bound.
    fn steer(&self, bud: &Bud, walk: &Walk) -> f32 {
        let (point, fovea) = (walk.point, self.eye.fovea);
        let target = match bud.course {
            Course::Macular => {
                let (x, y) = (fovea.x - point.x, fovea.y - point.y);
                y.atan2(x) + walk.aim
            }
            Course::Peripheral => {
                let (x, y) = if point.x < fovea.x * 0.4 {
                    // Temporally: away from the fovea, so that nothing crosses the raphe.
                    (point.x - 0.8 * fovea.x, point.y - fovea.y)
                } else {
                    (point.x - 0.25 * fovea.x, 0.8 * point.y)
                };
                y.atan2(x) + walk.aim
            }
        };
        let rate = if bud.course == Course::Macular { 0.16 } else { 0.11 };
        rate * turn(target - walk.heading).clamp(-1.2, 1.2)
    }

    /// Sends out a branch when it is time.
    fn branch(
        &self,
        bud: &Bud,
        walk: &mut Walk,
        point: RetinaPoint,
        draw: &mut Draw,
        buds: &mut VecDeque<Bud>,
    ) {
        walk.until_branch -= STEP;
        let center = RetinaPoint::new(0.0, 0.0);
        if walk.until_branch > 0.0
            || bud.generation > 4
            || point.distance(center) < 1.15 * self.eye.disc.outline.reach()
        {
            return;
        }
        walk.until_branch = draw.between(1.1, 3.6) * (0.55 + 1.1 * walk.width);
        let ratio =
            if bud.generation == 0 { draw.between(0.3, 0.68) } else { draw.between(0.45, 0.8) };
        let width = walk.width * ratio;
        if width < 1.3 * THINNEST {
            return;
        }
        walk.side = if draw.chance(0.75) { -walk.side } else { walk.side };
        let angle = walk.side * draw.between(0.5, 1.15);
        let course = if bud.generation == 0 {
            self.course_of_branch(point, walk.heading + angle)
        } else {
            bud.course
        };
        // Murray's law: the cubes of the widths add up.
        walk.width = (walk.width.powi(3) - width.powi(3)).max(0.0).cbrt().max(0.8 * walk.width);
        if bud.guide.len() < 2 {
            walk.heading -= 0.2 * angle;
        }
        buds.push_back(Bud {
            artery: bud.artery,
            course,
            guide: vec![point],
            heading: walk.heading + angle,
            width,
            generation: bud.generation + 1,
        });
    }

    /// A branch that leaves an arcade inwards supplies the macula, outwards the periphery.
    fn course_of_branch(&self, point: RetinaPoint, heading: f32) -> Course {
        let fovea = self.eye.fovea;
        let towards = (fovea.y - point.y).atan2(fovea.x - point.x);
        let inwards = turn(heading - towards).abs() < FRAC_PI_2;
        let near = point.x < -0.1 * fovea.x.abs() && point.x > 1.7 * fovea.x;
        if inwards && near { Course::Macular } else { Course::Peripheral }
    }
}

/// The growing tip.
struct Walk {
    point: RetinaPoint,
    heading: f32,
    width: f32,
    until_branch: f32,
    side: f32,
    /// Constant offset of the direction aimed at, radians.
    aim: f32,
}

impl Walk {
    fn start(bud: &Bud, draw: &mut Draw) -> Self {
        Self {
            point: bud.guide.first().copied().unwrap_or(RetinaPoint::new(0.0, 0.0)),
            heading: bud.heading,
            width: bud.width,
            until_branch: draw.between(0.6, 2.6),
            side: draw.sign(),
            aim: draw.normal(0.0, 0.3),
        }
    }
}

/// Sideways meander of a vessel: three sines of different wavelengths.
struct Wave([(f32, f32, f32); 3]);

impl Wave {
    fn draw(draw: &mut Draw, tortuosity: f32) -> Self {
        let mut sine = |longest: f32, size: f32| {
            let wavelength = longest * draw.between(0.6, 1.4);
            (TAU / wavelength, tortuosity * size * draw.normal(0.0, 1.0), draw.angle())
        };
        Self([sine(9.0, 0.28), sine(4.0, 0.11), sine(1.9, 0.03)])
    }

    fn at(&self, length: f32) -> f32 {
        self.0
            .iter()
            .map(|&(frequency, size, phase)| {
                size * ((frequency * length + phase).sin() - phase.sin())
            })
            .sum()
    }
}

/// The vessels that leave the disc: a main artery and vein for each quadrant, small ones between.
fn trunks(eye: &Eye, draw: &mut Draw) -> Vec<Bud> {
    let mut buds = Vec::new();
    let cup = &eye.disc.cup;
    // The central vessels rise on the nasal side of the cup; the artery nasal of the vein.
    let reach = cup.radius(0.0);
    let stem = cup.center.shifted(reach * draw.between(0.15, 0.75), reach * draw.normal(0.0, 0.15));
    let gap = draw.between(0.3, 0.7);
    for artery in [false, true] {
        let shift = if artery { 0.5 * gap } else { -0.5 * gap };
        let root = stem.shifted(shift, draw.normal(0.0, 0.2));
        let scale = if artery { draw.between(0.64, 0.8) } else { 1.0 };
        for superior in [true, false] {
            let fork = draw_fork(eye, draw, superior, root);
            for temporal in [true, false] {
                let guide = main_course(eye, draw, root, fork, superior, temporal, artery);
                let width =
                    draw.normal_within(if temporal { 0.58 } else { 0.42 }, 0.06, 0.25, 0.75);
                buds.push(bud(artery, Course::Peripheral, guide, scale * width, 0));
            }
        }
        for _ in 0..2 + draw.below(3) {
            let temporal = draw.chance(0.65);
            let side = draw.sign();
            let angle = if temporal { PI } else { 0.0 } + side * draw.between(0.1, 0.8);
            let edge = eye.disc.outline.edge(angle);
            // Rises from a trunk above or below the centre and swings outwards.
            let rise =
                if temporal { -side } else { side } * draw.between(0.2, 0.6) * edge.x.hypot(edge.y);
            let from = root.shifted(0.0, rise);
            let middle =
                RetinaPoint::new(0.55 * edge.x + 0.2 * from.x, 0.75 * edge.y + 0.15 * rise);
            let end =
                RetinaPoint::polar(eye.disc.outline.reach() + 1.5, angle + draw.normal(0.0, 0.1));
            let guide = smooth(&[from, middle, edge, end]);
            let course = if temporal { Course::Macular } else { Course::Peripheral };
            buds.push(bud(artery, course, guide, draw.between(0.07, 0.17), 1));
        }
    }
    buds
}

fn bud(artery: bool, course: Course, guide: Vec<RetinaPoint>, width: f32, generation: u8) -> Bud {
    let heading = match guide.as_slice() {
        [.., a, b] => (b.y - a.y).atan2(b.x - a.x),
        _ => 0.0,
    };
    Bud { artery, course, guide, heading, width, generation }
}

/// Where a trunk divides into its temporal and nasal vessel: mostly near the disc's margin.
fn draw_fork(eye: &Eye, draw: &mut Draw, superior: bool, root: RetinaPoint) -> RetinaPoint {
    let reach = eye.disc.outline.reach();
    let side = if superior { -1.0 } else { 1.0 };
    let height = reach * draw.normal_within(0.85, 0.35, 0.25, 1.7);
    RetinaPoint::new(0.4 * root.x + draw.normal(0.12, 0.22) * reach, side * height)
}

/// The way of one main vessel: from the root in the cup, bent at the cup's edge, over the rim,
/// then along the arcade (temporal) or away from it (nasal).
fn main_course(
    eye: &Eye,
    draw: &mut Draw,
    root: RetinaPoint,
    fork: RetinaPoint,
    superior: bool,
    temporal: bool,
    artery: bool,
) -> Vec<RetinaPoint> {
    let distance = eye.fovea.distance(RetinaPoint::new(0.0, 0.0));
    // Unit vectors: towards the fovea, and across that towards this vessel's half.
    let along = RetinaPoint::new(eye.fovea.x / distance, eye.fovea.y / distance);
    let side = if superior { -1.0 } else { 1.0 };
    let across = RetinaPoint::new(-along.y * -side, along.x * -side);
    let place =
        |a: f32, b: f32| RetinaPoint::new(a * along.x + b * across.x, a * along.y + b * across.y);
    let radius = eye.disc.outline.reach();
    let mut ways = vec![root];
    ways.extend(cup_bend(eye, draw, root, fork));
    ways.push(fork);
    let spread = if artery { draw.normal(-0.4, 0.5) } else { draw.normal(0.4, 0.5) };
    if temporal {
        let height = draw.normal_within(7.3, 0.9, 5.4, 9.5) + spread;
        ways.push(place(0.08 * distance + draw.normal(0.0, 0.4), 0.62 * height + 0.3 * radius));
        ways.push(place(0.45 * distance, height + draw.normal(0.0, 0.4)));
        ways.push(place(0.85 * distance, 1.02 * height + draw.normal(0.0, 0.6)));
        ways.push(place(
            (1.25 + draw.normal(0.0, 0.06)) * distance,
            (0.84 + draw.normal(0.0, 0.1)) * height,
        ));
    } else {
        let angle = draw.normal(0.85, 0.18) + 0.06 * spread;
        ways.push(place(-5.5 * angle.sin(), 6.5 * angle.cos() + 0.3 * radius));
        let further = angle + draw.normal(0.1, 0.15);
        ways.push(place(-13.0 * further.sin(), 13.0 * further.cos()));
    }
    smooth(&ways)
}

/// A vessel that climbs out of a cup kinks at its edge; the deeper the cup the more.
fn cup_bend(eye: &Eye, draw: &mut Draw, root: RetinaPoint, exit: RetinaPoint) -> Vec<RetinaPoint> {
    let cup = &eye.disc.cup;
    let angle = (exit.y - root.y).atan2(exit.x - root.x);
    let run = if cup.level(root) < 1.0 { cup.ray(root, angle) } else { 0.0 };
    if run < 0.35 || run > 0.9 * root.distance(exit) {
        return Vec::new();
    }
    let bend = draw.normal(0.0, 0.28) * eye.disc.vcdr();
    let base = RetinaPoint::polar(run, angle);
    let off = RetinaPoint::polar(bend, angle + FRAC_PI_2);
    let inner = RetinaPoint::polar(0.55 * run, angle);
    vec![
        root.shifted(inner.x - 0.5 * off.x, inner.y - 0.5 * off.y),
        root.shifted(base.x + off.x, base.y + off.y),
    ]
}

/// A Catmull-Rom curve through `ways`, sampled about every [`STEP`] degrees.
fn smooth(ways: &[RetinaPoint]) -> Vec<RetinaPoint> {
    let at = |i: isize| ways[i.clamp(0, ways.len() as isize - 1) as usize];
    let mut line = Vec::new();
    for i in 0..ways.len().saturating_sub(1) as isize {
        let (a, b, c, d) = (at(i - 1), at(i), at(i + 1), at(i + 2));
        let pieces = (b.distance(c) / STEP).ceil().max(1.0);
        for piece in 0..pieces as usize {
            let t = piece as f32 / pieces;
            let blend = |p: f32, q: f32, r: f32, s: f32| {
                0.5 * (2.0 * q
                    + t * (r - p)
                    + t * t * (2.0 * p - 5.0 * q + 4.0 * r - s)
                    + t * t * t * (3.0 * (q - r) + s - p))
            };
            line.push(RetinaPoint::new(blend(a.x, b.x, c.x, d.x), blend(a.y, b.y, c.y, d.y)));
        }
    }
    line.extend(ways.last());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_spares_the_fovea_and_fills_the_field() {
        for index in 0..20 {
            let eye = Eye::draw(3, index, index % 3 == 0);
            let vessels = grow(3, index, &eye, RetinaPoint::new(-8.0, 1.0), 24.0);
            assert!(vessels.len() > 60, "only {} vessels", vessels.len());
            assert!(vessels.iter().any(|v| v.artery) && vessels.iter().any(|v| !v.artery));
            for vessel in &vessels {
                for (point, width) in &vessel.line {
                    assert!(point.distance(eye.fovea) > 0.5, "a vessel in the fovea");
                    assert!(*width > 0.0 && *width < 1.0);
                }
            }
        }
    }
}
