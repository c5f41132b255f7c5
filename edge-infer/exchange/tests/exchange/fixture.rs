//! A visit, a photograph, an inbox.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use glaucoma_common::photo::{Limits, decode, sha256_hex};
use glaucoma_common::reading::Laterality;
use glaucoma_exchange::dicom::{DicomFile, Identity, Station, Subject, photograph};
use glaucoma_exchange::intake::{self, Inbox, Incoming, Intake, Running};
use glaucoma_records::visit::*;
use tempfile::TempDir;

pub const RETINA: &[u8] = include_bytes!("../../../../tests/data/retina.jpg");

/// Long enough for a busy machine; nothing waits this long where all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn visit() -> Visit {
    let exam = |number: u32, eye, finding| EyeExam {
        uid: Uid(format!("2.25.{number}")),
        eye,
        eye_seen: Some(eye),
        eye_confirmed: false,
        taken_at: "2026-05-01T09:31:00Z".into(),
        photograph_sha256: sha256_hex(RETINA),
        photograph_type: "image/jpeg".into(),
        burned_in: None,
        finding,
        model: ModelName { name: "m".into(), version: "1".into(), sha256: "ab".into() },
    };
    let graded = Finding::Graded {
        probability: 0.75,
        threshold: 0.5,
        vcdr: 0.66,
        vcdr_interval: Some((0.55, 0.77)),
    };
    Visit {
        uid: Uid("2.25.1000".into()),
        person: Person {
            id: "CAMP/7|1".into(),
            name: Some("आशा देवी".into()),
            age_years: Some(93),
            sex: Sex::Female,
        },
        site: "Rampur".into(),
        operator: "Operator Seven".into(),
        begun_at: "2026-05-01T09:30:00Z".into(),
        note: None,
        without_photograph: Vec::new(),
        exams: vec![
            exam(1001, Laterality::Right, graded),
            exam(1002, Laterality::Left, Finding::Ungradable { reasons: vec!["blurred".into()] }),
        ],
        decision: Some(Decision::Refer {
            reasons: vec!["suspected_right".into(), "ungradable_left".into()],
        }),
        decided_by: Some("Operator Eight".into()),
    }
}

pub fn station() -> Station {
    Station {
        manufacturer: "Maker".into(),
        model: "Camera".into(),
        serial: "SN-1".into(),
        software: "edge-infer 0".into(),
    }
}

/// The retina in DICOM, as our device writes it.
pub fn retina_file() -> DicomFile {
    let (visit, station) = (visit(), station());
    let subject = Subject {
        visit: &visit,
        exam: &visit.exams[0],
        station: &station,
        identity: Identity::Own,
        burned_in: Some(false),
    };
    photograph(&subject, RETINA).unwrap()
}

/// A photograph that no other is: a small PNG with `number` written in its first pixel.
pub fn png(number: u8) -> Vec<u8> {
    let mut pixels = image::RgbImage::from_pixel(160, 160, image::Rgb([180, 90, 40]));
    pixels.put_pixel(0, 0, image::Rgb([number, 0, 0]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    decode(bytes.get_ref(), &Limits::default()).unwrap();
    bytes.into_inner()
}

/// A running intake with its inbox and channel.
pub struct Bench {
    pub folder: TempDir,
    pub sender: SyncSender<Incoming>,
    pub receiver: Receiver<Incoming>,
    pub running: Running,
}

pub fn bench(intake: impl Intake, capacity: usize, offline_after: Duration) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let (sender, receiver) = intake::channel(capacity);
    let inbox = Arc::new(Inbox::open(folder.path()).unwrap());
    let running = intake::start(intake, sender.clone(), inbox, offline_after).unwrap();
    Bench { folder, sender, receiver, running }
}

impl Bench {
    pub fn next(&self) -> Incoming {
        self.receiver.recv_timeout(PATIENCE).expect("a photograph should have come in")
    }

    /// Nothing comes for several looks.
    pub fn assert_quiet(&self) {
        let more = self.receiver.recv_timeout(Duration::from_millis(400));
        assert!(more.is_err(), "came in: {:?}", more.map(|incoming| incoming.origin));
    }

    /// What lies in the inbox, `taken.txt` aside.
    pub fn kept(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "taken.txt");
        names.sort();
        names
    }
}

/// Waits until something is so.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
