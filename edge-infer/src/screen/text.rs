//! Lines of text for the panel: measured, wrapped, shortened; shaped and drawn by the kiosk's typesetter.
//!
//! A draw target cannot be read back, so every text is drawn against a known, even background.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_kiosk::text::{Label, Place, Typesetter};
use glaucoma_kiosk::theme::Paint;

/// How a text looks.
#[derive(Clone, Copy)]
pub struct TextStyle<'a> {
    /// What draws it.
    pub setter: &'a Typesetter,
    /// Size of the em square in pixels.
    pub size: f32,
    /// Thickness of the letters.
    pub bold: bool,
    /// Colour of the letters, and of what lies behind them.
    pub paint: Paint,
}

impl TextStyle<'_> {
    /// Distance between the tops of two lines in pixels.
    pub fn line_height(&self) -> i32 {
        (self.size * 1.3).round() as i32
    }

    /// Width of `text` on one line in pixels.
    pub fn width(&self, text: &str) -> i32 {
        self.setter.measure(text, self.size, self.bold).width.ceil() as i32
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
        // Room for the letters' own line, which is higher, and so wide that nothing is wrapped.
        let room = self.size.ceil() as i32;
        let area = Rectangle::new(
            at - Point::new(0, room / 2),
            Size::new(
                (self.width(text) + room) as u32,
                (self.line_height() + 2 * (room / 2)) as u32,
            ),
        );
        let label = Label {
            area,
            text: text.to_owned(),
            size: (self.size, self.size),
            bold: self.bold,
            paint: self.paint,
            place: Place::Start,
            middle: true,
            typed: true,
            rtl: false,
        };
        self.setter.draw(&label, target)
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

#[cfg(test)]
mod tests {
    use glaucoma_common::quality::Reason;
    use glaucoma_common::reading::Inconsistency;

    use super::*;

    fn style(setter: &Typesetter) -> TextStyle<'_> {
        TextStyle { setter, size: 16.0, bold: false, paint: crate::screen::PALETTE.page }
    }

    #[test]
    fn wrapped_lines_fit_and_keep_every_word() {
        let setter = Typesetter::new();
        let style = style(&setter);
        let text = "The photograph is out of focus. Clean the lens and focus on the vessels.";
        for width in [60, 100, 240] {
            let lines = style.wrap(text, width);
            assert!(lines.iter().all(|line| style.width(line) <= width), "{lines:?}");
            let joined: String = lines.concat().split_whitespace().collect();
            let original: String = text.split_whitespace().collect();
            assert_eq!(joined, original);
        }
    }

    #[test]
    fn a_long_word_is_cut_and_a_long_line_is_shortened() {
        let setter = Typesetter::new();
        let style = style(&setter);
        let name = "x".repeat(200);
        assert!(style.wrap(&name, 100).iter().all(|line| style.width(line) <= 100));
        let fitted = style.fit(&name, 100);
        assert!(fitted.ends_with('…') && style.width(&fitted) <= 100);
        assert_eq!(style.fit("short", 100), "short");
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
        let setter = Typesetter::new();
        for reason in reasons {
            assert_eq!(setter.measure(&reason.to_string(), 16.0, false).missing, 0, "{reason}");
            assert!(reason.finding().ends_with('.') && reason.advice().ends_with('.'));
        }
    }
}
