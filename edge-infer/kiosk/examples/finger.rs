//! A touch screen made of nothing (`uinput`), to try a board or a virtual machine that has none: each line
//! `X Y` on the standard input (0 to 999 across and down) is a tap.
//!
//!     finger < taps

use std::io::BufRead;
use std::thread::sleep;
use std::time::Duration;

use evdev::uinput::VirtualDevice;
use evdev::{
    AbsInfo, AbsoluteAxisCode as Axis, AttributeSet, EventType, InputEvent, KeyCode, PropType,
    UinputAbsSetup,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let axis = |axis, last| UinputAbsSetup::new(axis, AbsInfo::new(0, 0, last, 0, 0, 0));
    let keys: AttributeSet<KeyCode> = [KeyCode::BTN_TOUCH].into_iter().collect();
    let properties: AttributeSet<PropType> = [PropType::DIRECT].into_iter().collect();
    let mut device = VirtualDevice::builder()?
        .name("finger")
        .with_keys(&keys)?
        .with_properties(&properties)?
        .with_absolute_axis(&axis(Axis::ABS_X, 999))?
        .with_absolute_axis(&axis(Axis::ABS_Y, 999))?
        .with_absolute_axis(&axis(Axis::ABS_MT_SLOT, 9))?
        .with_absolute_axis(&axis(Axis::ABS_MT_POSITION_X, 999))?
        .with_absolute_axis(&axis(Axis::ABS_MT_POSITION_Y, 999))?
        .with_absolute_axis(&axis(Axis::ABS_MT_TRACKING_ID, 65535))?
        .build()?;
    println!("a finger is there");
    for (id, line) in (0i32..).zip(std::io::stdin().lock().lines()) {
        let line = line?;
        let (x, y) = line.trim().split_once(' ').ok_or("a tap is X Y")?;
        let (x, y): (i32, i32) = (x.parse()?, y.parse()?);
        let abs = |axis: Axis, value| InputEvent::new(EventType::ABSOLUTE.0, axis.0, value);
        let touch = |value| InputEvent::new(EventType::KEY.0, KeyCode::BTN_TOUCH.0, value);
        device.emit(&[
            abs(Axis::ABS_MT_TRACKING_ID, id),
            abs(Axis::ABS_MT_POSITION_X, x),
            abs(Axis::ABS_MT_POSITION_Y, y),
            touch(1),
            abs(Axis::ABS_X, x),
            abs(Axis::ABS_Y, y),
        ])?;
        sleep(Duration::from_millis(80));
        device.emit(&[abs(Axis::ABS_MT_TRACKING_ID, -1), touch(0)])?;
    }
    Ok(())
}
