//! The referral slip: on the screen, and as a page to print.

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_records::visit::{Decision, EyeExam, Finding, Visit};

use crate::display::Frame;
use crate::model::{Action, Errand, Kiosk};
use crate::page::{Face, Item, Page, Style};
use crate::panel::{Panel, cut_bottom, cut_start, cut_top, inset};
use crate::screens::result::probability_text;
use crate::screens::{Sheet, eye_key, quality_text, reason_text};
use crate::sign::Sign;
use crate::text::Typesetter;
use crate::theme::Theme;
use crate::words::{Key, Language, fill};

/// The printed page: A5 at 150 dots an inch.
pub const PAPER: Panel = Panel { size: Size::new(874, 1240), mm_per_px: 25.4 / 150.0 };

pub(super) fn slip(kiosk: &Kiosk) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::Slip));
    let Some(open) = &kiosk.visit else { return sheet.done(None) };
    let [back, print] = [Key::Back, Key::Print].map(|key| sheet.words(key));
    let mut buttons = vec![(Face::words(back).with(Sign::Back), Action::BackToDecision)];
    if kiosk.printing != Errand::Asked {
        buttons.push((Face::words(print).primary(), Action::Print));
    }
    sheet.footer(&buttons);
    sheet.margin();
    let share = if sheet.landscape() {
        (sheet.body.size.height as i32 * 100 / sheet.body.size.width as i32).min(50)
    } else {
        50
    };
    let (code, mut words) = sheet.split(share);
    sheet.page.items.push(Item::Code { area: code, text: code_text(&open.visit) });
    let state_area = cut_bottom(&mut words, sheet.em(2.8));
    let id = cut_top(&mut words, sheet.em(2.0));
    sheet.page.plain(id, open.visit.person.id.as_str(), Style::TITLE.typed());
    let height = words.size.height as i32 / 2;
    let sentence = cut_top(&mut words, height.min(sheet.em(5.0)));
    sheet.page.plain(sentence, decision_text(kiosk.language, &open.visit), Style::BOLD);
    let hint = cut_top(&mut words, sheet.em(5.0));
    sheet.page.plain(hint, sheet.words(Key::ScanHint), Style::TEXT.top());
    let state = match kiosk.printing {
        Errand::Idle => None,
        Errand::Asked => Some((Sign::Wait, Key::Printing)),
        Errand::Done(_) => Some((Sign::Tick, Key::Printed)),
        Errand::Failed => Some((Sign::Stop, Key::PrintFailed)),
    };
    if let Some((sign, key)) = state {
        sheet.line(state_area, sign, sheet.words(key), Style::BOLD);
    }
    sheet.done(Some(Action::BackToDecision))
}

fn decision_text(language: Language, visit: &Visit) -> &'static str {
    language.text(match visit.decision {
        None => Key::NoDecision,
        Some(Decision::Refer { .. }) => Key::DecisionRefer,
        Some(Decision::NotSuspected) => Key::DecisionNotSuspected,
    })
}

/// What the QR code says: lines of `name=value`, without the person's name.
#[must_use]
pub fn code_text(visit: &Visit) -> String {
    let (decision, reasons) = match &visit.decision {
        None => ("none", String::new()),
        Some(Decision::NotSuspected) => ("not_suspected", String::new()),
        Some(Decision::Refer { reasons }) => ("refer", reasons.join(",")),
    };
    // A line break in a value would begin another entry.
    let clean = |text: &str| text.replace(['\r', '\n'], " ");
    format!(
        "glaucoma-screening=1\nvisit={}\nperson={}\nsite={}\ntime={}\ndecision={decision}\nreasons={reasons}\n",
        clean(&visit.uid.0),
        clean(&visit.person.id),
        clean(&visit.site),
        clean(&visit.begun_at),
    )
}

/// The page to print, black on white; for [`PAPER`].
#[must_use]
pub fn paper(visit: &Visit, language: Language) -> Page {
    let palette = Theme::Daylight.palette();
    let mut page = Page::new(PAPER, palette, language.rtl());
    let em = |letters: f32| (PAPER.text() * letters) as i32;
    let mut body = inset(Rectangle::new(Point::zero(), PAPER.size), em(2.0));
    let title = cut_top(&mut body, em(2.6));
    page.plain(title, language.text(Key::Slip), Style::TITLE.times(1.3));
    let person = &visit.person;
    let name = person.name.as_deref().unwrap_or_default();
    let age =
        person.age_years.map(|age| fill(language.text(Key::Years), &[("n", &age.to_string())]));
    let lines = [
        format!("{}: {}", language.text(Key::Number), person.id),
        format!("{name}  {}", age.unwrap_or_default()),
        format!("{}: {}", language.text(Key::Site), visit.site),
        format!("{}: {}", language.text(Key::Operator), visit.answers()),
        visit.begun_at.clone(),
    ];
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        let area = cut_top(&mut body, em(1.7));
        page.plain(area, line.trim(), Style::TEXT.typed());
    }
    cut_top(&mut body, em(0.6));
    let mut decision = cut_top(&mut body, em(4.6));
    page.fill(decision, palette.page.ink, 8);
    page.fill(inset(decision, 3), palette.page.ground, 6);
    decision = inset(decision, em(0.5));
    page.plain(decision, decision_text(language, visit), Style::TITLE.times(1.1));
    cut_top(&mut body, em(0.5));
    if let Some(Decision::Refer { reasons }) = &visit.decision {
        for code in reasons {
            let area = cut_top(&mut body, em(2.0));
            page.plain(area, reason_text(language, code), Style::BOLD);
        }
    }
    for exam in visit.exams.iter().filter(|exam| !matches!(exam.finding, Finding::Retake { .. })) {
        let area = cut_top(&mut body, em(2.0));
        page.plain(area, exam_text(language, exam), Style::TEXT);
    }
    let foot = cut_bottom(&mut body, em(2.8));
    page.plain(foot, language.text(Key::NoDiagnosis), Style::TEXT.times(0.85));
    let side = (body.size.width as i32 * 55 / 100).min(body.size.height as i32);
    let mut code_area = cut_bottom(&mut body, side);
    let code = cut_start(&mut code_area, side);
    page.items.push(Item::Code { area: code, text: code_text(visit) });
    page.finished()
}

/// The page to print, as a picture of [`PAPER`]'s size.
#[must_use]
pub fn render(visit: &Visit, language: Language, setter: &Typesetter) -> Frame {
    let mut frame = Frame::new(PAPER.size);
    let Ok(()) = paper(visit, language).draw(None, setter, &mut frame);
    frame
}

/// An eye's exam in a line.
fn exam_text(language: Language, exam: &EyeExam) -> String {
    let eye = language.text(eye_key(exam.eye));
    match &exam.finding {
        Finding::Graded { vcdr, .. } => {
            let ratio = fill(language.text(Key::Vcdr), &[("v", &format!("{vcdr:.2}"))]);
            format!("{eye}: {}; {ratio}", probability_text(language, exam))
        }
        Finding::Retake { reasons } | Finding::Ungradable { reasons } => {
            let first = reasons.first().map_or("", String::as_str);
            format!("{eye}: {}", language.text(quality_text(first).0))
        }
    }
}
