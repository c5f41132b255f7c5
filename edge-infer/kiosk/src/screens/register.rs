//! A new person, and the keyboard to type with.

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_records::visit::Sex;

use crate::model::{Action, Draft, Editing, Field, Kiosk, letters};
use crate::page::{Face, Kind, Page, Style};
use crate::panel::{cut_top, grid, inset, share_start, share_top};
use crate::screens::Sheet;
use crate::sign::Sign;
use crate::words::{Key, fill};

pub fn register(kiosk: &Kiosk, draft: &Draft, opening: bool) -> Page {
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(Key::RegisterTitle));
    let ready = draft.person().is_some() && !opening;
    let [back, next] = [Key::Back, Key::Next].map(|key| sheet.words(key));
    let mut buttons = vec![(Face::words(back).with(Sign::Back), Action::BackHome)];
    if ready {
        buttons.push((Face::words(next).with(Sign::Next).primary(), Action::BeginVisit));
    }
    sheet.footer(&buttons);
    sheet.margin();
    let mut body = sheet.body;
    let columns = if sheet.landscape() { 2 } else { 1 };
    let rows = 4 / columns;
    let height = (body.size.height as i32 / (rows + 1)).clamp(sheet.row(), sheet.row() * 2);
    let fields = cut_top(&mut body, height * rows);
    let optional = sheet.words(Key::Optional);
    let or_optional =
        |text: &str| if text.is_empty() { optional.to_owned() } else { text.to_owned() };
    let age = match draft.age.as_str() {
        "" => optional.to_owned(),
        age => fill(sheet.words(Key::Years), &[("n", age)]),
    };
    let sex = sheet.words(match draft.sex {
        Sex::Female => Key::Female,
        Sex::Male => Key::Male,
        Sex::Other => Key::OtherSex,
        Sex::Unknown => Key::UnknownSex,
    });
    let number = if draft.id.is_empty() { "—" } else { &draft.id };
    let entries = [
        (Key::Number, number.to_owned(), Action::Edit(Field::Id)),
        (Key::Name, or_optional(draft.name.trim()), Action::Edit(Field::Name)),
        (Key::Age, age, Action::Edit(Field::Age)),
        (Key::Sex, sex.to_owned(), Action::NextSex),
    ];
    for (cell, (label, value, action)) in grid(fields, columns, rows).into_iter().zip(entries) {
        sheet.field(cell, sheet.words(label), &value, action);
    }
    let last = cut_top(&mut body, sheet.row());
    match kiosk.not_kept {
        Some(fault) => sheet.not_kept(inset(last, 2), fault),
        None => make_number(&mut sheet, last, draft, ready),
    }
    sheet.done(Some(Action::BackHome))
}

fn make_number(sheet: &mut Sheet<'_>, mut area: Rectangle, draft: &Draft, ready: bool) {
    let make = share_start(&mut area, 50);
    let words = sheet.words(Key::MakeNumber);
    let face = Face { kind: if ready { Kind::Plain } else { Kind::Primary }, ..Face::words(words) };
    sheet.page.button(make, face, Action::MakeNumber);
    if draft.id.is_empty() {
        sheet.page.plain(inset(area, 4), sheet.words(Key::NumberNeeded), Style::TEXT);
    }
}

impl Sheet<'_> {
    /// A button with the name of a thing above and its value below.
    pub(super) fn field(&mut self, area: Rectangle, name: &str, value: &str, action: Action) {
        self.page.button(area, Face::words(""), action);
        let paint = self.page.palette.button;
        let mut inner = inset(area, self.em(0.5).max(6));
        let name_area = share_top(&mut inner, 42);
        self.page.text(name_area, name, Style::TEXT.times(0.9), paint);
        self.page.text(inner, value, Style::BOLD.typed(), paint);
    }
}

pub fn keyboard(kiosk: &Kiosk, draft: &Draft, editing: Editing) -> Page {
    let field = editing.field;
    let title = match field {
        Field::Id => Key::Number,
        Field::Name => Key::Name,
        Field::Age => Key::Age,
    };
    let mut sheet = Sheet::new(kiosk, kiosk.language.text(title));
    let touch = kiosk.panel.touch();
    let row = sheet.row() + 2;
    let mut body = sheet.body;
    let keys_height = body.size.height as i32 - row;
    let value_height = sheet.em(2.6).min(keys_height - 3 * touch);
    let capacity = (body.size.width as i32 / touch) * ((keys_height - value_height) / touch);
    let pages = pages(field, kiosk, capacity.max(1) as usize);
    let [delete, more, ok] = [Key::Delete, Key::MoreKeys, Key::Ok].map(|key| sheet.words(key));
    let mut buttons = vec![(Face::words(delete).with(Sign::Delete), Action::Erase)];
    if pages.len() > 1 {
        buttons.push((Face::words(more), Action::MoreKeys));
    }
    buttons.push((Face::words(ok).with(Sign::Tick).primary(), Action::EndEdit));
    sheet.footer(&buttons);
    let value = cut_top(&mut body, value_height);
    let shown = format!("{}_", draft.value(field));
    sheet.page.plain(inset(value, sheet.em(0.3)), shown, Style::TITLE.typed());
    let empty = Vec::new();
    let keys = pages.get(editing.page % pages.len().max(1)).unwrap_or(&empty);
    let area = Rectangle::new(
        body.top_left,
        Size::new(body.size.width, (keys_height - value_height) as u32),
    );
    let latin = keys.iter().all(|key| key.is_ascii());
    let add = |page: &mut Page| add_keys(page, area, keys, touch);
    match latin {
        true => sheet.page.unmirrored(area, add),
        false => add(&mut sheet.page),
    }
    sheet.done(Some(Action::EndEdit))
}

/// The letters cut into pages of what the panel has room for.
fn pages(field: Field, kiosk: &Kiosk, capacity: usize) -> Vec<Vec<char>> {
    letters(field, kiosk.language)
        .into_iter()
        .flat_map(|group| {
            let keys: Vec<char> = group.chars().collect();
            let parts = keys.len().div_ceil(capacity);
            let length = keys.len().div_ceil(parts.max(1));
            keys.chunks(length.max(1)).map(<[char]>::to_vec).collect::<Vec<_>>()
        })
        .collect()
}

fn add_keys(page: &mut Page, area: Rectangle, keys: &[char], touch: i32) {
    let (width, height) = (area.size.width as i32, area.size.height as i32);
    let most = (width / touch).max(1);
    // As square as the panel allows, and never smaller than a finger.
    let ideal = (keys.len() as f32 * width as f32 / height.max(1) as f32).sqrt().ceil() as i32;
    let rows_fit = (height / touch).max(1);
    let least = (keys.len() as i32 + rows_fit - 1) / rows_fit;
    let columns = ideal.max(least).clamp(1, most);
    let rows = (keys.len() as i32 + columns - 1) / columns;
    for (cell, &letter) in grid(area, columns, rows).into_iter().zip(keys) {
        if letter == ' ' {
            page.button(cell, Face::sign(Sign::Space), Action::Type(letter));
            continue;
        }
        let words = match letter {
            // A vowel sign stands on a circle until it has its consonant.
            '\u{0900}'..='\u{0903}' | '\u{093C}' | '\u{093E}'..='\u{094D}' => format!("◌{letter}"),
            letter => letter.to_string(),
        };
        let mut face = Face::words(&words);
        face.style = Style::TITLE.centered();
        page.button(cell, face, Action::Type(letter));
    }
}
