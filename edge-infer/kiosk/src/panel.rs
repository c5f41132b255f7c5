//! The panel the screens are drawn for, and the arithmetic of boxes on it.

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;

/// Least side of what is to be touched, millimetres: a finger in a glove hits it.
pub const TOUCH_MM: f64 = 9.0;

/// A panel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Panel {
    /// Pixels.
    pub size: Size,
    /// Millimetres a pixel, as the connector or the configuration says.
    pub mm_per_px: f64,
}

impl Panel {
    /// The Raspberry Pi's 7-inch screen, 154 mm wide.
    pub const PI_7_INCH: Self = Self { size: Size::new(800, 480), mm_per_px: 154.0 / 800.0 };
    /// An SPI screen of 3.5 inches, 73.4 mm wide.
    pub const SPI_3_5_INCH: Self = Self { size: Size::new(480, 320), mm_per_px: 73.4 / 480.0 };
    /// An HDMI screen of 10 inches, 222 mm wide.
    pub const HDMI_10_INCH: Self = Self { size: Size::new(1280, 720), mm_per_px: 222.0 / 1280.0 };
    /// The Raspberry Pi's second 7-inch screen, upright, 88 mm wide.
    pub const UPRIGHT_7_INCH: Self = Self { size: Size::new(720, 1280), mm_per_px: 88.0 / 720.0 };

    /// Pixels of a length in millimetres, rounded up.
    #[must_use]
    pub fn px(&self, mm: f64) -> i32 {
        // A hair less, so that 9 mm of 9 mm stay 1 and do not become 2.
        (mm / self.mm_per_px - 1e-9).ceil() as i32
    }

    /// Least side of a touch target, pixels.
    #[must_use]
    pub fn touch(&self) -> i32 {
        self.px(TOUCH_MM)
    }

    /// Size of running text (em), pixels: 4.4 mm, less on panels that have no room for it.
    #[must_use]
    pub fn text(&self) -> f32 {
        let shorter = f64::from(self.size.width.min(self.size.height));
        ((4.4 / self.mm_per_px).min(shorter / 19.0)) as f32
    }

    /// The smallest size text may shrink to (em), pixels: 1.9 mm.
    #[must_use]
    pub fn smallest_text(&self) -> f32 {
        (1.9 / self.mm_per_px) as f32
    }
}

/// The rectangle without `margin` pixels on each side.
#[must_use]
pub fn inset(area: Rectangle, margin: i32) -> Rectangle {
    area.offset(-margin)
}

/// Cuts `height` pixels off the top.
pub fn cut_top(area: &mut Rectangle, height: i32) -> Rectangle {
    let height = height.clamp(0, area.size.height as i32);
    let cut = Rectangle::new(area.top_left, Size::new(area.size.width, height as u32));
    area.top_left.y += height;
    area.size.height -= height as u32;
    cut
}

/// Cuts `height` pixels off the bottom.
pub fn cut_bottom(area: &mut Rectangle, height: i32) -> Rectangle {
    let rest = (area.size.height as i32 - height).max(0);
    let mut cut = *area;
    *area = cut_top(&mut cut, rest);
    cut
}

/// Cuts `width` pixels off the start of the line.
pub fn cut_start(area: &mut Rectangle, width: i32) -> Rectangle {
    let width = width.clamp(0, area.size.width as i32);
    let cut = Rectangle::new(area.top_left, Size::new(width as u32, area.size.height));
    area.top_left.x += width;
    area.size.width -= width as u32;
    cut
}

/// Cuts so many hundredths of the height off the top.
pub fn share_top(area: &mut Rectangle, percent: i32) -> Rectangle {
    let height = area.size.height as i32 * percent / 100;
    cut_top(area, height)
}

/// Cuts so many hundredths of the height off the bottom.
pub fn share_bottom(area: &mut Rectangle, percent: i32) -> Rectangle {
    let height = area.size.height as i32 * percent / 100;
    cut_bottom(area, height)
}

/// Cuts so many hundredths of the width off the start of the line.
pub fn share_start(area: &mut Rectangle, percent: i32) -> Rectangle {
    let width = area.size.width as i32 * percent / 100;
    cut_start(area, width)
}

/// Cells of `columns` x `rows` that fill the area, row by row; sizes differ by a pixel at most.
#[must_use]
pub fn grid(area: Rectangle, columns: i32, rows: i32) -> Vec<Rectangle> {
    let (width, height) = (area.size.width as i32, area.size.height as i32);
    let edge = |whole: i32, part: i32, parts: i32| whole * part / parts.max(1);
    (0..rows.max(0) * columns.max(0))
        .map(|cell| {
            let (column, row) = (cell % columns, cell / columns);
            let left = edge(width, column, columns);
            let top = edge(height, row, rows);
            let right = edge(width, column + 1, columns);
            let bottom = edge(height, row + 1, rows);
            let size = Size::new((right - left) as u32, (bottom - top) as u32);
            Rectangle::new(area.top_left + Point::new(left, top), size)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_fills_its_area_without_gap_or_overlap() {
        let area = Rectangle::new(Point::new(3, 5), Size::new(101, 47));
        let cells = grid(area, 7, 3);
        let pixels: u32 = cells.iter().map(|cell| cell.size.width * cell.size.height).sum();
        assert_eq!(pixels, 101 * 47);
        assert_eq!(cells[0].top_left, area.top_left);
        assert_eq!(cells[20].bottom_right(), area.bottom_right());
    }

    #[test]
    fn touch_targets_measure_nine_millimetres() {
        for panel in [Panel::PI_7_INCH, Panel::SPI_3_5_INCH, Panel::UPRIGHT_7_INCH] {
            let mm = f64::from(panel.touch()) * panel.mm_per_px;
            assert!((9.0..9.0 + panel.mm_per_px).contains(&mm), "{mm}");
        }
    }
}
