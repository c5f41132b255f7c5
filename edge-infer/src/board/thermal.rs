//! How warm the machine is, and whether it slows itself down for that or for want of power.

use std::path::Path;

use serde::Serialize;

use super::{number, numbered, text};

/// One sensor of the processor or the board.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Temperature {
    /// The sensor's name.
    pub sensor: String,
    /// Degrees Celsius.
    pub celsius: f64,
}

/// What slows the machine down. Each entry is a sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Throttling {
    /// At this moment.
    pub now: Vec<String>,
    /// At some time since the machine was started.
    pub since_boot: Vec<String>,
}

/// All temperatures; empty where there are no sensors.
#[must_use]
pub fn temperatures(root: &Path) -> Vec<Temperature> {
    let zones = numbered(&root.join("sys/class/thermal"), "thermal_zone");
    let read = |zone: std::path::PathBuf| {
        let millidegrees: i32 = text(&zone.join("temp"))?.parse().ok()?;
        let celsius = f64::from(millidegrees) / 1000.0;
        Some(Temperature { sensor: text(&zone.join("type"))?, celsius })
    };
    zones.into_iter().filter_map(read).collect()
}

/// What a Raspberry Pi's firmware and the kernel's cooling devices for processors say; `None` where
/// there is neither.
#[must_use]
pub fn throttling(root: &Path) -> Option<Throttling> {
    let mut found = firmware(root);
    for device in numbered(&root.join("sys/class/thermal"), "cooling_device") {
        let Some(kind) = text(&device.join("type")).filter(|kind| slows_a_processor(kind)) else {
            continue;
        };
        let Some(state) = number(&device.join("cur_state")) else { continue };
        let now = &mut found.get_or_insert_default().now;
        if state > 0 {
            now.push(format!("the clock is held down for heat ({kind}, step {state})"));
        }
    }
    found
}

/// Names that the kernel's drivers give: `cpufreq-cpu0`, `thermal-cpufreq-0`, `cpufreq`, `Processor`.
fn slows_a_processor(kind: &str) -> bool {
    kind.contains("cpufreq") || kind == "Processor"
}

/// Whether a Raspberry Pi's firmware finds the supply voltage too low now.
pub(super) fn supply_is_low(root: &Path) -> Option<bool> {
    Some(firmware_bits(root)? & 1 == 1)
}

/// A Raspberry Pi's `get_throttled`, hexadecimal: bits 0 to 3 say what is, bits 16 to 19 what was.
fn firmware_bits(root: &Path) -> Option<u32> {
    let value = text(&root.join("sys/devices/platform/soc/soc:firmware/get_throttled"))?;
    u32::from_str_radix(value.trim_start_matches("0x"), 16).ok()
}

fn firmware(root: &Path) -> Option<Throttling> {
    let bits = firmware_bits(root)?;
    let meanings = [
        "the supply voltage is too low",
        "the clock is capped",
        "the processor is throttled",
        "the soft temperature limit is reached",
    ];
    let set = |first: u32| {
        let on = meanings.iter().zip(first..).filter(|(_, bit)| bits >> bit & 1 == 1);
        on.map(|(meaning, _)| (*meaning).to_string()).collect()
    };
    Some(Throttling { now: set(0), since_boot: set(16) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::tree;
    use super::*;

    const FIRMWARE: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";

    #[test]
    fn sensors_are_read_in_their_order() {
        let root = tree(&[
            ("sys/class/thermal/thermal_zone10/type", "gpu-thermal\n"),
            ("sys/class/thermal/thermal_zone10/temp", "-1500\n"),
            ("sys/class/thermal/thermal_zone2/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone2/temp", "48686\n"),
            ("sys/class/thermal/thermal_zone3/type", "switched-off\n"),
        ]);
        let sensor = |sensor: &str, celsius| Temperature { sensor: sensor.into(), celsius };
        let expected = [sensor("cpu-thermal", 48.686), sensor("gpu-thermal", -1.5)];
        assert_eq!(temperatures(root.path()), expected);
    }

    #[test]
    fn the_firmwares_bits_are_read() {
        let root = tree(&[(FIRMWARE, "50005\n")]);
        let found = throttling(root.path()).unwrap();
        let both = ["the supply voltage is too low", "the processor is throttled"];
        assert_eq!(
            (&found.now[..], &found.since_boot[..]),
            (&both.map(String::from)[..], &both.map(String::from)[..])
        );
        std::fs::write(root.path().join(FIRMWARE), "0x80000\n").unwrap();
        let found = throttling(root.path()).unwrap();
        assert_eq!(found.now, [""; 0]);
        assert_eq!(found.since_boot, ["the soft temperature limit is reached"]);
    }

    #[test]
    fn cooling_devices_of_processors_count() {
        let device = |at: u32, file: &str| format!("sys/class/thermal/cooling_device{at}/{file}");
        let root = tree(&[
            (&device(0, "type"), "pwm-fan\n"),
            (&device(0, "cur_state"), "3\n"),
            (&device(1, "type"), "thermal-cpufreq-0\n"),
            (&device(1, "cur_state"), "0\n"),
        ]);
        assert_eq!(throttling(root.path()), Some(Throttling::default()));
        std::fs::write(root.path().join(device(1, "cur_state")), "2\n").unwrap();
        let found = throttling(root.path()).unwrap();
        assert_eq!(found.now, ["the clock is held down for heat (thermal-cpufreq-0, step 2)"]);
    }

    #[test]
    fn nothing_exposed_is_not_nothing_throttled() {
        assert_eq!(throttling(tree(&[]).path()), None);
        assert_eq!(throttling(tree(&[(FIRMWARE, "who knows")]).path()), None);
    }
}
