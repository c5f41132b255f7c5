//! Smooth lines: shapes drawn with embedded-graphics at several times the size, averaged down.
//!
//! embedded-graphics draws hard pixel edges. Outlines over a photograph and round icons need soft
//! ones, so they are drawn on a [`Layer`] and laid over what is behind them.

use std::convert::Infallible;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use image::{Rgb, RgbImage};

/// Cells of a layer to a pixel, along each axis.
pub const FINENESS: i32 = 3;

/// A transparent sheet with [`FINENESS`] cells to a pixel, drawn on in cell coordinates.
#[derive(Debug)]
pub struct Layer {
    width: u32,
    height: u32,
    cells: Vec<Option<Rgb888>>,
}

impl Layer {
    /// An empty sheet for `width` x `height` pixels.
    pub fn new(width: u32, height: u32) -> Self {
        let fine = FINENESS as usize;
        Self { width, height, cells: vec![None; width as usize * fine * height as usize * fine] }
    }

    /// Lays the sheet over a picture of the same size.
    pub fn over(&self, picture: &mut RgbImage) {
        let stride = self.width as usize * FINENESS as usize;
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            if x >= self.width || y >= self.height {
                continue;
            }
            let first = y as usize * FINENESS as usize * stride + x as usize * FINENESS as usize;
            let mut sum = [0u32; 3];
            let mut covered = 0;
            for row in 0..FINENESS as usize {
                let start = first + row * stride;
                for color in self.cells[start..start + FINENESS as usize].iter().flatten() {
                    covered += 1;
                    sum[0] += u32::from(color.r());
                    sum[1] += u32::from(color.g());
                    sum[2] += u32::from(color.b());
                }
            }
            if covered > 0 {
                let total = (FINENESS * FINENESS) as u32;
                let mix = |channel: usize| {
                    let behind = u32::from(pixel.0[channel]) * (total - covered);
                    ((behind + sum[channel] + total / 2) / total) as u8
                };
                *pixel = Rgb([mix(0), mix(1), mix(2)]);
            }
        }
    }
}

impl OriginDimensions for Layer {
    fn size(&self) -> Size {
        Size::new(self.width * FINENESS as u32, self.height * FINENESS as u32)
    }
}

impl DrawTarget for Layer {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        let size = self.size();
        for Pixel(at, color) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if x < size.width && y < size.height {
                self.cells[y as usize * size.width as usize + x as usize] = Some(color);
            }
        }
        Ok(())
    }
}

/// Draws a picture with its top left corner at `at`.
///
/// # Errors
/// The target's own.
pub fn draw_picture<D>(picture: &RgbImage, at: Point, target: &mut D) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let area = embedded_graphics::primitives::Rectangle::new(
        at,
        Size::new(picture.width(), picture.height()),
    );
    let colors = picture.pixels().map(|pixel| {
        let [r, g, b] = pixel.0;
        Rgb888::new(r, g, b)
    });
    target.fill_contiguous(&area, colors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};

    #[test]
    fn half_covered_pixels_are_half_mixed() {
        let mut layer = Layer::new(2, 1);
        // The left pixel wholly, and one of three columns of the right one.
        Rectangle::new(Point::zero(), Size::new(4, 3))
            .into_styled(PrimitiveStyle::with_fill(Rgb888::WHITE))
            .draw(&mut layer)
            .unwrap_or_else(|never| match never {});
        let mut picture = RgbImage::new(2, 1);
        layer.over(&mut picture);
        assert_eq!(picture.get_pixel(0, 0).0, [255; 3]);
        assert_eq!(picture.get_pixel(1, 0).0, [85; 3]);
    }
}
