//! Where events come from.

#[cfg(feature = "evdev")]
pub mod evdev;
pub mod script;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use embedded_graphics::prelude::Size;

use crate::display::Turn;
use crate::event_loop::Message;
use crate::model::Event;

/// Where touches, buttons and scanned numbers come from, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputChoice {
    /// `evdev`: the touch screens, buttons and scanners of the device.
    Evdev,
    /// `script:FILE`: a day from a script.
    Script(PathBuf),
}

/// A text that names no input.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no input: evdev or script:FILE")]
pub struct NoSuchInput(String);

impl FromStr for InputChoice {
    type Err = NoSuchInput;

    fn from_str(text: &str) -> Result<Self, NoSuchInput> {
        match text.strip_prefix("script:").filter(|file| !file.is_empty()) {
            Some(file) => Ok(Self::Script(file.into())),
            None if text == "evdev" => Ok(Self::Evdev),
            None => Err(NoSuchInput(text.to_owned())),
        }
    }
}

/// Where input goes, and whether any is wanted still. Clones share both.
#[derive(Debug, Clone)]
pub struct Sink {
    messages: Sender<Message>,
    ended: Arc<AtomicBool>,
}

impl Sink {
    /// Events go into this channel.
    #[must_use]
    pub fn new(messages: Sender<Message>) -> Self {
        Self { messages, ended: Arc::default() }
    }

    /// Passes an event on; a channel that nobody reads any more ends the input.
    pub fn send(&self, event: Event) {
        if self.messages.send(Message::Event(event)).is_err() {
            self.end();
        }
    }

    /// Ends it: whoever gives or takes events stops within a second.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        // Where nobody listens any more, there is nobody to stop.
        let _ = self.messages.send(Message::Stop);
    }

    /// Whether it has ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// An input device could not be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Devices are not part of this program.
    #[error(
        "this program was built without the input evdev (the feature of this name); \
         script:FILE is always there"
    )]
    NotBuilt,
    /// A device refused.
    #[error("{}: cannot {step}: {source}", .path.display())]
    Device {
        /// Its file.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Listens to the device's touch screens, buttons and scanners on a thread of its own until the sink has ended.
/// Touches lie on a display of `native` pixels that is mounted with this turn. A device that comes later is
/// found; one that cannot be used or is pulled out goes to `report`, and the others are listened to.
///
/// # Errors
/// [`InputError::NotBuilt`] where this program was built without devices; the thread that could not be begun.
#[cfg(feature = "evdev")]
pub fn listen(
    native: Size,
    turn: Turn,
    sink: Sink,
    report: impl FnMut(&InputError) + Send + 'static,
) -> Result<JoinHandle<()>, InputError> {
    let folder = PathBuf::from(evdev::DEVICES);
    let place = folder.clone();
    std::thread::Builder::new()
        .name("input".into())
        .spawn(move || evdev::listen(&folder, native, turn, &sink, report))
        .map_err(|source| InputError::Device { path: place, step: "begin to listen", source })
}

/// As with devices: without them, [`InputError::NotBuilt`].
///
/// # Errors
/// Always.
#[cfg(not(feature = "evdev"))]
pub fn listen(
    _native: Size,
    _turn: Turn,
    _sink: Sink,
    _report: impl FnMut(&InputError) + Send + 'static,
) -> Result<JoinHandle<()>, InputError> {
    Err(InputError::NotBuilt)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use super::*;
    use crate::model::Button;

    #[test]
    fn an_input_is_named() {
        assert_eq!("evdev".parse(), Ok(InputChoice::Evdev));
        assert_eq!("script:a b".parse(), Ok(InputChoice::Script("a b".into())));
        for text in ["", "script:", "script", "evdev:1"] {
            let error = text.parse::<InputChoice>().unwrap_err();
            assert!(error.to_string().contains("script:FILE"), "{text}");
        }
    }

    #[test]
    fn a_sink_ends_for_all_its_clones_and_by_itself_when_nobody_reads() {
        let (sender, receiver) = mpsc::channel();
        let sink = Sink::new(sender);
        let other = sink.clone();
        sink.send(Event::Button(Button::Ok));
        let received = receiver.recv().unwrap();
        assert!(matches!(received, Message::Event(Event::Button(Button::Ok))));
        assert!(!other.ended());
        drop(receiver);
        other.send(Event::Button(Button::Ok));
        assert!(sink.ended());
    }

    #[test]
    #[cfg(not(feature = "evdev"))]
    fn devices_that_were_not_built_are_named() {
        let sink = Sink::new(mpsc::channel().0);
        let error = listen(Size::zero(), Turn::Upright, sink, |_| ()).unwrap_err();
        assert!(error.to_string().contains("without the input evdev"));
    }
}
