//! The program as a service of the operating system: whether its threads are alive, what the service
//! manager hears of them, where its log goes, and how the device is.

pub mod logging;
pub mod notify;
pub mod pulse;
pub mod status;

pub use notify::Watchdog;
pub use pulse::{Member, Pulse};
