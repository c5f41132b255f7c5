//! A page: everything on a screen as a list of placed things, made from the state alone. It is drawn, asked what
//! lies under a finger, walked through by the buttons, and checked by the tests, all from the same list.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{
    PrimitiveStyleBuilder, Rectangle, RoundedRectangle, StrokeAlignment,
};
use qrcode::{Color, QrCode};

use crate::model::Action;
use crate::panel::{Panel, cut_start, inset};
use crate::picture::{self, EyePicture, View};
use crate::sign::{self, Sign};
use crate::text::{Label, Place, Typesetter};
use crate::theme::{Paint, Palette};

/// Something to press.
#[derive(Debug, Clone, PartialEq)]
pub struct Button {
    /// What a finger can hit, pixels; drawn a little smaller.
    pub area: Rectangle,
    /// What it does.
    pub action: Action,
    /// Its colours.
    pub paint: Paint,
    /// Whether it is the choice that is in force, among several.
    pub chosen: bool,
    /// Whether the focus begins here.
    pub first: bool,
}

/// A thing on a page.
#[derive(Debug, Clone)]
pub enum Item {
    /// A filled box.
    Fill {
        /// Where.
        area: Rectangle,
        /// In what.
        color: Rgb888,
        /// With corners of this radius.
        radius: u32,
    },
    /// Text.
    Label(Label),
    /// Something to press; its words and sign are items of their own.
    Button(Button),
    /// A sign.
    Sign {
        /// Where.
        area: Rectangle,
        /// Which.
        sign: Sign,
        /// In what, and on what.
        paint: Paint,
    },
    /// A photograph.
    Picture {
        /// Where.
        area: Rectangle,
        /// What.
        picture: EyePicture,
        /// What part of it.
        view: View,
        /// Whether with outlines.
        outlines: bool,
    },
    /// A QR code, black on white.
    Code {
        /// Where; drawn in the largest square of whole pixels a module.
        area: Rectangle,
        /// What it says.
        text: String,
    },
}

/// A page under construction or finished.
#[derive(Debug, Clone)]
pub struct Page {
    /// The panel it is for.
    pub panel: Panel,
    /// Its colours.
    pub palette: &'static Palette,
    /// Whether reading goes from right to left.
    pub rtl: bool,
    /// Everything on it, bottom first.
    pub items: Vec<Item>,
    /// What the back button does.
    pub back: Option<Action>,
}

/// How a text is set.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Size over that of running text.
    pub scale: f32,
    /// Whether bold.
    pub bold: bool,
    /// Where lines stand.
    pub place: Place,
    /// Whether in the middle of the box's height.
    pub middle: bool,
    /// Whether typed by a person.
    pub typed: bool,
}

impl Style {
    /// Running text.
    pub const TEXT: Self =
        Self { scale: 1.0, bold: false, place: Place::Start, middle: true, typed: false };
    /// Bold text.
    pub const BOLD: Self = Self { bold: true, ..Self::TEXT };
    /// A heading.
    pub const TITLE: Self = Self { scale: 1.35, ..Self::BOLD };
    /// The words of a button.
    pub const BUTTON: Self = Self { place: Place::Center, ..Self::BOLD };

    /// In the middle of the line.
    #[must_use]
    pub const fn centered(self) -> Self {
        Self { place: Place::Center, ..self }
    }

    /// At the top of the box.
    #[must_use]
    pub const fn top(self) -> Self {
        Self { middle: false, ..self }
    }

    /// Typed by a person.
    #[must_use]
    pub const fn typed(self) -> Self {
        Self { typed: true, ..self }
    }

