//! The outside of the kiosk on this device: photographs are examined by the bundle, and nothing is shown as
//! done before the journal has it.

use std::path::Path;

use glaucoma_common::photo::Limits;
use glaucoma_common::reading::Laterality;
use glaucoma_kiosk::display::{DisplayError, write_png};
use glaucoma_kiosk::model::{Check, Command, Event, Kiosk, Status};
use glaucoma_kiosk::replay::World;
use glaucoma_kiosk::screens::slip;
use glaucoma_kiosk::text::Typesetter;
use glaucoma_records::clock::{Clock, SystemClock};
use glaucoma_records::export::Identity;
use glaucoma_records::ids::{Ids, RandomError, RandomIds};
use glaucoma_records::journal::{Journal, JournalError};
use glaucoma_records::visit::{EyeExam, Finding, ModelName, Person, Uid, Visit};

use super::config::Config;
use super::finding::{finding, picture, reading};
use crate::bundle::Bundle;
use crate::exam::examine;
use crate::reports::{self, Format, ReportsError, What};

/// The device.
pub struct Device<'a> {
    bundle: &'a Bundle,
    journal: Journal,
    config: &'a Config,
    limits: Limits,
    clock: SystemClock,
    ids: RandomIds,
    setter: Typesetter,
    /// The photographs by their numbers; gone once they are recorded or left out.
    photographs: Vec<Option<Vec<u8>>>,
    /// The open visit.
    visit: Option<Visit>,
    /// An exam whose eye is in doubt, with its photograph: recorded when the operator has said.
    in_doubt: Option<(EyeExam, Vec<u8>)>,
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
    Records(#[from] ReportsError),
    #[error("no visit is open")]
    NoVisit,
}

type Answer = Result<Vec<Event>, Failed>;

