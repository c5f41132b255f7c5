//! Moving a picture, its masks and its points together: one similarity transform for all of them.

use super::example::{DiscPosition, Example, Field};
use glaucoma_common::mask::Mask;
use glaucoma_common::preprocess::NetworkPoint;
use image::RgbImage;

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

    /// The offsets (in master pixels) of the samples inside one output pixel.
    fn offsets(&self) -> Vec<(f32, f32)> {
        let n = self.subsamples();
        let place = |i: u32| (f64::from(i) + 0.5) / f64::from(n) - 0.5;
        let [a, b, c, d] = self.matrix;
        (0..n * n)
            .map(|i| (place(i % n), place(i / n)))
            .map(|(x, y)| ((a * x + b * y) as f32, (c * x + d * y) as f32))
            .collect()
    }

    /// Calls `visit` with each output pixel's index and centre in the master, row by row.
    fn scan(&self, mut visit: impl FnMut(usize, f32, f32)) {
        let mut index = 0;
        for row in 0..self.side {
            let start = self.to_master(NetworkPoint { x: 0.0, y: f64::from(row) });
            for column in 0..self.side {
                let along = f64::from(column);
                visit(
                    index,
                    (start.x + self.matrix[0] * along) as f32,
                    (start.y + self.matrix[2] * along) as f32,
                );
                index += 1;
            }
        }
    }

    /// The output picture: bilinear samples of the master, averaged over each output pixel; black
    /// outside the master.
    pub fn pixels(&self, master: &RgbImage) -> RgbImage {
        let offsets = self.offsets();
        let weight = 1.0 / offsets.len() as f32;
        let mut out = vec![0u8; (self.side as usize).pow(2) * 3];
        let sampler = Sampler::new(master);
        self.scan(|index, x, y| {
            let mut sum = [0.0f32; 3];
            for (dx, dy) in &offsets {
                sampler.add(x + dx, y + dy, &mut sum);
            }
            for (value, total) in out[index * 3..index * 3 + 3].iter_mut().zip(sum) {
                *value = (total * weight + 0.5) as u8;
            }
        });
        RgbImage::from_raw(self.side, self.side, out).unwrap_or_default()
    }

    /// The output mask: inside where at least half of the samples of the output pixel are.
    pub fn mask(&self, master: &Mask) -> Mask {
        let offsets = self.offsets();
        let (width, height) = (master.width() as f32, master.height() as f32);
        let mut inside = vec![false; (self.side as usize).pow(2)];
        self.scan(|index, x, y| {
            let hits = offsets.iter().filter(|(dx, dy)| {
                // Half up: the nearest pixel's index.
                let (column, row) = (x + dx + 0.5, y + dy + 0.5);
                let within = column >= 0.0 && row >= 0.0 && column < width && row < height;
                within && master.get(column as u32, row as u32)
            });
            inside[index] = 2 * hits.count() >= offsets.len();
        });
        let side = self.side as usize;
        Mask::from_fn(self.side, self.side, |x, y| inside[y as usize * side + x as usize])
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
    for (x, y, pixel) in pixels.enumerate_pixels_mut() {
        let point = NetworkPoint { x: f64::from(x), y: f64::from(y) };
        if !visible.iter().all(|circle| circle.contains(point)) {
            pixel.0 = [0; 3];
        }
    }
}

fn clip(mask: Mask, visible: &[Circle]) -> Mask {
    if visible.is_empty() {
        return mask;
    }
    Mask::from_fn(mask.width(), mask.height(), |x, y| {
        let point = NetworkPoint { x: f64::from(x), y: f64::from(y) };
        mask.get(x, y) && visible.iter().all(|circle| circle.contains(point))
    })
}

/// Bilinear reads of a picture, black outside.
struct Sampler<'a> {
    raw: &'a [u8],
    width: usize,
    right: f32,
    bottom: f32,
}

impl<'a> Sampler<'a> {
    fn new(picture: &'a RgbImage) -> Self {
        let (width, height) = picture.dimensions();
        Self {
            raw: picture.as_raw(),
            width: width as usize,
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
        let (x, y) = (x.clamp(0.0, self.right), y.clamp(0.0, self.bottom));
        let (left, top) = (x as usize, y as usize);
        let (fx, fy) = (x - left as f32, y - top as f32);
        let across = if x < self.right { 3 } else { 0 };
        let down = if y < self.bottom { self.width * 3 } else { 0 };
        let at = (top * self.width + left) * 3;
        let corners = [at, at + across, at + down, at + across + down];
        let weights = [(1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy];
        for (corner, weight) in corners.into_iter().zip(weights) {
            let Some(colour) = self.raw.get(corner..corner + 3) else { continue };
            for (total, value) in sum.iter_mut().zip(colour) {
                *total += weight * f32::from(*value);
            }
        }
    }
}
