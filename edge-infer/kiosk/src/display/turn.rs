//! How a panel is mounted: quarter turns between the frame that is drawn and the pixels of the display.

use std::str::FromStr;

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;

use super::{Frame, Layout};

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

/// A text that names no turn.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no turn: upright, right, over or left")]
pub struct NoSuchTurn(String);

impl FromStr for Turn {
    type Err = NoSuchTurn;

    fn from_str(text: &str) -> Result<Self, NoSuchTurn> {
        match text {
            "upright" => Ok(Self::Upright),
            "right" => Ok(Self::Right),
            "over" => Ok(Self::Over),
            "left" => Ok(Self::Left),
            _ => Err(NoSuchTurn(text.to_owned())),
        }
    }
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

    /// Copies the damaged part of a frame into the memory of a display, in the display's own colours. Where it
    /// lies on the display comes back. Pixels beyond the display or its memory are left out.
    pub fn copy(
        self,
        frame: &Frame,
        damage: Rectangle,
        layout: &Layout,
        memory: &mut [u8],
    ) -> Rectangle {
        let display = layout.size;
        let shown = Rectangle::new(Point::zero(), self.size(display));
        let damage = damage.intersection(&frame.bounding_box()).intersection(&shown);
        let Some(end) = damage.bottom_right() else { return Rectangle::zero() };
        let width = frame.size().width as usize;
        for at in damage.points() {
            let place = self.to_display(at, display);
            let row = layout.start + place.y as usize * layout.pitch;
            let index = row + place.x as usize * layout.bytes;
            if let Some(pixel) = memory.get_mut(index..index + layout.bytes) {
                let color = frame.pixels()[at.y as usize * width + at.x as usize];
                pixel.copy_from_slice(&layout.pixel(color)[..layout.bytes]);
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
        let xrgb = Layout { start: 8, ..Layout::xrgb(Size::new(6, 3), 36) };
        let narrow = Layout { start: 0, bytes: 3, ..xrgb };
        for (turn, layout) in TURNS.into_iter().flat_map(|turn| [(turn, xrgb), (turn, narrow)]) {
            let mut frame = Frame::new(turn.size(layout.size));
            let Ok(()) = frame.fill_solid(&frame.bounding_box(), Rgb888::new(1, 2, 3));
            let damage = Rectangle::new(Point::new(1, 1), Size::new(2, 1));
            let mut memory = vec![0xEE; layout.start + layout.pitch * 3];
            let place = turn.copy(&frame, damage, &layout, &mut memory);
            let area = place.size.width * place.size.height;
            assert_eq!(area, 2, "{turn:?} {place:?}");
            let mut expected = vec![0xEE; memory.len()];
            for at in place.points() {
                let index = layout.start + at.y as usize * layout.pitch;
                let index = index + at.x as usize * layout.bytes;
                expected[index..index + layout.bytes]
                    .copy_from_slice(&[3, 2, 1, 0][..layout.bytes]);
            }
            assert_eq!(memory, expected, "{turn:?}");
        }
    }

    #[test]
    fn a_frame_larger_than_the_display_is_cut() {
        let layout = Layout::xrgb(Size::new(2, 2), 8);
        let mut frame = Frame::new(Size::new(3, 3));
        let Ok(()) = frame.fill_solid(&frame.bounding_box(), Rgb888::new(1, 2, 3));
        let mut memory = vec![0; 24];
        let place = Turn::Upright.copy(&frame, frame.bounding_box(), &layout, &mut memory);
        assert_eq!(place, Rectangle::new(Point::zero(), layout.size));
        assert!(memory[16..].iter().all(|&byte| byte == 0), "the third row is none of the display");
    }

    #[test]
    fn a_turn_is_named() {
        for (text, turn) in ["upright", "right", "over", "left"].into_iter().zip(TURNS) {
            assert_eq!(text.parse(), Ok(turn));
        }
        assert!("90".parse::<Turn>().is_err());
    }
}
