//! The report: all of a visit on a page of paper, and one eye's result alone, each as a page and as a picture.

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_common::photo::hexadecimal;
use glaucoma_common::reading::Laterality;
use glaucoma_records::decide::speaks_for;
use glaucoma_records::visit::{Decision, EyeExam, Finding, NoPhotograph, Sex, Visit};

use crate::display::Frame;
use crate::page::{Item, Page, Style};
use crate::panel::{Panel, cut_bottom, cut_start, cut_top, grid, inset};
use crate::picture::{EyePicture, View};
use crate::screens::result::{gauge, legend, probability_text, vcdr_text};
use crate::screens::slip::code_text;
use crate::screens::{Verdict, eye_key, line, quality_text, reason_text};
use crate::sign::Sign;
use crate::text::Typesetter;
use crate::theme::Theme;
use crate::words::{Key, Language, fill};

/// Millimetres a pixel of paper: 200 dots an inch.
const MM_PER_PX: f64 = 25.4 / 200.0;

/// A4, upright.
pub const PAPER: Panel = Panel { size: Size::new(1654, 2339), mm_per_px: MM_PER_PX };

/// One eye's result.
pub const CARD: Panel = Panel { size: Size::new(880, 1320), mm_per_px: MM_PER_PX };

/// What a report is made of.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The visit. Without identity its UID is empty, and then there is no code to scan.
    pub visit: &'a Visit,
    /// The pictures of the right and of the left eye, those of the photographs that speak for them
    /// ([`speaks_for`]); `None`: not to be shown.
    pub pictures: &'a [Option<EyePicture>; 2],
    /// The head of the journal's audit when the report was written.
    pub audit_head: [u8; 32],
}

