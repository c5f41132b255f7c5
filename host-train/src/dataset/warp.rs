//! Moving a picture, its masks and its points together: one similarity transform for all of them.

use super::example::{DiscPosition, Example, Field};
use glaucoma_common::mask::{Bounds, Mask};
use glaucoma_common::preprocess::NetworkPoint;
use image::RgbImage;
use std::ops::Range;

/// A circle in a picture's pixel-index coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circle {
    /// Centre.
    pub center: NetworkPoint,
    /// Radius in pixels.
    pub radius: f64,
}

impl Circle {
    /// Whether the point is inside or on the circle.
    pub fn contains(&self, point: NetworkPoint) -> bool {
        (point.x - self.center.x).powi(2) + (point.y - self.center.y).powi(2)
            <= self.radius * self.radius
    }
}

/// A similarity transform (rotation, zoom, shift, optional mirror) between the pixels of a master
/// and those of an output square.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warp {
    /// Side of the output square in pixels.
    side: u32,
    /// The master's point that the output's middle shows.
    middle: NetworkPoint,
    /// Output offset -> master offset: [a, b; c, d].
    matrix: [f64; 4],
    /// Master pixels a output pixel.
    step: f64,
}

impl Warp {
    /// `middle` is the master's point shown in the middle of the output, `step` the master pixels
    /// that one output pixel covers (above 0), `turn` the rotation in radians, and `mirror` flips
    /// left and right.
    pub fn new(side: u32, middle: NetworkPoint, step: f64, turn: f64, mirror: bool) -> Self {
        let (sin, cos) = turn.sin_cos();
        let flip = if mirror { -1.0 } else { 1.0 };
        let matrix = [step * cos * flip, -step * sin, step * sin * flip, step * cos];
        Self { side, middle, matrix, step }
    }

    /// The whole of a master of `master_side` pixels.
    pub fn whole(master_side: u32, side: u32) -> Self {
        let middle = (f64::from(master_side) - 1.0) / 2.0;
        let step = f64::from(master_side) / f64::from(side);
        Self::new(side, NetworkPoint { x: middle, y: middle }, step, 0.0, false)
    }

    /// Side of the output square in pixels.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// Master pixels that one output pixel covers.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// Where an output point lies in the master.
    pub fn to_master(&self, point: NetworkPoint) -> NetworkPoint {
        let half = (f64::from(self.side) - 1.0) / 2.0;
        let (x, y) = (point.x - half, point.y - half);
        let [a, b, c, d] = self.matrix;
        NetworkPoint { x: self.middle.x + a * x + b * y, y: self.middle.y + c * x + d * y }
    }

    /// Where a master's point lies in the output (perhaps outside).
    pub fn to_output(&self, point: NetworkPoint) -> NetworkPoint {
        let half = (f64::from(self.side) - 1.0) / 2.0;
        let (x, y) = (point.x - self.middle.x, point.y - self.middle.y);
        // The matrix is `step` times an orthogonal one: its inverse is its transpose over step squared.
        let [a, b, c, d] = self.matrix.map(|value| value / (self.step * self.step));
        NetworkPoint { x: half + a * x + c * y, y: half + b * x + d * y }
    }

    /// A circle of the master in output pixels.
    pub fn circle_to_output(&self, circle: Circle) -> Circle {
        Circle { center: self.to_output(circle.center), radius: circle.radius / self.step }
    }

    /// Samples a side inside one output pixel, so that shrinking does not alias.
    fn subsamples(&self) -> u32 {
        (self.step / 1.25).ceil().clamp(1.0, 4.0) as u32
    }

    /// The offsets (in master pixels) of `n` x `n` samples inside one output pixel.
    fn offsets(&self, n: u32) -> Vec<(f32, f32)> {
        let place = |i: u32| (f64::from(i) + 0.5) / f64::from(n) - 0.5;
        let [a, b, c, d] = self.matrix;
        (0..n * n)
            .map(|i| (place(i % n), place(i / n)))
            .map(|(x, y)| ((a * x + b * y) as f32, (c * x + d * y) as f32))
            .collect()
    }

