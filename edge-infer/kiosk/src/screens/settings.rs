//! Language and theme.

use crate::model::{Action, Kiosk};
use crate::page::{Face, Page};
use crate::panel::{cut_bottom, grid};
use crate::screens::Sheet;
use crate::sign::Sign;
use crate::theme::Theme;
use crate::words::{Key, Language};

pub fn settings(kiosk: &Kiosk) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::Settings));
    let back = sheet.words(Key::Back);
    sheet.footer(&[(Face::words(back).with(Sign::Back), Action::EndSettings)]);
    sheet.margin();
    let mut body = sheet.body;
    let row = sheet.row().min(body.size.height as i32 / 3);
    let themes = cut_bottom(&mut body, row);
    let columns = if sheet.landscape() { 4 } else { 2 };
    for (cell, language) in grid(body, columns, 8 / columns).into_iter().zip(Language::ALL) {
        let face = Face::words(language.own_name()).chosen(kiosk.language == language);
        sheet.page.button(cell, face, Action::Speak(language));
    }
    for (cell, (key, theme)) in grid(themes, 2, 1)
        .into_iter()
        .zip([(Key::Daylight, Theme::Daylight), (Key::Dark, Theme::Dark)])
    {
        let face = Face::words(sheet.words(key)).chosen(kiosk.theme == theme);
        sheet.page.button(cell, face, Action::Dress(theme));
    }
    sheet.done(Some(Action::EndSettings))
}
