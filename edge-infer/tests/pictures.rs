//! Golden pictures of the result view in every state and size.
//!
//! A test that fails writes what it drew and where it differs beside the build's other outputs and
//! names the files. To accept a change, look at the pictures and copy the drawn one over the golden
//! one in `tests/golden`.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};

use edge_infer::exam::{ExamResult, Grading, Outcome, Refusal, RiskBand, Timing, VcdrInterval};
use edge_infer::screen::{ResultView, draw_result};
use embedded_graphics::prelude::Size;
use glaucoma_common::mask::Mask;
use glaucoma_common::photo::{Photo, PhotoError};
use glaucoma_common::preprocess::{NativePoint, find_field_of_view};
use glaucoma_common::quality::Reason;
use glaucoma_common::reading::{Laterality, Reading, Region};
use glaucoma_common::risk::Risk;
use glaucoma_kiosk::display::Frame;
use glaucoma_kiosk::text::Typesetter;
use image::{Rgb, RgbImage};
use support::{EYE_CUP, EYE_DISC, EYE_FOVEA, eye};

/// A channel may differ by this much: another processor rounds otherwise.
const TOLERANCE: u8 = 6;
/// Share of pixels that may differ by more.
const STRAYS: f64 = 0.001;

fn region((x, y, radius): (f64, f64, f64)) -> Region {
    let outline = (0..90).map(|step| {
        let angle = f64::from(step) * std::f64::consts::TAU / 90.0;
        NativePoint { x: x + radius * angle.cos(), y: y + radius * angle.sin() }
    });
    Region {
        mask: Mask::new(1, 1),
        center: NativePoint { x, y },
        width: 2.0 * radius,
        height: 2.0 * radius,
        outline: outline.collect(),
    }
}

fn reading() -> Reading {
    Reading {
        classifier_probability: Some(0.64),
        disc: Some(region(EYE_DISC)),
        cup: Some(region(EYE_CUP)),
        vcdr: Some(0.5),
        fovea: Some(NativePoint { x: EYE_FOVEA.0, y: EYE_FOVEA.1 }),
        laterality: Some(Laterality::Right),
        inconsistencies: Vec::new(),
    }
}

fn exam(photo: Option<RgbImage>, outcome: Outcome) -> ExamResult {
    let field_of_view = photo.as_ref().and_then(find_field_of_view);
    let photo = photo.map(|pixels| Photo { pixels, sha256: String::new() });
    let timing = Timing { total: 123.0, ..Timing::default() };
    ExamResult { photo, sha256: None, field_of_view, outcome, timing }
}

fn graded(classifier: f64, vcdr_model: f64) -> ExamResult {
    let probability = f64::midpoint(classifier, vcdr_model);
    let band = if probability >= 0.5 { RiskBand::Suspected } else { RiskBand::NotSuspected };
    let risk = Risk { probability, classifier, vcdr_model };
    let grading = Grading {
        risk,
        band,
        threshold: 0.5,
        vcdr: 0.5,
        vcdr_interval: None,
        reading: Box::new(reading()),
    };
    exam(Some(eye()), Outcome::Graded(grading))
}

fn ungradable() -> ExamResult {
    let reasons = vec![Reason::TooDark, Reason::OutOfFocus, Reason::DiscNotFound];
    exam(Some(eye()), Outcome::Ungradable { reasons, reading: None })
}

