//! The panel beside the photograph: the verdict, then what it rests on.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle, RoundedRectangle};
use glaucoma_common::quality::Reason;
use glaucoma_common::reading::{Laterality, Reading};
use glaucoma_kiosk::sign::{self, Sign};
use glaucoma_kiosk::text::Typesetter;
use glaucoma_kiosk::theme::{self, Paint};
use image::{Rgb, RgbImage};

use super::gauge::gauge;
use super::picture::{disc_close_up, draw_cross, draw_line, fine_pixels};
use super::smooth::{FINENESS, Layer, draw_picture};
use super::text::TextStyle;
use super::{PALETTE, ResultView};
use crate::exam::{Grading, Outcome, Refusal, RiskBand};

/// Letters smaller than this cannot be read on the boards' screens (pixels of the em square).
const SMALLEST_TEXT: f32 = 11.0;

/// Draws the panel into `area`.
pub fn draw<D>(
    view: &ResultView<'_>,
    setter: &Typesetter,
    area: Rectangle,
    unit: f32,
    target: &mut D,
) -> Result<(), D::Error>
where
    D: DrawTarget<Color = Rgb888>,
{
    let margin = (14.0 * unit) as i32;
    let mut flow = Flow {
        left: area.top_left.x + margin,
        right: area.top_left.x + area.size.width as i32 - margin,
        top: area.top_left.y + margin,
        bottom: area.top_left.y + area.size.height as i32 - margin,
        unit,
        setter,
        target,
    };
    flow.footer(view)?;
    match &view.exam.outcome {
        Outcome::Graded(grading) => {
            flow.verdict(&Verdict::of_band(grading.band))?;
            flow.grading(grading, view)
        }
        Outcome::Ungradable { reasons, .. } => {
            flow.verdict(&Verdict::UNGRADABLE)?;
            flow.reasons(reasons)
        }
        Outcome::Refused(refusal) => {
            flow.verdict(&Verdict::REFUSED)?;
            match refusal {
                Refusal::NotFundus(reason) => flow.reasons(std::slice::from_ref(reason)),
                other => flow.paragraph(&sentence(&other.to_string())),
            }
        }
    }
}

/// The box at the top.
struct Verdict {
    sign: Sign,
    title: &'static str,
    detail: &'static str,
    paint: Paint,
}

impl Verdict {
    const UNGRADABLE: Self = Self {
        sign: Sign::Again,
        title: "Cannot be graded",
        detail: "This is not a low-risk result.",
        paint: PALETTE.retake,
    };
    const REFUSED: Self = Self {
        sign: Sign::Stop,
        title: "Not examined",
        detail: "There is no result for this file.",
        paint: PALETTE.button,
    };

    fn of_band(band: RiskBand) -> Self {
        match band {
            RiskBand::Suspected => Self {
                sign: Sign::Warning,
                title: "Glaucoma suspected",
                detail: "Refer for an eye examination.",
                paint: PALETTE.suspected,
            },
            RiskBand::NotSuspected => Self {
                sign: Sign::Tick,
                title: "Glaucoma not suspected",
                detail: "Below the referral threshold.",
                paint: PALETTE.not_suspected,
            },
        }
    }
}

/// Places one thing under the other between `top` and `bottom`.
struct Flow<'a, D> {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    unit: f32,
    setter: &'a Typesetter,
    target: &'a mut D,
}

impl<'a, D: DrawTarget<Color = Rgb888>> Flow<'a, D> {
    fn px(&self, units: f32) -> i32 {
        (units * self.unit).round() as i32
    }

    fn width(&self) -> i32 {
        self.right - self.left
    }

