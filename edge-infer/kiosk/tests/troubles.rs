//! What goes wrong in a day: the storage fails, a card holds old photographs, the device stops in the middle of a
//! visit.
#![allow(clippy::unwrap_used)]

mod support;

use glaucoma_common::reading::Laterality::{Left, Right};
use glaucoma_kiosk::model::{Action, Command, Event, Kiosk, Screen};
use glaucoma_kiosk::panel::Panel;
use glaucoma_kiosk::theme::Theme;
use glaucoma_kiosk::words::{Key, Language};
use glaucoma_records::journal::StorageFault;
use glaucoma_records::visit::{Decision, EyeExam};
use support::{begun, photograph, press};

#[test]
fn what_could_not_be_recorded_is_not_done_and_its_photograph_is_tried_again() {
    let said = |kiosk: &Kiosk, key: Key| {
        let text = Language::En.text(key);
        kiosk.page().labels().any(|label| label.text == text)
    };
    for doubtful in [false, true] {
        let mut kiosk = begun();
        if doubtful {
            let exam = support::exam(Right, support::graded(0.1));
            photograph(&mut kiosk, EyeExam { eye_seen: Some(Left), ..exam });
            press(&mut kiosk, Action::ItIs(Right));
        } else {
            kiosk.handle(support::arrival(0, None));
        }
        for number in [4, 5] {
            kiosk.handle(Event::NotKept(StorageFault::Full));
            kiosk.handle(Event::ExamNotKept(support::arrived(number, Some(Right))));
            assert_eq!(kiosk.screen, Screen::Photograph { eye: Right });
            assert!(kiosk.visit.as_ref().unwrap().visit.exams.is_empty());
            assert!(said(&kiosk, Key::NotKept) && said(&kiosk, Key::StorageFull));
            assert!(!said(&kiosk, Key::ExamFailed));
            // What comes in meanwhile waits behind it.
            assert!(kiosk.handle(support::arrival(9, None)).is_empty());
            let again = press(&mut kiosk, Action::UseUnasked);
            let attempt = Command::BeginExam { photograph: number, eye: Right, attempt: 1 };
            assert_eq!(again, [attempt]);
            assert!(!said(&kiosk, Key::NotKept), "it is being tried");
        }
        let exam = Box::new(support::exam(Right, support::graded(0.1)));
        kiosk.handle(Event::ExamDone { exam, picture: support::picture(Right) });
        assert_eq!(kiosk.screen, Screen::Result { eye: Right });
    }
    // A PIN that could not be tried is not called wrong.
    let mut kiosk = support::kiosk(Panel::PI_7_INCH, Language::En, Theme::Daylight);
    kiosk.screen = Screen::Pin { pin: String::new(), checking: true, refused: None };
    kiosk.handle(Event::NotKept(StorageFault::Fails));
    kiosk.handle(Event::PinRefused { wait_s: 0 });
    assert!(said(&kiosk, Key::StorageFails) && !said(&kiosk, Key::PinWrong));
    press(&mut kiosk, Action::Digit('1'));
    assert!(!said(&kiosk, Key::StorageFails));
}

#[test]
fn all_that_wait_are_left_out_at_once_and_counted() {
    let mut kiosk = begun();
    kiosk.handle(support::arrival(1, Some(Left)));
    let offered = |kiosk: &Kiosk| {
        kiosk.page().buttons().any(|button| button.action == Action::AskLeaveOutAll)
    };
    assert!(!offered(&kiosk), "one is left out alone");
    kiosk.handle(support::arrival(2, None));
    press(&mut kiosk, Action::AskLeaveOutAll);
    press(&mut kiosk, Action::EndLeaveOut);
    assert_eq!(kiosk.unasked.len(), 2);
    press(&mut kiosk, Action::AskLeaveOutAll);
    let photographs = vec![1, 2];
    assert_eq!(press(&mut kiosk, Action::LeaveOutAll), [Command::LeaveOutAll { photographs }]);
    for _ in 0..312 {
        kiosk.handle(Event::LeftOut(1));
    }
    assert!(kiosk.page().labels().any(|label| label.text == "312 left out"));
    // What comes now did not stand there: it is for this person.
    kiosk.handle(support::arrival(3, None));
    press(&mut kiosk, Action::EndLeaveOut);
    assert_eq!(kiosk.unasked, [support::arrived(3, None)]);
}

/// A kiosk whose journal holds visits that were interrupted.
fn after_an_interruption() -> Kiosk {
    let mut kiosk = support::kiosk(Panel::PI_7_INCH, Language::En, Theme::Daylight);
    kiosk.screen = Screen::Home;
    kiosk.handle(Event::Undecided(support::undecided(3)));
    press(&mut kiosk, Action::OpenUndecided);
    kiosk
}

#[test]
fn an_interrupted_visit_goes_on_with_what_was_found() {
    let mut kiosk = after_an_interruption();
    press(&mut kiosk, Action::PickUndecided(0));
    let visit = support::undecided(1).remove(0);
    assert_eq!(press(&mut kiosk, Action::Resume), [Command::ResumeVisit(visit.uid.clone())]);
    assert!(kiosk.page().buttons().next().is_none(), "it is being read");
    kiosk.handle(Event::VisitNotBegun);
    press(&mut kiosk, Action::Resume);
    let pictures = [Some(support::picture(Right)), None];
    kiosk.handle(Event::VisitResumed { visit: Box::new(visit.clone()), pictures });
    assert_eq!(kiosk.screen, Screen::Result { eye: Right });
    assert_eq!(kiosk.undecided.len(), 2);
    press(&mut kiosk, Action::GoOn);
    assert_eq!(kiosk.screen, Screen::Photograph { eye: Left });
    photograph(&mut kiosk, support::exam(Left, support::graded(0.1)));
    let saved = press(&mut kiosk, Action::Decide);
    let [Command::SaveVisit(saved)] = &saved[..] else { panic!("{saved:?}") };
    assert_eq!((&saved.uid, saved.exams.len()), (&visit.uid, 2));
    let reasons = support::reasons(&["suspected_right", "asymmetry"]);
    assert_eq!(saved.decision, Some(Decision::Refer { reasons }));
    // The list of a later unlocking does not hold the visit that is open.
    let mut all = support::undecided(3);
    all[0] = visit;
    kiosk.handle(Event::Undecided(all));
    assert_eq!(kiosk.undecided.len(), 2);
}

#[test]
fn an_interrupted_visit_is_closed_and_a_broken_off_one_may_go_on() {
    let mut kiosk = after_an_interruption();
    for left in (0..3).rev() {
        press(&mut kiosk, Action::PickUndecided(0));
        let uid = kiosk.undecided[0].uid.clone();
        assert_eq!(press(&mut kiosk, Action::CloseVisit), [Command::CloseVisit(uid.clone())]);
        kiosk.handle(Event::VisitClosed(uid));
        assert_eq!(kiosk.undecided.len(), left);
    }
    assert_eq!(kiosk.screen, Screen::Home);
    let offered = |kiosk: &Kiosk| kiosk.page().buttons().any(|b| b.action == Action::OpenUndecided);
    assert!(!offered(&kiosk));
    kiosk.visit = begun().visit;
    kiosk.screen = Screen::BreakOff;
    assert!(matches!(press(&mut kiosk, Action::BreakOff)[..], [Command::SaveVisit(_)]));
    assert!(offered(&kiosk));
}
