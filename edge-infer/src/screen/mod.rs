//! What is drawn: state in, pixels into any `DrawTarget<Color = Rgb888>` out.
//!
//! One view so far, the result of one photograph: the photograph with its findings on one side
//! ([`picture`](mod@picture)), the panel with the verdict on the other ([`panel`](mod@panel)). The
//! layout is computed from the target's size; it was drawn for 800x480 and holds from 480x320 up,
//! upright too.

mod gauge;
pub mod outline;
mod panel;
mod picture;
mod smooth;
mod text;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_kiosk::text::Typesetter;
use glaucoma_kiosk::theme::{Palette, Theme};

use crate::exam::ExamResult;

/// Light on dark: photographs of the eye are dark, and looked at in dark rooms.
const PALETTE: &Palette = Theme::Dark.palette();

/// Everything the result view shows.
#[derive(Debug, Clone, Copy)]
pub struct ResultView<'a> {
    /// Name of the photograph as the user knows it.
    pub title: &'a str,
    /// The result.
    pub exam: &'a ExamResult,
    /// Name and version of the model.
    pub model: (&'a str, &'a str),
}

/// Where the two halves of the view lie.
struct Layout {
    /// For the photograph, which stands in its middle as a square.
    picture: Rectangle,
    /// The rest, for the panel.
    panel: Rectangle,
    /// Pixels to one unit of the 800x480 design.
    unit: f32,
}

impl Layout {
    fn new(size: Size) -> Self {
        let (width, height) = (size.width, size.height);
        if width >= height {
            // A narrow screen gives the panel room before the photograph.
            let side = height.min(width * 58 / 100);
            let unit = ((width - side) as f32 / 320.0).min(height as f32 / 480.0);
            Self {
                picture: Rectangle::new(Point::zero(), Size::new(side, height)),
                panel: Rectangle::new(Point::new(side as i32, 0), Size::new(width - side, height)),
                unit,
            }
        } else {
            let side = width.min(height * 52 / 100);
            let unit = (width as f32 / 320.0).min((height - side) as f32 / 480.0);
            Self {
                picture: Rectangle::new(Point::zero(), Size::new(width, side)),
                panel: Rectangle::new(Point::new(0, side as i32), Size::new(width, height - side)),
                unit,
            }
        }
    }
}

/// Draws the result view over the whole target.
///
/// # Errors
/// The target's own.
pub fn draw_result<D>(
    view: &ResultView<'_>,
    setter: &Typesetter,
    target: &mut D,
) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let area = target.bounding_box();
    target.fill_solid(&area, PALETTE.page.ground)?;
    let layout = Layout::new(area.size);
    picture::draw(view.exam, layout.picture, layout.unit, target)?;
    panel::draw(view, setter, layout.panel, layout.unit, target)
}
