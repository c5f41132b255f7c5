//! What answers the kiosk on this device: photographs are examined by the bundle, and nothing is shown as done
//! before the journal has it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use glaucoma_common::photo::Limits;
use glaucoma_common::reading::Laterality;
use glaucoma_exchange::intake::Hints;
use glaucoma_kiosk::display::{DisplayError, write_png};
use glaucoma_kiosk::event_loop::{Message, Request};
use glaucoma_kiosk::model::{Check, Command, Event, Status};
use glaucoma_kiosk::picture::EyePicture;
use glaucoma_kiosk::screens::slip;
use glaucoma_kiosk::text::Typesetter;
use glaucoma_kiosk::words::Language;
use glaucoma_records::clock::{Clock, SystemClock};
use glaucoma_records::export::Identity;
use glaucoma_records::ids::{Ids, RandomError, RandomIds};
use glaucoma_records::journal::{Journal, JournalError, Recorded};
use glaucoma_records::visit::{EyeExam, Finding, ModelName, Person, Uid, Visit};

use super::config::{Config, Export};
use super::finding::{finding, picture, reading};
use super::live_view::Wanted;
use super::local_time;
use super::outbox::delivered;
use super::photographs::{Photograph, Photographs, Put};
use crate::board::{Power, Storage};
use crate::bundle::Bundle;
use crate::exam::examine;
use crate::reports::stick::{self, StickError};
use crate::reports::{self, ReportsError, What, page};
use crate::service::status::ClockStatus;

/// The device.
pub struct Device<'a> {
    bundle: &'a Bundle,
    journal: &'a Journal,
    config: &'a Config,
    photographs: &'a Photographs,
    ways: Ways,
    limits: Limits,
    clock: SystemClock,
    ids: RandomIds,
    setter: Typesetter,
    /// The open visit.
    visit: Option<Visit>,
    /// An exam whose eye is in doubt: recorded when the operator has said.
    in_doubt: Option<Examined>,
}

/// A photograph and what came of it, not recorded yet.
struct Examined {
    exam: EyeExam,
    picture: EyePicture,
    photograph: Photograph,
}

/// How the device reaches its other threads.
pub struct Ways {
    /// Wakes the outbox.
    pub outbox: Sender<()>,
    /// Releases the camera, where one waits for that.
    pub shutter: Option<Sender<Hints>>,
    /// Whether the screen wants live pictures.
    pub live_view: Wanted,
}

