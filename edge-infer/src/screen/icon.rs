//! Signs that say in shape what a colour says in hue.

use std::convert::Infallible;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{Circle, PrimitiveStyle, Rectangle, Triangle};
use image::{Rgb, RgbImage};

use super::picture::draw_line;
use super::smooth::{FINENESS, Layer};
use super::theme;

/// A sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A triangle with an exclamation mark.
    Warning,
    /// A circle with a tick.
    Tick,
    /// An arrow round in a circle: once more.
    Again,
    /// A circle with a bar.
    Stop,
}

/// The sign in `color` on an even `background`, `side` pixels square.
pub fn sign(sign: Sign, side: u32, color: Rgb888, background: Rgb888) -> RgbImage {
    drawn(side, background, |layer, scale| {
        let pen = Pen { layer, scale };
        match sign {
            Sign::Warning => warning(pen, color, background),
            Sign::Tick => tick(pen, color, background),
            Sign::Again => again(pen, color),
            Sign::Stop => stop(pen, color, background),
        }
    })
}

/// A picture frame struck through, `side` pixels square.
pub fn no_photo(side: u32, background: Rgb888) -> RgbImage {
    drawn(side, background, |layer, scale| {
        let mut pen = Pen { layer, scale };
        let frame = [(10.0, 22.0), (90.0, 22.0), (90.0, 78.0), (10.0, 78.0), (10.0, 22.0)];
        pen.line(&frame, 4.0, theme::LINE)?;
        pen.disc((32.0, 40.0), 7.0, theme::LINE)?;
        pen.line(
            &[(14.0, 74.0), (42.0, 54.0), (56.0, 64.0), (72.0, 46.0), (88.0, 62.0)],
            4.0,
            theme::LINE,
        )?;
        pen.line(&[(14.0, 90.0), (86.0, 10.0)], 9.0, background)?;
        pen.line(&[(14.0, 90.0), (86.0, 10.0)], 4.0, theme::MUTED)
    })
}

/// Draws on a design of 100 x 100 units.
struct Pen<'a> {
    layer: &'a mut Layer,
    scale: f32,
}

impl Pen<'_> {
    fn at(&self, (x, y): (f32, f32)) -> Point {
        Point::new((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    fn line(&mut self, points: &[(f32, f32)], width: f32, color: Rgb888) -> Result<(), Infallible> {
        let points: Vec<Point> = points.iter().map(|&point| self.at(point)).collect();
        draw_line(&points, width * self.scale, color, self.layer)
    }

    fn disc(&mut self, center: (f32, f32), radius: f32, color: Rgb888) -> Result<(), Infallible> {
        let diameter = (2.0 * radius * self.scale).round() as u32;
        Circle::with_center(self.at(center), diameter)
            .into_styled(PrimitiveStyle::with_fill(color))
            .draw(self.layer)
    }
}

fn warning(mut pen: Pen<'_>, color: Rgb888, background: Rgb888) -> Result<(), Infallible> {
    let corners = [(50.0, 12.0), (92.0, 84.0), (8.0, 84.0)];
    let [top, right, left] = corners.map(|corner| pen.at(corner));
    Triangle::new(top, right, left)
        .into_styled(PrimitiveStyle::with_fill(color))
        .draw(pen.layer)?;
    let round = [corners[0], corners[1], corners[2], corners[0]];
    pen.line(&round, 10.0, color)?;
    pen.line(&[(50.0, 36.0), (50.0, 58.0)], 9.0, background)?;
    pen.disc((50.0, 74.0), 5.5, background)
}

fn tick(mut pen: Pen<'_>, color: Rgb888, background: Rgb888) -> Result<(), Infallible> {
    pen.disc((50.0, 50.0), 44.0, color)?;
    pen.line(&[(29.0, 52.0), (44.0, 67.0), (71.0, 36.0)], 10.0, background)
}

fn again(mut pen: Pen<'_>, color: Rgb888) -> Result<(), Infallible> {
    let arc: Vec<(f32, f32)> = (0..=56)
        .map(|step| {
            let angle = (-50.0 + step as f32 * 5.0).to_radians();
            (50.0 + 34.0 * angle.cos(), 52.0 + 34.0 * angle.sin())
        })
        .collect();
    pen.line(&arc, 10.0, color)?;
    let [a, b, c] = [(58.0, 30.0), (90.0, 34.0), (84.0, 4.0)].map(|corner| pen.at(corner));
    Triangle::new(a, b, c).into_styled(PrimitiveStyle::with_fill(color)).draw(pen.layer)
}

fn stop(mut pen: Pen<'_>, color: Rgb888, background: Rgb888) -> Result<(), Infallible> {
    pen.disc((50.0, 50.0), 44.0, color)?;
    let corner = pen.at((26.0, 43.0));
    let opposite = pen.at((74.0, 57.0));
    Rectangle::with_corners(corner, opposite)
        .into_styled(PrimitiveStyle::with_fill(background))
        .draw(pen.layer)
}

fn drawn(
    side: u32,
    background: Rgb888,
    draw: impl FnOnce(&mut Layer, f32) -> Result<(), Infallible>,
) -> RgbImage {
    let ground = Rgb([background.r(), background.g(), background.b()]);
    let mut picture = RgbImage::from_pixel(side, side, ground);
    let mut layer = Layer::new(side, side);
    let Ok(()) = draw(&mut layer, side as f32 * FINENESS as f32 / 100.0);
    layer.over(&mut picture);
    picture
}
