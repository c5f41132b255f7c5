//! The photograph of an eye with its outlines, and what part of it is looked at.

use std::sync::Arc;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use image::RgbImage;

use crate::theme::{self, blend};

/// A photograph with its outlines in its own pixels, from the top left.
#[derive(Clone)]
pub struct EyePicture {
    /// The photograph, reduced to what a screen can show.
    pub pixels: Arc<RgbImage>,
    /// Closed outline of the disc; empty where none was found.
    pub disc: Vec<(f32, f32)>,
    /// Closed outline of the cup; empty where none was found.
    pub cup: Vec<(f32, f32)>,
    /// The fovea.
    pub fovea: Option<(f32, f32)>,
}

impl std::fmt::Debug for EyePicture {
    /// The size only: pixels and positions of an eye do not belong into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EyePicture({}x{})", self.pixels.width(), self.pixels.height())
    }
}

/// What part of a picture is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Magnification over the size at which the whole picture fits, in steps of 1.5; 0 to 5.
    pub step: u8,
    /// The point in the middle, shares of the picture's width and height, 0 to 1.
    pub center: (f32, f32),
}

impl View {
    /// All of it.
    pub const WHOLE: Self = Self { step: 0, center: (0.5, 0.5) };
    const STEPS: u8 = 5;

    /// The disc, enlarged, where there is one.
    #[must_use]
    pub fn on_disc(picture: &EyePicture) -> Self {
        if picture.disc.is_empty() {
            return Self::WHOLE;
        }
        let (width, height) = picture.pixels.dimensions();
        let count = picture.disc.len() as f32;
        let (x, y) = picture.disc.iter().fold((0.0, 0.0), |sum, at| (sum.0 + at.0, sum.1 + at.1));
        Self { step: 3, center: (x / count / width as f32, y / count / height as f32) }
    }

    /// One step closer.
    pub fn zoom_in(&mut self) {
        self.step = (self.step + 1).min(Self::STEPS);
    }

    /// One step back.
    pub fn zoom_out(&mut self) {
        self.step = self.step.saturating_sub(1);
    }

    /// A quarter of what is seen to the side (`x` 1 to the right, `y` 1 down).
    pub fn pan(&mut self, x: i8, y: i8) {
        let quarter = 0.25 / self.magnification();
        self.center.0 = (self.center.0 + f32::from(x) * quarter).clamp(0.0, 1.0);
        self.center.1 = (self.center.1 + f32::from(y) * quarter).clamp(0.0, 1.0);
    }

    fn magnification(self) -> f32 {
        1.5f32.powi(i32::from(self.step))
    }
}

/// How picture pixels lie in an area of the screen.
#[derive(Debug, Clone, Copy)]
struct Placement {
    middle: (f32, f32),
    center: (f32, f32),
    /// Screen pixels a picture pixel.
    scale: f32,
}

impl Placement {
    fn new(picture: &EyePicture, view: View, area: Rectangle) -> Self {
        let (width, height) = picture.pixels.dimensions();
        let (width, height) = (width.max(1) as f32, height.max(1) as f32);
        let (across, down) = (area.size.width as f32, area.size.height as f32);
        let scale = (across / width).min(down / height) * view.magnification();
        // Never further than the picture's edge, so that none of the area is wasted.
        let inside = |center: f32, seen: f32| {
            let half = (seen / 2.0).min(0.5);
            center.clamp(half, 1.0 - half)
        };
        let center = (
            inside(view.center.0, across / (scale * width)) * width,
            inside(view.center.1, down / (scale * height)) * height,
        );
        let corner = area.top_left;
        let middle = (corner.x as f32 + across / 2.0, corner.y as f32 + down / 2.0);
        Self { middle, center, scale }
    }

    fn to_picture(self, at: Point) -> (f32, f32) {
        (
            (at.x as f32 + 0.5 - self.middle.0) / self.scale + self.center.0,
            (at.y as f32 + 0.5 - self.middle.1) / self.scale + self.center.1,
        )
    }

    fn to_screen(self, at: (f32, f32)) -> (f32, f32) {
        (
            (at.0 - self.center.0) * self.scale + self.middle.0,
            (at.1 - self.center.1) * self.scale + self.middle.1,
        )
    }
}