/// Something that the kiosk asked for and that failed; told on standard error and by an event.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("no random numbers: {0}")]
    Ids(#[from] RandomError),
    #[error(transparent)]
    Slip(#[from] DisplayError),
    #[error(transparent)]
    Reports(#[from] ReportsError),
    #[error(transparent)]
    Stick(#[from] StickError),
    #[error("no visit is open")]
    NoVisit,
}

type Answer = Result<Vec<Event>, Failed>;

impl Examined {
    /// What the kiosk hears of it.
    fn done(&self) -> Event {
        Event::ExamDone { exam: Box::new(self.exam.clone()), picture: self.picture.clone() }
    }
}

impl<'a> Device<'a> {
    /// A device that works with `bundle` and `journal` as `config` says, and examines what comes into
    /// `photographs`.
    pub fn new(
        bundle: &'a Bundle,
        journal: &'a Journal,
        config: &'a Config,
        photographs: &'a Photographs,
        ways: Ways,
    ) -> Self {
        Self {
            bundle,
            journal,
            config,
            photographs,
            ways,
            limits: Limits::default(),
            clock: SystemClock,
            ids: RandomIds,
            setter: Typesetter::new(),
            visit: None,
            in_doubt: None,
        }
    }

    /// Answers until nobody asks any more. `idle` is called between two requests, at least once a second.
    pub fn answer_all(
        &mut self,
        requests: &Receiver<Request>,
        messages: &Sender<Message>,
        idle: &dyn Fn(),
    ) {
        loop {
            idle();
            let request = match requests.recv_timeout(Duration::from_secs(1)) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if messages.send(Message::Answer(self.answer(request))).is_err() {
                return;
            }
        }
    }

    fn unlock(&mut self, operator: &str, pin: &str) -> Answer {
        match self.journal.unlock(operator, pin) {
            Ok(()) => {}
            Err(JournalError::WrongPin { wait_s } | JournalError::Wait { wait_s }) => {
                return Ok(vec![Event::PinRefused { wait_s }]);
            }
            Err(error) => return Err(error.into()),
        }
        let reader = self.journal.reader()?;
        let visits = |found: Vec<Recorded>| found.into_iter().map(|one| one.visit).collect();
        let today = visits(reader.visits_in(local_time::today())?);
        let undecided = visits(reader.open_visits()?);
        let waiting = delivered(self.journal)?;
        // What could not be read by anybody before may be due.
        self.wake_outbox();
        let status = Event::Status(self.status());
        let (today, undecided) = (Event::DaySoFar(today), Event::Undecided(undecided));
        Ok(vec![Event::Unlocked, status, today, undecided, waiting])
    }

    /// The bundle answered its self-test and the journal was opened for writing, else there were no device. A
    /// clock from before the model was made is wrong.
    pub fn status(&self) -> Status {
        let fine = |detail: String| Check { fine: true, detail };
        let manifest = &self.bundle.manifest;
        let clock = ClockStatus::read(&self.clock, Some(&manifest.created));
        Status {
            model: fine(format!("{} {}", manifest.name, manifest.version)),
            storage: storage(&self.config.journal.folder),
            clock: Check { fine: clock.after_model == Some(true), detail: clock.now },
            power: power(&Power::read(Path::new("/"))),
        }
    }

    fn begin(&mut self, person: Person, site: String, operator: String) -> Answer {
        let visit = Visit {
            uid: self.ids.next()?,
            person,
            site,
            operator,
            begun_at: self.clock.now().to_string(),
            note: None,
            without_photograph: Vec::new(),
            exams: Vec::new(),
            decision: None,
            decided_by: None,
        };
        self.journal.begin_visit(&visit)?;
        let event = Event::VisitBegun { uid: visit.uid.clone(), begun_at: visit.begun_at.clone() };
        self.visit = Some(visit);
        Ok(vec![event])
    }

    /// Goes on with an interrupted visit. What was found is what was recorded; its photographs are looked at again
    /// only for their pictures.
    fn resume(&mut self, uid: &Uid) -> Answer {
        let reader = self.journal.reader()?;
        let Recorded { visit, closed_at, .. } = reader.visit(uid)?;
        if visit.decision.is_some() {
            return Err(JournalError::Decided(uid.clone()).into());
        }
        if closed_at.is_some() {
            return Err(JournalError::Closed(uid.clone()).into());
        }
        let pictures = [Laterality::Right, Laterality::Left].map(|eye| {
            let exam = visit.exams.iter().rfind(|exam| exam.eye == eye)?;
            let photograph = reader.photograph(&exam.uid);
            let bytes = photograph.inspect_err(|error| tracing::warn!("{error}")).ok()?;
            page::picture(exam, &bytes, Some(self.bundle))
        });
        self.visit = Some(visit.clone());
        Ok(vec![Event::VisitResumed { visit: Box::new(visit), pictures }])
    }

    fn close(&mut self, uid: Uid) -> Answer {
        self.journal.close_visit(&uid, &self.config.outbox.kinds())?;
        self.wake_outbox();
        Ok(vec![Event::VisitClosed(uid), delivered(self.journal)?])
    }

    /// Examines a photograph; what came of it is in the journal before it is shown.
    fn examine(&mut self, photograph: u32, eye: Laterality, attempt: u32) -> Answer {
        let Some(photograph) = self.photographs.take(photograph) else {
            return Ok(vec![Event::ExamFailed]);
        };
        let result = examine(&photograph.bytes, self.bundle, &self.limits);
        let (Some(finding), Some(picture)) =
            (finding(&result, self.config.camp.threshold), picture(&result))
        else {
            photograph.settle();
            return Ok(vec![Event::ExamFailed]);
        };
        let finding = last_word(finding, attempt, self.config.camp.retakes);
        let exam = EyeExam {
            uid: self.ids.next()?,
            eye,
            eye_seen: reading(&result).and_then(|reading| reading.laterality),
            eye_confirmed: false,
            taken_at: self.clock.now().to_string(),
            photograph_sha256: result.sha256.unwrap_or_default(),
            photograph_type: media_type(&photograph.bytes).to_owned(),
            burned_in: photograph.burned_in,
            finding,
            model: self.model(),
        };
        let examined = Examined { exam, picture, photograph };
        if !examined.exam.wrong_eye_alarm() {
            return self.record(examined);
        }
        let asked = examined.done();
        self.in_doubt = Some(examined);
        Ok(vec![asked])
    }

    fn model(&self) -> ModelName {
        let manifest = &self.bundle.manifest;
        ModelName {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            sha256: self.bundle.sha256.clone(),
        }
    }

    /// What the storage could not take waits again, to be examined once more; the inbox keeps it besides.
    fn record(&self, examined: Examined) -> Answer {
        let visit = self.visit.as_ref().ok_or(Failed::NoVisit)?;
        let bytes = Arc::clone(&examined.photograph.bytes);
        match self.journal.record_exam(&visit.uid, &examined.exam, bytes) {
            Ok(()) => {
                let done = examined.done();
                examined.photograph.settle();
                Ok(vec![done])
            }
            Err(error) => {
                let Some(fault) = error.storage() else { return Err(error.into()) };
                tracing::error!("{error}");
                let waits = self.photographs.put_back(examined.photograph);
                Ok(vec![Event::NotKept(fault), Event::ExamNotKept(waits)])
            }
        }
    }

    fn confirm(&mut self, holds: Laterality) -> Answer {
        let Some(mut examined) = self.in_doubt.take() else { return Ok(vec![Event::ExamFailed]) };
        examined.exam.eye = holds;
        examined.exam.eye_confirmed = true;
        self.record(examined)
    }

    /// What the operator said of the eyes, and the decision; without one the visit stays open.
    fn save(&mut self, visit: &Visit) -> Answer {
        self.journal.amend_visit(visit)?;
        if let Some(decision) = &visit.decision {
            self.journal.decide_visit(&visit.uid, decision, &self.config.outbox.kinds())?;
            self.wake_outbox();
        }
        self.visit = None;
        Ok(vec![Event::Saved(visit.uid.clone()), delivered(self.journal)?])
    }

    /// The slip as a picture in the output folder, named by the visit.
    fn print(&self, visit: &Visit, language: Language) -> Answer {
        let path = self.config.journal.output.join(format!("slip-{}.png", visit.uid.0));
        let frame = slip::render(visit, language, &self.setter);
        write_png(&frame, &path)?;
        Ok(vec![Event::PrintDone])
    }

    /// All visits of today to the stick that is in.
    fn export(&self, language: Language) -> Answer {
        let Export { sticks, formats, identity } = &self.config.export;
        let stick = stick::stick(Path::new(stick::MOUNTS), sticks, &self.config.intake.folders)?;
        let what = What {
            formats,
            identity: if *identity { Identity::Kept } else { Identity::Removed },
            vouched: false,
            period: local_time::today(),
            language,
            bundle: Some(self.bundle),
            programme: &self.config.device.programme(),
        };
        let reader = self.journal.reader()?;
        let count = reports::export_day(&reader, &stick, self.clock.now(), &what)?;
        Ok(vec![Event::ExportDone(count)])
    }

    /// Everything that waits is due now.
    fn sync(&self) -> Answer {
        self.journal.hurry()?;
        self.wake_outbox();
        Ok(vec![delivered(self.journal)?])
    }

    /// The photograph comes in like any other, as that of this eye and person.
    fn release(&self, eye: Laterality, person: String) -> Vec<Event> {
        let hints = Hints { laterality: Some(eye), person_id: Some(person), ..Hints::default() };
        let released =
            self.ways.shutter.as_ref().is_some_and(|shutter| shutter.send(hints).is_ok());
        if released { Vec::new() } else { vec![Event::CameraOffline] }
    }

    /// What the journal could not note waits again.
    fn leave_out(&self, photographs: &[u32]) -> Vec<Event> {
        let found = photographs.iter().filter_map(|&number| self.photographs.take(number));
        let left_out = found.map(|photograph| self.photographs.pass_over(photograph, self.journal));
        left_out.map(|done| done.map_or_else(Event::ExamNotKept, |()| Event::LeftOut(1))).collect()
    }

    fn wake_outbox(&self) {
        // One that has ended is missed by the watchdog, not here.
        let _ = self.ways.outbox.send(());
    }

    /// Does what the kiosk asks, or says what failed.
    fn command(&mut self, command: Command) -> Answer {
        match command {
            Command::UnlockPin { operator, pin, .. } => self.unlock(&operator, &pin),
            Command::MakeNumber => Ok(vec![Event::NumberMade(number(&self.ids.next()?))]),
            Command::RegisterPerson { person, site, operator } => {
                self.begin(person, site, operator)
            }
            Command::ResumeVisit(uid) => self.resume(&uid),
            Command::CloseVisit(uid) => self.close(uid),
            Command::TakePhotograph { eye, person } => Ok(self.release(eye, person)),
            Command::LiveView(wanted) => {
                self.ways.live_view.store(wanted, Ordering::Relaxed);
                Ok(Vec::new())
            }
            Command::BeginExam { photograph, eye, attempt } => {
                self.examine(photograph, eye, attempt)
            }
            Command::EyeConfirmed { holds, .. } => self.confirm(holds),
            Command::LeaveOut { photographs } => Ok(self.leave_out(&photographs)),
            Command::LeaveOutAll { photographs } => {
                self.photographs.leave_out(&self.config.intake.folders);
                Ok(self.leave_out(&photographs))
            }
            Command::SaveVisit(visit) => self.save(&visit),
            Command::PrintSlip { visit, language } => self.print(&visit, language),
            Command::ExportUsb { language } => self.export(language),
            Command::Sync => self.sync(),
            Command::Lock => Ok(self.journal.lock().map(|()| Vec::new())?),
        }
    }

    fn answer(&mut self, request: Request) -> Vec<Event> {
        match request {
            Request::Photograph { file, eye } => self.photograph(&file, eye),
            Request::Command(command) => {
                let failed = failure(&command);
                self.command(command).unwrap_or_else(|error| {
                    tracing::error!("{error}");
                    let fault = match &error {
                        Failed::Journal(error) => error.storage().map(Event::NotKept),
                        _ => None,
                    };
                    fault.into_iter().chain(failed).collect()
                })
            }
        }
    }

    /// A script's camera delivers a file.
    fn photograph(&self, file: &Path, eye: Option<Laterality>) -> Vec<Event> {
        match std::fs::read(file) {
            Ok(bytes) => match self.photographs.put(Photograph::loose(bytes, eye)) {
                Put::Waits(arrival) => vec![Event::PhotographTaken(arrival)],
                Put::Stood(_) | Put::Closed => Vec::new(),
            },
            Err(error) => {
                tracing::error!("a script's photograph cannot be read: {error}");
                vec![Event::CameraOffline]
            }
        }
    }
}

fn storage(folder: &Path) -> Check {
    Storage::of(folder).map_or_else(Check::default, |storage| Check {
        fine: storage.is_enough(),
        detail: format!("{:.1} GB", storage.free_bytes as f64 / 1e9),
    })
}

fn power(power: &Power) -> Option<Check> {
    let known =
        power.mains.is_some() || power.under_voltage.is_some() || !power.batteries.is_empty();
    let charge = power.batteries.iter().find_map(|battery| battery.percent);
    let detail = charge.map_or_else(String::new, |percent| format!("{percent} %"));
    known.then(|| Check { fine: power.troubles().is_empty(), detail })
}

/// How the kiosk hears that a command failed.
fn failure(command: &Command) -> Option<Event> {
    match command {
        Command::UnlockPin { .. } => Some(Event::PinRefused { wait_s: 0 }),
        Command::BeginExam { .. } | Command::EyeConfirmed { .. } => Some(Event::ExamFailed),
        Command::SaveVisit(visit) => Some(Event::SaveFailed(visit.uid.clone())),
        Command::PrintSlip { .. } => Some(Event::PrintFailed),
        Command::RegisterPerson { .. } | Command::ResumeVisit(_) | Command::CloseVisit(_) => {
            Some(Event::VisitNotBegun)
        }
        Command::ExportUsb { .. } => Some(Event::ExportFailed),
        Command::MakeNumber
        | Command::TakePhotograph { .. }
        | Command::LiveView(_)
        | Command::LeaveOut { .. }
        | Command::LeaveOutAll { .. }
        | Command::Sync
        | Command::Lock => None,
    }
}

/// A number for a person who has none: eight digits of a random identifier, in two groups to be read aloud.
fn number(uid: &Uid) -> String {
    let digits = &uid.0[uid.0.len().saturating_sub(8)..];
    let (first, second) = digits.split_at(digits.len() / 2);
    format!("{first}-{second}")
}

/// The photograph after the last allowed retake is not taken again: the eye is ungradable, which is a result.
fn last_word(finding: Finding, attempt: u32, retakes: u32) -> Finding {
    match finding {
        Finding::Retake { reasons } if attempt > retakes => Finding::Ungradable { reasons },
        other => other,
    }
}

/// By its first bytes, which the exam has decoded already.
fn media_type(bytes: &[u8]) -> &'static str {
    if bytes.starts_with(b"\x89PNG") { "image/png" } else { "image/jpeg" }
}
