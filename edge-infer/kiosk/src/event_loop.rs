//! The kiosk at work: events in, what has changed on the display, requests out. Live, or as a script says.
//!
//! ```text
//! camera, input, outbox ──► Message::Event ──┐
//!                                            ├─► kiosk ─► display
//! worker ──► Message::Answer ────────────────┘     │
//!    ▲                                             │
//!    └───────────────── Request ◄──────────────────┘
//! ```
//!
//! Nothing here waits for the outside: whoever answers has a thread of its own.

use std::ops::ControlFlow::{self, Break, Continue};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use glaucoma_common::reading::Laterality;

use crate::display::{DisplayError, Presenter};
use crate::input::script::Step;
use crate::model::{Command, Event};
use crate::stage::Stage;

/// What the outside is asked for. Exactly one [`Message::Answer`] follows each.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// By the kiosk.
    Command(Command),
    /// By a script: the camera shall deliver this file.
    Photograph {
        /// The file.
        file: PathBuf,
        /// The eye that its sender names.
        eye: Option<Laterality>,
    },
}

/// What reaches the kiosk.
#[derive(Debug, Clone)]
pub enum Message {
    /// Something happened.
    Event(Event),
    /// What came of one request; may be nothing.
    Answer(Vec<Event>),
    /// The program is to end.
    Stop,
}

/// The ends of the kiosk's channels.
#[derive(Debug)]
pub struct Channels {
    /// To whoever answers.
    pub requests: Sender<Request>,
    /// From everyone.
    pub messages: Receiver<Message>,
}

/// The time of day at which a script begins, hour and minute.
const BEGIN: (u64, u64) = (8, 0);
/// More requests than this after one step of a script are a circle between kiosk and outside.
const MOST_REQUESTS: usize = 1000;
/// How long a script waits for an answer or a photograph.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Why the kiosk stopped working.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// The display failed.
    #[error(transparent)]
    Display(#[from] DisplayError),
    /// Nobody answers any more.
    #[error("the examining thread has ended")]
    Gone,
    /// Kiosk and outside answer each other without end.
    #[error("step {step}: kiosk and outside answer each other without end")]
    Circle {
        /// The step, from 1.
        step: usize,
    },
    /// What a step waits for did not come.
    #[error("step {step}: {what} did not come within {} s", LONGEST_WAIT.as_secs())]
    Silence {
        /// The step, from 1.
        step: usize,
        /// An answer, or a photograph.
        what: &'static str,
    },
}