    fn style(&self, units: f32, bold: bool, paint: Paint) -> TextStyle<'a> {
        TextStyle { setter: self.setter, size: (units * self.unit).max(SMALLEST_TEXT), bold, paint }
    }

    fn bold(&self, units: f32) -> TextStyle<'a> {
        self.style(units, true, PALETTE.page)
    }

    fn plain(&self, units: f32) -> TextStyle<'a> {
        self.style(units, false, PALETTE.page)
    }

    fn muted(&self, units: f32) -> TextStyle<'a> {
        self.style(units, false, Paint { ink: PALETTE.muted, ..PALETTE.page })
    }

    fn gap(&mut self, units: f32) {
        self.top += self.px(units);
    }

    /// Whether `height` more pixels fit.
    fn fits(&self, height: i32) -> bool {
        self.top + height <= self.bottom
    }

    fn verdict(&mut self, verdict: &Verdict) -> Result<(), D::Error> {
        let pad = self.px(12.0);
        let side = self.px(44.0);
        let title = self.style(21.0, true, verdict.paint);
        let detail = self.style(13.0, false, verdict.paint);
        let text_left = self.left + pad + side + pad;
        let text_width = self.right - pad - text_left;
        let titles = title.wrap(verdict.title, text_width);
        let details = detail.wrap(verdict.detail, text_width);
        let text_height =
            title.line_height() * titles.len() as i32 + detail.line_height() * details.len() as i32;
        let height = text_height.max(side) + 2 * pad;
        let area = Rectangle::new(
            Point::new(self.left, self.top),
            Size::new(self.width() as u32, height as u32),
        );
        RoundedRectangle::with_equal_corners(area, Size::new_equal(self.px(8.0) as u32))
            .into_styled(PrimitiveStyle::with_fill(verdict.paint.ground))
            .draw(self.target)?;
        let corner = Point::new(self.left + pad, self.top + (height - side) / 2);
        let sign_area = Rectangle::new(corner, Size::new_equal(side as u32));
        sign::draw(verdict.sign, sign_area, verdict.paint, self.target)?;
        let mut y = self.top + (height - text_height) / 2;
        for (style, lines) in [(title, titles), (detail, details)] {
            for line in lines {
                style.draw(&line, Point::new(text_left, y), self.target)?;
                y += style.line_height();
            }
        }
        self.top += height;
        self.gap(12.0);
        Ok(())
    }

    fn grading(&mut self, grading: &Grading, view: &ResultView<'_>) -> Result<(), D::Error> {
        self.probability(grading)?;
        self.parts(grading)?;
        self.rule()?;
        self.findings(grading, view)?;
        self.legend(&grading.reading)
    }

    fn probability(&mut self, grading: &Grading) -> Result<(), D::Error> {
        let number = self.bold(34.0);
        let text = decimal(grading.risk.probability);
        number.draw(&text, Point::new(self.left, self.top), self.target)?;
        let label = self.muted(14.0);
        let label_left = self.left + number.width(&text) + self.px(12.0);
        let lines = label.wrap("probability of glaucoma", self.right - label_left);
        let mut y = self.top
            + (number.line_height() - label.line_height() * lines.len() as i32) / 2
            + self.px(3.0);
        for line in lines {
            label.draw(&line, Point::new(label_left, y), self.target)?;
            y += label.line_height();
        }
        self.top += number.line_height();
        self.gap(2.0);
        let color = Verdict::of_band(grading.band).paint.ground;
        let bar = gauge(
            self.width() as u32,
            self.px(22.0) as u32,
            grading.risk.probability,
            grading.threshold,
            color,
            PALETTE.page.ground,
        );
        draw_picture(&bar, Point::new(self.left, self.top), self.target)?;
        self.top += bar.height() as i32;
        self.gap(3.0);
        let scale = self.muted(11.5);
        scale.draw("0", Point::new(self.left, self.top), self.target)?;
        scale.draw_right("1", self.right, self.top, self.target)?;
        let mark = format!("refer from {}", decimal(grading.threshold));
        let middle = self.left + (f64::from(self.width()) * grading.threshold).round() as i32;
        let half = scale.width(&mark) / 2;
        let room = self.px(14.0);
        let left = (middle - half)
            .clamp(self.left + room, (self.right - room - 2 * half).max(self.left + room));
        scale.draw(&mark, Point::new(left, self.top), self.target)?;
        self.top += scale.line_height();
        self.gap(6.0);
        Ok(())
    }

    /// The two probabilities whose mean the result is.
    fn parts(&mut self, grading: &Grading) -> Result<(), D::Error> {
        for (name, value) in [
            ("from the whole image", grading.risk.classifier),
            ("from the cup-to-disc ratio", grading.risk.vcdr_model),
        ] {
            self.row(name, &decimal(value), self.right)?;
        }
        Ok(())
    }

    /// A label on the left and a value that ends at `right`; left out when there is no room.
    fn row(&mut self, label: &str, value: &str, right: i32) -> Result<(), D::Error> {
        let name = self.muted(13.0);
        let figure = self.bold(14.0);
        let height = figure.line_height();
        if !self.fits(height) {
            return Ok(());
        }
        figure.draw_right(value, right, self.top, self.target)?;
        let room = right - figure.width(value) - self.px(6.0) - self.left;
        name.draw(&name.fit(label, room), Point::new(self.left, self.top), self.target)?;
        self.top += height;
        Ok(())
    }

    fn rule(&mut self) -> Result<(), D::Error> {
        self.gap(7.0);
        let line = Rectangle::new(
            Point::new(self.left, self.top),
            Size::new(self.width() as u32, self.px(1.0).max(1) as u32),
        );
        self.target.fill_solid(&line, PALETTE.line)?;
        self.gap(9.0);
        Ok(())
    }

    /// Measurements on the left, the disc close up on the right.
    fn findings(&mut self, grading: &Grading, view: &ResultView<'_>) -> Result<(), D::Error> {
        let legend = self.muted(12.0).line_height() + self.px(10.0);
        let room = self.bottom - self.top - legend;
        let side = room.min(self.width() * 46 / 100);
        let mut right = self.right;
        let top = self.top;
        // A close-up smaller than this shows nothing.
        if side >= self.px(70.0)
            && let Some(close_up) = disc_close_up(view.exam, side as u32, self.unit)
        {
            right = self.right - side - self.px(12.0);
            let corner = Point::new(self.right - side, top);
            draw_picture(&close_up, corner, self.target)?;
        }
        let eye = match grading.reading.laterality {
            Some(Laterality::Right) => "right",
            Some(Laterality::Left) => "left",
            None => "unknown",
        };
        self.row("Vertical C/D", &decimal(grading.vcdr), right)?;
        if let Some(interval) = grading.interval_of_real_eyes() {
            let name = format!("{:.0} %", 100.0 * interval.share);
            let range = format!("{} to {}", decimal(interval.low), decimal(interval.high));
            self.row(&name, &range, right)?;
        }
        self.row("Eye", eye, right)?;
        self.row("Quality", "gradable", right)?;
        for (name, region) in [("Disc", &grading.reading.disc), ("Cup", &grading.reading.cup)] {
            let row = self.bold(14.0).line_height();
            if let Some(region) = region.as_ref().filter(|_| self.fits(row + legend)) {
                let size = format!("{:.0} × {:.0} px", region.width, region.height);
                self.row(name, &size, right)?;
            }
        }
        if right < self.right {
            self.top = self.top.max(top + side);
        }
        Ok(())
    }

    /// Which line is which.
    fn legend(&mut self, reading: &Reading) -> Result<(), D::Error> {
        self.gap(8.0);
        let label = self.muted(12.0);
        if !self.fits(label.line_height()) {
            return Ok(());
        }
        let height = label.line_height() as u32;
        let mut left = self.left;
        let entries = [
            (reading.disc.is_some(), Mark::Disc, "disc"),
            (reading.cup.is_some(), Mark::Cup, "cup"),
            (reading.fovea.is_some(), Mark::Fovea, "fovea"),
        ];
        for (present, mark, name) in entries {
            if !present {
                continue;
            }
            let picture = mark.picture(height, self.unit);
            draw_picture(&picture, Point::new(left, self.top), self.target)?;
            left += picture.width() as i32 + self.px(5.0);
            label.draw(name, Point::new(left, self.top), self.target)?;
            left += label.width(name) + self.px(14.0);
        }
        self.top += label.line_height();
        Ok(())
    }

    fn reasons(&mut self, reasons: &[Reason]) -> Result<(), D::Error> {
        for reason in reasons {
            let finding = self.bold(15.0);
            let advice = self.muted(14.0);
            let findings = finding.wrap(&reason.finding(), self.width());
            let advices = advice.wrap(reason.advice(), self.width());
            let height = finding.line_height() * findings.len() as i32
                + advice.line_height() * advices.len() as i32;
            if !self.fits(height) {
                return Ok(());
            }
            self.lines(&finding, &findings)?;
            self.lines(&advice, &advices)?;
            self.gap(10.0);
        }
        Ok(())
    }

    fn paragraph(&mut self, text: &str) -> Result<(), D::Error> {
        let style = self.plain(15.0);
        let lines = style.wrap(text, self.width());
        self.lines(&style, &lines)
    }

    fn lines(&mut self, style: &TextStyle<'_>, lines: &[String]) -> Result<(), D::Error> {
        for line in lines {
            if self.fits(style.line_height()) {
                style.draw(line, Point::new(self.left, self.top), self.target)?;
                self.top += style.line_height();
            }
        }
        Ok(())
    }

    /// File, model and time at the bottom; takes its height off the flow.
    fn footer(&mut self, view: &ResultView<'_>) -> Result<(), D::Error> {
        let style = self.muted(11.5);
        let (name, version) = view.model;
        let size = view.exam.photo.as_ref().map_or(String::new(), |photo| {
            format!(" · {} × {}", photo.pixels.width(), photo.pixels.height())
        });
        let lines = [
            format!("{}{size}", view.title),
            format!("{name} {version} · {:.0} ms", view.exam.timing.total),
        ];
        self.bottom -= style.line_height() * lines.len() as i32;
        let mut y = self.bottom;
        for line in lines {
            let fitted = style.fit(&line, self.width());
            style.draw(&fitted, Point::new(self.left, y), self.target)?;
            y += style.line_height();
        }
        self.bottom -= self.px(8.0);
        Ok(())
    }
}

