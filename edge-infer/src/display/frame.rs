//! A picture in memory to draw on.

use std::convert::Infallible;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use image::{Rgb, RgbImage};

/// A draw target whose pixels can be looked at, written out or sent to a display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pixels: RgbImage,
}

impl Frame {
    /// A black frame of `width` x `height` pixels.
    pub fn new(width: u32, height: u32) -> Self {
        Self { pixels: RgbImage::new(width, height) }
    }

    /// What has been drawn.
    pub fn pixels(&self) -> &RgbImage {
        &self.pixels
    }
}

impl OriginDimensions for Frame {
    fn size(&self) -> Size {
        Size::new(self.pixels.width(), self.pixels.height())
    }
}

impl DrawTarget for Frame {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        for Pixel(at, color) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if let Some(pixel) = self.pixels.get_pixel_mut_checked(x, y) {
                *pixel = Rgb([color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }

    fn fill_solid(&mut self, area: &Rectangle, color: Rgb888) -> Result<(), Infallible> {
        let area = area.intersection(&self.bounding_box());
        let pixel = Rgb([color.r(), color.g(), color.b()]);
        for y in area.rows() {
            for x in area.columns() {
                self.pixels.put_pixel(x as u32, y as u32, pixel);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_outside_is_ignored() {
        let mut frame = Frame::new(2, 2);
        let all = Rectangle::new(Point::new(-5, -5), Size::new(20, 20));
        let Ok(()) = frame.fill_solid(&all, Rgb888::WHITE);
        let Ok(()) = frame.draw_iter([Pixel(Point::new(-1, 3), Rgb888::RED)]);
        assert!(frame.pixels().pixels().all(|pixel| pixel.0 == [255; 3]));
    }
}