    /// Calls `visit` with each output pixel of a window (columns, rows) and its centre in the master.
    fn scan(&self, window: [Range<u32>; 2], mut visit: impl FnMut(u32, u32, f32, f32)) {
        let [columns, rows] = window;
        for row in rows {
            let start = self.to_master(NetworkPoint { x: 0.0, y: f64::from(row) });
            for column in columns.clone() {
                let along = f64::from(column);
                let (x, y) = (start.x + self.matrix[0] * along, start.y + self.matrix[2] * along);
                visit(column, row, x as f32, y as f32);
            }
        }
    }

    /// The output picture: bilinear samples of the master, averaged over each output pixel; black
    /// outside the master.
    pub fn pixels(&self, master: &RgbImage) -> RgbImage {
        let offsets = self.offsets(self.subsamples());
        let weight = 1.0 / offsets.len() as f32;
        let side = self.side as usize;
        let mut out = vec![0u8; side * side * 3];
        let sampler = Sampler::new(master);
        self.scan([0..self.side, 0..self.side], |column, row, x, y| {
            let mut sum = [0.0f32; 3];
            for (dx, dy) in &offsets {
                sampler.add(x + dx, y + dy, &mut sum);
            }
            let at = (row as usize * side + column as usize) * 3;
            for (value, total) in out[at..at + 3].iter_mut().zip(sum) {
                *value = (total * weight + 0.5) as u8;
            }
        });
        RgbImage::from_raw(self.side, self.side, out).unwrap_or_default()
    }

    /// The output mask: inside where most of the samples of the output pixel are. Their number is
    /// odd: ties would make every mask grow.
    pub fn mask(&self, master: &Mask) -> Mask {
        let offsets = self.offsets(self.subsamples().max(2) / 2 * 2 + 1);
        let (width, height) = (master.width() as f32, master.height() as f32);
        let mut out = Mask::new(self.side, self.side);
        let Some(bounds) = master.bounding_box() else { return out };
        self.scan(self.window(bounds), |column, row, x, y| {
            let hits = offsets.iter().filter(|(dx, dy)| {
                // Half up: the nearest pixel's index.
                let (column, row) = (x + dx + 0.5, y + dy + 0.5);
                let within = column >= 0.0 && row >= 0.0 && column < width && row < height;
                within && master.get(column as u32, row as u32)
            });
            if 2 * hits.count() > offsets.len() {
                out.set(column, row, true);
            }
        });
        out
    }

    /// The columns and rows of the output that can show anything of `bounds`.
    fn window(&self, bounds: Bounds) -> [Range<u32>; 2] {
        let (left, right) = (f64::from(bounds.x0) - 0.5, f64::from(bounds.x1) + 0.5);
        let (top, bottom) = (f64::from(bounds.y0) - 0.5, f64::from(bounds.y1) + 0.5);
        let corners = [(left, top), (right, top), (left, bottom), (right, bottom)]
            .map(|(x, y)| self.to_output(NetworkPoint { x, y }));
        let range = |of: fn(&NetworkPoint) -> f64| {
            let from = corners.iter().map(of).fold(f64::INFINITY, f64::min).floor();
            let to = corners.iter().map(of).fold(f64::NEG_INFINITY, f64::max).ceil() + 1.0;
            let side = f64::from(self.side);
            from.clamp(0.0, side) as u32..to.clamp(0.0, side) as u32
        };
        [range(|point| point.x), range(|point| point.y)]
    }

    /// The whole example moved, and everything outside the circles of `visible` (output pixels)
    /// blackened: what cannot be seen is not in the masks either, and a point there becomes unknown.
    pub fn example(&self, master: &Example, visible: &[Circle]) -> Example {
        let mut pixels = self.pixels(&master.pixels);
        if !visible.is_empty() {
            blacken(&mut pixels, visible);
        }
        let mask = |mask: &Option<Mask>| mask.as_ref().map(|mask| clip(self.mask(mask), visible));
        let point = |point: Option<NetworkPoint>| {
            let limit = f64::from(self.side) - 0.5;
            let inside = |value: f64| value >= -0.5 && value < limit;
            point.map(|point| self.to_output(point)).filter(|point| {
                inside(point.x)
                    && inside(point.y)
                    && visible.iter().all(|circle| circle.contains(*point))
            })
        };
        let position = |position: DiscPosition| DiscPosition {
            center: self.to_output(position.center),
            diameter: position.diameter.map(|diameter| diameter / self.step),
            fovea: position.fovea.map(|fovea| self.to_output(fovea)),
        };
        Example {
            id: master.id.clone(),
            sample: master.sample,
            pixels,
            glaucoma: master.glaucoma,
            disc: mask(&master.disc),
            disc_pseudo: master.disc_pseudo,
            cup: mask(&master.cup),
            cup_pseudo: master.cup_pseudo,
            fovea: point(master.fovea),
            disc_center: point(master.disc_center),
            placement: master.placement,
            field: master.field.map(|field| Field {
                center: self.to_output(field.center),
                radius: field.radius / self.step,
            }),
            disc_position: master.disc_position.map(position),
        }
    }
}

