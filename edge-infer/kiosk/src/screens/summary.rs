//! The day in numbers, and how it leaves the device.

use crate::model::{Action, Errand, Kiosk};
use crate::page::{Face, Page, Style};
use crate::panel::{cut_bottom, cut_start, cut_top, grid, inset, share_top};
use crate::screens::Sheet;
use crate::screens::home::{queue, undecided, waiting};
use crate::sign::Sign;
use crate::words::{Key, fill};

pub fn summary(kiosk: &Kiosk) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::Summary));
    let [back, export, send] = [Key::Back, Key::Export, Key::SendNow].map(|key| sheet.words(key));
    let mut buttons = vec![(Face::words(back).with(Sign::Back), Action::BackHome)];
    if kiosk.export != Errand::Asked {
        buttons.push((Face::words(export).primary(), Action::Export));
    }
    buttons.push((Face::words(send), Action::Sync));
    sheet.footer(&buttons);
    sheet.margin();
    let palette = sheet.page.palette;
    let mut body = sheet.body;
    let states = cut_bottom(&mut body, sheet.em(1.8));
    let height = (body.size.height as i32 * 48 / 100).min(sheet.em(9.0));
    let counts = cut_top(&mut body, height);
    if !kiosk.undecided.is_empty() {
        let area = cut_bottom(&mut body, sheet.em(1.8));
        let text = undecided(&sheet);
        sheet.line(area, Sign::Wait, &text, Style::BOLD);
    }
    let day = &kiosk.day;
    let boxes = [
        (Key::CountExamined, day.examined, Sign::Eye, palette.button),
        (Key::CountSuspected, day.suspected, Sign::Warning, palette.suspected),
        (Key::CountUngradable, day.ungradable, Sign::Stop, palette.ungradable),
        (Key::CountNotSuspected, day.not_suspected, Sign::Tick, palette.not_suspected),
    ];
    let columns = if sheet.landscape() { 4 } else { 2 };
    for (cell, (key, count, sign, paint)) in
        grid(counts, columns, 4 / columns).into_iter().zip(boxes)
    {
        sheet.page.fill(inset(cell, 2), paint.ground, 8);
        let mut inner = inset(cell, sheet.em(0.4));
        let mut top = share_top(&mut inner, 52);
        let side = (top.size.height as i32).min(sheet.em(2.2));
        let sign_area = cut_start(&mut top, side);
        sheet.page.sign(sign_area, sign, paint);
        sheet.page.text(top, count.to_string(), Style::TITLE.times(1.4).centered(), paint);
        sheet.page.text(inner, sheet.words(key), Style::TEXT, paint);
    }
    cut_top(&mut body, sheet.em(0.4));
    queue(&mut sheet, body, &day.queue);
    let cells = grid(states, 2, 1);
    let text = waiting(&sheet);
    let sign = if kiosk.waiting == 0 { Sign::Tick } else { Sign::Wait };
    sheet.line(cells[0], sign, &text, Style::TEXT);
    let state = match kiosk.export {
        Errand::Idle => None,
        Errand::Asked => Some((Sign::Wait, sheet.words(Key::Exporting).to_owned())),
        Errand::Done(count) => {
            let text = fill(sheet.words(Key::Exported), &[("n", &count.to_string())]);
            Some((Sign::Tick, text))
        }
        Errand::Failed => Some((Sign::Stop, sheet.words(Key::ExportFailed).to_owned())),
    };
    if let Some((sign, text)) = state {
        sheet.line(cells[1], sign, &text, Style::TEXT);
    }
    sheet.done(Some(Action::BackHome))
}
