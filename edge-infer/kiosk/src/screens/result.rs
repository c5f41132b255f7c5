//! What came of an eye's last photograph; and the photograph alone, to be looked at closely.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_common::reading::Laterality;
use glaucoma_records::visit::{EyeExam, Finding};

use crate::model::{Action, Kiosk};
use crate::page::{Face, Item, Page, Style};
use crate::panel::{cut_bottom, cut_start, cut_top, grid, inset};
use crate::picture::View;
use crate::screens::{Sheet, Verdict, eye_key, quality_text};
use crate::sign::Sign;
use crate::theme::{self, Paint};
use crate::words::{Key, Language, fill};

pub fn result(kiosk: &Kiosk, eye: Laterality) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(eye_key(eye)));
    let Some(visit) = &kiosk.visit else { return sheet.done(None) };
    let Some(exam) = visit.last(eye) else { return sheet.done(Some(Action::GoOn)) };
    let picture = visit.pictures[eye as usize].clone();
    let retake = matches!(exam.finding, Finding::Retake { .. });
    let [closer, no_better, again, next, decision] =
        [Key::LookCloser, Key::NoBetter, Key::Retake, Key::Next, Key::Decision]
            .map(|key| sheet.words(key));
    let mut buttons = Vec::new();
    if picture.is_some() {
        buttons.push((Face::words(closer).with(Sign::Eye), Action::LookCloser));
    }
    if retake {
        buttons.push((Face::words(no_better), Action::GiveUp));
        buttons.push((Face::words(again).with(Sign::Again).primary(), Action::Retake));
    } else if visit.decision().is_some() {
        buttons.push((Face::words(decision).with(Sign::Next).primary(), Action::Decide));
    } else {
        buttons.push((Face::words(next).with(Sign::Next).primary(), Action::GoOn));
    }
    sheet.footer(&buttons);
    sheet.margin();
    let share = if sheet.landscape() {
        (sheet.body.size.height as i32 * 100 / sheet.body.size.width as i32).min(42)
    } else {
        45
    };
    let (mut photo, mut panel) = sheet.split(share);
    if exam.burned_in == Some(true) {
        let area = cut_bottom(&mut photo, sheet.em(3.4));
        sheet.line(area, Sign::Warning, sheet.words(Key::BurnedIn), Style::TEXT);
    }
    if let Some(picture) = picture {
        let view = View::WHOLE;
        sheet.page.items.push(Item::Picture { area: photo, picture, view, outlines: true });
    }
    let verdict_height = (panel.size.height as i32 * 40 / 100).min(sheet.em(5.5));
    let verdict_area = cut_top(&mut panel, verdict_height);
    cut_top(&mut panel, sheet.em(0.4));
    let attempt = fill(
        sheet.words(Key::Attempt),
        &[
            ("n", &visit.attempts(eye).to_string()),
            ("m", &(kiosk.setup.rules.retakes + 1).to_string()),
        ],
    );
    let detail = match exam.finding {
        Finding::Retake { .. } => attempt.as_str(),
        Finding::Ungradable { .. } => sheet.words(Key::NotLowRisk),
        Finding::Graded { .. } => "",
    };
    sheet.verdict(verdict_area, &Verdict::of_exam(kiosk.theme.palette(), exam), detail);
    findings(&mut sheet, panel, exam);
    sheet.done(Some(Action::GoOn))
}

fn findings(sheet: &mut Sheet<'_>, mut area: Rectangle, exam: &EyeExam) {
    match &exam.finding {
        &Finding::Graded { probability, threshold, .. } => {
            let third = area.size.height as i32 / 3;
            let text = probability_text(sheet.kiosk.language, exam);
            let line = cut_top(&mut area, third.min(sheet.em(3.0)));
            sheet.page.plain(line, text, Style::TEXT);
            let bar = cut_top(&mut area, (third / 2).min(sheet.em(1.3)));
            gauge(&mut sheet.page, bar, probability, threshold);
            cut_top(&mut area, sheet.em(0.4));
            let line = cut_top(&mut area, sheet.em(3.2));
            sheet.page.plain(line, vcdr_text(sheet.kiosk.language, exam), Style::BOLD);
        }
        Finding::Retake { reasons } | Finding::Ungradable { reasons } => {
            // Two are as many as a person acts on at once.
            let shown = reasons.len().clamp(1, 2) as i32;
            let retake = matches!(exam.finding, Finding::Retake { .. });
            let most = shown * sheet.em(if retake { 7.0 } else { 2.8 });
            let height = (area.size.height as i32).min(most);
            let cells = grid(cut_top(&mut area, height), 1, shown);
            for (mut cell, code) in cells.into_iter().zip(reasons) {
                let (finding, advice) = quality_text(code);
                let height = cell.size.height as i32 * if retake { 42 } else { 100 } / 100;
                let above = cut_top(&mut cell, height.min(sheet.em(3.0)));
                sheet.page.plain(above, sheet.words(finding), Style::BOLD);
                if retake {
                    let below = cut_top(&mut cell, sheet.em(5.0));
                    sheet.page.plain(below, sheet.words(advice), Style::TEXT.top());
                }
            }
        }
    }
}

