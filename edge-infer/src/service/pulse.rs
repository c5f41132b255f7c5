//! Whether every thread still moves: each ticks, and whoever has not ticked for too long is named.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// All threads that must move, shared by them and by whoever looks.
///
/// ```
/// use std::time::{Duration, Instant};
/// use edge_infer::service::Pulse;
///
/// let pulse = Pulse::new();
/// let worker = pulse.member("worker", Duration::from_secs(60));
/// std::thread::spawn(move || {
///     for _photograph in 0..3 {
///         worker.tick();
///         // ... an exam, which takes less than the time allowed ...
///     }
///     worker.leave();
/// });
/// assert_eq!(pulse.late(Instant::now()), None);
/// ```
#[derive(Debug, Clone)]
pub struct Pulse {
    started: Instant,
    hearts: Arc<Mutex<Vec<Arc<Heart>>>>,
}

/// A thread's side of the pulse. Dropped without [`Member::leave`], as by a panic, it ticks no more and is
/// named once its time is over.
#[derive(Debug)]
pub struct Member {
    pulse: Pulse,
    heart: Arc<Heart>,
}

#[derive(Debug)]
struct Heart {
    name: &'static str,
    allowed: Duration,
    /// Milliseconds from the pulse's start to the last tick.
    ticked_ms: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

impl Pulse {
    /// A pulse without members.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now(), hearts: Arc::default() }
    }

    /// A new member, which has just ticked and must tick again within `allowed`, and so on. A thread that
    /// waits for something waits with a time-out shorter than that.
    #[must_use]
    pub fn member(&self, name: &'static str, allowed: Duration) -> Member {
        self.member_at(name, allowed, Instant::now())
    }

    /// The first member, in the order they were made, that has not ticked within its time before `now`.
    #[must_use]
    pub fn late(&self, now: Instant) -> Option<&'static str> {
        let now = self.since_start(now);
        let late = |heart: &&Arc<Heart>| {
            let silent = now.saturating_sub(heart.ticked_ms.load(Ordering::Relaxed));
            Duration::from_millis(silent) > heart.allowed
        };
        let hearts = self.hearts.lock().unwrap_or_else(PoisonError::into_inner);
        hearts.iter().find(late).map(|heart| heart.name)
    }

    fn member_at(&self, name: &'static str, allowed: Duration, now: Instant) -> Member {
        let ticked_ms = AtomicU64::new(self.since_start(now));
        let heart = Arc::new(Heart { name, allowed, ticked_ms });
        self.hearts.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&heart));
        Member { pulse: self.clone(), heart }
    }

    /// Monotonic milliseconds: enough for half a billion years.
    fn since_start(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Member {
    /// Says that the thread moves. Costs two loads and a store; to be called in every turn of a loop.
    pub fn tick(&self) {
        self.tick_at(Instant::now());
    }

    /// The thread ends on purpose: nobody waits for it any more.
    pub fn leave(self) {
        let mut hearts = self.pulse.hearts.lock().unwrap_or_else(PoisonError::into_inner);
        hearts.retain(|heart| !Arc::ptr_eq(heart, &self.heart));
    }

    fn tick_at(&self, now: Instant) {
        self.heart.ticked_ms.store(self.pulse.since_start(now), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_that_is_late_is_named() {
        let pulse = Pulse::new();
        let start = pulse.started;
        let at = |seconds: u32| start + seconds * SECOND;
        let screen = pulse.member_at("screen", 2 * SECOND, start);
        let worker = pulse.member_at("worker", 10 * SECOND, start);
        assert_eq!(pulse.late(at(2)), None, "exactly the time allowed is not late");
        assert_eq!(pulse.late(at(3)), Some("screen"));
        screen.tick_at(at(3));
        assert_eq!(pulse.late(at(5)), None);
        assert_eq!(pulse.late(at(11)), Some("screen"));
        screen.tick_at(at(11));
        assert_eq!(pulse.late(at(11)), Some("worker"));
        worker.tick_at(at(12));
        screen.tick_at(at(12));
        assert_eq!(pulse.late(at(12)), None);
    }

    #[test]
    fn who_leaves_is_not_waited_for_and_who_dies_is() {
        let pulse = Pulse::new();
        let later = pulse.started + 5 * SECOND;
        pulse.member_at("outbox", SECOND, pulse.started).leave();
        assert_eq!(pulse.late(later), None);
        let dies = pulse.member_at("intake", SECOND, pulse.started);
        let thread = std::thread::spawn(move || {
            dies.tick_at(dies.pulse.started);
            drop(dies);
        });
        assert!(thread.join().is_ok());
        assert_eq!(pulse.late(later), Some("intake"));
    }

    #[test]
    fn a_member_that_joins_late_has_just_ticked() {
        let pulse = Pulse::new();
        let hour = pulse.started + 3600 * SECOND;
        let _member = pulse.member_at("camera", SECOND, hour);
        assert_eq!(pulse.late(hour), None);
        assert_eq!(pulse.late(hour + 2 * SECOND), Some("camera"));
    }

    #[test]
    fn ticks_of_other_threads_are_seen() {
        let pulse = Pulse::new();
        let member = pulse.member_at("worker", SECOND, pulse.started);
        let at = pulse.started + 100 * SECOND;
        assert_eq!(pulse.late(at), Some("worker"));
        std::thread::scope(|scope| {
            scope.spawn(|| member.tick_at(at));
        });
        assert_eq!(pulse.late(at), None);
    }
}
