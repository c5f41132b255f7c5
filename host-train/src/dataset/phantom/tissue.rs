//! What the retina looks like before any camera: choroid, pigment, macula, nerve fibres, lesions,
//! optic disc and blood, as reflectance relative to a medium fundus (1, 1, 1), linear light.

use super::anatomy::Eye;
use super::disc::{RetinaPoint, turn};
use super::draw::{Draw, Part};
use super::texture::{Texture, bell, mix, step};
use super::vessels::Vessel;
use super::view::{Plane, View};

/// Reflectance of the neuroretinal rim and of the palest cup relative to a medium fundus.
/// Measured on the HRF and IDRiD photographs: medians of rim, cup and a ring round the disc.
const RIM: [f32; 3] = [2.05, 2.35, 2.5];
const PALE: [f32; 3] = [2.9, 5.0, 6.2];
/// Optical density of a full vein and a full artery in R, G, B.
const VEIN: [f32; 3] = [0.47, 1.05, 0.75];
const ARTERY: [f32; 3] = [0.2, 0.72, 0.6];

/// The lesions and vessels as coverage planes at the picture's resolution.
#[derive(Debug)]
pub struct Layers {
    vein: Plane,
    artery: Plane,
    /// Central light reflex of the larger arteries.
    reflex: Plane,
    /// Yellow: drusen, exudates.
    bright: Plane,
    /// Red: haemorrhages, microaneurysms.
    dark: Plane,
    /// Missing nerve fibres.
    defect: Plane,
}

/// The fields and weights that colour one eye.
#[derive(Debug)]
pub struct Tissue<'a> {
    eye: &'a Eye,
    mottle: Texture,
    choroid: Texture,
    fibres: Texture,
    pigment: [f32; 3],
    mottling: f32,
    sheen: f32,
    reflex: f32,
    rim: [f32; 3],
    floor: [f32; 3],
    choroid_scale: f32,
    shade: f32,
}

impl<'a> Tissue<'a> {
    /// The tissue of `eye`.
    #[must_use]
    pub fn new(seed: u64, index: u64, eye: &'a Eye) -> Self {
        let mut draw = Draw::new(seed, index, Part::Tissue);
        let draw = &mut draw;
        let p = eye.pigment;
        let rosy = draw.normal(1.0, 0.07);
        let brightness = draw.normal_within(1.0, 0.1, 0.75, 1.3);
        let rim = [RIM[0] * brightness, RIM[1] * brightness * rosy, RIM[2] * brightness * rosy];
        let floor = std::array::from_fn(|c| mix(rim[c], PALE[c] * brightness, eye.pallor));
        Self {
            eye,
            mottle: Texture::new(draw),
            choroid: Texture::new(draw),
            fibres: Texture::new(draw),
            pigment: [mix(1.22, 0.8, p), mix(1.3, 0.72, p), mix(1.3, 0.8, p)],
            mottling: draw.between(0.05, 0.13),
            sheen: (eye.youth * 1.4 - 0.45).max(0.0) * draw.between(0.05, 0.3),
            reflex: if draw.chance(0.75) { draw.between(0.15, 0.5) * eye.youth } else { 0.0 },
            rim,
            floor,
            choroid_scale: draw.between(0.55, 0.95),
            shade: draw.between(0.0, 0.25),
        }
    }

    /// The colour at a retina point; `at` is the pixel's index into the layers.
    #[must_use]
    pub fn color(&self, point: RetinaPoint, layers: &Layers, at: usize) -> [f32; 3] {
        let mut color = self.fundus(point);
        self.lay_fibres(&mut color, point, layers.defect.values[at]);
        self.lay_macula(&mut color, point);
        lay_lesions(&mut color, layers.bright.values[at], layers.dark.values[at]);
        let fundus = color;
        self.lay_disc(&mut color, point);
        lay_blood(&mut color, fundus, layers, at);
        color
    }

    /// Choroid seen through the pigment epithelium.
    fn fundus(&self, point: RetinaPoint) -> [f32; 3] {
        // Turned, so that the lattice does not show as horizontal streaks.
        let (x, y) = (0.83 * point.x - 0.56 * point.y, 0.56 * point.x + 0.83 * point.y);
        let eye = self.eye;
        let coarse = self.mottle.octaves(x * 0.11, y * 0.11, 3, 0.5);
        let fine = self.mottle.octaves(x * 0.9 + 9.0, y * 0.9, 3, 0.75);
        let shading = (self.mottling * (1.6 * coarse + 0.55 * fine)).exp();
        let hue = 0.06 * self.choroid.at(x * 0.16 + 3.0, y * 0.16);
        let mut color = [
            self.pigment[0] * shading * (1.0 + 0.3 * hue),
            self.pigment[1] * shading.powf(1.5) * (1.0 + hue),
            self.pigment[2] * shading.powf(1.4) * (1.0 + hue),
        ];
        if eye.tessellation > 0.02 {
            let macula = bell(point.squared_distance(eye.fovea), 5.0);
            let weight = eye.tessellation * (1.0 - 0.75 * macula);
            let (band, gap) = self.choroid_vessels(point.x, point.y);
            for (channel, (glow, dim)) in
                [(0.26, 0.16), (0.40, 0.25), (0.3, 0.2)].iter().enumerate()
            {
                color[channel] *= 1.0 + weight * (glow * band - dim * gap);
            }
        }
        color
    }