/// The probability and the threshold it is held against.
pub(super) fn probability_text(language: Language, exam: &EyeExam) -> String {
    let Finding::Graded { probability, threshold, .. } = exam.finding else { return String::new() };
    let values = [("p", &*format!("{probability:.2}")), ("t", &*format!("{threshold:.2}"))];
    fill(language.text(Key::Probability), &values)
}

/// The cup-to-disc ratio with its interval, where there is one.
pub(super) fn vcdr_text(language: Language, exam: &EyeExam) -> String {
    let Finding::Graded { vcdr, vcdr_interval, .. } = exam.finding else { return String::new() };
    let value = match vcdr_interval {
        None => format!("{vcdr:.2}"),
        Some((low, high)) => {
            let range = [("a", &*format!("{low:.2}")), ("b", &*format!("{high:.2}"))];
            format!("{vcdr:.2} ({})", fill(language.text(Key::Range), &range))
        }
    };
    fill(language.text(Key::Vcdr), &[("v", &value)])
}

/// A bar from 0 to 1, filled up to the probability, with a notch at the threshold.
pub(super) fn gauge(page: &mut Page, area: Rectangle, value: f64, threshold: f64) {
    let palette = page.palette;
    let width = area.size.width as i32;
    let along = |share: f64| (share.clamp(0.0, 1.0) * f64::from(width)) as i32;
    let track = inset(area, area.size.height as i32 / 6);
    page.fill(track, palette.line, track.size.height / 2);
    let mut filled = Rectangle::new(track.top_left, Size::new(width as u32, track.size.height));
    let filled = cut_start(&mut filled, along(value).max(track.size.height as i32));
    let color = if value < threshold { palette.not_suspected } else { palette.suspected };
    page.fill(filled, color.ground, track.size.height / 2);
    let mut notch = area;
    cut_start(&mut notch, along(threshold));
    let thick = (page.panel.text() * 0.22) as i32;
    let notch = cut_start(&mut notch, thick.max(3));
    page.fill(notch, palette.page.ink, 0);
}

pub fn closer(kiosk: &Kiosk, eye: Laterality, view: View, outlines: bool) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(eye_key(eye)));
    let Some(visit) = &kiosk.visit else { return sheet.done(None) };
    let row = sheet.row() + 2;
    let footer = cut_bottom(&mut sheet.body, row);
    let cells = grid(footer, 8, 1);
    let back = sheet.words(Key::Back);
    sheet.page.button(cells[0], Face::words(back).with(Sign::Back), Action::BackToResult);
    sheet.page.button(cells[1], Face::sign(Sign::Minus), Action::ZoomOut);
    sheet.page.button(cells[2], Face::sign(Sign::Plus).primary(), Action::ZoomIn);
    // Left stays left over a photograph.
    let end = cells[6].bottom_right().unwrap_or(cells[6].top_left);
    let arrows = Rectangle::with_corners(cells[3].top_left, end);
    sheet.page.unmirrored(arrows, |page| {
        page.button(cells[3], Face::sign(Sign::Back), Action::Pan(-1, 0));
        page.button(cells[4], Face::sign(Sign::Up), Action::Pan(0, -1));
        page.button(cells[5], Face::sign(Sign::Down), Action::Pan(0, 1));
        page.button(cells[6], Face::sign(Sign::Next), Action::Pan(1, 0));
    });
    sheet.page.button(cells[7], Face::sign(Sign::Eye).chosen(outlines), Action::Outlines);
    let legend_height = sheet.em(1.7);
    let legend_area = cut_bottom(&mut sheet.body, legend_height);
    if let Some(picture) = visit.pictures[eye as usize].clone() {
        let area = sheet.body;
        sheet.page.items.push(Item::Picture { area, picture, view, outlines });
    }
    legend(&mut sheet.page, kiosk.language, legend_area);
    sheet.done(Some(Action::BackToResult))
}

/// Which outline is which, by line and by word.
pub(super) fn legend(page: &mut Page, language: Language, area: Rectangle) {
    let em = |letters: f32| (page.panel.text() * letters) as i32;
    let [margin, width, gap, thick] = [0.2, 2.0, 0.4, 0.18].map(em);
    let ground = theme::HALO;
    page.fill(area, ground, 0);
    let words = Paint { ground, ink: Rgb888::WHITE };
    let entries =
        [(Key::Disc, theme::DISC, 1), (Key::Cup, theme::CUP, 3), (Key::Fovea, theme::FOVEA, 0)];
    for (cell, (key, color, dashes)) in grid(area, 3, 1).into_iter().zip(entries) {
        let mut cell = inset(cell, margin);
        let mut sample = cut_start(&mut cell, width);
        cut_start(&mut cell, gap);
        let thick = thick.max(2);
        if dashes == 0 {
            page.sign(sample, Sign::Plus, Paint { ground, ink: color });
        } else {
            let middle = (sample.size.height as i32 - thick) / 2;
            cut_top(&mut sample, middle);
            let line = cut_top(&mut sample, thick);
            for (index, dash) in grid(line, 2 * dashes - 1, 1).into_iter().enumerate() {
                if index % 2 == 0 {
                    page.fill(dash, color, 0);
                }
            }
        }
        page.text(cell, language.text(key), Style::TEXT, words);
    }
}
