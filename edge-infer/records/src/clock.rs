//! The time of day, passed in: UTC to the second. A device's clock may jump, so nothing here is used to
//! order records; their sequence does that.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01T00:00:00Z, not negative and before the year 10000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// The last second that RFC 3339 can write, 9999-12-31T23:59:59Z.
const LAST: u64 = 253_402_300_799;

impl Timestamp {
    /// From seconds since 1970; what lies past the year 9999 becomes its last second.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.min(LAST))
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// Reads RFC 3339 in UTC (`2026-05-01T09:30:00Z`, any fraction of a second dropped); `None` for
    /// anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let time = humantime::parse_rfc3339(text).ok()?;
        Some(Self::from_seconds(time.duration_since(UNIX_EPOCH).ok()?.as_secs()))
    }

    /// `self` and `seconds` more.
    #[must_use]
    pub fn after(self, seconds: u64) -> Self {
        Self::from_seconds(self.0.saturating_add(seconds))
    }
}

/// RFC 3339 in UTC with seconds: texts of one length, whose alphabetical order is that of the times.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.0)).fmt(f)
    }
}

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time now, as far as the device knows it.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A clock before 1970 is one that was never set: its first second.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_seconds(since.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_in_utc() {
        // date -u -d 2026-05-01T09:30:00Z +%s
        let time = Timestamp::from_seconds(1_777_627_800);
        assert_eq!(time.to_string(), "2026-05-01T09:30:00Z");
        assert_eq!(Timestamp::parse("2026-05-01T09:30:00Z"), Some(time));
        assert_eq!(Timestamp::parse("2026-05-01T09:30:00.9Z"), Some(time));
        assert_eq!(Timestamp::parse("2026-05-01"), None);
        assert_eq!(Timestamp::parse("2026-13-01T09:30:00Z"), None);
    }

    #[test]
    fn no_time_is_past_what_can_be_written() {
        assert_eq!(Timestamp::from_seconds(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp::from_seconds(5).after(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }
}
