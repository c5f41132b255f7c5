//! From the state to a page: one file a screen. Layout is arithmetic on boxes, measured in touch targets and
//! letters of the panel at hand; every screen has a bar above, its body, and its buttons below.

mod decision;
mod home;
mod photograph;
mod register;
pub mod report;
mod result;
mod settings;
pub mod slip;
mod start;
mod summary;
mod undecided;
mod wrong_eye;

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_common::reading::Laterality;
use glaucoma_records::decide::EyeState;
use glaucoma_records::journal::StorageFault;
use glaucoma_records::visit::{Decision, EyeExam, Finding, Person};

use crate::model::{Action, Kiosk, Screen};
use crate::page::{Face, Page, Style};
use crate::panel::{
    cut_bottom, cut_start, cut_top, grid, inset, share_bottom, share_start, share_top,
};
use crate::sign::Sign;
use crate::theme::{Paint, Palette};
use crate::words::{Key, Language};

/// What is on the screen.
#[must_use]
pub fn page(kiosk: &Kiosk) -> Page {
    match &kiosk.screen {
        Screen::Start => start::start(kiosk),
        Screen::Pin { pin, checking, refused } => start::pin(kiosk, pin.len(), *checking, *refused),
        Screen::Home => home::home(kiosk),
        Screen::Register { draft, editing: None, opening } => {
            register::register(kiosk, draft, *opening)
        }
        Screen::Register { draft, editing: Some(editing), .. } => {
            register::keyboard(kiosk, draft, *editing)
        }
        Screen::Undecided { page } => undecided::people(kiosk, *page),
        Screen::UndecidedVisit { uid, asked } => undecided::visit(kiosk, uid, *asked),
        Screen::Photograph { eye } => photograph::photograph(kiosk, *eye),
        Screen::LeaveOut { asked, .. } => photograph::leave_out(kiosk, *asked),
        Screen::BreakOff => photograph::break_off(kiosk),
        Screen::Result { eye } => result::result(kiosk, *eye),
        Screen::Closer { eye, view, outlines } => result::closer(kiosk, *eye, *view, *outlines),
        Screen::WrongEye { exam } => wrong_eye::wrong_eye(kiosk, exam),
        Screen::Decision => decision::decision(kiosk),
        Screen::Slip => slip::slip(kiosk),
        Screen::Summary => summary::summary(kiosk),
        Screen::Settings { .. } => settings::settings(kiosk),
    }
}

/// A page being laid out: the bar is drawn, the body is free.
struct Sheet<'a> {
    kiosk: &'a Kiosk,
    page: Page,
    /// What is left of the page.
    body: Rectangle,
}

impl<'a> Sheet<'a> {
    fn new(kiosk: &'a Kiosk, title: &str) -> Self {
        let palette = kiosk.theme.palette();
        let mut page = Page::new(kiosk.panel, palette, kiosk.language.rtl());
        let mut body = Rectangle::new(Point::zero(), kiosk.panel.size);
        let text = kiosk.panel.text();
        let bar = cut_top(&mut body, (text * 1.9) as i32);
        page.fill(bar, palette.header.ground, 0);
        let mut bar = inset(bar, (text / 4.0) as i32);
        let title_area = share_start(&mut bar, 60);
        page.text(title_area, title, Style::BOLD.times(1.1), palette.header);
        // The camera, whether it answers, and the time.
        let side = bar.size.height as i32;
        let clock_width = (text * 3.2) as i32;
        let signs_at = (bar.size.width as i32 - clock_width - 2 * side - 4).max(0);
        cut_start(&mut bar, signs_at);
        let camera = cut_start(&mut bar, side);
        page.sign(camera, Sign::Camera, palette.header);
        let answers = if kiosk.camera { Sign::Tick } else { Sign::Stop };
        let answer = cut_start(&mut bar, side + 4);
        page.sign(inset(answer, side / 6), answers, palette.header);
        let (hour, minute) = kiosk.clock;
        page.text(bar, format!("{hour:02}:{minute:02}"), Style::BOLD.centered(), palette.header);
        Self { kiosk, page, body }
    }

