//! How results go out: one trait, three senders, and when to try again.
//!
//! Delivery is at least once. It is safe to send twice: both ends know things by their UIDs. The queue itself is
//! the journal's.

mod http;

pub mod fhir;
pub mod scu;
pub mod stow;

use std::time::Duration;

pub use http::{Endpoint, EndpointError};

/// A server that takes one kind of item.
pub trait Deliver: Send {
    /// Sends an item and waits for the server's word. Blocks up to the sender's time limit. Sending an item that
    /// the server has already is a success.
    ///
    /// # Errors
    /// See [`DeliverError`]. Its texts name no person: they are fit for logs.
    fn deliver(&self, item: &[u8]) -> Result<Receipt, DeliverError>;
}

/// The server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// What it said, in a few words (`HTTP 200`, `DIMSE 0000`).
    pub said: String,
}

/// The server does not have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliverError {
    /// It may take it later: no network, a busy server, a server that does not let us in yet. The item stays.
    #[error("not delivered yet: {reason}")]
    Later {
        /// Why.
        reason: String,
        /// The least wait the server asks for.
        after: Option<Duration>,
    },
    /// It will never take this item as it is; a person must look.
    #[error("refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

impl DeliverError {
    fn later(reason: impl Into<String>) -> Self {
        Self::Later { reason: reason.into(), after: None }
    }

    fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }
}

/// How long to wait before attempt `attempts + 1`, after `attempts` (at least 1) that failed: 15 s doubled at each
/// failure up to 1 h, times 0.5 to 1 as `jitter` goes from 0 to 1, so that the devices of a camp that finds
/// its network again do not call all at once. Never less than the server asked for (`after`), of which at most
/// a day is believed.
#[must_use]
pub fn backoff(attempts: u32, jitter: f64, after: Option<Duration>) -> Duration {
    const FIRST: Duration = Duration::from_secs(15);
    const LONGEST: Duration = Duration::from_secs(60 * 60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let doubled = FIRST * 2u32.pow(attempts.saturating_sub(1).min(16));
    let wait = doubled.min(LONGEST).mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
    wait.max(after.unwrap_or_default().min(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_an_hour() {
        let seconds = |attempts| backoff(attempts, 1.0, None).as_secs();
        assert_eq!(
            [1, 2, 3, 4, 8, 9, 10, u32::MAX].map(seconds),
            [15, 30, 60, 120, 1920, 3600, 3600, 3600]
        );
    }

    #[test]
    fn jitter_spreads_over_the_upper_half() {
        assert_eq!(backoff(2, 0.0, None), Duration::from_secs(15));
        assert_eq!(backoff(2, 0.5, None), Duration::from_millis(22_500));
        assert_eq!(backoff(2, 7.0, None), Duration::from_secs(30));
        assert_eq!(backoff(2, f64::NEG_INFINITY, None), Duration::from_secs(15));
    }

    #[test]
    fn the_server_may_ask_for_more_but_not_for_ever() {
        let asked = |seconds| backoff(1, 1.0, Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!([0, 15, 90, u64::MAX].map(asked), [15, 15, 90, 86_400]);
    }
}