    /// Large choroidal vessels as bright, long ridges of a warped field, and the gaps between.
    fn choroid_vessels(&self, x: f32, y: f32) -> (f32, f32) {
        let scale = self.choroid_scale;
        let warp = 1.5 * self.choroid.octaves(x * 0.12, y * 0.12 + 7.0, 2, 0.5);
        // Two families of long vessels that cross at a narrow angle.
        let (u, v) = (0.35 * scale * (0.9 * x + 0.44 * y), 1.1 * scale * (0.9 * y - 0.44 * x));
        let ridge = 1.0 - (self.choroid.octaves(u + warp, v + 1.4 * warp, 2, 0.4) * 3.2).abs();
        let (u, v) = (0.4 * scale * (0.8 * x - 0.6 * y), scale * (0.8 * y + 0.6 * x));
        let second =
            1.0 - (self.choroid.octaves(u + 31.0, v + 11.0 + 1.2 * warp, 2, 0.4) * 3.2).abs();
        let band = ridge.max(second).clamp(-1.0, 1.0);
        (band.max(0.0), (-band).max(0.0))
    }

    /// Sheen and striation of the nerve fibre layer, and the wedges where it is missing.
    fn lay_fibres(&self, color: &mut [f32; 3], point: RetinaPoint, defect: f32) {
        let radius = point.x.hypot(point.y);
        let mut glow = 0.0;
        if self.sheen > 0.005 && radius < 16.0 {
            // The bundles bend temporally with distance.
            let bend = 0.045 * radius * if point.y < 0.0 { -1.0 } else { 1.0 };
            let angle = point.y.atan2(point.x) + if point.x < 0.0 { bend } else { 0.3 * bend };
            let poles =
                0.25 + 0.75 * (turn(angle.abs() - 1.75) / 0.75).abs().min(1.0).mul_add(-1.0, 1.0);
            let streak = 0.75 + 0.5 * self.fibres.at(angle * 24.0, radius * 0.25);
            glow = self.sheen * poles * streak * step(16.0, 3.5, radius);
        }
        let light = glow * (1.0 - 0.8 * defect);
        let loss = 1.0 - 0.11 * defect;
        color[0] = color[0] * (loss + 0.05 * defect) + 0.6 * light;
        color[1] = color[1] * loss + 1.1 * light;
        color[2] = color[2] * loss + 1.5 * light;
    }

    /// Macular pigment and the reflexes of the young.
    fn lay_macula(&self, color: &mut [f32; 3], point: RetinaPoint) {
        let squared = point.squared_distance(self.eye.fovea);
        if squared > 150.0 {
            return;
        }
        let depth = self.eye.macula;
        let broad = bell(squared, 2.9);
        let core = bell(squared, 0.85);
        color[0] *= 1.0 - depth * (0.34 * broad + 0.2 * core);
        color[1] *= 1.0 - depth * (0.52 * broad + 0.26 * core);
        color[2] *= 1.0 - depth * (0.5 * broad + 0.25 * core);
        if self.reflex > 0.01 {
            let distance = squared.sqrt();
            let dot = self.reflex * bell(squared, 0.14);
            let ring = 0.1 * self.reflex * bell((distance - 2.4).powi(2), 0.28);
            for (channel, value) in color.iter_mut().enumerate() {
                *value += (dot + ring) * [0.7, 1.2, 1.5][channel];
            }
        }
    }

    /// Atrophy round the disc, rim and cup.
    fn lay_disc(&self, color: &mut [f32; 3], point: RetinaPoint) {
        let eye = self.eye;
        let radius = point.x.hypot(point.y);
        let reach = eye.disc.outline.reach();
        if radius > 2.2 * reach {
            return;
        }
        let angle = point.y.atan2(point.x);
        let level = radius / eye.disc.outline.radius(angle);
        self.lay_atrophy(color, point, angle, level);
        // The nasal margin is the softer one.
        let soft = eye.margin_softness * (1.0 + 0.5 * angle.cos());
        let cover = step(1.0 + soft, 1.0 - soft, level);
        if cover <= 0.0 {
            return;
        }
        let disc = self.nerve_head(point, angle, level);
        for (channel, value) in color.iter_mut().enumerate() {
            *value = mix(*value, disc[channel], cover);
        }
    }

