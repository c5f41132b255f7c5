//! Touch screens and buttons as the kernel gives them (evdev); buttons on a header are keys by its `gpio-keys`.

use std::io;
use std::path::{Path, PathBuf};

use embedded_graphics::prelude::*;
use evdev::{AbsoluteAxisCode as Axis, Device, EventSummary, InputEvent, KeyCode};

use crate::display::Turn;
use crate::model::{Button, Event};

/// A device could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {step}: {source}", .path.display())]
pub struct InputError {
    /// Its file.
    pub path: PathBuf,
    /// What was tried.
    pub step: &'static str,
    /// The system's reason.
    pub source: io::Error,
}

/// An input device, held for this program alone, so that the console does not see what is typed.
pub struct InputDevice {
    device: Device,
    path: PathBuf,
    decoder: Decoder,
}

impl InputDevice {
    /// Opens a device whose touches lie on a display of this size and turn.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn open(path: &Path, display: Size, turn: Turn) -> Result<Self, InputError> {
        let failed = |step| move |source| InputError { path: path.to_path_buf(), step, source };
        let mut device = Device::open(path).map_err(failed("open the device"))?;
        device.grab().map_err(failed("hold the device"))?;
        let mut ranges = Vec::new();
        for (axis, info) in device.get_absinfo().map_err(failed("ask for its axes"))? {
            ranges.push((axis, info.minimum(), info.maximum()));
        }
        Ok(Self { device, path: path.to_path_buf(), decoder: Decoder::new(&ranges, display, turn) })
    }

    /// Waits for the next events.
    ///
    /// # Errors
    /// [`InputError`] when the device is gone.
    pub fn wait(&mut self) -> Result<Vec<Event>, InputError> {
        let path = &self.path;
        let raw = self.device.fetch_events().map_err(|source| InputError {
            path: path.clone(),
            step: "read the device",
            source,
        })?;
        Ok(raw.filter_map(|event| self.decoder.take(event)).collect())
    }
}

/// Turns the kernel's events into the kiosk's: a touch counts once, where the finger comes down.
#[derive(Debug)]
struct Decoder {
    /// Smallest and largest value of x and y.
    range: [(i32, i32); 2],
    /// Whether the device tells fingers apart; it repeats the first one on the simple axes.
    multitouch: bool,
    display: Size,
    turn: Turn,
    slot: i32,
    at: [i32; 2],
    /// A finger has come down since the last report.
    down: bool,
}

impl Decoder {
    fn new(ranges: &[(Axis, i32, i32)], display: Size, turn: Turn) -> Self {
        let range = |wanted: Axis| {
            let found = ranges.iter().find(|(axis, ..)| *axis == wanted);
            found.map(|&(_, low, high)| (low, high.max(low + 1)))
        };
        let multitouch = range(Axis::ABS_MT_POSITION_X).is_some();
        let [x, y] = if multitouch {
            [Axis::ABS_MT_POSITION_X, Axis::ABS_MT_POSITION_Y]
        } else {
            [Axis::ABS_X, Axis::ABS_Y]
        };
        let range = [x, y].map(|axis| range(axis).unwrap_or((0, 1)));
        Self { range, multitouch, display, turn, slot: 0, at: [0; 2], down: false }
    }

    fn take(&mut self, event: InputEvent) -> Option<Event> {
        match event.destructure() {
            EventSummary::AbsoluteAxis(_, Axis::ABS_MT_SLOT, slot) => self.slot = slot,
            EventSummary::AbsoluteAxis(_, axis, value) if self.slot == 0 => match axis {
                Axis::ABS_MT_POSITION_X => self.at[0] = value,
                Axis::ABS_MT_POSITION_Y => self.at[1] = value,
                Axis::ABS_X if !self.multitouch => self.at[0] = value,
                Axis::ABS_Y if !self.multitouch => self.at[1] = value,
                Axis::ABS_MT_TRACKING_ID => self.down |= value >= 0,
                _ => {}
            },
            EventSummary::Key(_, KeyCode::BTN_TOUCH, 1) if !self.multitouch => self.down = true,
            EventSummary::Key(_, key, value) if value > 0 => return button(key, value == 2),
            EventSummary::Synchronization(..) if std::mem::take(&mut self.down) => {
                return Some(Event::Touch(self.place()));
            }
            _ => {}
        }
        None
    }

