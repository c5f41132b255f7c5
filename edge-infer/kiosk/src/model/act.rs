//! What a button on the screen does.

use glaucoma_common::reading::Laterality;

use super::entry::{Draft, Editing, Field};
use super::visit::other_eye;
use super::{Arrival, Command, Errand, Kiosk, OpenVisit, Screen};
use crate::picture::View;
use crate::theme::Theme;
use crate::words::Language;
use glaucoma_records::decide::EyeState;
use glaucoma_records::visit::Visit;

/// The longest PIN.
const LONGEST_PIN: usize = 8;

/// What a button on the screen does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the words on its button")]
pub enum Action {
    NextSite,
    NextOperator,
    EnterPin,
    Digit(char),
    EraseDigit,
    SendPin,
    BackToStart,
    NewPerson,
    OpenSummary,
    OpenSettings,
    BackHome,
    OpenUndecided,
    MoreUndecided,
    PickUndecided(usize),
    Resume,
    CloseVisit,
    Edit(Field),
    Type(char),
    Erase,
    MoreKeys,
    EndEdit,
    MakeNumber,
    NextSex,
    BeginVisit,
    Choose(Laterality),
    Absent,
    Shutter,
    UseUnasked,
    LeaveOutUnasked,
    AskLeaveOutAll,
    LeaveOutAll,
    EndLeaveOut,
    Decide,
    AskBreakOff,
    BreakOff,
    GoOn,
    LookCloser,
    ZoomIn,
    ZoomOut,
    Pan(i8, i8),
    Outlines,
    BackToResult,
    Retake,
    GiveUp,
    ItIs(Laterality),
    ShowSlip,
    Print,
    SaveAgain,
    BackToDecision,
    EndVisit,
    Export,
    Sync,
    Lock,
    Speak(Language),
    Dress(Theme),
    EndSettings,
}

impl Kiosk {
    /// Does what a button says. An action that has no meaning on the open screen changes nothing.
    pub fn act(&mut self, action: Action) -> Vec<Command> {
        self.not_kept = None;
        match action {
            Action::NextSite => self.site = (self.site + 1) % self.setup.sites.len().max(1),
            Action::NextOperator => {
                self.operator = (self.operator + 1) % self.setup.operators.len().max(1);
            }
            Action::EnterPin => {
                self.screen = Screen::Pin { pin: String::new(), checking: false, refused: None };
            }
            Action::BackToStart => self.screen = Screen::Start,
            Action::BackHome => self.screen = Screen::Home,
            Action::NewPerson => {
                let draft = Draft::default();
                self.screen = Screen::Register { draft, editing: None, opening: false };
            }
            Action::OpenSummary => {
                self.export = Errand::Idle;
                self.screen = Screen::Summary;
            }
            Action::OpenSettings => {
                self.screen = Screen::Settings { from: Box::new(self.screen.clone()) };
            }
            Action::EndSettings => {
                if let Screen::Settings { from } = &self.screen {
                    self.screen = *from.clone();
                }
            }
            Action::Speak(language) => self.language = language,
            Action::Dress(theme) => self.theme = theme,
            Action::Export => {
                self.export = Errand::Asked;
                return vec![Command::ExportUsb { language: self.language }];
            }
            Action::Sync => return vec![Command::Sync],
            Action::Lock => return self.lock(),
            Action::Digit(_) | Action::EraseDigit | Action::SendPin => return self.pin(action),
            Action::AskLeaveOutAll | Action::LeaveOutAll | Action::EndLeaveOut => {
                return self.leaving_out(action);
            }
            Action::OpenUndecided
            | Action::MoreUndecided
            | Action::PickUndecided(_)
            | Action::Resume
            | Action::CloseVisit => return self.with_undecided(action),
            Action::Edit(_)
            | Action::Type(_)
            | Action::Erase
            | Action::MoreKeys
            | Action::EndEdit
            | Action::MakeNumber
            | Action::NextSex
            | Action::BeginVisit => return self.registering(action),
            Action::LookCloser
            | Action::ZoomIn
            | Action::ZoomOut
            | Action::Pan(..)
            | Action::Outlines
            | Action::BackToResult => self.looking(action),
            in_visit => return self.in_visit(in_visit),
        }
        Vec::new()
    }

    fn pin(&mut self, action: Action) -> Vec<Command> {
        let now = self.seconds;
        let Screen::Pin { pin, checking: checking @ false, refused } = &mut self.screen else {
            return Vec::new();
        };
        match action {
            Action::Digit(digit) if pin.len() < LONGEST_PIN => pin.push(digit),
            Action::EraseDigit => {
                pin.pop();
            }
            Action::SendPin if !pin.is_empty() && refused.is_none_or(|until| now >= until) => {
                *checking = true;
                let pin = std::mem::take(pin);
                let (site, operator) = (self.site().to_owned(), self.operator().to_owned());
                return vec![Command::UnlockPin { site, operator, pin }];
            }
            _ => {}
        }
        Vec::new()
    }

