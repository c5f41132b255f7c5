//! Fingers on a touch screen: a touch counts once, where the first finger comes down.

use embedded_graphics::prelude::*;
use evdev::{AbsoluteAxisCode as Axis, EventSummary, InputEvent, KeyCode};

use crate::display::Turn;

/// One axis as the device describes it: its code, least and largest value, and the value now.
pub(super) type AxisRange = (Axis, i32, i32, i32);

/// Follows the fingers of one device.
#[derive(Debug)]
pub(super) struct TouchScreen {
    /// Smallest and largest value of x and y.
    range: [(i32, i32); 2],
    /// The axes of x and y.
    axes: [Axis; 2],
    /// Whether the device tells fingers apart, each in its slot; it may repeat the first one on the simple axes.
    multitouch: bool,
    display: Size,
    turn: Turn,
    slot: usize,
    fingers: Vec<Finger>,
    /// The finger that has come down since the last report.
    new: Option<usize>,
}

/// A finger in its slot. The kernel tells what changes only: a finger that comes down where the one before it
/// was has no position of its own.
#[derive(Debug, Clone, Copy)]
struct Finger {
    at: [i32; 2],
    down: bool,
}

/// More fingers than any panel tells apart.
const MOST_SLOTS: usize = 64;

impl TouchScreen {
    /// The touch screen with these axes on a display of this size and turn; `None` where they are none of a
    /// touch screen.
    pub(super) fn new(axes: &[AxisRange], display: Size, turn: Turn) -> Option<Self> {
        let find = |wanted: Axis| axes.iter().find(|(axis, ..)| *axis == wanted).copied();
        let slots = find(Axis::ABS_MT_SLOT);
        let position = [Axis::ABS_MT_POSITION_X, Axis::ABS_MT_POSITION_Y];
        let simple = [Axis::ABS_X, Axis::ABS_Y];
        let multitouch = slots.is_some() && position.map(find).iter().all(Option::is_some);
        let axes = if multitouch { position } else { simple };
        let [Some(x), Some(y)] = axes.map(find) else { return None };
        let range = [x, y].map(|(_, low, high, _)| (low, high.max(low.saturating_add(1))));
        let now = simple.map(find).map(|axis| axis.map_or(0, |(.., now)| now));
        let (slot, last) = slots.map_or((0, 0), |(_, _, last, now)| (now, last));
        let count = usize::try_from(last).unwrap_or(0).min(MOST_SLOTS - 1) + 1;
        let fingers = vec![Finger { at: now, down: false }; count];
        let slot = usize::try_from(slot).unwrap_or(0);
        Some(Self { range, axes, multitouch, display, turn, slot, fingers, new: None })
    }

    /// Takes one event in; the pixel of the frame comes back that a finger has touched.
    pub(super) fn take(&mut self, event: InputEvent) -> Option<Point> {
        match event.destructure() {
            EventSummary::AbsoluteAxis(_, Axis::ABS_MT_SLOT, slot) => {
                self.slot = usize::try_from(slot).unwrap_or(usize::MAX);
            }
            EventSummary::AbsoluteAxis(_, Axis::ABS_MT_TRACKING_ID, id) if self.multitouch => {
                self.finger(id >= 0);
            }
            EventSummary::AbsoluteAxis(_, axis, value) => {
                let along = self.axes.iter().position(|&wanted| wanted == axis);
                if let (Some(along), Some(finger)) = (along, self.fingers.get_mut(self.slot)) {
                    finger.at[along] = value;
                }
            }
            // Simple panels of some makers call the finger a mouse's button.
            EventSummary::Key(_, KeyCode::BTN_TOUCH | KeyCode::BTN_LEFT, value) => {
                if !self.multitouch {
                    self.finger(value != 0);
                } else if value == 0 {
                    // All fingers are up, should the report of one have been lost.
                    self.fingers.iter_mut().for_each(|finger| finger.down = false);
                }
            }
            EventSummary::Synchronization(..) => {
                let new = self.new.take()?;
                return Some(self.place(self.fingers[new].at));
            }
            _ => {}
        }
        None
    }

    /// The finger in the open slot comes down or goes up. A second one is no touch.
    fn finger(&mut self, down: bool) {
        let alone = self.fingers.iter().all(|finger| !finger.down);
        let Some(finger) = self.fingers.get_mut(self.slot) else { return };
        finger.down = down;
        if down && alone {
            self.new = Some(self.slot);
        }
    }

