//! How long a health worker waits: from a photograph on the card to its result on the screen, stage by stage.
//!
//! ```sh
//! cargo run --release -p edge-infer --example camera_to_result -- PHOTOGRAPH.jpg [BUNDLE.onnx] [ROUNDS]
//! ```
//!
//! The photograph must be of a left eye. Each round is a new person; the journal, the inbox and the card are in a
//! temporary folder of the working directory's file system, whose flushes are counted as they come.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use edge_infer::bench::Spread;
use edge_infer::bundle::{Bundle, named_or_default};
use edge_infer::exam::examine;
use edge_infer::kiosk::config::{Config, JournalFiles};
use edge_infer::kiosk::device::{Device, Ways};
use edge_infer::kiosk::intakes::{IntakeConfig, Intakes};
use edge_infer::kiosk::live_view::{ToScreen, Wanted};
use edge_infer::kiosk::photographs::{Photograph, Photographs, Put};
use embedded_graphics::primitives::Rectangle;
use glaucoma_common::photo::Limits;
use glaucoma_common::reading::Laterality;
use glaucoma_engine::Options;
use glaucoma_kiosk::display::{DisplayError, Frame, Presenter};
use glaucoma_kiosk::event_loop::{Message, Request};
use glaucoma_kiosk::model::{Command, Event, Kiosk};
use glaucoma_kiosk::panel::Panel;
use glaucoma_kiosk::stage::Stage;
use glaucoma_kiosk::theme::Theme;
use glaucoma_kiosk::words::Language;
use glaucoma_records::journal::{Journal, Settings};
use glaucoma_records::visit::{Person, Sex};

/// A display that takes no time.
struct NoDisplay;