impl Report<'_> {
    /// The report's page, black on white, for [`PAPER`].
    #[must_use]
    pub fn page(&self, language: Language) -> Page {
        let mut sheet = Sheet::new(PAPER, language);
        let mut body = inset(sheet.whole(), sheet.em(1.8));
        self.heading(&mut sheet, &mut body);
        self.decision(&mut sheet, &mut body);
        let foot = cut_bottom(&mut body, sheet.em(1.8));
        sheet.page.plain(foot, language.text(Key::NoDiagnosis), Style::BOLD.times(0.85));
        self.papers(&mut sheet, &mut body);
        let mut columns = grid(body, 2, 1);
        if sheet.page.rtl {
            // The right eye stands left in every script, as in the face.
            columns.reverse();
        }
        for (column, eye) in columns.into_iter().zip([Laterality::Right, Laterality::Left]) {
            let area = inset(column, sheet.em(0.3));
            self.eye(&mut sheet, area, eye);
        }
        sheet.page.finished()
    }

    /// The page as a picture.
    #[must_use]
    pub fn render(&self, language: Language, setter: &Typesetter) -> Frame {
        drawn(&self.page(language), setter)
    }

    fn heading(&self, sheet: &mut Sheet, body: &mut Rectangle) {
        let (visit, person) = (self.visit, &self.visit.person);
        let title = cut_top(body, sheet.em(2.4));
        sheet.page.plain(title, sheet.words(Key::Report), Style::TITLE.times(1.3));
        let labelled = |key: Key, text: &str| match text {
            "" => String::new(),
            text => format!("{}: {text}", sheet.words(key)),
        };
        let age =
            person.age_years.map(|age| fill(sheet.words(Key::Years), &[("n", &age.to_string())]));
        let sex = match person.sex {
            Sex::Female => sheet.words(Key::Female),
            Sex::Male => sheet.words(Key::Male),
            Sex::Other => sheet.words(Key::OtherSex),
            Sex::Unknown => "",
        };
        let who = format!("{}  {sex}", age.unwrap_or_default());
        let name = person.name.as_deref().unwrap_or_default();
        let columns = [
            [labelled(Key::Number, &person.id), labelled(Key::Name, name), who],
            [
                labelled(Key::Site, &visit.site),
                labelled(Key::Operator, visit.answers()),
                when(&visit.begun_at),
            ],
        ];
        let halves = grid(cut_top(body, sheet.em(4.8)), 2, 1);
        for (mut half, lines) in halves.into_iter().zip(columns) {
            for text in lines.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
                let area = cut_top(&mut half, sheet.em(1.6));
                sheet.page.plain(area, text, Style::TEXT.typed());
            }
        }
    }

    fn decision(&self, sheet: &mut Sheet, body: &mut Rectangle) {
        cut_top(body, sheet.em(0.6));
        let area = cut_top(body, sheet.em(3.8));
        let palette = sheet.page.palette;
        let face = self.visit.decision.as_ref().map_or(
            Verdict { paint: palette.ungradable, sign: Sign::Wait, words: Key::NoDecision },
            |decision| Verdict::of_decision(palette, decision),
        );
        face.add(&mut sheet.page, sheet.language, area, "");
        cut_top(body, sheet.em(0.4));
        if let Some(Decision::Refer { reasons }) = &self.visit.decision {
            for code in reasons {
                let area = cut_top(body, sheet.em(1.7));
                let sign = if code.starts_with("suspected") { Sign::Warning } else { Sign::Stop };
                line(&mut sheet.page, area, sign, reason_text(sheet.language, code), Style::BOLD);
            }
        }
    }

    /// What later readers need: the code, and which model and which journal this comes from.
    fn papers(&self, sheet: &mut Sheet, body: &mut Rectangle) {
        let mut area = cut_bottom(body, sheet.em(10.5));
        let mut lines = Vec::new();
        if !self.visit.uid.0.is_empty() {
            let side = area.size.height as i32;
            let code = cut_start(&mut area, side);
            sheet.page.items.push(Item::Code { area: code, text: code_text(self.visit) });
            cut_start(&mut area, sheet.em(0.6));
            lines.push(sheet.words(Key::ScanHint).to_owned());
            lines.push(format!("UID {}", self.visit.uid.0));
        }
        let eyes = [Laterality::Right, Laterality::Left];
        let mut models: Vec<String> = eyes
            .iter()
            .filter_map(|&eye| speaks_for(self.visit, eye))
            .map(|exam| model_text(sheet.language, exam))
            .collect();
        models.dedup();
        lines.extend(models);
        let head = hexadecimal(&self.audit_head);
        lines.push(format!("{}: {head}", sheet.words(Key::Journal)));
        for text in lines {
            let area = cut_top(&mut area, sheet.em(1.9));
            sheet.page.plain(area, text, Style::TEXT.times(0.75).typed());
        }
    }

    fn eye(&self, sheet: &mut Sheet, area: Rectangle, eye: Laterality) {
        if let Some(exam) = speaks_for(self.visit, eye) {
            let picture = self.pictures[eye as usize].as_ref();
            let withheld = picture.is_none() && self.visit.uid.0.is_empty();
            return sheet.exam(area, exam, picture, withheld);
        }
        let noted = &self.visit.without_photograph;
        let why = noted.iter().rfind(|without| without.eye == eye).map(|without| without.why);
        let words = match (why, eye) {
            (Some(NoPhotograph::Absent), _) => Key::EyeAbsent,
            (Some(NoPhotograph::NotPossible), Laterality::Right) => Key::ReasonNotPhotographedRight,
            (Some(NoPhotograph::NotPossible), Laterality::Left) => Key::ReasonNotPhotographedLeft,
            (None, _) => Key::NotYet,
        };
        let mut area = area;
        sheet.title(&mut area, eye);
        let line = cut_top(&mut area, sheet.em(3.4));
        sheet.page.plain(line, sheet.words(words), Style::TEXT);
    }
}

/// The page of one photograph's result, for [`CARD`]; it names nobody.
#[must_use]
pub fn card(exam: &EyeExam, picture: Option<&EyePicture>, language: Language) -> Page {
    let mut sheet = Sheet::new(CARD, language);
    let mut body = inset(sheet.whole(), sheet.em(0.5));
    for (text, style) in [
        (language.text(Key::NoDiagnosis).to_owned(), Style::BOLD.times(0.85)),
        (model_text(language, exam), Style::TEXT.times(0.75).typed()),
    ] {
        let area = cut_bottom(&mut body, sheet.em(1.7));
        sheet.page.plain(area, text, style);
    }
    sheet.exam(body, exam, picture, false);
    sheet.page.finished()
}

/// The page as a picture.
#[must_use]
pub fn drawn(page: &Page, setter: &Typesetter) -> Frame {
    let mut frame = Frame::new(page.panel.size);
    let Ok(()) = page.draw(None, setter, &mut frame);
    frame
}

/// `2026-05-01T09:30:00Z` as `2026-05-01 09:30 UTC`, which is the same wherever the paper is read; anything else, such as
/// a year alone, as it is. Between day and
/// time stands a blank that does not break: only over such a one numbers keep their order in a script from the right.
fn when(time: &str) -> String {
    match (time.get(..10), time.get(10..11), time.get(11..16), time.ends_with('Z')) {
        (Some(day), Some("T"), Some(minute), true) => format!("{day}\u{a0}{minute} UTC"),
        _ => time.to_owned(),
    }
}

