//! Touch screens, buttons and scanners as the kernel gives them (evdev); buttons on a header are keys by its
//! `gpio-keys`.

mod scanner;
mod touch;

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use embedded_graphics::prelude::*;
use evdev::{AttributeSetRef, Device, EventSummary, InputEvent, KeyCode, PropType};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::scanner::{Scanner, Typed};
use self::touch::{AxisRange, TouchScreen};
use super::{InputError, Sink};
use crate::display::Turn;
use crate::model::{Button, Event};

/// Where the kernel shows input devices.
pub(super) const DEVICES: &str = "/dev/input";
/// How often new devices are looked for.
const LOOK_AFTER: Duration = Duration::from_secs(3);
/// How soon the thread sees that it is to end.
const LOOK_UP: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// Listens to all devices in the folder, those that come later too, until the sink has ended.
pub(super) fn listen(
    folder: &Path,
    native: Size,
    turn: Turn,
    sink: &Sink,
    mut report: impl FnMut(&InputError),
) {
    let mut devices = Devices { native, turn, held: Vec::new(), passed: HashMap::new() };
    let mut looked: Option<Instant> = None;
    while !sink.ended() {
        if looked.is_none_or(|looked| looked.elapsed() >= LOOK_AFTER) {
            devices.look(folder, &mut report);
            looked = Some(Instant::now());
        }
        devices.wait(sink, &mut report);
    }
}

/// The devices that are listened to, and those that are not.
struct Devices {
    native: Size,
    turn: Turn,
    held: Vec<InputDevice>,
    /// Files that are of no use, by name and inode (a device that is plugged in has a new one); with why, where
    /// it failed and is tried again.
    passed: HashMap<(PathBuf, u64), Option<String>>,
}

impl Devices {
    /// Opens what is new in the folder.
    fn look(&mut self, folder: &Path, report: &mut impl FnMut(&InputError)) {
        let mut passed = HashMap::new();
        // No folder means no device yet.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_device = entry.file_name().to_string_lossy().starts_with("event");
            if !is_device || self.held.iter().any(|device| device.path == path) {
                continue;
            }
            let Ok(inode) = entry.metadata().map(|metadata| metadata.ino()) else { continue };
            let key = (path, inode);
            let before = self.passed.remove(&key);
            if before == Some(None) {
                passed.insert(key, None);
                continue;
            }
            match InputDevice::open(&key.0, self.native, self.turn) {
                Ok(Some(device)) => self.held.push(device),
                Ok(None) => {
                    passed.insert(key, None);
                }
                Err(error) => {
                    let why = Some(error.to_string());
                    if before.as_ref() != Some(&why) {
                        report(&error);
                    }
                    passed.insert(key, why);
                }
            }
        }
        self.passed = passed;
    }

    /// Waits a little for events and passes them on; lets go of devices that are gone.
    fn wait(&mut self, sink: &Sink, report: &mut impl FnMut(&InputError)) {
        let mut ready: Vec<PollFd<'_>> =
            self.held.iter().map(|held| PollFd::new(&held.device, PollFlags::IN)).collect();
        if poll(&mut ready, Some(&LOOK_UP)).is_err() {
            // A signal has broken the wait off; should it be anything else, this is no busy loop.
            std::thread::sleep(Duration::from_millis(20));
            return;
        }
        let ready: Vec<bool> = ready.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        self.held.retain_mut(|held| {
            if !ready.next().unwrap_or(false) {
                return true;
            }
            match held.read() {
                Ok(events) => events.into_iter().for_each(|event| sink.send(event)),
                Err(error) => {
                    report(&error);
                    return false;
                }
            }
            true
        });
    }
}

/// An input device, held for this program alone, so that the console does not see what is typed.
struct InputDevice {
    device: Device,
    path: PathBuf,
    decoder: Decoder,
}

impl InputDevice {
    /// Opens a device whose touches lie on a display of this size and turn; `None` where it is none for us.
    fn open(path: &Path, native: Size, turn: Turn) -> Result<Option<Self>, InputError> {
        let failed =
            |step| move |source| InputError::Device { path: path.to_path_buf(), step, source };
        let mut device = Device::open(path).map_err(failed("open the device"))?;
        let mut axes = Vec::new();
        if device.supported_absolute_axes().is_some() {
            for (axis, info) in device.get_absinfo().map_err(failed("ask for its axes"))? {
                axes.push((axis, info.minimum(), info.maximum(), info.value()));
            }
        }
        let keys = device.supported_keys();
        let Some(decoder) = Decoder::new(keys, device.properties(), &axes, native, turn) else {
            return Ok(None);
        };
        device.set_nonblocking(true).map_err(failed("listen to the device"))?;
        device.grab().map_err(failed("hold the device"))?;
        Ok(Some(Self { device, path: path.to_path_buf(), decoder }))
    }

