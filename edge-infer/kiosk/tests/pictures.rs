//! Golden pictures of the screens, which are their documentation too.
//!
//! A test that fails writes what it drew and where it differs beside the build's other outputs and names the
//! files. To accept a change, look at the pictures and copy the drawn one over the golden one in `docs`.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_kiosk::display::{DisplayError, Frame, Presenter, write_png};
use glaucoma_kiosk::event_loop::{Channels, replay};
use glaucoma_kiosk::input::script;
use glaucoma_kiosk::model::Kiosk;
use glaucoma_kiosk::panel::Panel;
use glaucoma_kiosk::stage::{self, Stage};
use glaucoma_kiosk::text::Typesetter;
use glaucoma_kiosk::theme::Theme::{self, Dark, Daylight};
use glaucoma_kiosk::words::Language::{self, Am, Ar, En, Es, Fr, Hi, Pt, Sw};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use support::world::FakeWorld;

/// A channel may differ by this much: another processor rounds otherwise.
const TOLERANCE: u8 = 8;
/// Share of pixels that may differ by more.
const STRAYS: f64 = 0.001;

const PI: Panel = Panel::PI_7_INCH;
const SPI: Panel = Panel::SPI_3_5_INCH;
const HDMI: Panel = Panel::HDMI_10_INCH;
const UPRIGHT: Panel = Panel::UPRIGHT_7_INCH;

/// Which scene is kept on which panel, in which language and theme.
const KEPT: &[(&str, Panel, Language, Theme)] = &[
    ("start", PI, En, Daylight),
    ("pin", PI, En, Daylight),
    ("home", PI, En, Daylight),
    ("home-undecided", PI, En, Daylight),
    ("undecided", PI, En, Daylight),
    ("undecided-visit", PI, En, Daylight),
    ("register", PI, En, Daylight),
    ("keyboard-name-0", PI, En, Daylight),
    ("photograph", PI, En, Daylight),
    ("photograph-live", PI, En, Daylight),
    ("photograph-live", SPI, Hi, Daylight),
    ("photograph-live", UPRIGHT, Ar, Dark),
    ("photograph-offline", PI, En, Daylight),
    ("photograph-unasked", PI, En, Daylight),
    ("photograph-many", PI, En, Daylight),
    ("leave-out", PI, En, Daylight),
    ("photograph-not-kept", PI, En, Daylight),
    ("result-suspected", PI, En, Daylight),
    ("result-not-suspected", PI, En, Daylight),
    ("result-retake", PI, En, Daylight),
    ("result-ungradable", PI, En, Daylight),
    ("result-burned-in", PI, En, Daylight),
    ("closer", PI, En, Daylight),
    ("wrong-eye", PI, En, Daylight),
    ("decision-refer", PI, En, Daylight),
    ("decision-not-suspected", PI, En, Daylight),
    ("decision-not-saved", PI, En, Daylight),
    ("slip", PI, En, Daylight),
    ("summary", PI, En, Daylight),
    ("settings", PI, En, Daylight),
    ("result-retake", SPI, Hi, Daylight),
    ("keyboard-name-0", SPI, Hi, Daylight),
    ("photograph", SPI, Ar, Daylight),
    ("decision-refer", SPI, Am, Daylight),
    ("wrong-eye", SPI, Pt, Daylight),
    ("closer", SPI, Ar, Dark),
    ("start", SPI, Es, Dark),
    ("home", HDMI, Ar, Dark),
    ("result-suspected", HDMI, Fr, Dark),
    ("result-retake", UPRIGHT, Ar, Daylight),
    ("photograph", UPRIGHT, Sw, Dark),
    ("decision-refer", UPRIGHT, Hi, Daylight),
];

fn scene(name: &str, panel: Panel, language: Language, theme: Theme) -> Kiosk {
    let mut scenes = support::scenes::scenes(panel, language, theme);
    let index = scenes.iter().position(|(scene, _)| scene == name).unwrap();
    scenes.swap_remove(index).1
}