    /// So many times the size.
    #[must_use]
    pub const fn times(self, scale: f32) -> Self {
        Self { scale: self.scale * scale, ..self }
    }
}

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new(panel: Panel, palette: &'static Palette, rtl: bool) -> Self {
        let mut page = Self { panel, palette, rtl, items: Vec::new(), back: None };
        page.fill(Rectangle::new(Point::zero(), panel.size), palette.page.ground, 0);
        page
    }

    /// Adds a filled box.
    pub fn fill(&mut self, area: Rectangle, color: Rgb888, radius: u32) {
        self.items.push(Item::Fill { area, color, radius });
    }

    /// Adds text on a ground of the paint's colour.
    pub fn text(&mut self, area: Rectangle, text: impl Into<String>, style: Style, paint: Paint) {
        let size = (self.panel.text() * style.scale, self.panel.smallest_text());
        self.items.push(Item::Label(Label {
            area,
            text: text.into(),
            size,
            bold: style.bold,
            paint,
            place: style.place,
            middle: style.middle,
            typed: style.typed,
            rtl: self.rtl,
        }));
    }

    /// Adds running text in the page's own colours.
    pub fn plain(&mut self, area: Rectangle, text: impl Into<String>, style: Style) {
        self.text(area, text, style, self.palette.page);
    }

    /// Adds a sign.
    pub fn sign(&mut self, area: Rectangle, sign: Sign, paint: Paint) {
        self.items.push(Item::Sign { area, sign, paint });
    }

    /// Adds a button with a sign, words, or both: beside each other where there is room, else one above the
    /// other.
    pub fn button(&mut self, area: Rectangle, face: Face<'_>, action: Action) {
        let paint = match face.kind {
            Kind::Plain => self.palette.button,
            Kind::Primary => self.palette.primary,
        };
        let first = face.kind == Kind::Primary;
        let button = Button { area, action, paint, chosen: face.chosen, first };
        self.items.push(Item::Button(button));
        // Clear of the edge of a button that is chosen.
        let margin = (area.size.height as i32 / 12).clamp(5, 10).max(2 * self.edge() + 3);
        let mut inner = inset(area, margin);
        let Some(sign) = face.sign else {
            if !face.words.is_empty() {
                self.text(inner, face.words, face.style, paint);
            }
            return;
        };
        let height = inner.size.height as i32;
        if face.words.is_empty() {
            return self.sign(inset(inner, height / 8), sign, paint);
        }
        let wide = inner.size.width as i32 >= 3 * height;
        if wide {
            cut_start(&mut inner, height / 6);
            let side = (height * 8 / 10).min(self.panel.text() as i32 * 2);
            let area = cut_start(&mut inner, side);
            self.sign(inset(area, side / 12), sign, paint);
            cut_start(&mut inner, side / 6);
        } else {
            let area = crate::panel::cut_top(&mut inner, height * 42 / 100);
            self.sign(area, sign, paint);
        }
        self.text(inner, face.words, face.style, paint);
    }

    /// Adds what is not to be mirrored for readers from right to left: number pads, the eyes as they stand in
    /// the face, arrows over a photograph.
    pub fn unmirrored(&mut self, area: Rectangle, add: impl FnOnce(&mut Self)) {
        let begin = self.items.len();
        add(self);
        if self.rtl {
            let (left, right) = (area.top_left.x, area.top_left.x + area.size.width as i32);
            self.items[begin..].iter_mut().for_each(|item| item.mirror(left + right));
        }
    }

    /// Mirrors the page for readers from right to left; the last step.
    #[must_use]
    pub fn finished(mut self) -> Self {
        if self.rtl {
            let width = self.panel.size.width as i32;
            self.items.iter_mut().for_each(|item| item.mirror(width));
        }
        self
    }

    /// Its buttons in the order of the focus.
    pub fn buttons(&self) -> impl Iterator<Item = &Button> {
        self.items.iter().filter_map(|item| match item {
            Item::Button(button) => Some(button),
            _ => None,
        })
    }

    /// Its texts.
    pub fn labels(&self) -> impl Iterator<Item = &Label> {
        self.items.iter().filter_map(|item| match item {
            Item::Label(label) => Some(label),
            _ => None,
        })
    }

    /// The button that has the focus: the one asked for, else the first choice.
    #[must_use]
    pub fn focused(&self, focus: Option<usize>) -> usize {
        let first = || self.buttons().position(|button| button.first).unwrap_or(0);
        focus.filter(|&index| index < self.buttons().count()).unwrap_or_else(first)
    }

    /// What lies under a finger.
    #[must_use]
    pub fn hit(&self, at: Point) -> Option<Action> {
        self.buttons().find(|button| button.area.contains(at)).map(|button| button.action)
    }

    /// The place in the page's photograph under a finger, as shares of its size.
    #[must_use]
    pub fn hit_picture(&self, at: Point) -> Option<(f32, f32)> {
        self.items.iter().find_map(|item| match item {
            Item::Picture { area, picture, view, .. } if area.contains(at) => {
                Some(picture::share_at(picture, *view, *area, at))
            }
            _ => None,
        })
    }

    /// Draws the page; a ring round the focused button where `focus` says so.
    ///
    /// # Errors
    /// The target's own.
    pub fn draw<D>(
        &self,
        focus: Option<usize>,
        setter: &Typesetter,
        target: &mut D,
    ) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        let mut index = 0;
        for item in &self.items {
            match item {
                Item::Fill { area, color, radius } => {
                    let style = PrimitiveStyleBuilder::new().fill_color(*color).build();
                    rounded(*area, *radius).into_styled(style).draw(target)?;
                }
                Item::Label(label) => setter.draw(label, target)?,
                Item::Button(button) => {
                    self.draw_button(button, focus == Some(index), target)?;
                    index += 1;
                }
                Item::Sign { area, sign, paint } => sign::draw(*sign, *area, *paint, target)?,
                Item::Picture { area, picture, view, outlines } => {
                    let width = (0.35 / self.panel.mm_per_px).max(1.6) as f32;
                    picture::draw(picture, *view, *outlines, *area, width, target)?;
                }
                Item::Code { area, text } => draw_code(*area, text, target)?,
            }
        }
        Ok(())
    }

    /// Width of a thin edge, pixels.
    fn edge(&self) -> i32 {
        (self.panel.text() / 9.0).max(1.0) as i32
    }

    fn draw_button<D>(&self, button: &Button, ring: bool, target: &mut D) -> Result<(), D::Error>
    where
        D: DrawTarget<Color = Rgb888>,
    {
        let line = self.edge() as u32;
        let (edge, width) = match button.chosen {
            true => (self.palette.page.ink, 2 * line),
            false => (self.palette.line, 1),
        };
        let mut area = inset(button.area, 2);
        if ring {
            for color in [self.palette.focus, self.palette.page.ground] {
                let style = PrimitiveStyleBuilder::new().fill_color(color).build();
                rounded(area, 6).into_styled(style).draw(target)?;
                area = inset(area, line as i32 + 1);
            }
        }
        let style = PrimitiveStyleBuilder::new()
            .fill_color(button.paint.ground)
            .stroke_color(edge)
            .stroke_width(width)
            .stroke_alignment(StrokeAlignment::Inside)
            .build();
        rounded(area, 6).into_styled(style).draw(target)
    }
}

