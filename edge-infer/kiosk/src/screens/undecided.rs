//! Who has no decision yet, because the device stopped or the visit was broken off; and one of them, to go on
//! with or to close.

use embedded_graphics::primitives::Rectangle;
use glaucoma_common::reading::Laterality;
use glaucoma_records::decide::{EyeState, eye_state};
use glaucoma_records::visit::Uid;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::{Action, Kiosk};
use crate::page::{Face, Page, Style};
use crate::panel::{cut_bottom, cut_start, cut_top, grid, inset};
use crate::screens::result::vcdr_text;
use crate::screens::{Sheet, eye_face, eye_key, who};
use crate::sign::Sign;
use crate::words::Key;

pub fn people(kiosk: &Kiosk, page: usize) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::NoDecision));
    let [back, next] = [Key::Back, Key::Next].map(|key| sheet.words(key));
    let columns = if sheet.landscape() { 2 } else { 1 };
    let height = sheet.row().max(sheet.em(3.6));
    let footer = sheet.row() + 2;
    let rows = ((sheet.body.size.height as i32 - footer - sheet.em(0.9)) / height).max(1);
    let room = (rows * columns) as usize;
    let pages = kiosk.undecided.len().div_ceil(room).max(1);
    let mut buttons = vec![(Face::words(back).with(Sign::Back), Action::BackHome)];
    if pages > 1 {
        buttons.push((Face::words(next).with(Sign::Next), Action::MoreUndecided));
    }
    sheet.footer(&buttons);
    sheet.margin();
    // The latest first: nobody waits for one of long ago.
    let people = kiosk.undecided.iter().enumerate().rev().skip(page % pages * room);
    let mut body = sheet.body;
    let cells = grid(cut_top(&mut body, rows * height), columns, rows);
    for (cell, (index, visit)) in cells.into_iter().zip(people) {
        sheet.field(
            cell,
            &when(&visit.begun_at, &kiosk.setup.zone),
            &who(&visit.person),
            Action::PickUndecided(index),
        );
    }
    sheet.done(Some(Action::BackHome))
}

pub fn visit(kiosk: &Kiosk, uid: &Uid, asked: bool) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::NoDecision));
    let found = kiosk.undecided.iter().find(|visit| visit.uid == *uid);
    let [back, close, go_on] = [Key::Back, Key::CloseVisit, Key::GoOn].map(|key| sheet.words(key));
    let back = (Face::words(back).with(Sign::Back), Action::OpenUndecided);
    let Some(visit) = found else {
        sheet.footer(&[back]);
        return sheet.done(Some(Action::OpenUndecided));
    };
    if !asked {
        sheet.footer(&[
            back,
            (Face::words(close), Action::CloseVisit),
            (Face::words(go_on).with(Sign::Next).primary(), Action::Resume),
        ]);
    }
    sheet.margin();
    let mut body = sheet.body;
    let person = cut_top(&mut body, sheet.em(1.6));
    sheet.page.plain(person, who(&visit.person), Style::BOLD.typed());
    if kiosk.not_kept.is_none() {
        let time = cut_top(&mut body, sheet.em(1.6));
        sheet.page.plain(time, when(&visit.begun_at, &kiosk.setup.zone), Style::TEXT.typed());
    }
    if asked {
        let area = cut_bottom(&mut body, sheet.em(2.6));
        sheet.line(area, Sign::Wait, sheet.words(Key::Examining), Style::BOLD);
    }
    if let Some(fault) = kiosk.not_kept {
        let area = cut_bottom(&mut body, sheet.em(3.6));
        sheet.not_kept(area, fault);
    }
    let height = (body.size.height as i32).min(sheet.em(9.0));
    // The eyes as they stand in the face that is looked at: the right one on the left.
    let cards = cut_top(&mut body, height);
    let begin = sheet.page.items.len();
    let eyes = [Laterality::Right, Laterality::Left];
    for (cell, eye) in grid(cards, 2, 1).into_iter().zip(eyes) {
        let state = eye_state(visit, eye, &kiosk.setup.rules);
        card(&mut sheet, inset(cell, 2), eye, &state);
    }
    let added = sheet.page.items.split_off(begin);
    sheet.page.unmirrored(cards, |page| page.items.extend(added));
    sheet.done((!asked).then_some(Action::OpenUndecided))
}

fn card(sheet: &mut Sheet<'_>, area: Rectangle, eye: Laterality, state: &EyeState<'_>) {
    let paint = sheet.page.palette.button;
    sheet.page.fill(area, paint.ground, 6);
    let mut inner = inset(area, sheet.em(0.4));
    let lines = inner.size.height as i32 / 3;
    let name = cut_top(&mut inner, lines);
    sheet.page.text(name, sheet.words(eye_key(eye)), Style::BOLD, paint);
    let (sign, word) = eye_face(state);
    let mut found = cut_top(&mut inner, lines);
    let side = lines.min(sheet.em(1.6));
    let sign_area = cut_start(&mut found, side);
    sheet.page.sign(sign_area, sign, paint);
    cut_start(&mut found, sheet.em(0.4));
    sheet.page.text(found, sheet.words(word), Style::TEXT, paint);
    if let EyeState::Graded { exam, .. } = state {
        sheet.page.text(inner, vcdr_text(sheet.kiosk.language, exam), Style::TEXT, paint);
    }
}

/// `2026-05-01T09:30:00Z` as the clock of the screens said it: `2026-05-01 11:30` two hours east of UTC. Anything else as
/// it is. Between day and time stands a blank that does not break: only over such a one numbers keep their order in a
/// script from the right.
fn when(time: &str, zone: &TimeZone) -> String {
    let Ok(moment) = time.parse::<Timestamp>() else { return time.to_owned() };
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%d\u{a0}%H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_that_of_the_place_on_that_day() {
        let kigali = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(when("2026-05-01T09:30:00Z", &kigali), "2026-05-01\u{a0}11:30");
        assert_eq!(when("2026-04-30T22:05:59Z", &kigali), "2026-05-01\u{a0}00:05");
        // By the rule of that day, not of today.
        let lisbon = TimeZone::posix("WET0WEST,M3.5.0/1,M10.5.0").unwrap_or(TimeZone::UTC);
        assert_eq!(when("2026-01-01T09:30:00Z", &lisbon), "2026-01-01\u{a0}09:30");
        assert_eq!(when("2026-07-01T09:30:00Z", &lisbon), "2026-07-01\u{a0}10:30");
        assert_eq!(when("", &kigali), "");
    }
}
