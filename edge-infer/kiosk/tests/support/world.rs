//! An outside that is a function of what it is asked.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};

use glaucoma_common::reading::Laterality;
use glaucoma_kiosk::event_loop::{Message, Request};
use glaucoma_kiosk::model::{Check, Command, Event, Status};
use glaucoma_records::visit::{EyeExam, Finding, Uid, Visit};

use super::{exam, graded, picture, reasons};

/// The PIN that is right.
pub const PIN: &str = "12";

/// Keeps what it was given. The name of a photograph says what will be found in it: `graded-0.72.jpg`,
/// `blurred.jpg`, `left-0.1.jpg` (a left eye, whatever is said), `broken.jpg`.
#[derive(Default)]
pub struct FakeWorld {
    pub saved: Vec<Visit>,
    pub printed: u32,
    pub commands: Vec<Command>,
    /// How often saving fails before it works.
    pub failures: u32,
    pub photographs: Vec<String>,
    /// The exam whose eye is in doubt.
    pub in_doubt: Option<EyeExam>,
    pub visits: u32,
}

impl FakeWorld {
    fn examine(&mut self, photograph: u32, eye: Laterality) -> Event {
        let name = self.photographs[photograph as usize].clone();
        let mut eye_seen = Some(eye);
        let value = |name: &str| name.parse().unwrap();
        let finding = match name.split_once('-') {
            Some(("graded", probability)) => graded(value(probability)),
            Some(("left", probability)) => {
                eye_seen = Some(Laterality::Left);
                graded(value(probability))
            }
            _ if name == "blurred" => Finding::Retake { reasons: reasons(&["out_of_focus"]) },
            _ => return Event::ExamFailed,
        };
        let uid = Uid(format!("2.25.500{photograph}"));
        let exam = EyeExam { uid, eye_seen, ..exam(eye, finding) };
        self.in_doubt = exam.wrong_eye_alarm().then(|| exam.clone());
        Event::ExamDone { exam: Box::new(exam), picture: picture(eye_seen.unwrap()) }
    }
}

impl FakeWorld {
    /// Answers until nobody asks any more; what it was given comes back.
    pub fn answer(mut self, asked: &Receiver<Request>, answers: &Sender<Message>) -> Self {
        for request in asked {
            let events = match request {
                Request::Photograph { file, eye } => self.photograph(&file, eye),
                Request::Command(command) => self.perform(command),
            };
            answers.send(Message::Answer(events)).unwrap();
        }
        self
    }

    fn photograph(&mut self, file: &Path, eye: Option<Laterality>) -> Vec<Event> {
        self.photographs.push(file.file_stem().unwrap().to_str().unwrap().to_owned());
        vec![super::arrival(self.photographs.len() as u32 - 1, eye)]
    }

    fn perform(&mut self, command: Command) -> Vec<Event> {
        self.commands.push(command.clone());
        match command {
            Command::UnlockPin { pin, .. } if pin == PIN => {
                let fine = Check { fine: true, detail: String::new() };
                let [model, storage, clock, power] = std::array::from_fn(|_| fine.clone());
                let power = Some(power);
                vec![Event::Unlocked, Event::Status(Status { model, storage, clock, power })]
            }
            Command::UnlockPin { .. } => vec![Event::PinRefused { wait_s: 5 }],
            Command::MakeNumber => vec![Event::NumberMade(format!("HY-{:04}", self.visits + 1))],
            Command::RegisterPerson { .. } => {
                self.visits += 1;
                let uid = Uid(format!("2.25.{}", self.visits));
                vec![Event::VisitBegun { uid, begun_at: "2026-05-01T08:00:00Z".into() }]
            }
            Command::BeginExam { photograph, eye, .. } => vec![self.examine(photograph, eye)],
            Command::SaveVisit(visit) if self.failures > 0 => {
                self.failures -= 1;
                vec![Event::SaveFailed(visit.uid)]
            }
            Command::ResumeVisit(uid) => {
                let found = self.saved.iter().find(|visit| visit.uid == uid).unwrap();
                let pictures = [Laterality::Right, Laterality::Left].map(|eye| Some(picture(eye)));
                vec![Event::VisitResumed { visit: Box::new(found.clone()), pictures }]
            }
            Command::CloseVisit(uid) => vec![Event::VisitClosed(uid)],
            Command::SaveVisit(visit) => {
                let uid = visit.uid.clone();
                self.saved.push(*visit);
                vec![Event::Saved(uid), Event::Delivered { waiting: self.saved.len() as u32 }]
            }
            Command::PrintSlip { .. } => {
                self.printed += 1;
                vec![Event::PrintDone]
            }
            Command::ExportUsb { .. } => vec![Event::ExportDone(self.saved.len() as u32)],
            Command::Sync => vec![Event::Delivered { waiting: 0 }],
            Command::EyeConfirmed { holds, .. } => {
                let exam = self.in_doubt.take().unwrap();
                let exam = Box::new(EyeExam { eye: holds, eye_confirmed: true, ..exam });
                let picture = picture(exam.eye_seen.unwrap());
                vec![Event::ExamDone { exam, picture }]
            }
            Command::LeaveOut { photographs } | Command::LeaveOutAll { photographs } => {
                vec![Event::LeftOut(photographs.len() as u32)]
            }
            Command::TakePhotograph { .. } | Command::LiveView(_) | Command::Lock => Vec::new(),
        }
    }
}
