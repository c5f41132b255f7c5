//! Text of every script, shaped with the fonts we ship (cosmic-text): fitted to a box, then drawn.

use std::cell::RefCell;
use std::sync::Arc;

use cosmic_text::fontdb::{Database, Source};
use cosmic_text::{Align, Attrs, Buffer, Family, FontSystem, Metrics, Shaping, SwashCache};
use cosmic_text::{SwashContent, Weight, Wrap};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;

use crate::theme::{Paint, blend};

/// Line height over the size of the letters: room for marks above and below in every script.
const LEADING: f32 = 1.36;
/// Pictures of glyphs kept at most: what all screens of a language need in all sizes; typed names add to it.
const GLYPHS_KEPT: usize = 8192;

const FONTS: [&[u8]; 8] = [
    include_bytes!("../../fonts/NotoSans-Regular-Latin.ttf"),
    include_bytes!("../../fonts/NotoSans-Bold-Latin.ttf"),
    include_bytes!("../../fonts/NotoSansDevanagari-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansDevanagari-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansArabic-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansArabic-Bold.ttf"),
    include_bytes!("../../fonts/NotoSansEthiopic-Regular.ttf"),
    include_bytes!("../../fonts/NotoSansEthiopic-Bold.ttf"),
];

/// Where a line stands in its box; start and end are the reader's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where reading starts.
    Start,
    /// In the middle.
    Center,
    /// Where reading ends.
    End,
}

/// A text in its box.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Its box, pixels.
    pub area: Rectangle,
    /// What it says; wrapped into lines at words.
    pub text: String,
    /// Size of the letters (em), pixels: the largest, and the smallest it may shrink to in order to fit.
    pub size: (f32, f32),
    /// Whether bold.
    pub bold: bool,
    /// Ink, and the ground that lies under the box.
    pub paint: Paint,
    /// Where lines stand across.
    pub place: Place,
    /// Whether the lines stand in the middle of the box's height rather than at its top.
    pub middle: bool,
    /// Whether it was typed by a person: then it may be cut short where it does not fit.
    pub typed: bool,
    /// Whether reading goes from right to left.
    pub rtl: bool,
}

/// How a label came to fit its box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Size of the letters, pixels.
    pub size: f32,
    /// Height of all lines, pixels.
    pub height: f32,
    /// Whether all of it is inside the box.
    pub fits: bool,
    /// Letters that no font has.
    pub missing: usize,
}

/// A line as long as it likes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measure {
    /// Its width, pixels.
    pub width: f32,
    /// Letters that no font has.
    pub missing: usize,
}

/// Shapes and draws; one for a program.
pub struct Typesetter {
    tools: RefCell<(FontSystem, SwashCache)>,
}

impl Default for Typesetter {
    fn default() -> Self {
        Self::new()
    }
}

impl Typesetter {
    /// Reads the shipped fonts.
    #[must_use]
    pub fn new() -> Self {
        let mut fonts = Database::new();
        for font in FONTS {
            fonts.load_font_source(Source::Binary(Arc::new(font)));
        }
        // The locale chooses between forms of Chinese characters only, which no shipped font has.
        let system = FontSystem::new_with_locale_and_db("en".into(), fonts);
        Self { tools: RefCell::new((system, SwashCache::new())) }
    }

    /// The largest size in the label's range at which it fits.
    #[must_use]
    pub fn fit(&self, label: &Label) -> Fit {
        let (system, _) = &mut *self.tools.borrow_mut();
        fit(system, label).0
    }

    /// How long `text` is on one line, in letters of `size` pixels.
    #[must_use]
    pub fn measure(&self, text: &str, size: f32, bold: bool) -> Measure {
        let (system, _) = &mut *self.tools.borrow_mut();
        let mut buffer = Buffer::new(system, Metrics::new(size, size * LEADING));
        buffer.set_wrap(Wrap::None);
        buffer.set_text(text, &attributes(bold), Shaping::Advanced, None);
        buffer.shape_until_scroll(system, false);
        let (mut width, mut missing) = (0.0f32, 0);
        for run in buffer.layout_runs() {
            width = width.max(run.line_w);
            missing += run.glyphs.iter().filter(|glyph| glyph.glyph_id == 0).count();
        }
        Measure { width, missing }
    }

