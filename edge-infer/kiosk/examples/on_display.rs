//! Shows the kiosk's first screens on a display and follows fingers, keys and a scanner: whether the screen of a
//! new board works, without a model, a camera or a journal.
//!
//!     on_display DISPLAY INPUT [TURN [WIDTHxHEIGHT MM]]
//!
//! as in `on_display drm evdev right`, `on_display window none`, `on_display png:pictures script:day upright
//! 800x480 0.19`. Size and millimetres a pixel are for displays that do not know their own. Each picture that is
//! shown, its buttons and each event is a line on the standard output.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use glaucoma_kiosk::display::{self, DisplayChoice, DisplayError, Frame, Presenter, Turn};
use glaucoma_kiosk::event_loop::{Channels, Message, Request, replay};
use glaucoma_kiosk::input::{self, InputChoice, Sink, script};
use glaucoma_kiosk::model::{Check, Command, Event, Kiosk, Setup, Status};
use glaucoma_kiosk::panel::Panel;
use glaucoma_kiosk::stage::Stage;
use glaucoma_kiosk::theme::Theme;
use glaucoma_kiosk::words::Language;
use glaucoma_records::decide::Rules;
use glaucoma_records::visit::Uid;

type AnyError = Box<dyn std::error::Error>;

fn main() {
    if let Err(error) = run() {
        eprintln!("on_display: {error}");
        std::process::exit(2);
    }
}

fn run() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |index: usize| arguments.get(index).map(String::as_str);
    let (Some(display), Some(from)) = (argument(0), argument(1)) else {
        return Err("on_display DISPLAY INPUT [TURN [WIDTHxHEIGHT MM]]".into());
    };
    let display: DisplayChoice = display.parse()?;
    let from: Option<InputChoice> = if from == "none" { None } else { Some(from.parse()?) };
    let turn: Turn = argument(2).unwrap_or("upright").parse()?;
    let panel = match (argument(3), argument(4)) {
        (Some(size), Some(mm)) => {
            let (width, height) = size.split_once('x').ok_or("a size is WIDTHxHEIGHT")?;
            Panel { size: Size::new(width.parse()?, height.parse()?), mm_per_px: mm.parse()? }
        }
        _ => Panel::PI_7_INCH,
    };

    let (sender, messages) = mpsc::channel();
    let sink = Sink::new(sender.clone());
    let open = display::open(&display, panel, turn, &sink)?;
    let Panel { size, mm_per_px } = open.panel;
    println!("panel {}x{} {mm_per_px}", size.width, size.height);
    let mut stage = Stage::new(kiosk(open.panel), Told { inner: open.presenter, shown: 0 });
    match from {
        Some(InputChoice::Script(file)) => {
            let steps = script::read(Path::new(&file))?;
            let (requests, asked) = mpsc::channel();
            std::thread::spawn(move || {
                for request in asked {
                    // Who has heard the last answer needs no other.
                    let _ = sender.send(Message::Answer(answer(request)));
                }
            });
            replay(&mut stage, &Channels { requests, messages }, &steps)?;
            return Ok(());
        }
        Some(InputChoice::Evdev) => {
            let report = |error: &input::InputError| println!("{error}");
            input::listen(open.native, turn, sink.clone(), report)?;
        }
        None => {}
    }
    // As a replay begins.
    take(&mut stage, Event::Tick { seconds: 0, clock: (8, 0) })?;
    while !sink.ended() {
        match messages.recv_timeout(Duration::from_millis(200)) {
            Ok(Message::Event(event)) => {
                println!("{event:?}");
                take(&mut stage, event)?;
            }
            Ok(Message::Answer(_)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(())
}

/// Takes an event in and what the outside answers, as a replay does; says where the buttons are.
fn take(stage: &mut Stage<Told>, event: Event) -> Result<(), DisplayError> {
    let mut events = VecDeque::from([event]);
    while let Some(event) = events.pop_front() {
        let commands = stage.handle(event);
        stage.show()?;
        for command in commands {
            events.extend(answer(Request::Command(command)));
        }
    }
    for button in stage.kiosk.page().buttons() {
        let at = button.area.center();
        println!("button {} {} {:?}", at.x, at.y, button.action);
    }
    println!("shown {}", stage.presenter.shown);
    Ok(())
}

/// A kiosk whose camera, model and storage are said to be fine.
fn kiosk(panel: Panel) -> Kiosk {
    let setup = Setup {
        sites: vec!["Huye".into(), "Kirehe".into()],
        operators: vec!["A. Uwase".into()],
        rules: Rules::default(),
        lock_after_s: 300,
        shutter: false,
        live_view: false,
        zone: jiff::tz::TimeZone::UTC,
    };
    let mut kiosk = Kiosk::new(panel, setup, Language::En, Theme::Daylight);
    let fine = |detail: &str| Check { fine: true, detail: detail.into() };
    let (model, storage) = (fine("none"), fine("none"));
    kiosk.status = Status { model, storage, clock: fine(""), power: Some(fine("")) };
    kiosk.camera = true;
    kiosk
}

/// Says how many pictures were shown.
struct Told {
    inner: Box<dyn Presenter + Send>,
    shown: u32,
}

impl Presenter for Told {
    fn present(&mut self, frame: &Frame, damage: Rectangle) -> Result<(), DisplayError> {
        self.shown += 1;
        self.inner.present(frame, damage)
    }
}

/// What an outside says that takes any PIN and has no camera.
fn answer(request: Request) -> Vec<Event> {
    match request {
        Request::Command(Command::UnlockPin { .. }) => vec![Event::Unlocked],
        Request::Command(Command::MakeNumber) => vec![Event::NumberMade("HY-0001".into())],
        Request::Command(Command::RegisterPerson { .. }) => {
            vec![Event::VisitBegun { uid: Uid("2.25.1".into()), begun_at: String::new() }]
        }
        Request::Command(_) | Request::Photograph { .. } => Vec::new(),
    }
}
