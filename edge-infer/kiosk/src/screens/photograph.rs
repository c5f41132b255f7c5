//! Which eye is to be photographed, what the camera sees, and what the examination is doing.

use embedded_graphics::primitives::Rectangle;
use glaucoma_common::reading::Laterality;

use crate::model::{Action, Arrival, Kiosk, OpenVisit};
use crate::page::{Face, Item, Kind, Page, Style};
use crate::panel::{
    cut_bottom, cut_start, cut_top, grid, inset, share_bottom, share_start, share_top,
};
use crate::picture::{EyePicture, View};
use crate::screens::{Sheet, eye_face, eye_key, fault_key};
use crate::sign::Sign;
use crate::words::{Key, fill};
use glaucoma_records::decide::EyeState;

/// Seconds after which an examination takes longer than usual.
const LONG_S: u64 = 30;

pub fn photograph(kiosk: &Kiosk, eye: Laterality) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::PhotographTitle));
    let Some(visit) = &kiosk.visit else { return sheet.done(None) };
    let taking_long = |since: u64| kiosk.seconds.saturating_sub(since) >= LONG_S;
    let may_leave = visit.examining.is_none_or(taking_long);
    let decided = visit.examining.is_none() && visit.decision().is_some();
    let [break_off, absent, present, decision] =
        [Key::BreakOff, Key::EyeAbsent, Key::EyePresent, Key::Decision].map(|key| sheet.words(key));
    let mut buttons = Vec::new();
    if may_leave {
        buttons.push((Face::words(break_off).with(Sign::Back), Action::AskBreakOff));
    }
    if kiosk.may_be_absent(eye) {
        let gone = visit.eye(eye) == EyeState::Absent;
        buttons.push((Face::words(if gone { present } else { absent }), Action::Absent));
    }
    if kiosk.setup.shutter && kiosk.camera && kiosk.waits_for_photograph() {
        let words = sheet.words(Key::TakePhotograph);
        buttons.push((Face::words(words).with(Sign::Camera).primary(), Action::Shutter));
    }
    if decided {
        buttons.push((Face::words(decision).with(Sign::Next).primary(), Action::Decide));
    }
    sheet.footer(&buttons);
    sheet.margin();
    let live = kiosk.live().filter(|_| kiosk.waits_for_photograph());
    let mut body = live.map_or(sheet.body, |picture| beside(&mut sheet, picture.clone(), visit));
    let height = body.size.height as i32;
    let person = cut_top(&mut body, sheet.em(1.5));
    sheet.page.plain(person, visit.visit.person.id.as_str(), Style::TEXT.typed());
    let status_height = (height * 30 / 100).max(kiosk.panel.touch()).min(sheet.em(7.0));
    let status_area = cut_bottom(&mut body, if live.is_none() { status_height } else { 0 });
    let now = cut_top(&mut body, (height * 20 / 100).min(sheet.em(4.0)));
    let words = match eye {
        _ if kiosk.not_kept.is_some() => Key::NotKept,
        _ if decided => Key::BothDone,
        Laterality::Right => Key::PhotographRight,
        Laterality::Left => Key::PhotographLeft,
    };
    sheet.page.plain(now, sheet.words(words), Style::TITLE);
    // The eyes as they stand in the face that is looked at, the right one on the left; one above the other beside
    // a live picture.
    let room = body.size.height as i32;
    let stacked = live.is_some() && sheet.landscape() && room >= 2 * kiosk.panel.touch() + 8;
    let most = sheet.em(if stacked { 11.0 } else { 8.0 });
    let cards = inset(cut_top(&mut body, room.min(most)), 2);
    let cells = if stacked { grid(cards, 1, 2) } else { grid(cards, 2, 1) };
    let begin = sheet.page.items.len();
    for (cell, side) in cells.into_iter().zip([Laterality::Right, Laterality::Left]) {
        card(&mut sheet, inset(cell, 2), visit, side, side == eye, live.is_none());
    }
    let added = sheet.page.items.split_off(begin);
    sheet.page.unmirrored(cards, |page| page.items.extend(added));
    if live.is_none() {
        status(&mut sheet, status_area, visit);
    }
    sheet.done(may_leave.then_some(Action::AskBreakOff))
}

/// What the camera sees, as large as it can be, in the place of words on it; what is left of the body comes back.
fn beside(sheet: &mut Sheet<'_>, picture: EyePicture, visit: &OpenVisit) -> Rectangle {
    let (rest, mut area) = sheet.split(38);
    if visit.unreadable {
        let below = cut_bottom(&mut area, sheet.em(2.8));
        status(sheet, below, visit);
    }
    sheet.page.items.push(Item::Picture { area, picture, view: View::WHOLE, outlines: false });
    rest
}