    fn nerve_head(&self, point: RetinaPoint, angle: f32, level: f32) -> [f32; 3] {
        let eye = self.eye;
        let depth = eye.disc.cup.level(point);
        let softness = eye.cup_softness * (1.0 - 0.35 * angle.cos());
        let floor = step(1.0 + softness, 1.0 - 1.6 * softness, depth);
        let pores = 0.05 * floor * self.fibres.octaves(point.x * 4.0, point.y * 4.0, 2, 0.6);
        let blotch = 0.06 * self.mottle.octaves(point.x * 0.8 + 3.0, point.y * 0.8, 2, 0.6);
        // The rim is thicker, hence redder, nasally and at the poles.
        let tint = 0.07 * angle.cos() + 0.03 * (2.0 * angle).cos();
        // The nasal wall of the cup throws a shade on it.
        let wall =
            self.shade * bell((depth - 0.85).powi(2), 0.2) * (0.4 + 0.6 * angle.cos()).max(0.0);
        let ring = 0.06 * bell((level - 0.97).powi(2), 0.03) * (1.0 - angle.cos());
        std::array::from_fn(|channel| {
            let rim = self.rim[channel] * (1.0 - tint * [0.5, 1.0, 1.0][channel]);
            let value = mix(rim, self.floor[channel], floor);
            value * (1.0 + pores + blotch + ring - wall)
        })
    }

    fn lay_atrophy(&self, color: &mut [f32; 3], point: RetinaPoint, angle: f32, level: f32) {
        let atrophy = self.eye.atrophy;
        if atrophy.beta + atrophy.alpha < 0.01 || level > 2.0 {
            return;
        }
        let lobe = (0.5 + 0.5 * turn(angle - atrophy.direction).cos()).powf(atrophy.focus);
        let ragged = 1.0 + 0.35 * self.mottle.at(point.x * 1.1 + 40.0, point.y * 1.1);
        let inner = 1.0 + atrophy.beta * lobe * ragged;
        let outer = inner + atrophy.alpha * lobe * ragged;
        let grain = self.mottle.octaves(point.x * 2.3, point.y * 2.3 + 50.0, 2, 0.6);
        if atrophy.alpha > 0.0 {
            let dark =
                step(outer + 0.06, outer - 0.06, level) * step(inner - 0.05, inner + 0.02, level);
            for (channel, value) in color.iter_mut().enumerate() {
                *value *= 1.0 - dark * lobe * [0.32, 0.42, 0.3][channel] * (1.0 + 0.6 * grain);
            }
        }
        if atrophy.beta > 0.0 {
            let pale = step(inner + 0.035, inner - 0.035, level) * lobe.sqrt();
            for (channel, value) in color.iter_mut().enumerate() {
                let bare = [1.4, 2.0, 1.9][channel] * (1.0 + 0.25 * grain);
                *value = mix(*value, bare, 0.8 * pale);
            }
        }
    }
}

fn lay_lesions(color: &mut [f32; 3], bright: f32, dark: f32) {
    if bright > 0.0 {
        for (channel, value) in color.iter_mut().enumerate() {
            *value = mix(*value, [1.5, 2.9, 2.6][channel], 0.85 * bright);
        }
    }
    if dark > 0.0 {
        for (channel, value) in color.iter_mut().enumerate() {
            *value *= (-dark * [0.75, 1.2, 0.9][channel]).exp();
        }
    }
}

/// Blood absorbs; what is seen of a wide vessel on the bright disc is mostly the blood itself.
fn lay_blood(color: &mut [f32; 3], fundus: [f32; 3], layers: &Layers, at: usize) {
    let (vein, artery) = (layers.vein.values[at], layers.artery.values[at]);
    let cover = vein.max(artery);
    if cover <= 0.0 {
        return;
    }
    let reflex = layers.reflex.values[at];
    for (channel, value) in color.iter_mut().enumerate() {
        let density = (vein * VEIN[channel]).max(artery * ARTERY[channel]);
        let own = 0.75 * fundus[channel].min(1.0) + 0.25;
        let ground = if *value > own { mix(*value, own, 0.62 * cover) } else { *value };
        *value = ground * (-density).exp() * (1.0 + reflex * [0.25, 0.5, 0.4][channel]);
    }
}