/// Blackens every pixel outside any of the circles.
pub(crate) fn blacken(pixels: &mut RgbImage, visible: &[Circle]) {
    let width = pixels.width();
    if width == 0 {
        return;
    }
    for (y, row) in (0u32..).zip(pixels.chunks_exact_mut(width as usize * 3)) {
        let seen = visible_columns(visible, y, width);
        row[..seen.start as usize * 3].fill(0);
        row[seen.end as usize * 3..].fill(0);
    }
}

fn clip(mut mask: Mask, visible: &[Circle]) -> Mask {
    for y in 0..mask.height() {
        let seen = visible_columns(visible, y, mask.width());
        for x in (0..seen.start).chain(seen.end..mask.width()) {
            mask.set(x, y, false);
        }
    }
    mask
}

/// The pixels of row `y` that lie inside all circles: circles are convex, so they are one run.
fn visible_columns(visible: &[Circle], y: u32, width: u32) -> Range<u32> {
    let (mut from, mut to) = (0.0f64, f64::from(width));
    for circle in visible {
        let squared = circle.radius.powi(2) - (f64::from(y) - circle.center.y).powi(2);
        if squared < 0.0 {
            return 0..0;
        }
        from = from.max((circle.center.x - squared.sqrt()).ceil());
        to = to.min((circle.center.x + squared.sqrt()).floor() + 1.0);
    }
    if from < to { from as u32..to as u32 } else { 0..0 }
}

/// Bilinear reads of a picture (at least 2 x 2 pixels), black outside.
struct Sampler<'a> {
    raw: &'a [u8],
    width: usize,
    height: usize,
    right: f32,
    bottom: f32,
}

impl<'a> Sampler<'a> {
    fn new(picture: &'a RgbImage) -> Self {
        let (width, height) = picture.dimensions();
        Self {
            raw: picture.as_raw(),
            width: width as usize,
            height: height as usize,
            right: width as f32 - 1.0,
            bottom: height as f32 - 1.0,
        }
    }

