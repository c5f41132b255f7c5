//! What the service manager (systemd) hears of this program: ready, how it is, stopping, and a watchdog that
//! is fed only while every thread moves. Where there is no service manager, nothing happens.

use std::time::{Duration, Instant};

use super::pulse::Pulse;

/// Feeds the service manager's watchdog as long as every member of a [`Pulse`] ticks. When the program is no
/// longer fed for `WatchdogSec`, the manager kills and restarts it.
///
/// ```
/// use std::time::{Duration, Instant};
/// use edge_infer::service::{Pulse, Watchdog, notify};
///
/// let pulse = Pulse::new();
/// let screen = pulse.member("screen", Duration::from_secs(5));
/// let mut watchdog = Watchdog::new(pulse);
/// notify::ready("waiting for the PIN");
/// for _turn in 0..3 {
///     screen.tick();
///     watchdog.step(Instant::now());
///     // ... wait for an event, at most `watchdog.longest_wait()` ...
/// }
/// notify::stopping();
/// ```
#[derive(Debug)]
pub struct Watchdog {
    pulse: Pulse,
    /// Half of the time after which the manager loses patience; none without a manager that watches.
    every: Option<Duration>,
    fed: Option<Instant>,
    late: Option<&'static str>,
}

/// The longest that a loop which calls [`Watchdog::step`] should wait, watched or not.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

impl Watchdog {
    /// A watchdog over `pulse`, fed as often as the manager has said in the environment.
    #[must_use]
    pub fn new(pulse: Pulse) -> Self {
        Self::feeding(pulse, patience().map(|patience| patience / 2))
    }

    fn feeding(pulse: Pulse, every: Option<Duration>) -> Self {
        Self { pulse, every, fed: None, late: None }
    }

    /// Looks at the pulse, and feeds if it is time to and nobody is late. Who is late is told once in the log
    /// and to the manager, and who caught up as well. True when it fed.
    pub fn step(&mut self, now: Instant) -> bool {
        self.note(self.pulse.late(now));
        if self.late.is_some() || !self.is_due(now) {
            return false;
        }
        self.fed = Some(now);
        tell(ALIVE);
        true
    }

    /// How long the loop that calls [`Watchdog::step`] may wait between two calls.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        self.every.map_or(LONGEST_WAIT, |every| (every / 2).min(LONGEST_WAIT))
    }

    fn is_due(&self, now: Instant) -> bool {
        self.every.is_some_and(|every| {
            self.fed.is_none_or(|fed| now.saturating_duration_since(fed) >= every)
        })
    }

    fn note(&mut self, late: Option<&'static str>) {
        if late == self.late {
            return;
        }
        self.late = late;
        if let Some(name) = late {
            tracing::error!("{name} does not move any more: the watchdog is not fed");
            status(&format!("{name} does not move"));
        } else {
            tracing::warn!("every thread moves again");
            status("every thread moves again");
        }
    }
}

/// The program is ready for its users. `text` as for [`status`].
pub fn ready(text: &str) {
    tell(READY);
    status(text);
}

/// One line that `systemctl status` shows. It is kept in the system's log: no name, no number of a person.
pub fn status(text: &str) {
    // A line break would begin another message to the manager.
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    tell(&format!("{STATUS}{line}"));
}

/// The program has begun to end.
pub fn stopping() {
    tell(STOPPING);
}

/// Words of systemd's protocol, sd_notify(3).
const READY: &str = "READY=1";
const STATUS: &str = "STATUS=";
const STOPPING: &str = "STOPPING=1";
const ALIVE: &str = "WATCHDOG=1";

/// Sends one word. A manager that cannot be reached is no reason to stop examining.
#[cfg(unix)]
fn tell(word: &str) {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Custom(word)]) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}

/// After how long without food the manager restarts this process, where it watches it.
#[cfg(unix)]
fn patience() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

#[cfg(not(unix))]
fn tell(_word: &str) {}

#[cfg(not(unix))]
fn patience() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_feeds_in_its_rhythm_while_all_tick() {
        let pulse = Pulse::new();
        let start = Instant::now();
        let _screen = pulse.member("screen", 3600 * SECOND);
        let mut watchdog = Watchdog::feeding(pulse, Some(10 * SECOND));
        let fed: Vec<u32> =
            (0..=40).filter(|second| watchdog.step(start + *second * SECOND)).collect();
        assert_eq!(fed, [0, 10, 20, 30, 40]);
    }

    #[test]
    fn one_that_is_late_stops_it_and_one_that_returns_lets_it_go_on() {
        let pulse = Pulse::new();
        let worker = pulse.member("worker", Duration::from_millis(40));
        let mut watchdog = Watchdog::feeding(pulse, Some(Duration::ZERO));
        assert!(watchdog.step(Instant::now()));
        let much_later = Instant::now() + SECOND;
        assert!(!watchdog.step(much_later));
        assert_eq!(watchdog.late, Some("worker"));
        worker.tick();
        assert!(watchdog.step(Instant::now()));
        assert_eq!(watchdog.late, None);
    }

    #[test]
    fn nobody_watching_is_not_fed_and_the_late_are_noted_all_the_same() {
        let pulse = Pulse::new();
        let _worker = pulse.member("worker", Duration::ZERO);
        let mut watchdog = Watchdog::feeding(pulse, None);
        assert!(!watchdog.step(Instant::now() + SECOND));
        assert_eq!(watchdog.late, Some("worker"));
        assert_eq!(watchdog.longest_wait(), LONGEST_WAIT);
    }

    #[test]
    fn the_wait_is_shorter_than_the_rhythm() {
        let watchdog = Watchdog::feeding(Pulse::new(), Some(Duration::from_millis(500)));
        assert_eq!(watchdog.longest_wait(), Duration::from_millis(250));
    }
}
