//! Every screen in every state that changes what it shows, and an outside that always answers the same.
#![allow(clippy::unwrap_used, dead_code)]

pub mod world;

use std::sync::{Arc, OnceLock};

use glaucoma_common::reading::Laterality::{self, Left, Right};
use glaucoma_kiosk::model::{
    Action, Arrival, Check, Draft, Editing, Errand, Event, Field, Kiosk, OpenVisit, Screen, Setup,
    Status,
};
use glaucoma_kiosk::panel::Panel;
use glaucoma_kiosk::picture::{EyePicture, View};
use glaucoma_kiosk::screens::report::Report;
use glaucoma_kiosk::theme::Theme;
use glaucoma_kiosk::words::Language;
use glaucoma_records::decide::Rules;
use glaucoma_records::journal::StorageFault;
use glaucoma_records::visit::{
    Decision, EyeExam, EyeWithoutPhotograph, Finding, ModelName, NoPhotograph, Person, Sex, Uid,
    Visit,
};
use image::{Rgb, RgbImage};

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
        open.visit
    };
    (0..count).map(one).collect()
}

/// A kiosk on which visits of the morning are counted.
fn with_morning(mut kiosk: Kiosk) -> Kiosk {
    let mut visits = Vec::new();
    for (number, (right, left)) in
        [(0.91, 0.4), (0.1, 0.2), (0.62, 0.7), (0.3, 0.1)].into_iter().enumerate()
    {
        let mut open = visit(vec![exam(Right, graded(right)), exam(Left, graded(left))]);
        open.visit.uid = Uid(format!("2.25.{number}"));
        open.visit.person.id = format!("HY-003{number}");
        open.visit.decision = open.decision();
        visits.push(open.visit);
    }
    let blurred = Finding::Ungradable { reasons: reasons(&["out_of_focus"]) };
    let mut open = visit(vec![exam(Right, blurred), exam(Left, graded(0.2))]);
    open.visit.uid = Uid("2.25.99".into());
    open.visit.person.id = "HY-0039".into();
    open.visit.decision = open.decision();
    visits.push(open.visit);
    kiosk.handle(Event::DaySoFar(visits));
    kiosk
}

/// Every screen in every state that changes what it shows, by name.
pub fn scenes(panel: Panel, language: Language, theme: Theme) -> Vec<(String, Kiosk)> {
    let base = kiosk(panel, language, theme);
    let mut scenes: Vec<(String, Kiosk)> = Vec::new();
    let mut add = |name: &str, change: &dyn Fn(&mut Kiosk)| {
        let mut kiosk = base.clone();
        change(&mut kiosk);
        scenes.push((name.to_owned(), kiosk));
    };
    before_the_visit(&mut add);
    around_the_photograph(&mut add);
    results(&mut add);
    after_the_visit(&mut add);
    scenes
}

type Add<'a> = &'a mut dyn FnMut(&str, &dyn Fn(&mut Kiosk));

