//! Five hundred people in one day: every one of them in the journal, and the memory as flat at the end as at the
//! beginning.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::sync::mpsc::channel;

use edge_infer::bundle::{Bundle, named_or_default};
use edge_infer::kiosk::Config;
use edge_infer::kiosk::config::JournalFiles;
use edge_infer::kiosk::day::{Input, Tools, run};
use edge_infer::kiosk::intakes::IntakeConfig;
use edge_infer::reports::always;
use embedded_graphics::primitives::Rectangle;
use glaucoma_engine::Options;
use glaucoma_kiosk::display::{DisplayError, Frame, Presenter};
use glaucoma_kiosk::input::script;
use glaucoma_kiosk::model::Kiosk;
use glaucoma_kiosk::panel::Panel;
use glaucoma_kiosk::stage::Stage;
use glaucoma_kiosk::theme::Theme;
use glaucoma_kiosk::words::Language;
use glaucoma_records::journal::{Journal, Settings};
use glaucoma_records::seal::{Cost, RecoveryKey};
use glaucoma_tests::retina;
use image::imageops::{FilterType, flip_horizontal, resize};

const PEOPLE: u32 = 500;
/// The part of the day after which every buffer has been as large as it will be.
const WARM: f64 = 0.2;
/// What the allocator may keep, and the list of who was referred may grow by.
const MORE_KIB: u64 = 8 << 10;

const PIN: &str = "222222";

/// Shows nothing, and notes at each frame how much memory there is, KiB.
struct Watching {
    resident: Vec<Option<u64>>,
}

impl Presenter for Watching {
    fn present(&mut self, _: &Frame, _: Rectangle) -> Result<(), DisplayError> {
        self.resident.push(resident_kib());
        Ok(())
    }
}

/// Resident memory of this process in KiB.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The steps of everybody, from the home screen.
fn people() -> String {
    let person = |number: u32| {
        format!(
            "button ok\nscan P-{number}\nbutton ok\nphotograph right.jpg right\nbutton ok\n\
             photograph left.jpg left\nbutton ok\nbutton ok\nwait 40\n"
        )
    };
    (0..PEOPLE).map(person).collect()
}

/// Set in the process in which the day is worked.
const CHILD: &str = "LONG_DAY";

/// The day is worked in a process of its own, whose threads share one heap: glibc gives a thread that meets another
/// in the allocator a heap more, which then keeps as much as the first, and that is no growth with people.
#[test]
fn five_hundred_people_in_flat_memory() {
    if std::env::var_os(CHILD).is_some() {
        return long_day();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "five_hundred_people_in_flat_memory", "--nocapture"]);
    let done = child.env(CHILD, "1").env("MALLOC_ARENA_MAX", "1").output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    print!("{said}");
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
}

fn long_day() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Large enough to be graded, small enough for a quick day.
    let left = image::open(retina()).unwrap().to_rgb8();
    let left = resize(&left, 700, 700, FilterType::Triangle);
    left.save(at("left.jpg")).unwrap();
    flip_horizontal(&left).save(at("right.jpg")).unwrap();
    let files =
        JournalFiles { folder: at("journal"), device_secret: at("secret"), output: at("output") };
    let intake = IntakeConfig { inbox: at("inbox"), ..IntakeConfig::default() };
    let config = Config { journal: files, intake, ..Config::default() };
    let settings = Settings {
        cost: Cost { memory_kib: 64, passes: 1 },
        ..Settings::new(at("journal"), at("secret"))
    };
    let journal = Journal::open(settings).unwrap();
    journal.found("Asha", PIN, RecoveryKey::generate().1).unwrap();
    journal.lock().unwrap();
    let bundle = Bundle::open(&named_or_default(None).unwrap(), &Options::default()).unwrap();
    let setup = config.setup(vec!["Asha".into()]);
    let kiosk = Kiosk::new(Panel::PI_7_INCH, setup, Language::En, Theme::Daylight);
    let mut stage = Stage::new(kiosk, Watching { resident: Vec::new() });
    let tools = Tools { bundle: &bundle, journal: &journal, config: &config };
    let down = "button down\n".repeat(3);
    let up = "button up\n".repeat(3);
    let digits = "button ok\n".repeat(PIN.len());
    let day = format!("camera on\nbutton ok\n{down}{digits}{up}button ok\n{}", people());
    let steps = script::parse(&day, &at("day.script")).unwrap();
    run(&mut stage, Input::Script(&steps), channel(), &tools).unwrap();

    let summary = journal.reader().unwrap().summary(always()).unwrap();
    let expected = u64::from(PEOPLE);
    assert_eq!((summary.visits, summary.examined, summary.open), (expected, expected, 0));
    assert_eq!(summary.photographs, 2 * expected);
    assert_eq!(stage.kiosk.day.examined, PEOPLE);
    let resident = &stage.presenter.resident;
    assert!(resident.len() > 8 * PEOPLE as usize, "{} frames", resident.len());
    let warm = resident[(resident.len() as f64 * WARM) as usize];
    match (warm, resident.last().copied().flatten()) {
        (Some(warm), Some(end)) => {
            println!("resident after a fifth of the day {warm} KiB, at its end {end} KiB");
            assert!(end <= warm + MORE_KIB, "{warm} KiB became {end} KiB");
        }
        _ => println!("SKIPPED: this system does not tell a process its memory"),
    }
    journal.reader().unwrap().verify(None).unwrap();
}
