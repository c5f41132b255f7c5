//! The start of a camp: whether the device is fine, where and who; then the PIN.

use crate::model::{Action, Check, Kiosk};
use crate::page::{Face, Page, Style};
use crate::panel::{cut_start, cut_top, grid, inset, share_start};
use crate::screens::{Sheet, fault_key};
use crate::sign::Sign;
use crate::words::{Key, fill};

pub fn start(kiosk: &Kiosk) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::StartTitle));
    let settings = sheet.words(Key::Settings);
    let enter = sheet.words(Key::EnterPin);
    sheet.footer(&[
        (Face::words(settings), Action::OpenSettings),
        (Face::words(enter).with(Sign::Next).primary(), Action::EnterPin),
    ]);
    sheet.margin();
    let (checks, mut choices) = sheet.split(58);
    let camera = Check { fine: kiosk.camera, detail: String::new() };
    let status = &kiosk.status;
    let mut lines = vec![
        (Key::Model, &status.model),
        (Key::Camera, &camera),
        (Key::Storage, &status.storage),
        (Key::Clock, &status.clock),
    ];
    lines.extend(status.power.as_ref().map(|power| (Key::Power, power)));
    for (area, (name, check)) in grid(checks, 1, 5).into_iter().zip(lines) {
        check_line(&mut sheet, area, name, check);
    }
    let row = sheet.row().max(choices.size.height as i32 / 4).min(choices.size.height as i32 / 2);
    for (label, value, action) in [
        (Key::Site, kiosk.site(), Action::NextSite),
        (Key::Operator, kiosk.operator(), Action::NextOperator),
    ] {
        let area = cut_top(&mut choices, row);
        sheet.field(area, sheet.words(label), value, action);
        cut_top(&mut choices, 4);
    }
    sheet.done(None)
}

fn check_line(
    sheet: &mut Sheet<'_>,
    area: embedded_graphics::primitives::Rectangle,
    name: Key,
    check: &Check,
) {
    let palette = sheet.page.palette;
    let paint = if check.fine { palette.page } else { palette.retake };
    let mut area = inset(area, 1);
    sheet.page.fill(area, paint.ground, 6);
    let side = (area.size.height as i32).min(sheet.em(1.7));
    let sign = cut_start(&mut area, side + sheet.em(0.3));
    sheet.page.sign(inset(sign, side / 8), if check.fine { Sign::Tick } else { Sign::Stop }, paint);
    cut_start(&mut area, sheet.em(0.3));
    let name_area = share_start(&mut area, 40);
    sheet.page.text(name_area, sheet.words(name), Style::BOLD, paint);
    let word = sheet.words(if check.fine { Key::CheckFine } else { Key::CheckNotReady });
    if check.detail.is_empty() {
        return sheet.page.text(area, word, Style::TEXT, paint);
    }
    let word_area = share_start(&mut area, 58);
    sheet.page.text(word_area, word, Style::TEXT, paint);
    sheet.page.text(area, check.detail.as_str(), Style::TEXT.times(0.9).typed(), paint);
}

pub fn pin(kiosk: &Kiosk, digits: usize, checking: bool, refused: Option<u64>) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::EnterPin));
    let back = sheet.words(Key::Back);
    sheet.footer(&[(Face::words(back).with(Sign::Back), Action::BackToStart)]);
    let mut body = sheet.body;
    let touch = kiosk.panel.touch();
    let shown_height = (body.size.height as i32 - 3 * touch).min(sheet.em(4.0));
    let mut shown = cut_top(&mut body, shown_height);
    let message = match refused.map(|until| until.saturating_sub(kiosk.seconds)) {
        _ if checking => sheet.words(Key::PinChecking).to_owned(),
        Some(0) if digits == 0 => sheet.words(Key::PinWrong).to_owned(),
        Some(wait) if wait > 0 => fill(sheet.words(Key::PinWait), &[("n", &wait.to_string())]),
        _ => format!("{} · {}", kiosk.site(), kiosk.operator()),
    };
    let third = shown.size.width as i32 / 3;
    // A PIN that could not be tried is not a wrong one.
    let message = match kiosk.not_kept {
        Some(fault) if !checking => sheet.words(fault_key(fault)).to_owned(),
        _ => message,
    };
    let dots = cut_start(&mut shown, third);
    let palette = sheet.page.palette;
    sheet.page.plain(dots, "•".repeat(digits), Style::TITLE.times(1.2).centered());
    let typed = refused.is_none() && !checking;
    let style = if typed { Style::TEXT.typed() } else { Style::BOLD };
    sheet.page.text(inset(shown, 2), message, style, palette.page);
    // As on a telephone, whatever the direction of reading.
    let width = (body.size.width as i32).min(body.size.height as i32 * 2);
    let pad = embedded_graphics::primitives::Rectangle::with_center(
        body.center(),
        embedded_graphics::prelude::Size::new(width as u32, body.size.height),
    );
    let delete = sheet.words(Key::Delete);
    let ok = sheet.words(Key::Ok);
    sheet.page.unmirrored(pad, |page| {
        for (cell, sign) in grid(pad, 4, 3).into_iter().zip("123<4560789>".chars()) {
            match sign {
                '<' => {
                    page.button(cell, Face::words(delete).with(Sign::Delete), Action::EraseDigit)
                }
                '>' => {
                    page.button(cell, Face::words(ok).with(Sign::Next).primary(), Action::SendPin)
                }
                digit => {
                    let words = digit.to_string();
                    let mut face = Face::words(&words);
                    face.style = Style::TITLE.centered();
                    page.button(cell, face, Action::Digit(digit));
                }
            }
        }
    });
    sheet.done(Some(Action::BackToStart))
}
