//! Antialiased text in the shipped fonts, on any draw target.
//!
//! A draw target cannot be read back, so every text is drawn against a known, even background.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;

static REGULAR: LazyLock<FontRef<'static>> =
    LazyLock::new(|| shipped(include_bytes!("../../fonts/NotoSans-Regular-Latin.ttf")));
static BOLD: LazyLock<FontRef<'static>> =
    LazyLock::new(|| shipped(include_bytes!("../../fonts/NotoSans-Bold-Latin.ttf")));

fn shipped(bytes: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(bytes).expect("the font compiled into the program is a valid font")
}

/// Thickness of the letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// For details.
    Regular,
    /// For what must be read first.
    Bold,
}

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextStyle {
    /// Size of the em square in pixels.
    pub size: f32,
    /// Thickness of the letters.
    pub weight: Weight,
    /// Colour of the letters.
    pub color: Rgb888,
    /// Colour of what lies behind them.
    pub background: Rgb888,
}

impl TextStyle {
    /// Distance between the tops of two lines in pixels.
    pub fn line_height(&self) -> i32 {
        (self.size * 1.3).round() as i32
    }

    fn font(&self) -> &'static FontRef<'static> {
        match self.weight {
            Weight::Regular => &REGULAR,
            Weight::Bold => &BOLD,
        }
    }

    /// The library scales by ascent minus descent, not by the em square.
    fn scale(&self) -> PxScale {
        let font = self.font();
        let units = font.units_per_em().unwrap_or(1000.0);
        PxScale::from(self.size * font.height_unscaled() / units)
    }

    /// Width of `text` on one line in pixels.
    pub fn width(&self, text: &str) -> i32 {
        let font = self.font().as_scaled(self.scale());
        text.chars().map(|letter| font.h_advance(font.glyph_id(letter))).sum::<f32>().ceil() as i32
    }

    /// `text` broken at spaces into lines at most `width` pixels wide. A single word wider than
    /// that is cut between letters, so nothing leaves the box.
    pub fn wrap(&self, text: &str, width: i32) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = String::new();
        for word in text.split_whitespace() {
            for piece in self.pieces(word, width) {
                let joined =
                    if line.is_empty() { piece.clone() } else { format!("{line} {piece}") };
                if self.width(&joined) <= width || line.is_empty() {
                    line = joined;
                } else {
                    lines.push(std::mem::replace(&mut line, piece));
                }
            }
        }
        if !line.is_empty() {
            lines.push(line);
        }
        lines
    }

    /// A word as pieces that each fit into `width`.
    fn pieces(&self, word: &str, width: i32) -> Vec<String> {
        let mut pieces = vec![String::new()];
        for letter in word.chars() {
            let last = pieces.len() - 1;
            let longer = format!("{}{letter}", pieces[last]);
            if pieces[last].is_empty() || self.width(&longer) <= width {
                pieces[last] = longer;
            } else {
                pieces.push(letter.to_string());
            }
        }
        pieces
    }

    /// `text` cut with an ellipsis so that it fits into `width` pixels.
    pub fn fit(&self, text: &str, width: i32) -> String {
        if self.width(text) <= width {
            return text.to_string();
        }
        let mut kept: String = text.to_string();
        while kept.pop().is_some() {
            let shortened = format!("{}…", kept.trim_end());
            if self.width(&shortened) <= width {
                return shortened;
            }
        }
        String::new()
    }

    /// Draws one line whose box has its top left corner at `at`.
    ///
    /// # Errors
    /// The target's own.
    pub fn draw<D>(&self, text: &str, at: Point, target: &mut D) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        let font = self.font().as_scaled(self.scale());
        // The letters stand in the middle of the line's box.
        let leading = (self.line_height() as f32 - (font.ascent() - font.descent())) / 2.0;
        let baseline = at.y as f32 + leading + font.ascent();
        let mut x = at.x as f32;
        for letter in text.chars() {
            let id = font.glyph_id(letter);
            let glyph =
                id.with_scale_and_position(self.scale(), ab_glyph::point(x, baseline.round()));
            x += font.h_advance(id);
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let bounds = outline.px_bounds();
            let corner = Point::new(bounds.min.x as i32, bounds.min.y as i32);
            let mut pixels = Vec::new();
            outline.draw(|px, py, coverage| {
                if coverage > 0.0 {
                    let color = blend(self.background, self.color, coverage.min(1.0));
                    pixels.push(Pixel(corner + Point::new(px as i32, py as i32), color));
                }
            });
            target.draw_iter(pixels)?;
        }
        Ok(())
    }

    /// Draws one line that ends at `right` pixels; its box has its top at `top`.
    ///
    /// # Errors
    /// The target's own.
    pub fn draw_right<D>(
        &self,
        text: &str,
        right: i32,
        top: i32,
        target: &mut D,
    ) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        self.draw(text, Point::new(right - self.width(text), top), target)
    }
}