    /// What has happened since the last time.
    fn read(&mut self) -> Result<Vec<Event>, InputError> {
        match self.device.fetch_events() {
            Ok(raw) => Ok(raw.filter_map(|event| self.decoder.take(event)).collect()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(source) => {
                Err(InputError::Device { path: self.path.clone(), step: "read the device", source })
            }
        }
    }
}

/// Turns the kernel's events into the kiosk's.
#[derive(Debug)]
struct Decoder {
    touch: Option<TouchScreen>,
    scanner: Option<Scanner>,
}

impl Decoder {
    /// What a device with these keys, properties and axes is to the kiosk; `None` for nothing (a mouse, a power
    /// key, a touchpad).
    fn new(
        keys: Option<&AttributeSetRef<KeyCode>>,
        properties: &AttributeSetRef<PropType>,
        axes: &[AxisRange],
        native: Size,
        turn: Turn,
    ) -> Option<Self> {
        let has = |key: KeyCode| keys.is_some_and(|keys| keys.contains(key));
        let finger = has(KeyCode::BTN_TOUCH) || has(KeyCode::BTN_LEFT) || has_slots(axes);
        let pad = properties.contains(PropType::POINTER);
        let touch = (finger && !pad).then(|| TouchScreen::new(axes, native, turn)).flatten();
        // Each button on a header may be a device of its own: one key is enough.
        let buttons = BUTTONS.iter().any(|&(key, _)| has(key));
        let letters = has(KeyCode::KEY_A) && has(KeyCode::KEY_Z);
        let scanner = letters.then(Scanner::default);
        let useful = touch.is_some() || buttons || letters;
        useful.then_some(Self { touch, scanner })
    }