fn before_the_visit(add: Add<'_>) {
    add("start", &|kiosk| kiosk.status.clock.fine = false);
    add("start-offline", &|kiosk| kiosk.camera = false);
    let pin = |pin: &str, checking, refused| Screen::Pin { pin: pin.into(), checking, refused };
    add("pin", &|kiosk| kiosk.screen = pin("123", false, None));
    add("pin-checking", &|kiosk| kiosk.screen = pin("", true, None));
    add("pin-wrong", &|kiosk| kiosk.screen = pin("", false, Some(0)));
    add("pin-wait", &|kiosk| kiosk.screen = pin("", false, Some(30)));
    add("home-empty", &|kiosk| kiosk.screen = Screen::Home);
    add("home", &|kiosk| {
        *kiosk = with_morning(kiosk.clone());
        kiosk.waiting = 3;
        kiosk.unasked = vec![arrived(7, None)];
        kiosk.screen = Screen::Home;
    });
    add("home-undecided", &|kiosk| {
        *kiosk = with_morning(kiosk.clone());
        kiosk.undecided = undecided(3);
        kiosk.unasked = vec![arrived(7, None)];
        kiosk.screen = Screen::Home;
    });
    add("undecided", &|kiosk| {
        kiosk.undecided = undecided(4);
        kiosk.screen = Screen::Undecided { page: 0 };
    });
    add("undecided-many", &|kiosk| {
        kiosk.undecided = undecided(40);
        kiosk.screen = Screen::Undecided { page: 7 };
    });
    for (name, number, asked) in
        [("undecided-visit", 0, false), ("undecided-both", 1, false), ("undecided-asked", 2, true)]
    {
        add(name, &|kiosk| {
            kiosk.undecided = undecided(3);
            let uid = kiosk.undecided[number].uid.clone();
            kiosk.screen = Screen::UndecidedVisit { uid, asked };
        });
    }
    let register = |draft: Draft, field: Option<(Field, usize)>| Screen::Register {
        draft,
        editing: field.map(|(field, page)| Editing { field, page }),
        opening: false,
    };
    add("register-empty", &|kiosk| kiosk.screen = register(Draft::default(), None));
    for sex in [Sex::Female, Sex::Male, Sex::Other] {
        add(if sex == Sex::Female { "register" } else { "register-more" }, &|kiosk| {
            let mut draft = Draft { sex, ..Draft::default() };
            draft.set_id("HY-0042");
            "Esperance U".chars().for_each(|letter| draft.push(Field::Name, letter));
            "61".chars().for_each(|letter| draft.push(Field::Age, letter));
            kiosk.screen = register(draft, None);
        });
    }
    for (field, name) in [(Field::Id, "number"), (Field::Name, "name"), (Field::Age, "age")] {
        for page in 0..2 {
            add(&format!("keyboard-{name}-{page}"), &|kiosk| {
                let mut draft = Draft::default();
                draft.set_id("HY-00");
                kiosk.screen = register(draft, Some((field, page)));
            });
        }
    }
    for fault in [StorageFault::Full, StorageFault::Fails] {
        add("pin-not-tried", &|kiosk| {
            kiosk.screen = pin("", false, Some(0));
            kiosk.not_kept = Some(fault);
        });
        add("register-not-kept", &|kiosk| {
            let mut draft = Draft::default();
            draft.set_id("HY-0042");
            kiosk.screen = register(draft, None);
            kiosk.not_kept = Some(fault);
        });
        add("undecided-not-kept", &|kiosk| {
            kiosk.undecided = undecided(2);
            let uid = kiosk.undecided[1].uid.clone();
            kiosk.screen = Screen::UndecidedVisit { uid, asked: false };
            kiosk.not_kept = Some(fault);
        });
        add("home-not-kept", &|kiosk| {
            *kiosk = with_morning(kiosk.clone());
            kiosk.undecided = undecided(1);
            kiosk.screen = Screen::Home;
            kiosk.not_kept = Some(fault);
        });
    }
    add("settings", &|kiosk| kiosk.screen = Screen::Settings { from: Box::new(Screen::Home) });
}

fn around_the_photograph(add: Add<'_>) {
    let photograph = |kiosk: &mut Kiosk, exams: Vec<EyeExam>, eye| {
        kiosk.visit = Some(visit(exams));
        kiosk.screen = Screen::Photograph { eye };
    };
    add("photograph", &|kiosk| photograph(kiosk, vec![exam(Right, graded(0.72))], Left));
    add("photograph-shutter", &|kiosk| {
        photograph(kiosk, vec![], Right);
        kiosk.setup.shutter = true;
    });
    add("photograph-offline", &|kiosk| {
        photograph(kiosk, vec![], Right);
        kiosk.camera = false;
    });
    add("photograph-examining", &|kiosk| {
        photograph(kiosk, vec![exam(Right, graded(0.2))], Left);
        kiosk.visit.as_mut().unwrap().examining = Some(0);
    });
    add("photograph-long", &|kiosk| {
        photograph(kiosk, vec![], Right);
        kiosk.visit.as_mut().unwrap().examining = Some(0);
        kiosk.seconds = 40;
    });
    add("photograph-unasked", &|kiosk| {
        photograph(kiosk, vec![], Right);
        kiosk.unasked = vec![arrived(3, Some(Left))];
    });
    add("photograph-many", &|kiosk| {
        photograph(kiosk, vec![], Right);
        kiosk.unasked = vec![arrived(3, Some(Left)), arrived(4, None)];
    });
    for (name, asked) in [("leave-out", false), ("left-out", true)] {
        add(name, &|kiosk| {
            photograph(kiosk, vec![], Right);
            kiosk.left_out = 312;
            kiosk.screen = Screen::LeaveOut { from: Box::new(kiosk.screen.clone()), asked };
        });
    }
    add("photograph-unreadable", &|kiosk| {
        photograph(kiosk, vec![], Right);
        kiosk.visit.as_mut().unwrap().unreadable = true;
    });
    for (name, fault) in
        [("photograph-not-kept", StorageFault::Full), ("photograph-fails", StorageFault::Fails)]
    {
        add(name, &|kiosk| {
            photograph(kiosk, vec![exam(Right, graded(0.2))], Left);
            kiosk.unasked = vec![arrived(3, Some(Left))];
            kiosk.not_kept = Some(fault);
        });
    }
    add("photograph-absent", &|kiosk| {
        photograph(kiosk, vec![], Right);
        kiosk.visit.as_mut().unwrap().toggle_absent(Right);
    });
    add("photograph-done", &|kiosk| {
        let blurred = Finding::Ungradable { reasons: reasons(&["glare"]) };
        photograph(kiosk, vec![exam(Right, graded(0.3)), exam(Left, blurred)], Right);
    });
    add("break-off", &|kiosk| {
        photograph(kiosk, vec![], Right);
        kiosk.screen = Screen::BreakOff;
    });
    for (name, said) in [("wrong-eye", Right), ("wrong-eye-left", Left)] {
        add(name, &|kiosk| {
            photograph(kiosk, vec![], said);
            let seen = glaucoma_kiosk::model::other_eye(said);
            kiosk.visit.as_mut().unwrap().pictures[said as usize] = Some(picture(seen));
            let exam = EyeExam { eye_seen: Some(seen), ..exam(said, graded(0.2)) };
            kiosk.screen = Screen::WrongEye { exam: Box::new(exam) };
        });
    }
}

