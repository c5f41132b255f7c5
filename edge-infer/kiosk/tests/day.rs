//! The day as it runs: random events, and a small day from a script against an outside that always answers
//! the same.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;

use embedded_graphics::prelude::*;
use glaucoma_common::reading::Laterality::{self, Left, Right};
use glaucoma_kiosk::display::PngDir;
use glaucoma_kiosk::event_loop::{Channels, replay};
use glaucoma_kiosk::input::script;
use glaucoma_kiosk::model::{Action, Arrival, Button, Command, Event, Kiosk, Screen};
use glaucoma_kiosk::page::Item;
use glaucoma_kiosk::panel::Panel;
use glaucoma_kiosk::screens::slip::paper;
use glaucoma_kiosk::stage::Stage;
use glaucoma_kiosk::theme::Theme;
use glaucoma_kiosk::words::{Key, Language};
use glaucoma_records::decide::EyeState;
use glaucoma_records::journal::StorageFault;
use glaucoma_records::visit::{Decision, EyeExam, Finding, Uid, Visit};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::world::FakeWorld;
use support::{begun, photograph, press};

#[test]
fn the_third_retake_is_ungradable_and_refers() {
    let mut kiosk = begun();
    let blurred = || Finding::Retake { reasons: support::reasons(&["out_of_focus"]) };
    for attempt in 1..=3u32 {
        let commands = kiosk.handle(support::arrival(attempt, None));
        assert_eq!(commands, [Command::BeginExam { photograph: attempt, eye: Right, attempt }]);
        let exam = Box::new(support::exam(Right, blurred()));
        kiosk.handle(Event::ExamDone { exam, picture: support::picture(Right) });
        if attempt < 3 {
            press(&mut kiosk, Action::Retake);
        }
    }
    let last = kiosk.visit.as_ref().unwrap().last(Right).unwrap();
    assert!(matches!(last.finding, Finding::Ungradable { .. }));
    press(&mut kiosk, Action::GoOn);
    photograph(&mut kiosk, support::exam(Left, support::graded(0.1)));
    let saved = press(&mut kiosk, Action::Decide);
    let [Command::SaveVisit(visit)] = &saved[..] else { panic!("{saved:?}") };
    let reasons = support::reasons(&["ungradable_right"]);
    assert_eq!(visit.decision, Some(Decision::Refer { reasons }));
}

#[test]
fn the_alarm_of_a_wrong_eye_stays_until_it_is_answered() {
    let mut kiosk = begun();
    let exam = EyeExam { eye_seen: Some(Left), ..support::exam(Right, support::graded(0.1)) };
    photograph(&mut kiosk, exam);
    for event in [
        Event::Button(Button::Back),
        Event::Touch(Point::new(400, 200)),
        Event::Tick { seconds: 60, clock: (10, 0) },
        support::arrival(9, Some(Right)),
        Event::Unlocked,
    ] {
        kiosk.handle(event);
        assert!(matches!(kiosk.screen, Screen::WrongEye { .. }));
    }
    assert!(kiosk.visit.as_ref().unwrap().visit.exams.is_empty());
    let commands = press(&mut kiosk, Action::ItIs(Left));
    assert!(matches!(commands[..], [Command::EyeConfirmed { said: Right, holds: Left, .. }]));
    // Nothing is shown as done before it is recorded.
    assert!(kiosk.visit.as_ref().unwrap().visit.exams.is_empty());
    let exam = support::exam(Left, support::graded(0.1));
    let exam = Box::new(EyeExam { eye_confirmed: true, ..exam });
    kiosk.handle(Event::ExamDone { exam, picture: support::picture(Left) });
    assert_eq!(kiosk.visit.as_ref().unwrap().visit.exams[0].eye, Left);
    assert_eq!(kiosk.screen, Screen::Result { eye: Left });
    // The picture that came in between waits to be given an eye.
    press(&mut kiosk, Action::GoOn);
    assert_eq!(kiosk.screen, Screen::Photograph { eye: Right });
    assert_eq!(kiosk.unasked, [support::arrived(9, Some(Right))]);
    let commands = press(&mut kiosk, Action::UseUnasked);
    assert_eq!(commands, [Command::BeginExam { photograph: 9, eye: Right, attempt: 1 }]);
}

#[test]
fn a_photograph_whose_file_names_the_other_eye_is_not_taken_for_this_one() {
    let mut kiosk = begun();
    assert!(kiosk.handle(support::arrival(1, Some(Left))).is_empty());
    assert_eq!(kiosk.unasked, [support::arrived(1, Some(Left))]);
    assert_eq!(
        press(&mut kiosk, Action::LeaveOutUnasked),
        [Command::LeaveOut { photographs: vec![1] }]
    );
}