    fn take(&mut self, event: InputEvent) -> Option<Event> {
        if let Some(at) = self.touch.as_mut().and_then(|touch| touch.take(event)) {
            return Some(Event::Touch(at));
        }
        let EventSummary::Key(_, key, value) = event.destructure() else { return None };
        let typed = self.scanner.as_mut().map(|it| it.take(key, value, event.timestamp()));
        match typed {
            Some(Typed::Nothing) => None,
            Some(Typed::Code(code)) => Some(Event::Scanned(code)),
            Some(Typed::Key) | None => button(key, value),
        }
    }
}

fn has_slots(axes: &[AxisRange]) -> bool {
    axes.iter().any(|(axis, ..)| *axis == evdev::AbsoluteAxisCode::ABS_MT_SLOT)
}

/// Keys and the kiosk's buttons.
const BUTTONS: [(KeyCode, Button); 6] = [
    (KeyCode::KEY_UP, Button::Up),
    (KeyCode::KEY_DOWN, Button::Down),
    (KeyCode::KEY_ENTER, Button::Ok),
    (KeyCode::KEY_KPENTER, Button::Ok),
    (KeyCode::KEY_ESC, Button::Back),
    (KeyCode::KEY_BACK, Button::Back),
];

/// The button of a key that goes down (1) or is held (2). It repeats only where that does no harm.
fn button(key: KeyCode, value: i32) -> Option<Event> {
    let &(_, button) = BUTTONS.iter().find(|(wanted, _)| *wanted == key)?;
    let repeats = matches!(button, Button::Up | Button::Down);
    (value == 1 || (value == 2 && repeats)).then_some(Event::Button(button))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use evdev::{AbsoluteAxisCode as Axis, AttributeSet, EventType};

    use super::*;

    const DISPLAY: Size = Size::new(720, 1280);
    const XY: [AxisRange; 2] = [(Axis::ABS_X, 0, 99, 0), (Axis::ABS_Y, 0, 99, 0)];

    fn decoder(keys: &[KeyCode], pad: bool, axes: &[AxisRange]) -> Option<Decoder> {
        let keys: AttributeSet<KeyCode> = keys.iter().copied().collect();
        let properties: AttributeSet<PropType> =
            pad.then_some(PropType::POINTER).into_iter().collect();
        Decoder::new(Some(&keys), &properties, axes, DISPLAY, Turn::Upright)
    }

    fn events(decoder: &mut Decoder, raw: &[(EventType, u16, i32)]) -> Vec<String> {
        let raw = raw.iter().map(|&(kind, code, value)| InputEvent::new(kind.0, code, value));
        raw.filter_map(|event| decoder.take(event)).map(|event| format!("{event:?}")).collect()
    }

    fn key(key: KeyCode, value: i32) -> (EventType, u16, i32) {
        (EventType::KEY, key.0, value)
    }

    #[test]
    fn a_device_is_told_by_its_keys_and_axes() {
        let kind = |keys: &[KeyCode], pad, axes: &[AxisRange]| {
            decoder(keys, pad, axes).map(|it| (it.touch.is_some(), it.scanner.is_some()))
        };
        let touch = Some((true, false));
        assert_eq!(kind(&[KeyCode::BTN_TOUCH], false, &XY), touch);
        assert_eq!(kind(&[KeyCode::BTN_LEFT, KeyCode::BTN_RIGHT], false, &XY), touch);
        let slots = [(Axis::ABS_MT_SLOT, 0, 4, 0), XY[0], XY[1]];
        assert_eq!(kind(&[], false, &slots), touch);
        assert_eq!(kind(&[KeyCode::KEY_ESC], false, &[]), Some((false, false)));
        let letters = [KeyCode::KEY_A, KeyCode::KEY_Z, KeyCode::KEY_ENTER];
        assert_eq!(kind(&letters, false, &[]), Some((false, true)));
        // A mouse, a touchpad, a joystick, a power key.
        assert_eq!(kind(&[KeyCode::BTN_LEFT, KeyCode::BTN_RIGHT], false, &[]), None);
        assert_eq!(kind(&[KeyCode::BTN_TOUCH, KeyCode::BTN_LEFT], true, &XY), None);
        assert_eq!(kind(&[KeyCode::BTN_TRIGGER], false, &XY), None);
        assert_eq!(kind(&[KeyCode::KEY_POWER], false, &[]), None);
    }

    #[test]
    fn keys_are_buttons_and_ok_does_not_repeat() {
        let mut buttons = decoder(&[KeyCode::KEY_DOWN, KeyCode::KEY_ENTER], false, &[]).unwrap();
        let raw = [
            key(KeyCode::KEY_DOWN, 1),
            key(KeyCode::KEY_DOWN, 2),
            key(KeyCode::KEY_DOWN, 0),
            key(KeyCode::KEY_ENTER, 1),
            key(KeyCode::KEY_ENTER, 2),
            key(KeyCode::KEY_A, 1),
        ];
        let expected = ["Button(Down)", "Button(Down)", "Button(Ok)"];
        assert_eq!(events(&mut buttons, &raw), expected);
    }

    #[test]
    fn a_scanner_scans_and_its_letters_are_no_buttons() {
        let keys = [KeyCode::KEY_A, KeyCode::KEY_Z, KeyCode::KEY_ENTER, KeyCode::KEY_UP];
        let mut scanner = decoder(&keys, false, &[]).unwrap();
        let raw = [
            key(KeyCode::KEY_Z, 1),
            key(KeyCode::KEY_Z, 0),
            key(KeyCode::KEY_7, 1),
            key(KeyCode::KEY_ENTER, 1),
            key(KeyCode::KEY_ENTER, 0),
            key(KeyCode::KEY_UP, 1),
        ];
        assert_eq!(events(&mut scanner, &raw), ["Scanned(\"z7\")", "Button(Up)"]);
    }

    #[test]
    fn a_device_that_cannot_be_used_is_reported_once_and_the_thread_ends_when_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("event3"), b"no device").unwrap();
        std::fs::write(folder.path().join("mouse0"), b"not looked at").unwrap();
        let sink = Sink::new(mpsc::channel().0);
        let mut reports = Vec::new();
        let native = DISPLAY;
        let mut devices =
            Devices { native, turn: Turn::Upright, held: Vec::new(), passed: HashMap::new() };
        for _ in 0..2 {
            devices.look(folder.path(), &mut |error: &InputError| reports.push(error.to_string()));
        }
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(reports[0].contains("event3"), "{reports:?}");
        sink.end();
        listen(folder.path(), native, Turn::Upright, &sink, |_| panic!("it has ended"));
    }
}