/// An eye; its sign, and in words where there is room, says how it stands.
fn card(
    sheet: &mut Sheet<'_>,
    area: Rectangle,
    visit: &OpenVisit,
    eye: Laterality,
    chosen: bool,
    in_words: bool,
) {
    let palette = sheet.page.palette;
    let (sign, word) = eye_face(&visit.eye(eye));
    let face = Face { kind: if chosen { Kind::Primary } else { Kind::Plain }, ..Face::words("") };
    let paint = if chosen { palette.primary } else { palette.button };
    if visit.examining.is_none() {
        sheet.page.button(area, face.chosen(chosen), Action::Choose(eye));
    } else {
        sheet.page.fill(inset(area, 2), paint.ground, 6);
    }
    let mut inner = inset(area, sheet.em(0.5));
    let side = (inner.size.height as i32).min(inner.size.width as i32 / 3).min(sheet.em(4.0));
    let sign_area = cut_start(&mut inner, side);
    sheet.page.sign(sign_area, sign, paint);
    cut_start(&mut inner, sheet.em(0.5));
    let name = share_top(&mut inner, if in_words { 42 } else { 100 });
    sheet.page.text(name, sheet.words(eye_key(eye)), Style::BOLD.times(1.15), paint);
    if in_words {
        sheet.page.text(inner, sheet.words(word), Style::TEXT, paint);
    }
}

fn status(sheet: &mut Sheet<'_>, area: Rectangle, visit: &OpenVisit) {
    let kiosk = sheet.kiosk;
    let palette = sheet.page.palette;
    let two = |sheet: &mut Sheet<'_>, sign: Sign, first: Key, second: Option<Key>| {
        let mut area = inset(area, 2);
        let height = (area.size.height as i32).min(sheet.em(4.6));
        let mut area = cut_top(&mut area, height);
        let side = height.min(sheet.em(2.6));
        let sign_area = cut_start(&mut area, side);
        sheet.page.sign(sign_area, sign, palette.page);
        cut_start(&mut area, sheet.em(0.5));
        if let Some(second) = second {
            let below = share_bottom(&mut area, 55);
            sheet.page.plain(below, sheet.words(second), Style::TEXT);
        }
        sheet.page.plain(area, sheet.words(first), Style::BOLD);
    };
    if let Some(since) = visit.examining {
        let long = kiosk.seconds.saturating_sub(since) >= LONG_S;
        two(sheet, Sign::Wait, Key::Examining, long.then_some(Key::ExaminingLong));
    } else if let Some(fault) = kiosk.not_kept {
        // The photograph is the first of those that wait.
        let mut again = area;
        let notice = share_start(&mut again, 70);
        let (inner, paint) = sheet.alarm(inset(notice, 2));
        sheet.page.text(inner, sheet.words(fault_key(fault)), Style::BOLD, paint);
        let words = sheet.words(Key::TryAgain);
        let face = Face::words(words).with(Sign::Again).primary();
        sheet.page.button(again, face, Action::UseUnasked);
    } else if let Some(Arrival { eye, person, .. }) = kiosk.unasked.first() {
        let mut area = area;
        let notice = share_start(&mut area, 34);
        let waits = sheet.words(Key::PhotographWaits);
        let said = [person.clone(), eye.map(|eye| sheet.words(eye_key(eye)).to_owned())];
        let said: Vec<String> = said.into_iter().flatten().collect();
        let text =
            if said.is_empty() { waits.into() } else { format!("{waits} ({})", said.join(", ")) };
        sheet.page.plain(inset(notice, 2), text, Style::BOLD);
        let mut choices = vec![
            (Key::UsePhotograph, Action::UseUnasked),
            (Key::LeaveOut, Action::LeaveOutUnasked),
        ];
        if kiosk.unasked.len() > 1 {
            choices.push((Key::LeaveOutAll, Action::AskLeaveOutAll));
        }
        for (cell, (key, action)) in grid(area, choices.len() as i32, 1).into_iter().zip(choices) {
            let words = sheet.words(key);
            sheet.page.button(cell, Face::words(words), action);
        }
    } else if visit.unreadable {
        two(sheet, Sign::Again, Key::ExamFailed, None);
    } else if !kiosk.camera {
        sheet.notice(area, Key::CameraOffline, Key::CameraAdvice);
    } else if visit.next_open().is_some() {
        two(sheet, Sign::Camera, Key::CameraReady, Some(Key::WaitingPhotograph));
    }
}

pub fn leave_out(kiosk: &Kiosk, asked: bool) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::LeaveOutAll));
    let [leave, back, done] = [Key::LeaveOutAll, Key::Back, Key::Done].map(|key| sheet.words(key));
    let text = if asked {
        sheet.footer(&[(Face::words(done).with(Sign::Tick).primary(), Action::EndLeaveOut)]);
        fill(sheet.words(Key::LeftOut), &[("n", &kiosk.left_out.to_string())])
    } else {
        sheet.footer(&[
            (Face::words(leave), Action::LeaveOutAll),
            (Face::words(back).with(Sign::Back).primary(), Action::EndLeaveOut),
        ]);
        sheet.words(Key::LeaveOutQuestion).to_owned()
    };
    sheet.margin();
    let body = sheet.body;
    sheet.page.plain(body, text, Style::TITLE.centered());
    sheet.done(Some(Action::EndLeaveOut))
}

pub fn break_off(kiosk: &Kiosk) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::BreakOff));
    let [go_on, break_off] = [Key::GoOn, Key::BreakOff].map(|key| sheet.words(key));
    sheet.footer(&[
        (Face::words(break_off), Action::BreakOff),
        (Face::words(go_on).primary(), Action::GoOn),
    ]);
    sheet.margin();
    let body = sheet.body;
    sheet.page.plain(body, sheet.words(Key::BreakOffQuestion), Style::TITLE.centered());
    sheet.done(Some(Action::GoOn))
}
