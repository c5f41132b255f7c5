//! The day as a state machine: events in, a new state and commands to the outside out. No files, no clock, no
//! screen: time comes with the tick, and what is drawn is a function of this state.

mod act;
mod day;
mod entry;
mod live;
mod messages;
mod outside;
mod visit;

use embedded_graphics::prelude::Point;
use glaucoma_common::reading::Laterality;
use glaucoma_records::decide::Rules;
use glaucoma_records::journal::StorageFault;
use glaucoma_records::visit::{EyeExam, Uid, Visit};
use jiff::tz::TimeZone;

pub use act::Action;
pub use day::{Day, Referred};
pub use entry::{Draft, Editing, Field, LONGEST_ID, LONGEST_NAME, letters};
pub use messages::{Arrival, Command, Event};
pub use visit::{OpenVisit, other_eye};

use crate::page::Page;
use crate::panel::Panel;
use crate::picture::{EyePicture, View};
use crate::screens;
use crate::theme::Theme;
use crate::words::Language;

/// What the programme has set up; fixed for the day.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The sites to choose from; never empty.
    pub sites: Vec<String>,
    /// The operators to choose from; never empty.
    pub operators: Vec<String>,
    /// By what a visit is decided.
    pub rules: Rules,
    /// Seconds without a touch after which the PIN is asked for again.
    pub lock_after_s: u64,
    /// Whether a camera waits for the kiosk to release it.
    pub shutter: bool,
    /// Whether it has a live picture.
    pub live_view: bool,
    /// The zone of the place: that of the clock on the screens.
    pub zone: TimeZone,
}

/// The device's four buttons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// To the thing before.
    Up,
    /// To the thing after.
    Down,
    /// Does what is in focus.
    Ok,
    /// Back.
    Back,
}

/// One line of the check at the start: whether it is fine, and a short word on it (`63 GB`, `1.0.0`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Check {
    /// Whether it is fine.
    pub fine: bool,
    /// A figure or name, the same in every language; may be empty.
    pub detail: String,
}

/// The state of the device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The model's file and its self-test.
    pub model: Check,
    /// Room and health of the storage.
    pub storage: Check,
    /// Whether the clock can be believed.
    pub clock: Check,
    /// Battery or mains; `None` where nothing tells, and then it is not spoken of.
    pub power: Option<Check>,
}

/// How something asked of the outside stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Not asked for.
    Idle,
    /// Under way.
    Asked,
    /// Done; a count where there is one.
    Done(u32),
    /// Failed.
    Failed,
}

/// The screen that is open, with what belongs to it alone.
#[derive(Debug, Clone, PartialEq)]
pub enum Screen {
    /// Site, operator and the state of the device.
    Start,
    /// The PIN.
    Pin {
        /// Digits so far.
        pin: String,
        /// Whether it is being checked.
        checking: bool,
        /// Whether the last one was wrong, and until when no other counts.
        refused: Option<u64>,
    },
    /// The day.
    Home,
    /// A new person; a keyboard where a field is being edited.
    Register {
        /// What is known so far.
        draft: Draft,
        /// The field under the keyboard.
        editing: Option<Editing>,
        /// Whether the visit is being opened.
        opening: bool,
    },
    /// The people without a decision, a page of them.
    Undecided {
        /// Which page, from 0; taken modulo their number.
        page: usize,
    },
    /// One of them: to go on with, or to close.
    UndecidedVisit {
        /// Which.
        uid: Uid,
        /// Whether it is being resumed or closed.
        asked: bool,
    },
    /// Waiting for a photograph of this eye.
    Photograph {
        /// Which.
        eye: Laterality,
    },
    /// Whether to break the visit off.
    BreakOff,
    /// Whether to leave out all photographs that wait; then how many were.
    LeaveOut {
        /// Where to go back to.
        from: Box<Screen>,
        /// Whether they are being left out.
        asked: bool,
    },
    /// What came of the last photograph of this eye.
    Result {
        /// Which.
        eye: Laterality,
    },
    /// The photograph alone, to be looked at closely.
    Closer {
        /// Of which eye.
        eye: Laterality,
        /// What part.
        view: View,
        /// Whether outlines are drawn.
        outlines: bool,
    },
    /// The picture looks like the other eye.
    WrongEye {
        /// The exam in question.
        exam: Box<EyeExam>,
    },
    /// What to do.
    Decision,
    /// The slip.
    Slip,
    /// The day in numbers.
    Summary,
    /// Language and theme; then back to where it was opened.
    Settings {
        /// Where that was.
        from: Box<Screen>,
    },
}