/// Works until [`Message::Stop`] or until nobody can send messages any more. `each_second` tells what a second
/// brings, the tick above all.
///
/// # Errors
/// [`LoopError`]; the display's, or that the outside is gone.
pub fn live<P: Presenter>(
    stage: &mut Stage<P>,
    channels: &Channels,
    each_second: &mut dyn FnMut(Duration) -> Vec<Event>,
) -> Result<(), LoopError> {
    let mut turn = Turn::new(stage, channels);
    let start = Instant::now();
    loop {
        let now = start.elapsed();
        for event in each_second(now) {
            turn.take(event)?;
        }
        turn.stage.show()?;
        let next = start + Duration::from_secs(now.as_secs() + 1);
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            match channels.messages.recv_timeout(left) {
                Ok(message) => {
                    if turn.take_all(message)?.is_break() {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}

/// Plays the steps; each event's state is shown, and each step waits for the answers of the one before. Time is the
/// script's. Photographs, numbers and camera come from the script and, if there are any, from the intakes.
///
/// # Errors
/// [`LoopError`].
pub fn replay<P: Presenter>(
    stage: &mut Stage<P>,
    channels: &Channels,
    steps: &[Step],
) -> Result<(), LoopError> {
    let mut seconds = 0;
    let mut turn = Turn::new(stage, channels);
    turn.take_shown(tick(seconds))?;
    for (index, step) in steps.iter().enumerate() {
        turn.step = index + 1;
        turn.asked = 0;
        match step {
            Step::Touch(at) => turn.take_shown(Event::Touch(*at))?,
            Step::Button(button) => turn.take_shown(Event::Button(*button))?,
            Step::Wait(time) => {
                seconds += time;
                turn.take_shown(tick(seconds))?;
            }
            Step::Photograph { file, eye } => {
                turn.ask(Request::Photograph { file: file.clone(), eye: *eye })?;
            }
            Step::Incoming => {
                if turn.next_until("a photograph", |turn| turn.arrived > 0)?.is_break() {
                    return Ok(());
                }
                turn.arrived -= 1;
            }
            Step::Live => {
                let seen = |turn: &Turn<'_, P>| turn.stage.kiosk.live().is_some();
                if turn.next_until("a live picture", seen)?.is_break() {
                    return Ok(());
                }
            }
            Step::Sent => {
                let sent = |turn: &Turn<'_, P>| turn.stage.kiosk.waiting == 0;
                if turn.next_until("the end of sending", sent)?.is_break() {
                    return Ok(());
                }
            }
            Step::Scan(id) => turn.take_shown(Event::Scanned(id.clone()))?,
            Step::Camera(true) => turn.take_shown(Event::CameraOnline)?,
            Step::Camera(false) => turn.take_shown(Event::CameraOffline)?,
        }
        if turn.settle()?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

fn tick(seconds: u64) -> Event {
    let minutes = BEGIN.0 * 60 + BEGIN.1 + seconds / 60;
    Event::Tick { seconds, clock: ((minutes / 60 % 24) as u8, (minutes % 60) as u8) }
}

/// The kiosk with what it has asked for.
struct Turn<'a, P> {
    stage: &'a mut Stage<P>,
    channels: &'a Channels,
    /// Requests without an answer yet.
    open: usize,
    /// Requests since the step began.
    asked: usize,
    step: usize,
    /// Photographs that came in since they were last waited for.
    arrived: usize,
}

impl<'a, P: Presenter> Turn<'a, P> {
    fn new(stage: &'a mut Stage<P>, channels: &'a Channels) -> Self {
        Self { stage, channels, open: 0, asked: 0, step: 0, arrived: 0 }
    }

    fn take(&mut self, event: Event) -> Result<(), LoopError> {
        self.arrived += usize::from(matches!(event, Event::PhotographTaken(_)));
        for command in self.stage.handle(event) {
            self.ask(Request::Command(command))?;
        }
        Ok(())
    }

    fn take_shown(&mut self, event: Event) -> Result<(), LoopError> {
        self.take(event)?;
        Ok(self.stage.show()?)
    }

    fn ask(&mut self, request: Request) -> Result<(), LoopError> {
        self.channels.requests.send(request).map_err(|_| LoopError::Gone)?;
        self.open += 1;
        self.asked += 1;
        Ok(())
    }

    /// Takes the message and those behind it, then shows what came of all: a display is slower than a finger.
    fn take_all(&mut self, first: Message) -> Result<ControlFlow<()>, LoopError> {
        let mut next = Some(first);
        while let Some(message) = next {
            let Some(events) = self.events(message) else { return Ok(Break(())) };
            for event in events {
                self.take(event)?;
            }
            next = self.channels.messages.try_recv().ok();
        }
        self.stage.show()?;
        Ok(Continue(()))
    }

    /// Takes messages until every request is answered.
    fn settle(&mut self) -> Result<ControlFlow<()>, LoopError> {
        while self.open > 0 {
            if self.next_shown("an answer")?.is_break() {
                return Ok(Break(()));
            }
            if self.asked > MOST_REQUESTS {
                return Err(LoopError::Circle { step: self.step });
            }
        }
        Ok(Continue(()))
    }

    /// Takes messages until `done`.
    fn next_until(
        &mut self,
        what: &'static str,
        done: impl Fn(&Self) -> bool,
    ) -> Result<ControlFlow<()>, LoopError> {
        while !done(self) {
            if self.next_shown(what)?.is_break() {
                return Ok(Break(()));
            }
        }
        Ok(Continue(()))
    }

    fn next_shown(&mut self, what: &'static str) -> Result<ControlFlow<()>, LoopError> {
        let message = self.channels.messages.recv_timeout(LONGEST_WAIT);
        let message = message.map_err(|error| match error {
            RecvTimeoutError::Timeout => LoopError::Silence { step: self.step, what },
            RecvTimeoutError::Disconnected => LoopError::Gone,
        })?;
        let Some(events) = self.events(message) else { return Ok(Break(())) };
        for event in events {
            self.take_shown(event)?;
        }
        Ok(Continue(()))
    }

    /// What a message brings; `None` at the end.
    fn events(&mut self, message: Message) -> Option<Vec<Event>> {
        match message {
            Message::Event(event) => Some(vec![event]),
            Message::Answer(events) => {
                self.open = self.open.saturating_sub(1);
                Some(events)
            }
            Message::Stop => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::channel;

    use embedded_graphics::primitives::Rectangle;

    use super::*;
    use crate::display::Frame;
    use crate::model::{Kiosk, Setup};
    use crate::panel::Panel;
    use crate::theme::Theme;
    use crate::words::Language;

    struct Unseen;

    impl Presenter for Unseen {
        fn present(&mut self, _: &Frame, _: Rectangle) -> Result<(), DisplayError> {
            Ok(())
        }
    }

    fn stage() -> Stage<Unseen> {
        let setup = Setup {
            sites: vec!["Huye".into()],
            operators: vec!["A".into()],
            rules: glaucoma_records::decide::Rules::default(),
            lock_after_s: 300,
            shutter: false,
            live_view: false,
            zone: jiff::tz::TimeZone::UTC,
        };
        let kiosk = Kiosk::new(Panel::PI_7_INCH, setup, Language::En, Theme::Daylight);
        Stage::new(kiosk, Unseen)
    }

    #[test]
    fn a_live_kiosk_ticks_takes_messages_and_stops() {
        let (requests, _asked) = channel();
        let (sender, messages) = channel();
        let mut stage = stage();
        sender.send(Message::Event(Event::CameraOnline)).unwrap();
        let mut seconds = Vec::new();
        let other = sender.clone();
        live(&mut stage, &Channels { requests, messages }, &mut |now| {
            seconds.push(now.as_secs());
            if seconds.len() == 2 {
                other.send(Message::Stop).unwrap();
            }
            vec![Event::Tick { seconds: now.as_secs(), clock: (7, 5) }]
        })
        .unwrap();
        assert_eq!(seconds, [0, 1]);
        assert!(stage.kiosk.camera);
        assert_eq!((stage.kiosk.seconds, stage.kiosk.clock), (1, (7, 5)));
    }

    #[test]
    fn a_step_waits_for_its_answer_and_a_dead_outside_is_told() {
        let (requests, asked) = channel();
        let (sender, messages) = channel();
        let channels = Channels { requests, messages };
        let step = Step::Photograph { file: "a.jpg".into(), eye: None };
        let answering = std::thread::spawn(move || {
            let asked: Vec<Request> = asked.iter().take(1).collect();
            std::thread::sleep(Duration::from_millis(30));
            sender.send(Message::Answer(vec![Event::CameraOnline])).unwrap();
            asked
        });
        let mut stage = stage();
        replay(&mut stage, &channels, std::slice::from_ref(&step)).unwrap();
        assert!(stage.kiosk.camera, "the step was over before its answer came");
        let Request::Photograph { file, .. } = &answering.join().unwrap()[0] else { panic!() };
        assert_eq!(file.to_str(), Some("a.jpg"));
        let error = replay(&mut stage, &channels, &[step]).unwrap_err();
        assert!(matches!(error, LoopError::Gone), "{error}");
    }
}