#[test]
fn live_pictures_are_asked_for_while_a_photograph_is_waited_for_and_never_shown_old() {
    let mut kiosk = begun();
    let seen = || Event::LiveView(Arc::new(support::picture(Left)));
    assert!(kiosk.handle(seen()).is_empty() && kiosk.live().is_none(), "nobody asked");
    (kiosk.setup.shutter, kiosk.setup.live_view) = (true, true);
    let tick = |seconds| Event::Tick { seconds, clock: (9, 0) };
    assert_eq!(kiosk.handle(tick(10)), [Command::LiveView(true)]);
    assert!(kiosk.handle(tick(11)).is_empty(), "it is asked once");
    let picture = seen();
    kiosk.handle(picture.clone());
    assert!(kiosk.live().is_some());
    let Event::LiveView(sent) = picture else { panic!() };
    assert_eq!(Arc::strong_count(&sent), 1, "the next one may be sent");
    kiosk.handle(Event::CameraOffline);
    assert!(kiosk.live().is_none(), "the camera is gone");
    kiosk.handle(Event::CameraOnline);
    kiosk.handle(tick(12));
    assert!(kiosk.live().is_some());
    kiosk.handle(tick(13));
    assert!(kiosk.live().is_none(), "two seconds are not now");
    kiosk.handle(seen());
    let commands = kiosk.handle(support::arrival(1, Some(Right)));
    assert!(matches!(commands[..], [Command::BeginExam { .. }, Command::LiveView(false)]));
    kiosk.handle(seen());
    assert!(kiosk.live().is_none(), "it came too late");
}

#[test]
fn a_photograph_of_another_person_is_not_taken_for_this_one() {
    let of = |person: &str| {
        let person = Some(person.to_owned());
        Event::PhotographTaken(Arrival { photograph: 1, eye: Some(Right), person })
    };
    let mut kiosk = begun();
    assert!(kiosk.handle(of("HY-0041")).is_empty());
    assert_eq!(kiosk.unasked.len(), 1);
    let mut kiosk = begun();
    let commands = kiosk.handle(of("HY-0042"));
    assert_eq!(commands, [Command::BeginExam { photograph: 1, eye: Right, attempt: 1 }]);
}

#[test]
fn a_camera_that_waits_is_released_for_the_eye_and_the_person() {
    let mut kiosk = begun();
    let has_shutter =
        |kiosk: &Kiosk| kiosk.page().buttons().any(|button| button.action == Action::Shutter);
    assert!(!has_shutter(&kiosk));
    kiosk.setup.shutter = true;
    let person = "HY-0042".to_owned();
    let released = press(&mut kiosk, Action::Shutter);
    assert_eq!(released, [Command::TakePhotograph { eye: Right, person }]);
    kiosk.handle(support::arrival(3, Some(Right)));
    assert!(!has_shutter(&kiosk), "it is being examined");
    kiosk.handle(Event::CameraOffline);
    kiosk.handle(Event::ExamFailed);
    assert!(!has_shutter(&kiosk), "there is no camera");
}

#[test]
fn a_visit_that_could_not_be_opened_may_be_tried_again() {
    let mut kiosk = support::kiosk(Panel::PI_7_INCH, Language::En, Theme::Daylight);
    kiosk.screen = Screen::Home;
    press(&mut kiosk, Action::NewPerson);
    kiosk.handle(Event::Scanned("HY-0042".into()));
    assert!(matches!(press(&mut kiosk, Action::BeginVisit)[..], [Command::RegisterPerson { .. }]));
    kiosk.handle(Event::VisitNotBegun);
    assert!(matches!(press(&mut kiosk, Action::BeginVisit)[..], [Command::RegisterPerson { .. }]));
}

#[test]
fn a_result_tells_of_a_name_in_the_picture() {
    let told = |burned_in| {
        let mut kiosk = begun();
        let exam = EyeExam { burned_in, ..support::exam(Right, support::graded(0.9)) };
        photograph(&mut kiosk, exam);
        let text = Language::En.text(Key::BurnedIn);
        kiosk.page().labels().any(|label| label.text == text)
    };
    assert_eq!([Some(true), Some(false), None].map(told), [true, false, false]);
}