    /// Adds the colour at (x, y); between the outermost pixel centres and the border the nearest
    /// pixel counts.
    fn add(&self, x: f32, y: f32, sum: &mut [f32; 3]) {
        if x < -0.5 || y < -0.5 || x > self.right + 0.5 || y > self.bottom + 0.5 {
            return;
        }
        // The last column and row are read as the far end of the pair before them.
        let (x, y) = (x.clamp(0.0, self.right), y.clamp(0.0, self.bottom));
        let left = (x as usize).min(self.width.saturating_sub(2));
        let top = (y as usize).min(self.height.saturating_sub(2));
        let (fx, fy) = (x - left as f32, y - top as f32);
        let at = (top * self.width + left) * 3;
        let below = at + self.width * 3;
        let (Some(upper), Some(lower)) = (self.raw.get(at..at + 6), self.raw.get(below..below + 6))
        else {
            return;
        };
        for (channel, total) in sum.iter_mut().enumerate() {
            let mix = |row: &[u8]| {
                let (near, far) = (f32::from(row[channel]), f32::from(row[channel + 3]));
                near + fx * (far - near)
            };
            let (above, under) = (mix(upper), mix(lower));
            *total += above + fy * (under - above);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use glaucoma_common::preprocess::Placement;
    use image::Rgb;
    use proptest::prelude::*;

    pub(crate) const FOVEA: NetworkPoint = NetworkPoint { x: 90.3, y: 140.7 };
    pub(crate) const DISC: NetworkPoint = NetworkPoint { x: 170.0, y: 128.0 };

    /// A master of 256 pixels: grey field, red disc with a magenta cup, a green dot at the fovea.
    pub(crate) fn painted() -> Example {
        let side = 256;
        let distance =
            |x: u32, y: u32, c: NetworkPoint| (f64::from(x) - c.x).hypot(f64::from(y) - c.y);
        let disc = Mask::from_fn(side, side, |x, y| distance(x, y, DISC) < 18.0);
        let cup = Mask::from_fn(side, side, |x, y| distance(x, y, DISC) < 9.0);
        let pixels = RgbImage::from_fn(side, side, |x, y| {
            let dot = (200.0 * (-(distance(x, y, FOVEA) / 4.0).powi(2) / 2.0).exp()) as u8;
            let red = if disc.get(x, y) { 255 } else { 20 };
            let blue = if cup.get(x, y) { 255 } else { 20 };
            Rgb([red, dot, blue])
        });
        let placement =
            Placement { origin_x: 0.0, origin_y: 0.0, width: 256.0, height: 256.0, side };
        let mut example = Example::unlabelled("painted", 0, pixels, placement);
        example.disc = Some(disc);
        example.cup = Some(cup);
        example.fovea = Some(FOVEA);
        example.disc_center = Some(DISC);
        let middle = NetworkPoint { x: 127.5, y: 127.5 };
        example.field = Some(Field { center: middle, radius: 128.0 });
        example.disc_position =
            Some(DiscPosition { center: DISC, diameter: Some(36.0), fovea: Some(FOVEA) });
        example
    }

    /// Checks that what is painted and what is labelled lie in the same places.
    pub(crate) fn assert_labels_match(example: &Example, context: &str) {
        if let Some(fovea) = example.fovea {
            let at = weighted_center(&example.pixels, 1, 40);
            let margin = 20.0;
            let limit = f64::from(example.side()) - margin;
            // A dot cut by the border has its centre of mass elsewhere.
            let whole = fovea.x > margin && fovea.y > margin && fovea.x < limit && fovea.y < limit;
            if let (Some((x, y)), true) = (at, whole) {
                let off = (x - fovea.x).hypot(y - fovea.y);
                assert!(off < 0.35, "{context}: the dot is {off} px from the labelled fovea");
            }
        }
        for (mask, channel) in [(&example.disc, 0), (&example.cup, 2)] {
            let mask = mask.as_ref().unwrap();
            let painted = |x: u32, y: u32| example.pixels.get_pixel(x, y).0[channel] >= 138;
            let side = example.side();
            let pixels = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
            let wrong = pixels.filter(|&(x, y)| mask.get(x, y) != painted(x, y)).count();
            // Interpolation may decide a border pixel otherwise than the majority of samples.
            let edge = |&(x, y): &(u32, u32)| {
                let beside =
                    [(x.wrapping_sub(1), y), (x + 1, y), (x, y.wrapping_sub(1)), (x, y + 1)];
                mask.get(x, y)
                    && beside.iter().any(|&(x, y)| x >= side || y >= side || !mask.get(x, y))
            };
            let border =
                (0..side).flat_map(|y| (0..side).map(move |x| (x, y))).filter(edge).count();
            assert!(
                wrong as f64 <= 0.35 * border as f64 + 2.0,
                "{context}: {wrong} pixels of channel {channel} differ, border {border}"
            );
        }
        if let (Some(center), Some(disc)) = (example.disc_center, &example.disc) {
            let (x, y) = disc.centroid().unwrap_or((center.x, center.y));
            let bounds = disc.bounding_box();
            let last = example.side() - 1;
            let cut = bounds.is_none_or(|b| b.x0 == 0 || b.y0 == 0 || b.x1 == last || b.y1 == last);
            if !cut && example.disc_position.is_some() {
                let off = (x - center.x).hypot(y - center.y);
                assert!(off < 4.0, "{context}: the disc is {off} px from its labelled centre");
            }
        }
    }

    pub(crate) fn weighted_center(
        pixels: &RgbImage,
        channel: usize,
        floor: u8,
    ) -> Option<(f64, f64)> {
        let (mut sum, mut sx, mut sy) = (0.0, 0.0, 0.0);
        for (x, y, pixel) in pixels.enumerate_pixels() {
            let weight = f64::from(pixel.0[channel].saturating_sub(floor));
            (sum, sx, sy) = (sum + weight, sx + weight * f64::from(x), sy + weight * f64::from(y));
        }
        (sum > 0.0).then(|| (sx / sum, sy / sum))
    }

    #[test]
    fn the_whole_at_its_own_side_changes_nothing() {
        let master = painted();
        let moved = Warp::whole(256, 256).example(&master, &[]);
        assert_eq!(moved, master);
    }

    #[test]
    fn halving_is_the_mean_of_four() {
        let master = painted();
        let half = Warp::whole(256, 128).pixels(&master.pixels);
        for (x, y, pixel) in half.enumerate_pixels() {
            for channel in 0..3 {
                let at =
                    |dx, dy| u32::from(master.pixels.get_pixel(2 * x + dx, 2 * y + dy).0[channel]);
                let sum = at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1);
                assert_eq!(u32::from(pixel.0[channel]), (sum + 2) / 4, "{x} {y}");
            }
        }
    }

    #[test]
    fn a_mirror_is_exact() {
        let master = painted();
        let middle = NetworkPoint { x: 127.5, y: 127.5 };
        let moved = Warp::new(256, middle, 1.0, 0.0, true).example(&master, &[]);
        assert_eq!(moved.pixels, image::imageops::flip_horizontal(&master.pixels));
        assert_eq!(moved.fovea, Some(NetworkPoint { x: 255.0 - FOVEA.x, y: FOVEA.y }));
        let disc = master.disc.unwrap();
        assert_eq!(moved.disc.unwrap(), Mask::from_fn(256, 256, |x, y| disc.get(255 - x, y)));
    }

    #[test]
    fn a_positive_quarter_turn_takes_the_right_side_to_the_top() {
        let middle = NetworkPoint { x: 127.5, y: 127.5 };
        let warp = Warp::new(256, middle, 1.0, std::f64::consts::FRAC_PI_2, false);
        let moved = warp.to_output(NetworkPoint { x: 200.0, y: 127.5 });
        assert!((moved.x - 127.5).abs() < 1e-9 && (moved.y - 55.0).abs() < 1e-9, "{moved:?}");
    }

    #[test]
    fn what_is_blackened_is_in_no_label() {
        let master = painted();
        let visible = [Circle { center: DISC, radius: 30.0 }];
        let moved = Warp::whole(256, 256).example(&master, &visible);
        assert_eq!(moved.fovea, None);
        assert_eq!(moved.disc, master.disc);
        let cut = [Circle { center: NetworkPoint { x: DISC.x - 18.0, y: DISC.y }, radius: 18.0 }];
        let mut moved = Warp::whole(256, 256).example(&master, &cut);
        moved.disc_center = None;
        assert!(moved.disc.as_ref().unwrap().area() < master.disc.as_ref().unwrap().area() / 2);
        assert_labels_match(&moved, "cut");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn points_go_there_and_back(
            side in 1u32..600, x in -100.0f64..700.0, y in -100.0f64..700.0,
            step in 0.1f64..5.0, turn in -4.0f64..4.0, mirror: bool,
        ) {
            let warp = Warp::new(side, NetworkPoint { x: 130.0, y: 99.0 }, step, turn, mirror);
            let back = warp.to_master(warp.to_output(NetworkPoint { x, y }));
            prop_assert!((back.x - x).abs() < 1e-6 && (back.y - y).abs() < 1e-6);
        }

        #[test]
        fn the_dot_moves_with_its_label(
            side in 96u32..300, step in 0.6f64..2.5, turn in -3.2f64..3.2,
            dx in -30.0f64..30.0, dy in -30.0f64..30.0, mirror: bool,
        ) {
            let middle = NetworkPoint { x: 127.5 + dx, y: 127.5 + dy };
            let moved = Warp::new(side, middle, step, turn, mirror).example(&painted(), &[]);
            assert_labels_match(&moved, &format!("{side} {step} {turn} {dx} {dy} {mirror}"));
        }
    }
}
