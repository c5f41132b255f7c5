//! The kiosk on this device: the screens of [`glaucoma_kiosk`] joined to model, journal and files.

pub mod config;
pub mod finding;
pub mod world;

pub use config::{Config, ConfigError};
pub use world::Device;
