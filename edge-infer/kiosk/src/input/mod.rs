//! Where events come from.

#[cfg(feature = "evdev")]
pub mod evdev;
pub mod script;