/// Draws vessels, lesions and defects of `eye` through `view`.
#[must_use]
pub fn layers(seed: u64, index: u64, eye: &Eye, vessels: &[Vessel], view: &View) -> Layers {
    let mut draw = Draw::new(seed, index ^ 0x5151_0000_0000, Part::Tissue);
    let mut layers = Layers {
        vein: Plane::new(view),
        artery: Plane::new(view),
        reflex: Plane::new(view),
        bright: Plane::new(view),
        dark: Plane::new(view),
        defect: Plane::new(view),
    };
    let tone = draw.between(0.75, 1.1);
    for vessel in vessels {
        draw_vessel(&mut layers, vessel, view, tone);
    }
    for &(angle, half_width) in &eye.defects {
        draw_defect(&mut layers.defect, eye, view, angle, half_width);
    }
    draw_lesions(&mut draw, &mut layers, eye, view);
    layers
}

fn draw_vessel(layers: &mut Layers, vessel: &Vessel, view: &View, tone: f32) {
    let scale = view.scale();
    let soft = (0.085 * scale).max(1.1);
    for pair in vessel.line.windows(2) {
        let (a, b) = (view.to_picture(pair[0].0), view.to_picture(pair[1].0));
        let width = 0.5 * (pair[0].1 + pair[1].1);
        // Thin vessels hold less blood in depth.
        let strength = tone * (0.5 + 1.1 * width).min(1.0);
        let plane = if vessel.artery { &mut layers.artery } else { &mut layers.vein };
        plane.stroke(a, b, 0.5 * width * scale, soft, strength);
        if width > 0.22 {
            let glint = if vessel.artery { 0.6 } else { 0.25 };
            layers.reflex.stroke(a, b, 0.11 * width * scale, 0.2 * width * scale, glint);
        }
    }
}

/// A wedge that follows the arcuate course of the fibres, widening with distance.
fn draw_defect(plane: &mut Plane, eye: &Eye, view: &View, angle: f32, half_width: f32) {
    let start = eye.disc.outline.reach();
    let side = if turn(angle) < 0.0 { -1.0 } else { 1.0 };
    let mut point = RetinaPoint::polar(start, angle);
    let mut heading = angle;
    let mut length = start;
    for _ in 0..60 {
        let next = RetinaPoint::polar(0.3, heading);
        let ahead = point.shifted(next.x, next.y);
        // Bends towards the temporal raphe.
        heading += side * 0.3 * 0.055;
        length += 0.3;
        let fade = step(20.0, 10.0, length);
        let half = half_width * length;
        let (a, b) = (view.to_picture(point), view.to_picture(ahead));
        plane.stroke(a, b, half * view.scale(), 0.9 * half * view.scale(), fade);
        point = ahead;
    }
}

/// Distractors: drusen, exudates, small haemorrhages; in about a third of all eyes.
fn draw_lesions(draw: &mut Draw, layers: &mut Layers, eye: &Eye, view: &View) {
    let scale = view.scale();
    if draw.chance(0.12) {
        let count = 6 + draw.below(50);
        let spread = draw.between(1.2, 4.5);
        for _ in 0..count {
            let at = eye.fovea.shifted(draw.normal(0.0, spread), draw.normal(0.0, spread));
            let radius = draw.between(0.04, 0.22);
            layers.bright.spot(
                view.to_picture(at),
                radius * scale,
                0.16 * scale,
                draw.between(0.1, 0.4),
            );
        }
    }
    if draw.chance(0.14) {
        for _ in 0..1 + draw.below(5) {
            let middle = eye.fovea.shifted(draw.normal(0.0, 5.0), draw.normal(0.0, 5.0));
            let spread = draw.between(0.3, 1.5);
            for _ in 0..4 + draw.below(26) {
                let at = middle.shifted(draw.normal(0.0, spread), draw.normal(0.0, spread));
                let radius = draw.between(0.03, 0.2);
                layers.bright.spot(
                    view.to_picture(at),
                    radius * scale,
                    0.08 * scale,
                    draw.between(0.3, 1.0),
                );
            }
        }
    }
    if draw.chance(0.2) {
        for _ in 0..2 + draw.below(30) {
            let at = RetinaPoint::new(draw.normal(-9.0, 9.0), draw.normal(0.0, 8.0));
            let radius = draw.between(0.04, 0.12) * if draw.chance(0.15) { 3.0 } else { 1.0 };
            layers.dark.spot(
                view.to_picture(at),
                radius * scale,
                0.12 * scale,
                draw.between(0.3, 0.9),
            );
        }
    }
    if eye.glaucoma && draw.chance(0.12) {
        // A splinter haemorrhage at the disc's margin.
        let angle = draw.sign() * draw.between(1.6, 2.4);
        let edge = eye.disc.outline.edge(angle);
        let end = RetinaPoint::new(edge.x * 1.35, edge.y * 1.35);
        let (a, b) = (view.to_picture(edge), view.to_picture(end));
        layers.dark.stroke(a, b, 0.1 * scale, 0.14 * scale, 0.8);
    }
}
