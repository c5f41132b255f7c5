//! Every screen in every state that changes what it shows.

use std::sync::Arc;

use glaucoma_common::reading::Laterality::{Left, Right};
use glaucoma_kiosk::model::{Action, Draft, Editing, Errand, Event, Field, Kiosk, Screen};
use glaucoma_kiosk::panel::Panel;
use glaucoma_kiosk::picture::View;
use glaucoma_kiosk::theme::Theme;
use glaucoma_kiosk::words::Language;
use glaucoma_records::journal::StorageFault;
use glaucoma_records::visit::{EyeExam, Finding, Sex, Uid};

use super::{REASONS, arrived, exam, graded, kiosk, picture, reasons, undecided, visit};

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
    let live = |kiosk: &mut Kiosk| {
        photograph(kiosk, vec![exam(Right, graded(0.2))], Left);
        (kiosk.setup.shutter, kiosk.setup.live_view) = (true, true);
        // Its first second: live pictures are asked for.
        kiosk.handle(Event::Tick { seconds: kiosk.seconds, clock: kiosk.clock });
        kiosk.handle(Event::LiveView(Arc::new(picture(Left))));
    };
    add("photograph-live", &live);
    add("photograph-live-unreadable", &|kiosk| {
        live(kiosk);
        kiosk.visit.as_mut().unwrap().unreadable = true;
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
