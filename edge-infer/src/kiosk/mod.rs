//! The kiosk on this device: the screens of [`glaucoma_kiosk`] joined to model, journal, cameras and servers.

pub mod config;
pub mod day;
pub mod device;
pub mod finding;
pub mod intakes;
pub mod live_view;
pub mod local_time;
pub mod operating_point;
pub mod outbox;
pub mod photographs;
mod standing;

pub use config::{Config, ConfigError};
pub use device::Device;
