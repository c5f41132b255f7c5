//! What comes from the outside: answers, photographs, the state of the device.

use glaucoma_common::reading::Laterality;
use glaucoma_records::visit::{EyeExam, Uid, Visit};

use super::entry::Editing;
use super::visit::OpenVisit;
use super::{Arrival, Command, Day, Errand, Event, Kiosk, Screen};
use crate::picture::EyePicture;

impl Kiosk {
    pub(super) fn outside(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Status(status) => self.status = status,
            Event::CameraOnline => self.camera = true,
            Event::CameraOffline => self.camera = false,
            Event::LiveView(picture) => self.take_live(EyePicture::clone(&picture)),
            Event::Unlocked => self.unlocked(),
            Event::PinRefused { wait_s } => {
                if let Screen::Pin { checking, refused, .. } = &mut self.screen {
                    *checking = false;
                    *refused = Some(self.seconds + wait_s);
                }
            }
            Event::Scanned(id) | Event::NumberMade(id) => {
                if let Screen::Register { draft, editing, opening: false } = &mut self.screen {
                    draft.set_id(&id);
                    // The page leads on now.
                    self.focus = None;
                    *editing = editing.filter(|at: &Editing| at.field != super::Field::Id);
                }
            }
            Event::VisitBegun { uid, begun_at } => self.visit_begun(uid, begun_at),
            Event::VisitNotBegun => self.visit_not_begun(),
            Event::Undecided(visits) => {
                let open = self.visit.as_ref().map(|open| &open.visit.uid);
                self.undecided =
                    visits.into_iter().filter(|visit| Some(&visit.uid) != open).collect();
            }
            Event::VisitResumed { visit, pictures } => self.visit_resumed(*visit, pictures),
            Event::VisitClosed(uid) => {
                self.undecided.retain(|visit| visit.uid != uid);
                self.leave_undecided();
            }
            Event::PhotographTaken(arrival) => return self.photograph(arrival),
            Event::ExamDone { exam, picture } => self.exam_done(*exam, picture),
            Event::ExamFailed => {
                if let Some(visit) = &mut self.visit {
                    visit.unreadable = visit.examining.take().is_some();
                }
            }
            Event::ExamNotKept(arrival) => {
                if let Some(visit) = &mut self.visit {
                    visit.examining = None;
                }
                self.unasked.insert(0, arrival);
            }
            Event::LeftOut(count) => self.left_out = self.left_out.saturating_add(count),
            Event::NotKept(fault) => self.not_kept = Some(fault),
            Event::Saved(uid) => self.saved(&uid, true),
            Event::SaveFailed(uid) => self.saved(&uid, false),
            Event::PrintDone => self.printing = Errand::Done(1),
            Event::PrintFailed => self.printing = Errand::Failed,
            Event::ExportDone(count) => self.export = Errand::Done(count),
            Event::ExportFailed => self.export = Errand::Failed,
            Event::Delivered { waiting } => self.waiting = waiting,
            Event::DaySoFar(visits) => {
                self.day = Day::default();
                visits.iter().for_each(|visit| self.day.count(visit));
            }
            Event::Touch(_) | Event::Button(_) | Event::Tick { .. } => {}
        }
        Vec::new()
    }

    fn unlocked(&mut self) {
        if let Screen::Pin { checking: true, .. } = self.screen {
            self.screen = self.locked.take().map_or(Screen::Home, |open| *open);
        }
    }

    fn visit_begun(&mut self, uid: Uid, begun_at: String) {
        let rules = self.setup.rules;
        let (site, operator) = (self.site().to_owned(), self.operator().to_owned());
        let screen = self.open_screen();
        if let Screen::Register { draft, opening: true, .. } = screen
            && let Some(person) = draft.person()
        {
            *screen = Screen::Photograph { eye: Laterality::Right };
            self.visit = Some(OpenVisit::new(uid, person, &site, &operator, begun_at, rules));
        }
    }

    /// The operator may try again.
    fn visit_not_begun(&mut self) {
        match self.open_screen() {
            Screen::Register { opening: asked, .. } | Screen::UndecidedVisit { asked, .. } => {
                *asked = false;
            }
            _ => {}
        }
    }

    /// What was found so far is shown first.
    fn visit_resumed(&mut self, visit: Visit, pictures: [Option<EyePicture>; 2]) {
        if !matches!(self.open_screen(), Screen::UndecidedVisit { asked: true, .. }) {
            return;
        }
        self.undecided.retain(|other| other.uid != visit.uid);
        let open = OpenVisit::resumed(visit, pictures, self.setup.rules);
        let screen = match open.visit.exams.last() {
            Some(exam) => Screen::Result { eye: exam.eye },
            None => Screen::Photograph { eye: open.next_open().unwrap_or(Laterality::Right) },
        };
        self.visit = Some(open);
        self.show(screen);
    }

    /// Back to those who are left, if any.
    fn leave_undecided(&mut self) {
        let left =
            if self.undecided.is_empty() { Screen::Home } else { Screen::Undecided { page: 0 } };
        if let Screen::UndecidedVisit { asked: true, .. } = self.open_screen() {
            self.show(left);
        }
    }

    /// A photograph belongs to the eye asked for only while one is being waited for; else it waits itself. One
    /// that is said to be of the other eye or of another person is not taken either: the operator decides.
    fn photograph(&mut self, arrival: Arrival) -> Vec<Command> {
        let fits = |visit: &OpenVisit| {
            let person = &visit.visit.person.id;
            visit.examining.is_none() && arrival.person.as_ref().is_none_or(|said| said == person)
        };
        let free = self.visit.as_ref().is_some_and(fits) && self.unasked.is_empty();
        match self.screen {
            Screen::Photograph { eye } if free && arrival.eye.is_none_or(|said| said == eye) => {
                self.begin_exam(arrival.photograph, eye)
            }
            _ => {
                self.unasked.push(arrival);
                Vec::new()
            }
        }
    }

    pub(super) fn begin_exam(&mut self, photograph: u32, eye: Laterality) -> Vec<Command> {
        let Some(visit) = &mut self.visit else { return Vec::new() };
        visit.examining = Some(self.seconds);
        visit.unreadable = false;
        vec![Command::BeginExam { photograph, eye, attempt: visit.attempts(eye) + 1 }]
    }

    fn exam_done(&mut self, exam: EyeExam, picture: EyePicture) {
        let Some(visit) = &mut self.visit else { return };
        if visit.examining.take().is_none() {
            return;
        }
        if exam.wrong_eye_alarm() {
            visit.pictures[exam.eye as usize] = Some(picture);
            self.show(Screen::WrongEye { exam: Box::new(exam) });
        } else {
            let eye = exam.eye;
            visit.add(exam, Some(picture));
            self.show(Screen::Result { eye });
        }
    }

    /// Opens a screen, after the PIN where the device is locked.
    fn show(&mut self, screen: Screen) {
        *self.open_screen() = screen;
    }

    /// The screen that is open, or will be after the PIN: an answer may come while the device is locked.
    fn open_screen(&mut self) -> &mut Screen {
        match self.locked.as_deref_mut() {
            Some(locked) => locked,
            None => &mut self.screen,
        }
    }

    fn saved(&mut self, uid: &Uid, done: bool) {
        if let Some(open) = &mut self.visit
            && open.visit.uid == *uid
        {
            open.saved = Some(done);
            if done {
                self.day.count(&open.visit);
            }
        }
    }
}
