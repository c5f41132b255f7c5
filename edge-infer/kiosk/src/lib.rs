//! What a health worker sees and touches, as pure code.
//!
//! [`model`] is the day as a state machine, [`screens`] turns its state into a [`page::Page`], which is drawn on
//! any embedded-graphics `DrawTarget` and asked what lies under a finger; [`display`] carries a frame to a
//! display, [`input`] brings events, [`stage`] joins them, and [`event_loop`] is the kiosk at work, live or from a
//! script. What is outside (camera, model, journal, printer) is behind its channels.

pub mod display;
pub mod event_loop;
pub mod input;
pub mod model;
pub mod page;
pub mod panel;
pub mod picture;
pub mod screens;
pub mod sign;
pub mod stage;
pub mod text;
pub mod theme;
pub mod words;
