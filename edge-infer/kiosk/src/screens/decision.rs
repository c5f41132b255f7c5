//! What to do, in one sentence, with its reasons; and whether it is safely written down.

use glaucoma_common::reading::Laterality;
use glaucoma_records::decide::EyeState;
use glaucoma_records::visit::Decision;

use crate::model::{Action, Kiosk};
use crate::page::{Face, Page, Style};
use crate::panel::{cut_bottom, cut_start, cut_top, inset};
use crate::screens::result::vcdr_text;
use crate::screens::{Sheet, Verdict, eye_key, fault_key, reason_text, who};
use crate::sign::Sign;
use crate::words::Key;

pub fn decision(kiosk: &Kiosk) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::Decision));
    let Some(visit) = &kiosk.visit else { return sheet.done(None) };
    let Some(decision) = &visit.visit.decision else { return sheet.done(None) };
    let [slip, done, again] = [Key::Slip, Key::Done, Key::TryAgain].map(|key| sheet.words(key));
    let mut buttons = vec![(Face::words(slip), Action::ShowSlip)];
    match visit.saved {
        None => {}
        Some(true) => {
            buttons.push((Face::words(done).with(Sign::Tick).primary(), Action::EndVisit))
        }
        Some(false) => {
            buttons.push((Face::words(again).with(Sign::Again).primary(), Action::SaveAgain));
        }
    }
    sheet.footer(&buttons);
    sheet.margin();
    let mut body = sheet.body;
    let person = cut_top(&mut body, sheet.em(1.6));
    sheet.page.plain(person, who(&visit.visit.person), Style::BOLD.typed());
    let not_kept = kiosk.not_kept.filter(|_| visit.saved == Some(false));
    let saved_area = cut_bottom(&mut body, sheet.em(if not_kept.is_some() { 3.6 } else { 2.2 }));
    let height = (body.size.height as i32 * 45 / 100).min(sheet.em(7.0));
    let box_area = cut_top(&mut body, height);
    sheet.verdict(box_area, &Verdict::of_decision(kiosk.theme.palette(), decision), "");
    cut_top(&mut body, sheet.em(0.4));
    let line = (body.size.height as i32 / 4).clamp(sheet.em(1.4), sheet.em(2.6));
    if let Decision::Refer { reasons } = decision {
        for code in reasons {
            let area = cut_top(&mut body, line);
            let sign = if code.starts_with("suspected") { Sign::Warning } else { Sign::Stop };
            sheet.line(area, sign, reason_text(kiosk.language, code), Style::BOLD);
        }
    }
    for eye in [Laterality::Right, Laterality::Left] {
        if body.size.height as i32 >= line
            && let EyeState::Graded { exam, .. } = visit.eye(eye)
        {
            let area = cut_top(&mut body, line);
            let text =
                format!("{}: {}", sheet.words(eye_key(eye)), vcdr_text(kiosk.language, exam));
            sheet.page.plain(area, text, Style::TEXT);
        }
    }
    match not_kept {
        Some(fault) => sheet.notice(saved_area, Key::NotSaved, fault_key(fault)),
        None => saved(&mut sheet, saved_area, visit.saved),
    }
    sheet.done(None)
}

fn saved(
    sheet: &mut Sheet<'_>,
    area: embedded_graphics::primitives::Rectangle,
    saved: Option<bool>,
) {
    let palette = sheet.page.palette;
    let (sign, words, paint) = match saved {
        None => (Sign::Wait, Key::Saving, palette.page),
        Some(true) => (Sign::Tick, Key::Saved, palette.page),
        Some(false) => (Sign::Stop, Key::NotSaved, palette.retake),
    };
    sheet.page.fill(area, paint.ground, 6);
    let mut area = inset(area, sheet.em(0.2));
    let side = area.size.height as i32;
    let sign_area = cut_start(&mut area, side.min(sheet.em(1.6)));
    sheet.page.sign(sign_area, sign, paint);
    cut_start(&mut area, sheet.em(0.4));
    sheet.page.text(area, sheet.words(words), Style::BOLD, paint);
}
