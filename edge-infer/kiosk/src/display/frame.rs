//! A picture in memory to draw on: 32 bits a pixel, as displays want it.

use std::convert::Infallible;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use image::RgbImage;

/// A draw target whose pixels can be compared, written out or sent to a display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    size: Size,
    /// XRGB, 8 bits each, the highest unused; row by row.
    pixels: Vec<u32>,
}

impl Frame {
    /// A black frame.
    #[must_use]
    pub fn new(size: Size) -> Self {
        Self { size, pixels: vec![0; size.width as usize * size.height as usize] }
    }

    /// Its pixels as XRGB, row by row.
    #[must_use]
    pub fn pixels(&self) -> &[u32] {
        &self.pixels
    }

    /// The pixel at a point inside.
    #[must_use]
    pub fn pixel(&self, at: Point) -> Option<Rgb888> {
        self.index(at).map(|index| {
            Rgb888::from(embedded_graphics::pixelcolor::raw::RawU24::new(self.pixels[index]))
        })
    }

    /// A copy with 8 bits a channel.
    #[must_use]
    pub fn to_image(&self) -> RgbImage {
        RgbImage::from_fn(self.size.width, self.size.height, |x, y| {
            let [_, r, g, b] = self.pixels[(y * self.size.width + x) as usize].to_be_bytes();
            image::Rgb([r, g, b])
        })
    }

    /// The smallest rectangle outside which both frames are alike: empty where they are; all of it where
    /// their sizes differ.
    #[must_use]
    pub fn damage(&self, before: &Self) -> Rectangle {
        if self.size != before.size {
            return self.bounding_box();
        }
        let width = (self.size.width as usize).max(1);
        let rows = self.pixels.chunks(width).zip(before.pixels.chunks(width));
        let (mut left, mut right, mut top, mut bottom) = (i32::MAX, -1, i32::MAX, -1);
        for (y, (now, then)) in rows.enumerate().filter(|(_, (now, then))| now != then) {
            let differs = |x: &usize| now[*x] != then[*x];
            left = left.min((0..width).find(differs).unwrap_or(0) as i32);
            right = right.max((0..width).rfind(differs).unwrap_or(0) as i32);
            top = top.min(y as i32);
            bottom = y as i32;
        }
        if bottom < 0 {
            return Rectangle::zero();
        }
        Rectangle::with_corners(Point::new(left, top), Point::new(right, bottom))
    }

    fn index(&self, at: Point) -> Option<usize> {
        self.bounding_box()
            .contains(at)
            .then(|| at.y as usize * self.size.width as usize + at.x as usize)
    }
}

impl OriginDimensions for Frame {
    fn size(&self) -> Size {
        self.size
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
            if let Some(index) = self.index(at) {
                self.pixels[index] = color.into_storage();
            }
        }
        Ok(())
    }

    fn fill_solid(&mut self, area: &Rectangle, color: Rgb888) -> Result<(), Infallible> {
        let area = area.intersection(&self.bounding_box());
        for y in area.rows() {
            let begin = y as usize * self.size.width as usize + area.top_left.x as usize;
            self.pixels[begin..begin + area.size.width as usize].fill(color.into_storage());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_outside_is_ignored() {
        let mut frame = Frame::new(Size::new(2, 2));
        let all = Rectangle::new(Point::new(-5, -5), Size::new(20, 20));
        let Ok(()) = frame.fill_solid(&all, Rgb888::WHITE);
        let Ok(()) = frame.draw_iter([Pixel(Point::new(-1, 3), Rgb888::RED)]);
        assert!(frame.pixels().iter().all(|&pixel| pixel == 0xFF_FF_FF));
    }

    #[test]
    fn damage_is_the_smallest_rectangle_round_all_differences() {
        let before = Frame::new(Size::new(9, 7));
        let mut after = before.clone();
        assert!(after.damage(&before).is_zero_sized());
        let Ok(()) = after.draw_iter([
            Pixel(Point::new(2, 5), Rgb888::RED),
            Pixel(Point::new(6, 3), Rgb888::RED),
        ]);
        let expected = Rectangle::new(Point::new(2, 3), Size::new(5, 3));
        assert_eq!(after.damage(&before), expected);
        let other = Frame::new(Size::new(3, 3));
        assert_eq!(after.damage(&other), after.bounding_box());
    }
}