/// The point of the picture under a pixel of the screen, as shares of its size.
#[must_use]
pub fn share_at(picture: &EyePicture, view: View, area: Rectangle, at: Point) -> (f32, f32) {
    let (x, y) = Placement::new(picture, view, area).to_picture(at);
    let (width, height) = picture.pixels.dimensions();
    ((x / width.max(1) as f32).clamp(0.0, 1.0), (y / height.max(1) as f32).clamp(0.0, 1.0))
}

/// Draws the picture into the area, with its outlines where wanted: the disc whole, the cup dashed, a cross on
/// the fovea, all with a dark edge. `width` is that of a line in pixels.
///
/// # Errors
/// The target's own.
pub fn draw<D>(
    picture: &EyePicture,
    view: View,
    outlines: bool,
    area: Rectangle,
    width: f32,
    target: &mut D,
) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let place = Placement::new(picture, view, area);
    let mut canvas = sampled(picture, place, area);
    if outlines {
        let mut pen = Pen { canvas: &mut canvas, area, width };
        let on_screen =
            |outline: &[(f32, f32)]| outline.iter().map(|&at| place.to_screen(at)).collect();
        pen.outline(on_screen(&picture.disc), theme::DISC, false);
        pen.outline(on_screen(&picture.cup), theme::CUP, true);
        if let Some(fovea) = picture.fovea {
            let ((x, y), arm) = (place.to_screen(fovea), 5.0 * width);
            for color in [None, Some(theme::FOVEA)] {
                pen.line((x - arm, y), (x + arm, y), color);
                pen.line((x, y - arm), (x, y + arm), color);
            }
        }
    }
    target.fill_contiguous(&area, canvas)
}

/// The weights of a line add up to this. Two of them and a level of colour stay within 32 bits.
const WHOLE: u32 = 1 << 12;

/// Which pixels of a line of the picture a pixel of the screen shows, and how much of each.
struct Taps {
    first: usize,
    weights: Vec<u32>,
}

impl Taps {
    /// Those under `at`, along a line of `length` pixels: between two neighbours, averaged over what a screen pixel
    /// covers where the picture is finer; `None` outside.
    fn new(at: f32, length: u32, scale: f32) -> Option<Self> {
        if at < 0.0 || at >= length as f32 {
            return None;
        }
        let reach = (1.0 / scale).max(1.0);
        let steps = (reach.ceil() as i32).min(4);
        let last = length as i32 - 1;
        let places = (0..steps)
            .map(|step| split(at + ((step as f32 + 0.5) / steps as f32 - 0.5) * reach - 0.5));
        let places: Vec<(i32, f32)> = places.collect();
        let first = places.first().map_or(0, |place| place.0).clamp(0, last);
        let end = places.last().map_or(0, |place| place.0 + 1).clamp(0, last);
        let mut shares = vec![0.0f32; (end - first + 1) as usize];
        for (whole, rest) in places {
            for (pixel, share) in [(whole, 1.0 - rest), (whole + 1, rest)] {
                shares[(pixel.clamp(0, last) - first) as usize] += share / steps as f32;
            }
        }
        // Each is the step of their rounded sum: nothing is lost.
        let (mut sum, mut before) = (0.0, 0);
        let weights = shares.into_iter().map(|share| {
            sum += share;
            let now = ((sum * WHOLE as f32).round() as u32).min(WHOLE);
            let weight = now - before;
            before = now;
            weight
        });
        let mut weights: Vec<u32> = weights.collect();
        if let Some(last) = weights.last_mut() {
            *last += WHOLE - before;
        }
        Some(Self { first: first as usize, weights })
    }
}

