//! The device answers the kiosk while its storage fails: what could not be recorded is not called done, and its
//! photograph is kept.
#![allow(clippy::unwrap_used)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use edge_infer::bundle::{Bundle, named_or_default};
use edge_infer::kiosk::config::{Config, JournalFiles};
use edge_infer::kiosk::device::{Device, Ways};
use edge_infer::kiosk::live_view::Wanted;
use edge_infer::kiosk::photographs::Photographs;
use glaucoma_common::reading::Laterality;
use glaucoma_engine::Options;
use glaucoma_kiosk::event_loop::{Message, Request};
use glaucoma_kiosk::model::{Arrival, Command, Event};
use glaucoma_records::disk::{Disk, SystemDisk};
use glaucoma_records::journal::{Journal, Settings, StorageFault};
use glaucoma_records::seal::{Cost, RecoveryKey};
use glaucoma_records::visit::{Person, Sex};
use glaucoma_tests::{retina, workspace};

const PIN: &str = "222222";

/// Has no space while it is full.
#[derive(Clone, Default)]
struct FillableDisk(Arc<AtomicBool>);

impl Disk for FillableDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        SystemDisk.write(path, bytes)
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        SystemDisk.sync_file(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        SystemDisk.sync_folder(folder)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }
}

/// What a device is worked with, from the kiosk's side.
struct Ends {
    requests: Sender<Request>,
    messages: Receiver<Message>,
}

impl Ends {
    fn ask(&self, request: Request) -> Vec<Event> {
        self.requests.send(request).unwrap();
        match self.messages.recv().unwrap() {
            Message::Answer(events) => events,
            other => panic!("{other:?}"),
        }
    }

    fn command(&self, command: Command) -> Vec<Event> {
        self.ask(Request::Command(command))
    }

    fn photograph(&self, file: PathBuf) -> Arrival {
        let [Event::PhotographTaken(arrival)] =
            &self.ask(Request::Photograph { file, eye: None })[..]
        else {
            panic!("no photograph")
        };
        arrival.clone()
    }
}

/// Works with a device whose journal lies on `disk`; the journal, unlocked, is given besides.
fn with_device(disk: FillableDisk, work: impl FnOnce(&Ends, &Journal)) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let journal = JournalFiles {
        folder: at("journal"),
        device_secret: at("secret"),
        output: folder.path().to_owned(),
    };
    let config = Config { journal, ..Config::default() };
    let settings = Settings {
        cost: Cost { memory_kib: 64, passes: 1 },
        disk: Box::new(disk),
        ..Settings::new(at("journal"), at("secret"))
    };
    let journal = Journal::open(settings).unwrap();
    journal.found("Asha", PIN, RecoveryKey::generate().1).unwrap();
    let model = named_or_default(Some(&workspace().join("models/fundus-small-0.1.onnx"))).unwrap();
    let bundle = Bundle::open(&model, &Options::default()).unwrap();
    let photographs = Photographs::default();
    let (outbox, _woken) = channel();
    let (requests, asked) = channel();
    let (answers, messages) = channel();
    let ways = Ways { outbox, shutter: None, live_view: Wanted::default() };
    std::thread::scope(|scope| {
        let mut device = Device::new(&bundle, &journal, &config, &photographs, ways);
        scope.spawn(move || device.answer_all(&asked, &answers, &|| ()));
        work(&Ends { requests, messages }, &journal);
    });
}

fn begin(ends: &Ends) {
    let person = Person { id: "RW-7".into(), name: None, age_years: None, sex: Sex::Unknown };
    let (site, operator) = ("Huye".into(), "Asha".into());
    let begun = ends.command(Command::RegisterPerson { person, site, operator });
    assert!(matches!(begun[..], [Event::VisitBegun { .. }]), "{begun:?}");
}

fn exams(journal: &Journal) -> usize {
    journal.reader().unwrap().open_visits().unwrap()[0].visit.exams.len()
}

/// The photograph that could not be recorded, which waits again.
fn not_kept(events: &[Event]) -> u32 {
    match events {
        [Event::NotKept(StorageFault::Full), Event::ExamNotKept(arrival)] => arrival.photograph,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_exam_that_a_full_disk_could_not_take_is_told_as_that_and_tried_again() {
    let disk = FillableDisk::default();
    with_device(disk.clone(), |ends, journal| {
        begin(ends);
        let mut photograph = ends.photograph(retina()).photograph;
        let examine =
            |photograph| Command::BeginExam { photograph, eye: Laterality::Left, attempt: 1 };
        disk.0.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            photograph = not_kept(&ends.command(examine(photograph)));
            assert_eq!(exams(journal), 0);
        }
        disk.0.store(false, Ordering::SeqCst);
        let done = ends.command(examine(photograph));
        assert!(matches!(done[..], [Event::ExamDone { .. }]), "{done:?}");
        assert_eq!(exams(journal), 1);
        journal.reader().unwrap().verify(None).unwrap();
    });
}

#[test]
fn so_is_one_whose_eye_was_in_doubt() {
    let disk = FillableDisk::default();
    with_device(disk.clone(), |ends, journal| {
        begin(ends);
        let photograph = ends.photograph(retina()).photograph;
        let eye = Laterality::Right;
        let asked = ends.command(Command::BeginExam { photograph, eye, attempt: 1 });
        let [Event::ExamDone { exam, .. }] = &asked[..] else { panic!("{asked:?}") };
        assert!(exam.wrong_eye_alarm());
        disk.0.store(true, Ordering::SeqCst);
        let holds = Laterality::Left;
        let exam = exam.uid.clone();
        let photograph = not_kept(&ends.command(Command::EyeConfirmed { exam, said: eye, holds }));
        assert_eq!(exams(journal), 0);
        disk.0.store(false, Ordering::SeqCst);
        let done = ends.command(Command::BeginExam { photograph, eye: holds, attempt: 1 });
        assert!(matches!(done[..], [Event::ExamDone { .. }]), "{done:?}");
        assert_eq!(exams(journal), 1);
    });
}