impl Presenter for NoDisplay {
    fn present(&mut self, _: &Frame, _: Rectangle) -> Result<(), DisplayError> {
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let photograph = arguments.next().context("give a photograph of a left eye, a JPEG")?;
    let bundle = arguments.next().map(PathBuf::from);
    let rounds = arguments.next().and_then(|rounds| rounds.to_str()?.parse().ok()).unwrap_or(20);
    let bytes = std::fs::read(&photograph)?;
    ensure!(bytes.starts_with(&[0xff, 0xd8]), "not a JPEG");
    let bundle = Bundle::open(&named_or_default(bundle.as_deref())?, &Options::default())?;
    let folder = tempfile::tempdir_in(".")?;
    let stages = measure(&bytes, &bundle, folder.path(), rounds)?;
    let (width, height) = image::image_dimensions(&photograph)?;
    println!(
        "{width} x {height}, {} bytes, {}, {rounds} rounds",
        bytes.len(),
        bundle.manifest.name
    );
    println!("{:<42}{:>9}{:>9}{:>9}", "stage, ms", "median", "p90", "max");
    for (name, values) in &stages {
        let Spread { median, p90, max, .. } = Spread::of(values);
        println!("{name:<42}{median:>9.1}{p90:>9.1}{max:>9.1}");
    }
    Ok(())
}

const STAGES: [&str; 10] = [
    "noticed, read, decoded, kept in the inbox",
    "exam: decode",
    "exam: quality",
    "exam: preprocess",
    "exam: network",
    "exam: reading",
    "picture, sealed, in the journal",
    "page drawn at 800x480",
    "all",
    "all but the network",
];

/// Milliseconds of every stage and round.
fn measure(
    jpeg: &[u8],
    bundle: &Bundle,
    folder: &Path,
    rounds: usize,
) -> anyhow::Result<Vec<(&'static str, Vec<f64>)>> {
    let card = folder.join("card");
    std::fs::create_dir(&card)?;
    let files = JournalFiles {
        folder: folder.join("journal"),
        device_secret: folder.join("secret"),
        output: folder.join("output"),
    };
    let intake = IntakeConfig {
        inbox: folder.join("inbox"),
        folders: vec![card.clone()],
        ..IntakeConfig::default()
    };
    let config = Config { journal: files, intake, ..Config::default() };
    let settings =
        Settings::new(config.journal.folder.clone(), config.journal.device_secret.clone());
    let journal = Journal::open(settings)?;
    let (_, recovery) = glaucoma_records::seal::RecoveryKey::generate();
    journal.found("Asha", "222222", recovery)?;
    journal.unlock("Asha", "222222")?;
    let photographs = Photographs::default();
    let (answers, messages) = channel();
    let live_view = Wanted::default();
    let view = ToScreen::new(Wanted::clone(&live_view), answers.clone());
    let (intakes, incoming) = Intakes::start(&config.intake, view, None)?;
    while intakes.online(Instant::now()) != Some(true) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (requests, asked) = channel();
    let (outbox, _woken) = channel();
    let kiosk = Kiosk::new(
        Panel::PI_7_INCH,
        config.setup(vec!["Asha".into()]),
        Language::En,
        Theme::Daylight,
    );
    let mut stage = Stage::new(kiosk, NoDisplay);
    let mut stages: Vec<(&str, Vec<f64>)> = STAGES.map(|name| (name, Vec::new())).into();
    std::thread::scope(|scope| {
        let ways = Ways { outbox, shutter: None, live_view };
        let device = Device::new(bundle, &journal, &config, &photographs, ways);
        scope.spawn(move || {
            let mut device = device;
            device.answer_all(&asked, &answers, &|| ());
        });
        // Dropped at the end, upon which the device ends.
        let requests = requests;
        let ask = |command: Command| -> anyhow::Result<Event> {
            requests.send(Request::Command(command))?;
            match messages.recv()? {
                Message::Answer(events) => events.into_iter().next().context("no answer"),
                other => bail!("{other:?}"),
            }
        };
        for round in 0..rounds {
            let id = format!("P-{round}");
            let person = Person { id, name: None, age_years: None, sex: Sex::Unknown };
            let (site, operator) = ("Camp".to_owned(), "Asha".to_owned());
            ask(Command::RegisterPerson { person, site, operator })?;
            let file = with_comment(jpeg, round);
            std::fs::write(folder.join("new"), &file)?;
            let begun = Instant::now();
            std::fs::rename(folder.join("new"), card.join(format!("{round}.jpg")))?;
            let photograph = Photograph::from(incoming.recv()?);
            let kept = begun.elapsed();
            let Put::Waits(arrival) = photographs.put(photograph) else { bail!("closed") };
            let exam = Command::BeginExam {
                photograph: arrival.photograph,
                eye: Laterality::Left,
                attempt: 1,
            };
            let done = ask(exam)?;
            let answered = begun.elapsed();
            let Event::ExamDone { exam, .. } = &done else { bail!("not examined: {done:?}") };
            ensure!(!exam.wrong_eye_alarm(), "the photograph shows a right eye");
            stage.handle(done);
            stage.show()?;
            let shown = begun.elapsed();
            // The exam alone, once more, for its parts.
            let timing = examine(&file, bundle, &Limits::default()).timing;
            let part = |part: Option<f64>| part.context("the photograph was not graded");
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let network = part(timing.network)?;
            let values = [
                ms(kept),
                part(timing.decode)?,
                part(timing.quality)?,
                part(timing.preprocess)?,
                network,
                part(timing.reading)?,
                ms(answered - kept) - timing.total,
                ms(shown - answered),
                ms(shown),
                ms(shown) - network,
            ];
            for ((_, all), value) in stages.iter_mut().zip(values) {
                all.push(value);
            }
        }
        drop(requests);
        Ok(stages)
    })
}

/// The same pixels as another file: a comment behind the first marker.
fn with_comment(jpeg: &[u8], number: usize) -> Vec<u8> {
    let comment = format!("{number:08}");
    let length = (comment.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xfe], &length, comment.as_bytes(), &jpeg[2..]].concat()
}