/// The picture as it lies in the area, black beside it: first the lines that a line of the screen shows are added
/// up, then their pixels.
fn sampled(picture: &EyePicture, place: Placement, area: Rectangle) -> Vec<Rgb888> {
    let (width, height) = picture.pixels.dimensions();
    let corner = area.top_left;
    let columns: Vec<Option<Taps>> = (0..area.size.width as i32)
        .map(|x| Taps::new(place.to_picture(corner + Point::new(x, 0)).0, width, place.scale))
        .collect();
    let stride = 3 * width as usize;
    let inside = || columns.iter().flatten();
    let begin = 3 * inside().map(|taps| taps.first).min().unwrap_or(0);
    let end = 3 * inside().map(|taps| taps.first + taps.weights.len()).max().unwrap_or(0);
    let mut line = vec![0u32; end.saturating_sub(begin)];
    let mut canvas = Vec::with_capacity(columns.len() * area.size.height as usize);
    for y in 0..area.size.height as i32 {
        let down = place.to_picture(corner + Point::new(0, y)).1;
        let Some(rows) = Taps::new(down, height, place.scale) else {
            canvas.extend(columns.iter().map(|_| Rgb888::BLACK));
            continue;
        };
        line.fill(0);
        for (row, &weight) in (rows.first..).zip(&rows.weights) {
            let pixels = &picture.pixels.as_raw()[row * stride..][begin..end];
            for (sum, &level) in line.iter_mut().zip(pixels) {
                *sum += weight * u32::from(level);
            }
        }
        canvas.extend(columns.iter().map(|taps| match taps {
            None => Rgb888::BLACK,
            Some(taps) => mixed(&line[3 * taps.first - begin..], &taps.weights),
        }));
    }
    canvas
}

/// Pixels of an added-up line, by their weights.
fn mixed(line: &[u32], weights: &[u32]) -> Rgb888 {
    let mut sum = [WHOLE * WHOLE / 2; 3];
    for (pixel, weight) in line.chunks_exact(3).zip(weights) {
        (0..3).for_each(|channel| sum[channel] += weight * pixel[channel]);
    }
    let [r, g, b] = sum.map(|sum| (sum / (WHOLE * WHOLE)) as u8);
    Rgb888::new(r, g, b)
}

/// The whole number below `x` and what is left. `f32::floor` is a call on processors from before 2008, for which
/// x86-64 programs are built.
fn split(x: f32) -> (i32, f32) {
    let toward_zero = x as i32;
    let whole = if toward_zero as f32 > x { toward_zero - 1 } else { toward_zero };
    (whole, x - whole as f32)
}

/// Draws lines with soft edges on the copy of the picture.
struct Pen<'a> {
    canvas: &'a mut [Rgb888],
    area: Rectangle,
    width: f32,
}

impl Pen<'_> {
    fn outline(&mut self, points: Vec<(f32, f32)>, color: Rgb888, dashed: bool) {
        for layer in [None, Some(color)] {
            let mut along = 0.0f32;
            for (index, &from) in points.iter().enumerate() {
                let to = points[(index + 1) % points.len()];
                let dash = 5.0 * self.width;
                if !dashed || (along / dash) as i32 % 2 == 0 {
                    self.line(from, to, layer);
                }
                along += (to.0 - from.0).hypot(to.1 - from.1);
            }
        }
    }

    /// A line in `color`, or its dark edge.
    fn line(&mut self, from: (f32, f32), to: (f32, f32), color: Option<Rgb888>) {
        let half = if color.is_some() { self.width / 2.0 } else { self.width };
        let corner = self.area.top_left;
        let size = self.area.size;
        let range = |a: f32, b: f32, origin: i32, length: u32| {
            let low = (a.min(b) - half - 1.0) as i32 - origin;
            let high = (a.max(b) + half + 1.0) as i32 - origin;
            low.clamp(0, length as i32)..high.clamp(-1, length as i32 - 1) + 1
        };
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let squared = (dx * dx + dy * dy).max(1e-6);
        for y in range(from.1, to.1, corner.y, size.height) {
            for x in range(from.0, to.0, corner.x, size.width) {
                let at = ((x + corner.x) as f32 + 0.5, (y + corner.y) as f32 + 0.5);
                let along = ((at.0 - from.0) * dx + (at.1 - from.1) * dy) / squared;
                let along = along.clamp(0.0, 1.0);
                let away = (at.0 - from.0 - along * dx).hypot(at.1 - from.1 - along * dy);
                let coverage = (half + 0.5 - away).clamp(0.0, 1.0);
                let pixel = &mut self.canvas[(y * size.width as i32 + x) as usize];
                *pixel = blend(*pixel, color.unwrap_or(theme::HALO), coverage);
            }
        }
    }
}