fn results(add: Add<'_>) {
    let result = |kiosk: &mut Kiosk, eye, exams: Vec<EyeExam>| {
        kiosk.visit = Some(visit(exams));
        kiosk.screen = Screen::Result { eye };
    };
    add("result-suspected", &|kiosk| result(kiosk, Right, vec![exam(Right, graded(0.72))]));
    add("result-not-suspected", &|kiosk| {
        result(kiosk, Left, vec![exam(Right, graded(0.1)), exam(Left, graded(0.21))]);
    });
    for (index, pair) in REASONS.chunks(2).enumerate() {
        let name = if index == 0 { "result-retake".to_owned() } else { format!("retake-{index}") };
        add(&name, &|kiosk| {
            let finding = Finding::Retake { reasons: reasons(pair) };
            result(kiosk, Right, vec![exam(Right, finding)]);
        });
    }
    add("result-ungradable", &|kiosk| {
        let finding = || Finding::Retake { reasons: reasons(&["washed_out", "shadow"]) };
        result(
            kiosk,
            Left,
            vec![exam(Left, finding()), exam(Left, finding()), exam(Left, finding())],
        );
    });
    add("result-burned-in", &|kiosk| {
        let named = EyeExam { burned_in: Some(true), ..exam(Right, graded(0.72)) };
        result(kiosk, Right, vec![named]);
    });
    add("retake-burned-in", &|kiosk| {
        let finding = Finding::Retake { reasons: reasons(&["out_of_focus", "too_dark"]) };
        result(kiosk, Right, vec![EyeExam { burned_in: Some(true), ..exam(Right, finding) }]);
    });
    add("closer", &|kiosk| {
        result(kiosk, Right, vec![exam(Right, graded(0.72))]);
        kiosk.act(Action::LookCloser);
    });
    add("closer-whole", &|kiosk| {
        result(kiosk, Right, vec![exam(Right, graded(0.72))]);
        kiosk.screen = Screen::Closer { eye: Right, view: View::WHOLE, outlines: false };
    });
}

fn after_the_visit(add: Add<'_>) {
    let decided = |kiosk: &mut Kiosk, right: Finding, left: Finding, saved: Option<bool>| {
        let mut open = visit(vec![exam(Right, right), exam(Left, left)]);
        open.visit.decision = open.decision();
        open.saved = saved;
        kiosk.visit = Some(open);
        kiosk.screen = Screen::Decision;
    };
    let ungradable = || Finding::Ungradable { reasons: reasons(&["out_of_focus"]) };
    add("decision-refer", &|kiosk| decided(kiosk, graded(0.72), graded(0.6), Some(true)));
    add("decision-not-suspected", &|kiosk| decided(kiosk, graded(0.1), graded(0.2), None));
    add("decision-asymmetry", &|kiosk| decided(kiosk, graded(0.0), graded(0.49), Some(true)));
    add("decision-not-saved", &|kiosk| decided(kiosk, ungradable(), graded(0.2), Some(false)));
    for (name, fault) in
        [("decision-full", StorageFault::Full), ("decision-fails", StorageFault::Fails)]
    {
        add(name, &|kiosk| {
            decided(kiosk, graded(0.72), graded(0.6), Some(false));
            kiosk.not_kept = Some(fault);
        });
    }
    add("decision-ungradable", &|kiosk| decided(kiosk, ungradable(), ungradable(), Some(true)));
    for (name, printing) in [
        ("slip", Errand::Done(1)),
        ("slip-printing", Errand::Asked),
        ("slip-failed", Errand::Failed),
        ("slip-idle", Errand::Idle),
    ] {
        add(name, &|kiosk| {
            decided(kiosk, graded(0.72), ungradable(), Some(true));
            kiosk.printing = printing;
            kiosk.screen = Screen::Slip;
        });
    }
    for (name, export, waiting) in [
        ("summary", Errand::Done(5), 3),
        ("summary-exporting", Errand::Asked, 0),
        ("summary-failed", Errand::Failed, 0),
    ] {
        add(name, &|kiosk| {
            *kiosk = with_morning(kiosk.clone());
            kiosk.undecided = undecided(waiting as usize);
            kiosk.export = export;
            kiosk.waiting = waiting;
            kiosk.screen = Screen::Summary;
        });
    }
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
