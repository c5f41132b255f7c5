//! What the kiosk hears, and what it asks of the outside.

use std::sync::Arc;

use embedded_graphics::prelude::Point;
use glaucoma_common::reading::Laterality;
use glaucoma_records::journal::StorageFault;
use glaucoma_records::visit::{EyeExam, Person, Uid, Visit};

use super::{Button, Status};
use crate::picture::EyePicture;
use crate::words::Language;

/// A photograph that has come in, and what its file or sender says of it: nothing is guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The outside's number for it.
    pub photograph: u32,
    /// Which eye.
    pub eye: Option<Laterality>,
    /// Whose, by the person's number.
    pub person: Option<String>,
}

/// What happens to the kiosk.
#[derive(Debug, Clone)]
pub enum Event {
    /// A finger at this pixel of the panel.
    Touch(Point),
    /// A button.
    Button(Button),
    /// Time goes on: seconds since the start (never backwards), and the wall clock's hour and minute.
    Tick {
        /// Seconds since the program's start.
        seconds: u64,
        /// Local hour and minute.
        clock: (u8, u8),
    },
    /// The state of the device, when it changes.
    Status(Status),
    /// The camera answers.
    CameraOnline,
    /// The camera is gone.
    CameraOffline,
    /// What the camera sees now. Whoever sends it may send the next one once this one is dropped.
    LiveView(Arc<EyePicture>),
    /// The PIN was right.
    Unlocked,
    /// The PIN was wrong; the next try counts after so many seconds.
    PinRefused {
        /// Seconds to wait; 0 for none.
        wait_s: u64,
    },
    /// A number was scanned.
    Scanned(String),
    /// A number was made, as asked for.
    NumberMade(String),
    /// The visit asked for by [`Command::RegisterPerson`] is open.
    VisitBegun {
        /// Its identifier.
        uid: Uid,
        /// UTC in RFC 3339.
        begun_at: String,
    },
    /// The visit asked for by [`Command::RegisterPerson`], [`Command::ResumeVisit`] or [`Command::CloseVisit`] was
    /// not begun, resumed or closed.
    VisitNotBegun,
    /// The visits without a decision that the journal holds: interrupted ones, and those that were broken off.
    Undecided(Vec<Visit>),
    /// The visit asked for by [`Command::ResumeVisit`] goes on.
    VisitResumed {
        /// As it is recorded.
        visit: Box<Visit>,
        /// What to show of the last photograph of the right and of the left eye.
        pictures: [Option<EyePicture>; 2],
    },
    /// The visit asked for by [`Command::CloseVisit`] is closed.
    VisitClosed(Uid),
    /// A photograph has come in.
    PhotographTaken(Arrival),
    /// A photograph was examined.
    ExamDone {
        /// What came of it.
        exam: Box<EyeExam>,
        /// What to show of it.
        picture: EyePicture,
    },
    /// A photograph could not be read or examined.
    ExamFailed,
    /// The journal could not take what came of a photograph, or that it was left out: the photograph waits again.
    ExamNotKept(Arrival),
    /// So many photographs were left out.
    LeftOut(u32),
    /// The storage failed; what was asked for follows as failed.
    NotKept(StorageFault),
    /// A visit is in the journal, durably.
    Saved(Uid),
    /// A visit could not be written.
    SaveFailed(Uid),
    /// The slip is printed.
    PrintDone,
    /// The slip could not be printed.
    PrintFailed,
    /// So many visits are on the USB stick.
    ExportDone(u32),
    /// Nothing could be exported.
    ExportFailed,
    /// So many records wait to be sent.
    Delivered {
        /// Still to be sent.
        waiting: u32,
    },
    /// What the journal already holds of this day, after a restart; replaces the day's counts.
    DaySoFar(Vec<Visit>),
}

/// What the kiosk asks of the outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Check the PIN; answered by [`Event::Unlocked`] or [`Event::PinRefused`].
    UnlockPin {
        /// The site.
        site: String,
        /// The operator.
        operator: String,
        /// The digits.
        pin: String,
    },
    /// Make a number for a person who has none; answered by [`Event::NumberMade`].
    MakeNumber,
    /// Open a visit; answered by [`Event::VisitBegun`] or [`Event::VisitNotBegun`].
    RegisterPerson {
        /// Who.
        person: Person,
        /// Where.
        site: String,
        /// By whom.
        operator: String,
    },
    /// Go on with a visit that has no decision yet; answered by [`Event::VisitResumed`] or
    /// [`Event::VisitNotBegun`].
    ResumeVisit(Uid),
    /// Close a visit without a decision; answered by [`Event::VisitClosed`] or [`Event::VisitNotBegun`].
    CloseVisit(Uid),
    /// Release the camera; the photograph comes in like any other.
    TakePhotograph {
        /// Of this eye.
        eye: Laterality,
        /// Of the person with this number.
        person: String,
    },
    /// Whether live pictures are wanted from now on.
    LiveView(bool),
    /// Examine a photograph; answered by [`Event::ExamDone`], [`Event::ExamFailed`] or [`Event::ExamNotKept`].
    BeginExam {
        /// The outside's number for it.
        photograph: u32,
        /// Which eye the operator says it is.
        eye: Laterality,
        /// How often this eye is photographed with this one, from 1.
        attempt: u32,
    },
    /// The operator was asked which eye it is, because the picture looked like the other one, and answered; answered
    /// by [`Event::ExamDone`] or [`Event::ExamNotKept`].
    EyeConfirmed {
        /// The exam.
        exam: Uid,
        /// What the operator said first.
        said: Laterality,
        /// What holds.
        holds: Laterality,
    },
    /// Photographs stay without a person: the operator left them out. Answered by [`Event::LeftOut`], or
    /// [`Event::ExamNotKept`].
    LeaveOut {
        /// The outside's numbers for them.
        photographs: Vec<u32>,
    },
    /// So does all that stands on cards and in folders now; answered by [`Event::LeftOut`] as they are
    /// come upon.
    LeaveOutAll {
        /// The outside's numbers for those that have come in.
        photographs: Vec<u32>,
    },
    /// Write the visit; answered by [`Event::Saved`] or [`Event::SaveFailed`]. Without a decision it was broken
    /// off.
    SaveVisit(Box<Visit>),
    /// Print the slip of the visit; answered by [`Event::PrintDone`] or [`Event::PrintFailed`].
    PrintSlip {
        /// The visit.
        visit: Box<Visit>,
        /// The language of the slip.
        language: Language,
    },
    /// Export the day to a USB stick.
    ExportUsb {
        /// The language of its pages.
        language: Language,
    },
    /// Send what waits, if there is a network.
    Sync,
    /// The operator has locked the device.
    Lock,
}
