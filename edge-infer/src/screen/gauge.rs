//! A bar from 0 to 1 with a marker at the probability and a notch at the threshold.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle, RoundedRectangle, Triangle};
use image::{Rgb, RgbImage};

use super::PALETTE;
use super::smooth::{FINENESS, Layer};

/// Draws the bar as a picture of `width` x `height` pixels on an even `background`: filled in
/// `color` up to `value`, with a notch at `threshold` (both 0 to 1).
pub fn gauge(
    width: u32,
    height: u32,
    value: f64,
    threshold: f64,
    color: Rgb888,
    background: Rgb888,
) -> RgbImage {
    let ground = Rgb([background.r(), background.g(), background.b()]);
    let mut picture = RgbImage::from_pixel(width, height, ground);
    let mut layer = Layer::new(width, height);
    let Ok(()) = (|| {
        let fine = FINENESS as u32;
        let (wide, high) = (width * fine, height * fine);
        let bar_height = high / 2;
        let top = (high - bar_height) as i32;
        let along = |share: f64| (share.clamp(0.0, 1.0) * f64::from(wide)).round() as i32;
        let bar = |length: u32, color| {
            let area = Rectangle::new(Point::new(0, top), Size::new(length, bar_height));
            RoundedRectangle::with_equal_corners(area, Size::new_equal(bar_height / 2))
                .into_styled(PrimitiveStyle::with_fill(color))
        };
        bar(wide, PALETTE.line).draw(&mut layer)?;
        // At least a round dot, so that a probability of 0 shows as one.
        bar((along(value) as u32).max(bar_height), color).draw(&mut layer)?;
        let notch = along(threshold);
        let half = (high / 24).max(1) as i32;
        Rectangle::with_corners(
            Point::new(notch - half, top),
            Point::new(notch + half, high as i32),
        )
        .into_styled(PrimitiveStyle::with_fill(PALETTE.page.ink))
        .draw(&mut layer)?;
        let arm = (high / 4) as i32;
        Triangle::new(
            Point::new(notch - arm, top - arm - half),
            Point::new(notch + arm, top - arm - half),
            Point::new(notch, top - half),
        )
        .into_styled(PrimitiveStyle::with_fill(PALETTE.page.ink))
        .draw(&mut layer)
    })();
    layer.over(&mut picture);
    picture
}