    fn words(&self, key: Key) -> &'static str {
        self.kiosk.language.text(key)
    }

    /// Pixels of so many letters' sizes.
    fn em(&self, letters: f32) -> i32 {
        (self.kiosk.panel.text() * letters) as i32
    }

    /// Height of a row of buttons.
    fn row(&self) -> i32 {
        let size = self.kiosk.panel.size;
        self.kiosk.panel.touch().max(size.width.min(size.height) as i32 / 8)
    }

    fn landscape(&self) -> bool {
        self.body.size.width > self.body.size.height
    }

    /// The row of buttons at the bottom; the first goes back.
    fn footer(&mut self, buttons: &[(Face<'_>, Action)]) {
        let row = self.row() + 2;
        let mut area = cut_bottom(&mut self.body, row);
        cut_top(&mut area, 2);
        let cells = grid(area, buttons.len() as i32, 1);
        for (cell, &(face, action)) in cells.into_iter().zip(buttons) {
            self.page.button(cell, face, action);
        }
    }

    /// Keeps the body clear of the edges.
    fn margin(&mut self) {
        self.body = inset(self.body, self.em(0.45));
    }

    /// Cuts the body in two: side by side where it is wide, else one above the other, the first with a share of
    /// it.
    fn split(&self, share: i32) -> (Rectangle, Rectangle) {
        let (mut rest, gap) = (self.body, self.em(0.8));
        let first = if self.landscape() {
            let first = share_start(&mut rest, share);
            cut_start(&mut rest, gap);
            first
        } else {
            let first = share_top(&mut rest, share);
            cut_top(&mut rest, gap);
            first
        };
        (first, rest)
    }

    /// See [`Verdict::add`].
    fn verdict(&mut self, area: Rectangle, face: &Verdict, detail: &str) {
        face.add(&mut self.page, self.kiosk.language, area, detail);
    }

    /// See [`line`].
    fn line(&mut self, area: Rectangle, sign: Sign, text: &str, style: Style) {
        line(&mut self.page, area, sign, text, style);
    }

    /// A coloured box with a stop sign; what is left of it comes back.
    fn alarm(&mut self, area: Rectangle) -> (Rectangle, Paint) {
        let paint = self.page.palette.retake;
        self.page.fill(area, paint.ground, 6);
        let mut inner = inset(area, self.em(0.3));
        let side = (inner.size.height as i32).min(self.em(2.6));
        let sign_area = cut_start(&mut inner, side);
        self.page.sign(sign_area, Sign::Stop, paint);
        cut_start(&mut inner, self.em(0.5));
        (inner, paint)
    }

    /// Says what is wrong and, below, what to do.
    fn notice(&mut self, area: Rectangle, what: Key, advice: Key) {
        let (mut inner, paint) = self.alarm(area);
        let below = share_bottom(&mut inner, 58);
        self.page.text(below, self.words(advice), Style::TEXT, paint);
        self.page.text(inner, self.words(what), Style::BOLD, paint);
    }

    /// Says that something could not be recorded, and why.
    fn not_kept(&mut self, area: Rectangle, fault: StorageFault) {
        let (inner, paint) = self.alarm(area);
        let text = [Key::NotKept, fault_key(fault)].map(|key| self.words(key)).join(" ");
        self.page.text(inner, text, Style::BOLD, paint);
    }

    fn done(self, back: Option<Action>) -> Page {
        let mut page = self.page.finished();
        page.back = back;
        page
    }
}

/// A line with a sign before it.
fn line(page: &mut Page, mut area: Rectangle, sign: Sign, text: &str, style: Style) {
    let em = |letters: f32| (page.panel.text() * letters) as i32;
    let (side, gap) = ((area.size.height as i32).min(em(1.4)), em(0.4));
    let sign_area = cut_start(&mut area, side);
    page.sign(sign_area, sign, page.palette.page);
    cut_start(&mut area, gap);
    page.plain(area, text, style);
}

/// Colour, sign and words of what came of an eye or a visit.
struct Verdict {
    paint: Paint,
    sign: Sign,
    words: Key,
}

impl Verdict {
    /// Adds a coloured box with its sign, its words large, and perhaps a small line.
    fn add(&self, page: &mut Page, language: Language, area: Rectangle, detail: &str) {
        let em = |letters: f32| (page.panel.text() * letters) as i32;
        let [margin, most, gap, small] = [0.4, 3.0, 0.5, 2.8].map(em);
        page.fill(area, self.paint.ground, 8);
        let mut inner = inset(area, margin);
        let side = (inner.size.height as i32).min(most);
        let sign = cut_start(&mut inner, side);
        page.sign(sign, self.sign, self.paint);
        cut_start(&mut inner, gap);
        if !detail.is_empty() {
            let height = (inner.size.height as i32 * 46 / 100).min(small);
            let below = cut_bottom(&mut inner, height);
            page.text(below, detail, Style::TEXT, self.paint);
        }
        page.text(inner, language.text(self.words), Style::TITLE, self.paint);
    }

    fn of_exam(palette: &Palette, exam: &EyeExam) -> Self {
        let (paint, sign, words) = match &exam.finding {
            Finding::Graded { probability, threshold, .. } if probability < threshold => {
                (palette.not_suspected, Sign::Tick, Key::NotSuspected)
            }
            Finding::Graded { .. } => (palette.suspected, Sign::Warning, Key::Suspected),
            Finding::Retake { .. } => (palette.retake, Sign::Again, Key::Retake),
            Finding::Ungradable { .. } => (palette.ungradable, Sign::Stop, Key::Ungradable),
        };
        Self { paint, sign, words }
    }

    fn of_decision(palette: &Palette, decision: &Decision) -> Self {
        match decision {
            Decision::NotSuspected => Self {
                paint: palette.not_suspected,
                sign: Sign::Tick,
                words: Key::DecisionNotSuspected,
            },
            Decision::Refer { reasons } if reasons.iter().all(|r| r.starts_with("ungradable")) => {
                Self { paint: palette.ungradable, sign: Sign::Stop, words: Key::DecisionRefer }
            }
            Decision::Refer { .. } => {
                Self { paint: palette.suspected, sign: Sign::Warning, words: Key::DecisionRefer }
            }
        }
    }
}

fn eye_key(eye: Laterality) -> Key {
    match eye {
        Laterality::Right => Key::RightEye,
        Laterality::Left => Key::LeftEye,
    }
}

/// A person's number and name, in a line.
fn who(person: &Person) -> String {
    let name = person.name.as_deref().unwrap_or_default();
    format!("{}  {name}", person.id).trim_end().to_owned()
}

fn fault_key(fault: StorageFault) -> Key {
    match fault {
        StorageFault::Full => Key::StorageFull,
        StorageFault::Fails => Key::StorageFails,
    }
}

/// Sign and word of how an eye stands.
fn eye_face(state: &EyeState<'_>) -> (Sign, Key) {
    match state {
        EyeState::Open(_) => (Sign::Eye, Key::NotYet),
        EyeState::Absent => (Sign::Minus, Key::EyeAbsent),
        EyeState::Graded { suspected: true, .. } => (Sign::Warning, Key::Suspected),
        EyeState::Graded { suspected: false, .. } => (Sign::Tick, Key::NotSuspected),
        EyeState::Ungradable(_) | EyeState::NotPhotographed => (Sign::Stop, Key::Ungradable),
    }
}

/// The sentence for a reason of a decision.
fn reason_text(language: Language, code: &str) -> &str {
    match code {
        "suspected_right" => language.text(Key::ReasonSuspectedRight),
        "suspected_left" => language.text(Key::ReasonSuspectedLeft),
        "ungradable_right" => language.text(Key::ReasonUngradableRight),
        "ungradable_left" => language.text(Key::ReasonUngradableLeft),
        "not_photographed_right" => language.text(Key::ReasonNotPhotographedRight),
        "not_photographed_left" => language.text(Key::ReasonNotPhotographedLeft),
        "asymmetry" => language.text(Key::ReasonAsymmetry),
        // A code from a newer device is better shown than hidden.
        other => other,
    }
}

/// What is wrong with a photograph, and what to do, for a code of the quality gate.
fn quality_text(code: &str) -> (Key, Key) {
    match code {
        "no_field_of_view" | "unexpected_colours" => (Key::NotFundus, Key::NotFundusAdvice),
        "field_too_small" | "field_cut_off" | "field_not_round" => {
            (Key::FieldOff, Key::FieldOffAdvice)
        }
        "out_of_focus" => (Key::OutOfFocus, Key::OutOfFocusAdvice),
        "low_contrast" | "washed_out" => (Key::Hazy, Key::HazyAdvice),
        "black" | "too_dark" => (Key::TooDark, Key::TooDarkAdvice),
        "too_bright" => (Key::TooBright, Key::TooBrightAdvice),
        "glare" => (Key::Glare, Key::GlareAdvice),
        "shadow" => (Key::Shadow, Key::ShadowAdvice),
        "disc_not_found" | "cup_not_found" => (Key::NoDisc, Key::NoDiscAdvice),
        _ => (Key::Unclear, Key::UnclearAdvice),
    }
}