#[test]
fn a_suspicion_is_not_photographed_away() {
    let mut kiosk = begun();
    photograph(&mut kiosk, support::exam(Right, support::graded(0.9)));
    press(&mut kiosk, Action::GoOn);
    press(&mut kiosk, Action::Choose(Right));
    photograph(&mut kiosk, support::exam(Right, support::graded(0.1)));
    press(&mut kiosk, Action::GoOn);
    photograph(&mut kiosk, support::exam(Left, support::graded(0.1)));
    press(&mut kiosk, Action::Decide);
    let decision = kiosk.visit.unwrap().visit.decision;
    // The ratios drawn up for these probabilities differ by 0.36.
    let reasons = support::reasons(&["suspected_right", "asymmetry"]);
    assert_eq!(decision, Some(Decision::Refer { reasons }));
}

#[test]
fn a_device_left_alone_asks_for_the_pin_and_goes_on_where_it_was() {
    let mut kiosk = begun();
    photograph(&mut kiosk, support::exam(Right, support::graded(0.9)));
    let commands = kiosk.handle(Event::Tick { seconds: 300, clock: (9, 35) });
    assert_eq!(commands, [Command::Lock]);
    assert_eq!(kiosk.screen, Screen::Start);
    press(&mut kiosk, Action::EnterPin);
    press(&mut kiosk, Action::Digit('1'));
    let asked = press(&mut kiosk, Action::SendPin);
    assert!(matches!(&asked[..], [Command::UnlockPin { pin, .. }] if pin == "1"));
    kiosk.handle(Event::PinRefused { wait_s: 5 });
    press(&mut kiosk, Action::Digit('1'));
    assert!(press(&mut kiosk, Action::SendPin).is_empty(), "too early");
    kiosk.handle(Event::Tick { seconds: 306, clock: (9, 35) });
    assert_eq!(press(&mut kiosk, Action::SendPin).len(), 1);
    kiosk.handle(Event::Unlocked);
    assert_eq!(kiosk.screen, Screen::Result { eye: Right });
}