/// How a button looks.
#[derive(Debug, Clone, Copy)]
pub struct Face<'a> {
    /// Its words; may be empty where the sign says all.
    pub words: &'a str,
    /// Its sign.
    pub sign: Option<Sign>,
    /// Its weight.
    pub kind: Kind,
    /// Whether it is the choice in force.
    pub chosen: bool,
    /// How its words are set.
    pub style: Style,
}

/// The weight of a button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One among others.
    Plain,
    /// The one that leads on.
    Primary,
}

impl<'a> Face<'a> {
    /// Words alone.
    #[must_use]
    pub const fn words(words: &'a str) -> Self {
        Self { words, sign: None, kind: Kind::Plain, chosen: false, style: Style::BUTTON }
    }

    /// A sign alone.
    #[must_use]
    pub const fn sign(sign: Sign) -> Face<'static> {
        Face { sign: Some(sign), ..Face::words("") }
    }

    /// With a sign.
    #[must_use]
    pub const fn with(self, sign: Sign) -> Self {
        Self { sign: Some(sign), ..self }
    }

    /// The one that leads on.
    #[must_use]
    pub const fn primary(self) -> Self {
        Self { kind: Kind::Primary, ..self }
    }

    /// The choice in force.
    #[must_use]
    pub const fn chosen(self, chosen: bool) -> Self {
        Self { chosen, ..self }
    }
}

impl Item {
    /// The box it lies in.
    #[must_use]
    pub fn area(&self) -> Rectangle {
        match self {
            Self::Fill { area, .. }
            | Self::Sign { area, .. }
            | Self::Picture { area, .. }
            | Self::Code { area, .. } => *area,
            Self::Label(label) => label.area,
            Self::Button(button) => button.area,
        }
    }

    /// Mirrors it about the middle of 0 and `width`.
    fn mirror(&mut self, width: i32) {
        let area = match self {
            Self::Fill { area, .. } | Self::Picture { area, .. } | Self::Code { area, .. } => area,
            Self::Label(label) => &mut label.area,
            Self::Button(button) => &mut button.area,
            Self::Sign { area, sign, .. } => {
                *sign = match *sign {
                    Sign::Back => Sign::Next,
                    Sign::Next => Sign::Back,
                    same => same,
                };
                area
            }
        };
        area.top_left.x = width - area.top_left.x - area.size.width as i32;
    }
}

fn rounded(area: Rectangle, radius: u32) -> RoundedRectangle {
    RoundedRectangle::with_equal_corners(area, Size::new_equal(radius))
}

/// Draws the code with the quiet zone of four modules that readers need; nothing where the text is too long
/// for a QR code.
fn draw_code<D>(area: Rectangle, text: &str, target: &mut D) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let Ok(code) = QrCode::new(text.as_bytes()) else { return Ok(()) };
    let modules = code.width() as i32;
    let side = area.size.width.min(area.size.height) as i32;
    let unit = side / (modules + 8);
    let whole = unit * (modules + 8);
    let corner = area.center() - Point::new(whole / 2, whole / 2);
    let white = Rectangle::new(corner, Size::new_equal(whole.max(0) as u32));
    target.fill_solid(&white, Rgb888::WHITE)?;
    for (index, color) in code.to_colors().into_iter().enumerate() {
        let (x, y) = (index as i32 % modules, index as i32 / modules);
        if color == Color::Dark {
            let at = corner + Point::new((x + 4) * unit, (y + 4) * unit);
            target.fill_solid(&Rectangle::new(at, Size::new_equal(unit as u32)), Rgb888::BLACK)?;
        }
    }
    Ok(())
}