/// The whole state.
#[derive(Debug, Clone)]
pub struct Kiosk {
    /// The panel.
    pub panel: Panel,
    /// What is set up.
    pub setup: Setup,
    /// The language of the screens.
    pub language: Language,
    /// Their colours.
    pub theme: Theme,
    /// The open screen.
    pub screen: Screen,
    /// The screen to go on with when the PIN is given again.
    pub locked: Option<Box<Screen>>,
    /// The button in focus among the page's; `None`: the page's own first choice.
    pub focus: Option<usize>,
    /// Whether the focus is shown: the last input came from the buttons.
    pub ring: bool,
    /// Index into the sites.
    pub site: usize,
    /// Index into the operators.
    pub operator: usize,
    /// The state of the device.
    pub status: Status,
    /// Whether the camera answers.
    pub camera: bool,
    /// Seconds since the start.
    pub seconds: u64,
    /// Hour and minute.
    pub clock: (u8, u8),
    /// Records that wait to be sent.
    pub waiting: u32,
    /// The open visit.
    pub visit: Option<OpenVisit>,
    /// Photographs that came when none was asked for, or of another eye or person, oldest first.
    pub unasked: Vec<Arrival>,
    /// Photographs left out since that was last asked of all.
    pub left_out: u32,
    /// Why something could not be recorded just now: until the next thing that somebody does.
    pub not_kept: Option<StorageFault>,
    /// Visits without a decision other than the open one, in the order in which they began.
    pub undecided: Vec<Visit>,
    /// The day so far.
    pub day: Day,
    /// The newest live picture, and the second in which it came.
    live: Option<(EyePicture, u64)>,
    /// Whether live pictures were last asked for.
    live_asked: bool,
    /// How printing stands.
    pub printing: Errand,
    /// How the export stands.
    pub export: Errand,
    last_input: u64,
}

impl Kiosk {
    /// The state at power-on.
    #[must_use]
    pub fn new(panel: Panel, setup: Setup, language: Language, theme: Theme) -> Self {
        Self {
            panel,
            setup,
            language,
            theme,
            screen: Screen::Start,
            locked: None,
            focus: None,
            ring: false,
            site: 0,
            operator: 0,
            status: Status::default(),
            camera: false,
            seconds: 0,
            clock: (0, 0),
            waiting: 0,
            visit: None,
            unasked: Vec::new(),
            left_out: 0,
            not_kept: None,
            undecided: Vec::new(),
            day: Day::default(),
            live: None,
            live_asked: false,
            printing: Errand::Idle,
            export: Errand::Idle,
            last_input: 0,
        }
    }

    /// What is on the screen.
    #[must_use]
    pub fn page(&self) -> Page {
        screens::page(self)
    }

    /// Takes one event in; what the outside is to do comes back, in order.
    pub fn handle(&mut self, event: Event) -> Vec<Command> {
        let before = std::mem::discriminant(&self.screen);
        let mut commands = match event {
            Event::Touch(at) => {
                self.woken(false);
                self.touched(at)
            }
            Event::Button(button) => {
                self.woken(true);
                self.pressed(button)
            }
            Event::Tick { seconds, clock } => {
                self.seconds = self.seconds.max(seconds);
                self.clock = clock;
                self.lock_when_left()
            }
            outside => self.outside(outside),
        };
        if std::mem::discriminant(&self.screen) != before {
            self.focus = None;
        }
        commands.extend(self.ask_for_live_view());
        commands
    }

    fn woken(&mut self, ring: bool) {
        self.last_input = self.seconds;
        self.ring = ring;
    }

    fn touched(&mut self, at: Point) -> Vec<Command> {
        let page = self.page();
        if let Some(action) = page.hit(at) {
            return self.act(action);
        }
        if let (Screen::Closer { view, .. }, Some(place)) = (&mut self.screen, page.hit_picture(at))
        {
            view.center = place;
        }
        Vec::new()
    }

    fn pressed(&mut self, button: Button) -> Vec<Command> {
        let page = self.page();
        let count = page.buttons().count();
        let focus = page.focused(self.focus);
        match button {
            Button::Up if count > 0 => self.focus = Some((focus + count - 1) % count),
            Button::Down if count > 0 => self.focus = Some((focus + 1) % count),
            Button::Ok => {
                // The focus stays where it is while a screen is worked on, on a keyboard above all.
                self.focus = Some(focus);
                if let Some(action) = page.buttons().nth(focus).map(|button| button.action) {
                    return self.act(action);
                }
            }
            Button::Back => {
                if let Some(action) = page.back {
                    return self.act(action);
                }
            }
            Button::Up | Button::Down => {}
        }
        Vec::new()
    }

    fn lock_when_left(&mut self) -> Vec<Command> {
        let left = self.seconds.saturating_sub(self.last_input) >= self.setup.lock_after_s;
        let open = !matches!(self.screen, Screen::Start | Screen::Pin { .. });
        if left && open { self.lock() } else { Vec::new() }
    }
}