fn outputs() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Holds the frame against the golden picture `name`; says how they differ.
fn differs(name: &str, frame: &Frame) -> Option<String> {
    let drawn_path = outputs().join(name);
    write_png(frame, &drawn_path).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let expected = match image::open(&golden) {
        Ok(picture) => picture.to_rgb8(),
        Err(error) => return Some(format!("{name}: {error}; drawn: {}", drawn_path.display())),
    };
    let drawn = frame.to_image();
    if drawn.dimensions() != expected.dimensions() {
        return Some(format!("{name}: another size; drawn: {}", drawn_path.display()));
    }
    let off = |a: &Rgb<u8>, b: &Rgb<u8>| (0..3).any(|c| a.0[c].abs_diff(b.0[c]) > TOLERANCE);
    let differing = drawn.pixels().zip(expected.pixels()).filter(|(a, b)| off(a, b)).count();
    let (width, height) = drawn.dimensions();
    if differing as f64 <= STRAYS * f64::from(width * height) {
        return None;
    }
    let difference = RgbImage::from_fn(width, height, |x, y| {
        let (a, b) = (drawn.get_pixel(x, y), expected.get_pixel(x, y));
        if off(a, b) { Rgb([255, 0, 255]) } else { Rgb(b.0.map(|value| value / 4)) }
    });
    let path = outputs().join(format!("difference-{name}"));
    difference.save(&path).unwrap();
    Some(format!("{differing} pixels of {name} differ: {}", path.display()))
}

#[test]
fn screens_are_drawn_as_before() {
    let setter = Typesetter::new();
    let failures: Vec<String> = KEPT
        .iter()
        .filter_map(|&(name, panel, language, theme)| {
            let mut kiosk = scene(name, panel, language, theme);
            // The focus is shown in the dark pictures, which stand for the buttons.
            kiosk.ring = theme == Dark;
            let (width, height) = (panel.size.width, panel.size.height);
            let file = format!("{name}-{}-{width}x{height}.png", language.code());
            differs(&file, &stage::draw(&kiosk, &setter))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_report_is_printed_as_before() {
    let setter = Typesetter::new();
    let visits = support::reported();
    let failures: Vec<String> = [En, Ar, Hi]
        .into_iter()
        .filter_map(|language| {
            let frame = support::report(&visits[0]).render(language, &setter);
            differs(&format!("report-{}.png", language.code()), &frame)
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_slip_is_printed_as_before() {
    let kiosk = scene("slip", PI, En, Daylight);
    let visit = &kiosk.visit.unwrap().visit;
    let setter = Typesetter::new();
    let failures: Vec<String> = [En, Ar]
        .into_iter()
        .filter_map(|language| {
            let frame = glaucoma_kiosk::screens::slip::render(visit, language, &setter);
            differs(&format!("paper-{}.png", language.code()), &frame)
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Keeps every picture that is shown.
#[derive(Default)]
struct Film(Vec<Frame>);

impl Presenter for Film {
    fn present(&mut self, frame: &Frame, _: Rectangle) -> Result<(), DisplayError> {
        self.0.push(frame.clone());
        Ok(())
    }
}

/// Those of the day's pictures, by number from 0, that stand in the film strip.
const STRIP: [usize; 16] = [2, 10, 15, 17, 19, 24, 32, 35, 38, 42, 48, 51, 54, 62, 77, 79];

/// Pictures beside and above each other, four a row, each shrunk to three eighths.
fn strip(film: &[&Frame]) -> Frame {
    let (cell, gap) = (Size::new(300, 180), Size::new(6, 6));
    let rows = film.len().div_ceil(4) as u32;
    let mut strip = Frame::new((cell + gap).component_mul(Size::new(4, rows)) + gap);
    for (index, frame) in film.iter().enumerate() {
        let place = Size::new(index as u32 % 4, index as u32 / 4);
        let corner = Point::zero() + (cell + gap).component_mul(place) + gap;
        let small =
            imageops::resize(&frame.to_image(), cell.width, cell.height, FilterType::Triangle);
        let pixels = small.enumerate_pixels().map(|(x, y, &Rgb([r, g, b]))| {
            Pixel(corner + Point::new(x as i32, y as i32), Rgb888::new(r, g, b))
        });
        let Ok(()) = strip.draw_iter(pixels);
    }
    strip
}

#[test]
fn the_day_is_shown_as_before() {
    let script = include_str!("day.script");
    let steps = script::parse(script, Path::new("day.script")).unwrap();
    let mut kiosk = Kiosk::new(PI, support::setup(), En, Daylight);
    kiosk.status = support::kiosk(PI, En, Daylight).status;
    let mut stage = Stage::new(kiosk, Film::default());
    let (requests, asked) = channel();
    let (answers, messages) = channel();
    let world = FakeWorld { failures: 1, ..FakeWorld::default() };
    std::thread::spawn(move || world.answer(&asked, &answers));
    replay(&mut stage, &Channels { requests, messages }, &steps).unwrap();
    let film = stage.presenter.0;
    let chosen: Vec<&Frame> = STRIP.iter().map(|&index| &film[index]).collect();
    assert_eq!(differs("day.png", &strip(&chosen)), None);
}