/// A sample of a line in the legend.
#[derive(Clone, Copy)]
enum Mark {
    Disc,
    Cup,
    Fovea,
}

impl Mark {
    fn picture(self, height: u32, unit: f32) -> RgbImage {
        let width = match self {
            Self::Disc | Self::Cup => (22.0 * unit).round().max(16.0) as u32,
            Self::Fovea => height,
        };
        let ground = PALETTE.page.ground;
        let ground = Rgb([ground.r(), ground.g(), ground.b()]);
        let mut picture = RgbImage::from_pixel(width, height, ground);
        let mut layer = Layer::new(width, height);
        let fine = fine_pixels(unit);
        let (wide, middle) = (width as i32 * FINENESS, height as i32 * FINENESS / 2);
        let bar = |from: i32, to: i32| [Point::new(from, middle), Point::new(to, middle)];
        let Ok(()) = (|| match self {
            Self::Disc => {
                draw_line(&bar(FINENESS, wide - FINENESS), 2.0 * fine, theme::DISC, &mut layer)
            }
            Self::Cup => {
                let dash = wide * 2 / 5;
                draw_line(&bar(FINENESS, dash), 2.0 * fine, theme::CUP, &mut layer)?;
                draw_line(&bar(wide - dash, wide - FINENESS), 2.0 * fine, theme::CUP, &mut layer)
            }
            Self::Fovea => draw_cross(Point::new(wide / 2, middle), fine * 0.7, &mut layer),
        })();
        layer.over(&mut picture);
        picture
    }
}

/// Two decimals, the precision a reader can use.
fn decimal(value: f64) -> String {
    format!("{value:.2}")
}

/// Begins with a capital and ends with a stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().collect::<String>());
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{}{stop}", first.unwrap_or_default(), letters.as_str())
}