/// Name, version and the beginning of the hash of the model.
fn model_text(language: Language, exam: &EyeExam) -> String {
    let model = &exam.model;
    let head: String = model.sha256.chars().take(16).collect();
    let words = language.text(Key::Model);
    format!("{words}: {} {}, SHA-256 {head}", model.name, model.version)
}

/// A page of paper being laid out.
struct Sheet {
    page: Page,
    language: Language,
}

impl Sheet {
    fn new(panel: Panel, language: Language) -> Self {
        let page = Page::new(panel, Theme::Daylight.palette(), language.rtl());
        Self { page, language }
    }

    fn whole(&self) -> Rectangle {
        Rectangle::new(Point::zero(), self.page.panel.size)
    }

    fn words(&self, key: Key) -> &'static str {
        self.language.text(key)
    }

    /// Pixels of so many letters' sizes.
    fn em(&self, letters: f32) -> i32 {
        (self.page.panel.text() * letters) as i32
    }

    fn title(&mut self, area: &mut Rectangle, eye: Laterality) {
        let title = cut_top(area, self.em(1.8));
        self.page.plain(title, self.words(eye_key(eye)), Style::BOLD);
    }

    /// An eye: its picture, what came of it, and the numbers or reasons behind that. `withheld`: the picture is not
    /// shown because it may name the person.
    fn exam(
        &mut self,
        mut area: Rectangle,
        exam: &EyeExam,
        picture: Option<&EyePicture>,
        withheld: bool,
    ) {
        self.title(&mut area, exam.eye);
        let mut below = cut_bottom(&mut area, self.em(9.6));
        let outlined = picture.is_some_and(|picture| !picture.disc.is_empty());
        let legend_height = if outlined { self.em(1.6) } else { 0 };
        let side = area.size.width.min(area.size.height.saturating_sub(legend_height as u32));
        let mut frame = cut_top(&mut area, side as i32 + legend_height);
        let square = {
            let mut row = cut_top(&mut frame, side as i32);
            let margin = (row.size.width - side) as i32 / 2;
            cut_start(&mut row, margin);
            cut_start(&mut row, side as i32)
        };
        if outlined {
            legend(&mut self.page, self.language, frame);
        }
        match picture {
            Some(picture) => self.page.items.push(Item::Picture {
                area: square,
                picture: picture.clone(),
                view: View::WHOLE,
                outlines: true,
            }),
            None => self.page.fill(square, self.page.palette.button.ground, 8),
        }
        cut_top(&mut below, self.em(0.3));
        let band = cut_top(&mut below, self.em(3.2));
        let detail = match exam.finding {
            Finding::Graded { .. } | Finding::Retake { .. } => "",
            Finding::Ungradable { .. } => self.words(Key::NotLowRisk),
        };
        let face = Verdict::of_exam(self.page.palette, exam);
        face.add(&mut self.page, self.language, band, detail);
        if withheld || exam.burned_in == Some(true) {
            let area = cut_bottom(&mut below, self.em(1.6));
            let (words, style) = (self.words(Key::BurnedIn), Style::BOLD.times(0.8));
            line(&mut self.page, area, Sign::Warning, words, style);
        }
        self.findings(below, exam);
    }

    fn findings(&mut self, mut area: Rectangle, exam: &EyeExam) {
        match &exam.finding {
            &Finding::Graded { probability, threshold, .. } => {
                let line = cut_top(&mut area, self.em(1.5));
                let text = probability_text(self.language, exam);
                self.page.plain(line, text, Style::TEXT.times(0.9));
                let bar = cut_top(&mut area, self.em(0.9));
                gauge(&mut self.page, bar, probability, threshold);
                let line = cut_top(&mut area, self.em(1.7));
                self.page.plain(line, vcdr_text(self.language, exam), Style::BOLD.times(0.9));
            }
            Finding::Retake { reasons } | Finding::Ungradable { reasons } => {
                for code in reasons.iter().take(2) {
                    let line = cut_top(&mut area, self.em(1.9));
                    self.page.plain(line, self.words(quality_text(code).0), Style::TEXT);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shortened_and_years_are_not() {
        assert_eq!(when("2026-05-01T09:30:00Z"), "2026-05-01\u{a0}09:30 UTC");
        assert_eq!(when("2026"), "2026");
        assert_eq!(when(""), "");
    }
}