/// Draws the exam at the given size and holds it against the golden picture `name`.
fn check(name: &str, exam: &ExamResult, (width, height): (u32, u32)) {
    let setter = Typesetter::new();
    let mut frame = Frame::new(Size::new(width, height));
    let view = ResultView { title: "eye-0042.jpg", exam, model: ("glaucoma", "1.0.0") };
    let Ok(()) = draw_result(&view, &setter, &mut frame);
    let drawn = frame.to_image();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let outputs = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let drawn_path = outputs.join(name);
    drawn.save(&drawn_path).unwrap();
    let expected = image::open(&golden)
        .unwrap_or_else(|error| {
            panic!("{}: {error}; drawn: {}", golden.display(), drawn_path.display())
        })
        .to_rgb8();
    assert_eq!(drawn.dimensions(), expected.dimensions(), "{name}");
    let off = |a: &Rgb<u8>, b: &Rgb<u8>| (0..3).any(|c| a.0[c].abs_diff(b.0[c]) > TOLERANCE);
    let differing = drawn.pixels().zip(expected.pixels()).filter(|(a, b)| off(a, b)).count();
    if differing as f64 > STRAYS * f64::from(width * height) {
        let difference = RgbImage::from_fn(width, height, |x, y| {
            let (a, b) = (drawn.get_pixel(x, y), expected.get_pixel(x, y));
            if off(a, b) { Rgb([255, 0, 255]) } else { Rgb(b.0.map(|value| value / 4)) }
        });
        let path = outputs.join(format!("difference-{name}"));
        difference.save(&path).unwrap();
        panic!(
            "{differing} pixels of {name} differ: drawn {}, differences {}",
            drawn_path.display(),
            path.display()
        );
    }
}

#[test]
fn suspected() {
    check("suspected-800x480.png", &graded(0.64, 0.87), (800, 480));
}

#[test]
fn not_suspected() {
    check("not-suspected-800x480.png", &graded(0.12, 0.31), (800, 480));
}

#[test]
fn small_large_and_upright_screens() {
    check("suspected-480x320.png", &graded(0.64, 0.87), (480, 320));
    check("suspected-1280x720.png", &graded(0.64, 0.87), (1280, 720));
    check("suspected-480x800.png", &graded(0.64, 0.87), (480, 800));
}

/// A ratio whose error was measured on real eyes has its interval; one known from synthetic pictures alone has none.
#[test]
fn the_ratio_has_the_interval_of_real_eyes() {
    let with_interval = |real_eyes| {
        let mut exam = graded(0.64, 0.87);
        let Outcome::Graded(grading) = &mut exam.outcome else { panic!() };
        grading.vcdr_interval =
            Some(VcdrInterval { low: 0.41, high: 0.62, share: 0.95, real_eyes });
        exam
    };
    check("interval-800x480.png", &with_interval(400), (800, 480));
    check("interval-480x320.png", &with_interval(400), (480, 320));
    check("suspected-800x480.png", &with_interval(0), (800, 480));
}

#[test]
fn ungradable_is_never_shown_as_low_risk() {
    check("ungradable-800x480.png", &ungradable(), (800, 480));
    check("ungradable-480x320.png", &ungradable(), (480, 320));
}

#[test]
fn what_the_network_found_is_shown_with_an_abstention() {
    let reasons = vec![Reason::CupNotFound];
    let found = Reading { cup: None, vcdr: None, ..reading() };
    let outcome = Outcome::Ungradable { reasons, reading: Some(Box::new(found)) };
    check("abstention-800x480.png", &exam(Some(eye()), outcome), (800, 480));
}

#[test]
fn refused() {
    let unreadable = Outcome::Refused(Refusal::Photo(PhotoError::Truncated { format: "JPEG" }));
    check("unreadable-800x480.png", &exam(None, unreadable), (800, 480));
    let scenery = RgbImage::from_fn(640, 480, |x, y| Rgb([(x / 4) as u8, 120, (y / 2) as u8]));
    let elsewhere = Outcome::Refused(Refusal::NotFundus(Reason::NoFieldOfView));
    check("not-fundus-800x480.png", &exam(Some(scenery), elsewhere), (800, 480));
}

/// The extreme results keep their texts inside the panel and their marker inside the bar.
#[test]
fn extremes_are_drawn() {
    let setter = Typesetter::new();
    for (classifier, vcdr_model) in [(0.0, 0.0), (1.0, 1.0)] {
        for size in [(320, 320), (480, 320), (4096, 320), (320, 2000)] {
            let mut frame = Frame::new(Size::new(size.0, size.1));
            let exam = graded(classifier, vcdr_model);
            let title = "a very long name of a photograph that cannot fit into the panel.jpg";
            let view = ResultView { title, exam: &exam, model: ("glaucoma", "1.0.0") };
            let Ok(()) = draw_result(&view, &setter, &mut frame);
        }
    }
}
