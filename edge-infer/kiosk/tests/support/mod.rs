//! People who do not exist, drawn retinas, fingers, and an outside that always answers the same.
#![allow(clippy::unwrap_used, dead_code)]

pub mod scenes;
pub mod world;

use std::sync::{Arc, OnceLock};

use glaucoma_common::reading::Laterality::{self, Left, Right};
use glaucoma_kiosk::model::{
    Action, Arrival, Check, Command, Event, Kiosk, OpenVisit, Screen, Setup, Status,
};
use glaucoma_kiosk::panel::Panel;
use glaucoma_kiosk::picture::EyePicture;
use glaucoma_kiosk::screens::report::Report;
use glaucoma_kiosk::theme::Theme;
use glaucoma_kiosk::words::Language;
use glaucoma_records::decide::Rules;
use glaucoma_records::visit::{
    Decision, EyeExam, EyeWithoutPhotograph, Finding, ModelName, NoPhotograph, Person, Sex, Uid,
    Visit,
};
use image::{Rgb, RgbImage};
use jiff::tz::{TimeZone, offset};

pub const PANELS: [Panel; 4] =
    [Panel::PI_7_INCH, Panel::SPI_3_5_INCH, Panel::HDMI_10_INCH, Panel::UPRIGHT_7_INCH];

/// Codes of the quality gate, one of each group of words, and one that is unknown.
pub const REASONS: [&str; 10] = [
    "out_of_focus",
    "too_dark",
    "no_field_of_view",
    "field_cut_off",
    "washed_out",
    "too_bright",
    "glare",
    "shadow",
    "disc_not_found",
    "of_a_later_version",
];

pub fn setup() -> Setup {
    Setup {
        sites: vec!["Huye".into(), "Kirehe".into()],
        operators: vec!["A. Uwase".into(), "J. Mugisha".into()],
        rules: Rules::default(),
        lock_after_s: 300,
        shutter: false,
        live_view: false,
        // As the check at the start says it.
        zone: TimeZone::fixed(offset(2)),
    }
}

pub fn kiosk(panel: Panel, language: Language, theme: Theme) -> Kiosk {
    let mut kiosk = Kiosk::new(panel, setup(), language, theme);
    let fine = |detail: &str| Check { fine: true, detail: detail.into() };
    kiosk.status = Status {
        model: fine("0.1.0"),
        storage: fine("41 GB"),
        clock: fine("UTC+2"),
        power: Some(fine("83 %")),
    };
    kiosk.camera = true;
    kiosk.clock = (9, 30);
    kiosk
}

/// A drawn retina: disc, cup and a few vessels, no photograph of anyone.
pub fn picture(eye: Laterality) -> EyePicture {
    static DRAWN: [OnceLock<EyePicture>; 2] = [const { OnceLock::new() }; 2];
    DRAWN[eye as usize].get_or_init(|| draw_picture(eye)).clone()
}

fn draw_picture(eye: Laterality) -> EyePicture {
    let side = 320;
    let flip = |x: f32| if eye == Right { x } else { side as f32 - x };
    let (disc, cup) = ((flip(215.0), 155.0, 30.0), (flip(217.0), 156.0, 19.0));
    let fovea = (flip(130.0), 165.0);
    let pixels = RgbImage::from_fn(side, side, |x, y| {
        let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
        let from = |center: (f32, f32)| (x - center.0).hypot(y - center.1);
        if from((160.0, 160.0)) > 150.0 {
            return Rgb([0, 0, 0]);
        }
        let shade = 1.0 - 0.35 * (from((160.0, 160.0)) / 150.0).powi(2);
        let dark = 1.0 - 0.35 * (-(from(fovea) / 28.0).powi(2)).exp();
        let mut color = [205.0, 92.0, 48.0].map(|value: f32| value * shade * dark);
        let bend = (flip(x) - 215.0) / 160.0;
        let vessel = ((y - 155.0).abs() - 95.0 * bend.abs().sqrt()).abs() - 2.5;
        if vessel < 1.0 && bend < 0.3 {
            color = [125.0, 38.0, 26.0].map(|value: f32| value * shade);
        }
        if from((disc.0, disc.1)) < disc.2 {
            color = [240.0, 176.0, 96.0];
        }
        if from((cup.0, cup.1)) < cup.2 {
            color = [250.0, 220.0, 168.0];
        }
        Rgb(color.map(|value| value as u8))
    });
    let circle = |(x, y, radius): (f32, f32, f32)| {
        (0..72)
            .map(|step| (step as f32 * 5.0).to_radians())
            .map(|angle| (x + radius * angle.cos(), y + radius * angle.sin()))
            .collect()
    };
    EyePicture {
        pixels: Arc::new(pixels),
        disc: circle(disc),
        cup: circle(cup),
        fovea: Some(fovea),
    }
}

pub fn graded(probability: f64) -> Finding {
    let vcdr = 0.35 + 0.45 * probability;
    let vcdr_interval = Some((vcdr - 0.06, vcdr + 0.07));
    Finding::Graded { probability, threshold: 0.5, vcdr, vcdr_interval }
}

