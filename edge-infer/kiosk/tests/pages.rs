//! What holds for every page: all panels, all languages, both themes, all states.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_common::reading::Laterality::{Left, Right};
use glaucoma_kiosk::model::{Action, Button, Event, Field, Kiosk, Screen, letters};
use glaucoma_kiosk::page::{Item, Page};
use glaucoma_kiosk::panel::{Panel, TOUCH_MM};
use glaucoma_kiosk::screens::report;
use glaucoma_kiosk::stage;
use glaucoma_kiosk::text::{Label, Place, Typesetter};
use glaucoma_kiosk::theme::{Palette, Theme};
use glaucoma_kiosk::words::{Key, Language};
use support::PANELS;
use support::scenes::scenes;

/// Every page on every panel in every language, with what it is called in a failure.
fn every_page(mut check: impl FnMut(&str, &Kiosk, &Page)) {
    for panel in PANELS {
        for language in Language::ALL {
            for (name, kiosk) in scenes(panel, language, Theme::Daylight) {
                let Size { width, height } = panel.size;
                let name = format!("{name} {} {width}x{height}", language.code());
                check(&name, &kiosk, &kiosk.page());
            }
        }
    }
}

/// Every page of paper with a report or a part of it.
fn every_report(mut check: impl FnMut(&str, &Page)) {
    for language in Language::ALL {
        for (index, open) in support::reported().iter().enumerate() {
            let name = format!("report {index} {}", language.code());
            check(&name, &support::report(open).page(language));
            for exam in &open.visit.exams {
                let picture = open.pictures[exam.eye as usize].as_ref();
                check(&format!("card, {name}"), &report::card(exam, picture, language));
            }
        }
    }
}

#[test]
fn every_text_fits_its_box_and_has_its_letters() {
    let setter = Typesetter::new();
    let mut failures = Vec::new();
    every_page(|name, _, page| {
        for label in page.labels() {
            let fit = setter.fit(label);
            if fit.missing > 0 || !(fit.fits || label.typed) {
                let Size { width, height } = label.area.size;
                let missing = fit.missing;
                failures.push(format!("{name}: '{}' {width}x{height} {missing}", label.text));
            }
        }
    });
    let mut open = support::visit(vec![
        support::exam(Right, support::graded(0.7)),
        support::exam(Left, support::graded(0.8)),
    ]);
    open.visit.decision = open.decision();
    for language in Language::ALL {
        for label in glaucoma_kiosk::screens::slip::paper(&open.visit, language).labels() {
            let fit = setter.fit(label);
            if fit.missing > 0 || !(fit.fits || label.typed) {
                failures.push(format!("paper {}: '{}'", language.code(), label.text));
            }
        }
    }
    every_report(|name, page| {
        for label in page.labels() {
            let fit = setter.fit(label);
            if fit.missing > 0 || !(fit.fits || label.typed) {
                failures.push(format!("{name}: '{}' {}", label.text, fit.missing));
            }
        }
    });
    for (language, field) in Language::ALL
        .into_iter()
        .flat_map(|language| [Field::Id, Field::Name, Field::Age].map(|field| (language, field)))
    {
        for group in letters(field, language) {
            let missing = setter.fit(&typed(group)).missing;
            if missing > 0 {
                failures.push(format!("keyboard {}: '{group}' {missing}", language.code()));
            }
        }
    }
    assert!(failures.is_empty(), "{} misfits:\n{}", failures.len(), failures.join("\n"));
}

/// A line as long as it likes.
fn typed(text: &str) -> Label {
    Label {
        area: Rectangle::new(Point::zero(), Size::new(10_000, 100)),
        text: text.into(),
        size: (20.0, 20.0),
        bold: true,
        paint: Theme::Daylight.palette().page,
        place: Place::Start,
        middle: false,
        typed: true,
        rtl: false,
    }
}

