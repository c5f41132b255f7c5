//! How a panel is mounted: quarter turns between the frame that is drawn and the pixels of the display.

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;

use super::Frame;

/// The turn, clockwise, that takes the frame onto the display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// None.
    Upright,
    /// A quarter to the right.
    Right,
    /// A half.
    Over,
    /// A quarter to the left.
    Left,
}

impl Turn {
    /// The size of the frame for a display of this size, and the other way round.
    #[must_use]
    pub fn size(self, size: Size) -> Size {
        match self {
            Self::Upright | Self::Over => size,
            Self::Right | Self::Left => Size::new(size.height, size.width),
        }
    }

    /// Where a pixel of the frame lies on a display of this size.
    #[must_use]
    pub fn to_display(self, at: Point, display: Size) -> Point {
        let (right, bottom) = (display.width as i32 - 1, display.height as i32 - 1);
        match self {
            Self::Upright => at,
            Self::Right => Point::new(right - at.y, at.x),
            Self::Over => Point::new(right - at.x, bottom - at.y),
            Self::Left => Point::new(at.y, bottom - at.x),
        }
    }

    /// Where a pixel of a display of this size lies in the frame.
    #[must_use]
    pub fn to_frame(self, at: Point, display: Size) -> Point {
        let (right, bottom) = (display.width as i32 - 1, display.height as i32 - 1);
        match self {
            Self::Upright => at,
            Self::Right => Point::new(at.y, right - at.x),
            Self::Over => Point::new(right - at.x, bottom - at.y),
            Self::Left => Point::new(bottom - at.y, at.x),
        }
    }

    /// Copies the damaged part of a frame into the memory of a display: XRGB, 4 bytes a pixel in the order of
    /// this machine, `pitch` bytes a row. Where they lie on the display comes back. Pixels beyond the memory are
    /// left out.
    pub fn copy(
        self,
        frame: &Frame,
        damage: Rectangle,
        display: Size,
        pitch: usize,
        memory: &mut [u8],
    ) -> Rectangle {
        let damage = damage.intersection(&frame.bounding_box());
        let Some(end) = damage.bottom_right() else { return Rectangle::zero() };
        let width = frame.size().width as usize;
        for at in damage.points() {
            let place = self.to_display(at, display);
            let index = place.y as usize * pitch + place.x as usize * 4;
            if let Some(pixel) = memory.get_mut(index..index + 4) {
                let color = frame.pixels()[at.y as usize * width + at.x as usize];
                pixel.copy_from_slice(&color.to_ne_bytes());
            }
        }
        let ends = [damage.top_left, end].map(|corner| self.to_display(corner, display));
        Rectangle::with_corners(ends[0], ends[1])
    }
}

#[cfg(test)]
mod tests {
    use embedded_graphics::pixelcolor::Rgb888;

    use super::*;

    const TURNS: [Turn; 4] = [Turn::Upright, Turn::Right, Turn::Over, Turn::Left];

    #[test]
    fn the_way_back_is_the_way_there_backwards() {
        let display = Size::new(7, 4);
        for turn in TURNS {
            let frame = Rectangle::new(Point::zero(), turn.size(display));
            for at in frame.points() {
                let place = turn.to_display(at, display);
                assert!(Rectangle::new(Point::zero(), display).contains(place), "{turn:?} {at}");
                assert_eq!(turn.to_frame(place, display), at, "{turn:?}");
            }
        }
    }

    #[test]
    fn the_first_pixel_goes_to_the_corner_of_its_turn() {
        let display = Size::new(7, 4);
        let corners = TURNS.map(|turn| turn.to_display(Point::zero(), display));
        let expected = [(0, 0), (6, 0), (6, 3), (0, 3)].map(|(x, y)| Point::new(x, y));
        assert_eq!(corners, expected);
    }

    #[test]
    fn only_the_damaged_pixels_are_copied() {
        let display = Size::new(6, 3);
        let pitch = 32;
        for turn in TURNS {
            let mut frame = Frame::new(turn.size(display));
            let Ok(()) = frame.fill_solid(&frame.bounding_box(), Rgb888::new(1, 2, 3));
            let damage = Rectangle::new(Point::new(1, 1), Size::new(2, 1));
            let mut memory = vec![0xEE; pitch * 3];
            let place = turn.copy(&frame, damage, display, pitch, &mut memory);
            let area = place.size.width * place.size.height;
            assert_eq!(area, 2, "{turn:?} {place:?}");
            for y in 0..3 {
                for x in 0..pitch / 4 {
                    let inside = place.contains(Point::new(x as i32, y as i32));
                    let pixel = &memory[y * pitch + x * 4..][..4];
                    let expected = if inside { 0x01_02_03u32.to_ne_bytes() } else { [0xEE; 4] };
                    assert_eq!(pixel, expected, "{turn:?} {x} {y}");
                }
            }
        }
    }
}