    /// The finger's pixel in the frame.
    fn place(&self) -> Point {
        let along = |axis: usize, pixels: u32| {
            let (low, high) = self.range[axis];
            let steps = i64::from(high) - i64::from(low) + 1;
            let value = i64::from(self.at[axis].clamp(low, high)) - i64::from(low);
            (value * i64::from(pixels) / steps) as i32
        };
        let at = Point::new(along(0, self.display.width), along(1, self.display.height));
        self.turn.to_frame(at, self.display)
    }
}

/// The kiosk's button of a key; a key that is held down repeats only where that does no harm.
fn button(key: KeyCode, repeated: bool) -> Option<Event> {
    let button = match key {
        KeyCode::KEY_UP => Button::Up,
        KeyCode::KEY_DOWN => Button::Down,
        KeyCode::KEY_ENTER if !repeated => Button::Ok,
        KeyCode::KEY_ESC | KeyCode::KEY_BACK if !repeated => Button::Back,
        _ => return None,
    };
    Some(Event::Button(button))
}

#[cfg(test)]
mod tests {
    use evdev::EventType;

    use super::*;

    const DISPLAY: Size = Size::new(720, 1280);

    fn touches(decoder: &mut Decoder, events: &[(EventType, u16, i32)]) -> Vec<String> {
        let raw = events.iter().map(|&(kind, code, value)| InputEvent::new(kind.0, code, value));
        raw.filter_map(|event| decoder.take(event)).map(|event| format!("{event:?}")).collect()
    }

    #[test]
    fn a_finger_counts_once_and_the_second_one_not() {
        let ranges = [(Axis::ABS_MT_POSITION_X, 0, 719), (Axis::ABS_MT_POSITION_Y, 0, 1279)];
        let abs = |axis: Axis, value| (EventType::ABSOLUTE, axis.0, value);
        let report = (EventType::SYNCHRONIZATION, 0, 0);
        let mut decoder = Decoder::new(&ranges, DISPLAY, Turn::Upright);
        let events = [
            abs(Axis::ABS_MT_TRACKING_ID, 5),
            abs(Axis::ABS_MT_POSITION_X, 100),
            abs(Axis::ABS_MT_POSITION_Y, 200),
            abs(Axis::ABS_X, 100),
            report,
            abs(Axis::ABS_MT_POSITION_X, 110),
            report,
            abs(Axis::ABS_MT_SLOT, 1),
            abs(Axis::ABS_MT_TRACKING_ID, 6),
            abs(Axis::ABS_MT_POSITION_X, 700),
            report,
            abs(Axis::ABS_MT_SLOT, 0),
            abs(Axis::ABS_MT_TRACKING_ID, -1),
            report,
        ];
        assert_eq!(touches(&mut decoder, &events), ["Touch(Point { x: 100, y: 200 })"]);
        // The panel is mounted a quarter to the right: its top right is the frame's top left.
        let mut turned = Decoder::new(&ranges, DISPLAY, Turn::Right);
        assert_eq!(touches(&mut turned, &events), ["Touch(Point { x: 200, y: 619 })"]);
    }

    #[test]
    fn a_simple_touch_screen_is_scaled_to_the_display() {
        let ranges = [(Axis::ABS_X, 0, 4095), (Axis::ABS_Y, 0, 4095)];
        let mut decoder = Decoder::new(&ranges, Size::new(480, 320), Turn::Upright);
        let events = [
            (EventType::KEY, KeyCode::BTN_TOUCH.0, 1),
            (EventType::ABSOLUTE, Axis::ABS_X.0, 4095),
            (EventType::ABSOLUTE, Axis::ABS_Y.0, 2048),
            (EventType::SYNCHRONIZATION, 0, 0),
            (EventType::KEY, KeyCode::BTN_TOUCH.0, 0),
            (EventType::SYNCHRONIZATION, 0, 0),
        ];
        assert_eq!(touches(&mut decoder, &events), ["Touch(Point { x: 479, y: 160 })"]);
    }

    #[test]
    fn keys_are_buttons_and_ok_does_not_repeat() {
        let mut decoder = Decoder::new(&[], DISPLAY, Turn::Upright);
        let key = |key: KeyCode, value| (EventType::KEY, key.0, value);
        let events = [
            key(KeyCode::KEY_DOWN, 1),
            key(KeyCode::KEY_DOWN, 2),
            key(KeyCode::KEY_DOWN, 0),
            key(KeyCode::KEY_ENTER, 1),
            key(KeyCode::KEY_ENTER, 2),
            key(KeyCode::KEY_A, 1),
        ];
        let expected = ["Button(Down)", "Button(Down)", "Button(Ok)"];
        assert_eq!(touches(&mut decoder, &events), expected);
    }
}