pub fn reasons(codes: &[&str]) -> Vec<String> {
    codes.iter().map(|code| (*code).to_owned()).collect()
}

pub fn exam(eye: Laterality, finding: Finding) -> EyeExam {
    EyeExam {
        uid: Uid(format!("2.25.1000{}", eye as u8)),
        eye,
        eye_seen: Some(eye),
        eye_confirmed: false,
        taken_at: "2026-05-01T09:30:00Z".into(),
        photograph_sha256: "0".repeat(64),
        photograph_type: "image/jpeg".into(),
        burned_in: None,
        finding,
        model: ModelName { name: "m".into(), version: "0.1".into(), sha256: "0".repeat(64) },
    }
}

/// A photograph of which only the eye may be known.
pub fn arrived(photograph: u32, eye: Option<Laterality>) -> Arrival {
    Arrival { photograph, eye, person: None }
}

/// It comes in.
pub fn arrival(photograph: u32, eye: Option<Laterality>) -> Event {
    Event::PhotographTaken(arrived(photograph, eye))
}

pub fn person() -> Person {
    let name = Some("Esperance Uwimana".into());
    Person { id: "HY-0042".into(), name, age_years: Some(61), sex: Sex::Female }
}

/// A visit with these exams.
pub fn visit(exams: Vec<EyeExam>) -> OpenVisit {
    let begun_at = "2026-05-01T09:28:00Z".to_owned();
    let mut visit = OpenVisit::new(
        Uid("2.25.42".into()),
        person(),
        "Huye",
        "A. Uwase",
        begun_at,
        Rules::default(),
    );
    for exam in exams {
        let shown = picture(exam.eye);
        visit.add(exam, Some(shown));
    }
    visit
}

/// Visits that an interruption left without a decision, so many.
pub fn undecided(count: usize) -> Vec<Visit> {
    let one = |number: usize| {
        let exams = match number % 3 {
            0 => vec![exam(Right, graded(0.72))],
            1 => vec![exam(Right, graded(0.1)), exam(Left, graded(0.2))],
            _ => Vec::new(),
        };
        let mut open = visit(exams);
        open.visit.uid = Uid(format!("2.25.70{number}"));
        open.visit.person.id = format!("HY-002{number}");
        // Before the 09:30 of the clock on the screens, two hours east of UTC.
        open.visit.begun_at = format!("2026-05-01T07:{:02}:00Z", number % 30);
        open.visit
    };
    (0..count).map(one).collect()
}

/// Visits that together show everything a report can say.
pub fn reported() -> Vec<OpenVisit> {
    let ungradable = || Finding::Ungradable { reasons: reasons(&["washed_out", "shadow"]) };
    let named = EyeExam { burned_in: Some(true), ..exam(Left, ungradable()) };
    let mut visits = vec![
        visit(vec![exam(Right, graded(0.72)), named]),
        visit(vec![exam(Right, graded(0.05)), exam(Left, graded(0.49))]),
        visit(vec![exam(Right, graded(0.1)), exam(Left, graded(0.2))]),
        visit(vec![]),
        visit(vec![exam(Right, Finding::Retake { reasons: reasons(&["glare"]) })]),
    ];
    for eye in [Right, Left] {
        let why = NoPhotograph::NotPossible;
        visits[3].visit.without_photograph.push(EyeWithoutPhotograph { eye, why });
    }
    visits[4].toggle_absent(Left);
    visits[2].visit.person.sex = Sex::Other;
    for open in &mut visits {
        open.visit.decision = open.decision();
    }
    visits
}

/// The visit's report.
pub fn report(open: &OpenVisit) -> Report<'_> {
    Report { visit: &open.visit, pictures: &open.pictures, audit_head: [0xab; 32] }
}

/// Whether the open decision is that nothing is suspected.
pub fn not_suspected(kiosk: &Kiosk) -> bool {
    kiosk.visit.as_ref().is_some_and(|open| open.visit.decision == Some(Decision::NotSuspected))
}

/// Presses the button that does this, as a finger would; fails where the page has none.
pub fn press(kiosk: &mut Kiosk, action: Action) -> Vec<Command> {
    let page = kiosk.page();
    let button = page.buttons().find(|button| button.action == action);
    let at = button.unwrap_or_else(|| panic!("no {action:?} on {:?}", kiosk.screen)).area.center();
    kiosk.handle(Event::Touch(at))
}

/// A kiosk on which a visit has just begun.
pub fn begun() -> Kiosk {
    let mut kiosk = kiosk(Panel::PI_7_INCH, Language::En, Theme::Daylight);
    kiosk.visit = Some(visit(vec![]));
    kiosk.screen = Screen::Photograph { eye: Right };
    kiosk
}

pub fn photograph(kiosk: &mut Kiosk, exam: EyeExam) {
    let commands = kiosk.handle(arrival(0, None));
    assert!(matches!(commands[..], [Command::BeginExam { .. }]), "{commands:?}");
    let picture = picture(exam.eye);
    kiosk.handle(Event::ExamDone { exam: Box::new(exam), picture });
}