    fn registering(&mut self, action: Action) -> Vec<Command> {
        let Screen::Register { draft, editing, opening: opening @ false } = &mut self.screen else {
            return Vec::new();
        };
        match (action, *editing) {
            (Action::Edit(field), _) => {
                *editing = Some(Editing { field, page: 0 });
                self.focus = None;
            }
            (Action::Type(letter), Some(at)) => draft.push(at.field, letter),
            (Action::Erase, Some(at)) => draft.erase(at.field),
            (Action::MoreKeys, Some(at)) => *editing = Some(Editing { page: at.page + 1, ..at }),
            (Action::EndEdit, _) => {
                *editing = None;
                self.focus = None;
            }
            (Action::MakeNumber, _) => return vec![Command::MakeNumber],
            (Action::NextSex, _) => draft.next_sex(),
            (Action::BeginVisit, None) => {
                if let Some(person) = draft.person() {
                    *opening = true;
                    let (site, operator) = (self.site().to_owned(), self.operator().to_owned());
                    return vec![Command::RegisterPerson { person, site, operator }];
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn leaving_out(&mut self, action: Action) -> Vec<Command> {
        match (&mut self.screen, action) {
            (Screen::Home | Screen::Photograph { .. }, Action::AskLeaveOutAll) => {
                let from = Box::new(self.screen.clone());
                self.screen = Screen::LeaveOut { from, asked: false };
            }
            (Screen::LeaveOut { asked: asked @ false, .. }, Action::LeaveOutAll) => {
                *asked = true;
                self.left_out = 0;
                let waiting = self.unasked.drain(..);
                let photographs = waiting.map(|arrival| arrival.photograph).collect();
                return vec![Command::LeaveOutAll { photographs }];
            }
            (Screen::LeaveOut { from, .. }, Action::EndLeaveOut) => self.screen = *from.clone(),
            _ => {}
        }
        Vec::new()
    }

    fn with_undecided(&mut self, action: Action) -> Vec<Command> {
        match (&mut self.screen, action) {
            (Screen::Home | Screen::UndecidedVisit { asked: false, .. }, Action::OpenUndecided) => {
                self.screen = Screen::Undecided { page: 0 };
            }
            (Screen::Undecided { page }, Action::MoreUndecided) => *page += 1,
            (Screen::Undecided { .. }, Action::PickUndecided(index)) => {
                if let Some(Visit { uid, .. }) = self.undecided.get(index) {
                    self.screen = Screen::UndecidedVisit { uid: uid.clone(), asked: false };
                }
            }
            (Screen::UndecidedVisit { uid, asked: asked @ false }, Action::Resume) => {
                *asked = true;
                return vec![Command::ResumeVisit(uid.clone())];
            }
            (Screen::UndecidedVisit { uid, asked: asked @ false }, Action::CloseVisit) => {
                *asked = true;
                return vec![Command::CloseVisit(uid.clone())];
            }
            _ => {}
        }
        Vec::new()
    }

    fn looking(&mut self, action: Action) {
        match (&mut self.screen, action) {
            (&mut Screen::Result { eye }, Action::LookCloser) => {
                let picture = self.visit.as_ref().and_then(|visit| {
                    let exam = visit.last(eye)?;
                    visit.pictures[exam.eye as usize].as_ref()
                });
                if let Some(picture) = picture {
                    let view = View::on_disc(picture);
                    self.screen = Screen::Closer { eye, view, outlines: true };
                }
            }
            (Screen::Closer { view, .. }, Action::ZoomIn) => view.zoom_in(),
            (Screen::Closer { view, .. }, Action::ZoomOut) => view.zoom_out(),
            (Screen::Closer { view, .. }, Action::Pan(x, y)) => view.pan(x, y),
            (Screen::Closer { outlines, .. }, Action::Outlines) => *outlines = !*outlines,
            (&mut Screen::Closer { eye, .. }, Action::BackToResult) => {
                self.screen = Screen::Result { eye };
            }
            _ => {}
        }
    }

    fn in_visit(&mut self, action: Action) -> Vec<Command> {
        if let (&Screen::Photograph { eye }, Action::Absent) = (&self.screen, action) {
            return self.set_absent(eye);
        }
        let Some(visit) = &mut self.visit else { return Vec::new() };
        match (&self.screen, action) {
            (&Screen::Photograph { .. }, Action::Choose(eye)) if visit.examining.is_none() => {
                visit.unreadable = false;
                self.screen = Screen::Photograph { eye };
            }
            (&Screen::Photograph { eye }, Action::Shutter) if visit.examining.is_none() => {
                let person = visit.visit.person.id.clone();
                return vec![Command::TakePhotograph { eye, person }];
            }
            (&Screen::Photograph { eye }, Action::UseUnasked) => return self.use_unasked(eye),
            (Screen::Photograph { .. }, Action::LeaveOutUnasked) if !self.unasked.is_empty() => {
                let photographs = vec![self.unasked.remove(0).photograph];
                return vec![Command::LeaveOut { photographs }];
            }
            (Screen::Photograph { .. } | Screen::Result { .. }, Action::Decide) => {
                return self.decide();
            }
            (Screen::Photograph { .. }, Action::AskBreakOff) => self.screen = Screen::BreakOff,
            (Screen::BreakOff, Action::BreakOff) => return self.break_off(),
            (Screen::BreakOff, Action::GoOn) | (Screen::Result { .. }, Action::GoOn) => {
                self.open_photograph();
            }
            (&Screen::Result { eye }, Action::Retake) => self.screen = Screen::Photograph { eye },
            (&Screen::Result { eye }, Action::GiveUp) => visit.give_up(eye),
            (Screen::WrongEye { exam }, Action::ItIs(eye)) => {
                let (exam, said) = (exam.uid.clone(), exam.eye);
                // The picture comes again with the exam once that is recorded, where it belongs.
                visit.pictures[said as usize] = None;
                visit.examining = Some(self.seconds);
                self.screen = Screen::Photograph { eye };
                return vec![Command::EyeConfirmed { exam, said, holds: eye }];
            }
            (Screen::Decision, Action::ShowSlip) => {
                self.printing = Errand::Idle;
                self.screen = Screen::Slip;
            }
            (Screen::Slip, Action::Print) => {
                self.printing = Errand::Asked;
                let visit = Box::new(visit.visit.clone());
                return vec![Command::PrintSlip { visit, language: self.language }];
            }
            (Screen::Decision, Action::SaveAgain) if visit.saved == Some(false) => {
                return self.save_decision();
            }
            (Screen::Slip, Action::BackToDecision) => self.screen = Screen::Decision,
            (Screen::Decision, Action::EndVisit) if visit.saved == Some(true) => {
                self.visit = None;
                self.screen = Screen::Home;
            }
            _ => {}
        }
        Vec::new()
    }

    /// Whether the eye may be said to be absent: nothing of it was photographed, and the other one is not.
    #[must_use]
    pub fn may_be_absent(&self, eye: Laterality) -> bool {
        self.visit.as_ref().is_some_and(|visit| {
            visit.examining.is_none()
                && visit.last(eye).is_none()
                && visit.eye(other_eye(eye)) != EyeState::Absent
        })
    }

    fn set_absent(&mut self, eye: Laterality) -> Vec<Command> {
        if self.may_be_absent(eye)
            && let Some(visit) = &mut self.visit
        {
            visit.toggle_absent(eye);
            self.open_photograph();
        }
        Vec::new()
    }

    /// On to the eye that is still open, if any.
    pub(super) fn open_photograph(&mut self) {
        if let Some(visit) = &self.visit {
            let eye = visit.next_open().unwrap_or(Laterality::Right);
            self.screen = Screen::Photograph { eye };
        }
    }

    fn use_unasked(&mut self, eye: Laterality) -> Vec<Command> {
        if self.unasked.is_empty() || self.visit.as_ref().is_none_or(|v| v.examining.is_some()) {
            return Vec::new();
        }
        let Arrival { photograph, .. } = self.unasked.remove(0);
        self.begin_exam(photograph, eye)
    }

    fn decide(&mut self) -> Vec<Command> {
        let Some(visit) = &mut self.visit else { return Vec::new() };
        let Some(decision) = visit.decision() else { return Vec::new() };
        visit.visit.decision = Some(decision);
        self.screen = Screen::Decision;
        self.save_decision()
    }

    /// Whoever works with the device now has decided, whoever has registered the person: so the journal has it too.
    fn save_decision(&mut self) -> Vec<Command> {
        let operator = self.operator().to_owned();
        let Some(visit) = &mut self.visit else { return Vec::new() };
        visit.visit.decided_by = Some(operator);
        visit.saved = None;
        vec![Command::SaveVisit(Box::new(visit.visit.clone()))]
    }

    /// The visit may be gone on with later.
    fn break_off(&mut self) -> Vec<Command> {
        self.screen = Screen::Home;
        let Some(OpenVisit { visit, .. }) = self.visit.take() else { return Vec::new() };
        self.undecided.push(visit.clone());
        vec![Command::SaveVisit(Box::new(visit))]
    }

    /// Asks for the PIN; what was open goes on after it.
    pub(super) fn lock(&mut self) -> Vec<Command> {
        let open = std::mem::replace(&mut self.screen, Screen::Start);
        self.locked = Some(Box::new(open));
        vec![Command::Lock]
    }

    /// The chosen site.
    #[must_use]
    pub fn site(&self) -> &str {
        self.setup.sites.get(self.site).map_or("", String::as_str)
    }

    /// The chosen operator.
    #[must_use]
    pub fn operator(&self) -> &str {
        self.setup.operators.get(self.operator).map_or("", String::as_str)
    }
}
