//! The day at a glance: a new person, who is most urgent, who has no decision yet, what waits to be sent.

use embedded_graphics::primitives::Rectangle;

use crate::model::{Action, Kiosk, Referred};
use crate::page::{Face, Page, Style};
use crate::panel::{cut_bottom, cut_start, cut_top, grid, inset, share_start, share_top};
use crate::screens::{Sheet, reason_text};
use crate::sign::Sign;
use crate::words::{Key, fill};

pub fn home(kiosk: &Kiosk) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::HomeTitle));
    let [settings, lock, summary, new] =
        [Key::Settings, Key::Lock, Key::Summary, Key::NewPerson].map(|key| sheet.words(key));
    sheet.footer(&[
        (Face::words(lock), Action::Lock),
        (Face::words(settings), Action::OpenSettings),
        (Face::words(summary), Action::OpenSummary),
        (Face::words(new).primary(), Action::NewPerson),
    ]);
    sheet.margin();
    if let Some(fault) = kiosk.not_kept {
        let height = sheet.em(3.6);
        let area = cut_bottom(&mut sheet.body, height);
        sheet.not_kept(area, fault);
    }
    let mut tasks = Vec::new();
    let free = kiosk.not_kept.is_none();
    if free && !kiosk.undecided.is_empty() {
        tasks.push((undecided(&sheet), Sign::Wait, Action::OpenUndecided));
    }
    if free && !kiosk.unasked.is_empty() {
        let words = sheet.words(Key::LeaveOutAll).to_owned();
        tasks.push((words, Sign::Camera, Action::AskLeaveOutAll));
    }
    if !tasks.is_empty() {
        let row = sheet.row();
        let area = cut_bottom(&mut sheet.body, row);
        let cells = grid(area, tasks.len() as i32, 1);
        for (cell, (words, sign, action)) in cells.into_iter().zip(tasks) {
            sheet.page.button(cell, Face::words(&words).with(sign), action);
        }
    }
    let (queue_area, mut side) = sheet.split(66);
    queue(&mut sheet, queue_area, &kiosk.day.queue);
    let day = &kiosk.day;
    let line = (side.size.height as i32 / 4).min(sheet.em(3.4));
    for (sign, text) in [
        (Sign::Tick, count(&sheet, Key::Examined, day.examined)),
        (Sign::Warning, count(&sheet, Key::Referred, day.suspected + day.ungradable)),
        (if kiosk.waiting == 0 { Sign::Tick } else { Sign::Wait }, waiting(&sheet)),
    ] {
        let area = cut_top(&mut side, line);
        sheet.line(area, sign, &text, Style::BOLD);
    }
    if !kiosk.unasked.is_empty() {
        let area = cut_bottom(&mut side, line);
        let text = sheet.words(Key::PhotographWaits);
        sheet.line(area, Sign::Camera, text, Style::TEXT);
    }
    sheet.done(None)
}

fn count(sheet: &Sheet<'_>, key: Key, count: u32) -> String {
    fill(sheet.words(key), &[("n", &count.to_string())])
}

/// How many have no decision, in words.
pub(super) fn undecided(sheet: &Sheet<'_>) -> String {
    count(sheet, Key::Undecided, sheet.kiosk.undecided.len() as u32)
}

/// What waits to be sent, in words.
pub(super) fn waiting(sheet: &Sheet<'_>) -> String {
    match sheet.kiosk.waiting {
        0 => sheet.words(Key::AllSent).to_owned(),
        count => fill(sheet.words(Key::ToSend), &[("n", &count.to_string())]),
    }
}

/// The most urgent, as many as there is room for.
pub(super) fn queue(sheet: &mut Sheet<'_>, mut area: Rectangle, people: &[Referred]) {
    let palette = sheet.page.palette;
    let title = cut_top(&mut area, sheet.em(1.7));
    sheet.page.text(title, sheet.words(Key::WorstQueue), Style::BOLD, palette.page);
    if people.is_empty() {
        let line = cut_top(&mut area, sheet.em(3.0));
        return sheet.page.plain(line, sheet.words(Key::QueueEmpty), Style::TEXT);
    }
    let height = sheet.em(2.9);
    let rows = area.size.height as i32 / height.max(1);
    for person in people.iter().take(rows.max(0) as usize) {
        let row = inset(cut_top(&mut area, height), 1);
        let suspected = person.probability.is_some();
        let (paint, sign) = match suspected {
            true => (palette.suspected, Sign::Warning),
            false => (palette.ungradable, Sign::Stop),
        };
        let mut inner = row;
        let badge = cut_start(&mut inner, sheet.em(2.2));
        sheet.page.fill(badge, paint.ground, 6);
        sheet.page.sign(inset(badge, sheet.em(0.35)), sign, paint);
        cut_start(&mut inner, sheet.em(0.5));
        let mut top = share_top(&mut inner, 50);
        let id = share_start(&mut top, 70);
        sheet.page.plain(id, person.id.as_str(), Style::BOLD.typed());
        if let Some(probability) = person.probability {
            let mut style = Style::BOLD;
            style.place = crate::text::Place::End;
            sheet.page.plain(top, format!("{probability:.2}"), style);
        }
        let reasons: Vec<&str> = person
            .reasons
            .iter()
            .map(|code| reason_text(sheet.kiosk.language, code))
            .take(1)
            .collect();
        let muted = crate::theme::Paint { ink: palette.muted, ..palette.page };
        sheet.page.text(inner, reasons.concat(), Style::TEXT.times(0.9), muted);
    }
}