/// The scenes show every key: what fits there fits wherever it is shown.
#[test]
fn the_scenes_show_every_key() {
    let mut texts: BTreeSet<String> = BTreeSet::new();
    for (_, kiosk) in scenes(Panel::PI_7_INCH, Language::En, Theme::Daylight) {
        texts.extend(kiosk.page().labels().map(|label| label.text.clone()));
    }
    let open = support::visit(vec![support::exam(Right, support::graded(0.7))]);
    let paper = glaucoma_kiosk::screens::slip::paper(&open.visit, Language::En);
    texts.extend(paper.labels().map(|label| label.text.clone()));
    for open in support::reported() {
        let page = support::report(&open).page(Language::En);
        texts.extend(page.labels().map(|label| label.text.clone()));
    }
    let shown = |key: Key| {
        // The parts between the places that are filled in.
        let parts: Vec<&str> = Language::En
            .text(key)
            .split('{')
            .map(|part| part.rsplit('}').next().unwrap())
            .collect();
        texts.iter().any(|text| parts.iter().all(|part| text.contains(part)))
    };
    let hidden: Vec<Key> = Key::ALL.iter().copied().filter(|&key| !shown(key)).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[test]
fn touch_targets_are_large_enough_apart_and_on_the_panel() {
    every_page(|name, kiosk, page| {
        let least = TOUCH_MM - kiosk.panel.mm_per_px / 2.0;
        let panel = Rectangle::new(Point::zero(), kiosk.panel.size);
        let buttons: Vec<_> = page.buttons().collect();
        for (index, button) in buttons.iter().enumerate() {
            let Size { width, height } = button.area.size;
            let mm = f64::from(width.min(height)) * kiosk.panel.mm_per_px;
            assert!(mm >= least, "{name}: {:?} measures {mm:.2} mm", button.action);
            assert_eq!(button.area.intersection(&panel), button.area, "{name}: {button:?}");
            for other in &buttons[index + 1..] {
                let common = button.area.intersection(&other.area);
                assert!(common.is_zero_sized(), "{name}: {button:?} {other:?}");
            }
        }
    });
}

#[test]
fn nothing_lies_over_a_text_or_outside_the_panel() {
    every_page(|name, _, page| apart_and_inside(name, page));
    every_report(apart_and_inside);
}

fn apart_and_inside(name: &str, page: &Page) {
    let panel = Rectangle::new(Point::zero(), page.panel.size);
    let labels: Vec<_> = page.labels().collect();
    for (index, label) in labels.iter().enumerate() {
        assert_eq!(label.area.intersection(&panel), label.area, "{name}: {}", label.text);
        for other in &labels[index + 1..] {
            let common = label.area.intersection(&other.area);
            assert!(common.is_zero_sized(), "{name}: '{}' '{}'", label.text, other.text);
        }
        for item in &page.items {
            if let Item::Sign { area, .. } | Item::Picture { area, .. } | Item::Code { area, .. } =
                item
            {
                let common = label.area.intersection(area);
                assert!(common.is_zero_sized(), "{name}: '{}' {:?}", label.text, area);
            }
        }
    }
}

#[test]
fn the_ground_under_a_text_is_the_one_its_colours_were_chosen_for() {
    let setter = Typesetter::new();
    for theme in [Theme::Daylight, Theme::Dark] {
        for (name, kiosk) in scenes(Panel::PI_7_INCH, Language::En, theme) {
            let frame = stage::draw(&kiosk, &setter);
            for label in kiosk.page().labels() {
                let corner = frame.pixel(label.area.top_left);
                assert_eq!(corner, Some(label.paint.ground), "{name}: '{}'", label.text);
            }
        }
    }
}

#[test]
fn a_page_for_readers_from_the_right_is_the_mirror_of_the_other() {
    let pages = |language| scenes(Panel::PI_7_INCH, language, Theme::Daylight);
    let mut mirrored = 0;
    for ((name, left), (_, right)) in pages(Language::En).iter().zip(&pages(Language::Ar)) {
        if name.starts_with("home") || name.starts_with("result") || name.starts_with("decision") {
            for (a, b) in left.page().buttons().zip(right.page().buttons()) {
                let width = left.panel.size.width as i32;
                assert_eq!(a.action, b.action, "{name}");
                let expected = width - a.area.top_left.x - a.area.size.width as i32;
                assert_eq!(b.area.top_left.x, expected, "{name}: {:?}", a.action);
                mirrored += 1;
            }
        }
        // Digits and eyes stand as they do.
        if name == "pin" || name == "photograph" {
            let place = |kiosk: &Kiosk, action: Action| {
                let page = kiosk.page();
                let button = page.buttons().find(|button| button.action == action).unwrap();
                button.area.top_left.x
            };
            let pairs = if name == "pin" {
                [Action::Digit('1'), Action::Digit('3')]
            } else {
                [Action::Choose(Right), Action::Choose(Left)]
            };
            for kiosk in [left, right] {
                assert!(place(kiosk, pairs[0]) < place(kiosk, pairs[1]), "{name}");
            }
        }
    }
    assert!(mirrored > 20);
}

/// With the four buttons alone every action of every page is reached, and back is never a dead end.
#[test]
fn buttons_alone_reach_every_action() {
    for panel in [Panel::PI_7_INCH, Panel::SPI_3_5_INCH] {
        for (name, start) in scenes(panel, Language::En, Theme::Daylight) {
            let page = start.page();
            let wanted: Vec<Action> = page.buttons().map(|button| button.action).collect();
            let mut reached = Vec::new();
            let mut kiosk = start.clone();
            for _ in 0..wanted.len() {
                kiosk.handle(Event::Button(Button::Down));
                let focus = kiosk.page().focused(kiosk.focus);
                reached.push(wanted[focus]);
            }
            for action in &wanted {
                assert!(reached.contains(action), "{name}: {action:?}");
            }
            // The way up is the way down backwards.
            let mut there_and_back = start.clone();
            there_and_back.handle(Event::Button(Button::Down));
            there_and_back.handle(Event::Button(Button::Up));
            let begin = page.focused(start.focus);
            assert_eq!(there_and_back.page().focused(there_and_back.focus), begin, "{name}");
            let waits = matches!(
                start.screen,
                Screen::Photograph { .. } | Screen::UndecidedVisit { asked: true, .. }
            );
            assert!(!wanted.is_empty() || waits, "{name}: nothing to press");
        }
    }
}

#[test]
fn what_a_finger_does_a_button_does_too() {
    for (name, start) in scenes(Panel::PI_7_INCH, Language::En, Theme::Daylight) {
        for (index, button) in start.page().buttons().enumerate() {
            let mut touched = start.clone();
            let by_touch = touched.handle(Event::Touch(button.area.center()));
            let mut pressed = start.clone();
            pressed.focus = Some(index);
            let by_button = pressed.handle(Event::Button(Button::Ok));
            assert_eq!(by_touch, by_button, "{name}: {:?}", button.action);
            assert_eq!(touched.screen, pressed.screen, "{name}: {:?}", button.action);
        }
    }
}

/// WCAG 2.2, relative luminance.
fn luminance(color: Rgb888) -> f64 {
    let [r, g, b] = linear(color);
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn linear(color: Rgb888) -> [f64; 3] {
    [color.r(), color.g(), color.b()].map(|value| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    })
}

/// WCAG 2.2, contrast ratio, 1 to 21.
fn contrast(a: Rgb888, b: Rgb888) -> f64 {
    let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
    a.max(b) / a.min(b)
}

#[test]
fn contrast_is_that_of_the_reference_pairs() {
    assert!((contrast(Rgb888::WHITE, Rgb888::BLACK) - 21.0).abs() < 1e-9);
    // #767676 on white is the lightest grey that passes 4.5:1.
    assert!((contrast(Rgb888::new(0x76, 0x76, 0x76), Rgb888::WHITE) - 4.54).abs() < 0.005);
}

/// WCAG 2.2: 7:1 (AAA) for text in daylight, 4.5:1 (AA) in the dark theme, 3:1 for the focus.
#[test]
fn every_text_stands_out_from_its_ground() {
    for (theme, least) in [(Theme::Daylight, 7.0), (Theme::Dark, 4.5)] {
        for (name, kiosk) in scenes(Panel::PI_7_INCH, Language::En, theme) {
            let page = kiosk.page();
            for item in &page.items {
                let (paint, what) = match item {
                    Item::Label(label) => (label.paint, label.text.clone()),
                    Item::Sign { paint, sign, .. } => (*paint, format!("{sign:?}")),
                    _ => continue,
                };
                let ratio = contrast(paint.ink, paint.ground);
                assert!(ratio >= least, "{name} {theme:?}: '{what}' {ratio:.2}");
            }
            let focus = contrast(page.palette.focus, page.palette.page.ground);
            assert!(focus >= 3.0, "{theme:?}: focus {focus:.2}");
        }
    }
}

/// Machado, Oliveira, Fernandes 2009, severity 1.0, on linear RGB: protanopia, deuteranopia, tritanopia.
const DICHROMACY: [(&str, [[f64; 3]; 3]); 3] = [
    (
        "protanopia",
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
    ),
    (
        "deuteranopia",
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
    ),
    (
        "tritanopia",
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ),
];

/// CIE 1976 L*a*b* of linear sRGB under D65.
fn lab(rgb: [f64; 3]) -> [f64; 3] {
    let dot = |row: [f64; 3]| row.iter().zip(rgb).map(|(a, b)| a * b.clamp(0.0, 1.0)).sum::<f64>();
    let f = |t: f64| if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
    let x = f(dot([0.4124564, 0.3575761, 0.1804375]) / 0.95047);
    let y = f(dot([0.2126729, 0.7151522, 0.0721750]));
    let z = f(dot([0.0193339, 0.1191920, 0.9503041]) / 1.08883);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// A difference of 2.3 in L*a*b* is just seen; ten times that is not mistaken at a glance in the sun.
#[test]
fn colours_of_meaning_differ_for_every_kind_of_colour_vision() {
    for theme in [Theme::Daylight, Theme::Dark] {
        let Palette { suspected, not_suspected, retake, ungradable, .. } = *theme.palette();
        let colours = [
            ("suspected", suspected.ground),
            ("not suspected", not_suspected.ground),
            ("retake", retake.ground),
            ("ungradable", ungradable.ground),
        ];
        for (kind, matrix) in DICHROMACY {
            let seen = colours.map(|(name, color)| {
                let rgb = linear(color);
                let row = |row: [f64; 3]| row.iter().zip(rgb).map(|(a, b)| a * b).sum::<f64>();
                (name, lab(matrix.map(row)))
            });
            for (index, (name, a)) in seen.iter().enumerate() {
                for (other, b) in &seen[index + 1..] {
                    let apart = distance(*a, *b);
                    assert!(apart >= 23.0, "{theme:?} {kind}: {name}, {other}: {apart:.1}");
                }
            }
        }
    }
}

#[test]
fn white_is_at_the_top_of_the_scale_of_lightness() {
    let [l, a, b] = lab([1.0; 3]);
    assert!((l - 100.0).abs() < 0.01 && a.abs() < 0.02 && b.abs() < 0.02, "{l} {a} {b}");
}