/// `over` laid on `under` with the given coverage from 0 to 1.
pub fn blend(under: Rgb888, over: Rgb888, coverage: f32) -> Rgb888 {
    let mix =
        |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * coverage).round() as u8;
    Rgb888::new(mix(under.r(), over.r()), mix(under.g(), over.g()), mix(under.b(), over.b()))
}

/// Whether the shipped fonts have a picture for every letter of `text`.
pub fn has_every_glyph(text: &str) -> bool {
    let known = |font: &FontRef<'_>| {
        text.chars().all(|letter| letter.is_whitespace() || font.glyph_id(letter).0 != 0)
    };
    known(&REGULAR) && known(&BOLD)
}

#[cfg(test)]
mod tests {
    use glaucoma_common::quality::Reason;
    use glaucoma_common::reading::Inconsistency;

    use super::*;

    fn style() -> TextStyle {
        TextStyle {
            size: 16.0,
            weight: Weight::Regular,
            color: Rgb888::WHITE,
            background: Rgb888::BLACK,
        }
    }

    #[test]
    fn wrapped_lines_fit_and_keep_every_word() {
        let text = "The photograph is out of focus. Clean the lens and focus on the vessels.";
        for width in [60, 100, 240] {
            let lines = style().wrap(text, width);
            assert!(lines.iter().all(|line| style().width(line) <= width), "{lines:?}");
            let joined: String = lines.concat().split_whitespace().collect();
            let original: String = text.split_whitespace().collect();
            assert_eq!(joined, original);
        }
    }

    #[test]
    fn a_long_word_is_cut_and_a_long_line_is_shortened() {
        let name = "x".repeat(200);
        assert!(style().wrap(&name, 100).iter().all(|line| style().width(line) <= 100));
        let fitted = style().fit(&name, 100);
        assert!(fitted.ends_with('…') && style().width(&fitted) <= 100);
        assert_eq!(style().fit("short", 100), "short");
    }

    #[test]
    fn unknown_letters_are_noticed() {
        assert!(has_every_glyph("vCDR 0.50 × 2, œil – “ok”…"));
        assert!(!has_every_glyph("नमस्ते"));
    }

    #[test]
    fn every_reason_can_be_written_on_the_screen() {
        let reasons = [
            Reason::Black,
            Reason::NoFieldOfView,
            Reason::UnexpectedColours,
            Reason::FieldTooSmall,
            Reason::FieldCutOff,
            Reason::FieldNotRound,
            Reason::OutOfFocus,
            Reason::LowContrast,
            Reason::WashedOut,
            Reason::TooDark,
            Reason::TooBright,
            Reason::Glare,
            Reason::Shadow,
            Reason::DiscNotFound,
            Reason::CupNotFound,
            Reason::Inconsistent(Inconsistency::SeveralDiscs { count: 2 }),
            Reason::HeadsDisagree { classifier: 0.1, vcdr_model: 0.9 },
        ];
        for reason in reasons {
            assert!(has_every_glyph(&reason.to_string()), "{reason}");
            assert!(reason.finding().ends_with('.') && reason.advice().ends_with('.'));
        }
    }
}