    /// Draws the label inside its box.
    ///
    /// # Errors
    /// The target's own.
    pub fn draw<D>(&self, label: &Label, target: &mut D) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        let (system, glyphs) = &mut *self.tools.borrow_mut();
        if glyphs.image_cache.len() > GLYPHS_KEPT {
            *glyphs = SwashCache::new();
        }
        let (fit, buffer) = fit(system, label);
        let free = (label.area.size.height as f32 - fit.height).max(0.0);
        let top = if label.middle { (free / 2.0).floor() } else { 0.0 };
        let corner = label.area.top_left;
        let mut pixels = Vec::new();
        for run in buffer.layout_runs() {
            // A line that is not wholly inside would be read wrongly.
            if top + run.line_top + run.line_height > label.area.size.height as f32 + 0.5 {
                break;
            }
            for glyph in run.glyphs {
                let place = glyph.physical((0.0, top + run.line_y), 1.0);
                let Some(image) = glyphs.get_image(system, place.cache_key) else { continue };
                if image.content != SwashContent::Mask || image.placement.width == 0 {
                    continue;
                }
                let left = corner.x + place.x + image.placement.left;
                let above = corner.y + place.y - image.placement.top;
                for (index, &coverage) in image.data.iter().enumerate().filter(|(_, c)| **c > 0) {
                    let index = index as i32;
                    let width = image.placement.width as i32;
                    let at = Point::new(left + index % width, above + index / width);
                    let share = f32::from(coverage) / 255.0;
                    pixels.push(Pixel(at, blend(label.paint.ground, label.paint.ink, share)));
                }
            }
        }
        target.draw_iter(pixels)
    }
}

fn attributes(bold: bool) -> Attrs<'static> {
    let weight = if bold { Weight::BOLD } else { Weight::NORMAL };
    Attrs::new().family(Family::Name("Noto Sans")).weight(weight)
}

fn fit(system: &mut FontSystem, label: &Label) -> (Fit, Buffer) {
    let (largest, smallest) = label.size;
    let mut size = largest.max(smallest);
    loop {
        let (fit, buffer) = shape(system, label, size, Wrap::Word);
        if fit.fits {
            return (fit, buffer);
        }
        if size <= smallest {
            let (cut, buffer) = shape(system, label, size, Wrap::WordOrGlyph);
            return (Fit { fits: false, ..cut }, buffer);
        }
        size = (size * 0.94).max(smallest);
    }
}

fn shape(system: &mut FontSystem, label: &Label, size: f32, wrap: Wrap) -> (Fit, Buffer) {
    let (width, height) = (label.area.size.width as f32, label.area.size.height as f32);
    let mut buffer = Buffer::new(system, Metrics::new(size, (size * LEADING).round()));
    buffer.set_wrap(wrap);
    buffer.set_size(Some(width), None);
    let align = match (label.place, label.rtl) {
        (Place::Center, _) => Align::Center,
        (Place::Start, false) | (Place::End, true) => Align::Left,
        (Place::Start, true) | (Place::End, false) => Align::Right,
    };
    // A paragraph's direction is that of its first strong letter: a mark says so where that is a Latin one.
    let text = if label.rtl { format!("\u{200F}{}", label.text) } else { label.text.clone() };
    buffer.set_text(&text, &attributes(label.bold), Shaping::Advanced, Some(align));
    buffer.shape_until_scroll(system, false);
    let (mut bottom, mut widest, mut missing) = (0.0f32, 0.0f32, 0);
    for run in buffer.layout_runs() {
        bottom = bottom.max(run.line_top + run.line_height);
        widest = widest.max(run.line_w);
        missing += run.glyphs.iter().filter(|glyph| glyph.glyph_id == 0).count();
    }
    let fits = bottom <= height + 0.5 && widest <= width + 0.5;
    (Fit { size, height: bottom, fits, missing }, buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::Theme;

    fn label(text: &str, width: u32, rtl: bool) -> Label {
        Label {
            area: Rectangle::new(Point::zero(), Size::new(width, 60)),
            text: text.into(),
            size: (20.0, 10.0),
            bold: false,
            paint: Theme::Daylight.palette().page,
            place: Place::Start,
            middle: false,
            typed: false,
            rtl,
        }
    }

    #[test]
    fn letters_join_and_missing_ones_are_counted() {
        let setter = Typesetter::new();
        assert_eq!(setter.fit(&label("नमस्ते", 200, false)).missing, 0);
        assert_eq!(setter.fit(&label("العين اليمنى vCDR 0.5", 300, true)).missing, 0);
        assert_eq!(setter.fit(&label("ቀኝ ዓይን 12", 200, false)).missing, 0);
        assert!(setter.fit(&label("漢字", 200, false)).missing > 0);
    }

    #[test]
    fn a_long_text_shrinks_to_its_limit_and_no_further() {
        let setter = Typesetter::new();
        assert_eq!(setter.fit(&label("short", 200, false)).size, 20.0);
        let fit = setter.fit(&label("a sentence that needs a smaller letter to fit", 150, false));
        assert!(fit.fits && fit.size < 20.0 && fit.size >= 10.0, "{fit:?}");
        assert!(!setter.fit(&label("unbreakablewordofmanyletters", 60, false)).fits);
    }
}
