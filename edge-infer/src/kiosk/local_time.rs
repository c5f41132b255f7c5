//! The time of the place: a camp's clock and a camp's day are not UTC's.

use glaucoma_records::clock::Timestamp;
use glaucoma_records::journal::Period;
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};

/// The zone of the place, as the system has it.
#[must_use]
pub fn zone() -> TimeZone {
    TimeZone::system()
}

/// Hour and minute now.
#[must_use]
pub fn clock() -> (u8, u8) {
    let now = Zoned::now();
    (now.hour().unsigned_abs(), now.minute().unsigned_abs())
}

/// From this midnight to the next.
#[must_use]
pub fn today() -> Period {
    day_of(&Zoned::now())
}

fn day_of(now: &Zoned) -> Period {
    let second = |time: &Zoned| {
        Timestamp::from_seconds(time.timestamp().as_second().try_into().unwrap_or(0))
    };
    // Only at the ends of what a calendar can hold is there no midnight before or after.
    let from = now.start_of_day().unwrap_or_else(|_| now.clone());
    let to = from.checked_add(1.day()).unwrap_or_else(|_| now.clone());
    Period { from: second(&from), to: second(&to) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_day_begins_at_the_midnight_of_the_place() {
        let now: Zoned = "2026-05-01T01:30:00+02:00[+02:00]".parse().unwrap();
        let Period { from, to } = day_of(&now);
        assert_eq!(from.to_string(), "2026-04-30T22:00:00Z");
        assert_eq!(to.to_string(), "2026-05-01T22:00:00Z");
    }
}