/// Another operator goes on with a visit and decides: the slip names who decided, the visit keeps who registered.
#[test]
fn a_slip_names_the_operator_who_decided() {
    let mut kiosk = support::kiosk(Panel::PI_7_INCH, Language::En, Theme::Daylight);
    let mut recorded = support::undecided(2).remove(1);
    (recorded.site, recorded.operator) = ("Huye".into(), "A. Uwase".into());
    kiosk.undecided = vec![recorded.clone()];
    (kiosk.site, kiosk.operator) = (1, 1);
    kiosk.screen = Screen::UndecidedVisit { uid: recorded.uid.clone(), asked: true };
    kiosk.handle(Event::VisitResumed { visit: Box::new(recorded.clone()), pictures: [None, None] });
    let saved = press(&mut kiosk, Action::Decide);
    let [Command::SaveVisit(visit)] = &saved[..] else { panic!("{saved:?}") };
    assert_eq!(visit.decided_by.as_deref(), Some("J. Mugisha"));
    assert_eq!((&visit.site, &visit.operator), (&recorded.site, &recorded.operator));
    let written = |visit: &Visit| {
        let page = paper(visit, Language::En);
        let texts = page.items.iter().filter_map(|item| match item {
            Item::Label(label) => Some(label.text.clone()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    };
    assert!(written(visit).contains("J. Mugisha") && written(visit).contains("Huye"));
    assert!(!written(visit).contains("A. Uwase"));
    // Who decides again, because it could not be written down, has decided.
    kiosk.handle(Event::SaveFailed(recorded.uid));
    kiosk.operator = 0;
    let saved = press(&mut kiosk, Action::SaveAgain);
    let [Command::SaveVisit(visit)] = &saved[..] else { panic!("{saved:?}") };
    assert_eq!(visit.decided_by.as_deref(), Some("A. Uwase"));
}

fn any_finding() -> impl Strategy<Value = Finding> {
    let codes = || {
        proptest::sample::subsequence(support::REASONS.to_vec(), 1..3)
            .prop_map(|codes| support::reasons(&codes))
    };
    prop_oneof![
        3 => (0.0..0.8f64).prop_map(support::graded),
        1 => Just(support::graded(f64::NAN)),
        1 => codes().prop_map(|reasons| Finding::Retake { reasons }),
        1 => codes().prop_map(|reasons| Finding::Ungradable { reasons }),
    ]
}

fn any_eye() -> impl Strategy<Value = Laterality> {
    prop_oneof![Just(Right), Just(Left)]
}

fn any_event() -> impl Strategy<Value = Event> {
    let touch = || (0..800i32, 0..480i32).prop_map(|(x, y)| Event::Touch(Point::new(x, y)));
    let button =
        prop_oneof![Just(Button::Up), Just(Button::Down), Just(Button::Ok), Just(Button::Back)];
    let seen = || proptest::option::of(any_eye());
    prop_oneof![
        6 => touch(),
        8 => button.prop_map(Event::Button),
        2 => (0..4000u64).prop_map(|seconds| Event::Tick { seconds, clock: (9, 0) }),
        1 => any::<bool>().prop_map(|on| if on { Event::CameraOnline } else { Event::CameraOffline }),
        4 => Just(Event::Unlocked),
        1 => Just(Event::PinRefused { wait_s: 3 }),
        2 => ".{0,30}".prop_map(Event::Scanned),
        3 => Just(Event::VisitBegun { uid: Uid("2.25.7".into()), begun_at: String::new() }),
        6 => (0..9u32, seen())
            .prop_map(|(photograph, eye)| support::arrival(photograph, eye)),
        6 => (any_eye(), seen(), any_finding()).prop_map(|(eye, eye_seen, finding)| {
            let exam = Box::new(EyeExam { eye_seen, ..support::exam(eye, finding) });
            Event::ExamDone { exam, picture: support::picture(eye) }
        }),
        1 => Just(Event::ExamFailed),
        1 => Just(Event::LiveView(Arc::new(support::picture(Right)))),
        1 => Just(Event::LeftOut(1)),
        1 => Just(Event::NotKept(StorageFault::Full)),
        1 => (0..9u32, seen())
            .prop_map(|(photograph, eye)| Event::ExamNotKept(support::arrived(photograph, eye))),
        2 => (0..4usize).prop_map(|count| Event::Undecided(support::undecided(count))),
        2 => (0..4usize).prop_map(|number| {
            let visit = Box::new(support::undecided(number + 1).remove(number));
            Event::VisitResumed { visit, pictures: [None, Some(support::picture(Left))] }
        }),
        1 => Just(Event::VisitClosed(Uid("2.25.700".into()))),
        1 => Just(Event::VisitNotBegun),
        2 => Just(Event::Saved(Uid("2.25.7".into()))),
        1 => Just(Event::SaveFailed(Uid("2.25.7".into()))),
        1 => Just(Event::PrintDone),
        1 => Just(Event::ExportFailed),
    ]
}

/// The words that say that nothing is suspected stand on a page only where they are true of what it shows.
fn low_risk_words_are_true(kiosk: &Kiosk) -> Result<(), TestCaseError> {
    let page = kiosk.page();
    let said = |key: Key| page.labels().any(|label| label.text == kiosk.language.text(key));
    let graded = |exam: &EyeExam| matches!(exam.finding, Finding::Graded { .. });
    let clear = |exam: &EyeExam| matches!(exam.finding, Finding::Graded { probability, threshold, .. } if probability < threshold);
    if said(Key::DecisionNotSuspected) {
        prop_assert!(support::not_suspected(kiosk));
        let visit = kiosk.visit.as_ref().unwrap();
        for eye in [Right, Left] {
            let last = visit.visit.exams.iter().rfind(|exam| exam.eye == eye && graded(exam));
            let absent = visit.eye(eye) == EyeState::Absent;
            prop_assert!(absent || last.is_some_and(clear));
        }
        prop_assert!(visit.visit.exams.iter().any(clear));
    }
    if said(Key::NotSuspected) {
        if let Screen::UndecidedVisit { uid, .. } = &kiosk.screen {
            let visit = kiosk.undecided.iter().find(|visit| visit.uid == *uid).unwrap();
            prop_assert!(visit.exams.iter().any(clear));
            return Ok(());
        }
        let visit = kiosk.visit.as_ref().unwrap();
        match kiosk.screen {
            Screen::Result { eye } => prop_assert!(visit.last(eye).is_some_and(clear)),
            Screen::Photograph { .. } => prop_assert!(visit.visit.exams.iter().any(clear)),
            _ => prop_assert!(false, "on {:?}", kiosk.screen),
        }
    }
    Ok(())
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Move {
    /// An event, whether or not it makes sense.
    Event(Event),
    /// A finger on one of the page's buttons.
    Press(usize),
    /// A photograph of the eye that is asked for, and what comes of it.
    Examine(Finding),
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => any_event().prop_map(Move::Event),
        4 => any::<usize>().prop_map(Move::Press),
        4 => any_finding().prop_map(Move::Examine),
    ]
}

impl Move {
    fn events(self, kiosk: &Kiosk) -> Vec<Event> {
        match self {
            Self::Event(event) => vec![event],
            Self::Press(index) => {
                let page = kiosk.page();
                let count = page.buttons().count().max(1);
                let button = page.buttons().nth(index % count);
                button.map(|button| Event::Touch(button.area.center())).into_iter().collect()
            }
            Self::Examine(finding) => {
                let Screen::Photograph { eye } = kiosk.screen else { return Vec::new() };
                let exam = Box::new(support::exam(eye, finding));
                let picture = support::picture(eye);
                vec![support::arrival(0, Some(eye)), Event::ExamDone { exam, picture }]
            }
        }
    }
}

/// Takes one event in and checks what must hold whatever it was; whether the page now says that nothing is
/// suspected comes back.
fn one_event(kiosk: &mut Kiosk, event: Event) -> Result<bool, TestCaseError> {
    let alarmed = |screen: &Screen| matches!(screen, Screen::WrongEye { .. });
    let before = alarmed(&kiosk.screen);
    let answered = matches!(event, Event::Touch(_) | Event::Button(Button::Ok));
    let commands = kiosk.handle(event);
    low_risk_words_are_true(kiosk)?;
    // An alarm ends by an answer, or hides behind the PIN.
    if before && !alarmed(&kiosk.screen) {
        prop_assert!(answered || kiosk.locked.as_deref().is_some_and(alarmed));
    }
    for command in commands {
        let Command::SaveVisit(visit) = command else { continue };
        if visit.decision == Some(Decision::NotSuspected) {
            for eye in [Right, Left] {
                // No photograph at all: the eye is absent. Else one that was graded, and none above.
                let of_eye = || visit.exams.iter().filter(|exam| exam.eye == eye);
                let clear = |exam: &EyeExam| match exam.finding {
                    Finding::Graded { probability, threshold, .. } => Some(probability < threshold),
                    _ => None,
                };
                let graded: Vec<bool> = of_eye().filter_map(clear).collect();
                prop_assert!(of_eye().next().is_none() || !graded.is_empty());
                prop_assert!(graded.into_iter().all(|clear| clear));
            }
        }
    }
    Ok(kiosk.screen == Screen::Decision && support::not_suspected(kiosk))
}

#[test]
fn no_events_break_it_or_make_it_say_low_risk_wrongly() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) };
    let reached = AtomicU32::new(0);
    let moves = (0..3u8, proptest::collection::vec(any_move(), 1..120));
    let result = TestRunner::new(config).run(&moves, |(begins, moves)| {
        let mut kiosk = match begins {
            0 => support::kiosk(Panel::PI_7_INCH, Language::En, Theme::Daylight),
            _ => begun(),
        };
        if begins == 2 {
            photograph(&mut kiosk, support::exam(Right, support::graded(0.1)));
        }
        for step in moves {
            for event in step.events(&kiosk) {
                reached.fetch_add(one_event(&mut kiosk, event)?.into(), Ordering::Relaxed);
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    // Else nothing was tested: the words in question never came. They come some hundred times.
    assert!(reached.into_inner() > 0);
}

const DAY: &str = include_str!("day.script");

#[test]
fn a_small_day_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let steps = script::parse(DAY, Path::new("day.script")).unwrap();
    let kiosk = Kiosk::new(Panel::PI_7_INCH, support::setup(), Language::En, Theme::Daylight);
    let mut stage = Stage::new(kiosk, PngDir::new(folder.path()).unwrap());
    let (requests, asked) = channel();
    let (answers, messages) = channel();
    let world = FakeWorld { failures: 1, ..FakeWorld::default() };
    let world = std::thread::spawn(move || world.answer(&asked, &answers));
    replay(&mut stage, &Channels { requests, messages }, &steps).unwrap();
    let world = world.join().unwrap();
    let decisions: Vec<_> = world
        .saved
        .iter()
        .map(|visit| (visit.person.id.as_str(), visit.decision.clone()))
        .collect();
    let refer = |codes: &[&str]| Some(Decision::Refer { reasons: support::reasons(codes) });
    let expected = [
        ("HY-0001", Some(Decision::NotSuspected)),
        ("RW-77", refer(&["suspected_right", "ungradable_left"])),
        ("HY-0003", None),
    ];
    assert_eq!(decisions, expected);
    assert_eq!((world.printed, stage.kiosk.day.examined), (1, 2));
    assert_eq!(stage.kiosk.screen, Screen::Start, "locked at the end");
    let pictures = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(pictures as u32, stage.presenter.written());
    assert!(pictures > 30, "{pictures}");
}