impl<'a> Device<'a> {
    /// A device that works with `bundle` and `journal` as `config` says.
    pub fn new(bundle: &'a Bundle, journal: Journal, config: &'a Config) -> Self {
        Self {
            bundle,
            journal,
            config,
            limits: Limits::default(),
            clock: SystemClock,
            ids: RandomIds,
            setter: Typesetter::new(),
            photographs: Vec::new(),
            visit: None,
            in_doubt: None,
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
        let waiting = Event::Delivered { waiting: self.waiting()? };
        Ok(vec![Event::Unlocked, Event::Status(self.status()), waiting])
    }

    fn waiting(&self) -> Result<u32, JournalError> {
        Ok(self.journal.reader()?.waiting()?.try_into().unwrap_or(u32::MAX))
    }

    /// What is known without asking the board: the bundle answered its self-test and the journal was opened
    /// for writing, else there were no device; a clock from before the model was made is wrong. Of the power
    /// nothing is known, so it is not called fine.
    pub fn status(&self) -> Status {
        let fine = |detail: String| Check { fine: true, detail };
        let manifest = &self.bundle.manifest;
        let now = self.clock.now().to_string();
        Status {
            model: fine(format!("{} {}", manifest.name, manifest.version)),
            storage: fine(String::new()),
            // Days and times of one length, year first: their alphabetical order is that of time.
            clock: Check { fine: now >= manifest.created, detail: now },
            power: Check::default(),
        }
    }

    fn begin(&mut self, person: Person, kiosk: &Kiosk) -> Answer {
        let visit = Visit {
            uid: self.ids.next()?,
            person,
            site: kiosk.site().to_owned(),
            operator: kiosk.operator().to_owned(),
            begun_at: self.clock.now().to_string(),
            note: None,
            without_photograph: Vec::new(),
            exams: Vec::new(),
            decision: None,
        };
        self.journal.begin_visit(&visit)?;
        let event = Event::VisitBegun { uid: visit.uid.clone(), begun_at: visit.begun_at.clone() };
        self.visit = Some(visit);
        Ok(vec![event])
    }

    /// Examines a photograph; what came of it is in the journal before it is shown.
    fn examine(&mut self, photograph: u32, eye: Laterality, attempt: u32) -> Answer {
        let waiting = self.photographs.get_mut(photograph as usize).and_then(Option::take);
        let Some(bytes) = waiting else { return Ok(vec![Event::ExamFailed]) };
        let result = examine(&bytes, self.bundle, &self.limits);
        let (Some(finding), Some(picture)) =
            (finding(&result, self.config.camp.threshold), picture(&result))
        else {
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
            photograph_type: media_type(&bytes).to_owned(),
            burned_in: None,
            finding,
            model: self.model(),
        };
        let event = Event::ExamDone { exam: Box::new(exam.clone()), picture };
        if exam.wrong_eye_alarm() {
            self.in_doubt = Some((exam, bytes));
        } else {
            self.record(exam, bytes)?;
        }
        Ok(vec![event])
    }

    fn model(&self) -> ModelName {
        let manifest = &self.bundle.manifest;
        ModelName {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            sha256: self.bundle.sha256.clone(),
        }
    }

    fn record(&self, exam: EyeExam, bytes: Vec<u8>) -> Result<(), Failed> {
        let visit = self.visit.as_ref().ok_or(Failed::NoVisit)?;
        Ok(self.journal.record_exam(&visit.uid, &exam, bytes)?)
    }

    fn confirm(&mut self, holds: Laterality) -> Answer {
        if let Some((exam, bytes)) = self.in_doubt.take() {
            self.record(EyeExam { eye: holds, eye_confirmed: true, ..exam }, bytes)?;
        }
        Ok(Vec::new())
    }

    /// What the operator said of the eyes, and the decision; without one the visit stays open.
    fn save(&mut self, visit: &Visit) -> Answer {
        self.journal.amend_visit(visit)?;
        if let Some(decision) = &visit.decision {
            // Nothing is queued: no archive and no server is set up on this device.
            self.journal.decide_visit(&visit.uid, decision, &[])?;
        }
        self.visit = None;
        Ok(vec![Event::Saved(visit.uid.clone()), Event::Delivered { waiting: self.waiting()? }])
    }

    /// The slip as a picture in the output folder, named by the visit.
    fn print(&self, visit: &Visit, kiosk: &Kiosk) -> Answer {
        let path = self.config.journal.output.join(format!("slip-{}.png", visit.uid.0));
        let frame = slip::render(visit, kiosk.language, &self.setter);
        write_png(&frame, &path)?;
        Ok(vec![Event::PrintDone])
    }

    /// All visits as CSV and JSON in the output folder.
    fn export(&self, kiosk: &Kiosk) -> Answer {
        let folder = &self.config.journal.output;
        let what = What {
            formats: &[Format::Csv, Format::Json],
            identity: Identity::Kept,
            vouched: false,
            period: reports::always(),
            language: kiosk.language,
            bundle: Some(self.bundle),
            programme: &reports::programme(),
        };
        let done = reports::export(&self.journal.reader()?, folder, &what)?;
        Ok(vec![Event::ExportDone(done.visits)])
    }

    /// Does what is asked, or says what failed.
    fn answer(&mut self, command: Command, kiosk: &Kiosk) -> Answer {
        match command {
            Command::UnlockPin { operator, pin, .. } => self.unlock(&operator, &pin),
            Command::MakeNumber => Ok(vec![Event::NumberMade(number(&self.ids.next()?))]),
            Command::RegisterPerson(person) => self.begin(person, kiosk),
            Command::BeginExam { photograph, eye, attempt } => {
                self.examine(photograph, eye, attempt)
            }
            Command::EyeConfirmed { holds, .. } => self.confirm(holds),
            Command::LeaveOut { photograph } => {
                if let Some(waiting) = self.photographs.get_mut(photograph as usize) {
                    *waiting = None;
                }
                Ok(Vec::new())
            }
            Command::SaveVisit(visit) => self.save(&visit),
            Command::PrintSlip(visit) => self.print(&visit, kiosk),
            Command::ExportUsb => self.export(kiosk),
            Command::Sync => Ok(vec![Event::Delivered { waiting: self.waiting()? }]),
            Command::Lock => Ok(self.journal.lock().map(|()| Vec::new())?),
        }
    }
}

impl World for Device<'_> {
    fn photograph(&mut self, file: &Path, eye: Option<Laterality>) -> Vec<Event> {
        match std::fs::read(file) {
            Ok(bytes) => {
                self.photographs.push(Some(bytes));
                vec![Event::PhotographTaken { photograph: self.photographs.len() as u32 - 1, eye }]
            }
            Err(error) => {
                tracing::error!("{}: cannot be read: {error}", file.display());
                vec![Event::CameraOffline]
            }
        }
    }

    fn perform(&mut self, command: Command, kiosk: &Kiosk) -> Vec<Event> {
        let failed = failure(&command);
        self.answer(command, kiosk).unwrap_or_else(|error| {
            tracing::error!("{error}");
            failed.into_iter().collect()
        })
    }
}

/// How the kiosk hears that a command failed.
fn failure(command: &Command) -> Option<Event> {
    match command {
        Command::UnlockPin { .. } => Some(Event::PinRefused { wait_s: 0 }),
        Command::BeginExam { .. } => Some(Event::ExamFailed),
        Command::SaveVisit(visit) => Some(Event::SaveFailed(visit.uid.clone())),
        Command::PrintSlip(_) => Some(Event::PrintFailed),
        Command::ExportUsb => Some(Event::ExportFailed),
        Command::MakeNumber
        | Command::RegisterPerson(_)
        | Command::EyeConfirmed { .. }
        | Command::LeaveOut { .. }
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