    /// A finger's pixel in the frame.
    fn place(&self, at: [i32; 2]) -> Point {
        let along = |axis: usize, pixels: u32| {
            let (low, high) = self.range[axis];
            let steps = i64::from(high) - i64::from(low) + 1;
            let value = i64::from(at[axis].clamp(low, high)) - i64::from(low);
            (value * i64::from(pixels) / steps) as i32
        };
        let at = Point::new(along(0, self.display.width), along(1, self.display.height));
        self.turn.to_frame(at, self.display)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use evdev::EventType;

    use super::*;

    const DISPLAY: Size = Size::new(720, 1280);
    const REPORT: (EventType, u16, i32) = (EventType::SYNCHRONIZATION, 0, 0);
    const FINGERS: [AxisRange; 3] = [
        (Axis::ABS_MT_SLOT, 0, 9, 0),
        (Axis::ABS_MT_POSITION_X, 0, 719, 0),
        (Axis::ABS_MT_POSITION_Y, 0, 1279, 0),
    ];

    fn abs(axis: Axis, value: i32) -> (EventType, u16, i32) {
        (EventType::ABSOLUTE, axis.0, value)
    }

    fn touches(screen: &mut TouchScreen, events: &[(EventType, u16, i32)]) -> Vec<(i32, i32)> {
        let raw = events.iter().map(|&(kind, code, value)| InputEvent::new(kind.0, code, value));
        raw.filter_map(|event| screen.take(event)).map(|at| (at.x, at.y)).collect()
    }

    #[test]
    fn a_finger_counts_once_and_the_second_one_not() {
        let mut screen = TouchScreen::new(&FINGERS, DISPLAY, Turn::Upright).unwrap();
        let events = [
            abs(Axis::ABS_MT_TRACKING_ID, 5),
            abs(Axis::ABS_MT_POSITION_X, 100),
            abs(Axis::ABS_MT_POSITION_Y, 200),
            abs(Axis::ABS_X, 100),
            REPORT,
            abs(Axis::ABS_MT_POSITION_X, 110),
            REPORT,
            abs(Axis::ABS_MT_SLOT, 1),
            abs(Axis::ABS_MT_TRACKING_ID, 6),
            abs(Axis::ABS_MT_POSITION_X, 700),
            REPORT,
            abs(Axis::ABS_MT_SLOT, 0),
            abs(Axis::ABS_MT_TRACKING_ID, -1),
            REPORT,
            // The second finger is still there: not yet.
            abs(Axis::ABS_MT_TRACKING_ID, 7),
            REPORT,
        ];
        assert_eq!(touches(&mut screen, &events), [(100, 200)]);
        // The panel is mounted a quarter to the right: its top right is the frame's top left.
        let mut turned = TouchScreen::new(&FINGERS, DISPLAY, Turn::Right).unwrap();
        assert_eq!(touches(&mut turned, &events), [(200, 619)]);
    }

    #[test]
    fn a_finger_counts_in_whatever_slot_it_comes_and_where_the_last_one_was() {
        let mut screen = TouchScreen::new(&FINGERS, DISPLAY, Turn::Upright).unwrap();
        let events = [
            abs(Axis::ABS_MT_SLOT, 3),
            abs(Axis::ABS_MT_TRACKING_ID, 5),
            abs(Axis::ABS_MT_POSITION_X, 50),
            abs(Axis::ABS_MT_POSITION_Y, 60),
            REPORT,
            abs(Axis::ABS_MT_TRACKING_ID, -1),
            REPORT,
            // The same place again: the kernel does not repeat it.
            abs(Axis::ABS_MT_TRACKING_ID, 6),
            REPORT,
        ];
        assert_eq!(touches(&mut screen, &events), [(50, 60), (50, 60)]);
    }

    #[test]
    fn a_lost_report_does_not_leave_a_finger_down() {
        let mut screen = TouchScreen::new(&FINGERS, DISPLAY, Turn::Upright).unwrap();
        let events = [
            abs(Axis::ABS_MT_SLOT, 2),
            abs(Axis::ABS_MT_TRACKING_ID, 5),
            REPORT,
            // Here the finger goes up, and the kernel's buffer was full.
            (EventType::KEY, KeyCode::BTN_TOUCH.0, 0),
            REPORT,
            abs(Axis::ABS_MT_SLOT, 0),
            abs(Axis::ABS_MT_TRACKING_ID, 6),
            REPORT,
        ];
        assert_eq!(touches(&mut screen, &events).len(), 2);
    }

    #[test]
    fn a_slot_that_was_never_announced_is_ignored() {
        let mut screen = TouchScreen::new(&FINGERS, DISPLAY, Turn::Upright).unwrap();
        for slot in [-1, 10, i32::MAX] {
            let events = [abs(Axis::ABS_MT_SLOT, slot), abs(Axis::ABS_MT_TRACKING_ID, 5), REPORT];
            assert!(touches(&mut screen, &events).is_empty(), "{slot}");
        }
    }

    #[test]
    fn a_simple_touch_screen_is_scaled_to_the_display() {
        let axes = [(Axis::ABS_X, 0, 4095, 7), (Axis::ABS_Y, 0, 4095, 2048)];
        for key in [KeyCode::BTN_TOUCH, KeyCode::BTN_LEFT] {
            let mut screen = TouchScreen::new(&axes, Size::new(480, 320), Turn::Upright).unwrap();
            // The finger's y is the one that was there before the program began.
            let events = [
                (EventType::KEY, key.0, 1),
                abs(Axis::ABS_X, 4095),
                REPORT,
                (EventType::KEY, key.0, 0),
                REPORT,
            ];
            assert_eq!(touches(&mut screen, &events), [(479, 160)]);
        }
    }

    #[test]
    fn what_has_no_two_axes_is_no_touch_screen() {
        assert!(TouchScreen::new(&[], DISPLAY, Turn::Upright).is_none());
        assert!(TouchScreen::new(&[(Axis::ABS_X, 0, 9, 0)], DISPLAY, Turn::Upright).is_none());
        assert!(TouchScreen::new(&FINGERS[..2], DISPLAY, Turn::Upright).is_none());
    }
}
