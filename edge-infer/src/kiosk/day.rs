//! A day on this device: its threads, and what joins them.
//!
//! | thread | does |
//! |---|---|
//! | the caller's | the kiosk: screens, fingers, the clock |
//! | examining | answers the kiosk: network, journal, slips |
//! | camera | takes what the intakes bring, few at a time |
//! | leaving out | writes down what the intakes of folders leave out |
//! | outbox | delivers what is due |
//! | the intakes', the journal's and the input's own | see there |

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use glaucoma_exchange::intake::{Incoming, IntakeError};
use glaucoma_kiosk::display::Presenter;
use glaucoma_kiosk::event_loop::{Channels, LoopError, Message, live, replay};
use glaucoma_kiosk::input::script::Step;
use glaucoma_kiosk::model::Event;
use glaucoma_kiosk::stage::Stage;
use glaucoma_records::journal::Journal;

use super::config::Config;
use super::device::{Device, Ways};
use super::intakes::Intakes;
use super::live_view::{ToScreen, Wanted};
use super::local_time;
use super::outbox::{Outbox, OutboxError};
use super::photographs::{Photograph, Photographs, Put};
use super::standing::{Asked, PassOver};
use crate::bundle::Bundle;
use crate::service::{Member, Pulse, Watchdog, notify};

/// How long a thread may be busy before the watchdog thinks it dead: an exam on the slowest board, a PIN's check;
/// and an exchange with a slow server, whose time limit is a minute for each of its parts.
const EXAMINING: Duration = Duration::from_secs(60);
const SENDING: Duration = Duration::from_secs(600);
const SCREEN: Duration = Duration::from_secs(15);

/// Where fingers come from.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// From a person, through the channel.
    Person,
    /// From a script.
    Script(&'a [Step]),
}

/// Why a day ended early.
#[derive(Debug, thiserror::Error)]
pub enum DayError {
    /// The kiosk.
    #[error(transparent)]
    Loop(#[from] LoopError),
    /// The intakes.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// What a day is worked with.
pub struct Tools<'a> {
    /// The model.
    pub bundle: &'a Bundle,
    /// The records.
    pub journal: &'a Journal,
    /// What the programme has set up.
    pub config: &'a Config,
}

/// Works until the script ends, or somebody sends [`Message::Stop`] through the channel whose ends are given.
///
/// # Errors
/// [`DayError`]; what was recorded until then is safe.
pub fn run<P: Presenter>(
    stage: &mut Stage<P>,
    input: Input<'_>,
    (sender, messages): (Sender<Message>, Receiver<Message>),
    tools: &Tools<'_>,
) -> Result<(), DayError> {
    let Tools { bundle, journal, config } = *tools;
    let (requests, asked) = channel();
    let (woken, wake) = channel();
    let photographs = Photographs::default();
    let outbox = Outbox::new(journal, &config.outbox, config.device.programme())?;
    let live_view = Wanted::default();
    let view = ToScreen::new(Wanted::clone(&live_view), sender.clone());
    let (writer, left_out) = channel();
    let pass_over = PassOver { standing: photographs.standing(), writer };
    let (intakes, incoming) = Intakes::start(&config.intake, view, Some(Arc::new(pass_over)))?;
    let pulse = Pulse::new();
    let screen = pulse.member("screen", SCREEN);
    let ways = Ways { outbox: woken, shutter: intakes.shutter(), live_view };
    let device = Device::new(bundle, journal, config, &photographs, ways);
    stage.handle(Event::Status(device.status()));
    std::thread::scope(|scope| {
        // Dropped with the channels at the end of this block, upon which every thread ends.
        let ends = Ends { photographs: &photographs, intakes };
        let answers = sender.clone();
        let examining = pulse.member("examining", EXAMINING);
        scope.spawn(move || {
            let mut device = device;
            device.answer_all(&asked, &answers, &|| examining.tick());
        });
        let counts = sender.clone();
        let sending = pulse.member("outbox", SENDING);
        scope.spawn(move || outbox.run(&wake, &counts, &|| sending.tick()));
        camera(scope, incoming, journal, &photographs, sender.clone());
        let counts = sender.clone();
        scope.spawn(move || write_left_out(left_out, journal, &counts));
        let left_over = ends.intakes.left_over();
        scope.spawn(move || {
            if let Err(error) = left_over() {
                tracing::error!("{error}");
            }
        });
        let channels = Channels { requests, messages };
        match input {
            Input::Script(steps) => replay(stage, &channels, steps)?,
            Input::Person => {
                let watchdog = Watchdog::new(pulse);
                notify::ready("at work");
                live(stage, &channels, &mut Seconds::new(&ends.intakes, screen, watchdog).each())?;
                notify::stopping();
            }
        }
        Ok(())
    })
}

/// What must end so that the threads do.
struct Ends<'a> {
    photographs: &'a Photographs,
    intakes: Intakes,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.photographs.close();
    }
}

/// Takes photographs from the intakes, as many as there is room for, and tells the kiosk; those that are left out
/// are written down as that.
fn camera<'scope>(
    scope: &'scope Scope<'scope, '_>,
    incoming: Receiver<Incoming>,
    journal: &'scope Journal,
    photographs: &'scope Photographs,
    messages: Sender<Message>,
) {
    scope.spawn(move || {
        for photograph in incoming {
            let event = match photographs.put(Photograph::from(photograph)) {
                Put::Waits(arrival) => Event::PhotographTaken(arrival),
                Put::Stood(stood) => match photographs.pass_over(*stood, journal) {
                    Ok(()) => Event::LeftOut(1),
                    Err(waits) => Event::PhotographTaken(waits),
                },
                Put::Closed => return,
            };
            if messages.send(Message::Event(event)).is_err() {
                return;
            }
        }
    });
}

/// Writes down in the journal what the intakes of folders leave out, until there are none, and tells the kiosk.
fn write_left_out(asked: Receiver<Asked>, journal: &Journal, messages: &Sender<Message>) {
    for (photographs, answer) in asked {
        let event = match journal.leave_out(&photographs) {
            Ok(()) => Some(Event::LeftOut(photographs.len().try_into().unwrap_or(u32::MAX))),
            Err(error) => {
                tracing::error!("{error}");
                error.storage().map(Event::NotKept)
            }
        };
        // An intake that has ended asks again after the next start, a kiosk that has ended needs no count.
        let _ = answer.send(matches!(event, Some(Event::LeftOut(_))));
        if let Some(event) = event {
            let _ = messages.send(Message::Event(event));
        }
    }
}

/// What each second brings.
struct Seconds<'a> {
    intakes: &'a Intakes,
    screen: Member,
    watchdog: Watchdog,
    online: Option<bool>,
}

impl<'a> Seconds<'a> {
    fn new(intakes: &'a Intakes, screen: Member, watchdog: Watchdog) -> Self {
        Self { intakes, screen, watchdog, online: None }
    }

    fn each(mut self) -> impl FnMut(Duration) -> Vec<Event> {
        move |since| {
            let now = Instant::now();
            self.screen.tick();
            self.watchdog.step(now);
            let mut events =
                vec![Event::Tick { seconds: since.as_secs(), clock: local_time::clock() }];
            let online = self.intakes.online(now);
            if online != self.online {
                self.online = online;
                events.push(match online {
                    Some(true) => Event::CameraOnline,
                    Some(false) | None => Event::CameraOffline,
                });
            }
            events
        }
    }
}
