//! The alarm that the picture looks like the other eye: it stays until the operator has said which it is.

use glaucoma_common::reading::Laterality;
use glaucoma_records::visit::EyeExam;

use crate::model::{Action, Kiosk};
use crate::page::{Face, Item, Page, Style};
use crate::panel::{cut_start, cut_top, grid, inset};
use crate::picture::View;
use crate::screens::Sheet;
use crate::sign::Sign;
use crate::words::Key;

pub fn wrong_eye(kiosk: &Kiosk, exam: &EyeExam) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::WrongEyeTitle));
    let palette = sheet.page.palette;
    let row = sheet.row() * 5 / 4;
    let footer = crate::panel::cut_bottom(&mut sheet.body, row);
    let [right, left] = [Key::ItIsRight, Key::ItIsLeft].map(|key| sheet.words(key));
    // In the order in which the eyes stand on the screens before.
    sheet.page.unmirrored(footer, |page| {
        let cells = grid(footer, 2, 1);
        page.button(cells[0], Face::words(right), Action::ItIs(Laterality::Right));
        page.button(cells[1], Face::words(left), Action::ItIs(Laterality::Left));
    });
    sheet.margin();
    let (photo, mut words) = sheet.split(36);
    let picture = kiosk.visit.as_ref().and_then(|visit| visit.pictures[exam.eye as usize].clone());
    if let Some(picture) = picture {
        let view = View::WHOLE;
        sheet.page.items.push(Item::Picture { area: photo, picture, view, outlines: true });
    }
    let height = (words.size.height as i32 * 70 / 100).min(sheet.em(12.0));
    let alarm = cut_top(&mut words, height);
    sheet.page.fill(alarm, palette.retake.ground, 8);
    let mut inner = inset(alarm, sheet.em(0.5));
    let side = (inner.size.width as i32 / 5).min(sheet.em(4.0));
    let sign = cut_start(&mut inner, side);
    sheet.page.sign(sign, Sign::Warning, palette.retake);
    cut_start(&mut inner, sheet.em(0.5));
    let says = match exam.eye {
        Laterality::Right => Key::LooksLeft,
        Laterality::Left => Key::LooksRight,
    };
    sheet.page.text(inner, sheet.words(says), Style::BOLD.times(1.15), palette.retake);
    cut_top(&mut words, sheet.em(0.4));
    sheet.page.plain(words, sheet.words(Key::WhichEye), Style::BOLD);
    sheet.done(None)
}
